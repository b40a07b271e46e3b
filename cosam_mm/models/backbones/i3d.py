"""I3D: Inception-v1 inflated to 3-D (Carreira, Zisserman, CVPR 2017).

Endpoints carry the names of the original, so that published weights load as
they are. Every convolution and pool pads as TensorFlow's SAME does. The
reductions to 512 channels before a temporal encoder are from Kalfaoglu et al.,
ECCVW 2020, section 3.3.

For a clip of 64 x 224 x 224::

    Conv3d_1a_7x7   64 x 32 x 112 x 112
    MaxPool3d_2a    64 x 32 x  56 x  56
    Conv3d_2c_3x3  192 x 32 x  56 x  56
    MaxPool3d_3a   192 x 32 x  28 x  28
    Mixed_3c       480 x 32 x  28 x  28
    MaxPool3d_4a   480 x 16 x  14 x  14
    Mixed_4f       832 x 16 x  14 x  14
    MaxPool3d_5a   832 x  8 x   7 x   7
    Mixed_5c      1024 x  8 x   7 x   7   512 channels with FRMB or FRAB
"""
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosam_mm.registry import MODELS

from .stepped_backbone import Block, SteppedBackbone, check_feature_reduction

__all__ = ['I3D']


def _same_padding(size: Sequence[int], kernel: Sequence[int],
                  stride: Sequence[int]) -> list[int]:
    """Zeros around a volume so that each output covers its stride, for ``F.pad``.

    That is the last dimension first, before and after. An odd total puts the one more
    at the end.
    """
    padding = []
    for length, window, step in zip(reversed(size), reversed(kernel),
                                    reversed(stride)):
        covered = (-(-length // step) - 1) * step + window
        total = max(covered - length, 0)
        padding += [total // 2, total - total // 2]
    return padding


class Conv3dSame(Block):
    """Convolution with SAME padding, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int,
                 stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel, stride,
                                bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=1e-3, momentum=0.01)

    def compute(self, x: Tensor) -> Tensor:
        """(N, in_channels, T, H, W) to (N, out_channels, T', H', W')."""
        conv = self.conv3d
        if conv.kernel_size != (1, 1, 1):
            x = F.pad(x, _same_padding(x.shape[2:], conv.kernel_size, conv.stride))
        return F.relu(self.bn(conv(x)), inplace=True)


class MaxPool3dSame(nn.MaxPool3d):
    """Max pool with SAME padding. Zeros are padded, as in the original."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, C, T', H', W')."""
        padding = _same_padding(x.shape[2:], self.kernel_size, self.stride)
        return super().forward(F.pad(x, padding))


class InceptionBlock(Block):
    """Four branches side by side: 1x1x1, two 3x3x3, pool and 1x1x1.

    Args:
        in_channels: Channels of the input.
        widths: Channels of (b0, b1a, b1b, b2a, b2b, b3b).
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = widths
        self.out_channels = b0 + b1b + b2b + b3b
        self.b0 = Conv3dSame(in_channels, b0, 1)
        self.b1a = Conv3dSame(in_channels, b1a, 1)
        self.b1b = Conv3dSame(b1a, b1b, 3)
        self.b2a = Conv3dSame(in_channels, b2a, 1)
        self.b2b = Conv3dSame(b2a, b2b, 3)
        self.b3a = MaxPool3dSame((3, 3, 3), (1, 1, 1))
        self.b3b = Conv3dSame(in_channels, b3b, 1)

    def compute(self, x: Tensor) -> Tensor:
        """(N, in_channels, T, H, W) to (N, out_channels, T, H, W)."""
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)),
                    self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


@MODELS.register_module()
class I3D(SteppedBackbone):
    """Inception I3D that may take plugins after each of its endpoints.

    Positions for plugins: ``after_<endpoint>`` for the endpoints listed in
    ``endpoints`` (``after_MaxPool3d_5a_2x2`` is where the paper has COSAM)
    and, with FRAB, ``after_reduction``.

    Args:
        in_channels: 3 for RGB, 2 for optical flow.
        feature_reduction: How 512 channels come about. ``'FRMB'`` modifies
            Mixed_5c to put them out, ``'FRAB'`` adds a block after it, None
            leaves 1024.
        settings: ``plugins``, ``frozen_stages`` (0 Conv3d_1a, 1 also Conv3d_2b and 2c,
            2 also Mixed_3, 3 also Mixed_4, 4 also Mixed_5), ``norm_eval``, ``with_cp``
            (of each convolution unit and inception block) and ``init_cfg``, see
            :class:`SteppedBackbone`.

    Raises:
        ValueError: A setting is none of those allowed.
    """

    # Of each endpoint in order: (channels, kernel, stride) of a convolution, kernel and
    # stride of a pool, or widths of an inception block.
    _steps = {
        'Conv3d_1a_7x7': (64, 7, 2),
        'MaxPool3d_2a_3x3': ((1, 3, 3), (1, 2, 2)),
        'Conv3d_2b_1x1': (64, 1, 1),
        'Conv3d_2c_3x3': (192, 3, 1),
        'MaxPool3d_3a_3x3': ((1, 3, 3), (1, 2, 2)),
        'Mixed_3b': (64, 96, 128, 16, 32, 32),
        'Mixed_3c': (128, 128, 192, 32, 96, 64),
        'MaxPool3d_4a_3x3': ((3, 3, 3), (2, 2, 2)),
        'Mixed_4b': (192, 96, 208, 16, 48, 64),
        'Mixed_4c': (160, 112, 224, 24, 64, 64),
        'Mixed_4d': (128, 128, 256, 24, 64, 64),
        'Mixed_4e': (112, 144, 288, 32, 64, 64),
        'Mixed_4f': (256, 160, 320, 32, 128, 128),
        'MaxPool3d_5a_2x2': ((2, 2, 2), (2, 2, 2)),
        'Mixed_5b': (256, 160, 320, 32, 128, 128),
        'Mixed_5c': (384, 192, 384, 48, 128, 128),
    }
    _reduced = (192, 96, 192, 24, 64, 64)

    endpoints = tuple(_steps)

    def __init__(self, in_channels: int = 3, feature_reduction: Optional[str] = None,
                 **settings) -> None:
        check_feature_reduction(feature_reduction)
        super().__init__(**settings)
        specs = dict(self._steps)
        if feature_reduction is not None:
            specs['Mixed_5c' if feature_reduction == 'FRMB' else 'reduction'] = \
                self._reduced
        steps, channels = [], in_channels
        for name, spec in specs.items():
            if len(spec) == 2:
                module = MaxPool3dSame(*spec)
            elif len(spec) == 3:
                module, channels = Conv3dSame(channels, *spec), spec[0]
            else:
                module = InceptionBlock(channels, spec)
                channels = module.out_channels
            setattr(self, name, module)
            steps.append((name, channels))
        self._finish(steps, [
            [name for name in self.endpoints
             if name.startswith((f'Conv3d_{k}', f'Mixed_{k}'))]
            for k in range(1, 6)])

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, T, H, W) to (N, out_channels, T', H', W')."""
        for step in self.steps:
            x = self._plug(getattr(self, step)(x), step)
        return x
