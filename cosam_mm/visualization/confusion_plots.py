"""Plots of an action recognition test: confusion, class accuracy, two models compared.

Names of classes and clips come from files. They are shown literally, never read as
mathematics, and shortened in the middle if they are long.
"""
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cosam_mm.evaluation.functional.confusion import (
    ClassAccuracy,
    PairedOutcome,
    confused_order,
    most_confused_classes,
)

from .action_results import ActionComparison, ActionResults
from .style import AMBER, BLUE, GREY, INK, LINES, RED, new_figure, plain_text, style

__all__ = ['Plot', 'comparison_plots', 'result_plots', 'shown_name']

_POINT = 1 / 72                     # inches
_CHARACTER = 0.56                   # mean width of a letter, in font sizes
_CELL_INCHES = (0.13, 0.75)         # least and largest cell of a confusion matrix
_MATRIX_INCHES = 4.6                # what cells grow to fill
_CELL_WITH_NUMBER = 0.25            # inches
_PAGE_INCHES = 7.5
_ROWS_PER_COLUMN = 60               # of bars
_ROW_INCHES = 0.17
_NAME_LIMIT = 28
_MAX_CLASSES = 120                  # of a matrix that is still legible
_MIN_GROUPED = 12                   # from here on, order by likeness helps


class Plot(NamedTuple):
    """A plot with its words."""
    key: str      # file name without suffix
    title: str
    figure: Figure
    alt: str      # what it shows
    caption: str  # how to read it


def result_plots(results: ActionResults, names: Sequence[str],
                 titled: bool = True) -> list[Plot]:
    """Confusion matrix, the same grouped if there are many classes, class accuracy.

    Args:
        results: Of a test.
        names: Of its classes.
        titled: Whether the plots contain their titles.
    """
    matrix, count = results.matrix, results.num_classes
    shown = np.arange(count) if count <= _MAX_CLASSES \
        else most_confused_classes(matrix, _MAX_CLASSES)
    caption = ('Rows are the true classes, columns what their clips are taken for; '
               'each row sums to 100 %.')
    if len(shown) < count:
        caption += (f' Of the {count} classes the {len(shown)} with most mistakes are '
                    'shown.')
    alt = (f'Confusion matrix of {len(shown)} classes; {results.is_right.mean():.1%} '
           'of all clips are right')
    orders = [('confusion', 'Confusion matrix', shown, caption)]
    if len(shown) >= _MIN_GROUPED:
        orders.append((
            'confusion_grouped', 'Confusion matrix, confused classes side by side',
            shown[confused_order(matrix[np.ix_(shown, shown)])],
            f'{caption} Classes that are taken for one another stand next to one '
            'another: squares along the diagonal are groups of them.'))
    plots = [Plot(key, title, _plot_confusion(matrix, names, order, title * titled),
                  alt, caption) for key, title, order, caption in orders]
    title, accuracy = 'Accuracy of each class', results.class_accuracy
    plots.append(Plot(
        'class_accuracy', title, _plot_class_accuracy(accuracy, names, title * titled),
        f'Bars of the accuracy of {int((accuracy.num_clips > 0).sum())} classes',
        'The best class first; right clips of all clips beside each bar.'))
    return plots


def comparison_plots(comparison: ActionComparison, names: Sequence[str], first: str,
                     second: str, titled: bool = True) -> list[Plot]:
    """Clips that both, either or neither model gets right; gain of each class.

    Args:
        comparison: Of two results.
        names: Of their classes.
        first, second: Names of the models.
        titled: Whether the plots contain their titles.
    """
    outcome = comparison.outcome
    title = 'Clip by clip'
    fields = Plot(
        'comparison', title, _plot_outcome(outcome, first, second, title * titled),
        f'{len(outcome.both)} clips both right, {len(outcome.only_first)} only the '
        f'first, {len(outcome.only_second)} only the second, {len(outcome.neither)} '
        'both wrong',
        f'{comparison.describe_p_value()} The first is {first}, the second {second}.')
    title = 'Clips of each class won and lost by the second model'
    gain = Plot(
        'class_gain', title, _plot_class_gain(
            comparison.class_gain, comparison.first.class_accuracy.num_clips, names,
            title * titled),
        'Bars of clips won and lost, class by class',
        'Won: only the second model gets them right. Lost: only the first does. '
        'Beside the bars: the difference of the accuracies in percentage points. '
        'Classes without a difference are left out.')
    return [fields, gain]


