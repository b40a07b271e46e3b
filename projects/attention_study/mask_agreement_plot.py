"""How masks come to find the object: over training, and from layer to layer."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cosam_mm.visualization.style import CYCLE, GREY, new_figure, plain_text, style

__all__ = ['AgreementPoint', 'draw_agreement']

_MARKERS, _LINES = 'osD^v', ('-', '--', ':', '-.')


class AgreementPoint(NamedTuple):
    """One map of one model.

    Attributes:
        map: What made it; one colour each.
        place: Short name of the layer; '' for a map of none.
        epoch: When; 0 before training.
        auc: Mean over the videos, in [0, 1].
        deviation: Between the videos.
    """
    map: str
    place: str
    epoch: int
    auc: float
    deviation: float


def draw_agreement(points: Sequence[AgreementPoint]) -> Figure:
    """AUC over epochs, where there are several, and over layers at the last of them.

    Args:
        points: Of all maps, layers and epochs.

    Raises:
        ValueError: There is no point.
    """
    if not points:
        raise ValueError('There is no map to draw.')
    epochs = sorted({point.epoch for point in points})
    maps = list(dict.fromkeys(point.map for point in points))
    places = [place for place in dict.fromkeys(point.place for point in points)
              if place]
    with style():
        figure = new_figure(7.5 if len(epochs) > 1 else 4.5, 3.4)
        axes = figure.subplots(1, 2 if len(epochs) > 1 else 1, sharey=True,
                               squeeze=False)[0]
        if len(epochs) > 1:
            _draw_epochs(axes[0], points, maps, places)
        last = [point for point in points if point.epoch == epochs[-1]]
        _draw_layers(axes[-1], last, maps, places, is_labelled=len(axes) == 1)
        for one in axes:
            one.axhline(0.5, color=GREY, linestyle=(0, (1, 2)), zorder=1)
        axes[0].set_ylabel('AUC (0.5 is chance)')
        figure.legend(*axes[0].get_legend_handles_labels(), loc='outside upper left',
                      ncols=3 if len(axes) > 1 else 2)
    return figure


def _draw_epochs(axes: Axes, points: Sequence[AgreementPoint], maps: Sequence[str],
                 places: Sequence[str]) -> None:
    for name in maps:
        for place in ('', *places):
            line = sorted((point for point in points
                           if (point.map, point.place) == (name, place)),
                          key=lambda point: point.epoch)
            if not line:
                continue
            number = places.index(place) if place else 0
            axes.plot([point.epoch for point in line], [point.auc for point in line],
                      color=CYCLE[maps.index(name) % len(CYCLE)], markersize=4.5,
                      marker=_MARKERS[number % len(_MARKERS)],
                      linestyle=_LINES[number % len(_LINES)],
                      label=plain_text(f'{name}, {place}' if place else name))
    axes.set(title='during training', xlabel='epoch')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_layers(axes: Axes, points: Sequence[AgreementPoint], maps: Sequence[str],
                 places: Sequence[str], is_labelled: bool) -> None:
    """Means with their deviation between videos, maps side by side at each layer."""
    ticks = list(places)
    if not all(point.place for point in points):
        ticks.append('no layer')
    shifts = np.linspace(-.2, .2, len(maps)) if len(maps) > 1 else [0.]
    for number, (name, shift) in enumerate(zip(maps, shifts)):
        own = [point for point in points if point.map == name]
        axes.errorbar(
            [ticks.index(point.place or 'no layer') + shift for point in own],
            [point.auc for point in own], [point.deviation for point in own],
            color=CYCLE[number % len(CYCLE)], marker='o', linestyle='none', capsize=3,
            label=plain_text(name) if is_labelled else None)
    axes.set(title=f'by layer, epoch {points[0].epoch}',
             xlim=(-.5, len(ticks) - .5))
    axes.set_xticks(range(len(ticks)), [plain_text(tick) for tick in ticks])
