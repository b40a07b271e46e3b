"""Queries beside the gallery entries that a model finds most alike.

    query     1         2         3         ...
    +----+    +----+    +----+    +----+
    |    |    |v   |    |x   |    |-   |      v right (green)   x wrong (red)
    |    |    |    |    |    |    |    |      - same person and camera as the query
    +----+    +----+    +----+    +----+        (grey): does not count, has no rank
    id        1  0.31   2  0.35   -  0.36
              id        id        id

Marks and words say the same as the colours.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from cosam_mm.evaluation.functional.ranked_lists import IGNORED, RIGHT, WRONG

from .canvas import Canvas, fit_image, fit_size, shorten, text_width
from .style import GREEN, GREY, INK, LINES, RED

__all__ = ['LEGEND', 'STATE_COLOURS', 'PanelEntry', 'RankPanel', 'describe_panel',
           'draw_rank_panels', 'panel_heading']

STATE_COLOURS = {RIGHT: GREEN, WRONG: RED, IGNORED: GREY}
_STATE_WORDS = {RIGHT: 'right', WRONG: 'wrong', IGNORED: 'not counted'}
LEGEND = {RIGHT: 'right: the same person in another camera',
          WRONG: 'wrong: another person',
          IGNORED: "not counted: the same person in the query's camera"}
_MARKS = {RIGHT: '✓', WRONG: '✗', IGNORED: '–'}  # noqa: RUF001

# Pixels.
_WIDTH, _BORDER, _BADGE = 116, 5, 22
_MARGIN, _GAP, _QUERY_GAP, _ROW_GAP = 16, 12, 34, 24
_TITLE, _HEADING, _LINE = 38, 28, 20
_FONT = 14


@dataclass(frozen=True)
class PanelEntry:
    """A gallery entry in the list of a query.

    Attributes:
        tracklet_id: Its name.
        camid: Its camera; negative if unknown.
        image: (H, W, 3) uint8, RGB; None where there is none to show.
        state: One of :mod:`cosam_mm.evaluation.functional.ranked_lists`'s.
        rank: From 1 up; 0 where it is ignored.
        distance: To the query.
    """
    tracklet_id: str
    camid: int
    image: Optional[np.ndarray]
    state: int
    rank: int
    distance: float


@dataclass(frozen=True)
class RankPanel:
    """A query and the beginning of its list.

    Attributes:
        title: What this query is among others: 'Worst 1 of 4'.
        tracklet_id: Its name.
        camid: Its camera; negative if unknown.
        images: Some of its frames, as of :class:`PanelEntry`.
        entries: Nearest first.
        average_precision: In [0, 1]; NaN where the gallery holds nothing right.
        first_rank: Rank of the nearest right entry; 0 where there is none.
        num_true: Right entries in the gallery.
    """
    title: str
    tracklet_id: str
    camid: int
    images: Sequence[Optional[np.ndarray]]
    entries: Sequence[PanelEntry]
    average_precision: float
    first_rank: int
    num_true: int


# -- words -------------------------------------------------------------------


def _distance(value: float) -> str:
    """Four digits.

    >>> _distance(3.97), _distance(1234.5)
    ('3.970', '1234')
    """
    return f'{value:#.4g}'.rstrip('.')


def _camera(camid: int) -> str:
    return f'camera {camid}' if camid >= 0 else 'camera unknown'


def panel_heading(panel: RankPanel) -> str:
    """One line: which query, and how it fared.

    >>> panel_heading(RankPanel('Worst 1 of 4', '0007C1', 1, [], [], .125, 8, 1))
    'Worst 1 of 4: query 0007C1, camera 1. AP 12.5 %, the right one at rank 8'
    """
    which = f'query {panel.tracklet_id}, {_camera(panel.camid)}'
    if panel.title:
        which = f'{panel.title}: {which}'
    if not panel.num_true:
        return f'{which}. Nothing right in the gallery, so no AP'
    first = ('the right one' if panel.num_true == 1
             else f'the first of {panel.num_true} right ones')
    return (f'{which}. AP {100 * panel.average_precision:.1f} %, {first} at rank '
            f'{panel.first_rank}')


def describe_panel(panel: RankPanel) -> str:
    """All that a panel shows, for those who do not see it."""
    entries = '; '.join(
        f'{f"rank {entry.rank}" if entry.rank else "no rank"} '
        f'{_STATE_WORDS[entry.state]}: {entry.tracklet_id}, {_camera(entry.camid)}, '
        f'distance {_distance(entry.distance)}' for entry in panel.entries)
    return f'{panel_heading(panel)}. {entries}.'


# -- drawing -----------------------------------------------------------------


def _picture_height(panels: Sequence[RankPanel]) -> int:
    """What most pictures need, within what a row can hold."""
    shapes = [image.shape for panel in panels
              for image in [*panel.images, *(entry.image for entry in panel.entries)]
              if image is not None]
    ratios = [shape[0] / shape[1] for shape in shapes] or [2.]
    ratio = float(np.clip(np.median(ratios), .6, 2.4))
    return round((_WIDTH - 2 * _BORDER) * ratio) + 2 * _BORDER


def _rgb(colour: str) -> np.ndarray:
    """(3,) uint8 of '#rrggbb'."""
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)


def _block(height: int, width: int, colour: str) -> np.ndarray:
    return np.tile(_rgb(colour), (height, width, 1))


def _draw_badge(canvas: Canvas, x: int, y: int, state: int) -> None:
    canvas.paste(_block(_BADGE, _BADGE, STATE_COLOURS[state]), x, y)
    middle = x + _BADGE // 2, y + _BADGE // 2
    canvas.text(*middle, _MARKS[state], 18, True, 'white', 'mm')


def _legend_places() -> list[int]:
    """Where each state's badge begins, and where the next one would."""
    steps = [_BADGE + 8 + text_width(words, _FONT) + _QUERY_GAP
             for words in LEGEND.values()]
    return [_MARGIN + sum(steps[:number]) for number in range(len(steps) + 1)]


