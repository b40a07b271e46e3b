"""Where the frames of a video file are: which packet each one comes out of.

A container holds packets in the order of decoding. Reading them costs little, and where
a codec puts one frame into each, they tell all that is needed::

    packets    I0 P3 B1 B2 P6 B4 B5 ... I60 B58 B59 ...    numbered as they come
    hidden      x  x  x              decoded, not shown: the edit list of a cut says so
    frames     B2 P3 B4 ... B58 B59 I60    those shown, in the order of their times

Decoding tells the rest: what comes out before the first key frame of a recording that
begins after one, and all frames of a file that is cut off, has no usable times, or is
of another codec.
"""
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain, takewhile
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

from cosam_mm.utils.messages import one_line

from .unreadable_samples import DecoderFailed, UnreadableVideo, tick

__all__ = [
    'MAX_FRAMES', 'NO_STAMP', 'FrameIndex', 'absolute', 'decode_packets',
    'file_version', 'forget_indices', 'frame_index', 'number_packets', 'open_stream',
    'stamp_of'
]

PathLike = Union[str, Path]

# Two days at 60 frames a second. It bounds what a file without end can cost.
MAX_FRAMES = 10_000_000
# Frames in all indices, 4 bytes each; HMDB51 and UCF101 have 3 million.
MOST_INDEXED_FRAMES = 16_000_000
# A packet is a frame, and decoding can start at a packet that is called a key frame.
_FRAME_A_PACKET = {'h264', 'hevc', 'av1', 'libdav1d', 'vp9', 'mpeg1video', 'mpeg2video',
                   'mpeg4', 'mjpeg'}
# Those in which nothing refers to frames beyond the key frame shown before it.
_CLOSED = {'mpeg1video', 'mpeg2video', 'mpeg4', 'mjpeg'}
# Those whose decoders or packets tell where that is not so: an MP4 file without a table
# of key frames calls all packets so.
_SURE_KEYS = {'h264', 'mpeg4', 'mjpeg'}
# Containers that hold the time of each frame; FFmpeg guesses those of others.
_TIMED = ('mov', 'matroska', 'mpegts', 'flv')
# A VOP of MPEG-4 begins so, then two bits say its type (ISO/IEC 14496-2, 6.2.5).
_VOP, _I_VOP, _B_VOP = b'\x00\x00\x01\xb6', 0, 2
# Bytes of a packet of MPEG-4: less is padding, less may be a VOP that shows nothing
# (MAX_NVOP_SIZE of FFmpeg's mpeg4_unpack_bframes).
_LEAST_VOP, _SURE_VOP = 5, 20
# Of a packet without a time, to which nothing can seek.
NO_STAMP = np.iinfo(np.int64).min


class FrameIndex(NamedTuple):
    """The frames of a file, and where decoding can start.

    Attributes:
        num_frames: n.
        fps: Frames a second, 0 where the file does not say.
        packets: (n,) int32, the number of the packet that frame k comes out of; None
            where packets do not tell frames apart.
        entries: (m,) rising, the first frame that is exact where decoding starts at ...
        starts: (m,) ... the packet of this number ...
        stamps: (m,) ... and this time, see :func:`stamp_of`.
    """

    num_frames: int
    fps: float
    packets: Optional[np.ndarray]
    entries: np.ndarray
    starts: np.ndarray
    stamps: np.ndarray


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


@contextmanager
def open_stream(path: PathLike, num_threads: int = 1) -> Iterator[tuple]:
    """PyAV's container and the stream that a player shows, never a cover picture."""
    import av  # here, so that others can do without it
    with av.open(absolute(path), metadata_errors='ignore') as container:
        stream = container.streams.best('video')
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            raise UnreadableVideo(
                'the file has no video' + (', only a picture' if stream else ''))
        stream.thread_count = num_threads
        if num_threads > 1:
            stream.thread_type = 'AUTO'
        yield container, stream


def stamp_of(container, packet) -> Optional[int]:
    """A time that tells packets apart, also after a seek.

    The order of decoding counts in AVI, where FFmpeg guesses the times of frames.
    """
    return packet.pts if container.format.name.startswith(_TIMED) else packet.dts


def number_packets(stream, packets: Iterator, start: int = 0) -> Iterator:
    """Packets, each of one frame, which takes the packet's number along as its time."""
    unpack = None
    if stream.codec_context.name == 'mpeg4':
        # DivX packs two frames into one packet, and something empty into the next.
        from av.bitstream import BitStreamFilterContext
        unpack = BitStreamFilterContext('mpeg4_unpack_bframes', stream)
    for number, packet in enumerate(packets, start):
        tick()
        packet.pts = packet.dts = number
        yield from unpack.filter(packet) if unpack else [packet]


def decode_packets(decoder, packets: Iterator, errors: Optional[list] = None
                   ) -> Iterator:
    """The frames of packets and what the decoder holds back; errors are passed over.

    Args:
        decoder: PyAV's codec context.
        packets: Of one stream, perhaps raising an error where the file ends early.
        errors: Takes what the library says, in one line each.
    """
    from av.error import FFmpegError
    errors = [] if errors is None else errors

    def decode(packet) -> list:
        try:
            return decoder.decode(packet)
        except FFmpegError as error:
            errors.append(one_line(error))
            return []

    try:
        for packet in packets:
            yield from decode(packet)
    except FFmpegError as error:
        errors.append(one_line(error))
    yield from decode(None)


# -- what packets tell -----------------------------------------------------------


