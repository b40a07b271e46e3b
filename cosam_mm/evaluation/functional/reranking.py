"""Re-ranking by shared neighbours, in memory that grows with the neighbours.

Zhong, Zheng, Cao, Li, *Re-ranking Person Re-identification with k-reciprocal
Encoding*, CVPR 2017, section 3: two items are alike when their neighbourhoods are. A
neighbourhood holds some dozens of items, so all of it lives in sparse rows; the
distance matrix of all items with each other passes by in blocks and is never kept.

Where the paper leaves a choice, the one of its authors' published code is taken:

* neighbours of an item are looked for among all Q + G items, itself included and
  always first: N(p, k) is p and its k nearest others;
* d is the squared Euclidean distance, each row divided by its largest value;
* the rows of V sum to 1 before the local query expansion;
* k1/2 is rounded to the nearest integer, halves to the even one.

Where both are clear and differ, the paper is followed: a neighbour's set is joined
when *at least* two thirds of it are shared (that code asks for more than two thirds).
Among equal distances, the item with the lower number is the nearer one.
"""
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable, Optional

import numpy as np

from .distance import (
    Features,
    check_counts,
    check_pair,
    distance_blocks,
    feature_array,
    pair_distances,
)
from .neighbours import nearest

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix, csr_matrix

__all__ = ['check_rerank_options', 'rerank_blocks']

Report = Callable[[int], object]

_JACCARD_NUMBERS = 2**19  # distances at a time, which stay in the cache


def _membership(index: np.ndarray) -> 'csr_matrix':
    """(N, N) with 1 where the column is among the neighbours of the row."""
    from scipy.sparse import csr_matrix
    count, width = index.shape
    return csr_matrix((np.ones(index.size, np.int32), index.ravel(),
                       np.arange(count + 1) * width), shape=(count, count))


def _reciprocal(index: np.ndarray, k: int) -> 'csr_matrix':
    """R(p, k): those among the k nearest of p that have p among theirs."""
    members = _membership(index[:, :k + 1])
    return members.multiply(members.T).tocsr()


def _expanded(index: np.ndarray, k1: int) -> 'csr_matrix':
    """R*(p, k1): R(p, k1) and the sets R(q, k1/2) of its members that overlap enough.

    Enough is: R(p, k1) holds at least two thirds of R(q, k1/2).
    """
    whole = _reciprocal(index, k1)
    half = _reciprocal(index, round(k1 / 2))
    # half is symmetric, so column q of it is the set of q; that set is never empty.
    shared = (whole @ half).multiply(whole).tocoo()
    size = np.diff(half.indptr)
    joined = shared.copy()
    joined.data = (3 * shared.data >= 2 * size[shared.col]).astype(np.int32)
    joined = joined.tocsr()
    joined.eliminate_zeros()
    expanded = (whole + joined @ half).tocsr()
    expanded.sort_indices()
    return expanded


def _self_first(index: np.ndarray) -> np.ndarray:
    """Numbers (N, k + 1) of the nearest items, each item itself moved to the front.

    Where as many others as are listed lie at distance 0, an item may not be among its
    own nearest; it takes the position of the last.
    """
    own = np.arange(len(index))[:, None]
    is_own = index == own
    is_own[~is_own.any(axis=1), -1] = True
    order = np.argsort(~is_own, axis=1, kind='stable')
    return np.hstack([own, np.take_along_axis(index, order, axis=1)[:, 1:]])


def _encode(items: np.ndarray, index: np.ndarray, farthest: np.ndarray, k1: int,
            distance: str) -> 'csr_matrix':
    """V: exp(-d) where the column is in R* of the row, rows divided by their sum."""
    encoded = _expanded(index, k1).astype(np.float64)
    row = np.repeat(np.arange(len(items)), np.diff(encoded.indptr))
    rows, *_ = check_pair(items, items, distance)
    distances = pair_distances(rows, rows, row, encoded.indices, distance)
    encoded.data = np.exp(-distances / farthest[row])
    encoded.data /= np.bincount(row, encoded.data)[row]
    return encoded


def _expand_queries(encoded: 'csr_matrix', index: np.ndarray, k2: int,
                    num_query: int) -> tuple['csr_matrix', 'csc_matrix']:
    """Mean of the rows of an item and of its k2 - 1 nearest others.

    The gallery's are much the largest thing here, and are made by column at once.
    """
    members = _membership(index[:, :k2]).astype(np.float64)
    members.data /= min(k2, index.shape[1])
    queries = (members[:num_query] @ encoded).tocsr()
    return queries, members[num_query:].tocsc() @ encoded.tocsc()


