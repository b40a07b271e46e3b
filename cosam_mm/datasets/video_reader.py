"""Where a video becomes frames: chosen ones by number, or all in order.

    VideoReader(path).get_batch(numbers)    training, inference, plots
    read_all_frames(path, use)              extraction and cropping

PyAV counts, chooses the stream and decodes: the frames are those that a player shows.
Where it is absent or fails, OpenCV takes its place in all three, from the start. decord
is used where it is asked for. The libraries' own parts are in ``video_decoders.py``.

Nothing here waits for ever, see ``unreadable_samples.py``.
"""
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from contextvars import copy_context
from itertools import islice
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Optional

import cv2
import numpy as np

from .unreadable_samples import (
    TIME_LIMIT,
    check_time_limit,
    each_within,
    log_once,
    within,
)
from .video_decoders import (
    COUNTERS,
    DECODERS,
    DecoderFailed,
    PathLike,
    UnreadableVideo,
    check_video_file,
)

__all__ = ['UnreadableVideo', 'VideoReader', 'read_all_frames']

# Makes of a frame what is kept of it. It must treat all channels alike.
Prepare = Callable[[np.ndarray], np.ndarray]
# Of a frame; many are kept at a time. The largest picture that H.264, H.265 and AV1
# have at level 6 (MaxLumaPs of Rec. H.265, table A.8).
_MAX_PIXELS = 35_651_584
# Frames that are handed from the thread that decodes to the one that uses them:
# handing over one by one costs more.
_HANDFUL = 4


