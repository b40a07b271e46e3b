"""Data sets of tracklets for person re-identification, their sampler and pipeline.

They are registered in mmengine's root registries, where every scope finds them by plain
name, with ``custom_imports=dict(imports=['cosam_mm'])``.
"""
from cosam_mm.structures.tracklet import TrackletDataSample

from .dukemtmc import DukeMTMCVideoReID
from .ilids import ILIDSVID
from .mars import MARS
from .pk_sampler import PKSampler
from .prid2011 import PRID2011
from .query_gallery import QueryGalleryDataset
from .tracklet_augmentation import (
    RandomErasingFrames,
    RandomFlipFrames,
    RandomTranslation2D,
    ResizeFrames,
)
from .tracklet_dataset import TrackletDataset
from .tracklet_folder import TrackletFolder
from .tracklet_loading import (
    LoadTrackletFrames,
    PackTrackletInputs,
    SampleTrackletFrames,
)

__all__ = [
    'ILIDSVID',
    'MARS',
    'PRID2011',
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
