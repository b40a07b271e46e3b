"""Images of a tracklet's clips out of files that may be broken.

A file that is missing, damaged or a single pixel wide is no reason to lose a tracklet:
the nearest readable frame of the same tracklet takes its place. Each such file is
logged once in a process, with its name and how many there were before, and noted with
the sample, see ``bad_samples.py``. A tracklet without any readable frame meets the
policy of the transform: ``skip`` (training: the data set draws another one) or
``blank`` (testing: a black tracklet marked ``unreadable``, which metrics leave out).
"""
import logging

import cv2
import numpy as np
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

from cosam_mm.datasets.time_limit import check_time_limit, within
from cosam_mm.datasets.unreadable_samples import BLANK, REPLACED, SKIPPED, note_bad
from cosam_mm.utils.io import MAX_IMAGE_BYTES, regular_size

__all__ = ['LoadTrackletFrames', 'UnreadableImage', 'nearest_first', 'read_image']

_ACTIONS = dict(
    skip='the tracklet is passed over',
    blank='black frames stand in and are left out of the figures')
POLICIES = tuple(_ACTIONS)
# Pixels of the shorter side below which a file is no picture of a person.
MIN_SIDE = 2


class UnreadableImage(RuntimeError):
    """An image cannot be read; the message says why."""


def read_image(path: str) -> np.ndarray:
    """Read an image file.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        UnreadableImage: The file is missing, does not decode or is too small.
    """
    try:
        regular_size(path, MAX_IMAGE_BYTES)
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise UnreadableImage('it does not decode')
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise UnreadableImage(f'it is {width} x {height} pixels')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def nearest_first(index: int, count: int) -> list[int]:
    """Other numbers of 0 … count - 1, nearest to ``index`` first.

    >>> nearest_first(1, 5)
    [0, 2, 3, 4]
    """
    others = (k for k in range(count) if k != index)
    return sorted(others, key=lambda k: (abs(k - index), k))


@TRANSFORMS.register_module()
class LoadTrackletFrames:
    """Read the frames that :class:`SampleTrackletFrames` chose.

    Needs ``img_paths`` and ``frame_inds``. Adds ``imgs`` (a list of
    num_clips * T arrays (H, W, 3), uint8, RGB, of any sizes, clip by clip) and
    ``num_replaced``, how many of them another frame stands in for.

    Args:
        on_unreadable: What becomes of a tracklet without a readable frame: 'skip'
            gives None in its place, 'blank' gives black frames and sets
            ``unreadable=True``.
        blank_size: (height, width) of black frames in pixels.
        time_limit: Seconds that reading may take; a tracklet that takes longer is
            unreadable.
    """

    def __init__(self, on_unreadable: str = 'skip',
                 blank_size: tuple[int, int] = (256, 128),
                 time_limit: float = 60) -> None:
        check_time_limit(time_limit)
        if on_unreadable not in POLICIES:
            raise ValueError(
                f'on_unreadable must be one of {POLICIES}, got {on_unreadable!r}.')
        self.on_unreadable = on_unreadable
        self.blank_size = tuple(blank_size)
        self.time_limit = time_limit
        self._unreadable: set[str] = set()

    def __call__(self, results: dict):
        if 'frame_inds' not in results:
            raise ValueError('Put SampleTrackletFrames before LoadTrackletFrames.')
        inds = results['frame_inds'].ravel().tolist()
        name = str(results.get('tracklet_id', results['img_paths'][0]))
        try:
            images = within(self.time_limit, name, self._read, results, inds)
        except (TimeoutError, UnreadableImage) as error:
            return self._without_frames(results, name, error)
        results['imgs'] = [images[index][1] for index in inds]
        results['num_replaced'] = sum(images[index][0] != index for index in inds)
        return results

    @property
    def num_unreadable(self) -> int:
        """Unreadable images met so far, in this process."""
        return len(self._unreadable)

    def _read(self, results: dict, inds: list[int]) -> dict[int, tuple]:
        """(number, image) for each number."""
        return {index: self._read_or_replace(results, index)
                for index in dict.fromkeys(inds)}

    def _read_or_replace(self, results: dict, index: int) -> tuple:
        """(number, image) of a frame or of the nearest that can be read."""
        paths, unreadable = results['img_paths'], []
        for candidate in (index, *nearest_first(index, len(paths))):
            try:
                found = candidate, read_image(paths[candidate])
            except UnreadableImage as error:
                unreadable.append((paths[candidate], error))
                continue
            for path, error in unreadable:
                note_bad(results, REPLACED, path, error)
                self._report(path, f'{path} ({error}); {paths[candidate]} and others '
                                   'near it stand in for it')
            return found
        path, error = unreadable[0]
        reason = f'{path} ({error}), like all {len(paths)} frames of its tracklet'
        self._report(path, f'{reason}; {_ACTIONS[self.on_unreadable]}')
        self._unreadable.update(paths)
        raise UnreadableImage(reason)

    def _report(self, path: str, message: str) -> None:
        if path not in self._unreadable:
            self._unreadable.add(path)
            print_log(f'Unreadable image {self.num_unreadable}: {message}.',
                      logger='current', level=logging.WARNING)

    def _without_frames(self, results: dict, name: str, error: Exception):
        if isinstance(error, TimeoutError):
            self._report(name, f'{name} ({error}); {_ACTIONS[self.on_unreadable]}')
        if self.on_unreadable == 'skip':
            note_bad(results, SKIPPED, name, error)
            return None
        note_bad(results, BLANK, name, error)
        count = results['frame_inds'].size
        results.update(
            imgs=list(np.zeros((count, *self.blank_size, 3), np.uint8)),
            num_replaced=count, unreadable=True)
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(on_unreadable={self.on_unreadable!r}, '
                f'blank_size={self.blank_size})')
