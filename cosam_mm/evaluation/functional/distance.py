"""Distances between two sets of feature vectors, whole or block by block.

The squared distance is taken as |q|^2 + |g|^2 - 2 qg, one matrix product. In single
precision that form loses what matters: two features of norm 50 that agree to a
hundredth differ by less than the product's rounding. Features therefore go through
the product in double precision, a block at a time, and what is left of rounding
below :data:`RESOLUTION` becomes an exact 0. Only the result is rounded, to the
precision of the features, so that near-equal distances become ties that a ranking
can treat by its rule.

Features come as numpy arrays or torch tensors (any device, any real type). Results
are numpy arrays: float32, or float64 where a feature came in float64 or as integers.
"""
import warnings
from collections.abc import Iterator
from typing import NamedTuple, Union

import numpy as np
import torch

__all__ = [
    'DISTANCES',
    'RESOLUTION',
    'Rows',
    'check_items',
    'chosen_distances',
    'cosine_distance',
    'distance_blocks',
    'euclidean_distance',
    'feature_array',
    'resolution',
    'squared_euclidean_distance',
]

Features = Union[np.ndarray, torch.Tensor]

DISTANCES = ('euclidean', 'squared_euclidean', 'cosine')

RESOLUTION = 1e-12
"""Squared distances below this share of |q|^2 + |g|^2 are 0: vectors that differ by
about a millionth of their length, little more than float32 features can tell."""

_WORK_BYTES = 2**24  # one double-precision temporary of the product
_COORDINATES = 128  # taken at a time where all features are needed at once
_MAX_NAMED = 5


# -- what comes in -----------------------------------------------------------


class Rows(NamedTuple):
    """Features that have been checked: (N, D), and their squared norms (N,) float64."""
    values: np.ndarray
    squared_norm: np.ndarray


def feature_array(features: Features) -> np.ndarray:
    """Features as numpy: float32, or float64 where double or integers came.

    Raises:
        ValueError: They are not real numbers.

    Example:
        >>> feature_array(torch.zeros(1, 2, dtype=torch.bfloat16)).dtype
        dtype('float32')
    """
    if isinstance(features, torch.Tensor):
        features = features.detach()
        if features.is_floating_point() and features.dtype != torch.float64:
            features = features.float()  # numpy has no bfloat16
        features = features.cpu().numpy()
    features = np.asarray(features)
    if features.dtype.kind not in 'fiu':
        raise ValueError(f'Features must be real numbers, got {features.dtype}.')
    if features.dtype in (np.float32, np.float64):
        return features
    return features.astype(np.float32 if features.dtype == np.float16 else np.float64)


