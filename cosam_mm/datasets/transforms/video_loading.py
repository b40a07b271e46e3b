"""Frames of clips out of files that may be broken.

Three transforms take the place of MMAction2's loaders of the same names:

    filename -> SafeDecordInit -> SampleFrames -> SafeDecordDecode -> imgs
    frame_dir --------------------> SampleFrames -> SafeRawFrameDecode -> imgs

A file that ``video_reader.py`` cannot read is logged once, and the policy of the
transform decides: ``skip`` (training: the data set loads another sample) or ``blank``
(validation and test: a black clip marked ``unreadable``, which the metrics leave out).
Either is noted with the sample, see ``unreadable_samples.py``; so is a video that is
shorter than its file says, whose frames are used.

SafeDecordDecode can take the resizes, crops and flips of a pipeline along and apply
them to each frame as it is decoded, see ``frame_geometry.py``.
"""
import logging
import os
from collections.abc import Sequence
from typing import Any, Optional

import cv2
import numpy as np
from mmaction.datasets.transforms import (
    DecordDecode,
    DecordInit,
    RawFrameDecode,
)
from mmaction.registry import TRANSFORMS
from mmengine.fileio import FileClient
from torch.utils.data import get_worker_info

from cosam_mm import registry
from cosam_mm.datasets.image_files import UnreadableImage, open_image
from cosam_mm.datasets.unreadable_samples import (
    BLANK,
    CUT,
    SKIPPED,
    TIME_LIMIT,
    check_time_limit,
    log_once,
    note_unreadable,
    tick,
    within,
)
from cosam_mm.datasets.video_reader import UnreadableVideo, VideoReader
from cosam_mm.utils.io import MAX_IMAGE_BYTES, regular_size
from cosam_mm.utils.messages import one_line

from .frame_geometry import FrameGeometry, check_geometry

__all__ = ['SafeDecordDecode', 'SafeDecordInit', 'SafeRawFrameDecode']

POLICIES = ('skip', 'blank')


def has_free_core() -> bool:
    """Whether every process that loads clips on this machine has two cores.

    Processes are the workers of the loader that runs this, times the processes that
    ``torchrun`` started.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    worker = get_worker_info()
    loaders = max(worker.num_workers, 1) if worker else 1
    return cores >= 2 * loaders * int(os.environ.get('LOCAL_WORLD_SIZE', 1))


class _BlankReader:
    """A video of black frames of a size (height, width)."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def get_batch(self, indices, new_prepare) -> np.ndarray:
        frame = new_prepare()(np.zeros((*self.size, 3), dtype=np.uint8))
        return np.zeros((len(indices), *frame.shape), dtype=np.uint8)


class _WithPolicy:
    """What becomes of a sample that cannot be read; before MMAction2's transform."""

    def __init__(self, on_unreadable: str = 'skip',
                 blank_size: tuple[int, int] = (240, 320),
                 time_limit: float = TIME_LIMIT, **others) -> None:
        super().__init__(**others)
        if on_unreadable not in POLICIES:
            raise ValueError(
                f'on_unreadable must be one of {POLICIES}, got {on_unreadable!r}.')
        if len(blank_size) != 2 or min(blank_size) < 1:
            raise ValueError(
                f'blank_size must be (height, width) in pixels, got {blank_size!r}.')
        check_time_limit(time_limit)
        self.on_unreadable = on_unreadable
        self.blank_size = tuple(blank_size)
        self.time_limit = time_limit

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(on_unreadable={self.on_unreadable!r}, '
                f'blank_size={self.blank_size})')


def _report_unreadable(results: dict, name: str, reason: Any, on_unreadable: str
                       ) -> None:
    outcome, action = {
        'skip': (SKIPPED, 'another sample takes its place'),
        'blank': (BLANK, 'a black clip stands in, which no metric counts'),
    }[on_unreadable]
    note_unreadable(results, outcome, name, reason)
    log_once(f'Unreadable: {name} ({reason}); {action}.', logging.WARNING)


@registry.TRANSFORMS.register_module()
class SafeDecordInit(_WithPolicy, DecordInit):
    """Open a local video for :class:`SafeDecordDecode`.

    Adds ``video_reader``, ``total_frames`` and ``avg_fps``, as
    :class:`DecordInit` does; a ``filename`` without extension means ``.mp4``. Where
    every loading process has two cores, one decodes and one resizes and crops.

    Args:
        num_threads: Threads to decode with.
        on_unreadable: What becomes of a sample that cannot be read, here or by
            the decoding later: ``'skip'`` gives None in its place, ``'blank'``
            gives black frames and sets ``unreadable=True``.
        blank_size: (height, width) of black frames in pixels.
        time_limit: Seconds without data after which a file is unreadable; a long one
            takes the time it needs.
        backend: 'decord' to count and decode as MMAction2's own pipeline, see
            :class:`~cosam_mm.datasets.video_reader.VideoReader`.
    """

    def __init__(self, num_threads: int = 1, on_unreadable: str = 'skip',
                 blank_size: tuple[int, int] = (240, 320),
                 time_limit: float = TIME_LIMIT, backend: Optional[str] = None) -> None:
        super().__init__(on_unreadable, blank_size, time_limit, num_threads=num_threads)
        self.backend = backend

    def _get_video_reader(self, filename: str) -> VideoReader:
        if not os.path.splitext(filename)[1]:
            filename += '.mp4'
        return VideoReader(filename, self.num_threads, has_free_core(),
                           self.time_limit, self.backend)

    def transform(self, results: dict):
        results['on_unreadable'] = self.on_unreadable
        results['blank_size'] = self.blank_size
        try:
            results = super().transform(results)
            if shortfall := results['video_reader'].shortfall:
                note_unreadable(results, CUT, results['filename'], shortfall)
            return results
        except UnreadableVideo as error:
            _report_unreadable(
                results, results['filename'], error, self.on_unreadable)
        if self.on_unreadable == 'skip':
            return None
        results.update(
            video_reader=_BlankReader(self.blank_size), total_frames=1,
            avg_fps=0.0, unreadable=True)
        return results


