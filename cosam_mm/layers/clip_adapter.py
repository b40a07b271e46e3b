"""Clips for modules that want them whole, inside of backbones of single frames.

A 2-D backbone has the frames of its clips in the batch, (N*T, C, H, W). A module
such as mmcv's ``NonLocal3d`` (Wang et al., *Non-local Neural Networks*, CVPR
2018) wants (N, C, T, H, W). The adapter turns one into the other and back.
"""
from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor

from cosam_mm.registry import MODELS

__all__ = ['ClipAdapter']


@MODELS.register_module()
class ClipAdapter(BaseModule):
    """Shows frames to a module as clips; a plugin for 2-D backbones.

    Args:
        module: Config of the module, (N, C, T, H, W) to the same shape.
        num_frames: Frames T of a clip, at least 1.
        in_channels: Channels C, handed on to the module unless its config names
            its own. Backbones fill it in.
        init_cfg: As in any mmengine module.

    Example::

        plugins=[dict(
            cfg=dict(type='ClipAdapter', num_frames=4,
                     module=dict(type='mmcv.cnn.NonLocal3d')),
            position='after_layer3')]
    """

    # See COSAM.
    compares_frames = True

    def __init__(self, module: dict, num_frames: int,
                 in_channels: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_frames < 1:
            raise ValueError(f'num_frames must be at least 1, got {num_frames}.')
        if in_channels is not None:
            module = {'in_channels': in_channels, **module}
        self.num_frames = num_frames
        self.module = MODELS.build(module)

    def forward(self, x: Tensor) -> Tensor:
        """(N*T, C, H, W), or (N, C, T, H, W), to the same shape.

        Raises:
            ValueError: The frames make up no whole clips.
        """
        if x.dim() == 5:
            return self.module(x)
        if x.dim() != 4 or x.shape[0] % self.num_frames:
            raise ValueError(
                f'Clips of {self.num_frames} frames come as (N*T, C, H, W), with '
                f'a multiple of {self.num_frames} in front, or as (N, C, T, H, W); '
                f'got {tuple(x.shape)}: set num_frames to the frames of a clip.')
        clips = x.unflatten(0, (-1, self.num_frames)).transpose(1, 2)
        out = self.module(clips.contiguous())                # (N, C, T, H, W)
        return out.transpose(1, 2).flatten(0, 1)