def _slices(count: int, step: int) -> Iterator[slice]:
    step = max(1, int(step))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _check_rows(features: Features, name: str) -> Rows:
    values = feature_array(features)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(
            f'{name} features have shape {values.shape}; expected (number of '
            'tracklets, length of a feature).')
    squared_norm = np.empty(len(values))
    with np.errstate(over='ignore', invalid='ignore'):
        for rows in _slices(len(values), _WORK_BYTES // (8 * values.shape[1])):
            part = values[rows].astype(np.float64)
            squared_norm[rows] = np.einsum('nd,nd->n', part, part)
    bad = np.flatnonzero(~np.isfinite(squared_norm))
    if len(bad):
        named = ', '.join(map(str, bad[:_MAX_NAMED]))
        rest = f' and {len(bad) - _MAX_NAMED} more' if len(bad) > _MAX_NAMED else ''
        raise ValueError(
            f'{name} features hold NaN, infinity or a number too large to square in '
            f'row(s) {named}{rest} of {len(values)}.')
    return Rows(values, squared_norm)


def _check_pair(q_features: Features, g_features: Features) -> tuple[Rows, Rows]:
    q, g = _check_rows(q_features, 'Query'), _check_rows(g_features, 'Gallery')
    if q.values.shape[1] != g.values.shape[1]:
        raise ValueError(
            f'Query features have shape {q.values.shape}, gallery features '
            f'{g.values.shape}: the second numbers must agree.')
    return q, g


def _check_distance(distance: str) -> None:
    if distance not in DISTANCES:
        raise ValueError(f'distance must be one of {DISTANCES}, got {distance!r}.')


def _result_type(q: Rows, g: Rows, distance: str) -> np.dtype:
    dtype = np.result_type(q.values.dtype, g.values.dtype)
    largest = max(rows.squared_norm.max(initial=0) for rows in (q, g))
    if distance == 'squared_euclidean' and 4 * largest > np.finfo(dtype).max:
        raise ValueError(
            f'Features of norm {np.sqrt(largest):.3g} have squared distances that '
            f'{dtype} cannot hold: scale the features down.')
    return dtype


def check_items(features: Features, distance: str) -> Rows:
    """Features of items whose distances to one another are wanted.

    Args:
        features: (N, D).
        distance: One of :data:`DISTANCES`.

    Raises:
        ValueError: They are no (N, D) real numbers, a row is not finite, distance is
            another, or the squares would overflow.

    Example:
        >>> check_items([[3., 4.]], 'cosine').squared_norm
        array([25.])
    """
    _check_distance(distance)
    items = _check_rows(features, 'Item')
    _result_type(items, items, distance)
    return items


# -- distances from inner products -------------------------------------------


def resolution(length: int) -> float:
    """Share of |q|^2 + |g|^2 up to which a squared distance counts as 0.

    The same number bounds the cosine distances that do.

    Args:
        length: Numbers in a feature.

    Returns:
        :data:`RESOLUTION`, or more for features of over 4,503 numbers: the worst case
        of a product's rounding grows with the number of terms.
    """
    return max(RESOLUTION, length * np.finfo(np.float64).eps)


def _finish(product: np.ndarray, q_squared: np.ndarray, g_squared: np.ndarray,
            distance: str, length: int) -> np.ndarray:
    """Distances from inner products, which are overwritten.

    Args:
        product: Of any shape.
        q_squared: |q|^2, of a shape that broadcasts to it.
        g_squared: |g|^2, likewise.
        distance: One of :data:`DISTANCES`.
        length: Numbers in a feature.
    """
    if distance == 'cosine':
        norm = np.sqrt(q_squared) * np.sqrt(g_squared)
        np.divide(product, norm, out=product, where=norm > 0)
        product[norm == 0] = 0
        np.subtract(1, product, out=product)
        product[product < resolution(length)] = 0
        return np.minimum(product, 2, out=product)
    total = q_squared + g_squared
    product *= -2
    product += total
    total *= resolution(length)
    product[product < total] = 0
    return np.sqrt(product, out=product) if distance == 'euclidean' else product


def _block(q: Rows, g: Rows, rows: slice, distance: str,
           dtype: np.dtype) -> np.ndarray:
    """Distances (b, G) of the queries ``rows`` to the whole gallery."""
    query, length = q.values[rows].astype(np.float64), q.values.shape[1]
    out = np.empty((len(query), len(g.values)), dtype)
    step = _WORK_BYTES // (8 * max(len(query), length))
    # Used over and over: fresh memory of this size costs a tenth of the product.
    gallery = np.empty((min(max(1, step), len(g.values)), length))
    for columns in _slices(len(g.values), step):
        part = gallery[:columns.stop - columns.start]
        part[:] = g.values[columns]
        out[:, columns] = _finish(query @ part.T, q.squared_norm[rows, None],
                                  g.squared_norm[columns], distance, length)
    return out


# -- public ------------------------------------------------------------------


def distance_blocks(q_features: Features, g_features: Features,
                    distance: str = 'euclidean', max_block_bytes: int = 2**25
                    ) -> Iterator[tuple[slice, np.ndarray]]:
    """Iterate over the rows of a distance matrix that need never exist as a whole.

    Beside one block at most about 80 MiB of temporaries are held, whatever the
    number of features.

    Args:
        q_features: (Q, D).
        g_features: (G, D).
        distance: One of :data:`DISTANCES`.
        max_block_bytes: A block has as many rows as fit in, at least one and at
            most 1,024.

    Returns:
        Iterator over (slice of queries, distances (b, G) of these). The caller may
        write into a block: each is a new array.

    Raises:
        ValueError: Shapes do not fit, a row is not finite, or distance is another.
            It is raised by this call, not by the first step of the iteration.

    Example:
        >>> blocks = distance_blocks([[0.], [3.]], [[4.], [0.]], max_block_bytes=1)
        >>> for rows, block in blocks:
        ...     print(rows.start, block)
        0 [[4. 0.]]
        1 [[1. 3.]]
    """
    _check_distance(distance)
    q, g = _check_pair(q_features, g_features)
    dtype = _result_type(q, g, distance)
    step = max_block_bytes // (dtype.itemsize * max(len(g.values), 1))
    return ((rows, _block(q, g, rows, distance, dtype))
            for rows in _slices(len(q.values), min(step, 1024)))


def _whole(q_features: Features, g_features: Features, distance: str) -> np.ndarray:
    q, g = _check_pair(q_features, g_features)
    dtype = _result_type(q, g, distance)
    out = np.empty((len(q.values), len(g.values)), dtype)
    for rows in _slices(len(q.values), 256):
        out[rows] = _block(q, g, rows, distance, dtype)
    return out


def squared_euclidean_distance(q_features: Features,
                               g_features: Features) -> np.ndarray:
    """Squared Euclidean distances |q - g|^2 of all pairs.

    Args:
        q_features: (Q, D).
        g_features: (G, D).

    Returns:
        (Q, G), never below 0; exactly 0 for equal vectors (see :data:`RESOLUTION`).

    Raises:
        ValueError: Shapes do not fit, a row is not finite, or the squares would
            overflow.

    Example:
        >>> squared_euclidean_distance([[0., 0.]], [[3., 4.], [0., 0.]])
        array([[25.,  0.]])
    """
    return _whole(q_features, g_features, 'squared_euclidean')


def euclidean_distance(q_features: Features, g_features: Features) -> np.ndarray:
    """Euclidean distances |q - g| of all pairs: the root has been taken.

    Args:
        q_features: (Q, D).
        g_features: (G, D).

    Returns:
        (Q, G), never below 0; exactly 0 for equal vectors (see :data:`RESOLUTION`).

    Raises:
        ValueError: Shapes do not fit, or a row is not finite.

    Example:
        >>> euclidean_distance([[0., 0.]], [[3., 4.], [0., 0.]])
        array([[5., 0.]])
    """
    return _whole(q_features, g_features, 'euclidean')


def cosine_distance(q_features: Features, g_features: Features) -> np.ndarray:
    """1 minus the cosine of the angle, for all pairs.

    Args:
        q_features: (Q, D). They need not be normalised.
        g_features: (G, D).

    Returns:
        (Q, G) in [0, 2]; exactly 0 for vectors of one direction. A zero vector has
        none: its distance to every vector is 1, as if at right angles.

    Raises:
        ValueError: Shapes do not fit, or a row is not finite.

    Example:
        >>> cosine_distance([[2., 0.]], [[1., 0.], [0., 5.], [-1., 0.], [0., 0.]])
        array([[0., 1., 2., 1.]])
    """
    return _whole(q_features, g_features, 'cosine')


def chosen_distances(features: Features, indptr: np.ndarray, columns: np.ndarray,
                     distance: str = 'euclidean') -> np.ndarray:
    """Distances of items to chosen ones among them, each pair by itself.

    The pairs come as the rows of scipy's CSR matrices. Beside the result about 1 KiB
    an item and 48 bytes a pair are held.

    Args:
        features: (N, D).
        indptr: (N + 1,) integers, ascending from 0 to P. Item i is paired with the
            items ``columns[indptr[i]:indptr[i + 1]]``.
        columns: (P,) integers in [0, N), ascending for each item.
        distance: One of :data:`DISTANCES`.

    Returns:
        (P,) float64, not rounded to the precision of the features.

    Raises:
        ValueError: A row is not finite, distance is another, or the pairs are not of
            that form.

    Example:
        >>> chosen_distances([[0., 0.], [3., 4.], [0., 1.]], [0, 2, 2, 3], [1, 2, 0])
        array([5., 1., 1.])
    """
    items = check_items(features, distance)
    indptr, columns = np.asarray(indptr, np.int64), np.asarray(columns, np.int64)
    rows = _rows_of_pairs(len(items.values), indptr, columns)
    product = _sampled_products(items.values, indptr, columns)
    return _finish(product, items.squared_norm[rows], items.squared_norm[columns],
                   distance, items.values.shape[1])


def _rows_of_pairs(count: int, indptr: np.ndarray, columns: np.ndarray) -> np.ndarray:
    number = np.diff(indptr)
    if (indptr.shape != (count + 1,) or columns.ndim != 1 or indptr[0] != 0
            or indptr[-1] != len(columns) or (number < 0).any()):
        raise ValueError(
            f'Shapes {indptr.shape} of indptr and {columns.shape} of columns: {count} '
            f'items need {count + 1} numbers that ascend from 0 to that of the pairs.')
    rows = np.repeat(np.arange(count), number)
    pairs = rows * count + columns
    bad = (columns < 0) | (columns >= count)
    bad[1:] |= pairs[1:] <= pairs[:-1]
    if bad.any():  # torch would write where nothing is allotted
        first = bad.argmax()
        raise ValueError(
            f'Item {rows[first]} is paired with item {columns[first]}: columns must '
            f'lie in [0, {count}) and ascend for each item.')
    return rows


def _sampled_products(values: np.ndarray, indptr: np.ndarray,
                      columns: np.ndarray) -> np.ndarray:
    """Inner products (P,) of the pairs, in double precision."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Sparse CSR tensor support')  # is in beta
        product = torch.sparse_csr_tensor(
            torch.from_numpy(indptr), torch.from_numpy(columns),
            torch.zeros(len(columns), dtype=torch.float64), (len(values),) * 2,
            check_invariants=False)  # they have been
    features = torch.from_numpy(np.require(values, requirements='W'))
    memory = torch.from_numpy(np.empty((len(values), _COORDINATES)))
    for part in _slices(values.shape[1], _COORDINATES):
        chunk = memory[:, :part.stop - part.start].copy_(features[:, part])
        torch.sparse.sampled_addmm(product, chunk, chunk.T, out=product)
    return product.values().numpy()