class _Packets:
    """What the packets of a stream tell, without a decoder."""

    def __init__(self, container, stream) -> None:
        codec = stream.codec_context.name
        is_timed = container.format.name.startswith(_TIMED)
        self.can_seek = is_timed or container.format.name == 'avi'
        self.fps = float(stream.average_rate or 0)
        self.stamps = []  # of all packets
        self.numbers = []  # of those that are frames
        self.hidden, self.keys, self.b_vops = set(), set(), set()
        self._is_mpeg4, self._is_intra = codec == 'mpeg4', codec == 'mjpeg'
        self.is_closed = codec in _CLOSED
        self._codec = codec
        # Whether packets tell all from the first key frame on.
        self.is_sound = codec in _FRAME_A_PACKET and (
            is_timed or self._is_mpeg4 or self._is_intra)
        self._read(container, stream)

    def _read(self, container, stream) -> None:
        from av.error import FFmpegError

        def stamped() -> Iterator:
            for packet in container.demux(stream):
                if packet.size:  # the last one has none
                    self.stamps.append(stamp_of(container, packet))
                    yield packet
        try:
            for packet in number_packets(stream, stamped()):
                self._add(packet)
                if len(self.stamps) > MAX_FRAMES:
                    raise UnreadableVideo(f'it has more than {MAX_FRAMES:,} packets')
        except FFmpegError:  # its end is missing
            self.is_sound = False

    def _add(self, packet) -> None:
        if self._is_mpeg4 and packet.size < _LEAST_VOP:
            return
        self.numbers.append(packet.pts)
        head = bytes(memoryview(packet)[:64])
        if packet.is_corrupt or not any(head[:4]):  # a part that was not written yet
            self.is_sound = False
        if packet.is_discard:
            self.hidden.add(packet.pts)
        rest = head.partition(_VOP)[2] if self._is_mpeg4 else b''
        if packet.is_keyframe and (not rest or rest[0] >> 6 == _I_VOP):
            self.keys.add(packet.pts)
        elif self._is_mpeg4 and (packet.size < _SURE_VOP or not rest):
            self.is_sound = False
        elif rest and rest[0] >> 6 == _B_VOP:
            self.b_vops.add(packet.pts)

    def order(self) -> Optional[list]:
        """Numbers of the packets in the order of their frames, hidden ones included."""
        if not self.is_sound or len(set(self.numbers)) < len(self.numbers):
            return None
        if self._is_mpeg4:  # a B-VOP is shown before the other kind that it follows
            order, held = [], []
            for number in self.numbers:
                if number in self.b_vops:
                    order.append(number)
                else:
                    order += held
                    held = [number]
            return order + held
        if self._is_intra:
            return self.numbers
        return np.argsort(self.stamps).tolist() if self.has_distinct_stamps() else None

    def has_keys(self) -> bool:
        """Whether decoding can start at what is called a key frame."""
        are_all = len(self.keys) == len(self.numbers)
        return self._codec in (_SURE_KEYS if are_all else _FRAME_A_PACKET)

    def has_distinct_stamps(self) -> bool:
        """Whether times tell the packets apart."""
        return None not in self.stamps and len(set(self.stamps)) == len(self.stamps)


def _read_index(path: str) -> FrameIndex:
    with open_stream(path) as (container, stream):
        facts = _Packets(container, stream)
    order = facts.order()
    shown = _shown(path, facts, order) if order else None
    if shown is None:
        order = shown = list(_decoded_numbers(path))
    if not shown:
        raise DecoderFailed('PyAV: no frame decodes')
    if len(set(shown)) < len(shown) or None in shown:
        return FrameIndex(len(shown), facts.fps, None, *np.empty((3, 0), np.int64))
    return FrameIndex(len(shown), facts.fps, np.array(shown, np.int32),
                      *_entries(facts, order, shown))


def _shown(path: str, facts: _Packets, order: list) -> Optional[list]:
    """Numbers of the packets whose frames are shown, in order; None if not known.

    Decoders leave out what refers to frames before the start of a file. They have what
    they need two key frames later at the latest: one may begin a gradual refresh.
    """
    shown = [number for number in order if number not in facts.hidden]
    with closing(_decoded_numbers(path)) as decoded:
        first = next(decoded, None)
        if order[0] == facts.numbers[0] == min(facts.keys, default=None) \
                and first in shown[:1]:
            return shown
        if len(facts.keys) < 3:
            return None
        start = order.index(sorted(facts.keys)[2])
        rest = set(order[start:])
        head = takewhile(lambda number: number not in rest, chain([first], decoded))
        return [*head, *(number for number in order[start:]
                         if number not in facts.hidden)]


def _decoded_numbers(path: str) -> Iterator[int]:
    """Numbers of the packets whose frames a decoder gives; it keeps hidden ones."""
    with open_stream(path) as (container, stream):
        packets = (packet for packet in container.demux(stream) if packet.size)
        for frame in decode_packets(stream.codec_context,
                                    number_packets(stream, packets)):
            yield frame.pts


def _entries(facts: _Packets, order: list, shown: list) -> tuple:
    """``entries``, ``starts`` and ``stamps`` of an index.

    Where frames that are shown before a key frame follow on it (an open GOP), others
    may refer to what is before it, too: decoding starts one key frame earlier.
    """
    never = len(facts.stamps) + 1
    rank = np.full(never, never)
    rank[order] = np.arange(len(order))
    keys = np.array([k for k in sorted(facts.keys) if rank[k] < never], np.int64)
    if not facts.has_keys() or (np.diff(rank[keys]) < 0).any():
        return tuple(np.empty((3, 0), np.int64))
    least_after = np.minimum.accumulate(rank[::-1])[::-1]
    before = np.array([0, *keys[:-1]])
    starts = np.where(facts.is_closed | (rank[keys] <= least_after[keys]), keys, before)
    can_seek = facts.can_seek and facts.has_distinct_stamps()
    stamps = np.array([facts.stamps[k] if can_seek else NO_STAMP for k in starts])
    return np.searchsorted(rank[shown], rank[keys]), starts, stamps
