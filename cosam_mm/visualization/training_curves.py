"""Curves of training runs: losses, validation metrics, learning rate, time, memory.

:func:`training_curves` turns logs into panels, and :func:`plot_curves` plots them.
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cosam_mm.utils.messages import name_some

from .style import CYCLE, new_figure, plain_text, style
from .training_log import TrainingLog

__all__ = ['Curve', 'Panel', 'TrainingCurves', 'plot_curves', 'training_curves']

_NUM_METRICS = 3  # of one run in one panel
_DEFAULT_SPAN = 0.01  # of the longest run
_MAX_MARKED = 40  # curves of more points have no mark at each point
_BLOCK_SIZE = 2**22


class Curve(NamedTuple):
    """One line of a panel."""
    label: str  # in the legend, shown literally
    x: np.ndarray  # (N,), ascending
    y: np.ndarray  # (N,); the line is broken where a value is not finite
    smooth: Optional[np.ndarray] = None  # (N,); the raw curve stays behind it, faint
    colour: int = 0  # index; a run has the same one in all panels
    is_dashed: bool = False  # tells the second of two curves of one colour
    best: Optional[int] = None  # index of the point to mark


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""
    title: str  # what it shows, with the unit; '' for no title
    curves: Sequence[Curve]  # at least one
    is_share: bool = False  # whether to show fractions of 1 in per cent
    from_zero: bool = False  # whether the y axis begins at 0, so that heights compare


class TrainingCurves(NamedTuple):
    """Panels of one plot."""
    panels: tuple[Panel, ...]
    x_label: str  # 'epoch' or 'iteration'
    caption: str  # how to read the plot


# -- from logs to curves ---------------------------------------------------------


def training_curves(logs: Sequence[TrainingLog], keys: Optional[Sequence[str]] = None,
                    span: Optional[float] = None) -> TrainingCurves:
    """Panels of some training runs, each with the curves of all of them.

    Args:
        logs: At least one; their names differ.
        keys: One panel for each, of training or validation. Default: loss, main
            validation metrics, learning rate, time of an iteration and, where it is
            logged, memory.
        span: Reach of smoothing, in epochs, or in iterations where a run does not count
            epochs. 0: none. Default: 1 % of the longest run.

    Raises:
        ValueError: No log has a key, or the span is negative or not finite.
    """
    if span is not None and not 0 <= span < math.inf:
        raise ValueError(f'span must be finite and not negative, got {span!r}.')
    plot = _Curves(logs, span)
    panels = (_default_panels(plot) if keys is None
              else [_chosen_panel(plot, key) for key in keys])
    return TrainingCurves(tuple(panel for panel in panels if panel is not None),
                          'epoch' if plot.by_epoch else 'iteration', plot.caption)


class _Curves:
    """Makes curves of some runs that look alike in all panels."""

    def __init__(self, logs: Sequence[TrainingLog], span: Optional[float]) -> None:
        self.logs = logs
        self.by_epoch = all(log.by_epoch for log in logs)
        end = max(record.epoch if self.by_epoch else record.iteration
                  for log in logs for record in log.train)
        self.span = _DEFAULT_SPAN * end if span is None else span

    def curve(self, log: TrainingLog, key: str, label: str, colour: int,
              is_dashed: bool, smoothed: bool, with_best: bool) -> Curve:
        """The curve of one key of one run."""
        x, y = log.curve(key, self.by_epoch)
        smooth = _smooth(x, y, self.span) if smoothed and self.span else None
        best = log.best(key) if with_best else None
        if best is None:
            return Curve(label, x, y, smooth, colour, is_dashed)
        index = int(np.flatnonzero(y == best.value)[0])
        value = f'{100 * best.value:.1f} %' if _is_share(y) else f'{best.value:.3g}'
        return Curve(f'{label}: {value} at {x[index]:.0f}', x, y, smooth, colour,
                     is_dashed, index)

    def panel(self, title: str, keys: Sequence[str], is_metric: bool = False,
              from_zero: bool = False, smoothed: bool = True) -> Optional[Panel]:
        """A panel of those of the keys that are logged; None if none is.

        Colours tell the keys of a single run. Of several runs, colours tell the runs
        and dashes the keys.
        """
        is_single, curves = len(self.logs) == 1, []
        for run, log in enumerate(self.logs):
            own = [key for key in keys if key in log.keys]
            for number, key in enumerate(own):
                label = key if is_single else log.name
                if not is_single and len(keys) > 1:
                    label += f', {key}'
                curves.append(self.curve(
                    log, key, label, number if is_single else run,
                    is_dashed=not is_single and number > 0,
                    smoothed=smoothed and not is_metric, with_best=is_metric))
        if not curves:
            return None
        is_share = is_metric and all(_is_share(curve.y) for curve in curves)
        return Panel(title, curves, is_share, from_zero)

    @property
    def caption(self) -> str:
        """How to read lines and stars."""
        unit = 'epochs' if self.by_epoch else 'iterations'
        smoothing = ('Faint: as logged. Lines: mean of the neighbouring values, '
                     f'weighted exponentially over {self.span:.3g} {unit}. '
                     if self.span else '')
        return f'{smoothing}Stars: best validation.'


def _smooth(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    """(N,) at each point the mean of all, weighted by exp(-distance along x / span).

    Points on both sides count, so that the result does not lag behind. Values that are
    not finite have no weight and give NaN.
    """
    known = np.isfinite(y)
    smooth = np.full(len(y), np.nan)
    x, y = x[known], y[known]
    rows = max(_BLOCK_SIZE // max(len(x), 1), 1)
    weights = (np.exp(-np.abs(x[start:start + rows, None] - x) / span)
               for start in range(0, len(x), rows))
    smooth[known] = np.concatenate(
        [np.empty(0), *(weight @ y / weight.sum(1) for weight in weights)])
    return smooth


def _default_panels(plot: _Curves) -> list[Optional[Panel]]:
    """One panel for each kind of value; None for a kind that is not logged."""
    return [
        plot.panel('Training loss', _losses(plot.logs)),
        *(plot.panel(title, keys, is_metric=True)
          for title, keys in _metrics(plot.logs)),
        # It is set, not measured: there is no noise to smooth.
        plot.panel('Learning rate', ['lr'], smoothed=False),
        plot.panel('Time of an iteration, s', ['time', 'data_time'], from_zero=True),
        plot.panel('GPU memory, MB', ['memory'], from_zero=True, smoothed=False)]


def _losses(logs: Sequence[TrainingLog]) -> list[str]:
    """The loss; for a single run its parts, too."""
    if len(logs) > 1:
        return ['loss']
    log, = logs
    parts = [key for key in log.keys if key.startswith('loss')
             and any(key in record.values for record in log.train)]
    return _distinct(log, ['loss', *parts])


def _metrics(logs: Sequence[TrainingLog]) -> list[tuple[str, list[str]]]:
    """Titles and validation metrics: several of a single run, else the main one."""
    if len(logs) > 1:
        main = dict.fromkeys(log.metrics[0] for log in logs if log.metrics)
        return [(f'Validation: {key}', [key]) for key in main]
    log, = logs
    shares = [key for key in log.metrics if _is_share(log.curve(key, False)[1])]
    return [('Validation', _distinct(log, shares or log.metrics)[:_NUM_METRICS])]


def _chosen_panel(plot: _Curves, key: str) -> Panel:
    """The panel of a key that a user names."""
    is_metric = any(key in record.values for log in plot.logs for record in log.val) \
        and not any(key in record.values for log in plot.logs for record in log.train)
    panel = plot.panel(key, [key], is_metric)
    if panel is None:
        known = dict.fromkeys(key for log in plot.logs for key in log.keys)
        raise ValueError(f'No training run logs {key!r}; logged are '
                         f'{name_some(known, 20)}.')
    return panel


def _distinct(log: TrainingLog, keys: Sequence[str]) -> list[str]:
    """The keys, without those whose curve would cover that of an earlier one."""
    kept = {}
    for key in dict.fromkeys(keys):
        if key not in log.keys:
            continue
        values = log.curve(key, False)[1]
        if not any(len(values) == len(other) and np.allclose(
                values, other, equal_nan=True) for other in kept.values()):
            kept[key] = values
    return list(kept)


def _is_share(values: np.ndarray) -> bool:
    """Whether finite values are there, and all are fractions of 1."""
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool(((known >= 0) & (known <= 1)).all())


# -- from curves to a plot -------------------------------------------------------


def plot_curves(panels: Sequence[Panel], x_label: str, caption: str = '',
                columns: int = 2) -> Figure:
    """Plot panels in rows, all over the same range of x.

    Args:
        panels: At least one.
        x_label: 'epoch' or 'iteration'.
        caption: Shown below all panels.
        columns: Panels in a row.

    Raises:
        ValueError: There is no panel, as of a log without any value.
    """
    if not panels:
        raise ValueError('There is nothing to plot: the logs hold no values.')
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    end = max([1e-9, *(curve.x[-1] for panel in panels for curve in panel.curves
                       if len(curve.x))])
    with style():
        figure = new_figure(4.4 * columns, 2.75 * rows + (0.3 if caption else 0))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels):
            _plot_panel(axes, panel, x_label)
            axes.set_xlim(-0.015 * end, 1.025 * end)
        for axes in grid[len(panels):]:
            axes.remove()
        if caption:
            figure.supxlabel(plain_text(caption), fontsize=8, x=0.01, ha='left')
    return figure


def _plot_panel(axes: Axes, panel: Panel, x_label: str) -> None:
    """All curves of a panel, its axes and its legend."""
    for curve in panel.curves:
        _plot_curve(axes, curve)
    if panel.title:
        axes.set_title(plain_text(panel.title))
    axes.set_xlabel(plain_text(x_label))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    if panel.is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=' %'))
        axes.set_ylim(0, 1.03)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        # Matplotlib's own formatter puts powers of ten where the title belongs.
        axes.yaxis.set_major_formatter(lambda value, _: f'{value:g}')
        if panel.from_zero:
            axes.set_ylim(bottom=0)
    if len(panel.curves) > 1 or panel.curves[0].best is not None:
        axes.legend(loc='best', handlelength=1.6, labelspacing=0.3)


def _plot_curve(axes: Axes, curve: Curve) -> None:
    """A line, its smoothed form before it, and a star at its best point."""
    colour = CYCLE[curve.colour % len(CYCLE)]
    y = np.where(np.isfinite(curve.y), curve.y, np.nan)
    look = dict(color=colour, linestyle='--' if curve.is_dashed else '-',
                marker='o' if len(y) <= _MAX_MARKED else None, markersize=2.6)
    if curve.smooth is None:
        axes.plot(curve.x, y, label=plain_text(curve.label), **look)
    else:
        axes.plot(curve.x, y, color=colour, alpha=0.3, linewidth=0.9)
        axes.plot(curve.x, curve.smooth, label=plain_text(curve.label),
                  **dict(look, marker=None))
    if curve.best is not None:
        axes.plot(curve.x[curve.best], y[curve.best], marker='*', markersize=11,
                  color=colour, markeredgecolor='white', markeredgewidth=0.7, zorder=3)
