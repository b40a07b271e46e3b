"""Encode images as a short video: MP4 (H.264) or GIF."""
import io
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Optional

import cv2
import numpy as np
from PIL import Image

__all__ = ['VIDEO_KINDS', 'encode_video', 'write_mp4']

VIDEO_KINDS = ('mp4', 'gif')
_TIME_BASE = Fraction(1, 90_000)  # of images with times of their own


def encode_video(images: Iterable[np.ndarray], kind: str = 'mp4', fps: float = 8.,
                 quality: int = 23) -> bytes:
    """A video file.

    MP4 is H.264 as all browsers play it: colours are stored at half resolution
    (yuv420p), and the index comes first, so that the file plays while it loads. GIF
    loops, has at most 256 colours per image, and counts time in hundredths of a second.

    Args:
        images: (H, W, 3) uint8, RGB, of one size. In MP4 odd sides grow by one pixel.
        kind: 'mp4' or 'gif'.
        fps: Images per second.
        quality: Constant rate factor of H.264: 18 is nearly lossless, 30 is small.

    Raises:
        ImportError: MP4 is wanted and PyAV is not installed.
        ValueError: There is no image, or a setting is out of range.
    """
    if kind not in VIDEO_KINDS:
        raise ValueError(f'kind must be one of {VIDEO_KINDS}, got {kind!r}.')
    if not 0 < fps <= 100:
        raise ValueError(f'fps must lie above 0 and at most at 100, got {fps!r}.')
    images = iter(images)
    try:
        images = chain([next(images)], images)
    except StopIteration:
        raise ValueError('A video needs at least one image.') from None
    if kind == 'mp4':
        return _encode_mp4(images, fps, quality)
    first, *others = map(Image.fromarray, images)
    buffer = io.BytesIO()
    first.save(buffer, 'GIF', save_all=True, append_images=others,
               duration=max(round(100 / fps), 1) * 10, loop=0)
    return buffer.getvalue()


def _encode_mp4(images: Iterable[np.ndarray], fps: float, quality: int) -> bytes:
    # FFmpeg can move the index to the front of a file only, not of a memory buffer.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'clip.mp4'
        # One thread and no macroblock tree, for equal files: the tree reads
        # uninitialised memory unless sides are multiples of 16.
        write_mp4(path, ((None, image) for image in images), fps, {
            'crf': str(quality), 'preset': 'slow', 'threads': '1',
            'x264-params': 'mbtree=0'})
        return path.read_bytes()


def write_mp4(path: Path, images: Iterable[tuple[Optional[float], np.ndarray]],
              fps: float, options: dict[str, str]) -> None:
    """Write an MP4 file of H.264, image by image.

    Args:
        path: File to write, of any suffix.
        images: (seconds, image): times rise; None has each image last 1 / ``fps``.
            Images are those of :func:`encode_video`.
        fps: Images per second, on average where they have times.
        options: Of libx264, as FFmpeg names them.

    Raises:
        ImportError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise ImportError('MP4 files are written by PyAV, which is not installed: pip '
                          'install av, or write a GIF.', name='av') from None
    rate, stream = Fraction(fps).limit_denominator(1001), None
    with av.open(str(path), 'w', 'mp4', {'movflags': '+faststart'}) as container:
        for time, image in images:
            height, width = image.shape[:2]  # made even, as H.264 needs them
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), 'edge')
            if stream is None:
                stream = container.add_stream(
                    'libx264', rate, options, height=image.shape[0],
                    width=image.shape[1], pix_fmt='yuv420p')
                if time is not None:
                    stream.codec_context.time_base = _TIME_BASE
            # FFmpeg's own conversion reads uninitialised memory at some widths.
            planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(planes, 'yuv420p')
            if time is not None:
                frame.pts, frame.time_base = round(time / _TIME_BASE), _TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
