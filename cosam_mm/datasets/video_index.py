"""Chosen frames by PyAV, past packets that they do not need.

The first walk through a file decodes everything in order and notes which packet each
frame came out of. What was noted is kept, and a later walk goes by it::

    packets    I0 P3 B1 B2 P6 B4 B5 ... I60 P63 B61 B62 P66 B64 B65 ...
    frame 65    x                   ...  x   x           x   .   x
                jump to the last key frame; leave out the B frames, save those wanted

Both are exact, and neither trusts what a container says of its key frames, times or
index: frames are told by the packets that decoding in order took them from. Frames that
others refer to are never left out. A jump goes to key frames of codecs in which nothing
refers across one; the first packets, whose headers name the encoder that a decoder has
to imitate, are decoded all the same.

Nothing is concealed: at the first packet that does not decode the walk ends with an
error, and other readers have their turn.
"""
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import Empty, Queue
from threading import Event, Thread

import numpy as np

from .video_file import PathLike, UnreadableVideo, absolute, one_line

__all__ = ['FrameIndex', 'FrameIndices', 'walk_pyav']

# H.264 and its followers call frames key frames that later ones may refer across.
_SELF_CONTAINED = {'mjpeg', 'mpeg1video', 'mpeg2video', 'mpeg4'}
# Frames that are handed from the thread that decodes to the one that uses them.
_HANDFUL = 4


@dataclass(frozen=True)
class FrameIndex:
    """Where the first frames of a file are, as decoding in order has shown.

    Attributes:
        packets: (n,) int32, the packet that frame k came out of.
        entries: Rising numbers of the frames that decoding can start at.
    """

    packets: np.ndarray
    entries: np.ndarray

    def __len__(self) -> int:
        return len(self.packets)


class FrameIndices:
    """Indices of files, as many as fit.

    Args:
        most_frames: How many frames they have together, at most; 4 bytes each.
    """

    def __init__(self, most_frames: int) -> None:
        self._most_frames = most_frames
        self._num_frames = 0
        self._found = {}

    def clear(self) -> None:
        """Forget all."""
        self._num_frames = 0
        self._found.clear()

    def get(self, version, last_frame: int):
        """The index of a file if there is one that holds the frame, or None."""
        index = self._found.get(version)
        return index if index is not None and last_frame < len(index) else None

    def add(self, version, index: FrameIndex) -> None:
        """Keep an index that is longer than what there is, if it fits."""
        known = self._found.get(version)
        more = len(index) - (0 if known is None else len(known))
        if 0 < more <= self._most_frames - self._num_frames:
            self._found[version] = index
            self._num_frames += more


def walk_pyav(path: PathLike, version, wanted: Sequence[int], indices: FrameIndices,
              ahead: bool = False) -> Iterator[np.ndarray]:
    """Frames by rising numbers, up to the last that there is.

    Args:
        path: Video file.
        version: What tells the file, as it is now, from others.
        wanted: Numbers of the frames, rising.
        indices: What earlier walks noted; this one adds to it.
        ahead: Decode in a thread of its own while frames are used.

    Yields:
        RGB frames, uint8, (H, W, 3).

    Raises:
        UnreadableVideo: PyAV is absent, does not decode the file to the last frame
            wanted, or its frames are to be turned, which OpenCV does.
    """
    with _open(path) as (container, stream):
        index = indices.get(version, wanted[-1])
        if index is None:
            walk = _walk_in_order(container, stream, set(wanted), wanted[-1],
                                  partial(indices.add, version))
        else:
            walk = _walk_by_index(container, stream, wanted, index)
        frames = map(_converter(), walk)
        if not ahead:
            yield from frames
            return
        with closing(_ahead(frames)) as frames_ahead:
            yield from frames_ahead


def _ahead(items: Iterator) -> Iterator:
    """The items, made in a thread of their own while others are being used.

    FFmpeg and OpenCV run without Python's lock. Items are handed over by the handful:
    handing over one by one costs more.
    """
    handfuls, is_over = Queue(maxsize=1), Event()

    def make() -> None:
        try:
            while not is_over.is_set():
                handful = list(islice(items, _HANDFUL))
                handfuls.put((handful, None))
                if not handful:
                    return
        except BaseException as error:  # it is raised where the items are used
            handfuls.put(([], error))

    thread = Thread(target=make, daemon=True)
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
        while thread.is_alive():  # it may wait for a place
            with suppress(Empty):
                handfuls.get(timeout=0.01)
        thread.join()


@contextmanager
def _open(path: PathLike):
    try:
        import av  # here, so that others can do without it
        with av.open(absolute(path), metadata_errors='ignore') as container:
            if not container.streams.video:
                raise UnreadableVideo('PyAV: the file has no video')
            stream = container.streams.video[0]
            # With several, leaving out frames and starting anew hang now and then.
            stream.thread_count = 1
            yield container, stream
    except UnreadableVideo:
        raise
    except Exception as error:  # FFmpeg's errors, and those of odd names
        raise UnreadableVideo(f'PyAV: {one_line(error)}') from None


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


def _walk_in_order(container, stream, wanted: set, end: int, keep) -> Iterator:
    """Frames with wanted numbers, up to ``end``; ``keep`` gets the index so far."""
    packets, entries, is_sound = [], [], True
    decoder = stream.codec_context
    for _, packet in _numbered_packets(container, stream):
        for frame in decoder.decode(packet):
            number = len(packets)
            is_sound = is_sound and frame.pts is not None and not frame.is_corrupt
            packets.append(frame.pts)
            if frame.key_frame:
                entries.append(number)
            if number in wanted:
                yield frame
        if len(packets) > end:
            break
    if is_sound and len(set(packets)) == len(packets):
        entries = entries if decoder.name in _SELF_CONTAINED else []
        keep(FrameIndex(np.array(packets, np.int32), np.array(entries, np.int32)))


def _walk_by_index(container, stream, wanted: Sequence[int],
                   index: FrameIndex) -> Iterator:
    decoder = stream.codec_context
    asked = set(index.packets[wanted].tolist())
    first = int(index.packets[0])
    place = np.searchsorted(index.entries, wanted[0], 'right') - 1
    start = int(index.packets[index.entries[place]]) if place >= 0 else 0
    decoder.skip_frame, leaves_out = 'NONREF', True
    for number, packet in _numbered_packets(container, stream):
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


def _converter():
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
