"""How well a gallery is ranked: CMC, average precision, inverse negative penalty.

The rules that every metric of this package follows:

* Gallery entries of the query's own person *and* camera are removed, query by query
  (Zheng et al., *Scalable Person Re-identification: A Benchmark*, ICCV 2015). With
  the query tracklets left in the gallery, this removes the query itself too.
* Among equal distances, wrong entries rank before positive matches. No order of the
  gallery can then improve a result, the metrics do not depend on that order, and a
  model that sends every tracklet to one point gets what it deserves.
* The average precision is the mean, over the positive matches, of the precision at
  their ranks: not interpolated, and without the trapezoids of the Oxford Buildings
  code, which give values a little off for the same ranking.
* The inverse negative penalty (Ye et al., *Deep Learning for Person
  Re-identification: A Survey and Outlook*, TPAMI 2021) is the number of positive
  matches divided by the rank of the last of them.
* A query without a positive match left has no metrics. It is counted, and is in no
  mean.

With these rules the j-th nearest positive match ranks at j plus the number of wrong
entries at most as far, so that one sort of the wrong distances gives all ranks.
"""
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional, Union

import numpy as np

from .distance import check_counts, slices

__all__ = ['QueryRanks', 'RetrievalMetrics', 'rank_distances', 'retrieval_metrics']

Blocks = Iterable[tuple[slice, np.ndarray]]

_BLOCK_BYTES = 2**26


class QueryRanks(NamedTuple):
    """Ranks of the positive matches of each of Q queries, from 1 up."""
    num_matches: np.ndarray  # (Q,) int64, positive entries that were not removed
    first_rank: np.ndarray  # (Q,) int64, rank of the nearest of them; 0 without a match
    last_rank: np.ndarray  # (Q,) int64, rank of the farthest; 0 without a match
    average_precision: np.ndarray  # (Q,) float64 in [0, 1], NaN without a match

    @property
    def valid(self) -> np.ndarray:
        """(Q,) bool: the query has a positive match."""
        return self.num_matches > 0

    @property
    def inverse_negative_penalty(self) -> np.ndarray:
        """(Q,) float64 in (0, 1], NaN without a match."""
        with np.errstate(invalid='ignore'):
            return self.num_matches / self.last_rank


class RetrievalMetrics(NamedTuple):
    """Means over the valid queries."""
    # (max_rank,) float64; cmc[k - 1] is the share of queries that have a positive
    # match among their first k.
    cmc: np.ndarray
    mean_ap: float  # mean average precision
    mean_inp: float  # mean inverse negative penalty
    num_valid: int  # queries in the means
    num_without_match: int  # queries left out


class _Ids(NamedTuple):
    q_pids: np.ndarray
    g_pids: np.ndarray
    q_camids: np.ndarray
    g_camids: np.ndarray


def same_camera(q_camids: np.ndarray, g_camids: np.ndarray) -> np.ndarray:
    """(b, G) bool: whether any column of cameras (b[, C]) and (G[, C]) is equal."""
    q, g = (camids.reshape(len(camids), -1).T for camids in (q_camids, g_camids))
    return np.logical_or.reduce([own[:, None] == other for own, other in zip(q, g)])


def _check_ids(*values: Sequence[int]) -> _Ids:
    ids = _Ids(*map(np.asarray, values))
    for name, values in ids._asdict().items():
        num_dims = max(values.ndim, 1) if 'camids' in name and values.ndim < 3 else 1
        if values.ndim != num_dims or values.dtype.kind not in 'iu' or not len(values):
            raise ValueError(
                f'{name} must hold an integer for each tracklet, and at least one, got '
                f'{values.dtype} of shape {values.shape}.')
    for pids, camids in ((0, 2), (1, 3)):
        if len(ids[pids]) != len(ids[camids]):
            raise ValueError(
                f'{ids._fields[pids]} has {len(ids[pids])} entries, '
                f'{ids._fields[camids]} has {len(ids[camids])}: they must be as many.')
    return ids


def _rank_rows(distances: np.ndarray, ids: _Ids, rows: slice) -> QueryRanks:
    """Ranks of the queries ``rows`` from their distances (b, G)."""
    same_pid = ids.q_pids[rows, None] == ids.g_pids
    row, column = np.nonzero(same_pid & ~same_camera(ids.q_camids[rows], ids.g_camids))
    value = distances[row, column]
    order = np.lexsort((value, row))
    row, value = row[order], value[order]
    # An entry of the same person is either a match or removed: the rest is wrong.
    wrong = np.where(same_pid, np.inf, distances).astype(distances.dtype, copy=False)
    wrong.sort(axis=1)
    num_matches = np.bincount(row, minlength=len(distances))
    start = np.cumsum(num_matches) - num_matches
    position = np.arange(len(row)) - start[row] + 1
    rank = position + np.concatenate([
        np.searchsorted(own_wrong, own, side='right')
        for own_wrong, own in zip(wrong, np.split(value, start[1:]))])
    valid = num_matches > 0
    first_rank, last_rank = np.zeros((2, len(num_matches)), np.int64)
    first_rank[valid] = rank[start[valid]]
    last_rank[valid] = rank[start[valid] + num_matches[valid] - 1]
    precision = np.bincount(row, position / rank, len(num_matches))
    with np.errstate(invalid='ignore'):
        return QueryRanks(num_matches, first_rank, last_rank, precision / num_matches)


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
        raise ValueError(f'Distances of {len(bad)} queries hold NaN or infinity; the '
                         f'first is query {rows.start + bad[0]}.')
    return block