def shown_name(name: str, limit: int = _NAME_LIMIT) -> str:
    r"""A name as a plot shows it: one line of at most ``limit`` characters.

    >>> shown_name('a\nb'), shown_name('x$y$'), shown_name('abcdefghij', 7)
    ('a b', 'x\\$y\\$', 'abc…hij')
    """
    line = ''.join(letter if letter.isprintable() else ' ' for letter in str(name))
    if len(line) > limit:
        end = (limit - 1) // 2
        line = f'{line[:limit - 1 - end]}…{line[len(line) - end:]}'
    return plain_text(line)


# -- confusion -------------------------------------------------------------------


def _plot_confusion(matrix: np.ndarray, names: Sequence[str], order: np.ndarray,
                    title: str) -> Figure:
    """What the clips of each class (rows) are taken for (columns), as shares of rows.

    The diagonal is blue, all else red. The opacity is the root of the share, so that
    one clip in thirty still shows. Up to about 18 classes, cells contain percentages.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    share = share[np.ix_(order, order)]
    count = len(order)
    cell = float(np.clip(_MATRIX_INCHES / count, *_CELL_INCHES))
    size = min(8.5, 0.75 * cell / _POINT)
    labels = [shown_name(names[k]) for k in order]
    side = count * cell
    room = max(map(len, labels)) * _CHARACTER * size * _POINT
    with style():
        figure = new_figure(max(side + room + 0.5, 4), side + room + 1.3)
        axes = figure.add_subplot()
        axes.imshow(_colours(share, np.eye(count, dtype=bool)), interpolation='none',
                    aspect='equal')
        axes.set_xticks(range(count), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(count), labels, fontsize=size)
        axes.tick_params(length=0, pad=2)
        axes.grid(False)
        for draw in (axes.hlines, axes.vlines):  # between the cells
            draw(np.arange(1, count) - 0.5, -0.5, count - 0.5, LINES, linewidth=0.4)
        axes.spines[['right', 'top']].set_visible(True)
        axes.set(xlabel='predicted', ylabel='true')
        axes.set_title(title, pad=4)
        for row, column in np.argwhere(share > 0) if cell >= _CELL_WITH_NUMBER else ():
            value = share[row, column]
            axes.text(column, row, f'{100 * value:.0f}' if value >= 0.005 else '<1',
                      ha='center', va='center', fontsize=min(8.5, 0.3 * cell / _POINT),
                      color='white' if value > 0.7 else INK)
        _add_colour_key(axes, side)
    return figure


def _colours(share: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """(..., 4) RGBA, which let the page's background through."""
    colours = np.empty((*share.shape, 4))
    colours[..., :3] = np.where(is_right[..., None], to_rgb(BLUE), to_rgb(RED))
    colours[..., 3] = np.sqrt(share)
    return colours


def _add_colour_key(axes: Axes, side: float) -> None:
    """Two bars of percentages above the matrix, which explain the colours."""
    width = min(1.6 / side, 1)
    key = axes.inset_axes([1 - width, 1 + 0.08 / side, width, 0.24 / side])
    share = np.tile(np.linspace(0, 1, 101), (2, 1))
    key.imshow(_colours(share, np.array([[True], [False]])), aspect='auto',
               extent=(0, 100, 1.5, -0.5), interpolation='none')
    key.grid(False)
    key.spines[:].set_visible(False)
    key.set_yticks([0, 1], ['right', 'taken for another'], fontsize=7)
    key.set_xticks([0, 25, 50, 75, 100], ['0', '', '50', '', '100 %'], fontsize=7)
    key.tick_params(length=0, pad=2)
    key.xaxis.tick_top()


# -- class by class --------------------------------------------------------------


def _plot_class_accuracy(accuracy: ClassAccuracy, names: Sequence[str],
                         title: str) -> Figure:
    """Bars of the classes that have clips, the best first; equals keep their order."""
    share = accuracy.share
    order = np.argsort(-share, kind='stable')
    order = order[~np.isnan(share[order])]
    mean = float(share[order].mean())
    with style():
        figure = _plot_bars(
            [names[k] for k in order], [(share[order], BLUE)],
            [f'{accuracy.num_right[k]}/{accuracy.num_clips[k]}' for k in order], title,
            (0, 1), dict(x=mean, color=AMBER, linewidth=1.2))
        figure.axes[0].set_xticks(np.linspace(0, 1, 5))
        figure.axes[0].xaxis.set_major_formatter(PercentFormatter(1))
        figure.axes[-1].set_title(f'mean of the classes {mean:.1%}', loc='right',
                                  color=AMBER, fontweight='normal', fontsize=8.5)
    return figure


