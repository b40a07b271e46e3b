"""A tracklet, and what its tensors travel with through a model."""
from collections.abc import Sequence
from typing import NamedTuple

from mmengine.structures import BaseDataElement

__all__ = ['UNKNOWN_CAMERA', 'Tracklet', 'TrackletDataSample']

UNKNOWN_CAMERA = -1


class Tracklet(NamedTuple):
    """All frames of one person in one camera, without a break.

    ``pid`` is the person's number in the data set, negative for junk; ``camid`` the
    camera's, negative where it is unknown; ``tracklet_id`` a name for reports, unique
    in its subset; ``img_paths`` the images in the order of time.
    """
    pid: int
    camid: int
    tracklet_id: str
    img_paths: Sequence[str]


class TrackletDataSample(BaseDataElement):
    """One tracklet, without its images.

    All that is known before the model runs is metainfo: ``pid``, ``label``,
    ``camid``, ``subset``, ``tracklet_id``, ``dataset``, ``num_frames`` (images of the
    tracklet), ``num_clips``, ``clip_len``, ``clip_sampling``, ``num_replaced`` (frames
    that another one stands in for) and ``unreadable`` (no frame can be read, so the
    clip is black and no metric may count it). A model adds the data field
    ``feature``, a tensor of shape (D,).

    >>> TrackletDataSample(metainfo=dict(pid=7, camid=2)).pid
    7
    """
