"""Frames of clips side by side, and what is said of the clips above them."""
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from .action_figures import shown_name
from .style import INK, new_figure, style

__all__ = ['StripCaption', 'frame_strip', 'strips_figure']

_PAGE_INCHES = 7.5


def frame_strip(frames: np.ndarray, height: int = 112, gap: int = 3) -> np.ndarray:
    """Frames of a clip in a row.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        height: Pixels that they are resized to, in their aspect.
        gap: Dark pixels between them.

    Returns:
        (height, ..., 3) uint8, RGB.

    Raises:
        ValueError: The frames are of another shape or type.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 \
            or 0 in frames.shape:
        raise ValueError('Frames must be (T, H, W, 3) uint8, got '
                         f'{frames.dtype} of shape {frames.shape}.')
    width = max(1, round(frames.shape[2] * height / frames.shape[1]))
    shrinks = height < frames.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    between = np.full((height, gap, 3), np.array(to_rgb(INK)) * 255, dtype=np.uint8)
    parts = [part for frame in frames
             for part in (between, cv2.resize(frame, (width, height),
                                              interpolation=how))]
    return np.concatenate(parts[1:], axis=1)


class StripCaption(NamedTuple):
    """Three lines above a strip: what it stands for, what is said of it, which it is.
    """
    heading: str
    text: str
    clip: str


def strips_figure(strips: Sequence[np.ndarray], captions: Sequence[StripCaption],
                  title: str = '') -> Figure:
    """Strips of frames, two in a row, each with its caption.

    Args:
        strips: Images (H, W, 3) uint8 of :func:`frame_strip`, of any widths.
        captions: Of each.
        title: Shown above all.

    Raises:
        ValueError: There is no strip, or not a caption for each.
    """
    if not strips or len(strips) != len(captions):
        raise ValueError(f'{len(captions)} captions came with {len(strips)} strips: '
                         'one each is needed, and one at least.')
    widest = max(strip.shape[1] for strip in strips)
    heights = [_PAGE_INCHES / 2 * max(strip.shape[0] for strip in pair) / widest
               for pair in zip_longest(strips[::2], strips[1::2], fillvalue=strips[0])]
    with style():
        figure = new_figure(_PAGE_INCHES, sum(heights) + 0.52 * len(heights) + 0.35)
        grid = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights)
        for axes in grid.flat:
            axes.set_axis_off()
            axes.set_anchor('NW')
        for axes, strip, caption in zip(grid.flat, strips, captions):
            axes.imshow(strip, aspect='equal')
            axes.set_title(shown_name(caption.heading, 54), fontsize=7.5, pad=22)
            below = shown_name(caption.text, 72), shown_name(caption.clip, 68)
            axes.annotate('\n'.join(below), (0, 1), (0, 2), 'axes fraction',
                          'offset points', fontsize=6.5, va='bottom')
        if title:
            figure.suptitle(shown_name(title, 90), fontsize=10, fontweight='bold',
                            x=0.01, ha='left')
    return figure
