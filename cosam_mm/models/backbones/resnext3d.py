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
from functools import partial
from typing import Optional

from torch import nn

from cosam_mm.registry import MODELS

from .stepped_backbone import Bottleneck, ResidualBackbone, check_feature_reduction

__all__ = ['ResNeXt3D']


class Bottleneck3D(Bottleneck):
    """1x1x1, 3x3x3 in groups, 1x1x1: half of the output's channels inside."""

    expansion = 2
    convolution, norm = nn.Conv3d, nn.BatchNorm3d


@MODELS.register_module()
class ResNeXt3D(ResidualBackbone):
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
        settings: ``plugins``, ``frozen_stages`` (0 the stem, k also layer1 to layer k),
            ``norm_eval``, ``with_cp`` (of each bottleneck) and ``init_cfg``, see
            :class:`~.stepped_backbone.SteppedBackbone`.

    Raises:
        ValueError: A setting is none of those allowed.

    Example:
        >>> import torch
        >>> net = ResNeXt3D(depth=14, base_channels=8, groups=4)
        >>> net(torch.zeros(1, 3, 32, 64, 64)).shape
        torch.Size([1, 256, 2, 2, 2])
    """

    def __init__(self, depth: int = 101, in_channels: int = 3, base_channels: int = 64,
                 groups: int = 32, feature_reduction: Optional[str] = None,
                 reduced_channels: int = 512, **settings) -> None:
        check_feature_reduction(feature_reduction)
        super().__init__(depth, **settings)
        stem = dict(
            conv1=nn.Conv3d(in_channels, base_channels, 7, (1, 2, 2), padding=3,
                            bias=False),
            bn1=nn.BatchNorm3d(base_channels),
            relu=nn.ReLU(inplace=True),
            maxpool=nn.MaxPool3d(3, 2, padding=1))
        block = partial(Bottleneck3D, groups=groups)
        steps = self._make_layers(stem, 4 * [block], base_channels)
        if feature_reduction == 'FRMB':
            last = self.layer4[-1]
            self.layer4[-1] = block(last.conv1.in_channels, reduced_channels,
                                    last.conv2.stride[0], project=True)
            steps[-1] = ('layer4', reduced_channels)
        elif feature_reduction == 'FRAB':
            self.reduction = block(steps[-1][1], reduced_channels, project=True)
            steps.append(('reduction', reduced_channels))
        self._finish(steps)
