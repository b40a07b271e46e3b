"""What a ranking looks like: the lists themselves, and the distances of all pairs.

The rules are those at the head of :mod:`.ranking`. A list also shows the entries that
those rules remove, of the query's own person and camera: they are :data:`IGNORED` and
have no rank. Equal distances are listed as they are ranked: wrong, right, ignored.

The pairs of a test are too many to keep (22 million in MARS), and the largest distance
is known only at the end. The bins of the histogram therefore double in width whenever a
distance lies beyond the last one: two neighbours become one, and no count is lost.
"""
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Union

import numpy as np

from .distance import check_counts
from .ranking import Blocks, QueryRanks, as_blocks, rank_distances, same_camera

__all__ = ['IGNORED', 'RIGHT', 'WRONG', 'ExtremeQueries', 'PairHistogram',
           'RankedLists', 'RankingReview', 'Separation', 'coarser', 'extreme_queries',
           'review_ranking', 'separation']

# In the order in which entries of one distance are listed.
WRONG, RIGHT, IGNORED = range(3)

_NUM_BINS = 4096


class RankedLists(NamedTuple):
    """The k nearest gallery entries of each of Q queries, nearest first."""
    index: np.ndarray  # (Q, k) int64, numbers of gallery entries
    distance: np.ndarray  # (Q, k)
    state: np.ndarray  # (Q, k) int8: WRONG, RIGHT or IGNORED
    rank: np.ndarray  # (Q, k) int64, from 1 up among those that count; 0 if ignored


class PairHistogram(NamedTuple):
    """How many pairs have which distance."""
    edges: np.ndarray  # (B + 1,) float64, rising; a bin holds its left edge
    same: np.ndarray  # (B,) int64, pairs of one person
    different: np.ndarray  # (B,) int64, pairs of two


class RankingReview(NamedTuple):
    """A ranking, seen from all sides."""
    ranks: QueryRanks  # of the positive matches of each query
    lists: RankedLists  # the beginning of each query's list
    pairs: PairHistogram  # distances of all pairs that count


class ExtremeQueries(NamedTuple):
    """Numbers of queries, none of them in both.

    Of equally good ones, that with more to find comes first; of equally bad ones,
    that with more to miss.
    """
    best: np.ndarray  # highest average precision first
    worst: np.ndarray  # lowest first


class Separation(NamedTuple):
    """How far one distance tells pairs of one person from pairs of two."""
    threshold: float  # the distance that does it best
    same_beyond: float  # share of the pairs of one person that are farther
    different_within: float  # share of the pairs of two that are nearer
    overlap: float  # the sum of both: 0 if they are told apart, 1 if nothing tells them
    # Share of (pair of one, pair of two) with the former nearer; equal ones count half.
    nearer: float


