"""A drawn action data set whose classes no single frame can tell apart."""
from .action_clip import ClutterConfig, DrawnClip, draw_clip
from .action_files import (
    clip_name,
    clip_rng,
    draw_action_dataset,
    draw_listed_clip,
    split_subsets,
)
from .action_motion import MOTIONS, REVERSED_MOTION

__all__ = [
    'MOTIONS', 'REVERSED_MOTION', 'ClutterConfig', 'DrawnClip', 'clip_name',
    'clip_rng', 'draw_action_dataset', 'draw_clip', 'draw_listed_clip',
    'split_subsets'
]
