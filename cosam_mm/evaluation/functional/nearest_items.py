"""The nearest of each item among all items: found in single precision, then proved.

All pairs of items meet in one float32 product, at half the cost of a double-precision
one and with an error that is known. For vectors x, y of D float32 numbers

    |computed xy - xy| <= b |x| |y|,    b = D u / (1 - D u),    u = 2^-24

in whatever order the sum is taken. Hence (1 - b) (|x|^2 + |y|^2) less twice the
computed product never exceeds |x - y|^2; a few u more in b pay for the roundings
around the product. Each item keeps the smallest of these lower bounds, more than it
has to find, and the distances behind them are taken once more in double precision. An
item whose last wanted distance lies below every bound that it dropped is settled; the
distances of the others are all taken in double precision. The farthest distance is
found in the same way, from upper bounds.

To make bounds narrow, the mean is taken away first, which changes no Euclidean
distance. The cosine distance is half the squared one of vectors of length 1.
"""
from collections.abc import Iterator
from math import isqrt
from typing import Callable, NamedTuple, Optional

import numpy as np
import torch

from .distance import (
    Features,
    Rows,
    check_items,
    chosen_distances,
    distance_blocks,
    resolution,
)

__all__ = ['NearestItems', 'Report', 'nearest_items']

Report = Callable[[int], object]

_BLOCK_BYTES = 2**27  # of a product
_TILE_BYTES = 2**24  # of the part of it that is looked through at a time
_ROUNDINGS = 16  # beside those of the product, in units of u; 13 can occur
_UNDERFLOW = 1e-30  # more than it takes away where no norm exceeds 2
_MARGIN = 1e-6  # for the rounding of distances to float32
_SPARE = 8  # bounds kept beyond the neighbours wanted, at least
_FARTHEST = 4  # bounds kept for the largest distance
_REDONE = 1024  # items at a time that are taken once more


class NearestItems(NamedTuple):
    """The nearest and the farthest of each of N items among all of them.

    Attributes:
        index: (N, k + 1) int32: the item itself, then its k nearest others, nearest
            first; of equal distances the lower number first.
        farthest: (N,) float64, largest distances.
    """
    index: np.ndarray
    farthest: np.ndarray


# -- bounds, in single precision ---------------------------------------------


class _Points:
    """Items as float32 vectors whose squared distances order the items' distances.

    Attributes:
        squared_norm: (N,) float64, of these vectors, about 4 at most.
    """

    def __init__(self, items: Rows, distance: str) -> None:
        # Read-only memory is copied: torch warns of it.
        self._values = torch.from_numpy(np.require(items.values, requirements='W'))
        self._distance = distance
        norm = np.sqrt(items.squared_norm)
        if distance == 'cosine':
            scale = np.divide(1, norm, where=norm > 0, out=np.zeros_like(norm))
            mean = np.zeros(self._values.shape[1])
        else:
            power = np.clip(np.frexp(norm.max())[1], -126, 126)
            scale = np.full_like(norm, 2.**-power)  # exact
            mean = _mean(items.values)
        self._scale, self._mean = torch.from_numpy(scale), torch.from_numpy(mean)
        memory = self.memory(1024)
        # Written in place: small results among large intermediate ones would leave
        # holes that the next ones do not fit into, as large as all items.
        found = torch.empty(len(norm), dtype=torch.float64)
        for rows in _slices(len(norm), 1024):
            torch.linalg.vector_norm(self.take(rows, memory), dim=1,
                                     dtype=torch.float64, out=found[rows])
        self.squared_norm = found.square_().numpy()

    def memory(self, count: int) -> torch.Tensor:
        """Room for so many vectors."""
        return torch.empty(count, self._values.shape[1])

    def take(self, rows: slice, memory: torch.Tensor) -> torch.Tensor:
        """The vectors ``rows``, (b, D), written to memory that is there already."""
        values = self._values[rows]
        vectors = memory[:len(values)]
        torch.sub(values, self._mean.to(values.dtype), out=vectors)
        return vectors.mul_(self._scale[rows, None].float())

    def distance_of(self, squared: np.ndarray) -> np.ndarray:
        """Distances (N,) of the items from squared ones (N,) of their vectors."""
        squared = np.maximum(squared, 0)
        if self._distance == 'cosine':
            return squared / 2
        squared /= self._scale.numpy()**2
        return np.sqrt(squared) if self._distance == 'euclidean' else squared

    def error(self) -> float:
        """b: a computed squared distance is wrong by b (|x|^2 + |y|^2) at most."""
        terms = (self._values.shape[1] + _ROUNDINGS) * 2.**-24
        assert terms < 1
        return terms / (1 - terms)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean (D,) of rows (N, D) in double precision, without a copy of them all."""
    total = np.zeros(values.shape[1])
    for rows in _slices(len(values), 1024):
        total += values[rows].sum(axis=0, dtype=np.float64)
    return total / len(values)


def _slices(count: int, size: int, first: int = 0) -> Iterator[slice]:
    for start in range(first, count, size):
        yield slice(start, min(start + size, count))


def _closeness(points: _Points, size: int
               ) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Upper bounds (b, c) of minus half the squared distances of points.

    Of the blocks only those on and above the diagonal come, rows in ascending order
    and columns in ascending order within. A block is overwritten by the next: fresh
    memory would cost as much as all that is done with it beside the product.

    The product is numpy's. torch may take products in bfloat16, under autocast or by
    its setting of float32 precision, and then nothing here would hold.
    """
    count = len(points.squared_norm)
    half = ((1 - points.error()) * points.squared_norm - _UNDERFLOW) / 2
    half = torch.from_numpy(half.astype(np.float32))
    size = min(size, count)
    memory = points.memory(size), points.memory(size)
    products = np.empty(size**2, np.float32)
    for rows in _slices(count, size):
        left = points.take(rows, memory[0])
        for columns in _slices(count, size, rows.start):
            right = left if rows == columns else points.take(columns, memory[1])
            block = products[:len(left) * len(right)].reshape(len(left), len(right))
            np.matmul(left.numpy(), right.numpy().T, out=block)
            block = torch.from_numpy(block)
            block -= half[rows, None]
            block -= half[columns]
            yield rows, columns, block


