"""Steps of a re-ID pipeline, in mmengine's root registry.

    img_paths -> SampleTrackletFrames -> frame_inds (num_clips, T)
              -> LoadTrackletFrames   -> imgs, clip by clip
              -> ResizeFrames or RandomTranslation2D, of one size
              -> RandomFlipFrames, RandomErasingFrames
              -> PackTrackletInputs   -> inputs (num_clips, C, T, H, W), data_samples
"""
from .augmentation import (
    RandomErasingFrames,
    RandomFlipFrames,
    RandomTranslation2D,
    ResizeFrames,
)
from .clip_frames import SampleTrackletFrames
from .loading import LoadTrackletFrames
from .packing import PackTrackletInputs

__all__ = [
    'LoadTrackletFrames',
    'PackTrackletInputs',
    'RandomErasingFrames',
    'RandomFlipFrames',
    'RandomTranslation2D',
    'ResizeFrames',
    'SampleTrackletFrames',
]
