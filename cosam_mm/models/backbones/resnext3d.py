"""ResNeXt with 3-D convolutions (Hara et al., CVPR 2018), and its reductions.

Parameter names are those of the authors' 3D-ResNets, so that their Kinetics
weights load as they are. The reductions to 512 channels before a temporal
encoder are from Kalfaoglu et al., *Late Temporal Modeling in 3D CNN
Architectures with BERT*, ECCVW 2020, section 3.3.

For a clip of 64 x 112 x 112::

    conv1    64 x 64 x 56 x 56
    layer1  256 x 32 x 28 x 28
    layer2  512 x 16 x 14 x 14
    layer3 1024 x  8 x  7 x  7
    layer4 2048 x  4 x  4 x  4   512 channels with FRMB or FRAB
"""
from collections.abc import Sequence
from typing import Optional

from mmengine.registry import MODELS
from torch import Tensor, nn

from .stepped_backbone import Block, SteppedBackbone

__all__ = ['ResNeXt3D']

_EXPANSION = 2


class Bottleneck(Block):
    """Grouped bottleneck: 1x1x1, 3x3x3 in groups, 1x1x1, plus the shortcut.

    Args:
        in_channels: Channels of the input.
        planes: Channels inside; twice as many come out.
        groups: Groups of the 3x3x3 convolution.
        stride: Of the 3x3x3 convolution, in time and space.
        project: Whether the shortcut is a convolution and a norm. It must be
            where the input does not have the shape of the output.
    """

    def __init__(self, in_channels: int, planes: int, groups: int,
                 stride: int = 1, project: bool = False) -> None:
        super().__init__()
        out_channels = planes * _EXPANSION
        self.conv1 = nn.Conv3d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, stride, padding=1,
                               groups=groups, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = nn.Conv3d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm3d(out_channels)) if project else None

    def compute(self, x: Tensor) -> Tensor:
        """(N, in_channels, T, H, W) to (N, 2 * planes, T', H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + shortcut)


@MODELS.register_module()
class ResNeXt3D(SteppedBackbone):
    """3-D ResNeXt that may take plugins after its stem and each layer.

    Positions for plugins: ``after_stem``, ``after_layer1`` to ``after_layer4``
    and, with FRAB, ``after_reduction``.

    Args:
        depth: 50, 101, 152, or 14: one bottleneck a layer, for demonstrations
            and tests.
        in_channels: 3 for RGB, 2 for optical flow.
        base_channels: Channels after the stem; every width follows from it.
        groups: Groups of the 3x3x3 convolutions.
        feature_reduction: How ``reduced_channels`` come about. ``'FRMB'``
            modifies the last bottleneck of layer4 to put them out, ``'FRAB'``
            adds one after it, None leaves ``32 * base_channels``.
        reduced_channels: Channels after the reduction.
        plugins, norm_eval, init_cfg: See :class:`SteppedBackbone`.
        frozen_stages: 0 freezes the stem, k also layer1 to layer k.
        with_cp: Checkpoints each bottleneck.

    Raises:
        ValueError: A setting is none of those allowed.

    Example:
        >>> import torch
        >>> net = ResNeXt3D(depth=14, base_channels=8, groups=4)
        >>> net(torch.zeros(1, 3, 32, 64, 64)).shape
        torch.Size([1, 256, 2, 2, 2])
    """

    arch_settings = {
        14: (1, 1, 1, 1),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
    }

    def __init__(self,
                 depth: int = 101,
                 in_channels: int = 3,
                 base_channels: int = 64,
                 groups: int = 32,
                 feature_reduction: Optional[str] = None,
                 reduced_channels: int = 512,
                 plugins: Optional[Sequence[dict]] = None,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        if depth not in self.arch_settings:
            raise ValueError(f'depth must be one of {sorted(self.arch_settings)}, '
                             f'got {depth!r}.')
        check_feature_reduction(feature_reduction)
        super().__init__(plugins, frozen_stages, norm_eval, with_cp,
                         init_cfg)
        self.depth = depth
        self.groups = groups
        self.conv1 = nn.Conv3d(in_channels, base_channels, 7, (1, 2, 2),
                               padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(base_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(3, 2, padding=1)
        steps = [('stem', base_channels)]
        for index, num_blocks in enumerate(self.arch_settings[depth]):
            name, planes = f'layer{index + 1}', base_channels * 2**(index + 1)
            setattr(self, name, self._make_layer(
                steps[-1][1], planes, num_blocks, 1 if index == 0 else 2))
            steps.append((name, planes * _EXPANSION))
        self._reduce(feature_reduction, reduced_channels, steps)
        self._finish(steps, [('conv1', 'bn1')] + [(f'layer{i}',) for i in range(1, 5)])

    def _make_layer(self, in_channels: int, planes: int, num_blocks: int,
                    stride: int) -> nn.Sequential:
        blocks = [Bottleneck(in_channels, planes, self.groups, stride,
                             project=stride > 1 or in_channels != planes * _EXPANSION)]
        blocks += [Bottleneck(planes * _EXPANSION, planes, self.groups)
                   for _ in range(1, num_blocks)]
        return nn.Sequential(*blocks)

    def _reduce(self, mode: Optional[str], channels: int, steps: list) -> None:
        """Modify layer4 (FRMB) or add a step after it (FRAB)."""
        if mode is None:
            return
        last = self.layer4[-1]
        stride, width = 1, steps[-1][1]
        if mode == 'FRMB':
            stride, width = last.conv2.stride[0], last.conv1.in_channels
        block = Bottleneck(width, channels // _EXPANSION, self.groups, stride,
                           project=True)
        if mode == 'FRMB':
            self.layer4[-1] = block
            steps[-1] = ('layer4', channels)
        else:
            self.reduction = block
            steps.append(('reduction', channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, T, H, W) to (N, out_channels, T', H', W')."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self._plug(x, 'stem')
        for step in self.steps[1:]:
            x = self._plug(getattr(self, step)(x), step)
        return x


def check_feature_reduction(mode: Optional[str]) -> None:
    """Raise ``ValueError`` unless ``mode`` names a reduction or is None."""
    if mode not in (None, 'FRMB', 'FRAB'):
        raise ValueError("feature_reduction must be 'FRMB', 'FRAB' or None, got "
                         f'{mode!r}.')
