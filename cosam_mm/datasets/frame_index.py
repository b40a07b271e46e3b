"""Where the frames of a video file are: which packet each one comes out of.

A container holds packets in the order of decoding. Reading them costs little, and where
a codec puts one frame into each, they tell all that is needed::

    packets    I0 P3 B1 B2 P6 B4 B5 ... I60 B58 B59 ...    numbered as they come
    hidden      x  x  x              decoded, not shown: the edit list of a cut says so
    frames     B2 P3 B4 ... B58 B59 I60    those shown, in the order of their times

Decoding tells the rest: what comes out before the first key frames of a recording that
begins between two, and all frames of a file that is cut off, has no usable times, or
is of another codec.

A file that was cut off still says how long it was: of its stream, else of a Matroska
track's tag, else of the only stream. Its frames are compared with that. MPEG-TS,
MPEG-PS and fragmented files do not say it, nor does ASF once it is cut.
"""
import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

from .unreadable_samples import (
    DecoderFailed,
    UnreadableVideo,
    library_timeout,
    tick,
)

__all__ = ['MAX_FRAMES', 'TIMED_CONTAINERS', 'FrameIndex', 'absolute',
           'declared_times', 'decode_packets', 'describe_shortfall', 'file_version',
           'forget_indices', 'frame_index', 'limit_memory', 'number_packets',
           'open_stream', 'unpack_frames']

PathLike = Union[str, Path]

# Two days at 60 frames a second. It bounds what a file without end can cost.
MAX_FRAMES = 10_000_000
# Bytes of one block in FFmpeg: the entries of MAX_FRAMES, or 8 bits of 16,000 x 16,000.
_MAX_BLOCK = 1 << 28
# Frames in all indices, 4 bytes each; HMDB51 and UCF101 have 3 million.
MOST_INDEXED_FRAMES = 16_000_000
# A packet is a frame, and decoding can start at what is called a key frame. An MP4 file
# without a table of key frames calls all packets so: some decoders notice.
_FRAME_A_PACKET = {'h264', 'hevc', 'av1', 'libdav1d', 'vp9', 'mpeg1video', 'mpeg2video',
                   'mpeg4', 'mjpeg'}
_NOTICES_KEYS = {'h264', 'mpeg4', 'mjpeg'}
# Frames that are shown after a key frame may refer to what is shown before it.
_OPEN = {'h264', 'hevc'}
# Containers that hold the time of each frame; FFmpeg guesses those of others.
TIMED_CONTAINERS = ('mov', 'matroska', 'mpegts', 'flv')
# A VOP of MPEG-4 begins so, then two bits say its type (ISO/IEC 14496-2, 6.2.5).
_VOP, _I_VOP, _B_VOP = b'\x00\x00\x01\xb6', 0, 2
# Frames at the start that are decoded to see whether they are those expected.
_PROBE = 4
# What a file may lack of the length that it says: containers lie by a frame or two.
_SLACK_SHARE, _SLACK_FRAMES = 0.05, 3
# As FFmpeg and mkvmerge write a track's length into Matroska.
_DURATION = re.compile(r'(\d+):(\d\d):(\d\d(?:\.\d+)?)')
# Bytes of a packet of MPEG-4: less is padding, less may be a VOP that shows nothing
# (MAX_NVOP_SIZE of FFmpeg's mpeg4_unpack_bframes).
_LEAST_VOP, _SURE_VOP = 5, 20


class FrameIndex(NamedTuple):
    """The frames of a file, and where decoding can start.

    Attributes:
        num_frames: n.
        fps: Frames a second, 0 where the file does not say.
        packets: (n,) int32, the number of the packet that frame k comes out of; None
            where packets do not tell frames apart.
        entries: (m,) rising, the first frame that is exact where decoding starts at ...
        starts: (m,) ... the packet of this number ...
        times: (m,) ... and this time, if any container time tells packets apart.
        shortfall: How much less there is than the file says; '' where it is whole.
    """

    num_frames: int
    fps: float
    packets: Optional[np.ndarray]
    entries: np.ndarray
    starts: np.ndarray
    times: Optional[np.ndarray]
    shortfall: str = ''


