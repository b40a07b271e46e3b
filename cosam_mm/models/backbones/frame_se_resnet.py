"""SE-ResNet for single frames (Hu et al., *Squeeze-and-Excitation*, CVPR 2018).

The form and the parameter names are those of Cadene's pretrained-models, which
holds the weights converted from Caffe. Three things differ from the ResNet of
:mod:`.frame_resnet`: the stride of a bottleneck is in its first convolution, the
stem's pool rounds up instead of padding, and a gate scales the channels of each
residual.
"""
from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from cosam_mm.registry import MODELS

from .stepped_backbone import Bottleneck, ResidualBackbone

__all__ = ['FrameSEResNet']


class SqueezeExcitation(nn.Module):
    """A gate in (0, 1) for every channel of an image, made from all of them.

    Args:
        channels: Channels C of the features.
        reduction: The hidden layer has C // reduction channels.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, H, W) to the same shape."""
        gate = x.mean((2, 3), keepdim=True)           # (M, C, 1, 1)
        gate = self.fc2(self.relu(self.fc1(gate)))
        return x * torch.sigmoid(gate)


class SEBottleneck(Bottleneck):
    """Bottleneck with the stride in conv1 and a gate on the residual.

    Args:
        in_channels, out_channels, stride, project: As in :class:`Bottleneck`.
        reduction: See :class:`SqueezeExcitation`.
    """

    strided = 'conv1'

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1,
                 project: bool = False, reduction: int = 16) -> None:
        super().__init__(in_channels, out_channels, stride, project)
        self.se_module = SqueezeExcitation(out_channels, reduction)

    def residual(self, x: Tensor) -> Tensor:
        """What is added to the shortcut: (M, out_channels, H', W')."""
        return self.se_module(super().residual(x))


@MODELS.register_module()
class FrameSEResNet(ResidualBackbone):
    """SE-ResNet on single frames that may take plugins after stem and layers.

    Positions, sizes and settings are those of :class:`~.FrameResNet`. Cadene's
    ImageNet weights load with
    ``init_cfg=dict(type='Pretrained', checkpoint='imagenet://se_resnet50')`` or
    the path of a file; the classifier in them is left out.

    Args:
        depth, in_channels, base_channels, last_stride, settings: See
            :class:`~.FrameResNet`.
        reduction: Of the gates' hidden layers.

    Raises:
        ValueError: A setting is none of those allowed.

    Example:
        >>> net = FrameSEResNet(depth=14, base_channels=8)
        >>> net(torch.zeros(4, 3, 64, 32)).shape
        torch.Size([4, 256, 4, 2])
    """

    def __init__(self, depth: int = 50, in_channels: int = 3, base_channels: int = 64,
                 last_stride: int = 1, reduction: int = 16, **settings) -> None:
        if not 1 <= reduction <= base_channels * Bottleneck.expansion:
            raise ValueError(
                f'reduction must be between 1 and {Bottleneck.expansion} * '
                f'base_channels = {Bottleneck.expansion * base_channels}, got '
                f'{reduction}.')
        super().__init__(depth, **settings)
        layer0 = nn.Sequential(OrderedDict(
            conv1=nn.Conv2d(in_channels, base_channels, 7, 2, padding=3, bias=False),
            bn1=nn.BatchNorm2d(base_channels),
            relu1=nn.ReLU(inplace=True),
            pool=nn.MaxPool2d(3, 2, ceil_mode=True)))
        self._finish(self._make_layers(
            dict(layer0=layer0), 4 * [partial(SEBottleneck, reduction=reduction)],
            base_channels, last_stride))
