"""Resizes, crops and flips of a pipeline, frame by frame while a video is decoded.

MMAction2's transforms choose (a crop, whether to flip) and compute for all frames of a
clip before the next one starts. Here they only choose, and the first frame is enough
for that; each frame then takes all steps at once, while the cache holds it::

    frame (240, 320) -> Resize (128, 170) -> MultiScaleCrop (98, 84) -> Resize -> Flip
          of this, only what the crop keeps is resized

A resize from 320 to 170 columns repeats itself every 32 columns in and 17 out. A
stretch of whole periods is therefore resized to the very values that the whole frame
has there, save its border, where neighbours are missing: one more period, cut off
afterwards, makes up for that.
"""
from collections.abc import Callable, Sequence
from math import gcd

import cv2
import mmcv
import numpy as np
from mmaction.datasets.transforms import Flip, RandomCrop, Resize

from cosam_mm.datasets.video_reader import UnreadableVideo

__all__ = ['FrameGeometry', 'check_geometry', 'resize_region']

# (left, top, right, bottom), in pixels; right and bottom are the first beyond.
Box = tuple[int, int, int, int]
# All of MMAction2's crops to one box derive from RandomCrop.
SUPPORTED = (Resize, RandomCrop, Flip)
# Neighbours that a bilinear resize looks at beyond a stretch, with one to spare.
_NEIGHBOURS = 2


def check_geometry(transforms: Sequence) -> None:
    """Refuse what cannot be applied frame by frame.

    Raises:
        ValueError: A transform is no resize, crop or flip, or is lazy.
    """
    for transform in transforms:
        if not isinstance(transform, SUPPORTED) or transform.lazy:
            raise ValueError(
                'SafeDecordDecode takes MMAction2\'s resizes, crops to one box and '
                f'flips, not lazy ones, in its transforms, got {transform!r}: put '
                'other steps behind it in the pipeline.')


def _stretch(start: int, stop: int, size_in: int, size_out: int):
    """Whole periods around [start, stop) of the output, and those of the input."""
    count = gcd(size_in, size_out)
    period_in, period_out = size_in // count, size_out // count
    margin = -(-_NEIGHBOURS // period_in)
    first = max(start // period_out - margin, 0)
    last = min(-(-stop // period_out) + margin, count)
    return (slice(first * period_in, last * period_in),
            first * period_out, (last - first) * period_out)


def resize_region(
    size_in: tuple[int, int], size_out: tuple[int, int], box: Box
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that crops out of a bilinearly resized frame.

    Args:
        size_in: (height, width) of the frames.
        size_out: (height, width) they are resized to.
        box: What is wanted of the resized frame.

    Returns:
        Function from (H, W, 3) to the (H', W', 3) of the box, uint8, a view that holds
        until the next call. It resizes little more than the box needs; values differ
        by 1 at most from those of the whole frame.

    Example:
        >>> crop = resize_region((240, 320), (128, 170), (40, 8, 140, 108))
        >>> crop(np.zeros((240, 320, 3), np.uint8)).shape
        (100, 100, 3)
    """
    left, top, right, bottom = box
    rows, row, height = _stretch(top, bottom, size_in[0], size_out[0])
    columns, column, width = _stretch(left, right, size_in[1], size_out[1])
    inside = (slice(top - row, bottom - row), slice(left - column, right - column))
    resized = np.empty((height, width, 3), np.uint8)  # new memory costs page faults

    def crop(frame: np.ndarray) -> np.ndarray:
        return mmcv.imresize(frame[rows, columns], (width, height), out=resized)[inside]
    return crop


class FrameGeometry:
    """What transforms do to one frame after the other.

    The transforms choose once, when the first frame shows its size.

    Args:
        transforms: MMAction2's, see :func:`check_geometry`.
        results: Of the pipeline. The transforms read and write it as if they stood
            behind the decoding, but that it has no ``imgs``.
    """

    def __init__(self, transforms: Sequence, results: dict) -> None:
        self._transforms = transforms
        self._results = results
        self._steps = []
        self.original_shape = None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Apply all steps to an (H, W, 3) uint8 frame."""
        size = frame.shape[:2]
        if self.original_shape is None:
            self._choose(size)
        if size != self.original_shape:
            raise UnreadableVideo('its frames differ in size')
        for step in self._steps:
            frame = step(frame)
        return frame

    def _choose(self, size: tuple[int, int]) -> None:
        results = self._results
        results['img_shape'] = results['original_shape'] = self.original_shape = size
        resize = None  # (size before, size after) of one whose step is still to come
        for transform in self._transforms:
            before = results['img_shape']
            transform.transform(results)
            if isinstance(transform, RandomCrop) and resize:
                self._steps[-1] = resize_region(*resize, tuple(results['crop_bbox']))
            elif isinstance(transform, RandomCrop):
                self._steps.append(_crop(tuple(results['crop_bbox'])))
            elif isinstance(transform, Resize):
                self._steps.append(_resize(results['img_shape'],
                                           transform.interpolation))
            elif results['flip']:
                self._steps.append(_flip(results['flip_direction']))
            is_bilinear = (isinstance(transform, Resize)
                           and transform.interpolation == 'bilinear')
            resize = (before, results['img_shape']) if is_bilinear else None


def _crop(box: Box) -> Callable:
    left, top, right, bottom = box
    return lambda frame: frame[top:bottom, left:right]


def _resize(size: tuple[int, int], interpolation: str) -> Callable:
    resized = np.empty((*size, 3), np.uint8)
    return lambda frame: mmcv.imresize(
        frame, size[::-1], interpolation=interpolation, out=resized)


def _flip(direction: str) -> Callable:
    # Of a view, as a crop is, cv2 makes a contiguous array.
    return lambda frame: cv2.flip(frame, 1 if direction == 'horizontal' else 0)
