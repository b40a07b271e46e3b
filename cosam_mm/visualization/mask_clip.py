"""Frames of one video and what every COSAM made of them."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np

from cosam_mm.layers.mask_recording import ModuleMasks

from .mask_placement import WHOLE_FRAME, Box, frame_masks

__all__ = ['AFTER', 'BEFORE', 'ClipMasks', 'MaskedClip', 'masks_of_frames']

BEFORE, AFTER = 'before training', 'after training'


class ClipMasks(NamedTuple):
    """Masks of one COSAM for the frames of a video; None for one it does not make.

    Attributes:
        spatial: (n, h, w), one for each frame.
        channel: (C,), the mean over the clips that the frames belong to.
    """
    spatial: Optional[np.ndarray]
    channel: Optional[np.ndarray]


@dataclass(frozen=True)
class MaskedClip:
    """Frames and masks.

    Attributes:
        name: Of the video, for titles.
        frames: n arrays (H, W, 3), uint8, RGB.
        numbers: (n,) of the frames in their video, from 0.
        masks: By state ('' where there is one only, or ``BEFORE`` and ``AFTER``), then
            by the module's name.
        box: What the network saw of a frame, in shares of its sides.
        fps: Frames a second at the video's own speed; a guess where it tells none.
    """
    name: str
    frames: Sequence[np.ndarray]
    numbers: np.ndarray
    masks: Mapping[str, Mapping[str, ClipMasks]]
    box: Box = WHOLE_FRAME
    fps: float = 8.


def masks_of_frames(masks: ModuleMasks, num_frames: int, kept: Sequence[int],
                    clips: slice = slice(None)) -> ClipMasks:
    """The masks of single frames out of those of clips.

    Args:
        masks: Of M clips.
        num_frames: Frames T of a clip.
        kept: Numbers of the frames that are wanted, among the T of each clip.
        clips: Which of the M clips count.
    """
    spatial, channel = (None if mask is None else mask[clips].float().cpu().numpy()
                        for mask in masks)
    return ClipMasks(
        None if spatial is None else frame_masks(spatial, num_frames)[list(kept)],
        None if channel is None else channel.mean(0))
