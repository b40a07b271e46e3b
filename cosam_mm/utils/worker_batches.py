"""Batches that workers send to the main process, however little shared memory there is.

torch moves the tensors of a batch to shared memory, in a thread of the worker. Where
that is full (Docker gives a container 64 MB), the thread drops the batch, and the main
process waits for it for ever.
"""
import functools
import io
import logging
import pickle
from typing import Any, Callable

import torch
from mmengine.logging import print_log
from torch.utils.data import DataLoader, get_worker_info

__all__ = ['SendableCollate', 'make_batches_sendable']


class _Sharer(pickle.Pickler):
    """Moves the tensors of what it pickles to shared memory, as sending them would."""

    def persistent_id(self, obj: Any):
        if isinstance(obj, torch.Tensor):
            if obj.untyped_storage().nbytes():
                obj.share_memory_()
            return 'tensor'
        return None


@functools.cache
def _warn() -> None:
    print_log('The shared memory (/dev/shm) is too small for the batches: they come '
              'through pipes, which is slower. Give it more (docker run --shm-size=8g),'
              ' or read in the main process (num_workers=0).', 'current',
              logging.WARNING)


def _unpack(batch: bytes) -> Any:
    _warn()
    return pickle.loads(batch)


class _Packed:
    """A batch by value; it is itself again in the process that gets it."""

    def __init__(self, batch: Any) -> None:
        self.batch = pickle.dumps(batch)

    def __reduce__(self) -> tuple:
        return _unpack, (self.batch,)


class SendableCollate:
    """Collates as a function does, and finds out whether the batch can be sent.

    Args:
        collate: Makes a batch of a list of samples.
    """

    def __init__(self, collate: Callable[[list], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list) -> Any:
        """The batch; in a worker one that gets to the main process in any case."""
        batch = self.collate(samples)
        if get_worker_info() is None:
            return batch
        try:
            _Sharer(io.BytesIO()).dump(batch)
        except RuntimeError:  # torch's, of a full device or too many open files
            return _Packed(batch)
        return batch


def make_batches_sendable(loader: DataLoader) -> None:
    """To be called before a loader is iterated over for the first time."""
    if not isinstance(loader.collate_fn, SendableCollate):
        loader.collate_fn = SendableCollate(loader.collate_fn)
