"""Backbones that take plugins at named positions."""
from . import imagenet_weights as imagenet  # noqa: F401  (its scheme for weights by name)
from .clip_vision import CLIPVision
from .frame_resnet import FrameResNet
from .frame_se_resnet import FrameSEResNet
from .i3d import I3D
from .plugged_backbone import plug_into
from .resnext3d import ResNeXt3D

__all__ = [
    'I3D', 'CLIPVision', 'FrameResNet', 'FrameSEResNet', 'ResNeXt3D', 'plug_into'
]
