"""Faults that go off within a process, at a moment that chance would hardly meet.

Their consequences are real: the death of a process is a SIGKILL.

A config that imports this module arms the fault of its process: the environment
variable ``RELIABILITY_FAULT`` names the rank, 0 of one process alone, the occasion and
one of :data:`MOMENTS`: ``1 2 in a validation``.
"""
import os
import signal


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap(owner, name: str, number: int, before=None, after=None, counts=None) -> None:
    """Act around the number-th call of a method, of those that ``counts`` takes."""
    function = getattr(owner, name)
    calls = iter(range(1, 1 << 30))

    def wrapped(*args, **kwargs):
        is_now = (counts is None or counts(*args)) and next(calls) == number
        if is_now and before:
            args = before(*args) or args
        result = function(*args, **kwargs)
        if is_now and after:
            after()
        return result

    setattr(owner, name, wrapped)


def _half_written(number: int) -> None:
    from mmengine.fileio import LocalBackend
    _wrap(LocalBackend, 'put', number, after=_die, before=lambda self, content, path: (
        self, content[:len(content) // 2], path))


def _around_rename(number: int, **action) -> None:
    _wrap(os, 'replace', number, **action,
          counts=lambda source, target: str(target).endswith('.pth'))


def _in_loop(name: str, number: int) -> None:
    from mmengine import runner
    _wrap(getattr(runner, name), 'run_iter', number, before=lambda *_: _die())


def _in_step(number: int) -> None:
    from mmengine.optim import OptimWrapper
    _wrap(OptimWrapper, 'step', number, after=_die)


MOMENTS = {
    'half a checkpoint written': _half_written,
    'before the rename': lambda number: _around_rename(
        number, before=lambda *_: _die()),
    'after the rename': lambda number: _around_rename(number, after=_die),
    'in a validation': lambda number: _in_loop('ValLoop', number),
    'in a test': lambda number: _in_loop('TestLoop', number),
    'in a step of the optimiser': _in_step,
}


_rank, _, _fault = os.environ.get('RELIABILITY_FAULT', '').partition(' ')
if _rank == os.environ.get('RANK', '0'):
    _number, _, _moment = _fault.partition(' ')
    MOMENTS[_moment](int(_number))
