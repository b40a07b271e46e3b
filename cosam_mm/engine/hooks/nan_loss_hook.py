"""Detect NaN or infinite losses and weights.

mmengine trains on: the update makes every weight NaN, and the next checkpoints replace
the good ones. This hook checks the loss before the backward pass, and the weights
before they are written.

Gradients are not checked. Automatic mixed precision makes infinite gradients now and
then, on purpose: its scaler then skips the update and lowers the scale.
"""
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import torch
from mmengine.device import get_device
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import Tensor

from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.registry import HOOKS
from cosam_mm.utils.config import hook_option
from cosam_mm.utils.io import read_text
from cosam_mm.utils.messages import name_some

__all__ = ['NaNLossHook', 'sample_names']

# Keys that may hold the name of a sample; the first one that is there counts.
_NAMES = ('sample_id', 'tracklet_id', 'filename', 'frame_dir', 'img_path')
_CHOICES = ('stop', 'skip')
_MAX_NAMED = 64  # of the samples of a batch, over all processes


def sample_names(data_batch: Any) -> list[str]:
    """Names of a batch's ``data_samples`` (with ``metainfo``, or dicts) that have some.
    """
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else ()
    if not isinstance(samples, Sequence):
        samples = [samples]
    names = []
    for sample in samples:
        about = getattr(sample, 'metainfo', sample)
        if isinstance(about, Mapping) and not about.keys().isdisjoint(_NAMES):
            name = next(about[key] for key in _NAMES if key in about)
            # Dicts are collated to one dict of lists.
            names += map(str, name if isinstance(name, (list, tuple)) else [name])
    return names


