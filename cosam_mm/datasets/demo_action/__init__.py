"""A drawn action data set whose classes no single frame can tell apart."""
from .clip import ClutterConfig, DrawnClip, draw_clip
from .motion import MOTIONS, REVERSED_MOTION
from .on_disk import (
    clip_name,
    clip_rng,
    draw_action_dataset,
    draw_listed_clip,
    split_subsets,
)

__all__ = [
    'MOTIONS', 'REVERSED_MOTION', 'ClutterConfig', 'DrawnClip', 'clip_name',
    'clip_rng', 'draw_action_dataset', 'draw_clip', 'draw_listed_clip',
    'split_subsets'
]
