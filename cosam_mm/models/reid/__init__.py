"""Video person re-identification: tracklets in, one feature each out."""
from .neck_and_head import BNNeck, IdentityHead
from .tracklet_preprocessor import TrackletPreprocessor
from .video_reid import VideoReID

__all__ = ['BNNeck', 'IdentityHead', 'TrackletPreprocessor', 'VideoReID']
