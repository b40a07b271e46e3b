"""From a data set as downloaded to what the configs read.

    split files -> splits --+
                            +-> videos -> annotations  (lists of videos)
    videos on disk ---------+      |
                                   +----> extraction   (frames, flow, their lists)
                                            = processes x frames (decoding, flow)

Needs neither mmaction nor torch; tqdm only once files are looked at, OpenCV and decord
once frames are extracted. `tools/prepare_data.py` is its command line.
"""
from .annotation_files import (
    annotation_path,
    link_videos,
    write_classes,
    write_lines,
    write_rawframe_lists,
    write_video_lists,
)
from .frame_extraction import ExtractionResult, extract_frames
from .frame_files import DEFAULT_SHORT_SIDE, FrameSettings
from .official_splits import (
    OFFICIAL_COUNTS,
    PARSERS,
    SPLITS,
    SUBSETS,
    ListedClip,
    OfficialCounts,
    SplitLists,
    check_counts,
    parse_hmdb51_splits,
    parse_ucf101_splits,
)
from .optical_flow import FLOW_ESTIMATORS
from .video_matching import LocatedClips, index_videos, locate_clips
from .worker_pool import default_num_workers

__all__ = [
    'DEFAULT_SHORT_SIDE', 'FLOW_ESTIMATORS', 'OFFICIAL_COUNTS', 'PARSERS', 'SPLITS',
    'SUBSETS', 'ExtractionResult', 'FrameSettings', 'ListedClip', 'LocatedClips',
    'OfficialCounts', 'SplitLists', 'annotation_path', 'check_counts',
    'default_num_workers', 'extract_frames', 'index_videos', 'link_videos',
    'locate_clips', 'parse_hmdb51_splits', 'parse_ucf101_splits', 'write_classes',
    'write_lines', 'write_rawframe_lists', 'write_video_lists',
]
