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
from collections.abc import Sequence
from functools import partial
from typing import Callable, Optional

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from .stepped_backbone import Block, SteppedBackbone

__all__ = ['Bottleneck', 'FrameBackbone', 'FrameResNet', 'InstanceBatchNorm']


class InstanceBatchNorm(nn.Module):
    """IBN-a: instance norm of the first half of the channels, batch norm of the others.

    Pan, Luo, Shi, Tang, *Two at Once: Enhancing Learning and Generalization Capacities
    via IBN-Net*, ECCV 2018, section 3.2. An instance norm removes what an image has as
    a whole (light, colours of a camera); channels with a batch norm keep what tells
    classes apart. It is the first norm of a residual and not in the last layer, so that
    the shortcut and the deep features stay whole.

    Both have a scale and a shift. Names are those of the published weights. Of a clip
    each frame is an instance.

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


class Bottleneck(Block):
    """1x1, 3x3, 1x1 convolution, plus the shortcut.

    Args:
        in_channels: Channels of the input.
        planes: Channels inside; four times as many come out.
        stride: Of the block, in its 3x3 convolution.
        project: Whether the shortcut is a convolution and a norm. It must be
            where the input does not have the shape of the output.
        norm1: Makes the first norm of a number of channels.
    """

    expansion = 4
    # Which of the convolutions conv1 and conv2 has the stride.
    strided = 'conv2'

    def __init__(self, in_channels: int, planes: int, stride: int = 1,
                 project: bool = False,
                 norm1: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        strides = {'conv1': 1, 'conv2': 1, self.strided: stride}
        self.conv1 = nn.Conv2d(in_channels, planes, 1, strides['conv1'], bias=False)
        self.bn1 = norm1(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, strides['conv2'], padding=1,
                               bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels)) if project else None

    def residual(self, x: Tensor) -> Tensor:
        """What is added to the shortcut: (M, 4 * planes, H', W')."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))

    def compute(self, x: Tensor) -> Tensor:
        """(M, in_channels, H, W) to (M, 4 * planes, H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.residual(x) + shortcut)


class FrameBackbone(SteppedBackbone):
    """A stem and four layers of bottlenecks: what ResNets of frames share.

    Args:
        stem: Modules by name, in the order in which they run.
        blocks: For each of the four layers, what makes a bottleneck of
            (in_channels, planes, stride, project).
        depth, base_channels, last_stride, init_cfg: See :class:`FrameResNet`.
        plugins, frozen_stages, norm_eval, with_cp: See :class:`SteppedBackbone`.

    Raises:
        ValueError: A setting is none of those allowed.
    """

    arch_settings = {
        14: (1, 1, 1, 1),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
    }

    def __init__(self, stem: dict[str, nn.Module],
                 blocks: Sequence[Callable[..., Block]], depth: int,
                 base_channels: int, last_stride: int,
                 plugins: Optional[Sequence[dict]], frozen_stages: int,
                 norm_eval: bool, with_cp: bool, init_cfg: Optional[dict]) -> None:
        if depth not in self.arch_settings:
            raise ValueError(f'depth must be one of {sorted(self.arch_settings)}, '
                             f'got {depth!r}.')
        if last_stride not in (1, 2):
            raise ValueError(f'last_stride must be 1 or 2, got {last_stride!r}.')
        super().__init__(plugins, frozen_stages, norm_eval, with_cp, init_cfg)
        self.depth = depth
        self._stem = tuple(stem)
        for name, module in stem.items():
            setattr(self, name, module)
        steps = [('stem', base_channels)]
        for index, num_blocks in enumerate(self.arch_settings[depth]):
            name, planes = f'layer{index + 1}', base_channels * 2**index
            setattr(self, name, _layer(blocks[index], steps[-1][1], planes, num_blocks,
                                       stride=(1, 2, 2, last_stride)[index]))
            steps.append((name, planes * Bottleneck.expansion))
        self._finish(steps, [self._stem] + [(f'layer{i}',) for i in range(1, 5)])

    def forward(self, x: Tensor) -> Tensor:
        """(M, in_channels, H, W) to (M, out_channels, H', W').

        M = N * T images, the frames of a clip next to one another.
        """
        for name in self._stem:
            x = getattr(self, name)(x)
        x = self._plug(x, 'stem')
        for step in self.steps[1:]:
            x = self._plug(getattr(self, step)(x), step)
        return x


@MODELS.register_module()
class FrameResNet(FrameBackbone):
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
        plugins, norm_eval: See :class:`SteppedBackbone`.
        frozen_stages: 0 freezes the stem, k also layer1 to layer k.
        with_cp: Checkpoints each bottleneck.
        init_cfg: As in any mmengine module; it comes on top of Kaiming for
            convolutions and 1 for norms. Plugins initialise their own weights.
        ibn: 'a': the first norms of the bottlenecks of layer1 to layer3 are
            instance norms for half of their channels, see
            :class:`InstanceBatchNorm`. None: all
            are batch norms.

    Raises:
        ValueError: A setting is none of those allowed.

    Example:
        >>> import torch
        >>> net = FrameResNet(depth=14, base_channels=8)
        >>> net(torch.zeros(4, 3, 64, 32)).shape
        torch.Size([4, 256, 4, 2])
    """

    def __init__(self,
                 depth: int = 50,
                 in_channels: int = 3,
                 base_channels: int = 64,
                 last_stride: int = 1,
                 plugins: Optional[Sequence[dict]] = None,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None,
                 ibn: Optional[str] = None) -> None:
        if ibn not in (None, 'a'):
            raise ValueError(f"ibn must be None or 'a', got {ibn!r}.")
        stem = dict(
            conv1=nn.Conv2d(in_channels, base_channels, 7, 2, padding=3, bias=False),
            bn1=nn.BatchNorm2d(base_channels),
            relu=nn.ReLU(inplace=True),
            maxpool=nn.MaxPool2d(3, 2, padding=1))
        early = partial(Bottleneck, norm1=InstanceBatchNorm) if ibn else Bottleneck
        super().__init__(stem, (early, early, early, Bottleneck), depth,
                         base_channels, last_stride, plugins, frozen_stages,
                         norm_eval, with_cp, init_cfg)


def _layer(block: Callable[..., Block], in_channels: int, planes: int,
           num_blocks: int, stride: int) -> nn.Sequential:
    """Bottlenecks in a row, the first of which widens and has the stride."""
    blocks = [block(in_channels, planes, stride, project=True)]
    blocks += [block(planes * Bottleneck.expansion, planes)
               for _ in range(1, num_blocks)]
    return nn.Sequential(*blocks)
