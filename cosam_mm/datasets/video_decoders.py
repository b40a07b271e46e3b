"""Frames of a video file by rising numbers: one function for each library.

    decode_with_pyav      the frames that a player shows, turned as it turns them; from
                          the key frame before those wanted
    decode_with_opencv    from the start of the file; BGR
    decode_with_decord    from the start of the file; the library of MMAction2

All three take ``(path, wanted, num_threads)`` and are generators of (H, W, 3) uint8
arrays that raise :class:`UnreadableVideo`. ``video_reader.py`` chooses among them.

decord 0.6 counts packets, those that no player shows among them, repeats its last frame
in place of missing ones, and seeks to wrong frames in the AVI files of HMDB51. It gives
up after DECORD_EOF_RETRY_MAX tries (10,240, some milliseconds) where a file ends early.
The variable is left alone: with fewer tries good files fail.
"""
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache, partial
from itertools import dropwhile
from typing import Optional

import cv2
import numpy as np

from cosam_mm.utils.io import regular_size
from cosam_mm.utils.messages import one_line

from .frame_index import (
    MAX_FRAMES,
    PathLike,
    absolute,
    decode_packets,
    file_version,
    forget_indices,
    frame_index,
    limit_memory,
    number_packets,
    open_stream,
)
from .unreadable_samples import (
    DecoderFailed,
    UnreadableVideo,
    library_timeout,
    tick,
)

__all__ = [
    'COUNTERS', 'DECODERS', 'NEAR_PACKETS', 'DecoderFailed', 'UnreadableVideo',
    'check_video_file', 'count_with_decord', 'count_with_opencv', 'count_with_pyav',
    'decode_with_decord', 'decode_with_opencv', 'decode_with_pyav', 'errors_of',
    'forget_files', 'rgb_converter',
]

# Frames that decord decodes at a time. One by one is slower, and decord's ``next``
# mistakes the padding of narrow rows for channels.
_BATCH = 32
# Files whose number of frames by decord is remembered.
_MOST_FILES = 50_000
# What the formats begin with in which FFmpeg finds names of other files.
_PLAYLISTS = (b'#EXTM3U', b'ffconcat', b'<')
# Packets that are passed over as fast as a seek finds the one behind them.
NEAR_PACKETS = 250


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
    """Turn whatever a library raises into a DecoderFailed that names it."""
    try:
        yield
    except UnreadableVideo:
        raise
    except Exception as error:  # those of decord and FFmpeg have no common base
        raise DecoderFailed(f'{library}: {one_line(error)}') from None


def forget_files() -> None:
    """Forget the frame counts and indices of all files, as in a new process."""
    _decord_header.cache_clear()
    forget_indices()


# -- decord ------------------------------------------------------------------


def _import_decord():
    """decord, after PyAV: it offers its codecs to whatever is loaded behind it."""
    with suppress(ImportError):
        import av  # noqa: F401
    import decord
    limit_memory(decord.__file__, 'libdecord*')
    return decord


def count_with_decord(path: PathLike) -> tuple[int, float]:
    """Number of packets and frames a second; remembered until the file changes."""
    with errors_of('decord'):
        return _decord_header(*file_version(path))


@lru_cache(maxsize=_MOST_FILES)  # training opens the same files in every epoch
def _decord_header(path: str, size: int, changed: int) -> tuple[int, float]:
    container = _import_decord().VideoReader(path, num_threads=1)
    return len(container), container.get_avg_fps()


def decode_with_decord(path: PathLike, wanted: Sequence[int],
                       num_threads: int = 1) -> Iterator[np.ndarray]:
    """Frames by decord, RGB, decoded in order.

    Args:
        path: Video file.
        wanted: Rising numbers of frames.
        num_threads: Threads to decode with.

    Raises:
        DecoderFailed: decord is absent, refuses the file or fails in it.
    """
    with errors_of('decord'):
        decord = _import_decord()
        container = decord.VideoReader(absolute(path), num_threads=num_threads)
        chosen, end = set(wanted), max(wanted) + 1
        for start in range(0, end, _BATCH):
            numbers = range(start, min(start + _BATCH, end))
            batch = container.get_batch(numbers).asnumpy()
            yield from (batch[k - start] for k in numbers if k in chosen)