def _draw_legend(canvas: Canvas, y: int) -> None:
    for x, (state, words) in zip(_legend_places(), LEGEND.items()):
        _draw_badge(canvas, x, y, state)
        canvas.text(x + _BADGE + 8, y + _BADGE // 2, words, _FONT, anchor='lm')


class _Row:
    """Cells of one size from left to right, each a framed picture and three lines."""

    def __init__(self, canvas: Canvas, top: int, height: int) -> None:
        self.canvas, self.top, self.height = canvas, top, height
        self.left = _MARGIN

    def skip(self, pixels: int) -> None:
        """Leave a gap before the next cell."""
        self.left += pixels

    def picture(self, image: Optional[np.ndarray], colour: str) -> None:
        """A picture in its own shape, framed; None says that there is none."""
        inside = self.height - 2 * _BORDER, _WIDTH - 2 * _BORDER
        self.canvas.paste(_block(self.height, _WIDTH, colour), self.left, self.top)
        self.canvas.paste(_block(*inside, LINES), self.left + _BORDER,
                          self.top + _BORDER)
        middle = self.left + _WIDTH // 2, self.top + self.height // 2
        if image is None:
            self.canvas.text(*middle, 'no image', 13, anchor='mm')
            return
        image = fit_image(image, fit_size(image.shape[:2], inside))
        height, width = image.shape[:2]
        self.canvas.paste(image, middle[0] - width // 2, middle[1] - height // 2)

    def mark(self, state: int) -> None:
        """A badge in the upper left corner of the cell's picture."""
        _draw_badge(self.canvas, self.left, self.top, state)

    def write(self, head: str, tracklet_id: str, camid: int, colour: str = INK,
              right: str = '') -> None:
        """The lines below the picture."""
        y = self.top + self.height + 6
        self.canvas.text(self.left, y, head, _FONT, True, colour)
        self.canvas.text(self.left + _WIDTH, y, right, _FONT, anchor='ra')
        for line in (shorten(tracklet_id, _WIDTH, _FONT), _camera(camid)):
            y += _LINE
            self.canvas.text(self.left, y, line, _FONT)

    def next(self) -> None:
        """Go on to the next cell."""
        self.left += _WIDTH + _GAP


def _draw_row(row: _Row, panel: RankPanel, num_frames: int) -> None:
    row.write('query', panel.tracklet_id, panel.camid)
    for image in panel.images:
        row.picture(image, INK)
        row.next()
    row.skip((num_frames - len(panel.images)) * (_WIDTH + _GAP) + _QUERY_GAP)
    for entry in panel.entries:
        colour = STATE_COLOURS[entry.state]
        row.picture(entry.image, colour)
        row.mark(entry.state)
        row.write(str(entry.rank or '-'), entry.tracklet_id, entry.camid, colour,
                  _distance(entry.distance))
        row.next()


def draw_rank_panels(panels: Sequence[RankPanel], title: str = '',
                     is_alone: bool = True) -> np.ndarray:
    """A row for each query: its frames, then its list.

    Args:
        panels: At least one.
        title: Above all rows.
        is_alone: Whether the picture must explain itself: with a heading for each row,
            and what colours and marks mean below the last.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: There is no panel.
    """
    if not panels:
        raise ValueError('There is no query to draw.')
    num_frames = max(len(panel.images) for panel in panels)
    num_entries = max(len(panel.entries) for panel in panels)
    width = (2 * _MARGIN - _GAP + _QUERY_GAP
             + (num_frames + num_entries) * (_WIDTH + _GAP))
    if is_alone:
        width = max(width, _legend_places()[-1])
    height = _picture_height(panels)
    heading, legend = (_HEADING, _BADGE + 2 * _MARGIN) if is_alone else (0, 0)
    step = heading + height + 6 + 3 * _LINE + _ROW_GAP
    top = _MARGIN + (_TITLE if title else 0)
    bottom = top + len(panels) * step - _ROW_GAP + _MARGIN // 2
    canvas = Canvas(bottom + legend, width)
    limit = width - 2 * _MARGIN
    canvas.text(_MARGIN, _MARGIN, shorten(title, limit, 20, True), 20, True)
    for panel in panels:
        if is_alone:
            canvas.text(_MARGIN, top, shorten(panel_heading(panel), limit, 15, True),
                        15, True)
        _draw_row(_Row(canvas, top + heading, height), panel, num_frames)
        top += step
    if is_alone:
        _draw_legend(canvas, bottom + _MARGIN // 2)
    return canvas.array()