class _Kept:
    """The largest values that each item has met so far, and whose they are.

    An item must meet item 0 first. Once it holds as many as it may, only values above
    the smallest of them are looked at: less and less.
    """

    def __init__(self, count: int, width: int) -> None:
        self.value = torch.empty(count, width)
        self.index = torch.empty(count, width, dtype=torch.int32)

    def meet(self, rows: slice, columns: slice, block: torch.Tensor) -> None:
        """Values (b, c) of the items ``columns`` for the items ``rows``."""
        value, index = self.value[rows], self.index[rows]
        width = value.shape[1]
        if columns.start == 0:
            value[:], index[:] = torch.topk(block, width)
            return
        above = (block > value.amin(dim=1, keepdim=True)).numpy()
        row, column = np.divmod(np.flatnonzero(above), block.shape[1])
        if not len(row):
            return
        # The rows that change side by side: what they hold, then what is new.
        count = np.bincount(row)
        changed = np.flatnonzero(count)
        count = count[changed]
        place = width + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        own = np.repeat(np.arange(len(changed)), count)
        values = torch.full((len(changed), width + count.max()), -torch.inf)
        numbers = torch.zeros(values.shape, dtype=torch.int32)
        values[:, :width], numbers[:, :width] = value[changed], index[changed]
        values[own, place] = block[row, column]
        numbers[own, place] = torch.from_numpy(column).int() + columns.start
        value[changed], best = torch.topk(values, width)
        index[changed] = numbers.gather(1, best)

    def bound(self) -> np.ndarray:
        """(N,) float64: nothing that an item met and dropped is larger."""
        count, width = self.value.shape
        if width == count:
            return np.full(count, -np.inf)
        return self.value.amin(dim=1).double().numpy()


def _tiles(points: _Points, size: int
           ) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Closeness (b, c) of the items ``rows`` to the items ``columns``, for all pairs.

    Every item meets all in the order of their numbers. The caller may write into a
    tile; the next overwrites it.
    """
    step = max(1, _TILE_BYTES // (4 * size))
    memory = torch.empty(step * size)
    for rows, columns, block in _closeness(points, size):
        if rows != columns:
            for part in _slices(block.shape[1], step):
                mirrored = block[:, part].T
                tile = memory[:mirrored.numel()].view(mirrored.shape)
                yield _shifted(part, columns), rows, tile.copy_(mirrored)
        for part in _slices(block.shape[0], step):
            yield _shifted(part, rows), columns, block[part]


def _shifted(part: slice, whole: slice) -> slice:
    return slice(whole.start + part.start, whole.start + part.stop)


def _search(points: _Points, num_near: int, num_far: int,
            report: Report) -> tuple[_Kept, _Kept]:
    """What is closest to each item; and what is farthest, closeness negated."""
    count = len(points.squared_norm)
    near, far = _Kept(count, num_near), _Kept(count, num_far)
    size = min(max(isqrt(_BLOCK_BYTES // 4), num_near, num_far), count)
    for rows, columns, tile in _tiles(points, size):
        near.meet(rows, columns, tile)
        far.meet(rows, columns, tile.neg_())
        if columns.stop == count:
            report(rows.stop - rows.start)
    return near, far


# -- distances, in double precision ------------------------------------------


def _smallest(block: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the k + 1 smallest of each row, and these, smallest first, (b, k + 1).

    Of equal ones the first column comes first.

    Args:
        block: (b, c).
        k: Below c.
    """
    found = np.argpartition(block, k, axis=1)[:, :k + 1]
    limit = np.take_along_axis(block, found, axis=1).max(axis=1, keepdims=True)
    tied = np.count_nonzero(block <= limit, axis=1) > k + 1
    found[tied] = np.argsort(block[tied], axis=1, kind='stable')[:, :k + 1]
    found.sort(axis=1)
    values = np.take_along_axis(block, found, axis=1)
    order = np.argsort(values, axis=1, kind='stable')
    return (np.take_along_axis(found, order, axis=1),
            np.take_along_axis(values, order, axis=1))


