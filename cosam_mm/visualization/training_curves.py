"""Curves of training runs: losses, validation metrics, learning rate, time, memory.

:func:`training_curves` turns logs into panels, and :func:`plot_curves` plots them.
"""
import math
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cosam_mm.utils.messages import name_some

from .style import CYCLE, new_figure, plain_text, style
from .training_log import TrainingLog

__all__ = ['Curve', 'Panel', 'plot_curves', 'training_curves']

_NUM_METRICS = 3  # of one run in one panel
_DEFAULT_SPAN = 0.01  # of the longest run
_MAX_MARKED = 40  # curves of more points have no mark at each point


class Curve(NamedTuple):
    """One line of a panel."""
    label: str  # in the legend, shown literally
    x: np.ndarray  # (N,), ascending
    y: np.ndarray  # (N,); the line is broken where a value is not finite
    smooth: Optional[np.ndarray] = None  # (N,); the raw curve stays behind it, faint
    colour: int = 0  # index; a run has the same one in all panels
    is_dashed: bool = False  # tells the second of two curves of one colour
    best: Optional[int] = None  # index of the point to mark


class Panel(NamedTuple):
    """One pair of axes."""
    title: str  # what it shows, with the unit; '' for no title
    curves: Sequence[Curve]  # at least one
    is_share: bool = False  # whether to show fractions of 1 in per cent
    from_zero: bool = False  # whether the y axis begins at 0, so that heights compare


# -- from logs to curves ---------------------------------------------------------


def training_curves(logs: Sequence[TrainingLog], keys: Optional[Sequence[str]] = None,
                    span: Optional[float] = None) -> tuple[list[Panel], str, str]:
    """Panels of some training runs, each with the curves of all of them.

    Args:
        logs: At least one; their names differ.
        keys: One panel for each, of training or validation. Default: loss, main
            validation metrics, learning rate, time of an iteration and, where it is
            logged, memory.
        span: Reach of smoothing, in epochs, or in iterations where a run does not count
            epochs. 0: none. Default: 1 % of the longest run.

    Returns:
        The panels; what x counts, 'epoch' or 'iteration'; and how to read the plot.

    Raises:
        ValueError: No log has a key, or the span is negative or not finite.
    """
    if span is not None and not 0 <= span < math.inf:
        raise ValueError(f'span must be finite and not negative, got {span!r}.')
    unit = 'epoch' if all(log.by_epoch for log in logs) else 'iteration'
    if span is None:
        span = _DEFAULT_SPAN * max(getattr(log.train[-1], unit) for log in logs)
    wanted = [_chosen_panel(logs, key) for key in keys] if keys is not None else [
        dict(title='Training loss', keys=_losses(logs)), *_metrics(logs),
        # It is set, not measured: there is no noise to smooth.
        dict(title='Learning rate', keys=['lr'], span=0),
        dict(title='Time of an iteration, s', keys=['time', 'data_time'],
             from_zero=True),
        dict(title='GPU memory, MB', keys=['memory'], from_zero=True, span=0)]
    panels = [_make_panel(logs, unit, one.pop('span', span), **one) for one in wanted]
    smoothing = ('Faint: as logged. Lines: mean of the neighbouring values, weighted '
                 f'exponentially over {span:.3g} {unit}s. ' if span else '')
    return ([panel for panel in panels if panel.curves], unit,
            f'{smoothing}Stars: best validation.')


def _losses(logs: Sequence[TrainingLog]) -> list[str]:
    """The loss; for a single run its parts, too."""
    if len(logs) > 1:
        return ['loss']
    log, = logs
    return _distinct(log, ['loss', *(key for record in log.train for key in
                                     record.values if key.startswith('loss'))])


def _metrics(logs: Sequence[TrainingLog]) -> list[dict]:
    """Panels of validation metrics: several of a single run, else the main one."""
    if len(logs) > 1:
        main = dict.fromkeys(log.metrics[0] for log in logs if log.metrics)
        return [dict(title=f'Validation: {key}', keys=[key], is_metric=True)
                for key in main]
    log, = logs
    shares = [key for key in log.metrics if _is_share(log.curve(key)[1])]
    keys = _distinct(log, shares or log.metrics)[:_NUM_METRICS]
    return [dict(title='Validation', keys=keys, is_metric=True)]


