"""One batch of what the processes of a training hold parts of.

A loss that compares the items of a batch is not the mean of the losses of its parts.
Every process computes it on the whole batch, and its gradient for its own part::

    process 0   feature 0 --.--> [feature 0 | feature 1] --> loss      the same on both
    process 1   feature 1 --'--> [feature 0 | feature 1] --> loss
                                  ^ own part with gradient

What wraps the model (DDP, FSDP, DeepSpeed) takes the mean of the gradients of W
processes, as fits losses that are means over parts. Here their sum is the gradient, so
each process multiplies its own by W. Nothing is communicated in the backward pass.
"""
import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor

__all__ = ['gather_batch']


def gather_batch(feature: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The batch of all processes, in the order of their ranks.

    Args:
        feature: (N, D), of this process; N and D are the same on all.
        label: (N,), of this process.

    Returns:
        (W * N, D) and (W * N,) of W processes. The gradient of the features reaches
        those of this process, times W.
    """
    world_size = get_world_size()
    if world_size == 1:
        return feature, label
    features = all_gather(feature.detach().contiguous())
    features[get_rank()] = _scale_gradient(feature, world_size)
    return torch.cat(features), torch.cat(all_gather(label.contiguous()))


def _scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x``, whose gradient will be multiplied."""
    x = x.clone()
    if x.requires_grad:
        x.register_hook(lambda grad: factor * grad)
    return x
