"""Distances between two sets of feature vectors, whole or block by block.

The squared distance is |q|^2 + |g|^2 - 2 qg, one matrix product. In single precision
that form loses what matters: two features of norm 50 that agree to a hundredth differ
by less than the product's rounding. Features therefore go through the product in
double precision, a block at a time, and a squared distance below 1e-12 of
|q|^2 + |g|^2, which is no more than rounding, becomes an exact 0. Only the result is
rounded, to the precision of the features, so that near-equal distances become ties
that a ranking can treat by its rule.

Features come as numpy arrays or torch tensors (any device, any real type). Results
are numpy arrays: float32, or float64 where a feature came in float64 or as integers.
"""
import warnings
from collections.abc import Iterator
from typing import NamedTuple, Union

import numpy as np
import torch

from cosam_mm.utils.messages import name_some

__all__ = ['DISTANCES', 'distance_blocks', 'pairwise_distances']

Features = Union[np.ndarray, torch.Tensor]

DISTANCES = ('euclidean', 'squared_euclidean', 'cosine')

# Share of |q|^2 + |g|^2: vectors that differ by about a millionth of their length.
RESOLUTION = 1e-12

_WORK_BYTES = 2**24  # one double-precision temporary of the product
_COORDINATES = 128  # at a time, of chosen pairs
_MAX_BLOCK_ROWS = 1024


class Rows(NamedTuple):
    """Checked features (N, D), and their squared norms (N,) float64."""
    values: np.ndarray
    squared_norm: np.ndarray


def feature_array(features: Features) -> np.ndarray:
    """Features as numpy: float32, or float64 where double or integers came."""
    if isinstance(features, torch.Tensor):
        features = features.detach()
        if features.is_floating_point() and features.dtype != torch.float64:
            features = features.float()  # numpy has no bfloat16
        features = features.cpu().numpy()
    features = np.asarray(features)
    if features.dtype.kind not in 'fiu':
        raise ValueError(f'Features must be real numbers, got {features.dtype}.')
    is_single = features.dtype in (np.float16, np.float32)
    return features.astype(np.float32 if is_single else np.float64, copy=False)


def slices(count: int, step: int) -> Iterator[slice]:
    """Slices of ``step`` rows, at least one, that cover ``count`` rows."""
    step = max(1, int(step))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def check_counts(**counts: int) -> None:
    """Refuse what is no whole number of at least 1."""
    for name, value in counts.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f'{name} must be an integer of at least 1, got {value!r}.')


