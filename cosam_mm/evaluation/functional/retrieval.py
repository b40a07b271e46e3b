"""How well a gallery is ranked: CMC, average precision, inverse negative penalty.

The rules, which every number of this package follows:

* Gallery entries of the query's own person *and* camera are removed, query by query
  (Zheng et al., *Scalable Person Re-identification: A Benchmark*, ICCV 2015). With
  the query tracklets left in the gallery, this removes the query itself too.
* Among equal distances, wrong entries rank before true ones. No order of the gallery
  can then flatter a result, the figures do not depend on that order, and a model
  that sends every tracklet to one point gets what it deserves.
* The average precision is the mean, over the true entries, of the precision at
  their ranks: not interpolated, and without the trapezoids of the Oxford Buildings
  code, which give figures a little off for the same ranking.
* The inverse negative penalty (Ye et al., *Deep Learning for Person
  Re-identification: A Survey and Outlook*, TPAMI 2021) is the number of true entries
  divided by the rank of the last of them.
* A query without a true entry left has no figures. It is counted, and is in no mean.

With these rules the j-th nearest true entry ranks at j plus the number of wrong
entries at most as far, so that one sort of the wrong distances gives all ranks.
"""
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

import numpy as np

from .distance import Features, distance_blocks

__all__ = [
    'QueryRanks',
    'RetrievalFigures',
    'rank_blocks',
    'rank_distances',
    'rank_features',
    'retrieval_figures',
]

_BLOCK_BYTES = 2**26


class QueryRanks(NamedTuple):
    """Where the true gallery entries of each of Q queries rank, from 1 up.

    A query without truth has num_true, first_rank and last_rank 0.

    Attributes:
        num_true: (Q,) int64, true gallery entries that were not removed.
        first_rank: (Q,) int64, rank of the nearest of them.
        last_rank: (Q,) int64, rank of the farthest of them.
        average_precision: (Q,) float64 in [0, 1], NaN without truth.
    """
    num_true: np.ndarray
    first_rank: np.ndarray
    last_rank: np.ndarray
    average_precision: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """(Q,) bool: the query has a true gallery entry."""
        return self.num_true > 0

    @property
    def inverse_negative_penalty(self) -> np.ndarray:
        """(Q,) float64 in (0, 1], NaN without truth."""
        with np.errstate(invalid='ignore'):
            return self.num_true / self.last_rank


class RetrievalFigures(NamedTuple):
    """Means over the valid queries.

    Attributes:
        cmc: (max_rank,) float64; cmc[k - 1] is the share of queries that have a true
            entry among their first k.
        mean_ap: Mean average precision.
        mean_inp: Mean inverse negative penalty.
        num_valid: Queries in the means.
        num_without_truth: Queries left out.
    """
    cmc: np.ndarray
    mean_ap: float
    mean_inp: float
    num_valid: int
    num_without_truth: int


# -- ranks -------------------------------------------------------------------


class _Ids(NamedTuple):
    q_pids: np.ndarray
    g_pids: np.ndarray
    q_camids: np.ndarray
    g_camids: np.ndarray


def _check_ids(q_pids: Sequence[int], g_pids: Sequence[int], q_camids: Sequence[int],
               g_camids: Sequence[int]) -> _Ids:
    ids = _Ids(*map(np.asarray, (q_pids, g_pids, q_camids, g_camids)))
    for name, values in ids._asdict().items():
        if values.ndim != 1:
            raise ValueError(f'{name} has shape {values.shape}; expected one number '
                             'for each tracklet.')
        if not len(values):
            raise ValueError(
                f'{name} is empty: there is no '
                f'{"query" if name[0] == "q" else "gallery"} tracklet to rank.')
        if values.dtype.kind not in 'iu':
            raise ValueError(f'{name} must hold integers, got {values.dtype}.')
    for pids, camids in ((0, 2), (1, 3)):
        if len(ids[pids]) != len(ids[camids]):
            raise ValueError(
                f'{ids._fields[pids]} has {len(ids[pids])} entries, '
                f'{ids._fields[camids]} has {len(ids[camids])}: they must be as many.')
    return ids


def _count_not_above(sorted_rows: np.ndarray, row: np.ndarray,
                     value: np.ndarray) -> np.ndarray:
    """For each pair: how many numbers of sorted_rows[row] are at most value.

    One binary search for all pairs at once.
    """
    width = sorted_rows.shape[1]
    low, high = np.zeros(len(row), np.int64), np.full(len(row), width)
    for _ in range(width.bit_length()):
        middle = (low + high) // 2
        searching = low < high
        not_above = sorted_rows[row, np.minimum(middle, width - 1)] <= value
        low = np.where(searching & not_above, middle + 1, low)
        high = np.where(searching & ~not_above, middle, high)
    return low


