"""Images composed of photographs, labels and colour bars.

Mask grids, rank panels and every frame of a mask video are composed here with Pillow,
which takes milliseconds where matplotlib would take a second.
"""
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .style import INK, LINES, MASK_COLOURS

__all__ = ['Canvas', 'colour_map', 'fit', 'shorten', 'text_width']

_NOTE, _OUTLINE = '#6b7382', '#e8eaef'


@lru_cache(maxsize=32)
def _font(size: int, bold: bool):
    """Matplotlib's font, which is always installed and goes beyond ASCII."""
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / name), size)


def text_width(text: str, size: int, bold: bool = False) -> int:
    """Width of a line of text in pixels."""
    return round(_font(size, bold).getlength(text))


def shorten(text: str, width: int, size: int, bold: bool = False) -> str:
    """One line of text of at most ``width`` pixels; '…' replaces its middle.

    Bytes of a file name that are no UTF-8 become '?': a font has none for them.
    """
    text = ' '.join(text.split()).encode('utf-8', 'replace').decode()
    if text_width(text, size, bold) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        tail = kept * 2 // 3
        short = f'{text[:kept - tail]}…{text[len(text) - tail:]}'
        if text_width(short, size, bold) <= width:
            return short
    return '…'


def colour_map(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """(..., 3) uint8, RGB: colours of mask values (...).

    The ends of the range get the first and the last colour; values beyond are clipped.
    If both ends are equal, the middle colour is used.
    """
    low, high = value_range
    shares = np.full(np.shape(values), 0.5) if high <= low else np.clip(
        (np.asarray(values, float) - low) / (high - low), 0, 1)
    return matplotlib.colormaps[MASK_COLOURS](shares, bytes=True)[..., :3]


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) as large as fits into (height, width), in its own aspect."""
    return np.asarray(ImageOps.contain(Image.fromarray(image), size[::-1]))


class Canvas:
    """A white image to compose on; positions and sizes are in pixels."""

    def __init__(self, height: int, width: int) -> None:
        self._image = Image.new('RGB', (width, height), 'white')
        self._draw = ImageDraw.Draw(self._image)

    def array(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB; a copy."""
        return np.array(self._image)

    def paste(self, image: np.ndarray, x: int, y: int) -> None:
        """Paste an image (h, w, 3) with its upper left corner at (x, y)."""
        self._image.paste(Image.fromarray(image), (x, y))

    def fill(self, x: int, y: int, size: tuple[int, int], colour: str) -> None:
        """Fill a rectangle of (height, width) with its upper left corner at (x, y)."""
        self._image.paste(colour, (x, y, x + size[1], y + size[0]))

    def text(self, x: int, y: int, text: str, size: int = 13, bold: bool = False,
             colour: str = INK, anchor: str = 'la') -> None:
        """Write a line of text; ``anchor`` is Pillow's."""
        self._draw.text((x, y), text, fill=colour, font=_font(size, bold),
                        anchor=anchor)

    def note(self, x: int, y: int, text: str, size: int = 12,
             anchor: str = 'la') -> None:
        """Write a line of text in grey."""
        self.text(x, y, text, size, colour=_NOTE, anchor=anchor)

    def outline(self, x: int, y: int, size: tuple[int, int],
                box: tuple[float, float, float, float]) -> None:
        """Outline a part of the image of (height, width) at (x, y).

        The box is (left, top, right, bottom) as fractions of that image, clipped to it.
        """
        left, right = (x + round(side * size[1]) for side in sorted(
            np.clip(box[::2], 0, 1)))
        top, bottom = (y + round(side * size[0]) for side in sorted(
            np.clip(box[1::2], 0, 1)))
        self._draw.rectangle((left, top, right - 1, bottom - 1), outline=_OUTLINE)

    def colour_bar(self, box: tuple[int, int, int, int],
                   value_range: tuple[float, float], size: int = 12) -> None:
        """Draw a colour bar with its two end values, in a font of this size.

        The box is (left, top, width, height). A tall bar has its high end above and its
        numbers at the right, a wide one its high end at the right and numbers below.
        """
        left, top, width, height = box
        ramp = np.linspace(0, 1, max(width, height))
        if height > width:
            ramp, beside = ramp[::-1, None], left + width + 5
            ends = (beside, top + height, 'ld'), (beside, top, 'la')
        else:
            below = top + height + 4
            ends = (left, below, 'la'), (left + width, below, 'ra')
        self.paste(colour_map(np.broadcast_to(ramp, (height, width)), (0, 1)),
                   left, top)
        self._draw.rectangle((left - 1, top - 1, left + width, top + height),
                             outline=LINES)
        for value, (x, y, anchor) in zip(value_range, ends):
            self.note(x, y, f'{value:.2f}', size, anchor)
