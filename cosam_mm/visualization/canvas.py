"""A white sheet for photographs, their labels and colour bars.

Pictures of many frames, and each frame of a video, are put together here, pixel by
pixel; a figure of matplotlib would take a second for what takes milliseconds.
"""
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from .style import INK, LINES, MASK_COLOURS

__all__ = ['Canvas', 'colour_map', 'fit_image', 'fit_size', 'shorten', 'text_width',
           'wrap']

NOTE = '#6b7382'
_OUTLINE = '#e8eaef'


@lru_cache(maxsize=32)
def _font(size: int, bold: bool):
    """The font of matplotlib's figures: it has letters beyond ASCII and is there."""
    from PIL import ImageFont
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / name), size)


def text_width(text: str, size: int, bold: bool = False) -> int:
    """Pixels that a line of text takes."""
    return round(_font(size, bold).getlength(text))


def shorten(text: str, width: int, size: int, bold: bool = False) -> str:
    """A line of text, its middle left out where it is wider than ``width`` pixels."""
    text = ' '.join(text.split())
    if text_width(text, size, bold) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        tail = kept * 2 // 3
        short = f'{text[:kept - tail]}…{text[len(text) - tail:]}'
        if text_width(short, size, bold) <= width:
            return short
    return '…'


def wrap(text: str, width: int, size: int) -> list[str]:
    """Text in lines of at most ``width`` pixels, broken between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f'{lines[-1]} {word}' if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(shorten(word, width, size))
    return lines


def colour_map(values: np.ndarray, value_range: tuple[float, float],
               name: str = MASK_COLOURS) -> np.ndarray:
    """Colours of values.

    Args:
        values: (...).
        value_range: (low, high), which get the first and the last colour; so does
            what lies beyond. Where both are one value, it gets the colour in the
            middle.
        name: Of matplotlib's colour maps.

    Returns:
        (..., 3) uint8, RGB.
    """
    low, high = value_range
    shares = np.full(np.shape(values), 0.5) if high <= low else np.clip(
        (np.asarray(values, float) - low) / (high - low), 0, 1)
    return matplotlib.colormaps[name](shares, bytes=True)[..., :3]


def fit_size(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of the aspect of ``size`` within ``limit``.

    >>> fit_size((240, 320), (100, 100))
    (75, 100)
    """
    scale = min(limit[0] / size[0], limit[1] / size[1])
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def fit_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) resized to (height, width)."""
    is_smaller = size[0] < image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if is_smaller
                      else cv2.INTER_CUBIC)


class Canvas:
    """An image to draw on.

    Args:
        height: Pixels.
        width: Pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        from PIL import Image, ImageDraw
        self._image = Image.new('RGB', (width, height), 'white')
        self._draw = ImageDraw.Draw(self._image)

    def array(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB; a copy."""
        return np.array(self._image)

    def paste(self, image: np.ndarray, x: int, y: int) -> None:
        """Put an image (h, w, 3) with its left upper corner at a place."""
        from PIL import Image
        self._image.paste(Image.fromarray(image), (x, y))

    def text(self, x: int, y: int, text: str, size: int = 13, bold: bool = False,
             colour: str = INK, anchor: str = 'la') -> None:
        """Write a line; ``anchor`` is Pillow's: of (x, y) in the text."""
        self._draw.text((x, y), text, fill=colour, font=_font(size, bold),
                        anchor=anchor)

    def note(self, x: int, y: int, text: str, size: int = 12,
             anchor: str = 'la') -> None:
        """Write a line in grey."""
        self.text(x, y, text, size, colour=NOTE, anchor=anchor)

    def outline(self, x: int, y: int, size: tuple[int, int],
                box: tuple[float, float, float, float]) -> None:
        """Draw a thin light frame around a part of an image.

        Args:
            x, y: Left upper corner of the image.
            size: (height, width) of the image.
            box: (left, top, right, bottom) in shares of the image; what lies beyond
                is not drawn.
        """
        height, width = size
        left, right = sorted(min(max(side, 0), 1) for side in box[::2])
        top, bottom = sorted(min(max(side, 0), 1) for side in box[1::2])
        self._draw.rectangle(
            (x + round(left * width), y + round(top * height),
             x + round(right * width) - 1, y + round(bottom * height) - 1),
            outline=_OUTLINE)

    def colour_bar(self, box: tuple[int, int, int, int],
                   value_range: tuple[float, float], size: int = 12) -> None:
        """Draw a colour bar with both ends written beside it.

        Args:
            box: (left, top, width, height). A bar that is higher than wide has the
                high end above and its numbers to the right; another one has the high
                end at the right and its numbers below.
            value_range: Values at its ends.
            size: Of the numbers.
        """
        left, top, width, height = box
        upright = height > width
        ramp = np.linspace(1, 0, height)[:, None] if upright \
            else np.linspace(0, 1, width)[None]
        self.paste(colour_map(np.broadcast_to(ramp, (height, width)), (0, 1)),
                   left, top)
        self._draw.rectangle((left - 1, top - 1, left + width, top + height),
                             outline=LINES)
        low, high = (f'{value:.2f}' for value in value_range)
        if upright:
            x = left + width + 5
            self.note(x, top, high, size, 'la')
            self.note(x, top + height, low, size, 'ld')
        else:
            y = top + height + 4
            self.note(left, y, low, size, 'la')
            self.note(left + width, y, high, size, 'ra')
