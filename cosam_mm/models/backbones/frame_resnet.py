"""ResNet for single frames (He et al., CVPR 2016), with plugins between its blocks.

The form and the parameter names are torchvision's: the stride of a bottleneck
is in its 3x3 convolution. A clip enters as N*T images, frames of a clip next to
one another, so plugins that compare frames (COSAM) know where a clip ends.

Re-identification keeps the last block's resolution (``last_stride=1``), after
Luo et al., *Bag of Tricks and A Strong Baseline for Deep Person
Re-identification*, CVPRW 2019. For an image of 256 x 128::

    stem      64 x 64 x 32    CNN block 1 of the COSAM paper
    layer1   256 x 64 x 32    block 2
    layer2   512 x 32 x 16    block 3
    layer3  1024 x 16 x  8    block 4: COSAM_4 stands after it
    layer4  2048 x 16 x  8    block 5: 8 x 4 with last_stride=2
"""
from functools import partial
from typing import Optional

import torch
from torch import Tensor, nn

from cosam_mm.registry import MODELS

from .stepped_backbone import Bottleneck, ResidualBackbone

__all__ = ['FrameResNet', 'InstanceBatchNorm']


class InstanceBatchNorm(nn.Module):
    """IBN-a: instance norm of the first half of the channels, batch norm of the others.

    Pan, Luo, Shi, Tang, *Two at Once: Enhancing Learning and Generalization Capacities
    via IBN-Net*, ECCV 2018, section 3.2. An instance norm removes what an image has as
    a whole (light, colours of a camera); channels with a batch norm keep what tells
    classes apart. Both have a scale and a shift. Names are those of the published
    weights. Of a clip each frame is an instance.

    Args:
        channels: Channels C, at least 2; the instance norm has C // 2.

    Raises:
        ValueError: There are fewer channels.

    Example:
        >>> sorted(name for name, _ in InstanceBatchNorm(64).named_parameters())
        ['BN.bias', 'BN.weight', 'IN.bias', 'IN.weight']
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f'channels must be at least 2, got {channels}.')
        half = channels // 2
        self.sizes = (half, channels - half)
        self.IN = nn.InstanceNorm2d(half, affine=True)
        self.BN = nn.BatchNorm2d(channels - half)

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, H, W) to the same shape."""
        of_instance, of_batch = x.split(self.sizes, 1)
        return torch.cat([self.IN(of_instance), self.BN(of_batch)], 1)


@MODELS.register_module()
class FrameResNet(ResidualBackbone):
    """ResNet on single frames that may take plugins after its stem and layers.

    Positions for plugins: ``after_stem``, ``after_layer1`` to ``after_layer4``.
    torchvision's ImageNet weights load with
    ``init_cfg=dict(type='Pretrained', checkpoint='imagenet://resnet50')`` or the
    path of a file; the classifier in them is left out. With ``ibn='a'`` those of
    the authors of IBN-Net do, ``imagenet://resnet50_ibn_a``.

    Args:
        depth: 50, 101, 152, or 14: one bottleneck a layer, for demonstrations
            and tests.
        in_channels: Channels of an image.
        base_channels: Channels after the stem; every width follows from it.
        last_stride: Stride of layer4: 1 keeps the resolution, 2 is ImageNet's.
        ibn: 'a': the first norms of the bottlenecks of layer1 to layer3 are
            instance norms for half of their channels, see
            :class:`InstanceBatchNorm`. None: all are batch norms.
        settings: ``plugins``, ``frozen_stages`` (0 the stem, k also layer1 to layer k),
            ``norm_eval``, ``with_cp`` (of each bottleneck) and ``init_cfg``, see
            :class:`~.stepped_backbone.SteppedBackbone`.

    Raises:
        ValueError: A setting is none of those allowed.

    Example:
        >>> import torch
        >>> net = FrameResNet(depth=14, base_channels=8)
        >>> net(torch.zeros(4, 3, 64, 32)).shape
        torch.Size([4, 256, 4, 2])
    """

    def __init__(self, depth: int = 50, in_channels: int = 3, base_channels: int = 64,
                 last_stride: int = 1, ibn: Optional[str] = None, **settings) -> None:
        if ibn not in (None, 'a'):
            raise ValueError(f"ibn must be None or 'a', got {ibn!r}.")
        super().__init__(depth, **settings)
        stem = dict(
            conv1=nn.Conv2d(in_channels, base_channels, 7, 2, padding=3, bias=False),
            bn1=nn.BatchNorm2d(base_channels),
            relu=nn.ReLU(inplace=True),
            maxpool=nn.MaxPool2d(3, 2, padding=1))
        early = partial(Bottleneck, norm1=InstanceBatchNorm) if ibn else Bottleneck
        self._finish(self._make_layers(stem, (early, early, early, Bottleneck),
                                       base_channels, last_stride))
