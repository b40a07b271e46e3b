"""Convolutions in groups of few channels, with gradients taken in wider groups.

A processor multiplies a vector of channels at once. Where a group has four of them,
most of it is idle, most of all in gradients in bfloat16. ``factor`` groups side by side
are one group, too, whose weights between channels of different groups are 0::

    groups   1 1 . .   of 2 channels,    1 1 0 0   of 4, the same convolution
             2 2 . .                     2 2 0 0
             . . 3 3                     0 0 3 3
             . . 4 4                     0 0 4 4

That is ``factor`` times the arithmetic, and faster all the same. The gradients of
finite numbers are the same to rounding: what is added are products with 0, and the
gradients of weights that are not there are left out.
"""
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

__all__ = ['GroupedConvolution', 'merge_groups', 'split_groups', 'widening']

# Channels of groups whose gradients are taken in pairs of groups. Groups of 8 gain
# nothing any more.
NARROW = 4


def widening(channels: int, groups: int) -> int:
    """How many groups are to be merged into one.

    Args:
        channels: Of the input, all groups together.
        groups: Their number.

    Returns:
        2 or, where groups have another width or no partner, 1.
    """
    return 2 if channels == NARROW * groups and groups % 2 == 0 else 1


def merge_groups(weight: Tensor, groups: int, factor: int) -> Tensor:
    """Weights of the same convolution in fewer, wider groups.

    Args:
        weight: (D, C / groups, ...).
        groups: Number of groups, which divides D.
        factor: How many become one; it divides ``groups``.

    Returns:
        (D, factor * C / groups, ...), channels last if ``weight`` is.
    """
    outputs, inputs, *kernel = weight.shape
    parts = weight.view(groups // factor, factor, outputs // groups, inputs, *kernel)
    wide = weight.new_zeros(
        groups // factor, factor, outputs // groups, factor, inputs, *kernel)
    _diagonal(wide).copy_(parts.movedim(1, -1))
    wide = wide.view(outputs, factor * inputs, *kernel)
    return wide.contiguous(memory_format=_memory_format(weight))


def split_groups(wide: Tensor, groups: int, factor: int) -> Tensor:
    """The other way round: what :func:`merge_groups` has put together.

    Args:
        wide: (D, factor * C / groups, ...).
        groups: Number of the narrow groups.
        factor: How many of them were merged into one.

    Returns:
        (D, C / groups, ...), channels last if ``wide`` is.
    """
    outputs, inputs, *kernel = wide.shape
    parts = wide.reshape(groups // factor, factor, outputs // groups, factor,
                         inputs // factor, *kernel)
    weight = _diagonal(parts).movedim(-1, 1).reshape(
        outputs, inputs // factor, *kernel)
    return weight.contiguous(memory_format=_memory_format(wide))


def _diagonal(parts: Tensor) -> Tensor:
    """Weights within the narrow groups, these in the last dimension."""
    return parts.diagonal(dim1=1, dim2=3)


def _memory_format(weight: Tensor) -> torch.memory_format:
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(weight.dim())
    is_last = last is not None and weight.is_contiguous(memory_format=last)
    return last if is_last else torch.contiguous_format


class GroupedConvolution(Function):
    """A grouped convolution without a bias."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, stride: Sequence[int],
                padding: Sequence[int], dilation: Sequence[int], groups: int
                ) -> Tensor:
        """Args: x, (N, C, ...); weight, (D, C / groups, ...); of one dtype."""
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, dilation
        ctx.groups = groups
        return torch.convolution(x, weight, None, stride, padding, dilation, False,
                                 [0] * len(stride), groups)

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Optional[Tensor], ...]:
        """Gradients of x and weight."""
        x, weight = ctx.saved_tensors
        factor = widening(x.shape[1], ctx.groups)
        if torch.is_grad_enabled():
            factor = 1  # the gradients of these gradients need them as they are
        if factor > 1:
            weight = merge_groups(weight, ctx.groups, factor)
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            g, x, weight, None, *ctx.settings, False, [0] * len(ctx.settings[0]),
            ctx.groups // factor, (*ctx.needs_input_grad[:2], False))
        if factor > 1 and grad_weight is not None:
            grad_weight = split_groups(grad_weight, ctx.groups, factor)
        return grad_x, grad_weight, None, None, None, None
