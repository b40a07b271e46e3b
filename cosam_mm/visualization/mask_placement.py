"""Where a mask lies on the frames that it was made for, and when.

A network sees a clip of T frames through a view of each: resized, cropped, perhaps
mirrored. Where COSAM stands, T' steps of h x w places are left::

    frame     0 1 2 3 4 5 6 7        view   +-------------+
    step      0 0 1 1 2 2 3 3               |   +-----+   |  frame
                                            |   |h x w|   |
                                            +---+-----+---+

A view is a box (left, top, right, bottom) in shares of the frame's width and height,
left greater than right where the network saw it mirrored. It may reach beyond the
frame, where that was padded.
"""
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ['WHOLE_FRAME', 'Box', 'average_places', 'first_showings', 'fit_view',
           'frame_masks', 'paint_places', 'place_mask', 'seen_pixels', 'step_means',
           'value_range']

Box = tuple[float, float, float, float]
WHOLE_FRAME: Box = (0., 0., 1., 1.)
# Of a byte: what rounding and resizing make of a painted place.
_TOLERANCE = 4.
_EDGE = 0.004
# Whose multiples' fractions fill the unit evenly, however many there are.
_GOLDEN_RATIO = (5 ** 0.5 - 1) / 2


# -- time ------------------------------------------------------------------------


def frame_masks(mask: np.ndarray, num_frames: int) -> np.ndarray:
    """The mask of each frame.

    Args:
        mask: (M, T', h, w), of M clips.
        num_frames: Frames T of a clip, at least T'.

    Returns:
        (M * T, h, w): frame t has the mask of step t * T' // T.

    Example:
        >>> frame_masks(np.arange(2.).reshape(1, 2, 1, 1), 4).ravel()
        array([0., 0., 1., 1.])
    """
    steps = np.arange(num_frames) * mask.shape[1] // num_frames
    return mask[:, steps].reshape(-1, *mask.shape[2:])


def step_means(frames: np.ndarray, num_steps: int) -> np.ndarray:
    """The mean of the frames that share a mask, the way back from ``frame_masks``.

    Args:
        frames: (M, T, h, w), of M clips.
        num_steps: Steps T', at most T.

    Returns:
        (M, T', h, w).

    Example:
        >>> step_means(np.array([0., 1., 5., 7.]).reshape(1, 4, 1, 1), 2).ravel()
        array([0.5, 6. ])
    """
    steps = np.arange(frames.shape[1]) * num_steps // frames.shape[1]
    return np.stack([frames[:, steps == step].mean(1) for step in range(num_steps)], 1)


def first_showings(numbers: Sequence[int]) -> np.ndarray:
    """Places of a list of frame numbers where a number comes for the first time.

    >>> first_showings([4, 5, 6, 4, 5])
    array([0, 1, 2])
    """
    return np.sort(np.unique(numbers, return_index=True)[1])


# -- space -----------------------------------------------------------------------


def _shares(num_pixels: int) -> np.ndarray:
    """Centres of pixels as shares of a side."""
    return (np.arange(num_pixels) + 0.5) / num_pixels


def _weights(cells: int, num_pixels: int, start: float, stop: float,
             smooth: bool) -> np.ndarray:
    """(num_pixels, cells): how far each cell counts at each pixel."""
    place = (_shares(num_pixels) - start) / (stop - start) * cells - 0.5
    place = np.clip(place, 0, cells - 1)
    if not smooth:
        place = np.round(place)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(cells)), 0)


def place_mask(mask: np.ndarray, size: tuple[int, int], box: Box = WHOLE_FRAME,
               smooth: bool = True) -> np.ndarray:
    """Values of a mask at the pixels of a frame.

    Args:
        mask: (h, w).
        size: (H, W) of the frame as it is drawn, in pixels.
        box: View that the mask belongs to.
        smooth: Whether to interpolate between the centres of the mask's places.

    Returns:
        (H, W). Outside of the view the nearest value goes on, see
        :func:`seen_pixels`.

    Example:
        >>> place_mask(np.array([[0., 1.]]), (1, 4), smooth=False)
        array([[0., 0., 1., 1.]])
    """
    left, top, right, bottom = box
    rows = _weights(mask.shape[0], size[0], top, bottom, smooth)
    columns = _weights(mask.shape[1], size[1], left, right, smooth)
    return rows @ mask @ columns.T


