"""How well a mask tells a silhouette from its surroundings.

A mask gives every pixel a value, a silhouette says which pixels are the object's. Three
figures compare them, frame by frame:

* the area under the ROC curve: how often a pixel of the silhouette has a higher value
  than one outside. 0.5 is chance, whatever the size of the silhouette; only the order
  of the values counts;
* the intersection over union with what lies above a threshold: above the best one,
  which is an upper bound that looks at the silhouette;
* and above the one that leaves as many pixels as the silhouette has.

Frames without a silhouette, or with nothing else, have no such figures. They are left
out and counted.
"""
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

__all__ = ['MaskAgreement', 'best_iou', 'mask_agreement', 'roc_auc', 'share_iou']


class MaskAgreement(NamedTuple):
    """Means over the frames that count; NaN where none does.

    Attributes:
        auc: Area under the ROC curve, in [0, 1].
        best_iou: Intersection over union at each frame's best threshold.
        share_iou: The same at the silhouette's share of the pixels.
        share: Share of the pixels that are the silhouette's: the IoU of a mask that is
            the same everywhere.
        num_frames: Frames that count.
        num_left_out: Frames whose silhouette is empty or full.
    """
    auc: float
    best_iou: float
    share_iou: float
    share: float
    num_frames: int
    num_left_out: int


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

    Example:
        >>> best_iou(np.array([[.9, .5, .4, .1]]), np.array([[1, 0, 1, 0]], bool))
        array([0.66666667])
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

    Example:
        >>> share_iou(np.array([[.9, .5, .4, .1]]), np.array([[1, 0, 1, 0]], bool))
        array([0.33333333])
    """
    inside, _ = _counts(values, silhouette)
    falling = -np.sort(-values, axis=1)
    marked = values >= np.take_along_axis(falling, inside[:, None] - 1, 1)
    return (marked & silhouette).sum(1) / (marked | silhouette).sum(1)


def mask_agreement(values: np.ndarray, silhouette: np.ndarray) -> MaskAgreement:
    """All figures, as means over the frames of a video.

    Args:
        values: (F, P) of the mask at P pixels.
        silhouette: (F, P) bool. Rows that are all alike are left out.

    Raises:
        ValueError: The shapes differ, or a value is not a number.

    Example:
        >>> silhouette = np.array([[True, False, False], [False, False, False]])
        >>> mask_agreement(np.array([[.9, .5, .1], [.9, .5, .1]]), silhouette)[:5]
        (1.0, 1.0, 1.0, 0.3333333333333333, 1)
    """
    _check(values, silhouette)
    counts = silhouette.any(1) & ~silhouette.all(1)
    left_out = int((~counts).sum())
    if not counts.any():
        return MaskAgreement(*[float('nan')] * 4, 0, left_out)
    values, silhouette = values[counts], silhouette[counts]
    return MaskAgreement(*(
        float(figure.mean()) for figure in (
            roc_auc(values, silhouette), best_iou(values, silhouette),
            share_iou(values, silhouette), silhouette.mean(1))),
        int(counts.sum()), left_out)


def _check(values: np.ndarray, silhouette: np.ndarray) -> None:
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
