"""Frames of a video file by rising numbers: one function for each library.

    decode_with_pyav      from the key frame before them, once a file was read in order
    decode_with_opencv    from the start of the file; BGR
    decode_with_decord    from the start of the file; the library of MMAction2

All three take ``(path, wanted, num_threads)`` and are generators of (H, W, 3) uint8
arrays that raise :class:`UnreadableVideo`. ``video_reader.py`` chooses among them.

No function trusts the times or the index of a container. decord 0.6 seeks to wrong
frames in the AVI files of HMDB51: often one off, in a file with several key frames 87
off. It gives up after DECORD_EOF_RETRY_MAX tries (10,240, some milliseconds) where a
file ends early. The variable is left alone: with fewer tries good files fail.
"""
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple, Optional, Union

import cv2
import numpy as np

from cosam_mm.utils.io import regular_size
from cosam_mm.utils.messages import one_line

__all__ = [
    'DECODERS', 'UnreadableVideo', 'check_video_file', 'count_with_decord',
    'count_with_opencv', 'decode_with_decord', 'decode_with_opencv',
    'decode_with_pyav', 'errors_of', 'forget_files'
]

PathLike = Union[str, Path]

# Frames that decord decodes at a time. One by one is slower, and decord's ``next``
# mistakes the padding of narrow rows for channels.
_BATCH = 32
# An hour at 25 frames a second. It bounds the count of a file whose header lies.
MAX_FRAMES = 90_000
# Files whose number of frames is remembered; HMDB51 and UCF101 have 20,000.
_MOST_FILES = 50_000
# Frames in all indices, 4 bytes each; HMDB51 and UCF101 have 3 million.
MOST_INDEXED_FRAMES = 16_000_000
# What the formats begin with in which FFmpeg finds names of other files.
_PLAYLISTS = (b'#EXTM3U', b'ffconcat', b'<')
# H.264 and its followers call frames key frames that later ones may refer across.
_SELF_CONTAINED = {'mjpeg', 'mpeg1video', 'mpeg2video', 'mpeg4'}


class UnreadableVideo(RuntimeError):
    """A video cannot be decoded; the message says why."""


def check_video_file(path: PathLike) -> None:
    """Raise UnreadableVideo for what no decoder must open.

    FFmpeg opens the files that a playlist names and waits for more of them; decord's
    dies of a playlist that names itself.
    """
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


@contextmanager
def errors_of(library: str) -> Iterator[None]:
    """Turn whatever a library raises into an UnreadableVideo that names it."""
    try:
        yield
    except UnreadableVideo:
        raise
    except Exception as error:  # those of decord and FFmpeg have no common base
        raise UnreadableVideo(f'{library}: {one_line(error)}') from None


def forget_files() -> None:
    """Forget the frame counts and indices of all files, as in a new process."""
    _decord_header.cache_clear()
    frame_indices.clear()


def _absolute(path: PathLike) -> str:
    # FFmpeg takes the start of a relative path such as "a:b.avi" for a protocol.
    return str(Path(path).absolute())


def _version(path: PathLike) -> tuple[str, int, int]:
    """(path, size, time of change): a file that was replaced has another one."""
    status = os.stat(path)
    return _absolute(path), status.st_size, status.st_mtime_ns


# -- decord ------------------------------------------------------------------


def count_with_decord(path: PathLike) -> tuple[int, float]:
    """Number of frames and frames a second; remembered until the file changes.

    Raises:
        Exception: Whatever decord raises; its errors have no common base.
    """
    return _decord_header(*_version(path))


@lru_cache(maxsize=_MOST_FILES)  # training opens the same files in every epoch
def _decord_header(path: str, size: int, changed: int) -> tuple[int, float]:
    import decord  # here, so that OpenCV can do without it
    container = decord.VideoReader(path, num_threads=1)
    return len(container), container.get_avg_fps()