def seen_pixels(size: tuple[int, int], box: Box = WHOLE_FRAME) -> np.ndarray:
    """(H, W) bool: which pixels of a frame lie inside of a view."""
    x, y = _shares(size[1]), _shares(size[0])
    left, right = sorted(box[::2])
    top, bottom = sorted(box[1::2])
    return np.outer((top <= y) & (y < bottom), (left <= x) & (x < right))


def average_places(values: np.ndarray, grid: tuple[int, int],
                   box: Box = WHOLE_FRAME) -> np.ndarray:
    """Means of a frame's pixels over the places of a mask: the frame, as coarse.

    Args:
        values: (H, W).
        grid: (h, w) of the mask.
        box: View that the mask belongs to. Pixels outside of it do not count.

    Returns:
        (h, w); 0 where a place holds no pixel's centre.

    Example:
        >>> average_places(np.array([[1., 3., 5., 5.]]), (1, 2))
        array([[2., 5.]])
    """
    left, top, right, bottom = box
    rows = _weights(grid[0], values.shape[0], top, bottom, False)
    columns = _weights(grid[1], values.shape[1], left, right, False)
    seen = seen_pixels(values.shape, box).astype(np.float64)
    return rows.T @ (values * seen) @ columns / np.maximum(rows.T @ seen @ columns, 1)


def value_range(masks: Iterable[np.ndarray]) -> tuple[float, float]:
    """Smallest and largest value of several masks."""
    masks = list(masks)
    return (min(float(mask.min()) for mask in masks),
            max(float(mask.max()) for mask in masks))


# -- which view a pipeline takes -------------------------------------------------


def paint_places(frame: np.ndarray) -> np.ndarray:
    """A frame of the same kind whose values tell the place: what goes through a
    pipeline like that tells afterwards what it was.

    Args:
        frame: (H, W, C) uint8.

    Returns:
        (H, W, C) uint8: 255 times the share of the height in the second channel, of
        the width in all others.
    """
    height, width, channels = frame.shape
    painted = np.empty((height, width, channels))
    painted[:] = _dithered(width, height).T[..., None]
    painted[..., 1] = _dithered(height, width)
    return painted.astype(np.uint8)


def _dithered(length: int, lines: int) -> np.ndarray:
    """(length, lines) whole numbers: 255 times the share of the length, on average
    over the lines. Rounded alike in all of them, they would seem to rise too fast."""
    lift = np.arange(lines) * _GOLDEN_RATIO % 1
    return np.floor(255 * _shares(length)[:, None] + lift)


def fit_view(seen: np.ndarray) -> Box:
    """The view in which a painted frame is seen.

    Args:
        seen: (H, W, C), what a pipeline made of :func:`paint_places`, in bytes.

    Raises:
        ValueError: It is no view: more was done to it than resizes, crops and
            mirroring.

    Example:
        >>> frame = np.zeros((100, 200, 3), np.uint8)
        >>> view = fit_view(paint_places(frame)[10:60, 50:150])
        >>> [round(side, 2) for side in view]
        [0.25, 0.1, 0.75, 0.6]
    """
    seen = seen.astype(np.float64)
    left, right = _fit_line(seen[..., 0])
    top, bottom = _fit_line(seen[..., 1].T)
    return left, top, right, bottom


def _fit_line(values: np.ndarray) -> tuple[float, float]:
    """Values at both ends of lines (..., L) that are all alike, as shares."""
    x = _shares(values.shape[1])
    margin = len(x) // 12  # a resize repeats the frame's border there
    x, values = x[margin:len(x) - margin], values[:, margin:len(x) - margin]
    rise, start = np.polyfit(x, values.mean(0), 1)
    if np.abs(values - (start + rise * x)).max() > _TOLERANCE or rise == 0:
        raise ValueError('The frames are not only resized, cropped and mirrored.')
    return _at_edge(start / 255), _at_edge((start + rise) / 255)


def _at_edge(share: float) -> float:
    """The edge of the frame, where a share is that but for rounding."""
    edge = round(share)
    return float(edge if abs(share - edge) < _EDGE else share)
