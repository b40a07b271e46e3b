"""What residual networks share: a bottleneck, and a stem before four layers of them.

He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016. Parameter names
are torchvision's: ``layer1.0.conv1``, ``layer1.0.downsample.0``.
"""
from collections.abc import Sequence
from typing import Callable, Optional

from torch import Tensor, nn

from .stepped_backbone import Block, SteppedBackbone

__all__ = ['Bottleneck', 'ResidualBackbone']


class Bottleneck(Block):
    """Convolution with a window of 1, of 3, of 1, plus the shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, ``expansion`` times those inside.
        stride: Of the block, in the convolution named ``strided``.
        project: Whether the shortcut is a convolution and a norm. It must be
            where the input does not have the shape of the output.
        groups: Groups of the middle convolution.
        norm1: Makes the first norm of a number of channels; default: ``norm``.
    """

    expansion = 4
    strided = 'conv2'  # or conv1
    convolution, norm = nn.Conv2d, nn.BatchNorm2d

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1,
                 project: bool = False, groups: int = 1,
                 norm1: Optional[Callable[[int], nn.Module]] = None) -> None:
        super().__init__()
        planes = out_channels // self.expansion
        strides = {'conv1': 1, 'conv2': 1, self.strided: stride}
        self.conv1 = self.convolution(in_channels, planes, 1, strides['conv1'],
                                      bias=False)
        self.bn1 = (norm1 or self.norm)(planes)
        self.conv2 = self.convolution(planes, planes, 3, strides['conv2'], padding=1,
                                      groups=groups, bias=False)
        self.bn2 = self.norm(planes)
        self.conv3 = self.convolution(planes, out_channels, 1, bias=False)
        self.bn3 = self.norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(
            self.convolution(in_channels, out_channels, 1, stride, bias=False),
            self.norm(out_channels)) if project else None

    def residual(self, x: Tensor) -> Tensor:
        """What is added to the shortcut: (M, out_channels, [T',] H', W')."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))

    def compute(self, x: Tensor) -> Tensor:
        """(M, in_channels, [T,] H, W) to (M, out_channels, [T',] H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.residual(x) + shortcut)


class ResidualBackbone(SteppedBackbone):
    """A stem and four layers of bottlenecks; positions for plugins after each.

    Args:
        depth: Key of ``arch_settings``.
        settings: Those of :class:`SteppedBackbone`.

    Raises:
        ValueError: There is no such depth.
    """

    # Depth -> bottlenecks of each layer. 14 is for demonstrations and tests.
    arch_settings = {
        14: (1, 1, 1, 1),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
    }

    def __init__(self, depth: int, **settings) -> None:
        if depth not in self.arch_settings:
            raise ValueError(f'depth must be one of {sorted(self.arch_settings)}, '
                             f'got {depth!r}.')
        super().__init__(**settings)
        self.depth = depth

    def _make_layers(self, stem: dict[str, nn.Module],
                     blocks: Sequence[Callable[..., Block]], base_channels: int,
                     last_stride: int = 2) -> list[tuple[str, int]]:
        """Add the stem's modules by name, and layers; the steps with their channels.

        ``blocks`` makes a bottleneck of (in_channels, out_channels, stride, project),
        for each of the four layers. The first of a layer widens and has the stride.
        """
        if last_stride not in (1, 2):
            raise ValueError(f'last_stride must be 1 or 2, got {last_stride!r}.')
        self._stem = tuple(stem)
        for name, module in stem.items():
            setattr(self, name, module)
        steps, strides = [('stem', base_channels)], (1, 2, 2, last_stride)
        for index, num_blocks in enumerate(self.arch_settings[self.depth]):
            name, block = f'layer{index + 1}', blocks[index]
            in_channels, channels = steps[-1][1], 4 * base_channels * 2**index
            setattr(self, name, nn.Sequential(
                block(in_channels, channels, strides[index], project=True),
                *(block(channels, channels) for _ in range(1, num_blocks))))
            steps.append((name, channels))
        return steps

    def _finish(self, steps: Sequence[tuple[str, int]]) -> None:
        super()._finish(steps, [self._stem] + [(f'layer{i}',) for i in range(1, 5)])

    def forward(self, x: Tensor) -> Tensor:
        """(M, in_channels, [T,] H, W) to (M, out_channels, [T',] H', W').

        Of a backbone of frames M is N * T, the frames of a clip next to one another.
        """
        for name in self._stem:
            x = getattr(self, name)(x)
        x = self._plug(x, 'stem')
        for step in self.steps[1:]:
            x = self._plug(getattr(self, step)(x), step)
        return x
