"""Start-up: importing the package against importing torch and mmengine alone.

Part ``import``: fresh processes in alternation. Each times its own imports, so that
the start of the interpreter, the same on both sides, is not in the ratio.
"""
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.harness import Options
from benchmarks.metrics import Metric, at_most
from projects.attention_study.measurement import summarize

__all__ = ['PARTS', 'run']

PARTS = ('import',)

BASELINE, CONTENDER = 'import torch, mmengine', 'import torch, mmengine, cosam_mm'
CHILD = """
import time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""
ROUNDS = 15


def run(options: Options) -> Iterator[Metric]:
    """Yield the one metric."""
    rounds = 2 if options.quick else ROUNDS
    times = alternate((BASELINE, CONTENDER), rounds)
    ratio = summarize(ours / theirs for ours, theirs in zip(times[CONTENDER],
                                                            times[BASELINE]))
    metric = Metric('import', f'{CONTENDER} / {BASELINE}', 'times', ratio, at_most(1.2),
                    {'baseline': BASELINE, 'contender': CONTENDER,
                     'baseline_seconds': summarize(times[BASELINE]).median,
                     'contender_seconds': summarize(times[CONTENDER]).median})
    yield replace(metric, target=None) if options.quick else metric


def alternate(statements: tuple, rounds: int) -> dict[str, list[float]]:
    """Seconds of each statement in a fresh process, in each round, after a warm-up."""
    times = {statement: [] for statement in statements}
    for index in range(-1, rounds):
        for statement in statements if index % 2 else statements[::-1]:
            seconds = import_seconds(statement)
            if index >= 0:
                times[statement].append(seconds)
    return times


def import_seconds(statement: str) -> float:
    """How long a statement takes in a process of its own.

    Raises:
        RuntimeError: It fails there.
    """
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', CHILD.format(statement=statement)],
        capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{statement!r} failed in a process of its own:\n'
                           f'{done.stderr}')
    return float(done.stdout.split()[-1])
