"""Video person re-identification: tracklets in, one feature each out."""
from .head import IdentityHead
from .neck import BNNeck
from .preprocessor import TrackletPreprocessor
from .video_reid import VideoReID

__all__ = ['BNNeck', 'IdentityHead', 'TrackletPreprocessor', 'VideoReID']
