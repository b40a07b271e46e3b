"""Lines over epochs or iterations: how something went while it was trained."""
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .style import CYCLE, new_figure, plain_text, style

__all__ = ['Curve', 'Panel', 'draw_curves', 'save_figure']

_FEW = 40  # points, which are marked each


class Curve(NamedTuple):
    """One line of a panel.

    Attributes:
        label: In the legend, as it is: dollars and underscores are no markup.
        x: (N,), ascending.
        y: (N,); where it is not finite, the line is broken.
        smooth: (N,) to be drawn in its place, itself faint behind; None: there is
            nothing to smooth.
        colour: Number of its colour; curves of one run have the same in all panels.
        is_dashed: For the second of two things of one colour.
        best: Number of the point to mark; None: none.
    """
    label: str
    x: np.ndarray
    y: np.ndarray
    smooth: Optional[np.ndarray] = None
    colour: int = 0
    is_dashed: bool = False
    best: Optional[int] = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: Above it: what it shows, with the unit; '' for none.
        curves: At least one.
        is_share: Whether values are shares of 1, to be written in per cent.
        from_zero: Whether the axis begins at 0, so that heights can be compared.
    """
    title: str
    curves: Sequence[Curve]
    is_share: bool = False
    from_zero: bool = False


def draw_curves(panels: Sequence[Panel], x_label: str, caption: str = '',
                columns: int = 2) -> Figure:
    """Panels in rows, all over the same range of x.

    Args:
        panels: At least one.
        x_label: 'epoch' or 'iteration'.
        caption: Below them all.
        columns: Panels in a row.

    Raises:
        ValueError: There is no panel, or one without curves.
    """
    if not panels or not all(panel.curves for panel in panels):
        raise ValueError('There is nothing to draw: each of the panels needs a curve, '
                         f'got {[len(panel.curves) for panel in panels]}.')
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    with style():
        figure = new_figure(4.4 * columns, 2.75 * rows + (0.3 if caption else 0))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        limits = _x_limits(panels)
        for axes, panel in zip(grid, panels):
            _draw_panel(axes, panel, x_label)
            axes.set_xlim(limits)
        for axes in grid[len(panels):]:
            axes.remove()
        if caption:
            figure.supxlabel(plain_text(caption), fontsize=8, x=0.01, ha='left')
    return figure


def _x_limits(panels: Sequence[Panel]) -> tuple[float, float]:
    ends = [curve.x[-1] for panel in panels for curve in panel.curves if len(curve.x)]
    end = max([*ends, 1e-9])
    return -0.015 * end, 1.025 * end


def _draw_panel(axes: Axes, panel: Panel, x_label: str) -> None:
    for curve in panel.curves:
        _draw_curve(axes, curve)
    if panel.title:
        axes.set_title(plain_text(panel.title))
    axes.set_xlabel(plain_text(x_label))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    if panel.is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=' %'))
        axes.set_ylim(0, 1.03)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        # Not matplotlib's own, which puts powers of ten where the title belongs.
        axes.yaxis.set_major_formatter(lambda value, _: f'{value:g}')
        if panel.from_zero:
            axes.set_ylim(bottom=0)
    if len(panel.curves) > 1 or panel.curves[0].best is not None:
        axes.legend(loc='best', handlelength=1.6, labelspacing=0.3)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    colour = CYCLE[curve.colour % len(CYCLE)]
    y = np.where(np.isfinite(curve.y), curve.y, np.nan)
    look = dict(color=colour, linestyle='--' if curve.is_dashed else '-',
                marker='o' if len(y) <= _FEW else None, markersize=2.6)
    if curve.smooth is None:
        axes.plot(curve.x, y, label=plain_text(curve.label), **look)
    else:
        axes.plot(curve.x, y, color=colour, alpha=0.3, linewidth=0.9)
        axes.plot(curve.x, curve.smooth, label=plain_text(curve.label),
                  **dict(look, marker=None))
    if curve.best is not None:
        axes.plot(curve.x[curve.best], y[curve.best], marker='*', markersize=11,
                  color=colour, markeredgecolor='white', markeredgewidth=0.7, zorder=3)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a file of its own: PNG, SVG or PDF by its suffix, on white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    date = {'.svg': 'Date', '.pdf': 'CreationDate'}.get(path.suffix.lower())
    with style():
        figure.savefig(path, dpi=150, metadata={date: None} if date else None)
