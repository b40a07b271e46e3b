"""Images of a tracklet's clips out of files that may be broken.

A file that is missing, damaged or a single pixel wide is no reason to lose a tracklet:
the nearest readable frame of the same tracklet takes its place. Each such file is
logged once in a process, with its name and how many there were before. A tracklet
without any readable frame meets the policy of the transform: ``skip`` (training: the
data set draws another one) or ``blank`` (testing: a black tracklet marked
``unreadable``, which metrics leave out).
"""
import logging

import cv2
import numpy as np
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

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
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        image = None
    if image is None:
        raise UnreadableImage(
            'it does not decode' if data.size else 'the file is empty')
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
    """

    def __init__(self, on_unreadable: str = 'skip',
                 blank_size: tuple[int, int] = (256, 128)) -> None:
        if on_unreadable not in POLICIES:
            raise ValueError(
                f'on_unreadable must be one of {POLICIES}, got {on_unreadable!r}.')
        self.on_unreadable = on_unreadable
        self.blank_size = tuple(blank_size)
        self._unreadable: set[str] = set()

    def __call__(self, results: dict):
        if 'frame_inds' not in results:
            raise ValueError('Put SampleTrackletFrames before LoadTrackletFrames.')
        paths, inds = results['img_paths'], results['frame_inds'].ravel().tolist()
        images: dict[int, tuple] = {}
        for index in dict.fromkeys(inds):
            images[index] = self._read_or_replace(paths, index)
            if images[index] is None:
                return self._without_frames(results)
        results['imgs'] = [images[index][1] for index in inds]
        results['num_replaced'] = sum(images[index][0] != index for index in inds)
        return results

    @property
    def num_unreadable(self) -> int:
        """Unreadable images met so far, in this process."""
        return len(self._unreadable)

    def _read_or_replace(self, paths: list[str], index: int):
        """(number, image) of a frame or of the nearest that can be read, or None."""
        unreadable = []
        for candidate in (index, *nearest_first(index, len(paths))):
            try:
                found = candidate, read_image(paths[candidate])
            except UnreadableImage as error:
                unreadable.append((paths[candidate], error))
                continue
            for path, error in unreadable:
                self._report(path, f'{path} ({error}); {paths[candidate]} and others '
                                   'near it stand in for it')
            return found
        for path, error in unreadable[:1]:
            self._report(path, f'{path} ({error}), like all {len(paths)} frames of its '
                               f'tracklet; {_ACTIONS[self.on_unreadable]}')
        self._unreadable.update(paths)
        return None

    def _report(self, path: str, message: str) -> None:
        if path not in self._unreadable:
            self._unreadable.add(path)
            print_log(f'Unreadable image {self.num_unreadable}: {message}.',
                      logger='current', level=logging.WARNING)

    def _without_frames(self, results: dict):
        if self.on_unreadable == 'skip':
            return None
        count = results['frame_inds'].size
        results.update(
            imgs=list(np.zeros((count, *self.blank_size, 3), np.uint8)),
            num_replaced=count, unreadable=True)
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(on_unreadable={self.on_unreadable!r}, '
                f'blank_size={self.blank_size})')
