"""Figures of a classifier: what it takes for what, and what another does better.

Names of classes and clips come from files: they are shown as they are, never read as
mathematics, and shortened in the middle where they are long.
"""
import math
from collections.abc import Sequence
from typing import Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cosam_mm.evaluation.functional.confusion import ClassAccuracy, PairedOutcome

from .style import AMBER, BLUE, GREY, INK, LINES, RED, new_figure, plain_text, style

__all__ = ['accuracy_figure', 'cell_colours', 'class_gain_figure', 'confusion_figure',
           'four_fields_figure', 'shown_name']

_POINT = 1 / 72                     # inches
_CHARACTER = 0.56                   # mean width of a letter, in font sizes
_CELL_INCHES = (0.13, 0.75)         # of a confusion matrix: least and largest
_MATRIX_INCHES = 4.6                # what cells grow to fill
_ROOM_FOR_NUMBERS = 0.25            # inches of a cell
_PAGE_INCHES = 7.5
_ROWS_A_COLUMN = 60                 # of bars, before another column begins
_ROW_INCHES = 0.17
_NAME_LIMIT = 28


def shown_name(name: str, limit: int = _NAME_LIMIT) -> str:
    r"""A name as a figure shows it: one line, of at most ``limit`` characters.

    Example:
        >>> shown_name('a\nb'), shown_name('x$y$'), shown_name('abcdefghij', 7)
        ('a b', 'x\\$y\\$', 'abc…hij')
    """
    line = ''.join(letter if letter.isprintable() else ' ' for letter in str(name))
    if len(line) > limit:
        end = (limit - 1) // 2
        line = f'{line[:limit - 1 - end]}…{line[len(line) - end:]}'
    return plain_text(line)


def _width(texts: Sequence[str], size: float) -> float:
    """Inches that the longest text takes, about."""
    return max(map(len, texts), default=0) * _CHARACTER * size * _POINT


# -- confusion -------------------------------------------------------------------


def cell_colours(share: np.ndarray) -> np.ndarray:
    """Colours of a confusion matrix that let the page's background through.

    The diagonal is blue, all else red; the opacity is the root of the share, so that
    one clip of thirty still shows.

    Args:
        share: (K, K) in [0, 1], NaN where nothing is known.

    Returns:
        (K, K, 4) float64 in [0, 1], RGBA.
    """
    share = np.asarray(share, dtype=np.float64)
    colours = np.empty((*share.shape, 4))
    colours[..., :3] = to_rgb(RED)
    colours[np.eye(len(share), dtype=bool), :3] = to_rgb(BLUE)
    colours[..., 3] = np.sqrt(np.nan_to_num(share))
    return colours


def confusion_figure(matrix: np.ndarray, names: Sequence[str],
                     order: Optional[Sequence[int]] = None,
                     title: str = 'Confusion matrix') -> Figure:
    """What clips of each class (rows) are taken for (columns).

    Cells are shares of the row: of the clips of the true class. Percentages stand in
    them where there is room, up to about 18 classes.

    Args:
        matrix: (K, K) of ``confusion_matrix``.
        names: K names.
        order: The classes from the top and from the left, all or some of them.
            Default: all, as they are.
        title: Shown above it.

    Raises:
        ValueError: The names or the order do not fit the matrix.
    """
    matrix = np.asarray(matrix)
    order = np.arange(len(matrix)) if order is None else np.asarray(order)
    if len(names) != len(matrix):
        raise ValueError(f'{len(names)} names came with a matrix of {len(matrix)} '
                         'classes.')
    if not len(order) or not set(order.tolist()) <= set(range(len(matrix))):
        raise ValueError(f'order must hold classes in [0, {len(matrix)}), got '
                         f'{order.tolist()}.')
    count = len(order)
    total = matrix.sum(axis=1, keepdims=True)
    share = np.where(total, matrix / np.maximum(total, 1), np.nan)
    share = share[np.ix_(order, order)]
    cell = float(np.clip(_MATRIX_INCHES / count, *_CELL_INCHES))
    size = min(8.5, 0.75 * cell / _POINT)
    labels = [shown_name(names[k]) for k in order]
    side, room = count * cell, _width(labels, size)
    with style():
        figure = new_figure(max(side + room + 0.5, 4), side + room + 1.3)
        axes = figure.add_subplot()
        axes.imshow(cell_colours(share), interpolation='none', aspect='equal')
        axes.set_xticks(range(count), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(count), labels, fontsize=size)
        axes.tick_params(length=0, pad=2)
        axes.set(xlabel='predicted', ylabel='true')
        axes.set_title(title, pad=4)
        _separate_cells(axes, count)
        if cell >= _ROOM_FOR_NUMBERS:
            _write_shares(axes, share, min(8.5, 0.3 * cell / _POINT))
        _add_colour_key(axes, side)
    return figure


