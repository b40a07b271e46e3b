"""3-D backbones that take plugins at named places."""
from .i3d import I3D
from .resnext3d import ResNeXt3D

__all__ = ['I3D', 'ResNeXt3D']
