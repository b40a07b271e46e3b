"""Log the losses of all processes, not those of the first."""
from collections.abc import Sequence
from typing import Optional

import torch
from mmengine.dist import all_reduce_dict, get_world_size
from mmengine.hooks import Hook

from cosam_mm.registry import HOOKS

__all__ = ['MeanLossHook']


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Means over the processes in place of each process's own losses.

    mmengine logs what the first process computes on its share of a batch. With this
    hook the curves are those of one process with the whole batch, so long as losses
    are means and shares are equal. Training itself is not changed.
    """

    priority = 'HIGHEST'  # before RuntimeInfoHook takes the values for the log

    def after_train_iter(self, runner, batch_idx: int,
                         data_batch: Optional[Sequence] = None,
                         outputs: Optional[dict] = None) -> None:
        """Replace the tensors among ``outputs``, which have one element each."""
        losses = {name: value.detach() for name, value in (outputs or {}).items()
                  if isinstance(value, torch.Tensor)}
        if losses and get_world_size() > 1:
            all_reduce_dict(losses, op='mean')
            outputs.update(losses)
