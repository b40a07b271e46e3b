"""COSAM: the frames of a clip agree on where and what to look at.

Subramaniam, Nambiar, Mittal, *Co-segmentation Inspired Attention Networks for
Video-based Person Re-identification*, ICCV 2019, section 3. The module fits
between two blocks of any CNN: features in, features of the same shape out,
weighed by a spatial mask per frame and a channel mask per clip. The arithmetic
is in :mod:`cosam_mm.functional.cosam`, where the form of linear cost used here
is derived.
"""
from collections.abc import Sequence
from typing import Optional, Union

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from cosam_mm.functional.cosam import (
    apply_masks,
    masked_average_pool,
    standardize_descriptors,
    summarize_cost_volume,
)

__all__ = ['COSAM']

Masks = tuple[Tensor, Optional[Tensor], Optional[Tensor]]


@MODELS.register_module()
class COSAM(BaseModule):
    """Co-segmentation attention over the frames of a clip.

    Args:
        in_channels: Channels C of the features.
        num_frames: Frames T that vote together, at least 2. It is the temporal
            size of the features where the module stands, not of the clip that
            enters the network.
        spatial_size: (H, W) of the features, or one int for a square.
        reduction_channels: Length D of a descriptor. Default: 256, or 64 where
            ``in_channels <= 256``.
        summary_channels: Maps K that summarise the cost volume.
        with_spatial: Whether to make and apply the spatial mask.
        with_channel: Whether to make and apply the channel mask.
        eps: Added to the deviation of a descriptor.
        init_cfg: As in any mmengine module.

    Raises:
        ValueError: A size is not positive, ``num_frames`` is below 2 with the
            spatial mask on, or both masks are off.

    Example:
        >>> cosam = COSAM(in_channels=32, num_frames=4, spatial_size=(4, 2))
        >>> x = torch.rand(2, 32, 4, 4, 2)
        >>> y, spatial_mask, channel_mask = cosam(x, return_masks=True)
        >>> y.shape, spatial_mask.shape, channel_mask.shape
        (torch.Size([2, 32, 4, 4, 2]), torch.Size([2, 4, 4, 2]), torch.Size([2, 32]))
    """

    def __init__(self,
                 in_channels: int,
                 num_frames: int,
                 spatial_size: Union[int, Sequence[int]],
                 reduction_channels: Optional[int] = None,
                 summary_channels: int = 64,
                 with_spatial: bool = True,
                 with_channel: bool = True,
                 eps: float = 1e-4,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if reduction_channels is None:
            reduction_channels = 64 if in_channels <= 256 else 256
        self.in_channels = in_channels
        self.num_frames = num_frames
        self.spatial_size = _pair(spatial_size)
        self.reduction_channels = reduction_channels
        self.summary_channels = summary_channels
        self.with_spatial = with_spatial
        self.with_channel = with_channel
        self.eps = eps
        self._check_settings()
        if with_spatial:
            self._build_spatial_branch()
        if with_channel:
            self._build_channel_branch()

    def _check_settings(self) -> None:
        if not (self.with_spatial or self.with_channel):
            raise ValueError(
                'with_spatial=False and with_channel=False leave COSAM nothing '
                'to do: keep one of them, or take the module out.')
        for name in ('in_channels', 'reduction_channels', 'summary_channels'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got '
                                 f'{getattr(self, name)}.')
        if min(self.spatial_size) < 1:
            raise ValueError(f'spatial_size must be (H, W) of at least 1, got '
                             f'{self.spatial_size}.')
        least = 2 if self.with_spatial else 1
        if self.num_frames < least:
            raise ValueError(
                f'num_frames must be at least {least}, got {self.num_frames}: '
                'the spatial mask compares each frame with the others.')

    def _build_spatial_branch(self) -> None:
        height, width = self.spatial_size
        volume = (self.num_frames - 1) * height * width
        self.reduction = nn.Sequential(
            nn.Conv2d(self.in_channels, self.reduction_channels, 1),
            nn.BatchNorm2d(self.reduction_channels), nn.ReLU(inplace=True))
        # The first layer's weights are used through their equivalent of linear
        # cost; as a module it keeps them named, initialised and saved.
        self.summary = nn.Sequential(
            nn.Conv2d(volume, self.summary_channels, 1),
            nn.BatchNorm2d(self.summary_channels), nn.ReLU(inplace=True),
            nn.Conv2d(self.summary_channels, 1, 1))

    def _build_channel_branch(self) -> None:
        self.channel_attention = nn.Sequential(
            nn.Linear(self.in_channels, self.reduction_channels), nn.Tanh(),
            nn.Linear(self.reduction_channels, self.in_channels), nn.Sigmoid())

    def forward(self, x: Tensor,
                return_masks: bool = False) -> Union[Tensor, Masks]:
        """Weigh the features by what the frames have in common.

        Args:
            x: (N, C, T, H, W), or (N*T, C, H, W) with the frames of a clip
                next to one another, as 2-D backbones have them.
            return_masks: Whether to return the masks as well.

        Returns:
            Tensor of the shape of ``x``; with ``return_masks`` the tuple
            (output, spatial mask (N, T, H, W), channel mask (N, C)), both masks
            in (0, 1), None for a mask that is switched off.

        Raises:
            ValueError: ``x`` is not of the shape this module was built for.
        """
        self._check_input(x)
        clips = self._to_clips(x)                                 # (N, C, T, P)
        spatial_mask = channel_mask = None
        if self.with_spatial:
            spatial_mask = self._spatial_mask(x)                  # (N, T, P)
        if self.with_channel:
            pooled = masked_average_pool(clips, spatial_mask)     # (N, T, C)
            channel_mask = self.channel_attention(pooled).mean(1)  # (N, C)
        out = apply_masks(clips, spatial_mask, channel_mask)      # (N, C, T, P)
        out = self._from_clips(out, x)
        if not return_masks:
            return out
        if spatial_mask is not None:
            spatial_mask = spatial_mask.unflatten(2, self.spatial_size)
        return out, spatial_mask, channel_mask

    def _spatial_mask(self, x: Tensor) -> Tensor:
        """(N, T, P) in (0, 1). Convolutions see ``x`` in its own layout."""
        images = x if x.dim() == 4 else x.flatten(3)              # no copy
        reduced = self.reduction(images)
        if x.dim() == 4:
            reduced = self._to_clips(reduced)                     # (N, D, T, P)
        descriptors = standardize_descriptors(reduced, self.eps)
        first, *rest = self.summary
        maps = summarize_cost_volume(
            descriptors, first.weight.flatten(1), first.bias)     # (N, K, T, P)
        for layer in rest:
            maps = layer(maps)
        return torch.sigmoid(maps[:, 0])                          # (N, T, P)

    def _to_clips(self, x: Tensor) -> Tensor:
        """View either layout as (N, C, T, P)."""
        if x.dim() == 5:
            return x.flatten(3)
        return x.flatten(2).unflatten(0, (-1, self.num_frames)).transpose(1, 2)

    @staticmethod
    def _from_clips(clips: Tensor, like: Tensor) -> Tensor:
        if like.dim() == 4:
            clips = clips.transpose(1, 2)
        return clips.reshape(like.shape)

    def _check_input(self, x: Tensor) -> None:
        t, (height, width) = self.num_frames, self.spatial_size
        if x.dim() not in (4, 5):
            raise ValueError(
                'COSAM takes features of shape (N, C, T, H, W) or (N*T, C, H, W), '
                f'got {_shape(x)}.')
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f'COSAM was built for {self.in_channels} channels, got '
                f'{int(x.shape[1])} in {_shape(x)}: set '
                f'in_channels={int(x.shape[1])}.')
        if x.dim() == 5 and x.shape[2] != t:
            raise ValueError(
                f'COSAM was built for {t} frames, got {int(x.shape[2])} in '
                f'{_shape(x)}: set num_frames={int(x.shape[2])}, or change the '
                'clip length (clip_len) that the data pipeline samples.')
        if x.dim() == 4 and x.shape[0] % t:
            raise ValueError(
                f'COSAM was built for clips of {t} frames, got {int(x.shape[0])} '
                f'frames in {_shape(x)}, which is no multiple of {t}: set '
                'num_frames to the frames of a clip.')
        if self.with_spatial and tuple(x.shape[-2:]) != (height, width):
            size = _shape(x)[-2:]
            raise ValueError(
                f'COSAM was built for features of {height}x{width}, got '
                f'{size[0]}x{size[1]} in {_shape(x)}: set spatial_size={size}, or '
                'change the size that the data pipeline crops to.')

    def extra_repr(self) -> str:
        """Name the settings that a checkpoint depends on."""
        return (f'in_channels={self.in_channels}, num_frames={self.num_frames}, '
                f'spatial_size={self.spatial_size}')


def _shape(x: Tensor) -> tuple[int, ...]:
    """The shape as plain numbers, which it is not while a tracer looks on."""
    return tuple(int(size) for size in x.shape)


def _pair(size: Union[int, Sequence[int]]) -> tuple[int, int]:
    """(H, W) of a size given as such or as one int."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2:
        raise ValueError(f'spatial_size must be (H, W) or an int, got {size!r}.')
    return pair
