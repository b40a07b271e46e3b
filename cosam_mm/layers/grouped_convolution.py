"""A grouped 3-D convolution whose gradients are taken in their faster form."""
from typing import Optional

import torch
from torch import Tensor, nn

from cosam_mm.functional.cosam_gradients import has_own_gradients
from cosam_mm.functional.grouped_convolution import GroupedConvolution, widening

__all__ = ['GroupedConv3d']


class GroupedConv3d(nn.Conv3d):
    """``nn.Conv3d`` with the same weights and results, for groups of few channels.

    Where its weights lie channels last on a CPU
    (:func:`cosam_mm.engine.fast.use_channels_last`), a training in bfloat16 takes its
    gradients in wider groups: :mod:`cosam_mm.functional.grouped_convolution`. Elsewhere
    it is ``nn.Conv3d``.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Optional[Tensor]
                      ) -> Tensor:
        if self._may_widen(x, weight, bias):
            x, weight = _autocast(x), _autocast(weight)
            if x.dtype == weight.dtype == torch.bfloat16:
                return GroupedConvolution.apply(
                    x, weight, self.stride, self.padding, self.dilation, self.groups)
        return super()._conv_forward(x, weight, bias)

    def _may_widen(self, x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> bool:
        return (has_own_gradients() and torch.is_grad_enabled() and weight.is_cpu
                and widening(self.in_channels, self.groups) > 1
                and _is_channels_last(weight) and bias is None and x.dim() == 5
                and self.padding_mode == 'zeros' and not isinstance(self.padding, str))


def _is_channels_last(weight: Tensor) -> bool:
    return (weight.is_contiguous(memory_format=torch.channels_last_3d)
            and not weight.is_contiguous())


def _autocast(x: Tensor) -> Tensor:
    """As autocasting hands it to a convolution."""
    if torch.is_autocast_enabled('cpu') and x.dtype != torch.float64:
        return x.to(torch.get_autocast_dtype('cpu'))
    return x
