"""The nearest gallery entries of each query, without a whole distance matrix.

A product in single precision proposes some more entries than are wanted, at half the
cost of double precision. The distances of the proposed are then taken in double
precision and sorted. Where single precision cannot tell the entries at the end of a
proposal apart, as among many duplicates, the whole row is taken in double precision.

Of equal distances the entry of the lower number comes first: the answer is the
beginning of a stable sort of each row.
"""
from collections.abc import Iterator
from typing import Callable, NamedTuple, Optional

import numpy as np
import torch

from .distance import (
    RESOLUTION,
    Features,
    Rows,
    check_counts,
    check_pair,
    pair_distances,
    row_distances,
    slices,
)

__all__ = ['Neighbours', 'nearest', 'nearest_among']

_TILE = 2048  # queries, and gallery entries, that meet at a time
_ROUNDINGS = 16  # beside those of the product
_MIN_MARGIN = 8
_EXACT_ROWS = 256


class Neighbours(NamedTuple):
    """The nearest entries of each of Q queries, nearest first."""
    index: np.ndarray  # (Q, k) int64, of gallery entries; -1 where there are no more
    distance: np.ndarray  # (Q, k); infinity where there are no more
    # (Q,) float64, the largest distance of each query, found in single precision; None
    # where a query was not compared with all entries.
    farthest: Optional[np.ndarray] = None


class _Points:
    """Queries and gallery as float32 vectors, closer where distances are smaller.

    Closeness is -|q - g|^2 / 2. The mean of the gallery is taken away first: it
    changes no Euclidean distance, and what is left rounds less. Under the cosine
    vectors have length 1, and closeness is qg: a zero vector is at right angles to
    all.
    """

    def __init__(self, q: Rows, g: Rows, distance: str) -> None:
        self._q, self._g, self._is_cosine = q, g, distance == 'cosine'
        self._mean = 0 if self._is_cosine else g.values.mean(0, dtype=np.float64)
        self._scale = 1.
        norms = np.linalg.norm(self._mean) + np.sqrt(max(
            side.squared_norm.max(initial=0) for side in (q, g)))
        # Beyond, single precision has no squares.
        self._dtype = np.float32 if 1e-15 < norms < 1e15 else np.float64
        q_norm = self._norms(q)
        g_norm = q_norm if g is q else self._norms(g)
        self._scale = max(q_norm.max(initial=0), g_norm.max()) or 1.
        self._q_squared, self._g_squared = (
            ((norm / self._scale)**2).astype(np.float32) for norm in (q_norm, g_norm))
        # A computed product of D terms is wrong by D u |q||g|, u = 2^-24; what else
        # rounds, the distances' own rounding included, takes less than 16 u more.
        share = (q.values.shape[1] + _ROUNDINGS) * 2.**-24
        self._error = share * ((q_norm + g_norm.max()) / self._scale)**2 / 2
        self._error += RESOLUTION if self._is_cosine else RESOLUTION * (
            q.squared_norm + g.squared_norm.max()) / self._scale**2

    def _take(self, side: Rows, rows: slice) -> np.ndarray:
        """Vectors (b, D) of length 1 at most, as yet of the features' precision."""
        dtype = np.result_type(self._dtype, side.values.dtype)
        if self._is_cosine:
            norm = np.sqrt(side.squared_norm[rows, None])
            return side.values[rows] / np.where(norm > 0, norm, 1).astype(dtype)
        vectors = side.values[rows] - self._mean.astype(dtype)
        vectors /= dtype.type(self._scale)
        return vectors

    def _norms(self, side: Rows) -> np.ndarray:
        """(N,) float64, before they are scaled."""
        out = np.empty(len(side.values))
        for rows in slices(len(out), _TILE):
            vectors = self._take(side, rows)
            out[rows] = np.sqrt(np.einsum('nd,nd->n', vectors, vectors, dtype=float))
        return out

    def closeness(self, rows: slice, columns: slice) -> torch.Tensor:
        """(b, c) float32 of queries to gallery entries.

        The product is numpy's: torch may take it in bfloat16, under autocast.
        """
        query, gallery = (
            self._take(side, part).astype(np.float32, copy=False)
            for side, part in ((self._q, rows), (self._g, columns)))
        out = query @ gallery.T
        if not self._is_cosine:
            for squared, axis in ((self._q_squared[rows], 1),
                                  (self._g_squared[columns], 0)):
                out -= np.expand_dims(squared / 2, axis)
        return torch.from_numpy(out)

    def is_settled(self, rows: slice, kept: np.ndarray, k: int) -> np.ndarray:
        """(b,) bool: the k nearest are among those of closeness (b, w), falling."""
        return kept[:, k - 1] - kept[:, -1] > 2 * self._error[rows]