# -- OpenCV ------------------------------------------------------------------


@contextmanager
def _open_with_opencv(path: PathLike, num_threads: Optional[int]) -> Iterator:
    """A capture that is released at the end; by default with a thread per core."""
    limit_memory(cv2.__file__, 'cv2*.so')
    capture = cv2.VideoCapture()
    options = [cv2.CAP_PROP_N_THREADS, num_threads] if num_threads else []
    tick()
    for timeout in (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC):
        # By default, what does not come within 30 s counts as the end of the file.
        options += [timeout, int(1000 * library_timeout())]
    try:
        with errors_of('OpenCV'):
            # Other backends than FFmpeg take "%" in a name for a pattern.
            capture.open(absolute(path), cv2.CAP_FFMPEG, options)
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
        num_frames = 0
        while capture.grab():
            num_frames += 1
            tick()
            if num_frames > MAX_FRAMES:
                raise UnreadableVideo(f'it has more than {MAX_FRAMES:,} frames')
    if num_frames == 0:
        raise DecoderFailed('OpenCV: no frame can be read')
    return num_frames, fps


def decode_with_opencv(path: PathLike, wanted: Iterable[int],
                       num_threads: Optional[int] = None) -> Iterator[np.ndarray]:
    """Frames by OpenCV, **BGR**.

    Args:
        path: Video file.
        wanted: Rising numbers of frames; those in between are not converted to BGR.
        num_threads: Threads to decode with. Default: one per core.

    Raises:
        DecoderFailed: A frame cannot be read.
    """
    position = -1
    with _open_with_opencv(path, num_threads) as capture:
        for number in wanted:
            while position < number and capture.grab():
                position += 1
                tick()
            decoded, frame = capture.retrieve() if position == number else (False, None)
            if not decoded:
                raise DecoderFailed(f'OpenCV: frame {number} cannot be read')
            yield frame


# -- PyAV --------------------------------------------------------------------


def count_with_pyav(path: PathLike) -> tuple[int, float, str]:
    """Number of frames that a player shows, frames a second or 0, and the shortfall."""
    with errors_of('PyAV'):
        index = frame_index(path)
        return index.num_frames, index.fps, index.shortfall


def decode_with_pyav(path: PathLike, wanted: Sequence[int],
                     num_threads: int = 1) -> Iterator[np.ndarray]:
    """Frames by PyAV, RGB, as a player turns and mirrors them.

    Decoding starts at the key frame before the first one and leaves out B frames, save
    those wanted::

        packets    I0 P3 B1 B2 P6 B4 B5 ... I60 P63 B61 B62 P66 B64 B65 ...
        frame 65    x                   ...  x   x           x   .   x

    Frames are told by their packets. Where one does not come out in its turn, decoding
    starts again from the first packet and leaves out nothing.

    Args:
        path: Video file.
        wanted: Rising numbers of frames.
        num_threads: Threads to decode with. With several, nothing is left out: FFmpeg
            hangs at times where it is.

    Raises:
        UnreadableVideo: A frame does not decode, or the file has no video.
    """
    with errors_of('PyAV'):
        index, to_rgb, num_found = frame_index(path), rgb_converter(), 0
        for is_short in (True, False):
            with closing(_numbered_frames(path, index, wanted[num_found:], num_threads,
                                          is_short)) as frames:
                for number, frame in frames:
                    if number != wanted[num_found]:
                        break
                    yield to_rgb(frame)
                    num_found += 1
                    if num_found == len(wanted):
                        return
        raise (UnreadableVideo if num_found else DecoderFailed)(
            f'PyAV: frame {wanted[num_found]} of {index.num_frames} does not decode')


