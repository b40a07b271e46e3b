"""Faster runs with the same arithmetic: memory layout, folded layers, malloc."""
import ctypes
import platform
from collections.abc import Sequence
from typing import Optional

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from cosam_mm.apis.inference_optimization import make_fast, use_channels_last
from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.registry import HOOKS

__all__ = ['ChannelsLastHook', 'FastInferenceHook', 'MallocTuningHook',
           'keep_freed_memory']

# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = -1


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Trains with the convolutions' features laid out channels last.

    The results are the same to rounding, checkpoints are not changed. A model that is
    spread over processes is left alone: its wrapper has recorded the layout of the
    weights. Opt-in: ``custom_hooks=[..., dict(type='ChannelsLastHook')]``.

    Args:
        devices: Kinds of devices that it does so on.
    """

    def __init__(self, devices: Sequence[str] = ('cpu',)) -> None:
        self.devices = tuple(devices)

    def before_train(self, runner) -> None:
        """Lay the weights out anew."""
        if is_model_wrapper(runner.model):
            return
        if next(runner.model.parameters()).device.type in self.devices:
            use_channels_last(runner.model)


@HOOKS.register_module()
class FastInferenceHook(Hook):
    """Tests with the fast form of the model: ``tools/test.py --fast``."""

    def before_test_iter(self, runner, batch_idx: int,
                         data_batch: Optional[Sequence] = None) -> None:
        """Change the model with the help of the first batch."""
        if batch_idx == 0:
            make_fast(bare_model(runner.model), data_batch)


def keep_freed_memory() -> bool:
    """Have this process keep memory that it frees, up to its largest use.

    glibc asks the system for each block of more than 32 MiB and returns it when it is
    freed. Features of clips are such blocks: on a CPU each layer's output then costs
    the time in which its pages are found and cleared. The setting holds to the end of
    the process. Where sizes change from step to step the peak of memory grows: freed
    blocks are reused only where they fit.

    Returns:
        Whether the system's allocator can do so: glibc's can.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # No block is asked for by itself, and none is returned at the end of the heap.
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _NEVER))


@HOOKS.register_module()
class MallocTuningHook(Hook):
    """Keeps freed memory in the process: :func:`keep_freed_memory`.

    A training on a CPU gets faster, its results stay the same to the bit, and its peak
    of memory grows where clips differ in size. Opt-in:
    ``custom_hooks=[..., dict(type='MallocTuningHook')]``.
    """

    def before_run(self, runner) -> None:
        """Tune the allocator, to the end of the process."""
        if not keep_freed_memory():
            runner.logger.warning(
                'MallocTuningHook does nothing here: it needs the allocator of glibc.')
