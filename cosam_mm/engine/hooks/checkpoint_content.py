"""What a checkpoint holds beyond what mmengine puts into it, and what is taken from it.

Gradients that wait to be applied and the buffers of each process go in; of what it
names, only checkpoints beside it count.
"""
import os

import torch
from mmengine.dist import (
    all_gather,
    all_gather_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper

__all__ = ['AWAITS_VALIDATION', 'BUFFERS', 'GRADIENTS', 'OUTDATED', 'WITHIN_EPOCH',
           'bare_model', 'differing_buffers', 'pending_gradients', 'stay_in_folder',
           'take_gradients']

# Keys of a checkpoint: gradients of each process that were not applied yet, and their
# mean, which older versions kept instead; buffers of each process, where they are not
# the same; in its meta, whether its validation is to come; in its message hub, the
# files that it takes the place of, and its own name if it stands within an epoch.
GRADIENTS = 'gradients_of_processes'
MEAN_GRADIENTS = 'gradients'
BUFFERS = 'buffers_of_processes'
AWAITS_VALIDATION = 'awaits_validation'
OUTDATED = 'outdated_ckpts'
WITHIN_EPOCH = 'ckpt_within_epoch'


def bare_model(runner) -> torch.nn.Module:
    """The model of a runner without what wraps it for several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def pending_gradients(runner) -> list[dict[str, torch.Tensor]]:
    """Gradients of each process that wait for more batches, by name.

    Each process has added up its own, for some parameters none; only when they are
    applied their mean is taken, and a mean taken before is rounded otherwise. Models
    that a strategy spreads over processes are left out.

    Returns:
        One dictionary for each process, on the CPU; the main process has them all, the
        others an empty list. Empty everywhere if nothing waits.
    """
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, OptimWrapper) or hasattr(runner, 'strategy'):
        return []
    if wrapper._accumulative_counts == 1 or wrapper.should_update():
        return []
    return _gather_gradients(bare_model(runner))


def _gather_gradients(model: torch.nn.Module) -> list[dict[str, torch.Tensor]]:
    """Parameter by parameter, since a GPU need not have room for those of all."""
    own = {name for name, parameter in model.named_parameters()
           if parameter.grad is not None}
    names_of_all = all_gather_object(own)
    gathered: list[dict[str, torch.Tensor]] = [{} for _ in names_of_all]
    for name, parameter in model.named_parameters():
        if not any(name in names for names in names_of_all):
            continue
        gradient = (parameter.grad.detach() if name in own
                    else torch.zeros_like(parameter))
        for names, kept, one in zip(names_of_all, gathered,
                                    all_gather(gradient.contiguous())):
            if name in names and is_main_process():
                kept[name] = one.to('cpu', copy=True)
    return gathered if is_main_process() else []


def take_gradients(checkpoint: dict) -> dict[str, torch.Tensor]:
    """Take the gradients that wait out of a checkpoint.

    Args:
        checkpoint: Its content, which loses them.

    Returns:
        By name, those of this process; or the mean of all where the checkpoint is of
        another number of processes, or of a version that kept nothing else.
    """
    mean = checkpoint.pop(MEAN_GRADIENTS, None) or {}
    of_all = checkpoint.pop(GRADIENTS, None) or []
    if len(of_all) == get_world_size():
        return of_all[get_rank()]
    names = {name: None for one in of_all for name in one}  # in order
    return mean or {name: sum(one[name] for one in of_all if name in one) / len(of_all)
                    for name in names}


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
