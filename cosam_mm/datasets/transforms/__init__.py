"""Steps of the data pipelines."""
from .flow import FlowFlip, FlowTenCrop
from .video import SafeDecordDecode, SafeDecordInit, SafeRawFrameDecode

__all__ = [
    'FlowFlip',
    'FlowTenCrop',
    'SafeDecordDecode',
    'SafeDecordInit',
    'SafeRawFrameDecode',
]