def _check_rows(features: Features, name: str) -> Rows:
    values = feature_array(features)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f'{name} features have shape {values.shape}; expected (number '
                         'of tracklets, length of a feature).')
    squared_norm = np.empty(len(values))
    with np.errstate(over='ignore', invalid='ignore'):
        for rows in slices(len(values), _WORK_BYTES // (8 * values.shape[1])):
            part = values[rows].astype(np.float64)
            squared_norm[rows] = np.einsum('nd,nd->n', part, part)
    bad = np.flatnonzero(~np.isfinite(squared_norm))
    if len(bad):
        raise ValueError(
            f'{name} features hold NaN, infinity or a number too large to square in '
            f'row(s) {name_some(bad)} of {len(values)}.')
    return Rows(values, squared_norm)


def check_pair(q_features: Features, g_features: Features,
               distance: str) -> tuple[Rows, Rows, np.dtype]:
    """Checked queries and gallery, and the type of their distances."""
    if distance not in DISTANCES:
        raise ValueError(f'distance must be one of {DISTANCES}, got {distance!r}.')
    q = _check_rows(q_features, 'Query')
    g = q if g_features is q_features else _check_rows(g_features, 'Gallery')
    if q.values.shape[1] != g.values.shape[1]:
        raise ValueError(f'Query features {q.values.shape} and gallery features '
                         f'{g.values.shape} must agree in the second number.')
    dtype = np.result_type(q.values.dtype, g.values.dtype)
    largest = max(rows.squared_norm.max(initial=0) for rows in (q, g))
    if distance == 'squared_euclidean' and 4 * largest > np.finfo(dtype).max:
        raise ValueError(
            f'Features of norm {np.sqrt(largest):.3g} have squared distances that '
            f'{dtype} cannot hold: scale the features down.')
    return q, g, dtype


def _from_products(product: np.ndarray, q_squared: np.ndarray, g_squared: np.ndarray,
                   distance: str) -> np.ndarray:
    """Distances from inner products, which are overwritten, and |q|^2 and |g|^2."""
    if distance == 'cosine':
        norm = np.sqrt(q_squared) * np.sqrt(g_squared)
        np.divide(product, norm, out=product, where=norm > 0)
        product[norm == 0] = 0
        np.subtract(1, product, out=product)
        product[product < RESOLUTION] = 0
        return np.minimum(product, 2, out=product)
    total = q_squared + g_squared
    product *= -2
    product += total
    total *= RESOLUTION
    product[product < total] = 0
    return np.sqrt(product, out=product) if distance == 'euclidean' else product


def row_distances(q: Rows, g: Rows, rows: Union[slice, np.ndarray], distance: str,
                  dtype: np.dtype) -> np.ndarray:
    """Distances (b, G) of the queries ``rows`` to the whole gallery."""
    query, length = q.values[rows].astype(np.float64), q.values.shape[1]
    out = np.empty((len(query), len(g.values)), dtype)
    step = _WORK_BYTES // (8 * max(len(query), length))
    # Used over and over: fresh memory of this size costs a tenth of the product.
    gallery = np.empty((min(max(1, step), len(g.values)), length))
    for columns in slices(len(g.values), step):
        part = gallery[:columns.stop - columns.start]
        part[:] = g.values[columns]
        out[:, columns] = _from_products(
            query @ part.T, q.squared_norm[rows, None], g.squared_norm[columns],
            distance)
    return out


def _sampled_products(q: Rows, g: Rows, pairs: np.ndarray) -> np.ndarray:
    """Inner products (P,) of pairs, numbered row by row, ascending and different.

    Gathering the features of all pairs would take ten times as long.
    """
    rows, columns = np.divmod(pairs, max(len(g.values), 1))
    indptr = np.bincount(rows, minlength=len(q.values)).cumsum()
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Sparse CSR tensor support')  # is in beta
        product = torch.sparse_csr_tensor(
            torch.from_numpy(np.concatenate([[0], indptr])), torch.from_numpy(columns),
            torch.zeros(len(columns), dtype=torch.float64),
            (len(q.values), len(g.values)), check_invariants=False)
    for part in slices(q.values.shape[1], _COORDINATES):
        left, right = (torch.from_numpy(side.values[:, part].astype(np.float64))
                       for side in (q, g))
        torch.sparse.sampled_addmm(product, left, right.T, out=product)
    return product.values().numpy()


def pair_distances(q: Rows, g: Rows, q_index: np.ndarray, g_index: np.ndarray,
                   distance: str) -> np.ndarray:
    """Distances (P,) float64 of chosen pairs of rows, not rounded."""
    # First, since torch does not check the numbers of columns.
    q_squared, g_squared = q.squared_norm[q_index], g.squared_norm[g_index]
    pairs, number = np.unique(q_index * max(len(g.values), 1) + g_index,
                              return_inverse=True)
    product = _sampled_products(q, g, pairs)[number]
    return _from_products(product, q_squared, g_squared, distance)


def distance_blocks(q_features: Features, g_features: Features,
                    distance: str = 'euclidean', max_block_bytes: int = 2**26
                    ) -> Iterator[tuple[slice, np.ndarray]]:
    """Iterate over the rows of a distance matrix that need never exist as a whole.

    Beside one block at most about 80 MiB are held, whatever the number of features.

    Args:
        q_features, g_features: (Q, D) and (G, D).
        distance: One of :data:`DISTANCES`.
        max_block_bytes: A block has as many rows as fit in, from 1 to 1,024.

    Returns:
        Iterator over (slice of queries, distances (b, G) of these). The caller may
        write into a block: each is a new array.

    Raises:
        ValueError: Shapes do not fit, a row is not finite, distance is another, or the
            squares would overflow. This call raises it, not the first iteration.
    """
    q, g, dtype = check_pair(q_features, g_features, distance)
    step = max_block_bytes // (dtype.itemsize * max(len(g.values), 1))
    return ((rows, row_distances(q, g, rows, distance, dtype))
            for rows in slices(len(q.values), min(step, _MAX_BLOCK_ROWS)))


def pairwise_distances(q_features: Features, g_features: Features,
                       distance: str = 'euclidean') -> np.ndarray:
    """Distances of all pairs of a query and a gallery entry.

    Args:
        q_features: (Q, D).
        g_features: (G, D).
        distance: 'euclidean', |q - g|; 'squared_euclidean', |q - g|^2; or 'cosine', 1
            minus the cosine of the angle, in [0, 2], and 1 for a zero vector. Features
            need not be normalised.

    Returns:
        (Q, G), never below 0; exactly 0 for equal vectors.

    Raises:
        ValueError: As for :func:`distance_blocks`.

    Example:
        >>> pairwise_distances([[2., 0.]], [[1., 0.], [0., 5.], [0., 0.]], 'cosine')
        array([[0., 1., 1.]])
    """
    blocks = [block for _, block in distance_blocks(q_features, g_features, distance)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(g_features)))