def decode_with_decord(path: PathLike, wanted: Optional[Sequence[int]] = None,
                       num_threads: int = 1) -> Iterator[np.ndarray]:
    """Frames by decord, RGB, decoded in order.

    Args:
        path: Video file.
        wanted: Rising numbers of frames. Default: all.
        num_threads: Threads to decode with.

    Raises:
        UnreadableVideo: decord is absent, refuses the file or fails in it.
    """
    with errors_of('decord'):
        import decord
        container = decord.VideoReader(_absolute(path), num_threads=num_threads)
        wanted = range(len(container)) if wanted is None else wanted
        chosen, end = set(wanted), max(wanted, default=-1) + 1
        for start in range(0, end, _BATCH):
            numbers = range(start, min(start + _BATCH, end))
            batch = container.get_batch(numbers).asnumpy()
            yield from (batch[k - start] for k in numbers if k in chosen)


# -- OpenCV ------------------------------------------------------------------


@contextmanager
def _open_with_opencv(path: PathLike, num_threads: Optional[int]) -> Iterator:
    """A capture that is released at the end; by default with a thread per core."""
    capture = cv2.VideoCapture()
    threads = [cv2.CAP_PROP_N_THREADS, num_threads] if num_threads else []
    try:
        with errors_of('OpenCV'):
            # Other backends than FFmpeg take "%" in a name for a pattern.
            capture.open(_absolute(path), cv2.CAP_FFMPEG, threads)
            yield capture
    finally:
        capture.release()


def count_with_opencv(path: PathLike) -> tuple[int, float]:
    """Number of frames that decode, and frames a second or 0; no header is believed.

    Raises:
        UnreadableVideo: OpenCV does not decode a single frame.
    """
    with _open_with_opencv(path, None) as capture:
        fps = max(capture.get(cv2.CAP_PROP_FPS), 0.)
        num_frames = sum(1 for _ in islice(iter(capture.grab, False), MAX_FRAMES))
    if num_frames == 0:
        raise UnreadableVideo('OpenCV: no frame can be read')
    return num_frames, fps


def decode_with_opencv(path: PathLike, wanted: Optional[Iterable[int]] = None,
                       num_threads: Optional[int] = None) -> Iterator[np.ndarray]:
    """Frames by OpenCV, **BGR**, up to the first that does not decode.

    Args:
        path: Video file.
        wanted: Rising numbers of frames; those in between are not converted to BGR.
            Default: all.
        num_threads: Threads to decode with. Default: one per core.

    Raises:
        UnreadableVideo: OpenCV finds no frame in the file.
    """
    position = -1
    with _open_with_opencv(path, num_threads) as capture:
        for number in count() if wanted is None else wanted:
            while position < number and capture.grab():
                position += 1
            decoded, frame = capture.retrieve() if position == number else (False, None)
            if not decoded and (position < 0 or number == 0):
                raise UnreadableVideo('OpenCV: no frame can be read')
            if not decoded:
                return
            yield frame


# -- PyAV --------------------------------------------------------------------


class _FrameIndex(NamedTuple):
    """Where the first n frames of a file are, as decoding in order has shown.

    Attributes:
        packets: (n,) int32, the packet that frame k came out of.
        entries: Rising numbers of the frames that decoding can start at.
    """

    packets: np.ndarray
    entries: np.ndarray


frame_indices: dict[tuple, _FrameIndex] = {}


def _remember(version: tuple, index: _FrameIndex) -> None:
    """Keep an index, and forget the oldest ones where they become too many."""
    frame_indices[version] = index
    while sum(len(one.packets) for one in frame_indices.values()) > MOST_INDEXED_FRAMES:
        del frame_indices[next(iter(frame_indices))]


