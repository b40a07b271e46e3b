"""Images: the folders that hold them, in natural order, and one way to read one.

Files and PIL images pass through the same function, so that one picture has the same
pixels whichever way it comes: turned as its EXIF orientation says (CIPA DC-008, tag
274), as RGB, transparency left out. More than 8 bits a channel are refused: which of
their values is white, nothing says (12 bits in 16 are common, and would look black).
"""
import io
import logging
import os
from typing import Callable, Optional

import numpy as np
from mmengine.logging import print_log
from PIL import Image, ImageOps

from cosam_mm.utils.io import MAX_IMAGE_BYTES, regular_size
from cosam_mm.utils.messages import name_some, natural_key, one_line

__all__ = ['UnreadableImage', 'list_folders', 'list_images', 'open_image',
           'read_image', 'rgb_pixels', 'warn_other_files']

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff',
                  '.gif')
# What these suffixes stand for. PIL knows more, some of which run other programs.
_FORMATS = ('JPEG', 'PNG', 'BMP', 'DIB', 'WEBP', 'TIFF', 'GIF')
_BYTE_MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr', 'HSV')
_TIFF_BITS = 258  # TIFF 6.0, BitsPerSample
# Pixels of the shorter side below which a file is no image of anything.
MIN_SIDE = 2


class UnreadableImage(RuntimeError):
    """An image cannot be read; the message says why."""


def _sorted_entries(folder: str, is_wanted: Callable[[os.DirEntry], bool]) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries
                 if not entry.name.startswith('.') and is_wanted(entry)]
    return sorted(names, key=natural_key)


def list_folders(folder: str) -> list[str]:
    """Names of the folders in a folder in natural order, hidden ones left out."""
    return _sorted_entries(folder, lambda entry: entry.is_dir())


def list_images(folder: str, others: Optional[list[str]] = None) -> list[str]:
    """Names of the image files in a folder in natural order, hidden ones left out.

    Args:
        folder: The folder.
        others: Paths of the files that are no images are added to it.
    """
    files = _sorted_entries(folder, lambda entry: entry.is_file())
    images = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES)]
    if others is not None and len(images) < len(files):
        others += [os.path.join(folder, name) for name in files
                   if not name.lower().endswith(IMAGE_SUFFIXES)]
    return images


def warn_other_files(others: list[str], title: str) -> None:
    """Count and name in the log what lies among images and is not read."""
    if others:
        print_log(
            f'{title}: {len(others):,} files among the images are not read: '
            f'{name_some(others)}. Images end in {", ".join(IMAGE_SUFFIXES)}.',
            logger='current', level=logging.WARNING)


def open_image(data: bytes) -> Image.Image:
    """The image that a file holds, not decoded yet.

    Raises:
        UnreadableImage: It claims more pixels than PIL thinks safe, 89 million
            (``PIL.Image.MAX_IMAGE_PIXELS``; up to twice as many PIL only warns).
        OSError: It is no image.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise UnreadableImage(one_line(error)) from None
    (width, height), limit = image.size, Image.MAX_IMAGE_PIXELS
    if limit and width * height > limit:
        raise UnreadableImage(f'it claims {width:,} x {height:,} pixels, more than '
                              f'{limit:,} in all')
    return image


def _is_deep(image: Image.Image) -> bool:
    """Whether a file has more than 8 bits a channel, also where PIL cuts them off."""
    bits = getattr(image, 'tag_v2', {}).get(_TIFF_BITS, (8,))
    # PNG: PIL's name of the layout in the file, as 'RGB;16B', until it is loaded.
    layouts = ''.join(str(tile[3]) for tile in getattr(image, 'tile', ()))
    return image.mode not in _BYTE_MODES or max(bits) > 8 or ';16' in layouts


def rgb_pixels(image: Image.Image, white_level: Optional[float] = None) -> np.ndarray:
    """Pixels of a PIL image of any kind.

    Args:
        image: It is not changed.
        white_level: What counts as white in a grey image of more than 8 bits, as 4095
            or 1.0. Default: such images are refused.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        UnreadableImage: It has more than 8 bits a channel, or several frames.
    """
    # MPO, the JPEG of many phones, holds previews after the image.
    if image.format != 'MPO' and (frames := getattr(image, 'n_frames', 1)) > 1:
        raise UnreadableImage(f'it holds {frames} frames: save or copy() each')
    is_deep, mode = _is_deep(image), image.mode
    image = ImageOps.exif_transpose(image)
    if not is_deep:
        return np.array(image if mode == 'RGB' else image.convert('RGB'))
    values = np.asarray(image, np.float64)
    if white_level is None or values.ndim != 2 or not np.isfinite(values).all():
        raise UnreadableImage(
            f'it is not of 8 bits a channel (mode {mode!r}): save it with 8, or set '
            'white_level of LoadTrackletFrames for grey images')
    grey = np.rint(np.clip(values / white_level, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def read_image(path: str, white_level: Optional[float] = None) -> np.ndarray:
    """Read an image file; arguments and result are those of :func:`rgb_pixels`.

    Raises:
        UnreadableImage: The file is missing, does not decode, is cut off, is too
            small, holds several frames or more than 8 bits a channel.
    """
    try:
        regular_size(path, MAX_IMAGE_BYTES)
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from None
    try:
        with open_image(data) as image:
            pixels = rgb_pixels(image, white_level)
    except UnreadableImage:
        raise
    except Exception as error:  # of many kinds, as the damage
        raise UnreadableImage(
            f'it does not decode ({type(error).__name__})') from None
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise UnreadableImage(f'it is {width} x {height} pixels')
    return pixels