def _rank_rows(distances: np.ndarray, ids: _Ids, rows: slice) -> QueryRanks:
    """Ranks of the queries ``rows`` from their distances (b, G)."""
    same_pid = ids.q_pids[rows, None] == ids.g_pids
    same_camera = ids.q_camids[rows, None] == ids.g_camids
    row, column = np.nonzero(same_pid & ~same_camera)
    value = distances[row, column]
    order = np.lexsort((value, row))
    row, value = row[order], value[order]
    # Whoever is of the same person is either true or removed: the rest is wrong.
    wrong = np.where(same_pid, np.inf, distances).astype(distances.dtype, copy=False)
    wrong.sort(axis=1)
    num_true = np.bincount(row, minlength=len(distances))
    start = np.cumsum(num_true) - num_true
    position = np.arange(len(row)) - start[row] + 1
    rank = position + _count_not_above(wrong, row, value)
    return _collect(row, position, rank, start, num_true)


def _collect(row: np.ndarray, position: np.ndarray, rank: np.ndarray,
             start: np.ndarray, num_true: np.ndarray) -> QueryRanks:
    """Figures of each query from the ranks of its true entries, nearest first."""
    valid = num_true > 0
    first_rank, last_rank = np.zeros((2, len(num_true)), np.int64)
    first_rank[valid] = rank[start[valid]]
    last_rank[valid] = rank[start[valid] + num_true[valid] - 1]
    precision = np.bincount(row, position / rank, len(num_true))
    with np.errstate(invalid='ignore'):
        return QueryRanks(num_true, first_rank, last_rank, precision / num_true)


def _check_block(block: np.ndarray, rows: slice, num_gallery: int) -> np.ndarray:
    block = np.asarray(block)
    if block.shape != (rows.stop - rows.start, num_gallery):
        raise ValueError(
            f'Distances of the queries {rows.start} to {rows.stop - 1} have shape '
            f'{block.shape}; expected {(rows.stop - rows.start, num_gallery)}.')
    if block.dtype.kind not in 'fiu':
        raise ValueError(f'Distances must be real numbers, got {block.dtype}.')
    if block.dtype not in (np.float32, np.float64):
        block = block.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if len(bad):
        raise ValueError(
            f'Distances of {len(bad)} queries hold NaN or infinity; the first is '
            f'query {rows.start + bad[0]}.')
    return block


def rank_blocks(blocks: Iterable[tuple[slice, np.ndarray]], q_pids: Sequence[int],
                g_pids: Sequence[int], q_camids: Sequence[int],
                g_camids: Sequence[int]) -> QueryRanks:
    """Ranks from rows of a distance matrix that come one block at a time.

    Beside the block itself about 20 bytes are held for each of its numbers.

    Args:
        blocks: Pairs of (slice of queries, distances (b, G)), all queries in order.
        q_pids: (Q,) integers.
        g_pids: (G,) integers.
        q_camids: (Q,) integers.
        g_camids: (G,) integers.

    Returns:
        Ranks of the true entries of each query; see :class:`QueryRanks` and the rules
        at the head of this file.

    Raises:
        ValueError: There is no query or no gallery entry, sizes do not fit, or a
            distance is not finite.
    """
    ids = _check_ids(q_pids, g_pids, q_camids, g_camids)
    parts, done = [], 0
    for rows, block in blocks:
        if rows.start != done:
            raise ValueError(f'A block starts at query {rows.start}, expected {done}.')
        block = _check_block(block, rows, len(ids.g_pids))
        parts.append(_rank_rows(block, ids, rows))
        done = rows.stop
    if done != len(ids.q_pids):
        raise ValueError(
            f'Distances came for {done} queries; q_pids has {len(ids.q_pids)}.')
    return QueryRanks(*map(np.concatenate, zip(*parts)))