def _jaccard_distances(rows: 'csr_matrix', gallery: 'csc_matrix') -> np.ndarray:
    """1 - sum of minima / sum of maxima, of rows (b, N) with gallery rows, (b, G).

    Only entries of gallery rows in a column that a row has, too, are touched. All rows
    sum to 1, so the maxima sum to 2 less the minima.
    """
    shape = rows.shape[0], gallery.shape[0]
    number = np.diff(gallery.indptr)[rows.indices]
    start = gallery.indptr[rows.indices] - (np.cumsum(number) - number)
    entry = np.repeat(start, number) + np.arange(number.sum())
    own = np.repeat(np.arange(len(number)), number)
    row = np.repeat(np.arange(shape[0]), np.diff(rows.indptr))[own]
    minima = np.bincount(row * shape[1] + gallery.indices[entry],
                         np.minimum(gallery.data[entry], rows.data[own]),
                         shape[0] * shape[1]).reshape(shape)
    return np.maximum(1 - minima / (2 - minima), 0)


def check_rerank_options(k1: int, k2: int, lambda_value: float) -> None:
    """Refuse what :func:`rerank_blocks` would, before features are at hand.

    Raises:
        ValueError: An option is out of range.
        ImportError: scipy is not installed.
    """
    check_counts(k1=k1, k2=k2)
    if not 0 <= lambda_value <= 1:
        raise ValueError(f'lambda_value must lie in [0, 1], got {lambda_value!r}.')
    try:
        import scipy.sparse  # noqa: F401
    except ImportError as error:
        raise ImportError('Re-ranking needs scipy: pip install scipy.') from error


def rerank_blocks(q_features: Features, g_features: Features, k1: int = 20,
                  k2: int = 6, lambda_value: float = 0.3,
                  distance: str = 'squared_euclidean',
                  report: Optional[Report] = None
                  ) -> Iterator[tuple[slice, np.ndarray]]:
    """Iterate over the rows of the re-ranked distance matrix.

    Needs scipy. Memory beside the features and one copy of them: about 100 k1 + 1,500
    bytes for each of the N = Q + G items while their neighbours are looked for, later
    12 bytes for each entry of the sparse V (N k2 k1 of them are usual), and about
    300 MiB for 2048-D features. The copy is given up before V is made.

    Args:
        q_features: (Q, D).
        g_features: (G, D).
        k1: Size of the neighbourhoods; k1 >= Q + G takes all items.
        k2: Items averaged in the local query expansion, the item itself among them;
            1 switches it off.
        lambda_value: Weight of the original distance, against the Jaccard distance.
        distance: The original distance, one of
            :data:`cosam_mm.evaluation.functional.distance.DISTANCES`.
        report: Called with the number of steps just done, 2 Q + G in all, as a
            progress bar's ``update`` is.

    Returns:
        Iterator over (slice of queries, re-ranked distances (b, G) in [0, 1]). The
        neighbours are found at its first step.

    Raises:
        ValueError: There is no query or no gallery feature, shapes do not fit, a row
            is not finite, or an option is out of range. This call raises it.
        ImportError: scipy is not installed.
    """
    check_rerank_options(k1, k2, lambda_value)
    queries, gallery = feature_array(q_features), feature_array(g_features)
    originals = distance_blocks(queries, gallery, distance)
    if not len(queries) or not len(gallery):
        raise ValueError(
            f'Query features have shape {queries.shape}, gallery features '
            f'{gallery.shape}: re-ranking needs at least one of each.')
    items = np.concatenate([queries, gallery])
    return _reranked(items, originals, len(queries), k1, k2, lambda_value, distance,
                     report or (lambda steps: None))


def _reranked(items: np.ndarray, originals: Iterator[tuple[slice, np.ndarray]],
              num_query: int, k1: int, k2: int, lambda_value: float, distance: str,
              report: Report) -> Iterator[tuple[slice, np.ndarray]]:
    """What :func:`rerank_blocks` returns, from checked arguments."""
    index, _, farthest = nearest(items, items, max(k1 + 1, k2), distance, report)
    index = _self_first(index)
    farthest[farthest == 0] = 1  # all items are one point: every distance stays 0
    encoded = _encode(items, index, farthest, k1, distance)
    del items  # the copy of all features, larger than all that follows
    encoded, gallery = _expand_queries(encoded, index, k2, num_query)
    step = max(1, _JACCARD_NUMBERS // gallery.shape[0])
    for rows, block in originals:
        block *= (lambda_value / farthest[rows, None]).astype(block.dtype)
        for start in range(0, len(block), step):
            part, first = block[start:start + step], rows.start + start
            part += (1 - lambda_value) * _jaccard_distances(
                encoded[first:first + len(part)], gallery)
            report(len(part))
        yield rows, block
