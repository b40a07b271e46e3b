"""A report as one HTML file that needs nothing but a browser.

The page may load nothing: its Content-Security-Policy forbids every request, and every
script and style sheet but its own, which it names by their hashes. What others wrote,
from the title down to the last cell, goes through Jinja2's escaping, and none of it
into the script, which is the same in every report.
"""
import base64
import hashlib
import itertools
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from .content import (
    Block,
    Cell,
    Clip,
    Code,
    Facts,
    Gallery,
    Missing,
    Picture,
    Report,
    Table,
    Text,
)
from .media import image_of, video_uri
from .svg import inline_svg

__all__ = ['Part', 'part_sizes', 'render_page']

_HERE = Path(__file__).parent
_KEY = re.compile(r'[A-Za-z0-9][A-Za-z0-9-]*')
# Pixels of the screen for a unit of a figure, whose 7.5 inches (540 units) fill the
# column.
_SVG_SCALE = 1.6
# A figure does not shrink below this many pixels a unit, or its text cannot be read.
_SVG_LEAST = 0.95
# Wider than high by that, pictures need a line of their own, or half of it where they
# have few pixels.
_WIDE, _WIDE_PIXELS = 2.2, 800
# Shorter tables are taken in at a glance.
_ROWS_TO_FILTER = 8
# Longer texts may be broken to fit.
_LONG = 40
_LONG_FACT = 30
# As in page.css.
_ROWS_TO_PRINT = 60


class Part(NamedTuple):
    """What takes up room in a report.

    Attributes:
        title: Of a picture, a clip or a table.
        size: Bytes in the page, about.
    """
    title: str
    size: int


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined)


def render_page(report: Report) -> str:
    """The report as an HTML document, to be written in UTF-8 as it is.

    Raises:
        ValueError: Two sections have the same key, or one that is no anchor; a picture
            or a clip is of no kind that a page can show.
    """
    _check_keys([section.key for section in report.sections])
    numbers = itertools.count(1)
    sections = [
        dict(key=section.key, title=section.title, lead=section.lead,
             blocks=[_view(block, numbers) for block in section.blocks])
        for section in report.sections]
    # What a browser hashes is what stands between the tags, to the last line break.
    style, script = ((_HERE / name).read_text(encoding='utf-8')
                     for name in ('page.css', 'page.js'))
    return _environment().get_template('page.html.j2').render(
        report=report, sections=sections, style=Markup(style), script=Markup(script),
        style_hash=_hash(style), script_hash=_hash(script))


def _check_keys(keys: Sequence[str]) -> None:
    for number, key in enumerate(keys):
        if not _KEY.fullmatch(key) or key.startswith('page-'):
            raise ValueError(f'The key of a section must be of letters, digits and '
                             f"hyphens, and not begin with 'page-', got {key!r}.")
        if key in keys[:number]:
            raise ValueError(f'Two sections have the key {key!r}.')


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b64encode(digest).decode('ascii')


# -- blocks --------------------------------------------------------------------------


def _view(block: Block, numbers: Iterator[int]) -> dict[str, Any]:
    """What the template needs of a block, ready to be put in place."""
    if isinstance(block, (Text, Code, Missing)):
        return dict(kind=type(block).__name__.lower(), block=block)
    if isinstance(block, Facts):
        return dict(kind='facts', rows=[_fact(name, cell) for name, cell in block.rows])
    if isinstance(block, Table):
        return _table_view(block, next(numbers))
    if isinstance(block, Gallery):
        items = [_view(item, numbers) for item in block.items]
        return dict(kind='gallery', title=block.title, items=items,
                    shape=_gallery_shape(items))
    if isinstance(block, Picture):
        return _picture_view(block, next(numbers))
    if isinstance(block, Clip):
        poster = None if block.poster is None else image_of(block.poster, block.title)
        return dict(kind='clip', block=block, poster=poster,
                    uri=video_uri(block.data, block.title),
                    aspect=poster.width / poster.height if poster else 1.5,
                    width=poster.width if poster else 0)
    raise TypeError(f'A report has no blocks of type {type(block).__name__}.')


def _fact(name: str, cell: Cell) -> tuple[str, str, bool]:
    """Name, value, and whether they need a line of their own."""
    shown = Table('', (), ()).show(cell)
    return name, shown, max(map(len, shown.split('\n'))) > _LONG_FACT


