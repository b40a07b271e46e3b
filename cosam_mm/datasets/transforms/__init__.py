"""Steps of the data pipelines."""
from .flow import FlowFlip, FlowTenCrop
from .rand_augment import ClipRandAugment
from .video import SafeDecordDecode, SafeDecordInit, SafeRawFrameDecode

__all__ = [
    'ClipRandAugment',
    'FlowFlip',
    'FlowTenCrop',
    'SafeDecordDecode',
    'SafeDecordInit',
    'SafeRawFrameDecode',
]