def as_blocks(distances: Union[np.ndarray, Blocks], num_gallery: int
              ) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of a whole matrix; blocks as they are."""
    if isinstance(distances, Iterator):
        return distances
    distances = np.asarray(distances)
    if distances.ndim != 2:
        raise ValueError(f'Distances have shape {distances.shape}; expected (number of '
                         'queries, size of the gallery).')
    step = _BLOCK_BYTES // (8 * max(num_gallery, 1))
    return ((rows, distances[rows]) for rows in slices(len(distances), step))


def rank_distances(distances: Union[np.ndarray, Blocks], q_pids: Sequence[int],
                   g_pids: Sequence[int], q_camids: Sequence[int],
                   g_camids: Sequence[int]) -> QueryRanks:
    """Rank the gallery for each query by distances, whole or one block at a time.

    The rules are those at the head of this file. Beside a block about 20 bytes are held
    for each of its distances.

    Args:
        distances: (Q, G), smaller is more alike; or an iterator over pairs of (slice
            of queries, distances (b, G)), all queries in order, as
            :func:`.distance.distance_blocks` and :func:`.reranking.rerank_blocks`
            return it.
        q_pids, g_pids: (Q,) and (G,) integers.
        q_camids, g_camids: Likewise; or (Q, C) and (G, C), where one equal column is
            enough to remove an entry of the query's person.

    Raises:
        ValueError: There is no query or no gallery entry, sizes do not fit, or a
            distance is not finite.

    Example:
        >>> ranks = rank_distances([[.1, .5, .2, .5]], q_pids=[7], g_pids=[7, 7, 8, 9],
        ...                        q_camids=[1], g_camids=[1, 2, 1, 1])
        >>> ranks.first_rank.tolist(), ranks.average_precision.round(4).tolist()
        ([3], [0.3333])
    """
    ids = _check_ids(q_pids, g_pids, q_camids, g_camids)
    parts, done = [], 0
    for rows, block in as_blocks(distances, len(ids.g_pids)):
        if rows.start != done or rows.stop > len(ids.q_pids):
            raise ValueError(
                f'A block of distances holds the queries {rows.start} to '
                f'{rows.stop - 1}, after {done} of {len(ids.q_pids)}.')
        block = _check_block(block, rows, len(ids.g_pids))
        parts.append(_rank_rows(block, ids, rows))
        done = rows.stop
    if done != len(ids.q_pids):
        raise ValueError(
            f'Distances came for {done} queries; q_pids has {len(ids.q_pids)}.')
    return QueryRanks(*map(np.concatenate, zip(*parts)))


def retrieval_metrics(ranks: QueryRanks, max_rank: int = 20,
                      selection: Optional[np.ndarray] = None) -> RetrievalMetrics:
    """CMC, mAP and mINP over the queries that have a positive match.

    Args:
        ranks: What :func:`rank_distances` returned.
        max_rank: Length of the CMC curve. It may exceed the gallery.
        selection: (Q,) bool, queries to evaluate. Default: all.

    Raises:
        ValueError: No selected query has a match, max_rank is below 1, or the selection
            does not fit.
    """
    check_counts(max_rank=max_rank)
    valid = ranks.valid
    selection = np.ones(len(valid), bool) if selection is None \
        else np.asarray(selection)
    if selection.dtype != bool or selection.shape != valid.shape:
        raise ValueError(
            f'selection must hold one bool for each of {len(valid)} queries, got '
            f'{selection.dtype} of shape {selection.shape}.')
    is_used = selection & valid
    if not is_used.any():
        raise ValueError(
            f'None of the {selection.sum()} queries has a gallery entry of the same '
            'person from another camera, so there is nothing to evaluate: check that '
            'query and gallery hold the same persons, and the camera numbers.')
    hits = np.bincount(np.minimum(ranks.first_rank[is_used], max_rank + 1),
                       minlength=max_rank + 2)
    return RetrievalMetrics(
        cmc=np.cumsum(hits[1:max_rank + 1]) / is_used.sum(),
        mean_ap=float(ranks.average_precision[is_used].mean()),
        mean_inp=float(ranks.inverse_negative_penalty[is_used].mean()),
        num_valid=int(is_used.sum()),
        num_without_match=int((selection & ~is_used).sum()))
