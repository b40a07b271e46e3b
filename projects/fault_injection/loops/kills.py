"""SIGKILL at any moment of a training, which is resumed and must end the same.

A training is killed, resumed without a word, killed again, up to five times, and then
left to end. Every other kill comes at a random time; the rest at moments that chance
would hardly meet.
"""
import signal
from collections.abc import Iterator
from typing import Optional

from projects.fault_injection.faults import Fault
from projects.fault_injection.harness import Options, Trial
from projects.fault_injection.resumed import Attempt, Interruption, disturb
from projects.fault_injection.training import LIMIT, run_tool, start_tool

FAMILIES = ('action', 'reid')
_MOMENTS = ('half a checkpoint written', 'before the rename', 'after the rename',
            'in a validation', 'in a step of the optimiser')


def run(options: Options) -> Iterator[Trial]:
    """Kill ``options.count`` times in each family."""
    yield from disturb(options, _kill)


def _kill(attempt: Attempt) -> Optional[Interruption]:
    if attempt.turn % 2:
        moment = _MOMENTS[attempt.turn // 2 % len(_MOMENTS)]
        status = run_tool(attempt.argv, attempt.log,
                          Fault(moment, attempt.rng.randint(1, 4)))
    else:
        moment = 'at any time'
        process = start_tool(attempt.argv, attempt.log)
        process.join(attempt.rng.uniform(0, attempt.seconds))
        process.kill()
        process.join(LIMIT)
        status = process.exitcode
    return Interruption(f'SIGKILL {moment}') if status == -signal.SIGKILL else None