def _picture_view(picture: Picture, number: int) -> dict[str, Any]:
    view = dict(kind='picture', block=picture, number=number, svg=None, image=None)
    if isinstance(picture.data, str):
        drawing = inline_svg(picture.data, f'f{number}-', picture.alt)
        view.update(
            svg=Markup(drawing.markup), aspect=drawing.width / drawing.height,
            width=_SVG_SCALE * drawing.width, most=round(_SVG_SCALE * drawing.width),
            least=round(min(_SVG_LEAST * drawing.width, 640)))
    else:
        image = image_of(picture.data, picture.title)
        aspect = image.width / image.height
        view.update(image=image, aspect=aspect, width=image.width,
                    most=max(2 * image.width, 320),
                    least=560 if _needs_line(aspect, image.width) else 0)
    return view


def _gallery_shape(items: Sequence[dict]) -> str:
    """How wide the columns of a gallery are, from the shape of what is in it."""
    aspect = statistics.median([item['aspect'] for item in items] or [1])
    if aspect > _WIDE:
        width = statistics.median([item['width'] for item in items])
        return 'wide' if _needs_line(aspect, width) else 'strip'
    # The controls of a clip need room.
    has_clips = any(item['kind'] == 'clip' for item in items)
    return 'tall' if aspect < .8 and not has_clips else 'even'


def _needs_line(aspect: float, width: float) -> bool:
    return aspect > _WIDE and width > _WIDE_PIXELS


def _table_view(table: Table, number: int) -> dict[str, Any]:
    columns = list(zip(*table.rows)) or [()] * len(table.columns)
    return dict(
        kind='table', block=table, number=number, count=len(table.rows),
        has_filter=len(table.rows) >= _ROWS_TO_FILTER,
        printed=min(_ROWS_TO_PRINT, len(table.rows)),
        columns=[(name, _is_numeric(cells))
                 for name, cells in zip(table.columns, columns)],
        rows=Markup('\n').join(_row(table, row) for row in table.rows))


def _is_number(cell: Cell) -> bool:
    # Those of numpy, too.
    return isinstance(cell, Real) and not isinstance(cell, bool)


def _is_numeric(cells: Sequence[Cell]) -> bool:
    given = [cell for cell in cells if cell is not None]
    return bool(given) and all(_is_number(cell) for cell in given)


def _row(table: Table, row: Sequence[Cell]) -> Markup:
    # By hand and not in the template: a page may have a hundred thousand cells.
    return Markup('<tr>') + Markup('').join(
        _cell(table.show(cell), cell) for cell in row) + Markup('</tr>')


def _cell(shown: str, cell: Cell) -> Markup:
    if _is_number(cell):
        return Markup('<td data-v="{}">{}</td>').format(_for_script(cell), shown)
    if cell is None:
        return Markup('<td data-v="">{}</td>').format(shown)
    kind = Markup(' class="long"') if len(shown) > _LONG else ''
    return Markup('<td{}>{}</td>').format(kind, shown)


def _for_script(number: Real) -> str:
    """A number as JavaScript reads it."""
    if math.isinf(number):
        return 'Infinity' if number > 0 else '-Infinity'
    return 'NaN' if math.isnan(number) else repr(float(number))


# -- sizes ---------------------------------------------------------------------------


def part_sizes(report: Report) -> list[Part]:
    """Pictures, clips and tables with the room they take up, the biggest first."""
    found = [_part(block) for section in report.sections
             for block in _flat(section.blocks)]
    return sorted((part for part in found if part.size), key=lambda part: -part.size)


def _flat(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, Gallery):
            yield from block.items
        else:
            yield block


def _part(block: Block) -> Part:
    if isinstance(block, Picture):
        return Part(block.title, len(block.data.encode())
                    if isinstance(block.data, str) else _encoded(block.data))
    if isinstance(block, Clip):
        return Part(block.title, _encoded(block.data) + _encoded(block.poster or b''))
    if isinstance(block, Table):
        return Part(block.title, sum(len(_row(block, row).encode())
                                     for row in block.rows))
    return Part('', 0)


def _encoded(data: bytes) -> int:
    """Bytes of base64."""
    return 4 * math.ceil(len(data) / 3)
