"""What a tracklet's tensors travel with: who it is, where it was seen, how it was cut.
"""
from mmengine.structures import BaseDataElement

__all__ = ['TrackletDataSample']


class TrackletDataSample(BaseDataElement):
    """One tracklet, without its images.

    All that is known before the model runs is metainfo: ``pid``, ``label``,
    ``camid``, ``subset``, ``tracklet_id``, ``dataset``, ``num_frames`` (images of the
    tracklet), ``num_clips``, ``clip_len``, ``clip_sampling``, ``num_replaced`` (frames
    that another one stands in for) and ``unreadable`` (no frame can be read, so the
    clip is black and no figure may count it). A model adds the data field
    ``feature``, a tensor of shape (D,).

    >>> TrackletDataSample(metainfo=dict(pid=7, camid=2)).pid
    7
    """
