"""Chosen frames out of video files, each by the decoder that can read it.

    PyAVReader    OpenCVReader    DecordReader    frames by number
                FallbackReader                    frames by number, by who can

decord says whether a file is whole and how many frames it has. Frames by number are
then decoded with PyAV, which passes over what they do not need once it has walked
through the file, see ``video_index.py``. Where PyAV is absent or meets an error, OpenCV
has its turn, and where that ends early, decord. These two walk through all of the file
up to the last frame asked for. A file with broken metadata, which decord refuses, is
left to OpenCV alone.
"""
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Optional

import cv2
import numpy as np

from .time_limit import check_time_limit, within
from .video_file import (
    TIME_LIMIT,
    PathLike,
    UnreadableVideo,
    absolute,
    check_video_file,
    one_line,
    open_with_decord,
    open_with_opencv,
    report_once,
    walk_decord,
    walk_opencv,
)
from .video_index import FrameIndices, walk_pyav

__all__ = [
    'DecordReader', 'FallbackReader', 'OpenCVReader', 'PyAVReader', 'forget_files'
]

# An hour at 25 frames a second. It bounds the count of a file whose header lies.
MAX_FRAMES = 90_000
# Makes of a frame what is kept of it. It must treat all channels alike.
Prepare = Callable[[np.ndarray], np.ndarray]

# (path, size, time of change), which tells a file from what it was before.
Version = tuple[str, int, int]

# Training opens the same files in every epoch. The frames and frames a second that
# decord counts take a tenth of the time of a clip.
_headers: dict[Version, tuple[int, float]] = {}
# HMDB51 and UCF101 have 3 million frames together.
_indices = FrameIndices(most_frames=16_000_000)


def forget_files() -> None:
    """Forget what was noted of files, as if none had been read."""
    _headers.clear()
    _indices.clear()


def _version(filename: str) -> Version:
    status = os.stat(filename)
    return filename, status.st_size, status.st_mtime_ns


class _SequentialReader:
    """Chosen frames of a video, decoded from its start; no seeking.

    Subclasses set ``fps`` (0 where the file does not say), give ``__len__`` and
    decode rising frame numbers in ``_decode``, in the order of channels ``_is_bgr``.
    """

    fps: float
    _is_bgr = False

    def __len__(self) -> int:
        raise NotImplementedError

    def _decode(self, wanted: list[int]) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def get_batch(self, indices, prepare: Optional[Prepare] = None) -> np.ndarray:
        """Frames by number; numbers past the end give the last frame.

        Args:
            indices: n integers >= 0, in any order, repeated or not.
            prepare: Makes of a decoded (H, W, 3) frame, RGB or BGR, what is kept of
                it, such as a resized crop, (H', W', 3) uint8. It is called once for
                each number, while the frame is in the processor's cache. Default:
                the frame itself.

        Returns:
            (n, H', W', 3) uint8, RGB. With ``prepare`` memory has the channels first,
            (3, n, H', W'), as models take clips.

        Raises:
            UnreadableVideo: A frame does not decode, or frames differ in size.
        """
        indices = np.asarray(indices)
        if (indices < 0).any():
            raise IndexError(f'Frame numbers start at 0, got {indices.min()}.')
        wanted, places = np.unique(
            np.minimum(indices, len(self) - 1), return_inverse=True)
        batch = self._collect(wanted.tolist(), prepare)
        in_order = len(places) == len(wanted) and (np.diff(places) > 0).all()
        return batch if in_order else batch[places]

    def _collect(self, wanted: list[int], prepare: Optional[Prepare]) -> np.ndarray:
        batch, shape, num_found = None, None, 0
        for frame in self._decode(wanted):
            if shape is None:
                shape = frame.shape
            elif frame.shape != shape:
                raise UnreadableVideo('its frames differ in size')
            kept = frame if prepare is None else prepare(frame)
            if batch is None:
                batch = _new_batch(len(wanted), kept.shape, prepare is not None)
            self._keep(kept, batch[num_found])
            num_found += 1
        if num_found < len(wanted):
            raise UnreadableVideo(
                f'{type(self).__name__[:-len("Reader")]} does not decode frame '
                f'{wanted[num_found]}')
        return batch

    def _keep(self, frame: np.ndarray, place: np.ndarray) -> None:
        """Copy a frame to its (H, W, 3) place of a batch, as RGB."""
        if not place.flags.c_contiguous:
            for channel in range(3):
                source = 2 - channel if self._is_bgr else channel
                cv2.extractChannel(frame, source, dst=place[..., channel])
        elif self._is_bgr:
            cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=place)
        else:
            place[...] = frame


