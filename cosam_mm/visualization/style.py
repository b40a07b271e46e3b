"""Colours, fonts and file formats that all plots share.

A plot is a matplotlib :class:`~matplotlib.figure.Figure` made by :func:`new_figure`: no
window, no global state. The same plot becomes a file (PNG, SVG or PDF, on white) or an
element of a page (SVG without a background, in the page's colours, light or dark).
"""
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cosam_mm.utils.io import writing

__all__ = ['AMBER', 'BLUE', 'CYCLE', 'GREEN', 'GREY', 'INK', 'LINES', 'MASK_COLOURS',
           'RED', 'encode_image', 'figure_png', 'figure_svg', 'new_figure',
           'plain_text', 'save_figure', 'style']

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
    """Apply the project's settings to all plots made within."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty plot, to be filled within :func:`style`; 7.5 inches fill a column."""
    return Figure(figsize=(width, height), layout='constrained')


def plain_text(text: str) -> str:
    """Text that matplotlib shows literally, on one line.

    Dollars would begin a formula, and a leading underscore would keep a line out of the
    legend.

    >>> plain_text('_a$b'), plain_text('two  lines')
    (' _a\\\\$b', 'two lines')
    """
    text = ' '.join(text.split()).replace('$', r'\$')
    return f' {text}' if text.startswith('_') else text


def figure_png(figure: Figure, dpi: int = 150) -> bytes:
    """A PNG file of a plot, on white."""
    return _save(figure, format='png', dpi=dpi, metadata={'Software': None})


def figure_svg(figure: Figure) -> str:
    """An ``<svg>`` element, for a page that sets ``color`` and ``--lines``.

    Ink becomes ``currentColor``, grid and frames ``var(--lines)``; the background is
    transparent. Equal plots give equal text.
    """
    text = _save(figure, format='svg', transparent=True,
                 metadata={'Date': None, 'Creator': None}).decode()
    text = text.replace(INK, 'currentColor').replace(LINES, 'var(--lines)')
    # Without a size in points, the plot shrinks with the page.
    head, text = text[text.index('<svg'):].split('>', 1)
    return re.sub(' (width|height)="[^"]*"', '', head) + '>' + text


def _save(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with style(), warnings.catch_warnings():
        # For scripts that matplotlib's font lacks, a page uses the browser's font.
        warnings.filterwarnings('ignore', 'Glyph .* missing from', UserWarning)
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a plot as PNG, SVG or PDF, by the path's suffix, on white."""
    undated = {'.svg': {'Date': None}, '.pdf': {'CreationDate': None}}
    with writing(path) as partial:
        partial.write_bytes(_save(figure, format=path.suffix[1:].lower(), dpi=150,
                                  metadata=undated.get(path.suffix.lower())))


def encode_image(image: np.ndarray, kind: str = 'jpg', quality: int = 85) -> bytes:
    """A file of an image (H, W, 3), uint8, RGB: 'jpg', 'png' or 'webp'.

    The quality is from 1 to 100; PNG has none.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'JPEG' if kind == 'jpg' else kind,
                                quality=quality)
    return buffer.getvalue()
