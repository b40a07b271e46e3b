"""One look for all figures, and the ways they become files.

Figures are matplotlib's :class:`~matplotlib.figure.Figure` made by :func:`new_figure`:
no window, no global state. The same figure serves a file of its own (PNG, on white) and
a page (SVG without a background, whose ink is the page's, in light and in dark).
"""
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

__all__ = ['AMBER', 'BLUE', 'CYCLE', 'GREEN', 'GREY', 'INK', 'LINES', 'MASK_COLOURS',
           'RED', 'encode_image', 'figure_png', 'figure_svg', 'new_figure',
           'plain_text', 'style']

# Ink and lines stand for the page's own colours in an SVG.
INK = '#1f2430'
LINES = '#d5d9e2'
# Told apart by people who do not see red and green alike, on white and on near black.
BLUE, AMBER, GREEN, RED = '#3b7dd8', '#d98a00', '#12976a', '#d1495b'
PURPLE, CYAN, GREY = '#9566c9', '#1c9fb5', '#8a92a3'
CYCLE = (BLUE, AMBER, GREEN, RED, PURPLE, CYAN, GREY)
# Perceptually even, from dark (0) to light (1).
MASK_COLOURS = 'magma'

_SETTINGS = {
    'axes.axisbelow': True, 'axes.edgecolor': LINES, 'axes.grid': True,
    'axes.labelcolor': INK, 'axes.labelsize': 9, 'axes.linewidth': 0.8,
    'axes.prop_cycle': matplotlib.cycler(color=CYCLE), 'axes.spines.right': False,
    'axes.spines.top': False, 'axes.titlecolor': INK, 'axes.titlelocation': 'left',
    'axes.titlesize': 10, 'axes.titleweight': 'bold', 'figure.facecolor': 'white',
    'font.family': 'sans-serif', 'font.size': 9, 'grid.color': LINES,
    'grid.linewidth': 0.6, 'image.interpolation': 'nearest', 'legend.fontsize': 8.5,
    'legend.frameon': False, 'lines.linewidth': 1.6, 'svg.fonttype': 'none',
    'svg.hashsalt': 'cosam_mm', 'text.color': INK, 'xtick.color': INK,
    'xtick.labelsize': 8.5, 'ytick.color': INK, 'ytick.labelsize': 8.5,
}


@contextmanager
def style() -> Iterator[None]:
    """Everything that is drawn within looks like the rest of the project."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, to be drawn on within :func:`style`.

    Args:
        width: Inches; 7.5 fill a page's column.
        height: Inches.
    """
    return Figure(figsize=(width, height), layout='constrained')


def plain_text(text: str) -> str:
    """Text that a figure shows as it is, on one line.

    Dollars would begin a formula, and an underscore at the start would keep a line out
    of the legend.

    >>> plain_text('_a$b'), plain_text('two  lines')
    (' _a\\\\$b', 'two lines')
    """
    text = ' '.join(text.split()).replace('$', r'\$')
    return f' {text}' if text.startswith('_') else text


def figure_png(figure: Figure, dpi: int = 150) -> bytes:
    """A PNG file of the figure, on white."""
    return _save(figure, format='png', dpi=dpi, metadata={'Software': None})


def figure_svg(figure: Figure) -> str:
    """An ``<svg>`` element, for a page that sets ``color`` and ``--lines``.

    Ink is ``currentColor``, grid and frames ``var(--lines)``, the background the
    page's. The same figure gives the same text.
    """
    text = _save(figure, format='svg', transparent=True,
                 metadata={'Date': None, 'Creator': None}).decode()
    text = text[text.index('<svg'):]
    text = text.replace(INK, 'currentColor').replace(LINES, 'var(--lines)')
    # Sizes in points would keep it from shrinking with the page: viewBox is enough.
    for size in ('width', 'height'):
        text = re.sub(rf'^(<svg[^>]*?) {size}="[^"]*"', r'\1', text, count=1)
    return text


def _save(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with style(), warnings.catch_warnings():
        # Of scripts that matplotlib's own font lacks; a page takes the browser's.
        warnings.filterwarnings('ignore', 'Glyph .* missing from', UserWarning)
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def encode_image(image: np.ndarray, kind: str = 'jpg', quality: int = 85) -> bytes:
    """A JPEG, PNG or WebP file of an image.

    Args:
        image: (H, W, 3) uint8, RGB.
        kind: 'jpg', 'png' or 'webp'.
        quality: From 1 to 100; PNG has none.

    Raises:
        ValueError: The image or the kind is another.
    """
    from PIL import Image

    formats = {'jpg': 'JPEG', 'png': 'PNG', 'webp': 'WEBP'}
    if kind not in formats:
        raise ValueError(f'kind must be one of {tuple(formats)}, got {kind!r}.')
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError('An image must be (H, W, 3) uint8, got '
                         f'{image.dtype} of shape {image.shape}.')
    buffer = io.BytesIO()
    options = {} if kind == 'png' else {'quality': quality}
    Image.fromarray(image).save(buffer, formats[kind], **options)
    return buffer.getvalue()
