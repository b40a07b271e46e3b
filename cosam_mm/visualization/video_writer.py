"""Encode images as a short video: MP4 (H.264) or GIF."""
import io
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

__all__ = ['VIDEO_KINDS', 'encode_video']

VIDEO_KINDS = ('mp4', 'gif')


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
    try:
        import av
    except ImportError:
        raise ImportError('MP4 files are written by PyAV, which is not installed: pip '
                          'install av, or write a GIF.', name='av') from None
    # FFmpeg can move the index to the front of a file only, not of a memory buffer.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'clip.mp4'
        stream = None
        with av.open(str(path), 'w', options={'movflags': '+faststart'}) as container:
            for image in images:
                height, width = image.shape[:2]  # made even, as H.264 needs them
                image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), 'edge')
                if stream is None:
                    stream = container.add_stream(
                        'libx264', Fraction(fps).limit_denominator(1000),
                        height=image.shape[0], width=image.shape[1], pix_fmt='yuv420p')
                    # One thread and no macroblock tree, for equal files: the tree reads
                    # uninitialised memory unless sides are multiples of 16.
                    stream.options = {'crf': str(quality), 'preset': 'slow',
                                      'threads': '1', 'x264-params': 'mbtree=0'}
                # FFmpeg's own conversion reads such memory, too, at some widths.
                planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
                frame = av.VideoFrame.from_ndarray(planes, 'yuv420p')
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()
