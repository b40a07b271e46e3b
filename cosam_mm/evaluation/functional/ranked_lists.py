"""What stands behind the figures of a ranking: the lists themselves, and all pairs.

The rules are those at the head of :mod:`.retrieval`. A list shows also what those rules
remove, the gallery entries of the query's own person and camera, marked :data:`IGNORED`
and without a rank, so that a reader sees what was not counted. Equal distances come as
they are rated: wrong, right, ignored.
"""
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .pair_histogram import PairCounter, PairHistogram
from .retrieval import QueryRanks, rank_blocks

__all__ = ['IGNORED', 'RIGHT', 'WRONG', 'ExtremeQueries', 'RankedLists',
           'RankingReview', 'extreme_queries', 'ranked_lists', 'review_blocks']

# In the order in which entries of one distance are listed.
WRONG, RIGHT, IGNORED = range(3)


class RankedLists(NamedTuple):
    """The k nearest gallery entries of each of Q queries, nearest first.

    Attributes:
        index: (Q, k) int64, numbers of gallery entries.
        distance: (Q, k).
        state: (Q, k) int8: :data:`WRONG`, :data:`RIGHT` or :data:`IGNORED`.
        rank: (Q, k) int64, place from 1 up among those that count; 0 if ignored.
    """
    index: np.ndarray
    distance: np.ndarray
    state: np.ndarray
    rank: np.ndarray


class RankingReview(NamedTuple):
    """A ranking, seen from all sides.

    Attributes:
        ranks: Where the right entries of each query rank.
        lists: The beginning of each query's list.
        pairs: Distances of all pairs that count.
    """
    ranks: QueryRanks
    lists: RankedLists
    pairs: PairHistogram


class ExtremeQueries(NamedTuple):
    """Numbers of queries, none of them in both.

    Attributes:
        best: Highest average precision first; of equals, the one with more right
            entries to find.
        worst: Lowest first; of equals, the one with more right entries missed.
    """
    best: np.ndarray
    worst: np.ndarray


# -- lists -------------------------------------------------------------------


def _states(q_pids: np.ndarray, g_pids: np.ndarray, q_camids: np.ndarray,
            g_camids: np.ndarray) -> np.ndarray:
    """(Q, G) int8."""
    same_pid = q_pids[:, None] == g_pids
    states = np.where(same_pid, np.int8(RIGHT), np.int8(WRONG))
    states[same_pid & (q_camids[:, None] == g_camids)] = IGNORED
    return states


