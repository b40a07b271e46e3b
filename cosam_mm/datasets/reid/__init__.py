"""Data sets of tracklets for person re-identification, their sampler and pipeline.

Importing this registers them in mmengine's root registries, where every scope finds
them by plain name: ``custom_imports=dict(imports=['cosam_mm.datasets.reid'])``.
"""
from .base import TrackletDataset
from .dukemtmc import DukeMTMCVideoReID
from .ilids import ILIDSVID
from .mars import MARS
from .query_gallery import QueryGalleryDataset
from .sample import TrackletDataSample
from .sampler import PKSampler
from .tracklet_folder import TrackletFolder
from .transforms import (
    LoadTrackletFrames,
    PackTrackletInputs,
    RandomErasingFrames,
    RandomFlipFrames,
    RandomTranslation2D,
    ResizeFrames,
    SampleTrackletFrames,
)

__all__ = [
    'ILIDSVID',
    'MARS',
    'DukeMTMCVideoReID',
    'LoadTrackletFrames',
    'PKSampler',
    'PackTrackletInputs',
    'QueryGalleryDataset',
    'RandomErasingFrames',
    'RandomFlipFrames',
    'RandomTranslation2D',
    'ResizeFrames',
    'SampleTrackletFrames',
    'TrackletDataSample',
    'TrackletDataset',
    'TrackletFolder',
]
