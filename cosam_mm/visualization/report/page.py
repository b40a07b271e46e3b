"""A report as one HTML file that needs nothing but a browser.

A report has sections, a section has blocks, and a block is a dict that the template
``page.html.j2`` shows by its ``kind``: :func:`text`, :func:`table`, ... make them. Text
in them is text: Jinja2 escapes all of it, and none of it gets into the script, which is
the same in every report. Plots are images as well, so that nothing in an SVG can run.
The page loads nothing: its Content-Security-Policy forbids every request, and every
script and style sheet but its own, which it names by their hashes.
"""
import base64
import hashlib
import io
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Optional, Union

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from cosam_mm.utils.cli import as_typed
from cosam_mm.visualization.style import INK, LINES, figure_svg

__all__ = ['Block', 'Report', 'Section', 'blocks_of', 'clip', 'code', 'facts',
           'gallery', 'image', 'missing', 'plot', 'render_page', 'table', 'text']

Block = dict[str, Any]
Cell = Union[str, int, float, None]

_FOLDER = Path(__file__).parent
# Colours of page.css: an image takes its colour scheme, but no variable, from the page.
_SVG_STYLE = (
    f':root{{color-scheme:light dark;color:light-dark({INK},#e4e7ee);'
    f'--lines:light-dark({LINES},#3a4150);overflow:visible}}'
    "text{font-family:system-ui,'Segoe UI',Roboto,Arial,sans-serif!important}")
_NOT_IN_XML = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]')
# Pixels of the screen for a unit of a plot, whose 7.5 inches (540 units) fill the
# column, and the fewest that its text can be read with.
_SVG_SCALE, _SVG_LEAST = 1.6, 0.95
# Wider images than that need a line of their own, or half of it with few pixels.
_WIDE, _WIDE_PIXELS = 2.2, 800
# Longer texts may be broken to fit; longer facts have a line of their own.
_LONG_CELL, _LONG_FACT = 40, 30


@dataclass(frozen=True)
class Section:
    """A part of a report."""
    key: str  # its anchor: letters, digits and hyphens
    title: str  # its heading, also in the navigation
    lead: str = ''  # a sentence that says what is to be seen
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Report:
    """A whole report."""
    title: str  # what was trained
    subtitle: str  # on what, and when
    headline: Sequence[tuple[str, str]]  # metrics that are shown large, by name
    sections: Sequence[Section]


def render_page(report: Report) -> str:
    """The report as an HTML document, to be written in UTF-8 as it is."""
    # What a browser hashes is what stands between the tags, to the last line break.
    style, script = ((_FOLDER / name).read_text(encoding='utf-8')
                     for name in ('page.css', 'page.js'))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.get_template('page.html.j2').render(
        report=report, style=Markup(style), script=Markup(script),
        style_hash=_sha256(style), script_hash=_sha256(script))
    return text.encode(errors='replace').decode()  # names of files may be no Unicode


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def blocks_of(report: Report) -> Iterator[Block]:
    """All blocks of a report, the items of galleries instead of these.

    A block that takes up room has a ``size``: bytes in the page, about.
    """
    for section in report.sections:
        for block in section.blocks:
            yield from block['entries'] if block['kind'] == 'gallery' else [block]


# -- blocks of text ------------------------------------------------------------------


def text(text: str) -> Block:
    """One paragraph."""
    return dict(kind='text', text=text)


def code(title: str, text: str) -> Block:
    """Lines to be copied as they are, such as commands."""
    return dict(kind='code', title=title, text=text)


def missing(what: str, why: str, how: str = '') -> Block:
    """Something that cannot be shown, the reason, and a command that would help."""
    return dict(kind='missing', what=what, why=why, how=as_typed(how))