_indices: dict[tuple, FrameIndex] = {}


def absolute(path: PathLike) -> str:
    """A path that FFmpeg takes for no protocol, as it does with "a:b.avi"."""
    return str(Path(path).absolute())


def file_version(path: PathLike) -> tuple[str, int, int]:
    """(path, size, time of change): a file that was replaced has another one."""
    status = os.stat(path)
    return absolute(path), status.st_size, status.st_mtime_ns


def forget_indices() -> None:
    """Forget all files, as in a new process."""
    _indices.clear()


def frame_index(path: PathLike) -> FrameIndex:
    """The index of a file, which is remembered until the file changes.

    Raises:
        UnreadableVideo: The file has no video.
        Exception: Whatever PyAV raises.
    """
    version = file_version(path)
    index = _indices.get(version)
    if index is None:
        index = _indices[version] = _read_index(version[0])
        while sum(one.num_frames for one in _indices.values()) > MOST_INDEXED_FRAMES:
            del _indices[next(iter(_indices))]  # the oldest
    return index


@lru_cache
def limit_memory(package_file: str, library: str) -> None:
    """Have the FFmpeg of a package refuse what claims too much, until the process ends.

    An MP4 file of 600 bytes can claim as many frames as it likes, each of which takes
    FFmpeg 24 bytes. PyAV, OpenCV and decord bring an FFmpeg each; its limit of a block
    of memory is ``av_max_alloc`` (``libavutil/mem.h``).

    Args:
        package_file: ``__file__`` of the package.
        library: Pattern for the file beside it that is linked with FFmpeg.
    """
    for path in Path(package_file).parent.glob(library):
        with suppress(OSError, AttributeError):  # Windows does not find it so
            ctypes.CDLL(str(path)).av_max_alloc(ctypes.c_size_t(_MAX_BLOCK))


@contextmanager
def open_stream(path: PathLike, num_threads: int = 1, is_address: bool = False,
                timeout: Optional[float] = None) -> Iterator[tuple]:
    """PyAV's stream that a player shows, never a cover picture, and its packets."""
    import av  # here, so that others can do without it
    limit_memory(av.__file__, '_core*')
    tick()
    # Packets that get lost on UDP would spoil frames until the next key frame.
    options = {'rtsp_transport': 'tcp'} if str(path).startswith('rtsp') else {}
    with av.open(str(path) if is_address else absolute(path), options=options,
                 metadata_errors='ignore',
                 timeout=timeout or library_timeout()) as container:
        stream = container.streams.best('video')
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            raise UnreadableVideo(
                'the file has no video' + (', only a picture' if stream else ''))
        stream.thread_count = num_threads
        if num_threads > 1:
            stream.thread_type = 'AUTO'
        yield stream, (packet for packet in container.demux(stream) if packet.size)


def unpack_frames(stream, packets: Iterator) -> Iterator:
    """Packets, each of one frame.

    DivX packs two frames into one packet, and something empty into the next.
    """
    if stream.codec_context.name != 'mpeg4':
        yield from packets
        return
    from av.bitstream import BitStreamFilterContext
    unpack = BitStreamFilterContext('mpeg4_unpack_bframes', stream)
    for packet in packets:
        yield from unpack.filter(packet)


def number_packets(stream, packets: Iterator, start: int = 0) -> Iterator:
    """Packets, each of one frame, which takes the packet's number along as its time."""
    def numbered() -> Iterator:
        for number, packet in enumerate(packets, start):
            tick()
            packet.pts = packet.dts = number
            yield packet
    return unpack_frames(stream, numbered())


def decode_packets(decoder, packets: Iterator) -> Iterator:
    """The frames of packets and what the decoder holds back; damage is passed over."""
    from av.error import FFmpegError
    with suppress(FFmpegError):  # of a file that ends early
        for packet in packets:
            with suppress(FFmpegError):
                yield from decoder.decode(packet)
    with suppress(FFmpegError):
        yield from decoder.decode(None)


