"""A training that is disturbed and resumed, beside one that is not.

The undisturbed training loads its data in its own process; the others in none, one or
two workers. What both leave must be the same to the bit: weights, optimiser,
schedules, mean of the weights, best score, log of every iteration, list of files.
"""
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from .harness import Options, Trial
from .training import Result, differences, duration, prepare, read_result, run_tool

__all__ = ['Attempt', 'Interruption', 'disturb']


class Attempt(NamedTuple):
    """A process that is to be disturbed.

    Attributes:
        argv: What to run.
        seconds: About how long it would run from the beginning.
        log: Where its output goes.
        turn: Number of the disturbance, from 0.
        rng: Of the choices.
    """
    argv: list[str]
    seconds: float
    log: Path
    turn: int
    rng: random.Random


class Interruption(NamedTuple):
    """What was done to a process.

    Attributes:
        fault: In words.
        problem: What went wrong right then.
    """
    fault: str
    problem: Optional[str] = None


def disturb(options: Options,
            interrupt: Callable[[Attempt], Optional[Interruption]],
            compare: Callable[[Result, Result], list[str]] = differences,
            per_training: int = 5,
            run: Callable[[list[str], Path], int] = run_tool) -> Iterator[Trial]:
    """Disturb trainings of each family, ``options.count`` times, and compare.

    Args:
        options: What the loop was told.
        interrupt: Runs a process and disturbs it; None if it ended before that.
        compare: Says what differs between two results.
        per_training: How often one training is disturbed at most.
        run: Runs tools/train.py undisturbed, with output to a log; its exit status.
    """
    for family in options.families:
        folder = options.folder / family
        argv = prepare(family, folder)
        calm = folder / 'undisturbed'
        seconds = duration(_with_workers(argv, calm, 0),
                           folder / 'undisturbed.log', run)
        rng = random.Random(f'{options.seed} {family}')
        count = number = turn = 0
        while count < options.count:
            number += 1
            work_dir = folder / f'disturbed_{number}'
            log = work_dir.with_suffix('.log')
            done: list[Interruption] = []
            while len(done) < min(per_training, options.count - count):
                own = _with_workers(argv, work_dir, rng.randrange(3))
                found = interrupt(Attempt(own, seconds, log, turn, rng))
                if found is None:
                    break  # the training is at its end
                turn += 1
                done.append(found)
            count += len(done)
            problem = _finish(_with_workers(argv, work_dir, rng.randrange(3)),
                              work_dir, lambda result, calm=calm: compare(
                                  result, read_result(calm)), log, run)
            for found in done:
                yield Trial(family, found.fault, found.problem or problem)
            if number > 20 + 5 * options.count:
                raise RuntimeError(f'{family}: the trainings end before they are '
                                   f'disturbed, see {log}')


def _with_workers(argv: list[str], work_dir: Path, workers: int) -> list[str]:
    return [*argv, '--work-dir', str(work_dir), '--resume', '--cfg-options',
            f'train_dataloader.num_workers={workers}',
            f'train_dataloader.persistent_workers={workers > 1}']


def _finish(argv: list[str], work_dir: Path, compare: Callable[[Result], list[str]],
            log: Path, run: Callable[[list[str], Path], int]) -> Optional[str]:
    """Resume for the last time; say what is not as in the undisturbed training."""
    status = run(argv, log)
    if status:
        return f'the training could not be resumed, see {log}'
    found = compare(read_result(work_dir))
    found += [f'{path.name} is left over' for path in work_dir.glob('.*.partial')]
    return '; '.join(found[:5]) or None