def _new_batch(length: int, shape: tuple, channels_first: bool) -> np.ndarray:
    """(length, H, W, 3), of memory that may have the channels first."""
    if not channels_first:
        return np.empty((length, *shape), np.uint8)
    return np.moveaxis(np.empty((3, length, *shape[:2]), np.uint8), 0, -1)


class DecordReader(_SequentialReader):
    """Frames of a video by decord, without its seeking.

    Args:
        filename: Path of the video.
        num_threads: Threads to decode with.

    Raises:
        Exception: Whatever decord raises; its errors have no common base.
    """

    def __init__(self, filename: PathLike, num_threads: int = 1) -> None:
        self._filename = absolute(filename)
        self._num_threads = num_threads
        self._container = None
        version = _version(self._filename)
        if version not in _headers:
            self._container = self._open()
            _headers[version] = len(self._container), self._container.get_avg_fps()
        self._num_frames, self.fps = _headers[version]

    def __len__(self) -> int:
        return self._num_frames

    def _open(self):
        return open_with_decord(self._filename, self._num_threads)

    def close(self) -> None:
        """Close the file; the next batch opens it again."""
        self._container = None

    def _decode(self, wanted: list[int]) -> Iterator[np.ndarray]:
        # Only a container just opened stands at frame 0 for sure.
        container = self._container or self._open()
        self.close()
        return walk_decord(container, wanted)


class OpenCVReader(_SequentialReader):
    """Frames of a video by OpenCV. No handle stays open between calls.

    Args:
        filename: Path of the video.
        num_frames: How many frames it has, if that is known. The last of them may be
            missing: files of HMDB51 count one too many, which decord makes up by
            giving the last one twice. Default: headers are not believed, and the
            number is what decodes.
        num_threads: Threads to decode with. Default: one per core.

    Raises:
        UnreadableVideo: OpenCV does not decode a single frame (found when counting).
    """

    _is_bgr = True

    def __init__(self, filename: PathLike, num_frames: Optional[int] = None,
                 num_threads: Optional[int] = None) -> None:
        self._filename = absolute(filename)
        self._num_threads = num_threads
        self._is_counted = num_frames is None
        self._num_frames = num_frames
        self.fps = 0.0
        if self._is_counted:
            self._count()

    def _count(self) -> None:
        with open_with_opencv(self._filename, self._num_threads) as capture:
            self.fps = max(capture.get(cv2.CAP_PROP_FPS), 0.0)
            grabs = iter(capture.grab, False)
            self._num_frames = sum(1 for _ in islice(grabs, MAX_FRAMES))
        if self._num_frames == 0:
            raise UnreadableVideo('OpenCV: no frame can be read')

    def __len__(self) -> int:
        return self._num_frames

    def _decode(self, wanted: list[int]) -> Iterator[np.ndarray]:
        with open_with_opencv(self._filename, self._num_threads) as capture:
            frames = walk_opencv(capture, wanted)
            if not self._is_counted:
                frames = _with_last(frames, wanted, self._num_frames)
            yield from frames


def _with_last(
    frames: Iterable[np.ndarray], wanted: list[int], num_frames: int
) -> Iterator[np.ndarray]:
    """The frames; if the last of the file is wanted and missing, the one before it."""
    num_found, frame = 0, None
    for frame in frames:
        num_found += 1
        yield frame
    if wanted[num_found - 1:] == [num_frames - 2, num_frames - 1] and num_found:
        yield frame