class _Packets:
    """What the packets of a stream tell, without a decoder."""

    def __init__(self, stream, packets: Iterator) -> None:
        from av.bitstream import BitStreamFilterContext
        from av.error import FFmpegError
        self.codec = stream.codec_context.name
        self.times, self.ends = [], []  # of all packets
        self.numbers = []  # of those that are frames
        self.hidden, self.keys, self.b_vops = set(), set(), set()
        self.slices = (BitStreamFilterContext('filter_units=pass_types=1|5', stream)
                       if self.codec == 'h264' else None)
        # Whether all is known from the first key frames on.
        self.is_sound = self.codec in _FRAME_A_PACKET

        def timed() -> Iterator:
            for packet in packets:
                time = packet.pts
                self.times.append(time)
                time = packet.dts if time is None else time
                self.ends.append(None if time is None
                                 else time + (packet.duration or 0))
                yield packet
        try:
            for packet in number_packets(stream, timed()):
                self._add(packet)
                if len(self.times) > MAX_FRAMES:
                    raise UnreadableVideo(f'it has more than {MAX_FRAMES:,} packets')
        except FFmpegError:  # its end is missing
            self.is_sound = False
        self.has_times = (
            stream.container.format.name.startswith(TIMED_CONTAINERS)
            and None not in self.times and len(set(self.times)) == len(self.times))

    def _add(self, packet) -> None:
        is_mpeg4, head = self.codec == 'mpeg4', bytes(memoryview(packet)[:64])
        if is_mpeg4 and packet.size < _LEAST_VOP:
            return
        self.numbers.append(packet.pts)
        if packet.is_discard:
            self.hidden.add(packet.pts)
        vop = head.partition(_VOP)[2] if is_mpeg4 else b''
        if vop and vop[0] >> 6 == _B_VOP:
            self.b_vops.add(packet.pts)
        is_doubtful = is_mpeg4 and (packet.size < _SURE_VOP or not (
            vop or packet.is_keyframe))
        if is_doubtful or packet.is_corrupt or not any(head[:4]):  # not written yet
            self.is_sound = False
        if packet.is_keyframe and self._is_intra(packet, vop):
            self.keys.add(self.numbers[-1])

    def _is_intra(self, packet, vop: bytes) -> bool:
        """Whether a packet that is called a key frame is one; H.264 empties it.

        In H.264 a gradual refresh is called so, too. A slice is of type 5 or begins
        with ue(0), ue(2) or ue(7) where it is intra (Rec. H.264, 7.3.3 and 7.4.3).
        """
        if self.slices is None:
            return not vop or vop[0] >> 6 == _I_VOP
        from av.error import FFmpegError
        with suppress(FFmpegError, IndexError):  # damage; decoding will tell
            head = bytes(self.slices.filter(packet)[0])[4:6]
            return head[0] & 31 == 5 or head[1] >> 4 == 0b1011 or head[1] == 0b10001000
        return False

    def order(self) -> list:
        """Numbers of the packets in the order of their frames, hidden ones included.

        Empty where packets do not tell.
        """
        if not self.is_sound or len(set(self.numbers)) < len(self.numbers):
            return []
        if self.codec == 'mpeg4':  # a B-VOP is shown before the other kind it follows
            order, held = [], []
            for number in self.numbers:
                if number in self.b_vops:
                    order.append(number)
                else:
                    order, held = order + held, [number]
            return order + held
        if self.codec == 'mjpeg':
            return self.numbers
        return np.argsort(self.times).tolist() if self.has_times else []


