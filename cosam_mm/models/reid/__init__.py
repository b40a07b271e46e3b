"""Video person re-identification: tracklets in, one feature each out."""
from .bnneck import BNNeck
from .identity_head import IdentityHead
from .tracklet_preprocessor import TrackletPreprocessor
from .video_reid import VideoReID

__all__ = ['BNNeck', 'IdentityHead', 'TrackletPreprocessor', 'VideoReID']
