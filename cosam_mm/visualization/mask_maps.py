"""Which frame, and which part of it, a mask belongs to.

A network sees a view of each of T frames: resized, cropped, perhaps mirrored. The masks
of a COSAM have T' steps of h x w positions::

    frame     0 1 2 3 4 5 6 7        view   +-------------+
    step      0 0 1 1 2 2 3 3               |   +-----+   |  frame
                                            |   |h x w|   |
                                            +---+-----+---+

A view is a box (left, top, right, bottom) as fractions of the frame's width and height.
Left is greater than right in a mirrored view. The view of a padded frame reaches beyond
the frame.
"""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from cosam_mm.layers.mask_recording import ModuleMasks

__all__ = ['AFTER', 'BEFORE', 'WHOLE_FRAME', 'Box', 'ClipMasks', 'MaskedClip',
           'find_view', 'first_occurrences', 'frame_masks', 'mask_at_pixels',
           'masks_of_frames', 'seen_pixels']

BEFORE, AFTER = 'before training', 'after training'
Box = tuple[float, float, float, float]
WHOLE_FRAME: Box = (0., 0., 1., 1.)
# Error of a painted position after rounding and resizing, in units of a byte.
_TOLERANCE = 4.
_EDGE = 0.004
# The fractions of its multiples fill the unit interval evenly.
_GOLDEN_RATIO = (5 ** 0.5 - 1) / 2


class ClipMasks(NamedTuple):
    """Masks of one COSAM for the frames of a video; None for one it does not make."""
    spatial: Optional[np.ndarray]  # (n, h, w), one for each frame
    channel: Optional[np.ndarray]  # (C,), mean over the clips that the frames belong to


@dataclass(frozen=True)
class MaskedClip:
    """Frames and masks."""
    name: str                     # of the video, for titles
    frames: Sequence[np.ndarray]  # n arrays (H, W, 3), uint8, RGB
    numbers: np.ndarray           # (n,) indices of the frames in their video
    # By state ('' for a single one, or BEFORE and AFTER), then by the module's name.
    masks: Mapping[str, Mapping[str, ClipMasks]]
    box: Box = WHOLE_FRAME        # view of the network
    fps: float = 8.               # at the video's own speed, a guess if it has none


# -- time ------------------------------------------------------------------------


def masks_of_frames(masks: ModuleMasks, num_frames: int, kept: Sequence[int],
                    clips: slice = slice(None)) -> ClipMasks:
    """The masks of single frames from those of M clips of T frames.

    ``kept`` holds the indices of the wanted frames among those of the clips that count.
    """
    spatial, channel = (None if mask is None else mask[clips].float().cpu().numpy()
                        for mask in masks)
    return ClipMasks(
        None if spatial is None else frame_masks(spatial, num_frames)[list(kept)],
        None if channel is None else channel.mean(0))


def frame_masks(mask: np.ndarray, num_frames: int) -> np.ndarray:
    """The masks (M * T, h, w) of frames from those (M, T', h, w) of M clips.

    Of the T frames of a clip, frame t has the mask of step t * T' // T.

    >>> frame_masks(np.arange(2.).reshape(1, 2, 1, 1), 4).ravel()
    array([0., 0., 1., 1.])
    """
    steps = np.arange(num_frames) * mask.shape[1] // num_frames
    return mask[:, steps].reshape(-1, *mask.shape[2:])


def first_occurrences(numbers: Sequence[int]) -> np.ndarray:
    """Indices at which a number occurs for the first time.

    >>> first_occurrences([4, 5, 6, 4, 5])
    array([0, 1, 2])
    """
    return np.sort(np.unique(numbers, return_index=True)[1])


# -- space -----------------------------------------------------------------------


def _fractions(num_pixels: int) -> np.ndarray:
    """Centres of pixels as fractions of a side."""
    return (np.arange(num_pixels) + 0.5) / num_pixels


