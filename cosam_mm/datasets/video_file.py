"""Video files that may be broken, opened and walked through by decord and by OpenCV.

    frames_with_decord    frames_with_opencv      all frames, in order
    open_with_decord      open_with_opencv        a file, open
    walk_decord           walk_opencv             its frames by rising numbers

decord is the decoder that MMAction2 trains with. OpenCV reads some files with broken
metadata that decord refuses. Neither seeks. :mod:`.video_reader` makes of the two, and
of PyAV, what reads chosen frames.

Nothing here waits for ever: what takes longer than TIME_LIMIT is given up, see
``time_limit.py``. Playlists are refused: FFmpeg opens what they name, waits for more of
it, and decord's dies of one that names itself. decord 0.6 gives up after
DECORD_EOF_RETRY_MAX tries (10,240, some milliseconds) where a file ends early. The
variable is left alone: its decoder works in a thread of its own, and fewer tries make
good files fail.
"""
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Optional, Union

import cv2
import numpy as np

from cosam_mm.utils.io import regular_size

from .time_limit import each_within

__all__ = [
    'TIME_LIMIT', 'UnreadableVideo', 'absolute', 'check_video_file',
    'frames_with_decord', 'frames_with_opencv', 'one_line', 'open_with_decord',
    'open_with_opencv', 'report_once', 'walk_decord', 'walk_opencv'
]

# Frames that decord decodes at a time. One by one is slower, and decord's ``next``
# mistakes the padding of narrow rows for channels.
_BATCH = 32
# Seconds for opening a file, and for a clip or a frame of it. They take milliseconds.
TIME_LIMIT = 60.0
# What the formats begin with in which FFmpeg finds names of other files.
_PLAYLISTS = (b'#EXTM3U', b'ffconcat', b'<')

PathLike = Union[str, Path]

_reported: set[tuple[str, int]] = set()


class UnreadableVideo(RuntimeError):
    """A clip cannot be decoded; the message says why."""


def check_video_file(path: PathLike) -> None:
    """Raise UnreadableVideo where decoders must not be let at a file."""
    try:
        regular_size(path)
        with open(path, 'rb') as file:
            head = file.read(64)
    except FileNotFoundError:
        raise UnreadableVideo('there is no such file') from None
    except OSError as error:
        raise UnreadableVideo(error.strerror or str(error)) from None
    if head.replace(b'\xef\xbb\xbf', b'').lstrip().startswith(_PLAYLISTS):
        raise UnreadableVideo('it is a playlist or other text, not a video')


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
    check_video_file(path)
    try:
        yield from each_within(TIME_LIMIT, path, _all_with_decord(path))
    except Exception as error:  # decord's errors have no common base
        raise UnreadableVideo(f'decord: {one_line(error)}') from None


def _all_with_decord(path: PathLike) -> Iterator[np.ndarray]:
    container = open_with_decord(path)
    yield from walk_decord(container, range(len(container)))


def frames_with_opencv(path: PathLike) -> Iterator[np.ndarray]:
    """Frames that OpenCV decodes, in order, up to the first that it cannot.

    Args:
        path: Video file.

    Yields:
        RGB frames, uint8, (H, W, 3).

    Raises:
        UnreadableVideo: OpenCV cannot open the file or finds no frame in it.
    """
    check_video_file(path)
    empty = True
    try:
        for frame in each_within(TIME_LIMIT, path, _all_with_opencv(path)):
            empty = False
            yield frame
    except TimeoutError as error:
        raise UnreadableVideo(f'OpenCV: {one_line(error)}') from None
    if empty:
        raise UnreadableVideo('OpenCV: no frame can be read')


def _all_with_opencv(path: PathLike) -> Iterator[np.ndarray]:
    with open_with_opencv(path) as capture:
        for frame in walk_opencv(capture, count()):
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def absolute(path: PathLike) -> str:
    """The path as decoders may have it."""
    # FFmpeg takes the start of a relative path such as "a:b.avi" for a protocol.
    return str(Path(path).absolute())


def open_with_decord(path: PathLike, num_threads: int = 1):
    """decord's reader of a file, with whatever error it raises."""
    import decord  # here, so that OpenCV can do without it
    return decord.VideoReader(absolute(path), num_threads=num_threads)


def walk_decord(container, wanted: Sequence[int]) -> Iterator[np.ndarray]:
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
def open_with_opencv(
    path: PathLike, num_threads: Optional[int] = None
) -> Iterator[cv2.VideoCapture]:
    """A capture that is released at the end, whichever it is.

    Without a number of threads OpenCV takes one per core.
    """
    capture = cv2.VideoCapture()
    threads = [cv2.CAP_PROP_N_THREADS, num_threads] if num_threads else []
    try:
        # Other backends than FFmpeg take "%" in a name for a pattern.
        capture.open(absolute(path), cv2.CAP_FFMPEG, threads)
        yield capture
    except (cv2.error, UnicodeError) as error:
        raise UnreadableVideo(f'OpenCV: {one_line(error)}') from None
    finally:
        capture.release()


def walk_opencv(
    capture: cv2.VideoCapture, wanted: Iterable[int]
) -> Iterator[np.ndarray]:
    """Frames by rising numbers, BGR, up to the first that does not decode.

    Frames in between are grabbed only, which spares their way from YUV to BGR.
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
        yield frame