def facts(rows: Iterable[tuple[str, Cell]]) -> Block:
    """Names and values, as in a summary."""
    shown = ((name, _show(value)) for name, value in rows)
    return dict(kind='facts', rows=[
        (name, value, max(map(len, value.split('\n'))) > _LONG_FACT)
        for name, value in shown])


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]],
          caption: str = '', digits: int = 3) -> Block:
    """A table that can be sorted by any column and filtered by words.

    Args:
        title: Shown above it.
        columns: Names of the columns.
        rows: As many cells each. None is shown as a dash and sorted last.
        caption: Shown below it.
        digits: Of numbers that are not whole.
    """
    cells = [[(_show(cell, digits), _sort_key(cell), len(str(cell)) > _LONG_CELL)
              for cell in row] for row in rows]
    is_numeric = [any(row[k][1] for row in cells) and all(
        row[k][1] is not None for row in cells) for k in range(len(columns))]
    return dict(kind='table', title=title, columns=list(zip(columns, is_numeric)),
                rows=cells, caption=caption,
                size=sum(20 + len(shown.encode()) + len(key or '')
                         for row in cells for shown, key, _ in row))


def _show(cell: Cell, digits: int = 3) -> str:
    if cell is None:
        return '\N{EN DASH}'
    if isinstance(cell, float) and math.isfinite(cell):
        return f'{cell:.{digits}f}'
    return str(cell)


def _sort_key(cell: Cell) -> Optional[str]:
    """A number as JavaScript reads it, '' for nothing, None for words."""
    if not isinstance(cell, Real):  # those of NumPy are some
        return '' if cell is None else None
    if math.isinf(cell):
        return 'Infinity' if cell > 0 else '-Infinity'
    return 'NaN' if math.isnan(cell) else repr(float(cell))


# -- blocks of images ----------------------------------------------------------------


def _media(kind: str, title: str, media_type: str, data: bytes, alt: str, caption: str,
           width: int, height: int, **more: Any) -> Block:
    uri = f'data:{media_type};base64,{base64.b64encode(data).decode("ascii")}'
    return dict(kind=kind, title=title, uri=uri, alt=alt, caption=caption, width=width,
                height=height, aspect=width / height, size=len(uri), **more)


def plot(title: str, figure: Figure, alt: str, caption: str = '') -> Block:
    """A plot that can be enlarged, in the page's colours in light and in dark.

    ``title`` stands above it, ``caption`` below it, and ``alt`` says what it shows to
    those who do not see it.
    """
    svg = _NOT_IN_XML.sub('\N{REPLACEMENT CHARACTER}', figure_svg(figure))
    svg = svg.replace('>', f'><style>{_SVG_STYLE}</style>', 1)
    units = 72 * figure.get_figwidth()
    width, height = (round(_SVG_SCALE * 72 * side) for side in figure.get_size_inches())
    return _media('image', title, 'image/svg+xml', svg.encode(), alt, caption, width,
                  height, most=width, least=round(min(_SVG_LEAST * units, 640)),
                  full=round(max(1200, 2.6 * units)))


def image(title: str, data: bytes, alt: str, caption: str = '') -> Block:
    """A PNG, JPEG or WebP file that can be enlarged; arguments as for :func:`plot`.

    Raises:
        OSError: ``data`` is none.
    """
    with Image.open(io.BytesIO(data), formats=['PNG', 'JPEG', 'WEBP']) as opened:
        media_type, (width, height) = opened.get_format_mimetype(), opened.size
    is_wide = width > max(_WIDE * height, _WIDE_PIXELS)
    return _media('image', title, media_type, data, alt, caption, width, height,
                  most=max(2 * width, 320), least=560 * is_wide, full=max(width, 900))


def clip(title: str, data: bytes, alt: str, caption: str = '', *, poster: bytes
         ) -> Block:
    """An MP4 file (H.264) that can be played, and an image file to show before."""
    still = image('', poster, '')
    return _media('clip', title, 'video/mp4', data, alt, caption, still['width'],
                  still['height'], poster=still['uri'])


def gallery(items: Sequence[Block], title: str = '') -> Block:
    """Images and clips next to one another, as many as fit a line, in their order."""
    aspect = statistics.median([item['aspect'] for item in items] or [1])
    width = statistics.median([item['width'] for item in items] or [1])
    if aspect > _WIDE:
        shape = 'wide' if width > _WIDE_PIXELS else 'strip'
    else:
        # The controls of a clip need room.
        has_clips = any(item['kind'] == 'clip' for item in items)
        shape = 'tall' if aspect < .8 and not has_clips else 'even'
    return dict(kind='gallery', title=title, entries=items, shape=shape)
