"""All frames of a film or a stream in order, with their times, none of them kept.

    FilmFrames(path)            a file: every frame, in one pass
    LiveFrames(source, ...)     a camera or an address: frames that nobody takes in time
                                are dropped, so that what comes is new

A film counts from the time at which players start it, a stream from its first frame.
MP4, Matroska, MPEG-TS, FLV and RTSP hold a time for each frame, AVI for each packet.
Frames of cameras and of Motion JPEG streams have the times at which they arrive.
"""
import logging
import math
import os
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Condition, Event, Thread
from time import monotonic
from typing import Callable, NamedTuple, Optional

import cv2
import numpy as np

from cosam_mm.utils.messages import one_line

from .frame_index import (
    TIMED_CONTAINERS,
    PathLike,
    declared_times,
    decode_packets,
    describe_shortfall,
    open_stream,
    unpack_frames,
)
from .unreadable_samples import (
    GRACE_SECONDS,
    TIME_LIMIT,
    UnreadableVideo,
    each_within,
    log_once,
    tick,
    within,
)
from .video_decoders import check_video_file, errors_of, rgb_converter

__all__ = ['FilmFrames', 'LiveFrames', 'TimedFrame', 'is_live']

# Frames in a row whose times may fail to rise before the times count as unusable.
_MOST_UNTIMED = 25
_ADDRESS = re.compile(r'(rtsps?|rtmps?|https?|udp|tcp|rtp|srt)://', re.IGNORECASE)
_TIMED = (*TIMED_CONTAINERS, 'rtsp', 'rtp', 'sdp', 'hls')
_POLL_SECONDS = 0.2  # in which Ctrl-C is heard


class TimedFrame(NamedTuple):
    """A frame, which becomes pixels when it is asked for."""
    time: float  # seconds
    rgb: Callable[[], np.ndarray]  # gives (H, W, 3) uint8
    after_gap: bool = False  # frames before it were dropped


class FilmFrames:
    """The frames of a video file, those that ``VideoReader`` numbers, with times.

    Each iteration opens the file and starts at the first frame. PyAV reads it.

    Attributes:
        fps: Frames a second on average, 0 where the file does not say.
        duration: Seconds by the header, 0 where it does not say.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: PyAV does not read it, its frames have no usable times, or nothing
            came for ``time_limit`` seconds.
    """

    def __init__(self, path: PathLike, time_limit: float = TIME_LIMIT) -> None:
        self.path, self._time_limit = str(path), time_limit
        if not os.path.exists(path):
            raise FileNotFoundError(f'There is no video {path}.')
        with self._named():
            check_video_file(path)
            self.fps, self.duration = within(time_limit, self.path, self._header)

    def __iter__(self) -> Iterator[TimedFrame]:
        with self._named():
            yield from each_within(self._time_limit, self.path, self._frames())

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, UnreadableVideo) as error:
            raise ValueError(f'{self.path} cannot be decoded: {error}') from None

    def _header(self) -> tuple[float, float]:
        with errors_of('PyAV'), open_stream(self.path) as (stream, _):
            return (float(stream.average_rate or 0),
                    (stream.container.duration or 0) / 1e6)

    def _frames(self) -> Iterator[TimedFrame]:
        with errors_of('PyAV'), open_stream(self.path) as (stream, packets):
            zero, frame = stream.container.start_time, None
            for frame in _rising(_decoded(stream, packets), self.fps,
                                 None if zero is None else zero / 1e6):
                yield frame
            if frame is None:
                raise UnreadableVideo('no frame decodes')
            start, end = declared_times(stream)
            declared = (end - start) * float(stream.time_base)
            if lack := describe_shortfall(frame.time, declared, self.fps):
                log_once(f'{self.path} is cut off: {lack}.', logging.WARNING)


def _decoded(stream, packets: Iterator, is_live: bool = False) -> Iterator[tuple]:
    """(seconds or None, function that gives the pixels) of each frame."""
    to_rgb, unit, steps = rgb_converter(), float(stream.time_base), deque()
    has_times = stream.container.format.name.startswith(_TIMED)

    def noted() -> Iterator:
        for packet in unpack_frames(stream, packets):
            tick()
            if not has_times and packet.dts is not None:
                steps.append(packet.dts * unit)
            yield packet

    for frame in decode_packets(stream.codec_context, noted()):
        # AVI has a time for each packet; frames are shown in the order of these.
        time = steps.popleft() if steps else None
        if has_times and frame.pts is not None:
            time = frame.pts * unit
        elif is_live:
            time = monotonic()
        yield time, partial(to_rgb, frame)


