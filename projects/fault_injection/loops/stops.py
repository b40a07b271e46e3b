"""SIGTERM and Ctrl-C at any time: a checkpoint, a clean exit, and the same end.

The signal goes to all processes of the training, its workers among them, as clusters
and terminals send it; SIGTERM twice, as a launcher that passes it on makes it.
"""
import contextlib
import os
import re
import signal
from collections.abc import Iterator
from typing import Optional

from projects.fault_injection.harness import Options, Trial
from projects.fault_injection.resumed import Attempt, Interruption, disturb
from projects.fault_injection.training import LIMIT, start_tool, wait_for_training

FAMILIES = ('action', 'reid')


def run(options: Options) -> Iterator[Trial]:
    """Stop ``options.count`` times in each family."""
    yield from disturb(options, _stop)


def _stop(attempt: Attempt) -> Optional[Interruption]:
    number = (signal.SIGTERM, signal.SIGINT)[attempt.turn % 2]
    offset = attempt.log.stat().st_size if attempt.log.exists() else 0
    process = start_tool(attempt.argv, attempt.log)
    wait_for_training(process, attempt.log, offset)
    process.join(attempt.rng.uniform(0, attempt.seconds / 2))
    for _ in range(2 if number == signal.SIGTERM else 1):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, number)
        process.join(0.05)
    process.join(LIMIT)
    if process.exitcode == 0:
        return None  # it was at its end
    return Interruption(number.name, _complaint(
        process.exitcode, attempt.log.read_bytes()[offset:].decode(), number,
        attempt.log))


def _complaint(status: int, text: str, number: signal.Signals, log) -> Optional[str]:
    """What was wrong with the exit."""
    stopped = re.search(r'Stopped by (\w+) after iteration \d+ of \d+: --resume goes '
                        r'on from (\S+\.pth)\.', text)
    if status != 128 + number:
        return f'exit status {status}, see {log}'
    if not stopped or stopped[1] != number.name:
        return f'no word of a checkpoint, see {log}'
    return 'a traceback' if 'Traceback' in text else None