def rank_distances(distances: np.ndarray, q_pids: Sequence[int], g_pids: Sequence[int],
                   q_camids: Sequence[int], g_camids: Sequence[int]) -> QueryRanks:
    """Ranks from a distance matrix.

    Args:
        distances: (Q, G); smaller is more alike.
        q_pids: (Q,) integers.
        g_pids: (G,) integers.
        q_camids: (Q,) integers.
        g_camids: (G,) integers.

    Returns:
        Ranks of the true entries of each query; see :class:`QueryRanks` and the rules
        at the head of this file.

    Raises:
        ValueError: As for :func:`rank_blocks`.

    Example:
        >>> ranks = rank_distances([[.1, .5, .2, .5]], q_pids=[7], g_pids=[7, 7, 8, 9],
        ...                        q_camids=[1], g_camids=[1, 2, 1, 1])
        >>> ranks.first_rank.tolist(), ranks.average_precision.round(4).tolist()
        ([3], [0.3333])
    """
    distances = np.asarray(distances)
    shape = (len(q_pids), len(g_pids))
    if distances.shape != shape:
        raise ValueError(
            f'distances has shape {distances.shape}; {shape[0]} queries and {shape[1]} '
            f'gallery entries need {shape}.')
    step = max(1, _BLOCK_BYTES // (8 * max(shape[1], 1)))
    blocks = ((slice(start, min(start + step, shape[0])), distances[start:start + step])
              for start in range(0, shape[0], step))
    return rank_blocks(blocks, q_pids, g_pids, q_camids, g_camids)


def rank_features(q_features: Features, g_features: Features, q_pids: Sequence[int],
                  g_pids: Sequence[int], q_camids: Sequence[int],
                  g_camids: Sequence[int], distance: str = 'euclidean') -> QueryRanks:
    """Ranks from features, without ever holding the whole distance matrix.

    Beside the features at most about 350 MiB are held (for galleries of up to
    ten million entries; 30 bytes an entry beyond).

    Args:
        q_features: (Q, D).
        g_features: (G, D).
        q_pids: (Q,) integers.
        g_pids: (G,) integers.
        q_camids: (Q,) integers.
        g_camids: (G,) integers.
        distance: One of :data:`cosam_mm.evaluation.functional.distance.DISTANCES`.

    Returns:
        Ranks of the true entries of each query; see :class:`QueryRanks` and the rules
        at the head of this file.

    Raises:
        ValueError: As for :func:`rank_blocks` and
            :func:`cosam_mm.evaluation.functional.distance.distance_blocks`.
    """
    _check_ids(q_pids, g_pids, q_camids, g_camids)
    for name, features, pids in (('query', q_features, q_pids),
                                 ('gallery', g_features, g_pids)):
        if len(features) != len(pids):
            raise ValueError(f'{len(features)} {name} features came with {len(pids)} '
                             f'{name[0]}_pids.')
    blocks = distance_blocks(q_features, g_features, distance, _BLOCK_BYTES)
    return rank_blocks(blocks, q_pids, g_pids, q_camids, g_camids)


# -- figures -----------------------------------------------------------------


def _check_selection(selection: Optional[np.ndarray], count: int) -> np.ndarray:
    if selection is None:
        return np.ones(count, bool)
    selection = np.asarray(selection)
    if selection.dtype != bool or selection.shape != (count,):
        raise ValueError(
            f'selection must hold one bool for each of {count} queries, got '
            f'{selection.dtype} of shape {selection.shape}.')
    return selection


def retrieval_figures(ranks: QueryRanks, max_rank: int = 20,
                      selection: Optional[np.ndarray] = None) -> RetrievalFigures:
    """CMC, mAP and mINP over the queries that have a true gallery entry.

    Args:
        ranks: What :func:`rank_distances` or :func:`rank_features` returned.
        max_rank: Length of the CMC curve. It may exceed the gallery.
        selection: (Q,) bool, queries to rate. Default: all.

    Returns:
        The means; see :class:`RetrievalFigures`.

    Raises:
        ValueError: No selected query has truth, max_rank is below 1, or the selection
            does not fit.

    Example:
        >>> ranks = rank_distances([[.1, .2], [.3, .9]], [7, 8], [7, 8], [1, 1], [2, 2])
        >>> figures = retrieval_figures(ranks, max_rank=2)
        >>> figures.cmc.tolist(), figures.mean_ap
        ([0.5, 1.0], 0.75)
    """
    if not isinstance(max_rank, (int, np.integer)) or max_rank < 1:
        raise ValueError(
            f'max_rank must be an integer of at least 1, got {max_rank!r}.')
    selection = _check_selection(selection, len(ranks.num_true))
    rated = selection & ranks.valid
    if not rated.any():
        raise ValueError(
            f'None of the {selection.sum()} queries has a gallery entry of the same '
            'person from another camera, so there is nothing to rate: check that query '
            'and gallery hold the same persons, and the camera numbers.')
    hits = np.bincount(np.minimum(ranks.first_rank[rated], max_rank + 1),
                       minlength=max_rank + 2)
    return RetrievalFigures(
        cmc=np.cumsum(hits[1:max_rank + 1]) / rated.sum(),
        mean_ap=float(ranks.average_precision[rated].mean()),
        mean_inp=float(ranks.inverse_negative_penalty[rated].mean()),
        num_valid=int(rated.sum()),
        num_without_truth=int((selection & ~rated).sum()))
