"""How accuracy falls as a task gets harder, for several models.

Each panel makes one thing harder, level by level, and leaves the others alone. All
share the axis of accuracy, and a model has the same colour in each.
"""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cosam_mm.visualization.style import CYCLE, new_figure, plain_text, style

__all__ = ['DifficultyPanel', 'draw_difficulty']

_MARKERS = 'osD^vPX'
# Lines stand beside one another by this share of the axis, so that no bar hides one.
_STEP = 0.015


@dataclass(frozen=True)
class DifficultyPanel:
    """One thing that is made harder.

    Attributes:
        title: What it is: 'clutter'.
        levels: (L,) finite, ascending: how hard.
        values: (S, L) accuracies by name of the model, in per cent: a line for each of
            S seeds. NaN where there was no run; models may have other S.

    Raises:
        ValueError: Levels do not ascend, or values do not fit them.
    """
    title: str
    levels: Sequence[float]
    values: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        levels = np.asarray(self.levels, dtype=float)
        if (levels.ndim != 1 or not len(levels) or not np.isfinite(levels).all()
                or not (np.diff(levels) > 0).all()):
            raise ValueError(f'Panel {self.title!r}: levels must be finite and ascend, '
                             f'got {levels.tolist()}.')
        for label, values in self.values.items():
            shape = np.shape(values)
            if len(shape) != 2 or shape[1] != len(levels) or not shape[0]:
                raise ValueError(
                    f'Panel {self.title!r}: values of {label!r} must be (S, '
                    f'{len(levels)}), one for each seed and level, got {shape}.')


def draw_difficulty(panels: Sequence[DifficultyPanel], metric: str, caption: str = '',
                    columns: int = 2) -> Figure:
    """Mean accuracy against the level, with bars of the seeds' standard deviation.

    Args:
        panels: At least one, each with a model.
        metric: What the accuracy is: 'mAP'.
        caption: Below them all.
        columns: Panels in a row.

    Returns:
        To be written by :func:`~cosam_mm.visualization.curves.save_figure`. The same
        values give the same file.

    Raises:
        ValueError: There is no panel, or one without a model.
    """
    if not panels or not all(panel.values for panel in panels):
        raise ValueError('There is nothing to draw: each of the panels needs a model, '
                         f'got {[list(panel.values) for panel in panels]}.')
    labels = list(dict.fromkeys(label for panel in panels for label in panel.values))
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    with style():
        figure = new_figure(3.75 * columns, 2.6 * rows + (0.3 if caption else 0))
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, panel in zip(grid.ravel(), panels):
            _draw_panel(axes, panel, labels)
        for axes in grid.ravel()[len(panels):]:
            axes.remove()
        for axes in grid[:, 0]:
            axes.set_ylabel(plain_text(f'{metric} (%)'))
        _add_legend(grid.ravel()[:len(panels)], labels)
        if caption:
            figure.supxlabel(plain_text(caption), fontsize=8, x=0.01, ha='left')
    return figure


def _draw_panel(axes: Axes, panel: DifficultyPanel, labels: Sequence[str]) -> None:
    levels = np.asarray(panel.levels, dtype=float)
    width = np.ptp(levels) or 1.
    for label, values in panel.values.items():
        number = labels.index(label)
        mean, deviation = _mean_and_deviation(np.asarray(values, dtype=float))
        shift = (number - (len(labels) - 1) / 2) * _STEP * width
        axes.errorbar(
            levels + shift, mean, deviation, label=plain_text(label), capsize=2.5,
            color=CYCLE[number % len(CYCLE)], marker=_MARKERS[number % len(_MARKERS)],
            markersize=4, elinewidth=1)
    axes.set_title(plain_text(panel.title))
    axes.set_xlabel('level')
    axes.set_xticks(levels, [f'{level:g}' for level in levels])
    axes.set_xlim(levels[0] - 0.08 * width, levels[-1] + 0.08 * width)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _mean_and_deviation(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L,) over the seeds that were run; a deviation of one seed is NaN: no bar."""
    mean, deviation = np.full((2, values.shape[1]), np.nan)
    for level, column in enumerate(values.T):
        run = column[np.isfinite(column)]
        if len(run):
            mean[level] = run.mean()
        if len(run) > 1:
            deviation[level] = run.std(ddof=1)
    return mean, deviation


def _add_legend(panels: Sequence[Axes], labels: Sequence[str]) -> None:
    """In the first panel, of the models of all."""
    handles = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    shown = [plain_text(label) for label in labels]
    panels[0].legend([handles[label] for label in shown], shown, loc='best',
                     handlelength=1.6, labelspacing=0.3)
