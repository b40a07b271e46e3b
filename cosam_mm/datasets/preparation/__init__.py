"""From a data set as downloaded to what the configs read.

    split files -> official_splits --+-> annotation_files   (lists of videos)
    videos on disk ------------------+
                                     +-> frame_extraction   (frames, flow, their lists)

    video + boxes of a tracker -> tracklet_cropping         (not imported here)

Needs no mmaction; OpenCV and decord only once frames are extracted.
`tools/prepare_data.py` is its command line.
"""
from .annotation_files import (
    link_videos,
    write_classes,
    write_lines,
    write_lists,
)
from .frame_extraction import (
    DEFAULT_SHORT_SIDE,
    FLOW_ESTIMATORS,
    FrameSettings,
    extract_frames,
)
from .official_splits import (
    OFFICIAL_COUNTS,
    PARSERS,
    ListedClip,
    OfficialCounts,
    SplitLists,
    check_counts,
    index_videos,
    locate_clips,
    parse_hmdb51_splits,
)
from .worker_pool import default_num_workers

__all__ = [
    'DEFAULT_SHORT_SIDE', 'FLOW_ESTIMATORS', 'OFFICIAL_COUNTS', 'PARSERS',
    'FrameSettings', 'ListedClip', 'OfficialCounts', 'SplitLists', 'check_counts',
    'default_num_workers', 'extract_frames', 'index_videos', 'link_videos',
    'locate_clips', 'parse_hmdb51_splits', 'write_classes', 'write_lines',
    'write_lists',
]
