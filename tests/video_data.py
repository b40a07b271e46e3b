"""Real video files, whole and broken.

``write_video`` uses OpenCV's encoder: frame k of a video is red at the left and shows
k in binary, as six bright or dark bars, so a decoded frame tells its number. ``encode``
uses PyAV's, for codecs, containers and times of all kinds.
"""
import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

SIZE = (64, 96)  # height, width


def picture(number):
    image = np.zeros((*SIZE, 3), np.uint8)
    for bit in range(6):
        if number >> bit & 1:
            image[:, 32 + 10 * bit:42 + 10 * bit] = 220
    image[:, :24] = (0, 0, 255)  # red, as OpenCV orders channels
    return image


def number_of(frame):
    """The number that the upper half of a frame shows."""
    bars = frame[:32, 32:92].astype(float).mean(axis=(0, 2)).reshape(6, 10).mean(1)
    return sum(1 << bit for bit in range(6) if bars[bit] > 110)


def write_video(path, num_frames, fourcc='mp4v'):
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*fourcc), 25, SIZE[::-1])
    assert writer.isOpened()
    for number in range(num_frames):
        writer.write(picture(number))
    writer.release()
    return str(path)


def encode(path, codec, options=(), times=range(48), size=(96, 64), skip=0, keep=None,
           cut=0., set_up=lambda container, stream: None):
    """A view over noise that moves.

    Args:
        times: Of the frames, in units of 1/25 s.
        skip: Packets that are left out, as by a recording that begins later.
        keep: Packets after which the file ends.
        cut: Seconds that are cut off at the start without encoding again.
        set_up: Called before the first packet.
    """
    import av
    options, packets = dict(options), []
    ground = np.kron(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8),
                     np.ones((4, 4, 1), np.uint8))
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = options.pop('pix_fmt', 'yuv420p')
        stream.options = options
        set_up(container, stream)
        for k, time in enumerate(times):
            y, x = k % 64, 2 * k % 200
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(ground[y:y + size[1], x:x + size[0]]))
            frame.pts, frame.time_base = int(time), Fraction(1, 25)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)][skip:keep]:
            shift = int((cut or skip / 25) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            container.mux(packet)
    return str(path)


def boxes(data, start, end):
    while start < end:
        size, kind = struct.unpack('>I4s', data[start:start + 8])
        if size == 1:  # a 64-bit size follows
            size, = struct.unpack('>Q', data[start + 8:start + 16])
        yield kind, start, start + size
        start += size


def index_first(data):
    """An mp4 with its index before the frames, so that a cut leaves the index."""
    parts = {kind: data[a:b] for kind, a, b in boxes(data, 0, len(data))}
    index = bytearray(parts.pop(b'moov'))

    def move_offsets(start, end):
        for kind, a, b in boxes(bytes(index), start, end):
            if kind in (b'moov', b'trak', b'mdia', b'minf', b'stbl'):
                move_offsets(a + 8, b)
            elif kind == b'stco':
                count, = struct.unpack('>I', index[a + 12:a + 16])
                offsets = struct.unpack(f'>{count}I', index[a + 16:a + 16 + 4 * count])
                index[a + 16:a + 16 + 4 * count] = struct.pack(
                    f'>{count}I', *(offset + len(index) for offset in offsets))

    move_offsets(0, len(index))
    return parts.pop(b'ftyp') + bytes(index) + b''.join(parts.values())


def make_unreadable(folder, kind):
    path = folder / f'{kind} (1).mp4'
    if kind == 'empty':
        path.touch()
    elif kind == 'text':
        path.write_text('not a video\n' * 100)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'headless':
        data = Path(write_video(folder / 'whole.mp4', 40)).read_bytes()
        path.write_bytes(data[:len(data) // 2])
    return str(path)
