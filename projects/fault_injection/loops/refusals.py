"""A disk that takes no checkpoint for a while: the training goes on, nothing breaks.

A limit on the size of files is set from outside while the training runs (prlimit): the
system refuses every write beyond it, in the middle of the file. Half of the times it
is lifted again. A training that ends before that has to say so, status 2; it is then
resumed. At no time may a checkpoint be there that is not whole.
"""
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from cosam_mm.engine.hooks.checkpoint_files import describe_damage
from projects.fault_injection.harness import Options, Trial
from projects.fault_injection.resumed import Attempt, Interruption, disturb
from projects.fault_injection.training import (
    LIMIT,
    differences_in_weights,
    start_tool,
    wait_for_training,
)

FAMILIES = ('action', 'reid')
_LARGEST_FILE = 300_000  # bytes: logs fit in, checkpoints do not
# Workers would meet the limit, too, in the memory that they share.
_NO_WORKERS = ('train_dataloader.num_workers=0',
               'train_dataloader.persistent_workers=False')


def run(options: Options) -> Iterator[Trial]:
    """Refuse ``options.count`` times in each family."""
    # The best checkpoint may be missed: weights, optimiser and schedules may not.
    yield from disturb(options, _refuse, differences_in_weights, per_training=2)


def _refuse(attempt: Attempt) -> Optional[Interruption]:
    is_lifted = attempt.turn % 2 == 0
    offset = attempt.log.stat().st_size if attempt.log.exists() else 0
    process = start_tool([*attempt.argv, *_NO_WORKERS], attempt.log)
    wait_for_training(process, attempt.log, offset)
    process.join(attempt.rng.uniform(0, attempt.seconds / 3))
    unlimited = resource.RLIM_INFINITY
    try:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_LARGEST_FILE, unlimited))
        if is_lifted:
            process.join(attempt.rng.uniform(0, attempt.seconds / 3))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    except ProcessLookupError:
        pass  # it has ended
    process.join(LIMIT)
    text = attempt.log.read_bytes()[offset:].decode()
    if 'could not be written' not in text:
        return None
    work_dir = Path(attempt.argv[attempt.argv.index('--work-dir') + 1])
    return Interruption(
        f'writes refused {"for a while" if is_lifted else "to the end"}',
        _complaint(process.exitcode, text, work_dir, attempt.log))


def _complaint(status: int, text: str, work_dir: Path, log: Path) -> Optional[str]:
    damaged = [path.name for path in work_dir.glob('*.pth') if describe_damage(path)]
    if damaged:
        return f'{", ".join(damaged)} damaged'
    if status not in (0, 2):
        return f'exit status {status}, see {log}'
    if 'Traceback' in text:
        return f'a traceback, see {log}'
    if status == 2 and 'error: The training has ended, but' not in text:
        return f'no clear message, see {log}'
    return None