def _beginning(distances: np.ndarray, states: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k nearest of (G,) entries; of equals the lower state, then number.
    """
    # A partition alone would choose among ties at the end as it likes.
    candidates = np.flatnonzero(distances <= np.partition(distances, k - 1)[k - 1])
    order = np.lexsort((states[candidates], distances[candidates]))  # stable
    return candidates[order[:k]]


def _lists(distances: np.ndarray, states: np.ndarray, k: int) -> RankedLists:
    k = min(k, distances.shape[1])
    index = np.stack([_beginning(*row, k) for row in zip(distances, states)])
    state = np.take_along_axis(states, index, axis=1)
    counts = state != IGNORED
    return RankedLists(index, np.take_along_axis(distances, index, axis=1), state,
                       np.where(counts, np.cumsum(counts, axis=1), 0))


class _PairCounter:
    """Counts distances in bins from 0 up to the largest that has come.

    At least half of the bins, less one, lie below the largest distance.
    """

    def __init__(self) -> None:
        self._width = 0.  # as long as all distances are 0
        self._counts = np.zeros((2, _NUM_BINS), np.int64)

    def _reach(self, largest: float) -> None:
        if self._width == 0:
            self._width = largest / _NUM_BINS
        while largest > self._width * _NUM_BINS:
            merged = self._counts.reshape(2, -1, 2).sum(axis=2)
            self._counts = np.pad(merged, ((0, 0), (0, _NUM_BINS // 2)))
            self._width *= 2

    def add(self, distances: np.ndarray, *masks: np.ndarray) -> None:
        """Count the distances (b, G), none negative, that either mask (b, G) picks."""
        if distances.min(initial=0) < 0:
            raise ValueError('Distances of pairs must not be negative, got '
                             f'{distances.min()}.')
        self._reach(float(distances.max(where=masks[0] | masks[1], initial=0)))
        # Row by row: the numbers of bins of a whole block would take twice its memory.
        for row, *picked in zip(distances, *masks):
            bins = np.minimum(row / (self._width or 1.), _NUM_BINS - 1).astype(np.int64)
            for counts, mask in zip(self._counts, picked):
                counts += np.bincount(bins[mask], minlength=_NUM_BINS)

    def histogram(self) -> PairHistogram:
        """What has been counted so far."""
        return PairHistogram((self._width or 1.) * np.arange(_NUM_BINS + 1),
                             *self._counts)


def coarser(histogram: PairHistogram, num_bins: int = 60) -> PairHistogram:
    """At most so many bins, over the distances that occur; no count is lost."""
    filled = np.flatnonzero(histogram.same + histogram.different)
    first, last = (filled[0], filled[-1]) if len(filled) else (0, 0)
    step = -(-(last + 1 - first) // num_bins)
    starts = np.arange(first, last + 1, step)
    stop = starts[-1] + step  # may lie past the last fine bin
    width = histogram.edges[1] - histogram.edges[0]
    edges = np.append(histogram.edges[starts], histogram.edges[0] + stop * width)
    return PairHistogram(edges, *(np.add.reduceat(counts[:stop], starts)
                                  for counts in histogram[1:]))


def separation(histogram: PairHistogram) -> Separation:
    """How far distance tells one person from two, to within the width of a bin.

    Raises:
        ValueError: There are no pairs of one kind.
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


def review_ranking(distances: Union[np.ndarray, Blocks], q_pids: Sequence[int],
                   g_pids: Sequence[int], q_camids: Sequence[int],
                   g_camids: Sequence[int], k: int = 10) -> RankingReview:
    """Ranks, lists and pairs of a ranking whose distances pass by once.

    Args:
        distances: (Q, G) or blocks of it, none negative; see :func:`rank_distances`.
        q_pids, g_pids: (Q,) and (G,) integers.
        q_camids, g_camids: Likewise.
        k: Entries of a list, ignored ones included; all where the gallery has fewer.

    Raises:
        ValueError: As for :func:`rank_distances`; k is below 1, or a distance is
            negative.

    Example:
        >>> lists = review_ranking([[.1, .3, .2]], [7], [7, 7, 8], [1], [1, 2, 1]).lists
        >>> lists.index.tolist(), lists.state.tolist(), lists.rank.tolist()
        ([[0, 2, 1]], [[2, 0, 1]], [[0, 1, 2]])
    """
    check_counts(k=k)
    parts, counter = [], _PairCounter()
    q_pid, g_pid, q_camid, g_camid = map(np.asarray, (
        q_pids, g_pids, q_camids, g_camids))

    def watch() -> Iterator[tuple[slice, np.ndarray]]:
        for rows, block in as_blocks(distances, len(g_pid)):
            yield rows, block  # the consumer checks it before it is read here
            block, same_pid = np.asarray(block), q_pid[rows, None] == g_pid
            states = np.where(same_pid, np.int8(RIGHT), np.int8(WRONG))
            states[same_pid & same_camera(q_camid[rows], g_camid)] = IGNORED
            parts.append(_lists(block, states, k))
            counter.add(block, states == RIGHT, states == WRONG)

    ranks = rank_distances(watch(), q_pids, g_pids, q_camids, g_camids)
    lists = RankedLists(*map(np.concatenate, zip(*parts)))
    return RankingReview(ranks, lists, counter.histogram())


def extreme_queries(ranks: QueryRanks, count: int) -> ExtremeQueries:
    """The best and the worst queries; those without a match are neither.

    Args:
        ranks: Of all queries.
        count: Of each kind; fewer where not twice as many queries have a match. One
            query alone is the best.
    """
    valid = np.flatnonzero(ranks.valid)
    precision, wanted = ranks.average_precision[valid], -ranks.num_matches[valid]
    num_worst = min(count, len(valid) // 2)
    num_best = min(count, len(valid) - num_worst)
    best = valid[np.lexsort((wanted, -precision))][:num_best]
    rest = ~np.isin(valid, best)
    worst = valid[rest][np.lexsort((wanted[rest], precision[rest]))][:num_worst]
    return ExtremeQueries(best, worst)