def _read_index(path: str) -> FrameIndex:
    with open_stream(path) as (stream, packets):
        facts, fps = _Packets(stream, packets), float(stream.average_rate or 0)
        start, end, unit = *declared_times(stream), float(stream.time_base)
    order = facts.order()
    shown = _shown(path, facts, order) if order else None
    if shown is None:
        order = shown = list(_decoded_numbers(path))
    if not shown:
        raise DecoderFailed('PyAV: no frame decodes')
    ends = [facts.ends[number] for number in shown if number is not None]
    last = max((one for one in ends if one is not None), default=end)
    shortfall = describe_shortfall((last - start) * unit, (end - start) * unit, fps)
    if len(set(shown)) < len(shown) or None in shown:
        return FrameIndex(len(shown), fps, None, *np.empty((2, 0), np.int64), None,
                          shortfall)
    return FrameIndex(len(shown), fps, np.array(shown, np.int32),
                      *_entries(facts, order, shown), shortfall)


def declared_times(stream) -> tuple[int, float]:
    """When a stream starts and ends by what the file says; (0, 0) where it does not."""
    container, start = stream.container, stream.start_time or 0
    # FFmpeg shortens the duration of an AVI file that is cut, not its frame count,
    # which is a length in units of time (AVISTREAMHEADER, dwLength).
    if own := stream.frames if container.format.name == 'avi' else stream.duration:
        return start, start + own
    tags = [tag for name, tag in stream.metadata.items() if name.startswith('DURATION')]
    if tags and (found := _DURATION.match(tags[0])):
        hours, minutes, seconds = map(float, found.groups())
        return 0, (3600 * hours + 60 * minutes + seconds) / float(stream.time_base)
    if len(container.streams) == 1 and container.duration:  # in microseconds
        return 0, container.duration / 1e6 / float(stream.time_base)
    return 0, 0


def describe_shortfall(found: float, declared: float, fps: float) -> str:
    slack = max(_SLACK_SHARE * declared, _SLACK_FRAMES / fps if fps else 0.)
    return '' if found >= declared - slack else (
        f'the file says {declared:.2f} s, of which {max(found, 0.):.2f} s are there')


def _shown(path: str, facts: _Packets, order: list) -> Optional[list]:
    """Numbers of the packets whose frames are shown, in order; None if not known.

    Decoders leave out what refers to frames before the start of a file. They have what
    they need two key frames later at the latest: one may begin a gradual refresh.
    """
    keys = sorted(facts.keys)
    with closing(_decoded_numbers(path)) as decoded:
        first = list(islice(decoded, _PROBE))
        shown = [number for number in order if number not in facts.hidden]
        if facts.numbers[:1] == order[:1] == keys[:1] and first == shown[:_PROBE]:
            return shown
        if len(keys) < 3:
            return None
        rest, head = order[order.index(keys[2]):], []
        until, rest = set(rest), [one for one in rest if one not in facts.hidden]
        for number in chain(first, decoded):
            if number in until:
                return head + rest if number == rest[0] else None
            head.append(number)
    return None


def _decoded_numbers(path: str) -> Iterator[int]:
    """Numbers of the packets whose frames a decoder gives; it keeps hidden ones."""
    with open_stream(path) as (stream, packets):
        for frame in decode_packets(stream.codec_context,
                                    number_packets(stream, packets)):
            yield frame.pts


def _entries(facts: _Packets, order: list, shown: list) -> tuple:
    """``entries``, ``starts`` and ``times`` of an index.

    Where frames that are shown before a key frame follow on it (an open GOP), others
    may refer to what is before it, too: decoding starts one key frame earlier.
    """
    never = len(facts.times) + 1
    rank = np.full(never, never)
    rank[order] = np.arange(len(order))
    keys = np.array([k for k in sorted(facts.keys) if rank[k] < never], np.int64)
    are_all = len(facts.keys) == len(facts.numbers)
    if facts.codec not in (_NOTICES_KEYS if are_all else _FRAME_A_PACKET) or (
            np.diff(rank[keys]) < 0).any():
        return *np.empty((2, 0), np.int64), None
    starts = keys
    if facts.codec in _OPEN:
        least_after = np.minimum.accumulate(rank[::-1])[::-1]
        is_open = rank[keys] > least_after[keys]
        starts = np.where(is_open, np.array([0, *keys[:-1]]), keys)
    return (np.searchsorted(rank[shown], rank[keys]), starts,
            np.array(facts.times)[starts] if facts.has_times else None)