class _Proposals:
    """The closest entries that each query has met so far, and the least close one."""

    def __init__(self, count: int, width: int) -> None:
        self.closeness = torch.full((count, width), -torch.inf)
        self.index = torch.zeros(count, width, dtype=torch.int64)
        self.farthest = torch.zeros(count, dtype=torch.int64)
        self._least = torch.full((count,), torch.inf)
        # Used over and over: fresh memory costs as much as all else here.
        self._memory = torch.empty(_TILE * (_TILE + width))

    def meet(self, rows: slice, columns: slice, closeness: torch.Tensor) -> None:
        """Take in the closeness (b, c) of queries to gallery entries."""
        index, width = self.index[rows], self.index.shape[1]
        shape = len(closeness), width + closeness.shape[1]
        memory = self._memory[:shape[0] * shape[1]].view(shape)
        memory[:, :width], memory[:, width:] = self.closeness[rows], closeness
        self.closeness[rows], best = torch.topk(memory, width)
        kept = index.gather(1, best.clamp(max=width - 1))
        self.index[rows] = torch.where(best < width, kept, best - width + columns.start)
        column = memory[:, width:].argmin(dim=1, keepdim=True)
        least = memory[:, width:].gather(1, column)[:, 0]
        is_less = least < self._least[rows]
        self.farthest[rows][is_less] = column[is_less, 0] + columns.start
        self._least[rows][is_less] = least[is_less]


def _propose(points: _Points, q: Rows, g: Rows, proposals: _Proposals
             ) -> Iterator[slice]:
    """Let all queries meet the gallery; return those that have met all of it."""
    for rows in slices(len(q.values), _TILE):
        for columns in slices(len(g.values), _TILE):
            if g is q and columns.start < rows.start:
                continue  # closeness is symmetric: they have met
            closeness = points.closeness(rows, columns)
            proposals.meet(rows, columns, closeness)
            if g is q and columns != rows:
                proposals.meet(columns, rows, closeness.T)
        yield rows


def _first(index: np.ndarray, distances: np.ndarray, k: int
           ) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest (b, k) of distances (b, w), of equals the lower number."""
    order = np.lexsort((index, distances))[:, :k]
    return tuple(np.take_along_axis(values, order, axis=1)
                 for values in (index, distances))


def _sort_proposed(q: Rows, g: Rows, index: np.ndarray, k: int, distance: str,
                   dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of the entries (Q, w) proposed to each query; -1 is none."""
    row, column = np.nonzero(index >= 0)
    distances = np.full(index.shape, np.inf, dtype)
    distances[row, column] = pair_distances(q, g, row, index[row, column], distance)
    return _first(index, distances, k)


def nearest(q_features: Features, g_features: Features, k: int,
            distance: str = 'euclidean',
            report: Optional[Callable[[int], object]] = None) -> Neighbours:
    """The k nearest gallery entries of each query, by comparing it with all of them.

    Beside the features about 100 k bytes for each query, 50 bytes for each entry, and
    for 2048-D features 150 MiB are held.

    Args:
        q_features, g_features: (Q, D) and (G, D), G at least 1.
        k: Entries to return; all of them where the gallery has fewer.
        distance: One of :data:`cosam_mm.evaluation.functional.distance.DISTANCES`.
        report: Called with the number of queries just done, as a progress bar's
            ``update`` is.

    Returns:
        Arrays (Q, min(k, G)); see :class:`Neighbours`.

    Raises:
        ValueError: The gallery is empty, k is no whole number above 0, or the features
            do not fit.

    Example:
        >>> found = nearest([[0.]], [[3.], [-1.], [1.]], k=2)
        >>> found.index.tolist(), found.distance.tolist(), found.farthest.tolist()
        ([[1, 2]], [[1.0, 1.0]], [3.0])
    """
    check_counts(k=k)
    if not len(g_features):
        raise ValueError('The gallery is empty: there is nothing to search.')
    q, g, dtype = check_pair(q_features, g_features, distance)
    k, width = (min(count, len(g.values)) for count in (
        k, k + max(k // 2, _MIN_MARGIN)))
    points, proposals = _Points(q, g, distance), _Proposals(len(q.values), width)
    is_settled = np.ones(len(q.values), bool)
    for rows in _propose(points, q, g, proposals):
        if width < len(g.values):
            is_settled[rows] = points.is_settled(
                rows, proposals.closeness[rows].numpy(), k)
        if report is not None:
            report(rows.stop - rows.start)
    index, found = _sort_proposed(q, g, proposals.index.numpy(), k, distance, dtype)
    unsettled = np.flatnonzero(~is_settled)
    for part in slices(len(unsettled), _EXACT_ROWS):
        rows = unsettled[part]
        block = row_distances(q, g, rows, distance, dtype)
        everything = np.broadcast_to(np.arange(len(g.values)), block.shape)
        index[rows], found[rows] = _first(everything, block, k)
    return Neighbours(index, found, pair_distances(
        q, g, np.arange(len(index)), proposals.farthest.numpy(), distance))


def nearest_among(q_features: Features, g_features: Features,
                  candidates: np.ndarray, k: int,
                  distance: str = 'euclidean') -> Neighbours:
    """The k nearest of the gallery entries that something else proposed.

    Args:
        q_features, g_features: (Q, D) and (G, D).
        candidates: (Q, C) integers, numbers of different gallery entries for each
            query; negative ones stand for nothing.
        k: Entries to return; C where that is fewer.
        distance: As for :func:`nearest`.

    Raises:
        ValueError: As for :func:`nearest`, or the candidates have another shape.
    """
    check_counts(k=k)
    q, g, dtype = check_pair(q_features, g_features, distance)
    candidates = np.asarray(candidates)
    if candidates.ndim != 2 or len(candidates) != len(q.values):
        raise ValueError(
            f'candidates has shape {candidates.shape}; {len(q.values)} queries need '
            f'({len(q.values)}, number of candidates).')
    candidates = np.maximum(candidates, -1)
    return Neighbours(*_sort_proposed(q, g, candidates, k, distance, dtype))
