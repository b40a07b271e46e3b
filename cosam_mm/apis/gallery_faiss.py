"""The nearest gallery entries by FAISS, for galleries of millions.

FAISS proposes some more candidates than are asked for, comparing in single precision;
their distances and order are then those of exact search. A flat index so finds what
exact search finds, but for entries that rounding cannot tell apart. Any other kind may
miss entries that are nearer; what it does find has the right distance and order.

Building such an index takes longer than one exact search, so it is kept in a file:
FAISS's own format, and behind it a key of what the index was made of. FAISS is imported
when it is used.
"""
import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator
from typing import Optional

import numpy as np
from mmengine.logging import print_log

from cosam_mm.evaluation.functional.neighbours import Neighbours, nearest_among
from cosam_mm.utils.io import writing
from cosam_mm.utils.progress import progress_bar

__all__ = ['FLAT', 'nearest_by_faiss']

FLAT = 'Flat'
_ROWS = 2**14  # handed over at a time
_MAX_TRAINING_ROWS = 2**18


def nearest_by_faiss(q_features: np.ndarray, g_features: np.ndarray, k: int,
                     distance: str = 'euclidean', factory: str = FLAT,
                     parameters: str = '', path: Optional[str] = None,
                     content: str = '') -> Neighbours:
    """The k nearest gallery entries of each query, by an index of FAISS.

    Args:
        q_features: (Q, D).
        g_features: (G, D), G at least 1.
        k: Entries to return; fewer where the gallery has, or the index finds, fewer.
        distance: 'euclidean' or 'cosine'.
        factory: Description of the index for ``faiss.index_factory``, as 'HNSW32'
            or 'IVF4096,Flat'.
        parameters: Of the search, as 'nprobe=16' or 'efSearch=128'.
        path: The gallery file, beside which an index that is not flat is kept.
        content: Text that tells the gallery's features from others.

    Returns:
        Arrays (Q, min(k, G)); see :class:`Neighbours`.

    Raises:
        ValueError: FAISS is not installed, or refuses the description or the
            parameters; or the features do not fit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # SWIG's, under new versions of Python
            import faiss
    except ImportError:
        raise ValueError('FAISS is not installed: install it with "pip install '
                         'faiss-cpu", or search exactly.') from None
    if q_features.shape[1:] != g_features.shape[1:]:
        raise ValueError(f'Query features have shape {q_features.shape}, gallery '
                         f'features {g_features.shape}: the second numbers must agree.')
    if factory == FLAT or path is None:
        index = _build(faiss, g_features, distance, factory)
    else:
        plain = ''.join(char if char.isalnum() else '_' for char in factory)
        file = f'{os.path.splitext(path)[0]}.{distance}.{plain}.faiss'
        key = hashlib.sha256(f'{content} {distance} {factory}'.encode()).hexdigest()
        index = _read(faiss, file, key.encode(), g_features.shape)
        if index is None:
            index = _build(faiss, g_features, distance, factory)
            _write(faiss, index, file, key.encode())
    if parameters:
        try:
            faiss.ParameterSpace().set_index_parameters(index, parameters)
        except RuntimeError as error:
            raise ValueError(
                f'FAISS refuses the parameters {parameters!r} for an index '
                f'{factory!r}: {_first_sentence(error)}') from error
    candidates = _candidates(index, q_features, distance,
                             min(2 * k + 32, len(g_features)))
    return nearest_among(q_features, g_features, candidates, min(k, len(g_features)),
                         distance)


def _rows_for(features: np.ndarray, rows: slice, distance: str) -> np.ndarray:
    """Rows of features as FAISS compares them: of length 1 for cosines."""
    part = np.ascontiguousarray(features[rows], np.float32)
    if distance == 'cosine':
        norm = np.linalg.norm(part, axis=1, keepdims=True)
        part = part / np.where(norm > 0, norm, 1)
    return part


def _first_sentence(error: Exception) -> str:
    """What FAISS says, without the function and the line of its source."""
    return str(error).rsplit('.cpp:', 1)[-1].partition(': ')[2] or str(error)


def _build(faiss, features: np.ndarray, distance: str, factory: str):
    metric = faiss.METRIC_INNER_PRODUCT if distance == 'cosine' else faiss.METRIC_L2
    count = len(features)
    try:
        index = faiss.index_factory(features.shape[1], factory, metric)
        if not index.is_trained:
            step = -(-count // _MAX_TRAINING_ROWS)
            index.train(_rows_for(features, slice(None, None, step), distance))
        with progress_bar(what='FAISS index', unit='tracklet', total=count) as bar:
            for start in range(0, count, _ROWS):
                part = _rows_for(features, slice(start, start + _ROWS), distance)
                index.add(part)
                bar.update(len(part))
    except RuntimeError as error:
        raise ValueError(
            f'FAISS cannot make an index {factory!r} of {count} features of length '
            f'{features.shape[1]}: {_first_sentence(error)}') from error
    return index


def _read(faiss, path: str, key: bytes, shape: tuple[int, int]):
    """The index that was kept, or None where none has that key and shape."""
    if not os.path.isfile(path):
        return None
    with open(path, 'rb') as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(key)))
        is_ours = file.read() == key
    reason = 'an index of other features'
    if is_ours:
        try:
            with _claims_limited(faiss, os.path.getsize(path)):
                index = faiss.read_index(path)
            if (index.ntotal, index.d) == shape:
                return index
        except (RuntimeError, MemoryError) as error:
            reason = f'damaged ({_first_sentence(error)})'
    print_log(f'{path} is {reason}; it is built anew.', logger='current')
    return None


@contextlib.contextmanager
def _claims_limited(faiss, size: int) -> Iterator[None]:
    """Have FAISS refuse vectors that a file of a size cannot hold; 1.14 and later."""
    names = [name for name in ('vector_byte_limit', 'loop_limit')
             if hasattr(faiss, f'set_deserialization_{name}')]
    before = [getattr(faiss, f'get_deserialization_{name}')() for name in names]
    try:
        for name in names:
            getattr(faiss, f'set_deserialization_{name}')(size)
        yield
    finally:
        for name, value in zip(names, before):
            getattr(faiss, f'set_deserialization_{name}')(value)


def _write(faiss, index, path: str, key: bytes) -> None:
    try:
        with writing(path) as partial:
            faiss.write_index(index, str(partial))
            with open(partial, 'ab') as file:
                file.write(key)
        print_log(f'The FAISS index is kept in {path}.', logger='current')
    except (OSError, RuntimeError) as error:
        print_log(f'The FAISS index cannot be kept in {path}: {error}',
                  logger='current')


def _candidates(index, features: np.ndarray, distance: str, count: int) -> np.ndarray:
    """(Q, count) gallery numbers, -1 for none."""
    found = []
    with progress_bar(what='searching', unit='query', total=len(features),
                      leave=False) as bar:
        for start in range(0, len(features), _ROWS):
            part = _rows_for(features, slice(start, start + _ROWS), distance)
            found.append(index.search(part, count)[1])
            bar.update(len(part))
    found = np.concatenate(found)
    # A file may hold numbers of its own choice.
    return np.where(found < index.ntotal, found, -1)
