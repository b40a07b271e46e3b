"""Frames out of video files that may be broken: decord first, OpenCV second.

    frames_with_decord    frames_with_opencv      all frames, in order
    DecordReader          OpenCVReader            frames by number, as FallbackReader:
                                                  the first of the two that can

decord is the decoder that MMAction2 trains with, so it goes first. It refuses files
with broken metadata that OpenCV still reads, hence the second one. Neither seeks:
frames chosen by number come from a walk through the file too, up to the last one.

Nothing here waits for ever. decord 0.6 gives up after DECORD_EOF_RETRY_MAX tries
(10,240, some milliseconds) where a file ends early. The variable is left alone: its
decoder works in a thread of its own, and fewer tries make good files fail.
"""
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Union

import cv2
import numpy as np

__all__ = [
    'DecordReader',
    'FallbackReader',
    'OpenCVReader',
    'UnreadableVideo',
    'frames_with_decord',
    'frames_with_opencv',
    'one_line',
    'report_once',
]

# An hour at 25 frames a second. It bounds the count of a file whose header lies.
MAX_FRAMES = 90_000
# Frames that decord decodes at a time. One by one is slower, and decord's ``next``
# mistakes the padding of narrow rows for channels.
_BATCH = 32

PathLike = Union[str, Path]

_reported: set[tuple[str, int]] = set()


class UnreadableVideo(RuntimeError):
    """A clip cannot be decoded; the message says why."""


def one_line(error: Exception) -> str:
    """One line of an error; decord's hold places in its source and call stacks."""
    text = re.sub(r'\[\d\d:\d\d:\d\d\] \S+:\d+: ', '', str(error)).strip()
    lines = text.splitlines() or ['no message']
    return f'{type(error).__name__}: {lines[0][:200]}'


def report_once(filename: PathLike, message: str, level: int) -> None:
    """Log a message about a file unless this process did so before."""
    from mmengine.logging import print_log  # loads torch, which frames do not need
    if (str(filename), level) not in _reported:
        _reported.add((str(filename), level))
        print_log(message, logger='current', level=level)


def frames_with_decord(path: PathLike) -> Iterator[np.ndarray]:
    """All frames that decord decodes, in order.

    Args:
        path: Video file.

    Yields:
        RGB frames, uint8, (H, W, 3), views of a batch: copy those to keep.

    Raises:
        UnreadableVideo: decord is absent, refuses the file or stops in it.
    """
    try:
        container = _open_with_decord(path)
        yield from _walk_decord(container, range(len(container)))
    except Exception as error:  # decord's errors have no common base
        raise UnreadableVideo(f'decord: {one_line(error)}') from None


def frames_with_opencv(path: PathLike) -> Iterator[np.ndarray]:
    """Frames that OpenCV decodes, in order, up to the first that it cannot.

    Args:
        path: Video file.

    Yields:
        RGB frames, uint8, (H, W, 3).

    Raises:
        UnreadableVideo: OpenCV cannot open the file or finds no frame in it.
    """
    empty = True
    with _open_with_opencv(path) as capture:
        for frame in _walk_opencv(capture, count()):
            empty = False
            yield frame
    if empty:
        raise UnreadableVideo('OpenCV: no frame can be read')


def _absolute(path: PathLike) -> str:
    # FFmpeg takes the start of a relative path such as "a:b.avi" for a protocol.
    return str(Path(path).absolute())


def _open_with_decord(path: PathLike, num_threads: int = 1):
    import decord  # here, so that OpenCV can do without it
    return decord.VideoReader(_absolute(path), num_threads=num_threads)


