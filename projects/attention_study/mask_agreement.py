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


def roc_auc(values: np.ndarray, silhouette: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each frame, by ranks (Mann and Whitney, 1947).

    Args:
        values: (F, P) of the mask at P pixels.
        silhouette: (F, P) bool; of each row some are True and some are not.

    Returns:
        (F,): the share of the pairs of a pixel inside and one outside of which the one
        inside has the higher value. Equal values count half.

    Raises:
        ValueError: The shapes differ, a value is not a number, or a silhouette is empty
            or full.

    Example:
        >>> roc_auc(np.array([[.9, .4, .4, .1]]), np.array([[1, 1, 0, 0]], bool))
        array([0.875])
    """
    inside, outside = _counts(values, silhouette)
    ranks = rankdata(values, axis=1)
    won = np.where(silhouette, ranks, 0).sum(1) - inside * (inside + 1) / 2
    return won / (inside * outside)


def best_iou(values: np.ndarray, silhouette: np.ndarray) -> np.ndarray:
    """Intersection over union at each frame's best threshold.

    Args and errors are those of :func:`roc_auc`.

    Returns:
        (F,), in (0, 1].
    """
    inside, _ = _counts(values, silhouette)
    order = np.argsort(-values, axis=1, kind='stable')
    falling = np.take_along_axis(values, order, 1)
    hits = np.take_along_axis(silhouette, order, 1).cumsum(1)
    marked = np.arange(1, values.shape[1] + 1)
    iou = hits / (marked + inside[:, None] - hits)
    # A threshold takes all pixels of one value or none of them.
    is_last = np.ones(values.shape, bool)
    is_last[:, :-1] = falling[:, 1:] != falling[:, :-1]
    return np.where(is_last, iou, 0).max(1)


def share_iou(values: np.ndarray, silhouette: np.ndarray) -> np.ndarray:
    """Intersection over union with as many of the highest values as there are pixels in
    the silhouette; values equal to the last of these are marked, too.

    Args and errors are those of :func:`roc_auc`.

    Returns:
        (F,), in [0, 1].
    """
    inside, _ = _counts(values, silhouette)
    falling = -np.sort(-values, axis=1)
    marked = values >= np.take_along_axis(falling, inside[:, None] - 1, 1)
    return (marked & silhouette).sum(1) / (marked | silhouette).sum(1)


def mask_agreement(values: np.ndarray, silhouette: np.ndarray) -> MaskAgreement:
    """All metrics, as means over the frames of a video.

    Args:
        values: (F, P) of the mask at P pixels.
        silhouette: (F, P) bool. Rows that are all alike are left out.

    Raises:
        ValueError: The shapes differ, or a value is not a number.
    """
    _check(values, silhouette)
    counts = silhouette.any(1) & ~silhouette.all(1)
    left_out = int((~counts).sum())
    if not counts.any():
        return MaskAgreement(*[float('nan')] * 4, 0, left_out)
    values, silhouette = values[counts], silhouette[counts]
    of_frames = (*(metric(values, silhouette) for metric in (
        roc_auc, best_iou, share_iou)), silhouette.mean(1))
    return MaskAgreement(*(float(each.mean()) for each in of_frames),
                         int(counts.sum()), left_out)


def _check(values: np.ndarray, silhouette: np.ndarray) -> None:
    """Refuse other shapes and types than metrics take, and values that are NaN."""
    if values.ndim != 2 or values.shape != silhouette.shape:
        raise ValueError('Values and silhouette must both be (frames, pixels), got '
                         f'{values.shape} and {silhouette.shape}.')
    if silhouette.dtype != bool:
        raise ValueError(f'A silhouette must be of bool, got {silhouette.dtype}.')
    if np.isnan(values).any():
        raise ValueError(f'{np.isnan(values).sum()} of the {values.size} values of the '
                         'mask are not a number.')


def _counts(values: np.ndarray, silhouette: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """Pixels inside and outside of each frame's silhouette, (F,) each."""
    _check(values, silhouette)
    inside = silhouette.sum(1)
    outside = silhouette.shape[1] - inside
    if not (inside * outside).all():
        raise ValueError(f'{(inside * outside == 0).sum()} of the {len(inside)} '
                         'silhouettes are empty or full: leave these frames out.')
    return inside, outside


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
