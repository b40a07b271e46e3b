"""Late fusion: class scores of several models, averaged clip by clip.

Two-stream networks (Simonyan, Zisserman, NeurIPS 2014) are the common case: one
model sees RGB, one sees optical flow, and their scores for the same clip are
averaged. Models may have gone through the clips in different orders, so clips
are matched by name, never by row.
"""
from collections.abc import Sequence
from typing import Optional

import numpy as np

from cosam_mm.utils.messages import name_some

__all__ = ['align_by_id', 'check_finite', 'class_probabilities', 'fuse_scores',
           'top_k_accuracy']


def class_probabilities(score: np.ndarray) -> np.ndarray:
    """Softmax (..., K) float64 of scores (..., K), safe for large ones."""
    score = np.asarray(score, dtype=np.float64)
    exp = np.exp(score - score.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def check_finite(score: np.ndarray, names: Optional[Sequence[str]] = None) -> None:
    """Raise ``ValueError`` where a score is NaN or infinite: it has no rank.

    ``argmax`` takes NaN for the highest score, and comparisons for the lowest.

    Args:
        score: (N, K).
        names: Of the N clips. Default: their rows.
    """
    rows = np.flatnonzero(~np.isfinite(score).all(axis=1))
    if len(rows):
        bad = [f'row {row}' if names is None else repr(str(names[row])) for row in rows]
        raise ValueError(
            f'{len(rows)} of {len(score)} clips have NaN or infinite scores: '
            f'{name_some(bad)}. The model has diverged, its checkpoint is damaged, or '
            'half precision overflows: test an earlier checkpoint, or without --fast.')


def _check_scores(scores: Sequence[np.ndarray]) -> None:
    if not scores:
        raise ValueError('There is nothing to fuse: the list of scores is empty.')
    for i, score in enumerate(scores):
        if score.ndim != 2 or score.shape != scores[0].shape:
            raise ValueError(
                f'Score array {i} has shape {score.shape}, array 0 '
                f'{scores[0].shape}: all must be (number of clips, number of classes) '
                'of the same clips.')
        check_finite(score)


def _check_weights(weights: Optional[Sequence[float]], count: int) -> np.ndarray:
    values = np.asarray([1.] * count if weights is None else weights, dtype=np.float64)
    if values.shape != (count,) or not np.isfinite(values).all() or (
            (values < 0).any() or values.sum() == 0):
        raise ValueError(f'{count} score arrays need {count} weights, finite, none '
                         f'below zero and one above it, got {list(weights)}.')
    return values / values.sum()


def fuse_scores(scores: Sequence[np.ndarray],
                weights: Optional[Sequence[float]] = None,
                softmax: bool = True) -> np.ndarray:
    """Weighted mean of the scores of several models for the same clips.

    Args:
        scores: Arrays of shape (N, K), row i of each for the same clip
            (see :func:`align_by_id`).
        weights: One number >= 0 an array; only their ratio counts. Default: equal.
        softmax: Turn each array into probabilities before averaging. Say False for
            arrays that hold probabilities already, or to average raw scores.

    Returns:
        (N, K), float64.

    Raises:
        ValueError: Shapes differ, a score is not finite, or weights do not fit.
    """
    scores = [np.asarray(score, dtype=np.float64) for score in scores]
    _check_scores(scores)
    weights = _check_weights(weights, len(scores))
    if softmax:
        scores = [class_probabilities(score) for score in scores]
    return sum(weight * score for weight, score in zip(weights, scores))


def _order_like(first: np.ndarray, ids: np.ndarray, stream: int) -> np.ndarray:
    """Rows that put the names ``ids`` of a stream into the order of the first one."""
    names, counts = np.unique(ids, return_counts=True)
    if len(names) < len(ids):
        raise ValueError(f'Stream {stream} names the same clip twice: '
                         f'{name_some(map(repr, names[counts > 1].tolist()))}.')
    for one, other, lacking, having in ((first, ids, stream, 0),
                                        (ids, first, 0, stream)):
        alone = np.setdiff1d(one, other)
        if len(alone):
            raise ValueError(f'Stream {lacking} lacks {len(alone)} clip(s) of stream '
                             f'{having}: {name_some(map(repr, alone.tolist()))}.')
    return np.argsort(ids)[np.searchsorted(names, first)]


def _check_labels(sample_ids: list[np.ndarray], labels: Sequence,
                  orders: list[np.ndarray]) -> None:
    labels = [np.asarray(label) for label in labels]
    if [label.shape for label in labels] != [ids.shape for ids in sample_ids]:
        raise ValueError(
            f'Streams of {[len(ids) for ids in sample_ids]} clip names came with '
            f'labels of the shapes {[label.shape for label in labels]}.')
    for stream, (label, order) in enumerate(zip(labels, orders)):
        rows = np.flatnonzero(label[order] != labels[0])
        if len(rows):
            raise ValueError(
                f'Streams 0 and {stream} disagree on the label of {len(rows)} clip(s): '
                f'{name_some(map(repr, sample_ids[0][rows].tolist()))} (label '
                f'{labels[0][rows[0]]} against {label[order][rows[0]]}).')


def align_by_id(sample_ids: Sequence[Sequence[str]],
                labels: Optional[Sequence[Sequence[int]]] = None
                ) -> list[np.ndarray]:
    """Row orders that put the clips of all streams into the order of the first.

    Args:
        sample_ids: For each stream, the names of its N clips.
        labels: For each stream, the N labels; compared when given.

    Returns:
        For each stream, N row numbers: ``score[i][order[i]]`` is aligned.

    Raises:
        ValueError: A stream names a clip twice, lacks one, has one too many, or
            disagrees on a label. The first offenders are named.

    Example:
        >>> align_by_id([['a', 'b'], ['b', 'a']])[1].tolist()
        [1, 0]
    """
    sample_ids = [np.asarray(ids, dtype=str) for ids in sample_ids]
    if not sample_ids:
        raise ValueError('There is nothing to align: no stream came.')
    orders = [_order_like(sample_ids[0], ids, i) for i, ids in enumerate(sample_ids)]
    if labels is not None:
        _check_labels(sample_ids, labels, orders)
    return orders


def _check_labelled(score: np.ndarray, label: np.ndarray) -> None:
    if score.ndim != 2 or label.shape != score.shape[:1] or (
            label.dtype.kind not in 'iu'):
        raise ValueError(
            f'Scores of shape {score.shape} and labels of shape {label.shape} and type '
            f'{label.dtype} do not fit: expected (N, K) and N integers.')
    if not len(label):
        raise ValueError('There is no sample to evaluate.')
    rows = np.flatnonzero((label < 0) | (label >= score.shape[1]))
    if len(rows):
        raise ValueError(
            f'Label {label[rows[0]]} in row {rows[0]} is outside of the '
            f'{score.shape[1]} classes of the scores ({len(rows)} such row(s)).')
    check_finite(score)


def top_k_accuracy(score: np.ndarray, label: np.ndarray,
                   ks: Sequence[int] = (1, 3)) -> dict[int, float]:
    """Share of samples whose label is among the k highest scores.

    Classes of equal score rank by class number, the lower first, so that k = 1
    agrees with ``argmax`` and a model that scores all classes alike is at
    chance.

    Args:
        score: (N, K).
        label: (N,) integers in [0, K).
        ks: The k to evaluate, each at least 1.

    Returns:
        ``{k: share in [0, 1]}``.

    Raises:
        ValueError: Shapes, labels or ks are not as above, or a score is not finite.

    Example:
        >>> top_k_accuracy([[.1, .6, .3], [.1, .6, .3]], [1, 2], ks=(1, 2))
        {1: 0.5, 2: 1.0}
    """
    score, label = np.asarray(score), np.asarray(label)
    _check_labelled(score, label)
    if any(not isinstance(k, (int, np.integer)) or k < 1 for k in ks):
        raise ValueError(f'Each k must be an integer of at least 1, got {list(ks)}.')
    own = np.take_along_axis(score, label[:, None], axis=1)
    lower = np.arange(score.shape[1])[None] < label[:, None]
    rank = ((score > own) | ((score == own) & lower)).sum(axis=1)
    return {int(k): float(np.mean(rank < k)) for k in ks}
