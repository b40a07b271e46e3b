"""Frames out of video files that may be broken: decord first, OpenCV second.

Nothing here waits for ever. decord 0.6 gives up after DECORD_EOF_RETRY_MAX tries
(10,240, some milliseconds) where a file ends early. The variable is left alone: its
decoder works in a thread of its own, and fewer tries make good files fail.
"""
import logging
import os
import re

import cv2
import numpy as np
from mmengine.logging import print_log

__all__ = [
    'DecordReader',
    'FallbackReader',
    'OpenCVReader',
    'UnreadableVideo',
    'one_line',
    'report_once',
]

# An hour at 25 frames a second. It bounds the count of a file whose header lies.
MAX_FRAMES = 90_000
# Frames that decord decodes at a time. One by one is slower, and decord's ``next``
# mistakes the padding of narrow rows for channels.
_BATCH = 32

_reported: set[tuple[str, int]] = set()


class UnreadableVideo(Exception):
    """A clip cannot be decoded; the message says which and why."""


def report_once(filename: str, message: str, level: int) -> None:
    """Log a message about a file unless this process did so before."""
    if (filename, level) not in _reported:
        _reported.add((filename, level))
        print_log(message, logger='current', level=level)


def one_line(error: Exception) -> str:
    """One line of an error; decord's hold places in its source and call stacks."""
    text = re.sub(r'\[\d\d:\d\d:\d\d\] \S+:\d+: ', '', str(error)).strip()
    lines = text.splitlines() or ['no message']
    return f'{type(error).__name__}: {lines[0][:200]}'


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

    decord 0.6 seeks to wrong frames in the AVI files of HMDB51: often one off, in a
    file with several key frames 87 off. Decoding all frames up to the last wanted
    one is exact and, for clips of seconds, no slower.

    Args:
        filename: Path of the video.
        num_threads: Threads to decode with.

    Raises:
        Exception: Whatever decord raises; its errors have no common base.
    """

    def __init__(self, filename: str, num_threads: int = 1) -> None:
        self._filename = os.path.abspath(filename)
        self._num_threads = num_threads
        self._container = self._open()
        self._num_frames = len(self._container)
        self.fps = self._container.get_avg_fps()

    def __len__(self) -> int:
        return self._num_frames

    def _open(self):
        import decord
        return decord.VideoReader(self._filename, num_threads=self._num_threads)

    def _decode(self, wanted: list[int]) -> list[np.ndarray]:
        # Only a container just opened stands at frame 0 for sure.
        container = self._container or self._open()
        self._container = None
        frames = []
        for start in range(0, wanted[-1] + 1, _BATCH):
            numbers = range(start, min(start + _BATCH, wanted[-1] + 1))
            batch = container.get_batch(numbers).asnumpy()
            # Copies: a view would keep the whole batch in memory.
            frames.extend(batch[number - start].copy()
                          for number in wanted if number in numbers)
        return frames


class OpenCVReader(_SequentialReader):
    """Frames of a video by OpenCV.

    Headers are not believed: the number of frames is what decodes. No handle
    stays open between calls.

    Args:
        filename: Path of the video.

    Raises:
        UnreadableVideo: OpenCV does not decode a single frame.
    """

    def __init__(self, filename: str) -> None:
        # FFmpeg takes the start of a relative path such as "a:b.avi" for a
        # protocol, and other backends than FFmpeg take "%" for a pattern.
        self._filename = os.path.abspath(filename)
        self.fps = 0.0
        self._num_frames = self._count()
        if self._num_frames == 0:
            raise UnreadableVideo('OpenCV decodes no frame of it')

    def __len__(self) -> int:
        return self._num_frames

    def _count(self) -> int:
        capture = cv2.VideoCapture(self._filename, cv2.CAP_FFMPEG)
        try:
            self.fps = max(capture.get(cv2.CAP_PROP_FPS), 0.0)
            count = 0
            while count < MAX_FRAMES and capture.grab():
                count += 1
            return count
        finally:
            capture.release()

    def _decode(self, wanted: list[int]) -> list[np.ndarray]:
        capture = cv2.VideoCapture(self._filename, cv2.CAP_FFMPEG)
        frames = []
        try:
            for number in range(wanted[-1] + 1):
                if number != wanted[len(frames)]:
                    capture.grab()
                    continue
                decoded, frame = capture.read()
                if not decoded:
                    raise UnreadableVideo(f'OpenCV does not decode frame {number}')
                frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            return frames
        finally:
            capture.release()


class FallbackReader:
    """Frames of a video by decord, and by OpenCV from where decord fails.

    Args:
        filename: Path of the video.
        num_threads: Threads that decord decodes with.

    Raises:
        UnreadableVideo: The file is not there or neither library reads it.
    """

    def __init__(self, filename: str, num_threads: int = 1) -> None:
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