def _separate_cells(axes: Axes, count: int) -> None:
    """Lines between cells, as one path: an SVG of 101 classes stays small."""
    axes.grid(False)
    axes.spines[['right', 'top']].set_visible(True)
    edges = np.arange(1, count) - 0.5
    across = np.stack([edges, edges, np.full(count - 1, np.nan)], axis=1).ravel()
    along = np.tile([-0.5, count - 0.5, np.nan], count - 1)
    axes.plot(np.r_[across, along], np.r_[along, across], color=LINES, linewidth=0.4,
              scalex=False, scaley=False)


def _write_shares(axes: Axes, share: np.ndarray, size: float) -> None:
    for row, column in np.argwhere(np.nan_to_num(share) > 0):
        value = share[row, column]
        axes.text(column, row, f'{100 * value:.0f}' if value >= 0.005 else '<1',
                  ha='center', va='center', fontsize=size,
                  color='white' if value > 0.7 else INK)


def _add_colour_key(axes: Axes, side: float) -> None:
    """What the colours mean: two bars of percentages above the matrix."""
    width = min(1.6 / side, 1)
    key = axes.inset_axes([1 - width, 1 + 0.08 / side, width, 0.24 / side])
    colours = np.empty((2, 101, 4))
    colours[0, :, :3], colours[1, :, :3] = to_rgb(BLUE), to_rgb(RED)
    colours[..., 3] = np.sqrt(np.linspace(0, 1, 101))
    key.imshow(colours, extent=(0, 100, 1.5, -0.5), aspect='auto',
               interpolation='none')
    key.grid(False)
    key.spines[:].set_visible(False)
    key.set_yticks([0, 1], ['right', 'taken for another'], fontsize=7)
    key.set_xticks([0, 25, 50, 75, 100], ['0', '', '50', '', '100 %'], fontsize=7)
    key.tick_params(length=0, pad=2)
    key.xaxis.tick_top()


# -- class by class --------------------------------------------------------------


def _bar_axes(rows: int, titled: str) -> tuple[Figure, list[tuple[Axes, slice]]]:
    """A figure of a page's width, or wider, whose axes take turns in showing rows."""
    count = max(1, math.ceil(rows / _ROWS_A_COLUMN))
    each = math.ceil(rows / count)
    figure = new_figure(_PAGE_INCHES * max(1, count / 2),
                        max(each, 3) * _ROW_INCHES + 0.85)
    grid = figure.subplots(1, count, squeeze=False, sharex=True)[0]
    grid[0].set_title(titled)
    for axes in grid:
        axes.set_ylim(each - 0.4, -0.6)
        axes.grid(axis='y', visible=False)
        axes.tick_params(axis='y', length=0)
    return figure, [(axes, slice(k * each, min((k + 1) * each, rows)))
                    for k, axes in enumerate(grid)]


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    size = min(8.5, 0.72 * _ROW_INCHES / _POINT)
    limit = _NAME_LIMIT if axes.get_subplotspec().get_geometry()[1] == 1 else 20
    axes.set_yticks(range(len(names)), [shown_name(name, limit) for name in names],
                    fontsize=size)


def _write_beside(axes: Axes, row: int, text: str) -> None:
    """Write at the right end of a row, outside of the axes."""
    axes.text(1.015, row, text, transform=axes.get_yaxis_transform(), va='center',
              fontsize=7)