def _walk_decord(container, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames by rising numbers out of a container that stands at frame 0.

    The walk ends at the last one. decord 0.6 seeks to wrong frames in the AVI files
    of HMDB51: often one off, in a file with several key frames 87 off. Decoding what
    lies between is exact and, for clips of seconds, no slower.
    """
    chosen, end = set(wanted), wanted[-1] + 1
    for start in range(0, end, _BATCH):
        numbers = range(start, min(start + _BATCH, end))
        batch = container.get_batch(numbers).asnumpy()
        yield from (batch[number - start] for number in numbers if number in chosen)


@contextmanager
def _open_with_opencv(path: PathLike) -> Iterator[cv2.VideoCapture]:
    """A capture that is released at the end, whichever it is."""
    capture = cv2.VideoCapture()
    try:
        # Other backends than FFmpeg take "%" in a name for a pattern.
        capture.open(_absolute(path), cv2.CAP_FFMPEG)
        yield capture
    except (cv2.error, UnicodeError) as error:
        raise UnreadableVideo(f'OpenCV: {one_line(error)}') from None
    finally:
        capture.release()


def _walk_opencv(
    capture: cv2.VideoCapture, wanted: Iterable[int]
) -> Iterator[np.ndarray]:
    """Frames by rising numbers, up to the first that does not decode.

    Frames in between are grabbed only, which spares their way to RGB.
    """
    position = -1
    for number in wanted:
        while position < number:
            if not capture.grab():
                return
            position += 1
        decoded, frame = capture.retrieve()
        if not decoded:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


class _SequentialReader:
    """Chosen frames of a video, decoded from its start; no seeking.

    Subclasses set ``fps`` (0 where the file does not say), give ``__len__`` and
    decode rising frame numbers in ``_decode``.
    """

    fps: float

    def __len__(self) -> int:
        raise NotImplementedError

    def _decode(self, wanted: list[int]) -> list[np.ndarray]:
        raise NotImplementedError

    def get_batch(self, indices) -> np.ndarray:
        """Frames by number; numbers past the end give the last frame.

        Args:
            indices: n integers >= 0, in any order, repeated or not.

        Returns:
            (n, H, W, 3) uint8, RGB.

        Raises:
            UnreadableVideo: A frame does not decode, or frames differ in size.
        """
        indices = np.asarray(indices)
        if (indices < 0).any():
            raise IndexError(f'Frame numbers start at 0, got {indices.min()}.')
        wanted, places = np.unique(
            np.minimum(indices, len(self) - 1), return_inverse=True)
        frames = self._decode(wanted.tolist())
        if len({frame.shape for frame in frames}) > 1:
            raise UnreadableVideo('its frames differ in size')
        return np.stack(frames)[places]


class DecordReader(_SequentialReader):
    """Frames of a video by decord, without its seeking.

    Args:
        filename: Path of the video.
        num_threads: Threads to decode with.

    Raises:
        Exception: Whatever decord raises; its errors have no common base.
    """

    def __init__(self, filename: PathLike, num_threads: int = 1) -> None:
        self._filename = _absolute(filename)
        self._num_threads = num_threads
        self._container = self._open()
        self._num_frames = len(self._container)
        self.fps = self._container.get_avg_fps()

    def __len__(self) -> int:
        return self._num_frames

    def _open(self):
        return _open_with_decord(self._filename, self._num_threads)

    def _decode(self, wanted: list[int]) -> list[np.ndarray]:
        # Only a container just opened stands at frame 0 for sure.
        container = self._container or self._open()
        self._container = None
        # Copies: a view would keep the whole batch in memory.
        return [frame.copy() for frame in _walk_decord(container, wanted)]


class OpenCVReader(_SequentialReader):
    """Frames of a video by OpenCV.

    Headers are not believed: the number of frames is what decodes. No handle
    stays open between calls.

    Args:
        filename: Path of the video.

    Raises:
        UnreadableVideo: OpenCV does not decode a single frame.
    """

    def __init__(self, filename: PathLike) -> None:
        self._filename = _absolute(filename)
        with _open_with_opencv(self._filename) as capture:
            self.fps = max(capture.get(cv2.CAP_PROP_FPS), 0.0)
            grabs = iter(capture.grab, False)
            self._num_frames = sum(1 for _ in islice(grabs, MAX_FRAMES))
        if self._num_frames == 0:
            raise UnreadableVideo('OpenCV: no frame can be read')

    def __len__(self) -> int:
        return self._num_frames

    def _decode(self, wanted: list[int]) -> list[np.ndarray]:
        with _open_with_opencv(self._filename) as capture:
            frames = list(_walk_opencv(capture, wanted))
        if len(frames) < len(wanted):
            raise UnreadableVideo(f'OpenCV does not decode frame {wanted[len(frames)]}')
        return frames


class FallbackReader:
    """Frames of a video by decord, and by OpenCV from where decord fails.

    Args:
        filename: Path of the video.
        num_threads: Threads that decord decodes with.

    Raises:
        UnreadableVideo: The file is not there or neither library reads it.
    """

    def __init__(self, filename: PathLike, num_threads: int = 1) -> None:
        self.filename = filename
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

    def get_batch(self, indices) -> np.ndarray:
        """Frames by number, (n, H, W, 3) uint8, RGB."""
        if isinstance(self._reader, DecordReader):
            try:
                return self._reader.get_batch(indices)
            except Exception as error:
                self._fall_back(error)
        return self._reader.get_batch(indices)