class VideoReader:
    """Frames of a video by number. No file stays open between calls.

    Args:
        filename: Path of the video.
        num_threads: Threads that one frame after the other is decoded with. More than
            one is slower in all but large videos and keeps cores from other workers.
        ahead: Decode in a thread of its own while frames are prepared: faster where a
            core is free, 6 % slower where none is.
        time_limit: Seconds without data after which reading is given up. A long video
            takes the time it needs.
        backend: 'pyav', 'opencv' or 'decord', to count and decode with this library
            alone. decord gives what MMAction2's own pipeline sees: also frames that an
            edit list hides, cover pictures, and the last frame for those it lacks.

    Raises:
        UnreadableVideo: The file is not there, no library reads it, or reading hangs.

    Attributes:
        shortfall: How much less PyAV finds than the file says; '' where it is whole.
    """

    shortfall = ''

    def __init__(self, filename: PathLike, num_threads: int = 1, ahead: bool = False,
                 time_limit: float = TIME_LIMIT, backend: Optional[str] = None) -> None:
        check_time_limit(time_limit)
        if backend not in (None, *DECODERS):
            raise ValueError(f'backend must be one of {", ".join(DECODERS)}, got '
                             f'{backend!r}.')
        self.filename = filename
        self._num_threads = num_threads
        self._ahead = ahead
        self._time_limit = time_limit
        self._backend = backend or 'pyav'
        self._has_fallback = backend is None
        self._within_limit(self._open)

    def __len__(self) -> int:
        return self._num_frames

    def get_avg_fps(self) -> float:
        """Frames a second, 0 where the file does not say."""
        return self._fps

    def get_batch(self, indices,
                  new_prepare: Optional[Callable[[], Prepare]] = None) -> np.ndarray:
        """Frames by number.

        Args:
            indices: n integers from 0 to ``len(self) - 1``, in any order, repeated or
                not.
            new_prepare: Gives a function that makes of a decoded (H, W, 3) frame, RGB
                or BGR, what is kept of it, such as a resized crop, (H', W', 3) uint8.
                The function is called once for each number, while the frame is in the
                processor's cache; a library that takes over from one that fails gets a
                new one. Default: the frame itself is kept.

        Returns:
            (n, H', W', 3) uint8, RGB. With ``new_prepare`` memory has the channels
            first, (3, n, H', W'), as models take clips.

        Raises:
            IndexError: There is no such frame.
            UnreadableVideo: A frame does not decode, frames differ in size, or reading
                hangs.
        """
        indices = np.asarray(indices)
        if indices.min() < 0 or indices.max() >= len(self):
            raise IndexError(f'{self.filename} has the frames 0 to {len(self) - 1}; '
                             f'{indices.min()} to {indices.max()} were asked for.')
        return self._within_limit(self._get_batch, indices, new_prepare)

    def _within_limit(self, function: Callable, *args):
        try:
            return within(self._time_limit, self.filename, function, *args)
        except TimeoutError as error:
            raise UnreadableVideo(str(error)) from None

    def _open(self) -> None:
        check_video_file(self.filename)
        try:
            self._num_frames, self._fps, *shortfall = COUNTERS[self._backend](
                self.filename)
            self.shortfall = ''.join(shortfall)
        except DecoderFailed as error:
            self.fall_back(error)
        if self.shortfall:
            log_once(f'{self.filename} is cut off: {self.shortfall}.', logging.WARNING)

    def fall_back(self, error: DecoderFailed, num_frames: Optional[int] = None) -> None:
        """Go on with OpenCV, or raise the error, as where it counts other frames."""
        if not self._has_fallback:
            raise error
        try:
            found = COUNTERS['opencv'](self.filename)
        except UnreadableVideo as second:
            raise UnreadableVideo(f'{error}; {second}') from None
        if num_frames not in (None, found[0]):
            raise error
        (self._num_frames, self._fps), self._backend = found, 'opencv'
        self._has_fallback = False
        log_once(f'{self.filename} is read with OpenCV ({error}).', logging.INFO)

    def _get_batch(self, indices: np.ndarray, new_prepare: Optional[Callable]
                   ) -> np.ndarray:
        wanted, positions = np.unique(indices, return_inverse=True)
        try:
            batch = self._decode(wanted.tolist(), new_prepare)
        except DecoderFailed as error:
            self.fall_back(error, len(self))
            batch = self._decode(wanted.tolist(), new_prepare)
        in_order = len(positions) == len(wanted) and (np.diff(positions) > 0).all()
        return batch if in_order else batch[positions]

    def _decode(self, wanted: list[int], new_prepare: Optional[Callable]) -> np.ndarray:
        """Frames by rising numbers, one after the other."""
        batch, shape, num_found = None, None, 0
        prepare = new_prepare() if new_prepare else None
        frames = self._frames(wanted)
        with closing(_decoded_ahead(frames) if self._ahead else frames) as frames:
            for frame in frames:
                shape = shape or frame.shape
                if frame.shape != shape:
                    raise UnreadableVideo('its frames differ in size')
                if frame.size > 3 * _MAX_PIXELS:
                    raise UnreadableVideo('its frames have {1:,} x {0:,} pixels'.format(
                        *shape))
                kept = frame if prepare is None else prepare(frame)
                if batch is None:
                    batch = _new_batch(len(wanted), kept.shape, prepare is not None)
                _store(kept, batch[num_found], is_bgr=self._backend == 'opencv')
                num_found += 1
        return batch

    def _frames(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Frames by rising numbers, BGR where OpenCV decodes."""
        return DECODERS[self._backend](self.filename, wanted, self._num_threads)

    def all_frames(self) -> Iterator[np.ndarray]:
        """All frames in order, RGB, each of which holds until the next one."""
        frames = self._frames(range(len(self)))
        try:
            for frame in each_within(self._time_limit, self.filename, frames):
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) \
                    if self._backend == 'opencv' else frame
        except TimeoutError as error:
            raise UnreadableVideo(str(error)) from None


def _new_batch(length: int, shape: tuple, channels_first: bool) -> np.ndarray:
    """(length, H, W, 3), of memory that may have the channels first."""
    if not channels_first:
        return np.empty((length, *shape), np.uint8)
    return np.moveaxis(np.empty((3, length, *shape[:2]), np.uint8), 0, -1)


def _store(frame: np.ndarray, target: np.ndarray, is_bgr: bool) -> None:
    """Copy a frame into (H, W, 3) of a batch, as RGB."""
    if not target.flags.c_contiguous:
        for channel in range(3):
            cv2.extractChannel(frame, 2 - channel if is_bgr else channel,
                               dst=target[..., channel])
    elif is_bgr:
        cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=target)
    else:
        target[...] = frame


def _decoded_ahead(frames: Iterator) -> Iterator:
    """The frames, decoded in a thread of their own while others are being used.

    FFmpeg and OpenCV run without Python's lock.
    """
    handfuls, is_over = Queue(maxsize=1), Event()

    def decode() -> None:
        try:
            while not is_over.is_set():
                handful = list(islice(frames, _HANDFUL))
                handfuls.put((handful, None))
                if not handful:
                    return
        except BaseException as error:  # it is raised where the frames are used
            handfuls.put(([], error))

    # Within this context, `tick` knows whom to tell that reading goes on.
    thread = Thread(target=copy_context().run, args=(decode,), daemon=True)
    thread.start()
    try:
        while True:
            handful, error = handfuls.get()
            if error is not None:
                raise error
            if not handful:
                return
            yield from handful
    finally:
        is_over.set()
        while thread.is_alive():  # it may wait for the queue
            with suppress(Empty):
                handfuls.get(timeout=0.01)
        thread.join()
        frames.close()


def read_all_frames(path: PathLike, use: Callable[[Iterable[np.ndarray]], Any],
                    time_limit: float = TIME_LIMIT) -> Any:
    """What a function makes of all frames of a video, in order.

    Args:
        path: Video file.
        use: Takes an iterator of RGB frames, uint8, (H, W, 3), which hold until the
            next one: copy those to keep. It is called with PyAV's frames and, if PyAV
            fails, again with those that OpenCV decodes.
        time_limit: Seconds without data after which reading is given up.

    Returns:
        What ``use`` returns.

    Raises:
        UnreadableVideo: Neither reads the file, or a frame of it does not decode.
    """
    reader = VideoReader(path, time_limit=time_limit)
    while True:
        try:
            with closing(reader.all_frames()) as frames:
                return use(frames)
        except DecoderFailed as error:
            reader.fall_back(error)
