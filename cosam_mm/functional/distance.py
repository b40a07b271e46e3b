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
from collections.abc import Iterator
from typing import NamedTuple, Union

import numpy as np
import torch

__all__ = [
    'DISTANCES',
    'RESOLUTION',
    'cosine_distance',
    'distance_blocks',
    'euclidean_distance',
    'feature_array',
    'paired_distance',
    'squared_euclidean_distance',
    'symmetric_blocks',
]

Features = Union[np.ndarray, torch.Tensor]

DISTANCES = ('euclidean', 'squared_euclidean', 'cosine')

RESOLUTION = 1e-12
"""Squared distances below this share of |q|^2 + |g|^2 are 0: vectors that differ by
about a millionth of their length, little more than float32 features can tell."""

_WORK_BYTES = 2**24  # one double-precision temporary of the product
_MAX_NAMED = 5


# -- what comes in -----------------------------------------------------------


class _Rows(NamedTuple):
    """Features that have been checked, and their squared norms in float64."""
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


def _check_rows(features: Features, name: str) -> _Rows:
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
    return _Rows(values, squared_norm)


def _check_pair(q_features: Features, g_features: Features) -> tuple[_Rows, _Rows]:
    q, g = _check_rows(q_features, 'Query'), _check_rows(g_features, 'Gallery')
    if q.values.shape[1] != g.values.shape[1]:
        raise ValueError(
            f'Query features have shape {q.values.shape}, gallery features '
            f'{g.values.shape}: the second numbers must agree.')
    return q, g


def _check_distance(distance: str) -> None:
    if distance not in DISTANCES:
        raise ValueError(f'distance must be one of {DISTANCES}, got {distance!r}.')


def _result_type(q: _Rows, g: _Rows, distance: str) -> np.dtype:
    dtype = np.result_type(q.values.dtype, g.values.dtype)
    largest = max(rows.squared_norm.max(initial=0) for rows in (q, g))
    if distance == 'squared_euclidean' and 4 * largest > np.finfo(dtype).max:
        raise ValueError(
            f'Features of norm {np.sqrt(largest):.3g} have squared distances that '
            f'{dtype} cannot hold: scale the features down.')
    return dtype


# -- distances of one block --------------------------------------------------


def _resolution(length: int) -> float:
    # The worst case of a product's rounding grows with the number of terms.
    return max(RESOLUTION, length * np.finfo(np.float64).eps)


def _finish(product: np.ndarray, q_squared: np.ndarray, g_squared: np.ndarray,
            distance: str, resolution: float) -> np.ndarray:
    """Distances (b, c) from inner products (b, c), which are overwritten."""
    if distance == 'cosine':
        norm = np.sqrt(q_squared)[:, None] * np.sqrt(g_squared)[None]
        np.divide(product, norm, out=product, where=norm > 0)
        product[norm == 0] = 0
        np.subtract(1, product, out=product)
        product[product < resolution] = 0
        return np.minimum(product, 2, out=product)
    total = q_squared[:, None] + g_squared[None]
    product *= -2
    product += total
    total *= resolution
    product[product < total] = 0
    return np.sqrt(product, out=product) if distance == 'euclidean' else product


def _block(q: _Rows, g: _Rows, rows: slice, distance: str,
           dtype: np.dtype) -> np.ndarray:
    """Distances (b, G) of the queries ``rows`` to the whole gallery."""
    query, length = q.values[rows].astype(np.float64), q.values.shape[1]
    out = np.empty((len(query), len(g.values)), dtype)
    step = _WORK_BYTES // (8 * max(len(query), length))
    for columns in _slices(len(g.values), step):
        product = query @ g.values[columns].astype(np.float64).T
        out[:, columns] = _finish(product, q.squared_norm[rows],
                                  g.squared_norm[columns], distance,
                                  _resolution(length))
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


def symmetric_blocks(features: Features, distance: str = 'euclidean',
                     size: int = 2048
                     ) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Iterate over the distances of items to one another, each pair computed once.

    Only blocks on and above the diagonal come. Read each of them, and the transpose
    of each above the diagonal: then every item meets the others in the order of their
    numbers. Beside one block about 24 ``size`` (``size`` + D) bytes are held.

    Args:
        features: (N, D).
        distance: One of :data:`DISTANCES`.
        size: Rows and columns of a block, at least 1.

    Returns:
        Iterator over (slice of rows, slice of columns, distances (b, c) of these).
        The caller may write into a block: each is a new array.

    Raises:
        ValueError: A row is not finite, or distance is another. It is raised by this
            call, not by the first step of the iteration.

    Example:
        >>> for rows, columns, block in symmetric_blocks([[0.], [3.], [4.]], size=2):
        ...     print(rows.start, columns.start, block.tolist())
        0 0 [[0.0, 3.0], [3.0, 0.0]]
        0 2 [[4.0], [1.0]]
        2 2 [[0.0]]
    """
    _check_distance(distance)
    items = _check_rows(features, 'Item')
    dtype = _result_type(items, items, distance)
    return _upper_blocks(items, distance, size, dtype)


def _upper_blocks(items: _Rows, distance: str, size: int, dtype: np.dtype
                  ) -> Iterator[tuple[slice, slice, np.ndarray]]:
    resolution = _resolution(items.values.shape[1])
    for rows in _slices(len(items.values), size):
        left = items.values[rows].astype(np.float64)
        for step in _slices(len(items.values) - rows.start, size):
            columns = slice(rows.start + step.start, rows.start + step.stop)
            right = (left if columns == rows
                     else items.values[columns].astype(np.float64))
            block = _finish(left @ right.T, items.squared_norm[rows],
                            items.squared_norm[columns], distance, resolution)
            yield rows, columns, block.astype(dtype, copy=False)


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


def paired_distance(first: np.ndarray, second: np.ndarray,
                    distance: str = 'euclidean') -> np.ndarray:
    """Distances of row i of one array to row i of another, from differences.

    Args:
        first: (N, D).
        second: (N, D).
        distance: One of :data:`DISTANCES`.

    Returns:
        (N,), float64.

    Raises:
        ValueError: Shapes differ, or distance is another.

    Example:
        >>> paired_distance([[0., 0.], [1., 1.]], [[3., 4.], [1., 1.]])
        array([5., 0.])
    """
    _check_distance(distance)
    first, second = (feature_array(rows).astype(np.float64) for rows in (first, second))
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f'Rows of shapes {first.shape} and {second.shape} cannot be '
                         'paired: expected (N, D) twice.')
    if distance != 'cosine':
        first -= second
        squared = np.einsum('nd,nd->n', first, first)
        return np.sqrt(squared) if distance == 'euclidean' else squared
    norms = [np.linalg.norm(rows, axis=1) for rows in (first, second)]
    first, second = (rows / np.where(norm > 0, norm, 1)[:, None]
                     for rows, norm in zip((first, second), norms))
    half = np.einsum('nd,nd->n', first - second, first - second) / 2
    return np.where(norms[0] * norms[1] > 0, half, 1.)
