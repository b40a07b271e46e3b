"""COSAM's channel masks: how far the frames of a clip agree on each channel."""
from collections.abc import Mapping
from typing import Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .canvas import shorten
from .style import BLUE, GREY, new_figure, plain_text, style

__all__ = ['channel_figure']

_AFTER, _BEFORE = 'after training', 'before training'


def channel_figure(masks: Mapping[str, np.ndarray],
                   before: Optional[Mapping[str, np.ndarray]] = None,
                   title: str = '', num_named: int = 10) -> Figure:
    """All channels by falling value, and the most agreed ones by name.

    Args:
        masks: By layer, (C,), in (0, 1): what the module multiplies a channel by,
            less 1.
        before: The same before training: a line, and marks at the same channels.
        title: Written above.
        num_named: Channels to name.

    Returns:
        A row for each layer.

    Raises:
        ValueError: There is no layer.
    """
    if not masks:
        raise ValueError('A picture of channel masks needs at least one layer.')
    before = before or {}
    with style():
        figure = new_figure(7.5, 0.4 * bool(title) + 2.6 * len(masks))
        if title:
            figure.suptitle(plain_text(shorten(title, 900, 16, True)), fontsize=11,
                            fontweight='bold', x=0.01, ha='left')
        rows = figure.subplots(len(masks), 2, squeeze=False,
                               gridspec_kw=dict(width_ratios=(3, 2)))
        for (left, right), (name, mask) in zip(rows, masks.items()):
            _draw_all(left, mask, before.get(name), name)
            _draw_best(right, mask, before.get(name), num_named)
        if before:
            rows[0][0].legend(loc='upper right')
    return figure


def _draw_all(axes: Axes, mask: np.ndarray, before: Optional[np.ndarray],
              name: str) -> None:
    edges = np.arange(len(mask) + 1)
    axes.stairs(np.sort(mask)[::-1], edges, fill=True, color=BLUE, alpha=0.85,
                label=_AFTER)
    if before is not None:
        axes.stairs(np.sort(before)[::-1], edges, color=GREY, linewidth=1.6,
                    baseline=None, label=_BEFORE)
    axes.set(title=plain_text(name), xlabel=f'{len(mask)} channels, sorted',
             ylabel='channel mask', ylim=(0, 1), xlim=(0, len(mask)))


def _draw_best(axes: Axes, mask: np.ndarray, before: Optional[np.ndarray],
               num_named: int) -> None:
    best = np.argsort(-mask, kind='stable')[:num_named]
    rows = np.arange(len(best))
    axes.barh(rows, mask[best], color=BLUE, alpha=0.85, height=0.72)
    if before is not None:
        axes.plot(before[best], rows, linestyle='none', marker='|', markersize=9,
                  markeredgewidth=2, color=GREY)
    axes.set(yticks=rows, yticklabels=[str(channel) for channel in best],
             xlim=(0, 1), ylabel='channel', xlabel='channel mask')
    axes.set_title('Most agreed', fontsize=9)
    axes.invert_yaxis()
    axes.grid(visible=False, axis='y')
