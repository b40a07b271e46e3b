"""Temporal aggregation for re-identification: a clip's maps in, one feature out.

Gao, Nevatia, *Revisiting Temporal Modeling for Video-based Person ReID*, 2018,
section 3.2, compares these three. They share one interface: feature maps
(N, C, T, H, W) to features (N, ``out_channels``)::

    TP   mean over space, mean over frames
    TA   mean over space, weighed sum over frames; the weights are made by a
         convolution over all of space, then one over time
    RNN  mean over space, an LSTM over frames, mean of its outputs
"""
from collections.abc import Sequence
from typing import Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from cosam_mm.registry import MODELS

from .temporal import TemporalMean, run_lstm

__all__ = [
    'TemporalAttentionAggregation', 'TemporalPoolAggregation',
    'TemporalRNNAggregation'
]


def _tokens(x: Tensor, in_channels: int) -> Tensor:
    """Average over space: (N, C, T, H, W) to (N, T, C)."""
    if x.dim() != 5 or x.shape[1] != in_channels:
        raise ValueError(
            f'The aggregation was built for feature maps (N, {in_channels}, T, H, '
            f'W), got {tuple(x.shape)}: set in_channels of the aggregation to the '
            'channels of the backbone.')
    return x.mean((3, 4)).transpose(1, 2)


@MODELS.register_module()
class TemporalPoolAggregation(TemporalMean):
    """TP: the mean over frames of the spatially pooled features.

    Args:
        in_channels: Channels C of the feature maps.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, C)."""
        return super().forward(_tokens(x, self.out_channels))


@MODELS.register_module()
class TemporalAttentionAggregation(BaseModule):
    """TA: the frames' pooled features, weighed by how telling a frame is.

    Args:
        in_channels: Channels C of the feature maps.
        spatial_size: (H, W) of the maps; one convolution covers all of it.
            8 x 4 is that of a 256 x 128 image at a last stride of 2.
        middle_channels: Channels between the two convolutions.
        init_cfg: As in any mmengine module.
    """

    def __init__(self, in_channels: int, spatial_size: Sequence[int] = (8, 4),
                 middle_channels: int = 256,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.out_channels = in_channels
        self.spatial_size = tuple(spatial_size)
        self.spatial_conv = nn.Conv2d(in_channels, middle_channels, self.spatial_size)
        self.temporal_conv = nn.Conv1d(middle_channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, C)."""
        tokens = _tokens(x, self.out_channels)               # (N, T, C)
        weights = self.frame_weights(x)                      # (N, T)
        return torch.einsum('nt,ntc->nc', weights, tokens)

    def frame_weights(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, T): how much each frame counts, sum 1.

        Raises:
            ValueError: The maps are of another size than ``spatial_size``.
        """
        if tuple(x.shape[-2:]) != self.spatial_size:
            raise ValueError(
                'Temporal attention was built for feature maps of (H, W) = '
                f'{self.spatial_size}, got {tuple(x.shape)}: set '
                f'spatial_size={tuple(x.shape[-2:])}, or last_stride=2 of the '
                'backbone, or change the size of the images.')
        frames = x.transpose(1, 2).flatten(0, 1)             # (N*T, C, H, W)
        scores = F.relu(self.spatial_conv(frames))           # (N*T, M, 1, 1)
        scores = scores.flatten(1).unflatten(0, (-1, x.shape[2])).transpose(1, 2)
        scores = F.relu(self.temporal_conv(scores))          # (N, 1, T)
        return scores[:, 0].softmax(dim=1)


@MODELS.register_module()
class TemporalRNNAggregation(BaseModule):
    """RNN: the mean of the outputs of an LSTM that reads the frames in order.

    Args:
        in_channels: Channels C of the feature maps.
        hidden_channels: Size of the state, which is the size of the feature.
        init_cfg: As in any mmengine module.
    """

    def __init__(self, in_channels: int, hidden_channels: int = 512,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.out_channels = hidden_channels
        self.lstm = nn.LSTM(in_channels, hidden_channels, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, hidden_channels)."""
        return run_lstm(self.lstm, _tokens(x, self.in_channels)).mean(dim=1)
