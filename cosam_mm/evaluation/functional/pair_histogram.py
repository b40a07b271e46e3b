"""Distances of pairs of one person and of two, counted while they pass by.

The pairs of a test are too many to keep (22 million in MARS), and how far they reach
is known only at the end. The bins therefore double in width whenever a distance lies
beyond the last one: two neighbours become one, and no count is lost.
"""
from typing import NamedTuple

import numpy as np

__all__ = ['PairCounter', 'PairHistogram', 'Separation', 'coarser', 'separation']

_NUM_BINS = 4096


class PairHistogram(NamedTuple):
    """How many pairs have which distance.

    Attributes:
        edges: (B + 1,) float64, rising; a bin holds its left edge.
        same: (B,) int64, pairs of one person.
        different: (B,) int64, pairs of two.
    """
    edges: np.ndarray
    same: np.ndarray
    different: np.ndarray


class Separation(NamedTuple):
    """How far one distance tells pairs of one person from pairs of two.

    Attributes:
        threshold: The distance that does it best.
        same_beyond: Share of the pairs of one person that are farther.
        different_within: Share of the pairs of two that are nearer.
        overlap: The sum of both: 0 if they are told apart, 1 if nothing tells them.
        nearer: Share of (pair of one, pair of two) in which the former is nearer;
            equal ones count half.
    """
    threshold: float
    same_beyond: float
    different_within: float
    overlap: float
    nearer: float


class PairCounter:
    """Counts distances in bins from 0 up to the largest that has come.

    Args:
        num_bins: Even. At least half of them, less one, lie below the largest
            distance.
    """

    def __init__(self, num_bins: int = _NUM_BINS) -> None:
        self._width = 0.  # as long as all distances are 0
        self._counts = np.zeros((2, num_bins), np.int64)

    def _reach(self, largest: float) -> None:
        num_bins = self._counts.shape[1]
        if self._width == 0:
            self._width = largest / num_bins
        while largest > self._width * num_bins:
            merged = self._counts.reshape(2, -1, 2).sum(axis=2)
            self._counts = np.pad(merged, ((0, 0), (0, num_bins // 2)))
            self._width *= 2

    def add(self, distances: np.ndarray, same: np.ndarray,
            different: np.ndarray) -> None:
        """Count the distances (b, G), none negative, that either mask (b, G) picks.

        Raises:
            ValueError: A distance is negative.
        """
        if distances.min(initial=0) < 0:
            raise ValueError('Distances of pairs must not be negative, got '
                             f'{distances.min()}.')
        num_bins = self._counts.shape[1]
        picked = same | different
        if picked.any():
            self._reach(float(distances[picked].max()))
        # Row by row: the numbers of bins of a whole block would take twice its memory.
        for row, *masks in zip(distances, same, different):
            bins = np.minimum(row / self._width, num_bins - 1).astype(np.int64) \
                if self._width else np.zeros(len(row), np.int64)
            for counts, mask in zip(self._counts, masks):
                counts += np.bincount(bins[mask], minlength=num_bins)

    def histogram(self) -> PairHistogram:
        """What has been counted so far."""
        edges = (self._width or 1.) * np.arange(self._counts.shape[1] + 1)
        return PairHistogram(edges, *self._counts.copy())


def coarser(histogram: PairHistogram, num_bins: int = 60) -> PairHistogram:
    """At most so many bins, over the distances that occur; no count is lost.

    Example:
        >>> fine = PairHistogram(np.arange(7.), np.array([0, 1, 2, 0, 0, 0]),
        ...                      np.array([0, 0, 0, 4, 5, 0]))
        >>> coarse = coarser(fine, 2)
        >>> [values.tolist() for values in coarse]
        [[1.0, 3.0, 5.0], [3, 0], [0, 9]]
    """
    filled = np.flatnonzero(histogram.same + histogram.different)
    first, last = (filled[0], filled[-1]) if len(filled) else (0, 0)
    step = -(-(last + 1 - first) // num_bins)
    starts = np.arange(first, last + 1, step)
    stop = starts[-1] + step
    edges = np.append(histogram.edges[starts], 0.)
    width = histogram.edges[1] - histogram.edges[0]
    edges[-1] = histogram.edges[0] + stop * width  # may lie past the last fine bin
    return PairHistogram(edges, *(np.add.reduceat(counts[:stop], starts)
                                  for counts in histogram[1:]))


def separation(histogram: PairHistogram) -> Separation:
    """How far distance tells one person from two, to within the width of a bin.

    Raises:
        ValueError: There are no pairs of one kind.

    Example:
        >>> found = separation(PairHistogram(np.arange(4.), np.array([3, 1, 0]),
        ...                                  np.array([0, 1, 4])))
        >>> found.threshold, found.same_beyond, found.different_within, found.nearer
        (2.0, 0.0, 0.2, 0.975)
    """
    edges, same, different = histogram
    if not same.any() or not different.any():
        raise ValueError(f'{same.sum()} pairs of one person and {different.sum()} of '
                         'two: separation needs both.')
    same, different = same / same.sum(), different / different.sum()
    beyond, within = 1 - np.cumsum(same), np.cumsum(different)
    overlap = beyond + within
    # Between two heaps that do not touch, any distance is the best: take the middle.
    best = np.flatnonzero(overlap <= overlap.min() + 1e-12)
    best = best[(len(best) - 1) // 2]
    nearer = (same * (1 - within + different / 2)).sum()
    shares = np.clip([beyond[best], within[best]], 0, 1)
    return Separation(float(edges[best + 1]), *map(float, shares),
                      float(min(shares.sum(), 1)), float(nearer))
