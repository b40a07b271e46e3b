"""What a checkpoint holds beyond what mmengine puts into it, and what is taken from it.

Gradients that wait to be applied and the buffers of each process go in; of what it
names, only checkpoints beside it count.
"""
import os

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper

__all__ = ['AWAITS_VALIDATION', 'BUFFERS', 'GRADIENTS', 'OUTDATED', 'WITHIN_EPOCH',
           'bare_model', 'differing_buffers', 'pending_gradients', 'stay_in_folder']

# Keys of a checkpoint: gradients that were not applied yet; buffers of each process,
# where they are not the same; in its meta, whether its validation is to come; in its
# message hub, the files that it takes the place of, and its own name if it stands
# within an epoch.
GRADIENTS = 'gradients'
BUFFERS = 'buffers_of_processes'
AWAITS_VALIDATION = 'awaits_validation'
OUTDATED = 'outdated_ckpts'
WITHIN_EPOCH = 'ckpt_within_epoch'


def bare_model(runner) -> torch.nn.Module:
    """The model of a runner without what wraps it for several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def pending_gradients(runner) -> dict[str, torch.Tensor]:
    """Gradients that wait for more batches before they are applied, by name.

    Each process has added up its own. Their mean is what is applied in the end, so
    that is what is kept. Models that a strategy spreads over processes are left out.
    """
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, OptimWrapper) or hasattr(runner, 'strategy'):
        return {}
    if wrapper._accumulative_counts == 1 or wrapper.should_update():
        return {}
    gradients = {name: parameter.grad.detach().clone()
                 for name, parameter in bare_model(runner).named_parameters()
                 if parameter.grad is not None}
    for gradient in gradients.values():
        all_reduce(gradient, op='mean')
    return {name: gradient.cpu() for name, gradient in gradients.items()}


def differing_buffers(runner) -> list[dict[str, torch.Tensor]]:
    """Buffers of each process by name; empty where all have the same.

    Within an epoch, each process has a batch norm's statistics of its own.
    """
    if get_world_size() == 1 or hasattr(runner, 'strategy'):
        return []
    kept = bare_model(runner).state_dict().keys()
    of_all = all_gather_object({
        name: buffer.detach().cpu()
        for name, buffer in bare_model(runner).named_buffers() if name in kept})
    is_same = all(torch.equal(buffer, other[name])
                  for name, buffer in of_all[0].items() for other in of_all[1:])
    return [] if is_same else of_all


def stay_in_folder(checkpoint: dict) -> None:
    """Drop what a checkpoint of a stranger says of files that lie elsewhere.

    Those that it names are removed when they are outdated.
    """
    info = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
    for key, is_own in ((OUTDATED, _is_checkpoint_name),
                        ('keep_ckpt_ids', lambda step: isinstance(step, int))):
        if key in info:
            info[key] = [item for item in info[key] or () if is_own(item)]
    if not _is_checkpoint_name(info.get(WITHIN_EPOCH, '')):
        info.pop(WITHIN_EPOCH, None)


def _is_checkpoint_name(name: object) -> bool:
    return (isinstance(name, str) and name.endswith('.pth')
            and os.path.basename(name) == name)
