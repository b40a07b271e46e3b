"""Faults that go off within a process, at a moment that chance would hardly meet.

They are set in the process that is to suffer them, before it runs. What the process is
then left with is real: its death is a SIGKILL, its error comes from a system call.
"""
import os
import resource
import signal
from typing import NamedTuple

__all__ = ['MOMENTS', 'Fault', 'arm']


class Fault(NamedTuple):
    """What goes wrong.

    Attributes:
        moment: One of :data:`MOMENTS`.
        number: At which occasion, from 1; of 'file size', bytes.
    """
    moment: str
    number: int


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at_occasion(number: int):
    """A function that is true the number-th time it is called."""
    calls = iter(range(1, 1 << 30))
    return lambda: next(calls) == number


def _half_written(number: int) -> None:
    from mmengine.fileio import LocalBackend
    put, is_it = LocalBackend.put, _at_occasion(number)

    def put_half(self, obj, filepath):
        if not is_it():
            return put(self, obj, filepath)
        put(self, obj[:len(obj) // 2], filepath)
        return _die()

    LocalBackend.put = put_half


def _around_rename(number: int, after: bool) -> None:
    replace, is_it = os.replace, _at_occasion(number)

    def replace_or_die(source, target, **kwargs):
        is_now = str(target).endswith('.pth') and is_it()
        if is_now and not after:
            _die()
        replace(source, target, **kwargs)
        if is_now:
            _die()

    os.replace = replace_or_die


def _in_loop(name: str, number: int) -> None:
    from mmengine import runner
    loop = getattr(runner, name)
    run_iter, is_it = loop.run_iter, _at_occasion(number)

    def run_or_die(self, *args, **kwargs):
        if is_it():
            _die()
        return run_iter(self, *args, **kwargs)

    loop.run_iter = run_or_die


def _in_step(number: int) -> None:
    from mmengine.optim import OptimWrapper
    step, is_it = OptimWrapper.step, _at_occasion(number)

    def step_and_die(self, **kwargs):
        step(self, **kwargs)
        if is_it():
            _die()

    OptimWrapper.step = step_and_die


def _file_size(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, resource.RLIM_INFINITY))


MOMENTS = {
    'half a checkpoint written': _half_written,
    'before the rename': lambda number: _around_rename(number, after=False),
    'after the rename': lambda number: _around_rename(number, after=True),
    'in a validation': lambda number: _in_loop('ValLoop', number),
    'in a test': lambda number: _in_loop('TestLoop', number),
    'in a step of the optimiser': _in_step,
    'file size': _file_size,
}


def arm(fault: Fault) -> None:
    """Let a fault go off in this process."""
    MOMENTS[fault.moment](fault.number)
