"""Where a video becomes frames: chosen ones by number, or all in order.

    VideoReader(path).get_batch(numbers)    training, inference, plots
    read_all_frames(path, use)              extraction and cropping

decord says whether a file is whole and how many frames it has. Frames by number are
then decoded with PyAV; where it is absent or meets an error, OpenCV has its turn, and
where that ends early, decord. A file with broken metadata, which decord refuses, is
left to OpenCV alone. The libraries' own parts are in ``video_decoders.py``.

Nothing here waits for ever, see ``unreadable_samples.py``.
"""
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Optional

import cv2
import numpy as np

from cosam_mm.utils.messages import one_line

from .unreadable_samples import (
    TIME_LIMIT,
    check_time_limit,
    each_within,
    log_once,
    within,
)
from .video_decoders import (
    DECODERS,
    PathLike,
    UnreadableVideo,
    check_video_file,
    count_with_decord,
    count_with_opencv,
    errors_of,
)

__all__ = ['UnreadableVideo', 'VideoReader', 'read_all_frames']

# Makes of a frame what is kept of it. It must treat all channels alike.
Prepare = Callable[[np.ndarray], np.ndarray]
# Names for messages.
_NAMES = {'pyav': 'PyAV', 'opencv': 'OpenCV', 'decord': 'decord'}
# Frames that are handed from the thread that decodes to the one that uses them:
# handing over one by one costs more.
_HANDFUL = 4


class VideoReader:
    """Frames of a video by number. No file stays open between calls.

    Args:
        filename: Path of the video.
        num_threads: Threads that one frame after the other is decoded with. More than
            one is slower in all but large videos, keeps cores from other workers and
            does without PyAV.
        ahead: Decode in a thread of its own while frames are prepared: faster where a
            core is free, 6 % slower where none is.
        time_limit: Seconds that opening the file may take, and each batch.
        backend: 'pyav', 'opencv' or 'decord', to decode with this library alone.
            OpenCV alone counts what decodes; otherwise decord counts.

    Raises:
        UnreadableVideo: The file is not there, no library reads it, or it takes too
            long.
        ImportError: decord is not installed.
    """

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
        several = ['opencv', 'decord'] if num_threads > 1 else list(DECODERS)
        self._backends = [backend] if backend else several
        self._within_limit(self._open)

    def __len__(self) -> int:
        return self._num_frames

    def get_avg_fps(self) -> float:
        """Frames a second, 0 where the file does not say."""
        return self._fps

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
            IndexError: A number is negative.
            UnreadableVideo: A frame does not decode, frames differ in size, or it
                takes too long.
        """
        indices = np.asarray(indices)
        if (indices < 0).any():
            raise IndexError(f'Frame numbers start at 0, got {indices.min()}.')
        return self._within_limit(self._get_batch, indices, prepare)

    def _within_limit(self, function: Callable, *args):
        try:
            return within(self._time_limit, self.filename, function, *args)
        except TimeoutError as error:
            raise UnreadableVideo(str(error)) from None

    def _open(self) -> None:
        check_video_file(self.filename)
        self._header_counts = self._backends != ['opencv']
        count = count_with_decord if self._header_counts else count_with_opencv
        try:
            self._num_frames, self._fps = count(self.filename)
        except (ImportError, UnreadableVideo):
            raise
        except Exception as error:  # decord's errors have no common base
            self._leave_to_opencv(f'decord: {one_line(error)}')

    def _leave_to_opencv(self, reason: str) -> None:
        """Read the file with OpenCV from now on, because decord fails in it."""
        if 'opencv' not in self._backends:
            raise UnreadableVideo(reason)
        try:
            self._num_frames, self._fps = count_with_opencv(self.filename)
        except UnreadableVideo as second:
            raise UnreadableVideo(f'{reason}; {second}') from None
        self._backends, self._header_counts = ['opencv'], False
        log_once(f'{self.filename} is read with OpenCV ({reason}).', logging.INFO)

    def _get_batch(self, indices: np.ndarray, prepare: Optional[Prepare]) -> np.ndarray:
        *others, last = self._backends
        for backend in others:
            with suppress(UnreadableVideo):  # the last one says what is wrong
                return self._get_batch_with(backend, indices, prepare)
        try:
            return self._get_batch_with(last, indices, prepare)
        except UnreadableVideo as error:
            if last != 'decord':
                raise
            self._leave_to_opencv(str(error))
        return self._get_batch_with('opencv', indices, prepare)

    def _get_batch_with(self, backend: str, indices: np.ndarray,
                        prepare: Optional[Prepare]) -> np.ndarray:
        wanted, positions = np.unique(
            np.minimum(indices, len(self) - 1), return_inverse=True)
        batch = self._decode(backend, wanted.tolist(), prepare)
        in_order = len(positions) == len(wanted) and (np.diff(positions) > 0).all()
        return batch if in_order else batch[positions]

    def _decode(self, backend: str, wanted: list[int],
                prepare: Optional[Prepare]) -> np.ndarray:
        """Frames by rising numbers, one after the other."""
        batch, shape, num_found = None, None, 0
        frames = DECODERS[backend](self.filename, wanted, self._num_threads)
        with closing(_decoded_ahead(frames) if self._ahead else frames) as frames:
            for frame in frames:
                shape = shape or frame.shape
                if frame.shape != shape:
                    raise UnreadableVideo('its frames differ in size')
                kept = frame if prepare is None else prepare(frame)
                if batch is None:
                    batch = _new_batch(len(wanted), kept.shape, prepare is not None)
                _store(kept, batch[num_found], is_bgr=backend == 'opencv')
                num_found += 1
        if num_found == len(wanted) - 1 > 0 and self._may_lack_last(wanted):
            batch[-1] = batch[-2]
        elif num_found < len(wanted):
            raise UnreadableVideo(
                f'{_NAMES[backend]} does not decode frame {wanted[num_found]}')
        return batch

    def _may_lack_last(self, wanted: list[int]) -> bool:
        """Whether headers count one frame too many, as in files of HMDB51.

        decord makes that one up by giving the last frame twice.
        """
        return self._header_counts and wanted[-2:] == [len(self) - 2, len(self) - 1]


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

    thread = Thread(target=decode, daemon=True)
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
            next one: copy those to keep. It is called with decord's frames and, if
            decord stops, again with those that OpenCV decodes.
        time_limit: Seconds that opening the file may take, and each frame.

    Returns:
        What ``use`` returns.

    Raises:
        UnreadableVideo: Neither opens the file, or ``use`` raises it for the frames
            of both.
    """
    reasons = []
    for backend in ('decord', 'opencv'):
        try:
            with closing(_all_frames(path, backend, time_limit)) as frames:
                return use(frames)
        except UnreadableVideo as error:
            reasons.append(str(error))
    raise UnreadableVideo('; '.join(dict.fromkeys(reasons)))


def _all_frames(path: PathLike, backend: str, time_limit: float) -> Iterator:
    check_video_file(path)
    frames = DECODERS[backend](path)
    with errors_of(_NAMES[backend]):
        for frame in each_within(time_limit, path, frames):
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if backend == 'opencv' \
                else frame
