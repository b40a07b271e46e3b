"""Steps of the data pipelines."""
from .flow_transforms import FlowFlip, FlowTenCrop
from .rand_augment import ClipRandAugment
from .video_loading import SafeDecordDecode, SafeDecordInit, SafeRawFrameDecode

__all__ = [
    'ClipRandAugment',
    'FlowFlip',
    'FlowTenCrop',
    'SafeDecordDecode',
    'SafeDecordInit',
    'SafeRawFrameDecode',
]
