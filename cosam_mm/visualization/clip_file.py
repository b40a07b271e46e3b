"""Images as a short video that plays everywhere: MP4 (H.264) or GIF."""
import io
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

__all__ = ['CLIP_KINDS', 'encode_clip', 'encode_gif', 'encode_mp4']

CLIP_KINDS = ('mp4', 'gif')


def _check_rate(fps: float) -> None:
    if not 0 < fps <= 100:
        raise ValueError(f'fps must lie above 0 and at most at 100, got {fps!r}.')


def _even(image: np.ndarray) -> np.ndarray:
    """The image with its last row and column repeated where their number is odd."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')


def encode_mp4(images: Iterable[np.ndarray], fps: float = 8., quality: int = 23
               ) -> bytes:
    """An MP4 file of H.264, as all browsers play it.

    Its colours are stored at half the resolution (yuv420p), and its index stands in
    front, so that it plays while it is loaded.

    Args:
        images: (H, W, 3) uint8, RGB, all of one size. An odd side gets one pixel more.
        fps: Images a second.
        quality: x264's constant rate factor: 18 is nearly the original, 30 small.

    Raises:
        ImportError: PyAV is not installed.
        ValueError: There is no image, or ``fps`` is out of range.
    """
    _check_rate(fps)
    try:
        import av
    except ImportError:
        raise ImportError('MP4 files are written by PyAV, which is not installed: pip '
                          'install av, or write a GIF.', name='av') from None
    # FFmpeg moves the index to the front of a file only, not of what is in memory.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'clip.mp4'
        stream = None
        with av.open(str(path), 'w', options={'movflags': '+faststart'}) as container:
            for image in map(_even, images):
                if stream is None:
                    stream = _h264_stream(container, image.shape[:2], fps, quality)
                # FFmpeg's own conversion reads memory beyond lines of some widths, and
                # the same images would not always make the same file.
                planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
                frame = av.VideoFrame.from_ndarray(planes, 'yuv420p')
                container.mux(stream.encode(frame))
            if stream is None:
                raise ValueError('A clip needs at least one image.')
            container.mux(stream.encode(None))
        return path.read_bytes()


def _h264_stream(container, size: tuple[int, int], fps: float, quality: int):
    stream = container.add_stream('libx264', Fraction(fps).limit_denominator(1000))
    stream.height, stream.width = size
    stream.pix_fmt = 'yuv420p'
    # One thread and no macroblock tree, again for the same file: the tree reads memory
    # that nobody wrote where sides are no multiples of 16.
    stream.options = {'crf': str(quality), 'preset': 'slow', 'threads': '1',
                      'x264-params': 'mbtree=0'}
    return stream


def encode_gif(images: Iterable[np.ndarray], fps: float = 8.) -> bytes:
    """A GIF file that plays for ever, of at most 256 colours an image.

    Args:
        images: (H, W, 3) uint8, RGB, all of one size.
        fps: Images a second; GIF counts time in hundredths of a second.

    Raises:
        ValueError: There is no image, or ``fps`` is out of range.
    """
    from PIL import Image

    _check_rate(fps)
    pictures = [Image.fromarray(image) for image in images]
    if not pictures:
        raise ValueError('A clip needs at least one image.')
    buffer = io.BytesIO()
    pictures[0].save(buffer, 'GIF', save_all=True, append_images=pictures[1:],
                     duration=max(round(100 / fps), 1) * 10, loop=0)
    return buffer.getvalue()


def encode_clip(images: Iterable[np.ndarray], kind: str, fps: float = 8.) -> bytes:
    """A file of one of ``CLIP_KINDS``.

    Raises:
        ImportError: As for :func:`encode_mp4`.
        ValueError: ``kind`` is another, or as for the functions above.
    """
    if kind not in CLIP_KINDS:
        raise ValueError(f'kind must be one of {CLIP_KINDS}, got {kind!r}.')
    return (encode_mp4 if kind == 'mp4' else encode_gif)(images, fps)