class PyAVReader(_SequentialReader):
    """Frames of a video by PyAV, from the key frame before them once it is known.

    No handle stays open between calls.

    Args:
        filename: Path of the video.
        num_frames: How many frames it has. The last of them may be missing, as for
            :class:`OpenCVReader`.
        ahead: Decode in a thread of its own while frames are prepared.
    """

    def __init__(self, filename: PathLike, num_frames: int,
                 ahead: bool = False) -> None:
        self._filename = absolute(filename)
        self._num_frames = num_frames
        self._ahead = ahead

    def __len__(self) -> int:
        return self._num_frames

    def _decode(self, wanted: list[int]) -> Iterator[np.ndarray]:
        try:
            version = _version(self._filename)
        except OSError as error:
            raise UnreadableVideo(f'PyAV: {one_line(error)}') from None
        frames = walk_pyav(self._filename, version, wanted, _indices, self._ahead)
        return _with_last(frames, wanted, self._num_frames)


class FallbackReader:
    """Frames of a video by number, by whichever of PyAV, OpenCV and decord can.

    decord opens the file and counts, PyAV decodes; OpenCV decodes what PyAV does not,
    decord what neither does, and OpenCV alone reads what decord refuses, which is
    logged.

    Args:
        filename: Path of the video.
        num_threads: Threads that one frame after the other is decoded with. More than
            one is slower in all but large videos, keeps cores from other workers and
            does without PyAV.
        ahead: Let PyAV decode in a thread of its own while frames are prepared: faster
            where a core is free, 6 % slower where none is.
        time_limit: Seconds that opening the file may take, and each batch.

    Raises:
        UnreadableVideo: The file is not there, no library reads it, or it takes too
            long.
    """

    def __init__(self, filename: PathLike, num_threads: int = 1, ahead: bool = False,
                 time_limit: float = TIME_LIMIT) -> None:
        check_time_limit(time_limit)
        self.filename = filename
        self._num_threads = num_threads
        self._ahead = ahead
        self._time_limit = time_limit
        self._within_limit(self._open)

    def _within_limit(self, function: Callable, *args):
        try:
            return within(self._time_limit, self.filename, function, *args)
        except TimeoutError as error:
            raise UnreadableVideo(str(error)) from None

    def _open(self) -> None:
        check_video_file(self.filename)
        try:
            self._reader = DecordReader(self.filename, self._num_threads)
        except ImportError:
            raise
        except Exception as error:
            self._fall_back(error)

    def _fall_back(self, error: Exception) -> None:
        try:
            self._reader = OpenCVReader(self.filename)
        except UnreadableVideo as second:
            raise UnreadableVideo(f'decord: {one_line(error)}; {second}') from error
        report_once(
            self.filename,
            f'{self.filename} is read with OpenCV: decord refuses it '
            f'({one_line(error)}).', logging.INFO)

    def _fast_readers(self) -> Iterator[_SequentialReader]:
        if self._num_threads == 1:
            yield PyAVReader(self.filename, len(self), self._ahead)
        yield OpenCVReader(self.filename, len(self), self._num_threads)

    def __len__(self) -> int:
        return len(self._reader)

    def get_avg_fps(self) -> float:
        """Frames a second, 0 where the file does not say."""
        return self._reader.fps

    def get_batch(self, indices, prepare: Optional[Prepare] = None) -> np.ndarray:
        """Frames by number, as :class:`OpenCVReader` and :class:`DecordReader` do.

        Args:
            indices: n integers >= 0; numbers past the end give the last frame.
            prepare: Makes of a decoded frame what is kept of it, (H', W', 3).

        Returns:
            (n, H', W', 3) uint8, RGB.

        Raises:
            UnreadableVideo: A frame does not decode, frames differ in size, or it
                takes too long.
        """
        return self._within_limit(self._get_batch, indices, prepare)

    def _get_batch(self, indices, prepare: Optional[Prepare]) -> np.ndarray:
        if isinstance(self._reader, DecordReader):
            for reader in self._fast_readers():
                try:
                    batch = reader.get_batch(indices, prepare)
                    self._reader.close()
                    return batch
                except UnreadableVideo:
                    pass  # decord says what is wrong, or reads it
            try:
                return self._reader.get_batch(indices, prepare)
            except Exception as error:  # decord's errors have no common base
                self._fall_back(error)
        return self._reader.get_batch(indices, prepare)
