"""Small files that claim to hold far more than they do, or that inflate to it."""
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_FRAMES = 30_000_000  # of a video; FFmpeg takes 1 GB for as many


def _array_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, dict(descr='<f4', fortran_order=False, shape=shape))
    return stream.getvalue()


def write_claiming_arrays(path: Path, names: Sequence[str],
                          shape: tuple[int, ...] = (10**12,)) -> Path:
    """An .npz file whose arrays have a header of this shape and 64 bytes."""
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(f'{name}.npy', _array_header(shape) + bytes(64))
    return path


def write_inflating_arrays(path: Path, names: Sequence[str]) -> Path:
    """An .npz file of 7 MB with 1.6 GB of zeros in it."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as file:
                file.write(_array_header((96 << 22,)))
                for _ in range(96):
                    file.write(bytes(1 << 24))
    return path


def write_image(path: Path, side: int = 30_000) -> Path:
    """A PNG of white pixels, one bit each: of 112 MB DEFLATE makes 112 kB."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack(
            '>I', zlib.crc32(kind + data))

    packer, row = zlib.compressobj(), b'\0' + b'\xff' * -(-side // 8)
    data = b''.join(packer.compress(row) for _ in range(side)) + packer.flush()
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack(
        '>IIBBBBB', side, side, 1, 0, 0, 0, 0)) + chunk(b'IDAT', data)
        + chunk(b'IEND', b''))
    return path


def write_holes(path: Path) -> Path:
    """A TB of nothing, which takes no space on most disks."""
    path.touch()
    os.truncate(path, 1 << 40)
    return path


# -- videos --------------------------------------------------------------------------


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b''.join(parts)
    return struct.pack('>I4s', 8 + len(body), kind) + body


def _full(kind: bytes, *numbers: int, flags: int = 0, rest: bytes = b'') -> bytes:
    """A box with a version and flags, and numbers of 4 bytes."""
    return _box(kind, struct.pack(f'>{len(numbers) + 1}I', flags, *numbers), rest)


def write_video(path: Path) -> Path:
    """An MP4 file of 600 bytes that claims 30 million frames of one byte each.

    Where frames are of one size, their table has no entries (ISO/IEC 14496-12, 8.7.3).
    """
    unity = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    entry = _box(b'jpeg', bytes(6), struct.pack('>H', 1), bytes(16), struct.pack(
        '>HHIIIH32sHh', 64, 64, 0x480000, 0x480000, 0, 1, b'', 24, -1))
    table = _box(
        b'stbl', _full(b'stsd', 1, rest=entry), _full(b'stts', 1, _FRAMES, 1),
        _full(b'stsc', 1, 1, _FRAMES, 1), _full(b'stsz', 1, _FRAMES),
        _full(b'stco', 1, 40))
    media = _box(
        b'mdia', _full(b'mdhd', 0, 0, 25, _FRAMES, 0),
        _full(b'hdlr', 0, rest=b'vide' + bytes(13)),
        _box(b'minf', _full(b'vmhd', 0, 0, flags=1), _box(b'dinf', _full(
            b'dref', 1, rest=_full(b'url ', flags=1))), table))
    track = _box(b'trak', _full(b'tkhd', 0, 0, 1, 0, 1000, 0, 0, 0, 0, *unity,
                                64 << 16, 64 << 16, flags=7), media)
    path.write_bytes(
        _box(b'ftyp', b'isom', bytes(4), b'isom') + _box(b'mdat', b'\xff\xd8\xff\xd9')
        + _box(b'moov', _full(b'mvhd', 0, 0, 1000, 1000, 0x10000, 0x1000000, 0, 0,
                              *unity, *[0] * 6, 2), track))
    return path