def _plot_bars(names: Sequence[str], bars: Sequence[tuple[np.ndarray, str]],
               beside: Sequence[str], title: str, limits: tuple[float, float],
               line: dict) -> Figure:
    """A named row of bars for each class, in columns of axes if there are many.

    Args:
        names: Of the rows.
        bars: Lengths, one for each row, and their colour.
        beside: What to write at the right of each row.
        title: Of the plot.
        limits: Of the lengths.
        line: Position and look of a vertical line.
    """
    rows = max(len(names), 1)
    count = math.ceil(rows / _ROWS_PER_COLUMN)
    each = math.ceil(rows / count)
    figure = new_figure(_PAGE_INCHES * max(1, count / 2),
                        max(each, 3) * _ROW_INCHES + 0.85)
    grid = figure.subplots(1, count, squeeze=False, sharex=True)[0]
    grid[0].set(title=title, xlim=limits)
    for number, axes in enumerate(grid):
        part = slice(number * each, (number + 1) * each)
        labels = [shown_name(name, _NAME_LIMIT if count == 1 else 20)
                  for name in names[part]]
        axes.set_yticks(range(len(labels)), labels,
                        fontsize=min(8.5, 0.72 * _ROW_INCHES / _POINT))
        axes.set_ylim(each - 0.4, -0.6)
        axes.grid(axis='y', visible=False)
        axes.tick_params(axis='y', length=0)
        axes.axvline(**line)
        for lengths, colour in bars:
            axes.barh(range(len(labels)), lengths[part], height=0.72, color=colour)
        for row, text in enumerate(beside[part]):
            axes.text(1.015, row, text, transform=axes.get_yaxis_transform(),
                      va='center', fontsize=7)
    return figure


# -- two models ------------------------------------------------------------------


def _plot_outcome(outcome: PairedOutcome, first: str, second: str,
                  title: str) -> Figure:
    """How many clips both, either or neither of two models gets right."""
    total = sum(map(len, outcome))
    fields = ((GREY, 0.3, 'both right'), (AMBER, 0.55, 'only the first'),
              (BLUE, 0.55, 'only the second'), (GREY, 0.12, 'both wrong'))
    with style():
        figure = new_figure(4.4, 3.1)
        axes = figure.add_subplot()
        for number, (rows, (colour, alpha, text)) in enumerate(zip(outcome, fields)):
            y, x = divmod(number, 2)
            axes.add_patch(Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, color=colour,
                                     alpha=alpha, linewidth=0))
            axes.text(x + 0.5, y + 0.42, f'{len(rows):,}', ha='center', va='center',
                      fontsize=17, fontweight='bold')
            axes.text(x + 0.5, y + 0.74, f'{text} · {len(rows) / max(total, 1):.1%}',
                      ha='center', va='center', fontsize=8)
        axes.set(xlim=(0, 2), ylim=(2, 0), title=title)
        axes.set_xticks([0.5, 1.5], ['right', 'wrong'])
        axes.set_yticks([0.5, 1.5], ['right', 'wrong'], rotation=90, va='center')
        axes.set_xlabel(f'second: {shown_name(second, 48)}')
        axes.set_ylabel(f'first: {shown_name(first, 32)}')
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return figure


def _plot_class_gain(gain: np.ndarray, num_clips: np.ndarray, names: Sequence[str],
                     title: str) -> Figure:
    """Bars of the clips that the second model wins and loses in each class.

    The class that gains most comes first; equals keep their order.
    """
    points = 100 * (gain[0] - gain[1]) / np.maximum(num_clips, 1)
    order = np.argsort(-points, kind='stable')
    order = order[gain.sum(axis=0)[order] > 0]
    reach = max(gain.max(initial=0), 1)
    beside = [f'{points[k]:+.1f}' if points[k] else '0' for k in order]
    with style():
        figure = _plot_bars(
            [names[k] for k in order],
            [(gain[0, order], BLUE), (-gain[1, order], AMBER)],
            [text.replace('-', '\N{MINUS SIGN}') for text in beside], title,
            (-1.05 * reach, 1.05 * reach), dict(x=0, color=INK, linewidth=0.8))
        for axes in figure.axes:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.xaxis.set_major_formatter(lambda value, _: f'{abs(value):.0f}')
            axes.set_xlabel('← clips lost · clips won →')
        axes.set_title('percentage points', loc='right', fontsize=8,
                       fontweight='normal')
        if not len(order):
            axes.text(0.5, 0.5, 'In no class does anything change.', ha='center',
                      va='center', transform=axes.transAxes)
    return figure
