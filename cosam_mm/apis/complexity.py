"""Parameters and multiply-adds of a recogniser for one clip."""
import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer
from mmengine.analysis.print_helper import complexity_stats_table
from torch import nn

__all__ = ['Complexity', 'blank_clip', 'measure_complexity']


class Complexity(NamedTuple):
    """What a model costs for one clip."""
    parameters: int
    # Of convolutions, linear layers, recurrent layers and matrix products, one for each
    # multiplication with its addition, and of normalisations.
    multiply_adds: int
    table: str  # both by module


class _Scores(nn.Module):
    """The class scores of clips: every stage of a recogniser runs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.model(clips, mode='tensor', stage='head')


def blank_clip(model: nn.Module, shape: Sequence[int]) -> torch.Tensor:
    """One clip of zeros as a batch for a recogniser.

    Args:
        model: An MMAction2 recogniser.
        shape: (C, T, H, W) of the clip.

    Returns:
        (1, 1, C, T, H, W); (1, T, C, H, W) for a recogniser of frames, whose
        preprocessor has ``format_shape='NCHW'``.
    """
    clip = torch.zeros(1, *shape)
    if getattr(model.data_preprocessor, 'format_shape', None) == 'NCHW':
        return clip.transpose(1, 2)
    return clip[None]


def measure_complexity(model: nn.Module, shape: Sequence[int],
                       with_table: bool = False) -> Complexity:
    """Count what a recogniser costs.

    Args:
        model: An MMAction2 recogniser. It is set to evaluation mode.
        shape: (C, T, H, W) of one clip.
        with_table: Whether to make the table by module, too.
    """
    scores, inputs = _Scores(model.eval()), (blank_clip(model, shape),)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the tracer's, about Python numbers
        flops = FlopAnalyzer(scores, inputs)
        flops.set_op_handle('aten::lstm', _count_lstm)
        flops.set_op_handle('aten::scaled_dot_product_attention', _count_attention)
        flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        total, table = int(flops.total()), ''
        if with_table:
            table = complexity_stats_table(
                flops, activations=ActivationAnalyzer(scores, inputs))
    return Complexity(sum(p.numel() for p in model.parameters()), total, table)


def _sizes(value) -> list:
    return value.type().sizes()


def _count_lstm(inputs: list, outputs: list) -> int:
    """Each weight of an LSTM is used once a step and sequence."""
    batch, steps = _sizes(inputs[0])[:2]
    weights = [_sizes(value) for value in inputs[2].node().inputs()]
    return batch * steps * sum(math.prod(w) for w in weights if len(w) == 2)


def _count_attention(inputs: list, outputs: list) -> int:
    """Queries times keys, and attention times values."""
    query, key, value = (_sizes(v) for v in inputs[:3])
    return (math.prod(query) * key[-2]) + (math.prod(query[:-1]) * key[-2] * value[-1])