def _numbered_frames(path: PathLike, index, wanted: Sequence[int], num_threads: int,
                     is_short: bool) -> Iterator:
    """(number, frame) of wanted frames, as they come."""
    with open_stream(path, num_threads) as (stream, packets):
        if index.packets is None:
            wanted = set(wanted)
            frames = enumerate(decode_packets(
                stream.codec_context, number_packets(stream, packets)))
            yield from (item for item in frames if item[0] in wanted)
            return
        asked = dict(zip(index.packets[wanted].tolist(), wanted))
        entry = np.searchsorted(index.entries, wanted[0], 'right') - 1
        is_short = is_short and entry >= 0
        packets = _packets_from(stream, packets, index, entry) if is_short \
            else number_packets(stream, packets)
        if is_short and num_threads == 1:
            packets = _leaving_out(stream.codec_context, packets, asked)
        for frame in decode_packets(stream.codec_context, packets):
            if frame.pts in asked and not (is_short and frame.is_corrupt):
                yield asked[frame.pts], frame


def _packets_from(stream, packets: Iterator, index, entry: int) -> Iterator:
    """The first packet, whose headers may name the encoder to imitate; those from where
    an entry starts on.
    """
    start, numbered = int(index.starts[entry]), number_packets(stream, packets)
    if start > 0:
        yield next(numbered)
        stream.codec_context.flush_buffers()
    if start <= NEAR_PACKETS or index.times is None:
        yield from (packet for packet in numbered if packet.pts >= start)
        return
    time = int(index.times[entry])
    stream.container.seek(time, stream=stream)
    packets = (packet for packet in stream.container.demux(stream) if packet.size)
    yield from number_packets(
        stream, dropwhile(lambda packet: packet.pts != time, packets), start)


def _leaving_out(decoder, packets: Iterator, asked: dict) -> Iterator:
    """The packets; the decoder passes over those that no other frame refers to."""
    leaves_out = False
    for packet in packets:
        if leaves_out is (packet.pts in asked):  # setting it takes a while
            leaves_out = not leaves_out
            decoder.skip_frame = 'NONREF' if leaves_out else 'DEFAULT'
        yield packet


def rgb_converter():
    """A function from PyAV's frames to RGB arrays, as they are to be seen."""
    from av import __version__ as version
    from av.video.reformatter import Interpolation, VideoReformatter
    options = dict(format='rgb24', interpolation=Interpolation.BICUBIC)
    if int(version.split('.')[0]) >= 17:  # one thread before
        options['threads'] = 1  # more take twice the time for frames of this size
    to_rgb24 = partial(VideoReformatter().reformat, **options)
    rotation, turn = None, None

    def to_rgb(frame) -> np.ndarray:
        nonlocal rotation, turn
        if frame.rotation != rotation:  # side data takes a while to get
            rotation, turn = frame.rotation, frame.side_data.get('DISPLAYMATRIX')
        plane = to_rgb24(frame).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
        image = rows[:, :3 * frame.width].reshape(frame.height, frame.width, 3)
        return image if turn is None else _displayed(image, np.frombuffer(
            turn, np.int32)[[0, 1, 3, 4]].tolist())
    return to_rgb


def _displayed(image: np.ndarray, matrix: list[int]) -> np.ndarray:
    """An image turned and mirrored as a display matrix says.

    Its elements a, b, c, d move the point (x, y) to (a x + c y, b x + d y)
    (ISO/IEC 14496-12, 8.3.2; ``libavutil/display.h`` of FFmpeg).

    Raises:
        UnreadableVideo: The angle is no right one.
    """
    a, b, c, d = matrix
    if abs(a) + abs(d) < abs(b) + abs(c):  # x becomes y
        image, a, b, c, d = image.transpose(1, 0, 2), c, d, a, b
    if abs(b) + abs(c) > 0.02 * (abs(a) + abs(d)):  # a degree
        raise UnreadableVideo('it is to be turned by an angle that is no right one')
    return np.ascontiguousarray(image[::-1 if d < 0 else 1, ::-1 if a < 0 else 1])


COUNTERS = {'pyav': count_with_pyav, 'opencv': count_with_opencv,
            'decord': count_with_decord}
DECODERS = {'pyav': decode_with_pyav, 'opencv': decode_with_opencv,
            'decord': decode_with_decord}