def _beginning(distances: np.ndarray, states: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k nearest of (G,) entries; of equals the lower state, then number.
    """
    candidates = np.arange(len(distances))
    if k < len(distances):
        # A partition alone would choose among ties at the end as it likes.
        limit = np.partition(distances, k - 1)[k - 1]
        candidates = np.flatnonzero(distances <= limit)
    order = np.lexsort((states[candidates], distances[candidates]))  # stable
    return candidates[order[:k]]


def _lists(distances: np.ndarray, states: np.ndarray, k: int) -> RankedLists:
    k = min(k, distances.shape[1])
    index = np.stack([_beginning(*row, k) for row in zip(distances, states)])
    state = np.take_along_axis(states, index, axis=1)
    counts = state != IGNORED
    return RankedLists(index, np.take_along_axis(distances, index, axis=1), state,
                       np.where(counts, np.cumsum(counts, axis=1), 0))


def _check_k(k: int) -> None:
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f'k must be an integer of at least 1, got {k!r}.')


def ranked_lists(distances: np.ndarray, q_pids: Sequence[int], g_pids: Sequence[int],
                 q_camids: Sequence[int], g_camids: Sequence[int],
                 k: int = 10) -> RankedLists:
    """The beginning of each query's ranked list, and what is right in it.

    Args:
        distances: (Q, G), finite; smaller is more alike.
        q_pids: (Q,) integers.
        g_pids: (G,) integers.
        q_camids: (Q,) integers.
        g_camids: (G,) integers.
        k: Entries of a list, ignored ones included; all where the gallery has fewer.

    Returns:
        Arrays (Q, min(k, G)); see :class:`RankedLists`.

    Raises:
        ValueError: Sizes do not fit, or k is below 1.

    Example:
        >>> lists = ranked_lists([[.1, .3, .2]], [7], [7, 7, 8], [1], [1, 2, 1])
        >>> lists.index.tolist(), lists.state.tolist(), lists.rank.tolist()
        ([[0, 2, 1]], [[2, 0, 1]], [[0, 1, 2]])
    """
    _check_k(k)
    distances = np.asarray(distances)
    ids = [np.asarray(values) for values in (q_pids, g_pids, q_camids, g_camids)]
    sizes = [values.shape for values in ids]
    if len(distances.shape) != 2 or sizes != 2 * [(n,) for n in distances.shape]:
        raise ValueError(
            f'distances has shape {distances.shape}; q_pids, g_pids, q_camids and '
            f'g_camids of shapes {", ".join(map(str, sizes))} do not fit it.')
    return _lists(distances, _states(*ids), k)


# -- everything at once ------------------------------------------------------


def review_blocks(blocks: Iterable[tuple[slice, np.ndarray]], q_pids: Sequence[int],
                  g_pids: Sequence[int], q_camids: Sequence[int],
                  g_camids: Sequence[int], k: int = 10) -> RankingReview:
    """Ranks, lists and pairs of a ranking whose distances pass by once.

    Args:
        blocks: Pairs of (slice of queries, distances (b, G), none negative), all
            queries in order.
        q_pids: (Q,) integers.
        g_pids: (G,) integers.
        q_camids: (Q,) integers.
        g_camids: (G,) integers.
        k: Entries of a list.

    Returns:
        See :class:`RankingReview`.

    Raises:
        ValueError: As for :func:`.retrieval.rank_blocks`; k is
            below 1, or a distance is negative.
    """
    _check_k(k)
    parts, counter = [], PairCounter()
    q_ids, g_ids = ([np.asarray(values) for values in values]
                    for values in ((q_pids, q_camids), (g_pids, g_camids)))

    def watch() -> Iterator[tuple[slice, np.ndarray]]:
        for rows, block in blocks:
            yield rows, block  # what takes it checks it; then it is fit to be read
            block = np.asarray(block)
            states = _states(q_ids[0][rows], g_ids[0], q_ids[1][rows], g_ids[1])
            parts.append(_lists(block, states, k))
            counter.add(block, states == RIGHT, states == WRONG)

    ranks = rank_blocks(watch(), q_pids, g_pids, q_camids, g_camids)
    lists = RankedLists(*map(np.concatenate, zip(*parts)))
    return RankingReview(ranks, lists, counter.histogram())


def extreme_queries(ranks: QueryRanks, count: int) -> ExtremeQueries:
    """The best and the worst queries; those without truth are neither.

    Args:
        ranks: Of all queries.
        count: Of each kind; fewer where there are not twice as many queries with
            truth. One query alone is the best.

    Example:
        >>> from cosam_mm.evaluation.functional.retrieval import rank_distances
        >>> ranks = rank_distances([[1, 2], [2, 1], [1, 2]], [7, 7, 9], [7, 8],
        ...                        [1, 1, 1], [2, 2])
        >>> best, worst = extreme_queries(ranks, 4)
        >>> best.tolist(), worst.tolist()
        ([0], [1])
    """
    valid = np.flatnonzero(ranks.valid)
    precision, wanted = ranks.average_precision[valid], -ranks.num_true[valid]
    num_worst = min(count, len(valid) // 2)
    num_best = min(count, len(valid) - num_worst)
    best = valid[np.lexsort((wanted, -precision))][:num_best]
    rest = ~np.isin(valid, best)
    worst = valid[rest][np.lexsort((wanted[rest], precision[rest]))][:num_worst]
    return ExtremeQueries(best, worst)