def _rising(items: Iterator[tuple], fps: float, zero: Optional[float] = None
            ) -> Iterator[TimedFrame]:
    """Frames whose times count from ``zero``, by default the first frame, and rise."""
    last, num_stuck = None, 0
    for time, rgb in items:
        if last is None:
            first = time or 0.
            zero, last = min(first, first if zero is None else zero), -math.inf
        rises = time is not None and time - zero > last
        num_stuck = 0 if rises or time is None else num_stuck + 1
        if num_stuck > _MOST_UNTIMED or not (rises or fps):
            raise UnreadableVideo(
                'the times of its frames do not rise; "ffmpeg -r 25 -i FILE OUT.mp4" '
                'gives it times, of 25 frames a second')
        last = time - zero if rises else max(last + 1 / fps, 0.)
        yield TimedFrame(last, rgb)


def is_live(source: str) -> bool:
    """Whether it is the number of a camera or the address of a stream, and no file."""
    return not os.path.exists(source) and (
        source.isdecimal() or _ADDRESS.match(source) is not None)


class LiveFrames:
    """The frames of a camera or a stream, as far as somebody takes them in time.

    A thread reads them and holds the newest ones. An address of a film, which says how
    long it is, is read no faster than it plays.

    Args:
        source: Number of a camera, as '0', or an address, as 'rtsp://...'.
        seconds: How much is held; older frames are dropped.
        time_limit: Seconds without data after which the stream counts as over.

    Attributes:
        fps: Frames a second by the stream, 0 where it does not say.
        num_dropped: Frames that nobody took in time.

    Raises:
        ValueError: On iterating, if no frame comes at all.
    """

    def __init__(self, source: str, seconds: float,
                 time_limit: float = TIME_LIMIT) -> None:
        self.path, self.fps, self.num_dropped = source, 0., 0
        self._seconds, self._time_limit, self._problem = seconds, time_limit, ''
        self._held, self._news, self._is_stopped = deque(), Condition(), Event()

    def stop(self) -> None:
        """End the iteration; signal handlers and other threads may call it."""
        self._is_stopped.set()

    def __iter__(self) -> Iterator[TimedFrame]:
        reader, num_taken = Thread(target=self._read, daemon=True), 0
        reader.start()
        try:
            while not self._is_stopped.is_set():
                is_over = not reader.is_alive()
                with self._news:
                    frame = self._held.popleft() if self._held else None
                    if frame is None and not is_over:
                        self._news.wait(_POLL_SECONDS)
                if frame is not None:
                    num_taken += 1
                    yield frame
                elif is_over:
                    break
        finally:
            self.stop()
            reader.join(GRACE_SECONDS)
        if self._problem and not num_taken:
            raise ValueError(f'{self.path} gives no frame: {self._problem}.')
        if self._problem:
            log_once(f'{self.path} broke off: {self._problem}.', logging.WARNING)

    def _read(self) -> None:
        try:
            for frame in (_camera(int(self.path)) if self.path.isdecimal()
                          else self._streamed()):
                if self._is_stopped.is_set():
                    return
                self._hold(frame)
        except Exception as error:  # it is told where the frames are used
            self._problem = one_line(error)

    def _hold(self, frame: TimedFrame) -> None:
        with self._news:
            self._held.append(frame)
            while frame.time - self._held[0].time > self._seconds:
                self._held.popleft()
                self.num_dropped += 1
                self._held[0] = self._held[0]._replace(after_gap=True)
            self._news.notify()

    def _streamed(self) -> Iterator[TimedFrame]:
        with errors_of('PyAV'), open_stream(
                self.path, 1, True, self._time_limit) as (stream, packets):
            start, self.fps = monotonic(), float(stream.average_rate or 0)
            for frame in _rising(_decoded(stream, packets, True), self.fps):
                if stream.container.duration:  # a film
                    self._is_stopped.wait(frame.time - (monotonic() - start))
                yield frame


def _camera(number: int) -> Iterator[TimedFrame]:
    capture = cv2.VideoCapture(number)

    def arriving() -> Iterator[tuple]:
        while (frame := capture.read()[1]) is not None:
            yield monotonic(), partial(cv2.cvtColor, frame, cv2.COLOR_BGR2RGB)
    try:
        if not capture.isOpened():
            raise UnreadableVideo(f'there is no camera {number}, or it is in use')
        yield from _rising(arriving(), 0.)
    finally:
        capture.release()
