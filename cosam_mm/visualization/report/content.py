"""What a report is made of, apart from how it looks.

A report has sections, a section blocks. Text in them is text: whatever stands in the
name of a class or a file, none of it is markup.
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional, Union

__all__ = ['Block', 'Cell', 'Clip', 'Code', 'Facts', 'Gallery', 'Missing', 'Picture',
           'Report', 'Section', 'Table', 'Text']

Cell = Union[str, int, float, None]


@dataclass(frozen=True)
class Text:
    """One paragraph."""
    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be copied as they are, such as commands.

    Attributes:
        title: Shown above them.
        text: The lines.
    """
    title: str
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and values, as in a summary.

    Attributes:
        rows: (name, value) in order.
    """
    rows: Sequence[tuple[str, Cell]]


@dataclass(frozen=True)
class Picture:
    """A figure that can be enlarged.

    Attributes:
        title: Shown above it.
        data: An ``<svg>`` element of :func:`~cosam_mm.visualization.style.figure_svg`
            (str), or the bytes of a PNG, JPEG or WebP file.
        alt: What it shows, for those who do not see it.
        caption: Shown below it.
    """
    title: str
    data: Union[str, bytes]
    alt: str
    caption: str = ''


@dataclass(frozen=True)
class Clip:
    """A short video that can be played.

    Attributes:
        title: Shown above it.
        data: Bytes of an MP4 file (H.264).
        alt: What it shows.
        caption: Shown below it.
        poster: Bytes of an image to show before it plays.
    """
    title: str
    data: bytes
    alt: str
    caption: str = ''
    poster: Optional[bytes] = None


@dataclass(frozen=True)
class Gallery:
    """Pictures and clips next to one another, as many as fit a line.

    Attributes:
        items: Their order is kept.
        title: Shown above them.
    """
    items: Sequence[Union[Picture, Clip]]
    title: str = ''


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by any column and filtered by words.

    Attributes:
        title: Shown above it.
        columns: Names of the columns.
        rows: As many cells each; numbers are sorted as numbers, None is shown as a
            dash and sorted last.
        caption: Shown below it.
        digits: Of numbers that are not whole.

    Raises:
        ValueError: A row has more or fewer cells than there are columns.
    """
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ''
    digits: int = 3

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f'Table {self.title!r} has the columns '
                                 f'{tuple(self.columns)}, but a row {tuple(row)}.')

    def show(self, cell: Cell) -> str:
        """A cell as it is read.

        >>> table = Table('t', ['a'], [[0.5]])
        >>> [table.show(cell) for cell in (0.5, 3, 'x', float('nan'))]
        ['0.500', '3', 'x', 'nan']
        """
        if cell is None:
            return '\N{EN DASH}'
        if isinstance(cell, float) and math.isfinite(cell):
            return f'{cell:.{self.digits}f}'
        return str(cell)


@dataclass(frozen=True)
class Missing:
    """Something that could have been shown and cannot.

    Attributes:
        what: 'the rank panels'.
        why: 'runs/x/features.npz is not a feature file: ...'.
        how: How to get it next time: a command, or ''.
    """
    what: str
    why: str
    how: str = ''


Block = Union[Text, Code, Facts, Picture, Clip, Gallery, Table, Missing]


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        key: Its anchor: letters, digits and hyphens.
        title: Its heading, also in the navigation.
        lead: A sentence that says what is to be seen.
        blocks: In order.
    """
    key: str
    title: str
    lead: str = ''
    blocks: Sequence[Block] = field(default_factory=tuple)


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: What was trained.
        subtitle: On what, and when.
        headline: (name, value) of the few figures that are shown large.
        sections: In order.
    """
    title: str
    subtitle: str
    headline: Sequence[tuple[str, str]]
    sections: Sequence[Section]
