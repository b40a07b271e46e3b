"""How well a mask tells a silhouette from its surroundings.

A mask gives every pixel a value, a silhouette says which pixels are the object's. Three
metrics compare them, frame by frame:

* the area under the ROC curve: how often a pixel of the silhouette has a higher value
  than one outside. 0.5 is chance, whatever the size of the silhouette; only the order
  of the values counts;
* the intersection over union with what lies above a threshold: above the best one,
  which is an upper bound that looks at the silhouette;
* and above the one that leaves as many pixels as the silhouette has.

Frames without a silhouette, or with nothing else, have no such metrics. They are left
out and counted.
"""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import rankdata

from cosam_mm.visualization.style import CYCLE, GREY, new_figure, plain_text, style

_MARKERS, _LINES = 'osD^v', ('-', '--', ':', '-.')


class MaskAgreement(NamedTuple):
    """Means over the frames that count; NaN where none does."""
    auc: float          # area under the ROC curve, in [0, 1]
    best_iou: float     # intersection over union at each frame's best threshold
    share_iou: float    # the same at the silhouette's share of the pixels
    share: float        # of the silhouette: the IoU of a mask that is constant
    num_frames: int     # that count
    num_left_out: int   # whose silhouette is empty or full


def frame_metrics(values: np.ndarray, silhouette: np.ndarray
                  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area under the ROC curve, IoU at the best threshold and at the share, (F,) each.

    Args:
        values: (F, P) of the mask at P pixels.
        silhouette: (F, P) bool; of each row some are True and some are not.

    Returns:
        By ranks (Mann and Whitney, 1947), the share of the pairs of a pixel inside and
        one outside of which the one inside has the higher value; equal values count
        half. The IoU of the best threshold. The IoU of as many of the highest values as
        the silhouette has pixels, those equal to the last of them included.

    Example:
        >>> [float(one[0]) for one in frame_metrics(
        ...     np.array([[.9, .4, .4, .1]]), np.array([[1, 1, 0, 0]], bool))]
        [0.875, 0.6666666666666666, 0.6666666666666666]
    """
    inside, size = silhouette.sum(1), values.shape[1]
    won = np.where(silhouette, rankdata(values, axis=1), 0).sum(1)
    auc = (won - inside * (inside + 1) / 2) / (inside * (size - inside))
    order = np.argsort(-values, axis=1, kind='stable')
    falling = np.take_along_axis(values, order, 1)
    hits = np.take_along_axis(silhouette, order, 1).cumsum(1)
    iou = hits / (np.arange(1, size + 1) + inside[:, None] - hits)
    # A threshold takes all pixels of one value or none of them.
    is_last = np.ones(values.shape, bool)
    is_last[:, :-1] = falling[:, 1:] != falling[:, :-1]
    at_share = is_last & (np.arange(1, size + 1) >= inside[:, None])
    first = at_share.argmax(1)[:, None]
    return (auc, np.where(is_last, iou, 0).max(1),
            np.take_along_axis(iou, first, 1)[:, 0])


def mask_agreement(values: np.ndarray, silhouette: np.ndarray) -> MaskAgreement:
    """All metrics, as means over the frames of a video.

    Args:
        values: (F, P) of the mask at P pixels.
        silhouette: (F, P) bool. Rows that are all alike are left out.

    Raises:
        ValueError: The shapes differ, or a value is not a number.
    """
    if values.ndim != 2 or values.shape != silhouette.shape or silhouette.dtype != bool:
        raise ValueError('Values and a bool silhouette must both be (frames, pixels), '
                         f'got {values.shape} and {silhouette.dtype} of '
                         f'{silhouette.shape}.')
    if np.isnan(values).any():
        raise ValueError(f'{np.isnan(values).sum()} of the {values.size} values of the '
                         'mask are not a number.')
    counts = silhouette.any(1) & ~silhouette.all(1)
    left_out = int((~counts).sum())
    if not counts.any():
        return MaskAgreement(*[float('nan')] * 4, 0, left_out)
    values, silhouette = values[counts], silhouette[counts]
    means = (*frame_metrics(values, silhouette), silhouette)
    return MaskAgreement(*(float(each.mean()) for each in means),
                         int(counts.sum()), left_out)


# -- plot ----------------------------------------------------------------------


class AgreementPoint(NamedTuple):
    """One map of one model."""
    map: str            # one colour each
    layer: str          # its short name; '' for a map of none
    epoch: int          # 0 before training
    auc: float          # mean over the videos, in [0, 1]
    deviation: float    # between the videos


def plot_agreement(points: Sequence[AgreementPoint]) -> Figure:
    """Plot AUC over epochs, where there are several, and over layers at the last.

    Raises:
        ValueError: There is no point.
    """
    if not points:
        raise ValueError('There is no map to plot.')
    epochs = sorted({point.epoch for point in points})
    maps = list(dict.fromkeys(point.map for point in points))
    layers = [layer for layer in dict.fromkeys(point.layer for point in points)
              if layer]
    with style():
        figure = new_figure(7.5 if len(epochs) > 1 else 4.5, 3.4)
        axes = figure.subplots(1, 2 if len(epochs) > 1 else 1, sharey=True,
                               squeeze=False)[0]
        if len(epochs) > 1:
            _plot_epochs(axes[0], points, maps, layers)
        last = [point for point in points if point.epoch == epochs[-1]]
        _plot_layers(axes[-1], last, maps, layers, is_labelled=len(axes) == 1)
        for one in axes:
            one.axhline(0.5, color=GREY, linestyle=(0, (1, 2)), zorder=1)
        axes[0].set_ylabel('AUC (0.5 is chance)')
        figure.legend(*axes[0].get_legend_handles_labels(), loc='outside upper left',
                      ncols=3 if len(axes) > 1 else 2)
    return figure


def _plot_epochs(axes: Axes, points: Sequence[AgreementPoint], maps: Sequence[str],
                 layers: Sequence[str]) -> None:
    """A line for each map and layer."""
    for name in maps:
        for layer in ('', *layers):
            line = sorted((point for point in points
                           if (point.map, point.layer) == (name, layer)),
                          key=lambda point: point.epoch)
            if not line:
                continue
            number = layers.index(layer) if layer else 0
            axes.plot([point.epoch for point in line], [point.auc for point in line],
                      color=CYCLE[maps.index(name) % len(CYCLE)], markersize=4.5,
                      marker=_MARKERS[number % len(_MARKERS)],
                      linestyle=_LINES[number % len(_LINES)],
                      label=plain_text(f'{name}, {layer}' if layer else name))
    axes.set(title='during training', xlabel='epoch')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _plot_layers(axes: Axes, points: Sequence[AgreementPoint], maps: Sequence[str],
                 layers: Sequence[str], is_labelled: bool) -> None:
    """Means with their deviation between videos, maps side by side at each layer."""
    ticks = list(layers)
    if not all(point.layer for point in points):
        ticks.append('no layer')
    shifts = np.linspace(-.2, .2, len(maps)) if len(maps) > 1 else [0.]
    for number, (name, shift) in enumerate(zip(maps, shifts)):
        own = [point for point in points if point.map == name]
        axes.errorbar(
            [ticks.index(point.layer or 'no layer') + shift for point in own],
            [point.auc for point in own], [point.deviation for point in own],
            color=CYCLE[number % len(CYCLE)], marker='o', linestyle='none', capsize=3,
            label=plain_text(name) if is_labelled else None)
    axes.set(title=f'by layer, epoch {points[0].epoch}',
             xlim=(-.5, len(ticks) - .5))
    axes.set_xticks(range(len(ticks)), [plain_text(tick) for tick in ticks])
