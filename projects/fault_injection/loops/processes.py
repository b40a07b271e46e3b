"""Two processes: one is killed, or the launcher, or they are told to stop.

Kills: SIGKILL of one of the two, every other time at a random moment; the other one
has to end within the time that the launcher gives it. Stops: SIGTERM to the launcher,
SIGKILL of the launcher, SIGTERM to all at once; the two have to stop after the same
iteration with one checkpoint. No process may be left, and the resumed training must end
with the bits of one that was left alone. Gradients are added up over three batches, in
each process its own.
"""
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Optional

from mmengine.config import Config

from projects.fault_injection.harness import Options, Trial
from projects.fault_injection.launched import Launched, run_launched
from projects.fault_injection.resumed import Attempt, Interruption, disturb
from projects.fault_injection.training import CONFIGS

FAMILIES = ('action', 'reid')
_MOMENTS = ('in a validation', 'in a step of the optimiser',
            'half a checkpoint written', 'before the rename')
_BY_THE_FIRST = _MOMENTS[2:]
# The launcher gives 30 s, and a loader's worker looks for its parent every 5.
_BOUND = 40


def run(options: Options) -> Iterator[Trial]:
    """Kill ``options.count`` times, and stop as often, in each family."""
    for folder, interrupt in (('killed', _kill), ('stopped', _stop)):
        yield from disturb(replace(options, folder=options.folder / folder), interrupt,
                           run=_train)


def _script_arguments(argv: list[str]) -> list[str]:
    """Arguments of dist_train.sh in place of those of the tool."""
    config, *rest = argv[1:]
    armed = Path(config).with_suffix('.armed.py')
    if not armed.exists():
        imports = [*Config.fromfile(config).custom_imports['imports'],
                   'projects.fault_injection.armed']
        armed.write_text(f'_base_ = [{config!r}]\n'
                         f'custom_imports = dict(imports={imports!r})\n')
    return [str(armed), '2', *rest, 'train_dataloader.batch_size=2',
            *(['train_dataloader.sampler.num_pids_per_batch=1']
              if Path(config).stem == 'reid' else [])]


def _train(argv: list[str], log: Path) -> int:
    return run_launched('dist_train.sh', _script_arguments(argv), log)


def _kill(attempt: Attempt) -> Optional[Interruption]:
    arguments = _script_arguments(attempt.argv)
    rank, moment = attempt.rng.randrange(2), 'at any time'
    if attempt.turn % 2:
        moment = _MOMENTS[attempt.turn // 2 % len(_MOMENTS)]
        rank = 0 if moment in _BY_THE_FIRST else rank
        pair = Launched('dist_train.sh', arguments, attempt.log,
                        f'{rank} {attempt.rng.randint(1, 4)} {moment}')
        killed = 'Signal 9 (SIGKILL)'
        pair.wait_for(killed)
    else:
        pair = Launched('dist_train.sh', arguments, attempt.log)
        pid = pair.wait_for_rank(rank)
        pair.wait(attempt.rng.uniform(0, attempt.seconds))
        pair.send(signal.SIGKILL, [pid])
    return _outcome(f'SIGKILL of one {moment}', pair, r'Signal 9 \(SIGKILL\) received')


def _stop(attempt: Attempt) -> Optional[Interruption]:
    pair = Launched('dist_train.sh', _script_arguments(attempt.argv), attempt.log)
    pair.wait_for('Epoch(train)')
    pair.wait(attempt.rng.uniform(0, attempt.seconds / 4))
    fault = ('SIGTERM to the launcher', 'SIGKILL of the launcher',
             'SIGTERM to all at once')[attempt.turn % 3]
    whom = pair.members() if 'all' in fault else [pair.launcher.pid]
    pair.send(signal.SIGKILL if 'KILL' in fault else signal.SIGTERM, whom)
    found = _outcome(fault, pair, r'Stopped by SIGTERM after iteration \d+ of \d+: '
                                  r'--resume goes on from \S+\.pth')
    return None if found and found.problem and _is_at_its_end(attempt) else found


def _outcome(fault: str, pair: Launched, words: str) -> Optional[Interruption]:
    seconds = pair.wait_for_all(_BOUND)
    status, text = pair.launcher.returncode, pair.text()
    if status == 0:
        return None  # it was at its end
    problem = None
    if seconds is None:
        problem = f'there are processes after {_BOUND} s, see {pair.log}'
    elif not re.search(words, text):
        problem = f'no clear word, see {pair.log}'
    else:
        print(f'{fault}: all have ended after {seconds:.1f} s', file=sys.stderr)
    return Interruption(fault, problem)


def _is_at_its_end(attempt: Attempt) -> bool:
    """Whether the last checkpoint was there when it was told to stop."""
    family = Path(attempt.argv[1]).stem
    work_dir = Path(attempt.argv[attempt.argv.index('--work-dir') + 1])
    return (work_dir / f'epoch_{CONFIGS[family][2]["epochs"]}.pth').exists()