@HOOKS.register_module()
class NaNLossHook(Hook):
    """Stops a training, or skips a batch, when the loss is NaN or infinite.

    - 'stop': a RuntimeError that names the samples of the batch.
    - 'skip': the batch is left out, with a warning that names its samples. With
      accumulated gradients the other batches of the update still count. After more than
      ``max_skipped`` batches the training stops all the same.

    In both cases weights and buffers, statistics of BatchNorm among them, are as before
    the batch. With either choice the training stops when a weight is NaN or infinite:
    before a checkpoint is written, and when the loss is.

    Several processes agree on each batch, which costs a small all-reduce. Optimisers
    that do not update by mmengine's ``OptimWrapper.update_params`` go unwatched; so do
    losses under DeepSpeed.

    Args:
        on_bad_loss: 'stop' or 'skip'.
        max_skipped: Batches of a run that may be left out.

    Raises:
        ValueError: An argument is not as described.
    """

    priority = 'VERY_HIGH'  # a checkpoint is looked at before others change it

    def __init__(self, on_bad_loss: str = 'stop', max_skipped: int = 10) -> None:
        if on_bad_loss not in _CHOICES:
            raise ValueError(f'on_bad_loss must be one of {_CHOICES}, got '
                             f'{on_bad_loss!r}.')
        if not isinstance(max_skipped, int) or max_skipped < 1:
            raise ValueError('max_skipped must be a whole number of at least 1, got '
                             f'{max_skipped!r}.')
        self.on_bad_loss = on_bad_loss
        self.max_skipped = max_skipped
        self._num_skipped = 0
        self._batch: Any = None
        self._buffers: list[Tensor] = []
        self._kept: list[Tensor] = []  # what the buffers held before the batch

    def before_train(self, runner) -> None:
        """Have every loss checked before the backward pass."""
        self._buffers = list(runner.model.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        wrapper = runner.optim_wrapper
        if type(wrapper).__name__ != 'DeepSpeedOptimWrapper' and isinstance(
                wrapper, OptimWrapper):
            wrapper.update_params = partial(self._update, runner, wrapper.update_params)

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the batch, to name its samples, and the buffers, to reset them."""
        self._batch = data_batch
        _copy(self._buffers, self._kept)

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Forget the batch."""
        self._batch = None

    def after_train(self, runner) -> None:
        """Say how many batches were left out."""
        if self._num_skipped:
            runner.logger.warning(
                f'{self._num_skipped} batch(es) of this run were left out: their loss '
                'was NaN or infinite.')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Stop before NaN or infinite weights are written."""
        _check_weights(runner, checkpoint.get('state_dict') or {})

    def _update(self, runner, update_params: Callable, loss: Tensor, *args, **kwargs
                ) -> None:
        is_bad = ~torch.isfinite(loss.detach()).all()
        if get_world_size() > 1:
            is_bad = is_bad.to(get_device(), torch.uint8)
            all_reduce(is_bad, op='max')
        if not is_bad:
            update_params(loss, *args, **kwargs)
            return
        _copy(self._kept, self._buffers)
        self._refuse(runner, loss)
        _leave_out(runner.optim_wrapper)

    def _refuse(self, runner, loss: Tensor) -> None:
        """Warn of a bad loss, or raise a RuntimeError."""
        _check_weights(runner, bare_model(runner.model).state_dict())
        own = (float(loss.detach().float().mean()), sample_names(self._batch))
        # Each process says its own; those that are fine say nothing.
        found = [(value, names) for value, names in all_gather_object(own)
                 if not math.isfinite(value)]
        names = [repr(name) for _, names in found for name in names]
        problem = (
            f'The loss of iteration {runner.iter + 1} (epoch {runner.epoch + 1}) is '
            f'{found[0][0]}, in the batch '
            + (f'of {name_some(names, _MAX_NAMED)}' if names
               else 'whose samples tell no names'))
        self._num_skipped += 1
        if self.on_bad_loss == 'stop':
            raise RuntimeError(
                f'{problem}. The checkpoints are as before ({_newest(runner)}). Look '
                'at these samples, lower the learning rate, or leave such batches out: '
                f'--cfg-options {hook_option(runner.cfg, self, "on_bad_loss")}=skip.')
        if self._num_skipped > self.max_skipped:
            raise RuntimeError(
                f'{problem}. {self.max_skipped} batches have been left out already, '
                'which max_skipped allows, and the training stops '
                f'({_newest(runner)}). The warnings above name their samples.')
        runner.logger.warning(
            f'{problem}. It is left out ({self._num_skipped} of at most '
            f'{self.max_skipped}).')


def _check_weights(runner, state_dict: Mapping[str, Any]) -> None:
    """Raise a RuntimeError if a parameter is not finite, or a buffer has NaN."""
    parameters = {name for name, _ in bare_model(runner.model).named_parameters()}
    found = [name for name, value in state_dict.items()
             if isinstance(value, Tensor) and value.is_floating_point()
             and not (torch.isfinite(value) if name in parameters
                      else ~torch.isnan(value)).all()]
    if found:
        raise RuntimeError(
            f'{len(found)} weight(s) are NaN or infinite after iteration '
            f'{runner.iter}: {name_some(found, most=3)}. No checkpoint is made of '
            f'them; {_newest(runner)}. Resume from it with a lower learning rate, or '
            'with clipped gradients (optim_wrapper.clip_grad=dict(max_norm=1)).')


@torch.no_grad()
def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    if sources:
        torch._foreach_copy_(targets, sources)  # hundreds of small ones at once


def _newest(runner) -> str:
    """The newest checkpoint that is written, in words."""
    try:
        last = read_text(Path(runner.work_dir, 'last_checkpoint'))
    except (OSError, ValueError):
        return 'there is none yet'
    return f'the newest is {last.strip()}'


def _leave_out(wrapper: OptimWrapper) -> None:
    """Do what an update does but for the batch's own gradients."""
    wrapper._inner_count += 1  # mmengine counts batches where it propagates back
    if not wrapper.should_update():
        return
    if any(parameter.grad is not None for group in wrapper.optimizer.param_groups
           for parameter in group['params']):
        wrapper.step()
    wrapper.zero_grad()
