"""Images on disk: the folders that hold them, in natural order, and reading one."""
import os
from typing import Callable

import cv2
import numpy as np

from cosam_mm.utils.io import MAX_IMAGE_BYTES, regular_size
from cosam_mm.utils.messages import natural_key

__all__ = ['UnreadableImage', 'list_folders', 'list_images', 'read_image']

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
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


def list_images(folder: str) -> list[str]:
    """Names of the image files in a folder in natural order, hidden ones left out."""
    return _sorted_entries(
        folder, lambda entry: (entry.name.lower().endswith(IMAGE_SUFFIXES)
                               and entry.is_file()))


def read_image(path: str) -> np.ndarray:
    """Read an image file.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        UnreadableImage: The file is missing, does not decode or is too small.
    """
    try:
        regular_size(path, MAX_IMAGE_BYTES)
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise UnreadableImage('it does not decode')
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise UnreadableImage(f'it is {width} x {height} pixels')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