def accuracy_figure(accuracy: ClassAccuracy, names: Sequence[str],
                    title: str = 'Accuracy of each class') -> Figure:
    """Bars of the right clips of each class, the best class first.

    Equal classes keep their order. Classes without clips have no bar.

    Args:
        accuracy: Of K classes.
        names: K names.
        title: Shown above.
    """
    share = accuracy.share
    order = np.argsort(-share, kind='stable')
    order = order[~np.isnan(share[order])]
    with style():
        figure, parts = _bar_axes(len(order), title)
        for axes, part in parts:
            own = order[part]
            axes.barh(range(len(own)), share[own], height=0.72, color=BLUE)
            _name_rows(axes, [names[k] for k in own])
            for row, k in enumerate(own):
                _write_beside(axes, row, f'{accuracy.num_right[k]}/'
                              f'{accuracy.num_clips[k]}')
            axes.axvline(float(share[order].mean()), color=AMBER, linewidth=1.2)
            axes.set_xlim(0, 1)
            axes.set_xticks(np.linspace(0, 1, 5))
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_title(f'mean of the classes {share[order].mean():.1%}', loc='right',
                       color=AMBER, fontweight='normal', fontsize=8.5)
    return figure


# -- two models ------------------------------------------------------------------


def four_fields_figure(outcome: PairedOutcome, first: str, second: str,
                       title: str = 'Clip by clip') -> Figure:
    """How many clips both, either or neither of two models gets right.

    Args:
        outcome: Of the two models on the same clips.
        first: Name of the first model.
        second: Name of the second.
        title: Shown above.
    """
    fields = [[(outcome.both, GREY, 0.3, 'both right'),
               (outcome.only_first, AMBER, 0.55, 'only the first')],
              [(outcome.only_second, BLUE, 0.55, 'only the second'),
               (outcome.neither, GREY, 0.12, 'both wrong')]]
    total = sum(len(field[0]) for line in fields for field in line)
    with style():
        figure = new_figure(4.4, 3.1)
        axes = figure.add_subplot()
        for row, line in enumerate(fields):
            for column, (rows, colour, alpha, text) in enumerate(line):
                axes.add_patch(Rectangle((column + 0.02, row + 0.02), 0.96, 0.96,
                                         color=colour, alpha=alpha, linewidth=0))
                axes.text(column + 0.5, row + 0.42, f'{len(rows):,}', ha='center',
                          va='center', fontsize=17, fontweight='bold')
                axes.text(column + 0.5, row + 0.74,
                          f'{text} · {len(rows) / max(total, 1):.1%}', ha='center',
                          va='center', fontsize=8)
        axes.set(xlim=(0, 2), ylim=(2, 0), title=title)
        axes.set_xticks([0.5, 1.5], ['right', 'wrong'])
        axes.set_yticks([0.5, 1.5], ['right', 'wrong'], rotation=90, va='center')
        axes.set_xlabel(f'second: {shown_name(second, 48)}')
        axes.set_ylabel(f'first: {shown_name(first, 32)}')
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return figure


def class_gain_figure(gain: np.ndarray, num_clips: np.ndarray, names: Sequence[str],
                      title: str = 'Won and lost by the second model') -> Figure:
    """Bars of the clips of each class that the second of two models wins and loses.

    The class that gains most comes first; equals keep their order. Beside each
    stands the difference in percentage points of the class. Classes in which nothing
    changes are left out.

    Args:
        gain: (2, K), clips won and clips lost.
        num_clips: (K,) clips of each class.
        names: K names.
        title: Shown above.
    """
    gain, num_clips = np.asarray(gain), np.asarray(num_clips)
    points = 100 * (gain[0] - gain[1]) / np.maximum(num_clips, 1)
    order = np.argsort(-points, kind='stable')
    order = order[gain.sum(axis=0)[order] > 0]
    reach = max(gain.max(initial=0), 1)
    with style():
        figure, parts = _bar_axes(max(len(order), 1), title)
        for axes, part in parts:
            own = order[part]
            axes.barh(range(len(own)), gain[0, own], height=0.72, color=BLUE)
            axes.barh(range(len(own)), -gain[1, own], height=0.72, color=AMBER)
            _name_rows(axes, [names[k] for k in own])
            for row, k in enumerate(own):
                text = f'{points[k]:+.1f}' if points[k] else '0'
                _write_beside(axes, row, text.replace('-', '\N{MINUS SIGN}'))
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_xlim(-1.05 * reach, 1.05 * reach)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.xaxis.set_major_formatter(lambda value, _: f'{abs(value):.0f}')
            axes.set_xlabel('← clips lost · clips won →')
        parts[-1][0].set_title('percentage points', loc='right', fontsize=8,
                               fontweight='normal')
        if not len(order):
            axes.set_yticks([])
            axes.text(0.5, 0.5, 'In no class does anything change.', ha='center',
                      va='center', transform=axes.transAxes)
    return figure