def _weights(cells: int, num_pixels: int, start: float, stop: float,
             smooth: bool) -> np.ndarray:
    """(num_pixels, cells): weight of each cell at each pixel."""
    position = (_fractions(num_pixels) - start) / (stop - start) * cells - 0.5
    position = np.clip(position, 0, cells - 1)
    if not smooth:
        position = np.round(position)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0)


def mask_at_pixels(mask: np.ndarray, size: tuple[int, int], box: Box = WHOLE_FRAME,
                   smooth: bool = True) -> np.ndarray:
    """Values (H, W) of a mask (h, w) at the pixels of a frame.

    Args:
        mask: Of the view ``box``. Pixels outside of it have the nearest value.
        size: (H, W) of the frame as it is shown.
        box: See :func:`seen_pixels`.
        smooth: Whether to interpolate between the centres of positions.

    >>> mask_at_pixels(np.array([[0., 1.]]), (1, 4), smooth=False)
    array([[0., 0., 1., 1.]])
    """
    rows = _weights(mask.shape[0], size[0], box[1], box[3], smooth)
    columns = _weights(mask.shape[1], size[1], box[0], box[2], smooth)
    return rows @ mask @ columns.T


def seen_pixels(size: tuple[int, int], box: Box = WHOLE_FRAME) -> np.ndarray:
    """(H, W) bool: which pixels of a frame lie inside a view."""
    x, y = _fractions(size[1]), _fractions(size[0])
    left, right = sorted(box[::2])
    top, bottom = sorted(box[1::2])
    return np.outer((top <= y) & (y < bottom), (left <= x) & (x < right))


# -- the view that a pipeline takes ----------------------------------------------


def find_view(process: Callable[[Sequence[np.ndarray]], Tensor],
              frames: Sequence[np.ndarray]) -> Optional[Box]:
    """The view that a pipeline takes of frames, whatever steps it consists of.

    Frames whose values encode positions go through it. If it turns bytes into floats,
    black and white frames tell how it normalises them. None if it does more than
    resize, crop and mirror.

    Args:
        process: Makes (C, H, W), the first frame as the network sees it.
        frames: Arrays (H, W, C), uint8; only their shapes matter.
    """
    def run(paint: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        return process([paint(frame) for frame in frames])

    painted = run(_paint_positions)
    seen = painted.double().numpy()
    if painted.dtype != torch.uint8:
        black = run(np.zeros_like).double().numpy()
        white = run(lambda frame: np.full_like(frame, 255)).double().numpy()
        with np.errstate(divide='ignore', invalid='ignore'):
            seen = np.nan_to_num(255 * (seen - black) / (white - black))
    columns, rows = _fit_line(seen[0]), _fit_line(seen[1].T)
    if columns is None or rows is None:
        return None
    return columns[0], rows[0], columns[1], rows[1]


def _paint_positions(frame: np.ndarray) -> np.ndarray:
    """255 times the fraction of the height in the second channel, else of the width."""
    height, width, _ = frame.shape
    painted = np.empty_like(frame)
    painted[:] = _dithered(width, height).T[..., None]
    painted[..., 1] = _dithered(height, width)
    return painted


def _dithered(length: int, lines: int) -> np.ndarray:
    """(length, lines) bytes, on average over the lines 255 times the fraction of the
    length. Rounding all lines alike would bias the slope."""
    lift = np.arange(lines) * _GOLDEN_RATIO % 1
    return np.floor(255 * _fractions(length)[:, None] + lift).astype(np.uint8)


def _fit_line(values: np.ndarray) -> Optional[tuple[float, float]]:
    """Fractions at the ends of equal lines (..., L); None if they are no such lines."""
    x = _fractions(values.shape[1])
    margin = len(x) // 12  # where a resize repeats the frame's border
    x, values = x[margin:len(x) - margin], values[:, margin:len(x) - margin]
    rise, start = np.polyfit(x, values.mean(0), 1)
    if np.abs(values - (start + rise * x)).max() > _TOLERANCE or rise == 0:
        return None
    ends = start / 255, (start + rise) / 255
    # The edge of the frame, if an end is close to it.
    return tuple(float(round(end) if abs(end - round(end)) < _EDGE else end)
                 for end in ends)
