"""Loops that kill, stop and starve trainings, which are resumed and must end the same.

Each has a function: :func:`kills`, :func:`stops`, :func:`refusals` and
:func:`processes`, told :class:`~projects.fault_injection.trials.Options`.
"""
import contextlib
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Optional

from cosam_mm.utils.checkpoint_integrity import describe_damage

from .launched import Launched
from .training import CONFIGS, Attempt, Interruption, differences_in_weights, disturb
from .trials import Options, Trial

_MOMENTS = ('half a checkpoint written', 'before the rename', 'after the rename',
            'in a validation', 'in a step of the optimiser')
# How a stopped training says so.
_STOPPED = r'Stopped by (\w+) after iteration \d+ of \d+: --resume .*?(\S+\.pth)'


def kills(options: Options) -> Iterator[Trial]:
    """SIGKILL, up to five times a training, which is resumed each time.

    Every other kill comes at a random time; the rest at moments that chance would
    hardly meet.
    """
    yield from disturb(options, _kill)


def _kill(attempt: Attempt) -> Optional[Interruption]:
    if attempt.turn % 2:
        moment = _MOMENTS[attempt.turn // 2 % len(_MOMENTS)]
        run = attempt.start(f'0 {attempt.rng.randint(1, 4)} {moment}')
    else:
        moment, run = 'at any time', attempt.start()
        run.wait(attempt.rng.uniform(0, attempt.seconds))
        run.send(signal.SIGKILL, [run.launcher.pid])
    return Interruption(f'SIGKILL {moment}') if run.finish() == -signal.SIGKILL \
        else None


def stops(options: Options) -> Iterator[Trial]:
    """SIGTERM and Ctrl-C at any time: a checkpoint, a clean exit, and the same end.

    The signal goes to all processes of the training, its workers among them, as
    clusters and terminals send it; SIGTERM twice, as from a launcher that passes it on.
    """
    yield from disturb(options, _stop)


def _stop(attempt: Attempt) -> Optional[Interruption]:
    number = (signal.SIGTERM, signal.SIGINT)[attempt.turn % 2]
    run = attempt.start()
    run.wait_for('Epoch(')
    run.wait(attempt.rng.uniform(0, attempt.seconds / 2))
    for _ in range(2 if number == signal.SIGTERM else 1):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(run.launcher.pid, number)
        run.wait(0.05)
    status = run.finish()
    if status == 0:
        return None  # it was at its end
    stopped, problem = re.search(_STOPPED, run.text()), None
    if status != 128 + number:
        problem = f'exit status {status}, see {attempt.log}'
    elif not stopped or stopped[1] != number.name:
        problem = f'no word of a checkpoint, see {attempt.log}'
    elif 'Traceback' in run.text():
        problem = f'a traceback, see {attempt.log}'
    return Interruption(number.name, problem)


# -- a disk that is full -------------------------------------------------------------

_LARGEST_FILE = 300_000  # bytes: logs fit in, checkpoints do not
# Workers would meet the limit, too, in the memory that they share.
_NO_WORKERS = ('train_dataloader.num_workers=0',
               'train_dataloader.persistent_workers=False')


def refusals(options: Options) -> Iterator[Trial]:
    """A disk that takes no checkpoint for a while: the training continues.

    A limit on the size of files is set from outside while the training runs (prlimit):
    the system refuses every write beyond it, in the middle of the file. Half of the
    times it is lifted again. A training that ends before that has to say so, status 2;
    it is then resumed. At no time may there be a checkpoint that is not whole. The best
    checkpoint may be missed: weights, optimiser and schedules may not.
    """
    yield from disturb(options, _refuse, differences_in_weights, per_training=2)


def _refuse(attempt: Attempt) -> Optional[Interruption]:
    is_lifted, unlimited = attempt.turn % 2 == 0, resource.RLIM_INFINITY
    run = attempt.start('', *_NO_WORKERS)
    run.wait_for('Epoch(')
    run.wait(attempt.rng.uniform(0, attempt.seconds / 3))
    with contextlib.suppress(ProcessLookupError):  # it has ended
        resource.prlimit(run.launcher.pid, resource.RLIMIT_FSIZE,
                         (_LARGEST_FILE, unlimited))
        if is_lifted:
            run.wait(attempt.rng.uniform(0, attempt.seconds / 3))
            resource.prlimit(run.launcher.pid, resource.RLIMIT_FSIZE,
                             (unlimited, unlimited))
    status, text = run.finish(), run.text()
    if 'could not be written' not in text:
        return None
    damaged = [path.name for path in attempt.work_dir.glob('*.pth')
               if describe_damage(path)]
    problem = None
    if damaged:
        problem = f'{", ".join(damaged)} damaged'
    elif status not in (0, 2):
        problem = f'exit status {status}, see {attempt.log}'
    elif 'Traceback' in text or (status == 2 and 'error: ' not in text):
        problem = f'a traceback or no clear message, see {attempt.log}'
    duration = 'for a while' if is_lifted else 'to the end'
    return Interruption(f'writes refused {duration}', problem)


# -- two processes -------------------------------------------------------------------

_MOMENTS_OF_TWO = ('in a validation', 'in a step of the optimiser',
                   'half a checkpoint written', 'before the rename')
_BY_THE_FIRST = _MOMENTS_OF_TWO[2:]
# The launcher gives 30 s, and a loader's worker looks for its parent every 5.
_BOUND = 40


def processes(options: Options) -> Iterator[Trial]:
    """Two processes: one is killed, or the launcher, or they are told to stop.

    Kills: SIGKILL of one of the two, every other time at a random moment; the other one
    has to end within the time that the launcher gives it. Stops: SIGTERM to the
    launcher, SIGKILL of the launcher, SIGTERM to all at once; the two have to stop
    after the same iteration with one checkpoint. No process may be left.
    """
    for folder, interrupt in (('killed', _kill_one), ('stopped', _stop_both)):
        yield from disturb(replace(options, folder=options.folder / folder), interrupt,
                           tool='tools/dist_train.sh')


def _kill_one(attempt: Attempt) -> Optional[Interruption]:
    rank, moment = attempt.rng.randrange(2), 'at any time'
    if attempt.turn % 2:
        moment = _MOMENTS_OF_TWO[attempt.turn // 2 % len(_MOMENTS_OF_TWO)]
        rank = 0 if moment in _BY_THE_FIRST else rank
        pair = attempt.start(f'{rank} {attempt.rng.randint(1, 4)} {moment}')
        pair.wait_for('Signal 9 (SIGKILL)')
    else:
        pair = attempt.start()
        pid = pair.wait_for_rank(rank)
        pair.wait(attempt.rng.uniform(0, attempt.seconds))
        pair.send(signal.SIGKILL, [pid])
    return _outcome(f'SIGKILL of one {moment}', pair, r'Signal 9 \(SIGKILL\) received')


def _stop_both(attempt: Attempt) -> Optional[Interruption]:
    pair = attempt.start()
    pair.wait_for('Epoch(train)')
    pair.wait(attempt.rng.uniform(0, attempt.seconds / 4))
    fault = ('SIGTERM to the launcher', 'SIGKILL of the launcher',
             'SIGTERM to all at once')[attempt.turn % 3]
    whom = pair.members() if 'all' in fault else [pair.launcher.pid]
    pair.send(signal.SIGKILL if 'KILL' in fault else signal.SIGTERM, whom)
    found = _outcome(fault, pair, _STOPPED.replace(r'(\w+)', 'SIGTERM'))
    # The last checkpoint may have been there when it was told to stop.
    last = f'epoch_{CONFIGS[Path(attempt.arguments[0]).stem][2]["epochs"]}.pth'
    is_at_its_end = (attempt.work_dir / last).exists()
    return None if found and found.problem and is_at_its_end else found


def _outcome(fault: str, pair: Launched, words: str) -> Optional[Interruption]:
    """Wait for the end of all processes; None if the training was at its end."""
    seconds = pair.wait_for_all(_BOUND)
    if pair.launcher.returncode == 0:
        return None
    problem = None
    if seconds is None:
        problem = f'there are processes after {_BOUND} s, see {pair.log}'
    elif not re.search(words, pair.text()):
        problem = f'no clear word, see {pair.log}'
    else:
        print(f'{fault}: all have ended after {seconds:.1f} s', file=sys.stderr)
    return Interruption(fault, problem)
