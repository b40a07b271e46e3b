"""Chosen frames out of video files, each by the decoder that can read it.

    DecordReader          OpenCVReader            frames by number
              FallbackReader                      frames by number, by who can

decord says whether a file is whole and how many frames it has. Frames by number are
then decoded with OpenCV, which takes half the processor time: its FFmpeg is newer, and
it turns no frame into RGB that was not asked for. Where it ends early, decord has its
turn. A file with broken metadata, which decord refuses, is left to OpenCV alone.
Neither seeks: frames chosen by number come from a walk through the file, up to the
last one.
"""
import logging
import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Optional

import cv2
import numpy as np

from .video_file import (
    PathLike,
    UnreadableVideo,
    absolute,
    one_line,
    open_with_decord,
    open_with_opencv,
    report_once,
    walk_decord,
    walk_opencv,
)

__all__ = ['DecordReader', 'FallbackReader', 'OpenCVReader']

# An hour at 25 frames a second. It bounds the count of a file whose header lies.
MAX_FRAMES = 90_000
# Makes of a frame what is kept of it. It must treat all channels alike.
Prepare = Callable[[np.ndarray], np.ndarray]

# (path, size, time of change) -> (frames, frames a second), as decord counts. Training
# opens the same files in every epoch, and the count is a tenth of the time of a clip.
_headers: dict[tuple[str, int, int], tuple[int, float]] = {}


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
            (n, H', W', 3) uint8, RGB.

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
                batch = np.empty((len(wanted), *kept.shape), np.uint8)
            if self._is_bgr:
                cv2.cvtColor(kept, cv2.COLOR_BGR2RGB, dst=batch[num_found])
            else:
                batch[num_found] = kept
            num_found += 1
        if num_found < len(wanted):
            raise UnreadableVideo(
                f'{type(self).__name__[:-len("Reader")]} does not decode frame '
                f'{wanted[num_found]}')
        return batch


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
        status = os.stat(self._filename)
        version = self._filename, status.st_size, status.st_mtime_ns
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
        num_found = 0
        with open_with_opencv(self._filename, self._num_threads) as capture:
            for frame in walk_opencv(capture, wanted):
                num_found += 1
                yield frame
        is_last_missing = not self._is_counted and wanted[num_found:] == [
            self._num_frames - 1]
        if is_last_missing and wanted[num_found - 1:num_found] == [
                self._num_frames - 2]:
            yield frame


class FallbackReader:
    """Frames of a video by number, by whichever of decord and OpenCV can.

    decord opens the file and counts, OpenCV decodes; decord decodes what OpenCV does
    not, and OpenCV alone reads what decord refuses, which is logged.

    Args:
        filename: Path of the video.
        num_threads: Threads to decode with. More than one is slower in all but large
            videos, and keeps cores from other workers.

    Raises:
        UnreadableVideo: The file is not there or neither library reads it.
    """

    def __init__(self, filename: PathLike, num_threads: int = 1) -> None:
        self.filename = filename
        self._num_threads = num_threads
        if not os.path.isfile(filename):
            raise UnreadableVideo('there is no such file')
        if os.path.getsize(filename) == 0:
            raise UnreadableVideo('the file is empty')
        try:
            self._reader = DecordReader(filename, num_threads)
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
            UnreadableVideo: A frame does not decode, or frames differ in size.
        """
        if isinstance(self._reader, DecordReader):
            try:
                opencv = OpenCVReader(self.filename, len(self), self._num_threads)
                batch = opencv.get_batch(indices, prepare)
                self._reader.close()
                return batch
            except UnreadableVideo:
                pass  # decord says what is wrong, or reads it
            try:
                return self._reader.get_batch(indices, prepare)
            except Exception as error:  # decord's errors have no common base
                self._fall_back(error)
        return self._reader.get_batch(indices, prepare)
