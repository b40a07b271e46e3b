"""Classes that a checkpoint of mmengine holds besides tensors, each built with checks.

torch unpickles by a list of what may be called. numpy's own functions on that list
would build arrays over whatever memory a file names, so these stand for them: numbers
of plain kinds, as many as there are bytes. They count within :func:`checked_classes`
alone, so that ``torch.load`` of a project that imports this package is as before.
"""
import functools
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ['checked_classes']

_KINDS = ('b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8')


def _refusal(what: str) -> ValueError:
    return ValueError(f'The checkpoint holds {what}, which none of mmengine does: do '
                      'not trust this file.')


class _Dtype:
    """Stands for ``numpy.dtype``: plain numbers, in either order of bytes."""

    def __init__(self, kind: Any, align: Any = False, copy: Any = False) -> None:
        if kind not in _KINDS:
            raise _refusal(f'an array of {kind!r}')
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: Sequence) -> None:
        # (version, byte order, subdtype, names, fields, size, alignment, flags)
        order, rest = state[1], tuple(state[2:8])
        if order not in ('<', '>', '=', '|') or rest != (None, None, None, -1, -1, 0):
            raise _refusal('an array of structures')
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """Stands for ``numpy.ndarray``; written again, it is one."""

    def __new__(cls) -> '_Array':
        return super().__new__(cls, (0,), 'b')

    def __setstate__(self, state: Sequence) -> None:
        _version, shape, kind, is_fortran, data = state
        if not (type(kind) is _Dtype and type(data) is bytes and type(shape) is tuple
                and all(type(size) is int and size >= 0 for size in shape)
                and math.prod(shape) * kind.dtype.itemsize == len(data)):
            raise _refusal('an array whose size is not that of its numbers')
        super().__setstate__((1, shape, kind.dtype, bool(is_fortran), data))

    def __reduce__(self):
        return np.array(self).__reduce__()


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    """Stands for what makes the empty array that numpy then fills."""
    if kind is not _Array or shape != (0,):
        raise _refusal(f'an array of class {kind!r}')
    return _Array()


def _scalar(kind: Any, data: Any) -> np.generic:
    """Stands for what makes numbers of numpy."""
    if not (type(kind) is _Dtype and type(data) is bytes
            and len(data) == kind.dtype.itemsize):
        raise _refusal('a number whose size is not that of its kind')
    return np.frombuffer(data, kind.dtype)[0]


def _one_cycle_scheduler() -> type:
    """Stands for the class in an allow-list: it takes a second to import."""
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
    return OneCycleParamScheduler


@functools.cache
def _history_class() -> type:
    from mmengine.logging import HistoryBuffer

    class History(HistoryBuffer):
        """Numbers and their counts; mmengine's would take over statistics for all."""

        def __setstate__(self, state: dict) -> None:
            values, counts = (np.array(state[name]) for name in (
                '_log_history', '_count_history'))
            most = state['max_length']
            if not (type(most) is int and values.ndim == 1
                    and values.shape == counts.shape
                    and {values.dtype.kind, counts.dtype.kind} <= set('iuf')):
                raise _refusal('a history of something else than numbers')
            self.__class__ = HistoryBuffer
            self.__init__(values, counts, most)

    return History


def _plain_attribute(owner: Any, name: Any):
    """What a checkpoint may ask ``getattr`` for: functions it refers to by name."""
    if owner is _history_class() and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    if owner is _one_cycle_scheduler and name in ('_annealing_cos',
                                                  '_annealing_linear'):
        return getattr(owner(), name)
    raise _refusal(f'a request for {name!r} of {owner!r}')


_lock, _allowed, _readers = threading.Lock(), ExitStack(), []


@contextmanager
def checked_classes() -> Iterator[None]:
    """Context in which torch reads the checkpoints of mmengine, and no more.

    They hold ``HistoryBuffer`` objects, made of numpy's arrays and numbers, which refer
    to their own statistics, and a one-cycle schedule to its annealing function, through
    ``getattr``.
    """
    # numpy 1 and 2 keep them in modules of different names.
    cores = [(function, f'numpy.{core}.multiarray.{name}')
             for core in ('core', '_core')
             for name, function in (('_reconstruct', _reconstruct),
                                    ('scalar', _scalar))]
    allowed = torch.serialization.safe_globals([
        *cores, (_Dtype, 'numpy.dtype'), (_Array, 'numpy.ndarray'),
        (_history_class(), 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_one_cycle_scheduler,
         'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
        (_plain_attribute, 'builtins.getattr')])
    with _lock:  # torch takes them away at the first end of several
        if not _readers:
            _allowed.enter_context(allowed)
        _readers.append(None)
    try:
        yield
    finally:
        with _lock:
            _readers.pop()
            if not _readers:
                _allowed.close()
