"""Steps of the data pipelines."""
from .clip_augmentation import ClipRandAugment, FlowFlip, FlowTenCrop
from .video_loading import SafeDecordDecode, SafeDecordInit, SafeRawFrameDecode

__all__ = [
    'ClipRandAugment',
    'FlowFlip',
    'FlowTenCrop',
    'SafeDecordDecode',
    'SafeDecordInit',
    'SafeRawFrameDecode',
]
