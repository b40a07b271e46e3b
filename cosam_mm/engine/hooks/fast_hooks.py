"""Other forms of the same arithmetic, for whole runs."""
from collections.abc import Sequence
from typing import Optional

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from cosam_mm.apis.inference_optimization import make_fast, use_channels_last

from .allocator import keep_freed_memory

__all__ = ['ChannelsLastHook', 'FastInferenceHook', 'MallocTuningHook']


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Trains with the convolutions' features laid out channels last.

    The results are the same to rounding, checkpoints are not changed. A model that is
    spread over processes is left alone: what wraps it has taken stock of its weights
    before any hook runs. Opt-in: ``custom_hooks=[..., dict(type='ChannelsLastHook')]``.

    Args:
        devices: Kinds of devices that it does so on. On the others it does nothing.
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
            model = runner.model
            make_fast(model.module if is_model_wrapper(model) else model, data_batch)


@HOOKS.register_module()
class MallocTuningHook(Hook):
    """Keeps freed memory in the process: :func:`~cosam_mm.engine.hooks.allocator
    .keep_freed_memory`.

    A training on a CPU gains by it, results stay the same to the bit, and more memory
    is held where clips differ in size. Opt-in:
    ``custom_hooks=[..., dict(type='MallocTuningHook')]``.
    """

    def before_run(self, runner) -> None:
        """From here to the end of the process."""
        if not keep_freed_memory():
            runner.logger.warning(
                'MallocTuningHook does nothing here: it takes the allocator of glibc.')