def _exact(items: Rows, kept: _Kept, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Whom each item kept, in ascending order, and the distances, (N, w)."""
    index = kept.index.sort(dim=1).values.numpy()
    indptr = np.arange(len(index) + 1) * index.shape[1]
    found = chosen_distances(items.values, indptr, index.ravel(), distance)
    return index, found.astype(items.values.dtype).reshape(index.shape)


def _choose(items: Rows, near: _Kept, far: _Kept, k: int, distance: str
            ) -> tuple[NearestItems, np.ndarray]:
    """The best of what was kept, and (N,) distances of the last neighbours."""
    _, distances = _exact(items, far, distance)
    farthest = distances.max(axis=1).astype(np.float64)
    if distance == 'cosine' and not items.squared_norm.all():
        np.maximum(farthest, 1, out=farthest)  # a zero vector is so far from all
    index, distances = _exact(items, near, distance)
    distances[index == np.arange(len(index))[:, None]] = -1
    columns, distances = _smallest(distances, k)
    index = np.take_along_axis(index, columns, axis=1)
    return NearestItems(index, farthest), distances[:, k]


def _settled(items: Rows, points: _Points, near: _Kept, far: _Kept, last: np.ndarray,
             farthest: np.ndarray, distance: str) -> np.ndarray:
    """(N,) bool: nothing that an item dropped is as near as its last neighbour.

    Nor is it farther than the farthest, nor may it count as a distance of 0.
    """
    zero = resolution(items.values.shape[1])
    if distance != 'cosine':
        zero = zero * (items.squared_norm + items.squared_norm.max())
    if distance == 'euclidean':
        zero = np.sqrt(zero)
    width = 2 * (points.error() * (points.squared_norm + points.squared_norm.max())
                 + 2 * _UNDERFLOW)
    lower = points.distance_of(-2 * near.bound()) * (1 - _MARGIN)
    upper = points.distance_of(2 * far.bound() + width) * (1 + _MARGIN)
    return (np.maximum(last, zero) < lower) & (upper <= farthest)


def _redo(items: Rows, rows: np.ndarray, found: NearestItems, distance: str) -> None:
    """Fill in the items ``rows`` from their distances to all."""
    k = found.index.shape[1] - 1
    for start in range(0, len(rows), _REDONE):
        own = rows[start:start + _REDONE]
        blocks = distance_blocks(items.values[own], items.values, distance)
        for part, block in blocks:
            number = own[part]
            found.farthest[number] = block.max(axis=1)
            block[np.arange(len(block)), number] = -1
            found.index[number], _ = _smallest(block, k)


# -- public ------------------------------------------------------------------


def nearest_items(features: Features, k: int, distance: str = 'euclidean',
                  report: Optional[Report] = None) -> NearestItems:
    """The k nearest others of each item, and how far the farthest is.

    The result is that of double precision, rounded to the precision of the features,
    whatever torch's settings allow products. Beside the features about 75 k + 1,500
    bytes an item are held, and for 2048-D features 250 MiB.

    It pays where single precision tells the neighbours from the others, as it does
    for most features. Where it does not, many more than k items lying as near, the
    time is that of all distances in double precision, and more.

    Args:
        features: (N, D).
        k: Neighbours beside the item itself, below N.
        distance: One of :data:`cosam_mm.evaluation.functional.distance.DISTANCES`.
        report: Called with the number of items just done, N in all.

    Returns:
        See :class:`NearestItems`.

    Raises:
        ValueError: There is no item, a row is not finite, squares would overflow,
            distance is another, or k is not in [0, N).

    Example:
        >>> index, farthest = nearest_items([[0.], [3.], [4.]], 1)
        >>> index.tolist(), farthest.tolist()
        ([[0, 1], [1, 2], [2, 1]], [4.0, 3.0, 4.0])
    """
    items = check_items(features, distance)
    count = len(items.values)
    if not 0 <= k < count:
        raise ValueError(f'k must lie in [0, {count}) for {count} items, got {k!r}.')
    points = _Points(items, distance)
    width = min(k + 1 + max(k // 2, _SPARE), count)
    near, far = _search(points, width, min(_FARTHEST, count), report or _ignore)
    found, last = _choose(items, near, far, k, distance)
    settled = _settled(items, points, near, far, last, found.farthest, distance)
    _redo(items, np.flatnonzero(~settled), found, distance)
    return found


def _ignore(steps: int) -> None:
    """Stands in for a report that nobody asked for."""
