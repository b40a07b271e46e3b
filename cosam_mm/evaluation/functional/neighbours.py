"""The nearest gallery entries of each query, without a whole distance matrix.

Of equal distances the entry of the lower number comes first: the answer is the
beginning of a stable sort of each row.
"""
from typing import Callable, NamedTuple, Optional

import numpy as np

from .distance import Features, distance_blocks, feature_array

__all__ = ['Neighbours', 'nearest', 'nearest_among']

_BLOCK_BYTES = 2**26


class Neighbours(NamedTuple):
    """The nearest entries of each of Q queries, nearest first.

    Attributes:
        index: (Q, k) int64, numbers of gallery entries; -1 where there are no more.
        distance: (Q, k), their distances; infinity where there are no more.
    """
    index: np.ndarray
    distance: np.ndarray


def _check_count(k: int) -> None:
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f'k must be an integer of at least 1, got {k!r}.')


def _smallest(row: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k smallest entries of a row, smallest first."""
    candidates = np.arange(len(row))
    if k < len(row):
        # A partition alone would choose among ties at the end as it likes.
        candidates = np.flatnonzero(row <= np.partition(row, k - 1)[k - 1])
    return candidates[np.argsort(row[candidates], kind='stable')[:k]]


def nearest(q_features: Features, g_features: Features, k: int,
            distance: str = 'euclidean',
            report: Optional[Callable[[int], object]] = None) -> Neighbours:
    """The k nearest gallery entries of each query, by comparing it with all of them.

    Beside the features at most about 250 MiB are held (for galleries of up to ten
    million entries; 16 bytes an entry beyond).

    Args:
        q_features: (Q, D).
        g_features: (G, D), G at least 1.
        k: Entries to return; all of them where the gallery has fewer.
        distance: One of :data:`cosam_mm.evaluation.functional.distance.DISTANCES`.
        report: Called with the number of queries just done, as a progress bar's
            ``update`` is.

    Returns:
        Arrays (Q, min(k, G)); see :class:`Neighbours`.

    Raises:
        ValueError: The gallery is empty, k is no whole number above 0, or the
            features do not fit (see :func:`distance_blocks`).

    Example:
        >>> index, distance = nearest([[0.]], [[3.], [-1.], [1.]], k=2)
        >>> index.tolist(), distance.tolist()
        ([[1, 2]], [[1.0, 1.0]])
    """
    _check_count(k)
    if not len(g_features):
        raise ValueError('The gallery is empty: there is nothing to search.')
    index, found = [], []
    for _, block in distance_blocks(q_features, g_features, distance, _BLOCK_BYTES):
        for row in block:
            index.append(_smallest(row, k))
            found.append(row[index[-1]])
        if report is not None:
            report(len(block))
    shape = (len(q_features), min(k, len(g_features)))
    return Neighbours(np.reshape(np.array(index, np.int64), shape),
                      np.reshape(np.array(found), shape))


def nearest_among(q_features: Features, g_features: Features,
                  candidates: np.ndarray, k: int,
                  distance: str = 'euclidean') -> Neighbours:
    """The k nearest of the gallery entries that something else proposed.

    Args:
        q_features: (Q, D).
        g_features: (G, D).
        candidates: (Q, C) integers, numbers of different gallery entries for each
            query; negative ones stand for nothing.
        k: Entries to return, at most C.
        distance: As for :func:`nearest`.

    Returns:
        Arrays (Q, min(k, C)); see :class:`Neighbours`.

    Raises:
        ValueError: As for :func:`nearest`, or the candidates have another shape.

    Example:
        >>> index, distance = nearest_among([[0.]], [[3.], [-1.], [1.]], [[2, -1]], 2)
        >>> index.tolist(), distance.tolist()
        ([[2, -1]], [[1.0, inf]])
    """
    _check_count(k)
    q_features, g_features = feature_array(q_features), feature_array(g_features)
    candidates = np.asarray(candidates)
    if candidates.ndim != 2 or len(candidates) != len(q_features):
        raise ValueError(
            f'candidates has shape {candidates.shape}; {len(q_features)} queries need '
            f'({len(q_features)}, number of candidates).')
    shape = (len(q_features), min(k, candidates.shape[1]))
    index = np.full(shape, -1, np.int64)
    found = np.full(shape, np.inf, np.result_type(q_features, g_features))
    for number, proposed in enumerate(candidates):
        proposed = np.sort(proposed[proposed >= 0])  # ties: lower numbers first
        if not len(proposed):
            continue
        best = nearest(q_features[number:number + 1], g_features[proposed],
                       shape[1], distance)
        count = best.index.shape[1]
        index[number, :count] = proposed[best.index[0]]
        found[number, :count] = best.distance[0]
    return Neighbours(index, found)