def _chosen_panel(logs: Sequence[TrainingLog], key: str) -> dict:
    """The panel of a key that a user names."""
    known = dict.fromkeys(key for log in logs for key in log.keys)
    if key not in known:
        raise ValueError(f'No training run logs {key!r}; logged are '
                         f'{name_some(known, 20)}.')
    is_metric = not any(key in record.values for log in logs for record in log.train)
    return dict(title=key, keys=[key], is_metric=is_metric)


def _distinct(log: TrainingLog, keys: Sequence[str]) -> list[str]:
    """The keys, without those whose curve would cover that of an earlier one."""
    kept = {}
    for key in dict.fromkeys(keys):
        values = log.curve(key)[1] if key in log.keys else np.empty(0)
        if len(values) and not any(np.array_equal(values, other, equal_nan=True)
                                   for other in kept.values()):
            kept[key] = values
    return list(kept)


def _is_share(values: np.ndarray) -> bool:
    """Whether finite values are there, and all are fractions of 1."""
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool(((known >= 0) & (known <= 1)).all())


def _make_panel(logs: Sequence[TrainingLog], unit: str, span: float, title: str,
                keys: Sequence[str], is_metric: bool = False,
                from_zero: bool = False) -> Panel:
    """A panel of those of the keys that are logged.

    Colours tell the keys of a single run. Of several runs, colours tell the runs and
    dashes the keys.
    """
    is_single, curves = len(logs) == 1, []
    for run, log in enumerate(logs):
        own = [key for key in keys if key in log.keys]
        for number, key in enumerate(own):
            label = ', '.join([log.name] * (not is_single)
                              + [key] * (is_single or len(keys) > 1))
            x, y = log.curve(key, unit)
            smooth = _smooth(x, y, span) if span and not is_metric else None
            curve = Curve(label, x, y, smooth, number if is_single else run,
                          not is_single and number > 0)
            curves.append(_with_best(curve, log, key) if is_metric else curve)
    is_share = is_metric and all(_is_share(curve.y) for curve in curves)
    return Panel(title, curves, is_share, from_zero)


def _with_best(curve: Curve, log: TrainingLog, key: str) -> Curve:
    """A curve whose best point is marked and named, if there is one."""
    best = log.best(key)
    if best is None:
        return curve
    value = best.values[key]
    index = int(np.flatnonzero(curve.y == value)[0])
    shown = f'{100 * value:.1f} %' if _is_share(curve.y) else f'{value:.3g}'
    return curve._replace(label=f'{curve.label}: {shown} at {curve.x[index]:.0f}',
                          best=index)


def _smooth(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    """(N,) at each point the mean of all, weighted by exp(-distance along x / span).

    Points on both sides count, so that the result does not lag behind. Values that are
    not finite have no weight and give NaN.
    """
    known = np.isfinite(y)
    smooth, x, y = np.full(len(y), np.nan), x[known], y[known]
    smooth[known] = [np.average(y, weights=np.exp(-np.abs(x - at) / span)) for at in x]
    return smooth


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
    end = max([1e-9, *(x for panel in panels for curve in panel.curves
                       for x in curve.x[-1:])])
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
        colour, shown = CYCLE[curve.colour % len(CYCLE)], curve.smooth
        marker = 'o' if len(curve.y) <= _MAX_MARKED else None
        y = np.where(np.isfinite(curve.y), curve.y, np.nan)
        if shown is not None:  # the raw curve stays behind it, faint
            axes.plot(curve.x, y, color=colour, alpha=0.3, linewidth=0.9)
        axes.plot(curve.x, y if shown is None else shown, color=colour,
                  linestyle='--' if curve.is_dashed else '-', markersize=2.6,
                  marker=marker if shown is None else None,
                  label=plain_text(curve.label))
        if curve.best is not None:
            axes.plot(curve.x[curve.best], y[curve.best], marker='*', markersize=11,
                      color=colour, markeredgecolor='white', markeredgewidth=0.7,
                      zorder=3)
    axes.set(title=plain_text(panel.title), xlabel=plain_text(x_label))
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