@registry.TRANSFORMS.register_module()
class SafeDecordDecode(DecordDecode):
    """Decode ``frame_inds`` of what :class:`SafeDecordInit` opened.

    Adds ``imgs`` (a list of (H, W, 3) uint8 arrays, RGB; with ``transforms`` one
    (T, H, W, 3) array), ``img_shape`` and ``original_shape``. Frames that cannot be
    decoded meet the policy that :class:`SafeDecordInit` was given.

    Args:
        transforms: Configs of MMAction2's resizes, crops and flips that follow on the
            decoding. Applied here they choose and compute the same as further down
            the pipeline, but to one frame at a time, and of a frame only what the
            crop keeps is resized.

    Raises:
        ValueError: A transform is of another kind.
    """

    def __init__(self, transforms: Sequence[dict] = ()) -> None:
        super().__init__(mode='accurate')
        self.transforms = [TRANSFORMS.build(config) for config in transforms]
        check_geometry(self.transforms)

    def _decode(self, results: dict) -> dict:
        """New results; what an attempt that failed put into its own is gone with it."""
        attempts = []

        def new_geometry() -> FrameGeometry:
            attempts.append(dict(results))
            return FrameGeometry(self.transforms, attempts[-1])
        imgs = results['video_reader'].get_batch(
            np.ravel(results['frame_inds']), new_geometry)
        return dict(attempts[-1], imgs=imgs if self.transforms else list(imgs))

    def transform(self, results: dict):
        try:
            results = self._decode(results)
        except UnreadableVideo as error:
            policy = results['on_unreadable']
            _report_unreadable(results, results['filename'], error, policy)
            if policy == 'skip':
                return None
            results = self._decode(dict(
                results, unreadable=True,
                video_reader=_BlankReader(results['blank_size'])))
        del results['video_reader']
        return results

    def __repr__(self) -> str:
        steps = f'transforms={self.transforms}' if self.transforms else ''
        return f'{type(self).__name__}({steps})'


def _check_images(results: dict) -> None:
    """Raise UnreadableVideo where a frame is a pipe, a device or absurdly large."""
    planes = (['x'], ['y']) if results['modality'] == 'Flow' else ([],)
    for number in np.unique(results['frame_inds']) + results.get('offset', 0):
        for plane in planes:
            name = results['filename_tmpl'].format(*plane, number)
            tick()
            try:
                regular_size(os.path.join(results['frame_dir'], name), MAX_IMAGE_BYTES)
            except OSError as error:
                raise UnreadableVideo(
                    f'{name}: {error.strerror or error}') from None


class _TickingClient:
    """MMEngine's FileClient; each file that is read has the limit for itself."""

    def __init__(self, backend: str, **kwargs) -> None:
        self._client = FileClient(backend, **kwargs)

    def get(self, path: str) -> bytes:
        tick()
        data = self._client.get(path)
        try:
            open_image(data)  # OpenCV decodes what claims a gigapixel
        except (OSError, UnreadableImage) as error:
            raise UnreadableVideo(
                f'{os.path.basename(path)} does not decode'
                + f': {error}' * isinstance(error, UnreadableImage)) from None
        return data


@registry.TRANSFORMS.register_module()
class SafeRawFrameDecode(_WithPolicy, RawFrameDecode):
    """Read extracted frames, RGB or flow; a missing or broken one is no crash.

    Adds what :class:`RawFrameDecode` adds: ``imgs`` (a list of (H, W, 3) RGB or
    (H, W, 2) flow arrays, uint8), ``img_shape`` and ``original_shape``.

    Args:
        on_unreadable, blank_size, time_limit: As for :class:`SafeDecordInit`.
    """

    def transform(self, results: dict):
        channels = 2 if results['modality'] == 'Flow' else 3
        try:
            return within(self.time_limit, results['frame_dir'], self._read, results,
                          channels)
        except (OSError, UnreadableVideo, cv2.error, AttributeError,
                ValueError) as error:
            # Of an image that does not decode, mmcv makes None, and numpy and
            # OpenCV stumble over that in ways of their own.
            _report_unreadable(
                results, results['frame_dir'], one_line(error), self.on_unreadable)
        if self.on_unreadable == 'skip':
            return None
        shape = (len(results['frame_inds']), *self.blank_size, channels)
        return dict(results, imgs=list(np.zeros(shape, np.uint8)), unreadable=True,
                    img_shape=self.blank_size, original_shape=self.blank_size)

    def _read(self, results: dict, channels: int) -> dict:
        _check_images(results)
        self.file_client = self.file_client or _TickingClient(
            self.io_backend, **self.kwargs)
        results = super().transform(results)
        shapes = {getattr(img, 'shape', None) for img in results['imgs']}
        shape = next(iter(shapes))
        if len(shapes) > 1:
            raise UnreadableVideo('its frames differ in size or do not decode')
        if shape is None or len(shape) != 3 or shape[2] != channels:
            raise UnreadableVideo('a frame does not decode')
        return results