def decode_with_pyav(path: PathLike, wanted: Sequence[int],
                     num_threads: int = 1) -> Iterator[np.ndarray]:
    """Frames by PyAV, RGB, up to the last that there is.

    The first reading decodes in order and notes which packet each frame came out of::

        packets    I0 P3 B1 B2 P6 B4 B5 ... I60 P63 B61 B62 P66 B64 B65 ...
        frame 65    x                   ...  x   x           x   .   x

    Later ones jump to the last key frame and leave out B frames, save those wanted.
    The same frames come out: they are told by their packets, and what others refer to
    is never left out. The first packets are always decoded, for their headers name
    the encoder that a decoder has to imitate.

    Args:
        path: Video file.
        wanted: Rising numbers of frames.
        num_threads: Not used: with several threads, leaving out frames hangs at times.

    Raises:
        UnreadableVideo: PyAV is absent, a packet before the last frame wanted does not
            decode, or the frames are to be turned, which OpenCV does.
    """
    with errors_of('PyAV'):
        import av  # here, so that others can do without it
        version = _version(path)
        with av.open(version[0], metadata_errors='ignore') as container:
            if not container.streams.video:
                raise UnreadableVideo('PyAV: the file has no video')
            stream = container.streams.video[0]
            stream.thread_count = 1
            packets = _numbered_packets(container, stream)
            index = frame_indices.get(version)
            if index is not None and wanted[-1] < len(index.packets):
                frames = _decode_by_index(stream.codec_context, packets, wanted, index)
            else:
                frames = _decode_in_order(
                    stream.codec_context, packets, wanted, partial(_remember, version))
            yield from map(_rgb_converter(), frames)


def _numbered_packets(container, stream) -> Iterator:
    """(number, packet), each of one frame, which takes the number along as its time."""
    unpack = None
    if stream.codec_context.name == 'mpeg4':
        # DivX packs two frames into one packet, and something empty into the next.
        from av.bitstream import BitStreamFilterContext
        unpack = BitStreamFilterContext('mpeg4_unpack_bframes', stream)
    for number, packet in enumerate(container.demux(stream)):
        if not packet.size:  # the last: the decoder gives what it holds back
            break
        packet.pts = packet.dts = number
        for unpacked in unpack.filter(packet) if unpack else [packet]:
            yield unpacked.pts, unpacked
    yield number, None


def _decode_in_order(decoder, numbered, wanted: Sequence[int], keep) -> Iterator:
    """The frames wanted; ``keep`` gets the index of what was decoded for them."""
    packets, entries, is_sound, chosen = [], [], True, set(wanted)
    for _, packet in numbered:
        for frame in decoder.decode(packet):
            number = len(packets)
            is_sound = is_sound and frame.pts is not None and not frame.is_corrupt
            packets.append(frame.pts)
            if frame.key_frame and decoder.name in _SELF_CONTAINED:
                entries.append(number)
            if number in chosen:
                yield frame
        if len(packets) > wanted[-1]:
            break
    if is_sound and len(set(packets)) == len(packets):
        keep(_FrameIndex(np.array(packets, np.int32), np.array(entries, np.int32)))


def _decode_by_index(decoder, numbered, wanted: Sequence[int],
                     index: _FrameIndex) -> Iterator:
    asked = set(index.packets[wanted].tolist())
    first = start = int(index.packets[0])
    entry = np.searchsorted(index.entries, wanted[0], 'right') - 1
    if entry >= 0:
        start = int(index.packets[index.entries[entry]])
    decoder.skip_frame, leaves_out = 'NONREF', True
    for number, packet in numbered:
        if first < number < start:
            continue
        if first < number == start:
            decoder.flush_buffers()
        if leaves_out is (number in asked):  # setting it takes a while
            leaves_out = not leaves_out
            decoder.skip_frame = 'NONREF' if leaves_out else 'DEFAULT'
        for frame in decoder.decode(packet):
            if frame.pts in asked:
                yield frame
                asked.remove(frame.pts)
        if not asked:
            return


def _rgb_converter():
    """A function from PyAV's frames to RGB arrays."""
    from av.video.reformatter import Interpolation, VideoReformatter
    # More threads than one take twice the time for frames of this size.
    to_rgb24 = partial(VideoReformatter().reformat, format='rgb24',
                       interpolation=Interpolation.BICUBIC, threads=1)

    def to_rgb(frame) -> np.ndarray:
        if frame.rotation:
            raise UnreadableVideo('PyAV: its frames are to be turned')
        plane = to_rgb24(frame).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
        return rows[:, :3 * frame.width].reshape(frame.height, frame.width, 3)
    return to_rgb


DECODERS = {'pyav': decode_with_pyav, 'opencv': decode_with_opencv,
            'decord': decode_with_decord}
