"""The nearest gallery entries by FAISS, for galleries of millions.

FAISS proposes some more candidates than are asked for, comparing in single precision;
their distances and order are then those of exact search. A flat index so finds what
exact search finds, but for entries that rounding cannot tell apart. Any other kind may
miss entries that are nearer; what it does find has the right distance and order.

Building such an index takes longer than one exact search, so it is kept in a file:
FAISS's own format, and behind it a key of what the index was made of. FAISS is imported
when it is used.
"""
import hashlib
import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np
from mmengine.logging import print_log

from cosam_mm.evaluation.functional.neighbours import Neighbours, nearest_among
from cosam_mm.utils.io import writing
from cosam_mm.utils.progress import progress_bar

__all__ = ['FLAT', 'KeptIndex', 'index_beside', 'nearest_by_faiss']

FLAT = 'Flat'
_ROWS = 2**14  # handed over at a time
_MAX_TRAINING_ROWS = 2**18


class KeptIndex(NamedTuple):
    """Where an index is kept.

    Attributes:
        file: Its file, which is written if need be.
        key: ASCII text that tells features and description of the index from others.
    """
    file: str
    key: str


def index_beside(path: Optional[str], content: str, distance: str, factory: str
                 ) -> Optional[KeptIndex]:
    """Where the index of a gallery file is kept; None for a flat one.

    Args:
        path: The gallery file; None: no index is kept.
        content: Text that tells its features from others.
        distance: 'euclidean' or 'cosine'.
        factory: FAISS's description of the index.
    """
    if factory == FLAT or path is None:
        return None
    plain = ''.join(char if char.isalnum() else '_' for char in factory)
    return KeptIndex(f'{os.path.splitext(path)[0]}.{distance}.{plain}.faiss',
                     hashlib.sha256(f'{content} {factory}'.encode()).hexdigest())


def nearest_by_faiss(q_features: np.ndarray, g_features: np.ndarray, k: int,
                     distance: str = 'euclidean', factory: str = FLAT,
                     parameters: str = '', kept: Optional[KeptIndex] = None
                     ) -> Neighbours:
    """The k nearest gallery entries of each query, by an index of FAISS.

    Args:
        q_features: (Q, D).
        g_features: (G, D), G at least 1.
        k: Entries to return; fewer where the gallery has, or the index finds, fewer.
        distance: 'euclidean' or 'cosine'.
        factory: Description of the index for ``faiss.index_factory``, as 'HNSW32'
            or 'IVF4096,Flat'.
        parameters: Of the search, as 'nprobe=16' or 'efSearch=128'.
        kept: Where to look for the index, and to keep it once it is built.

    Returns:
        Arrays (Q, min(k, G)); see :class:`Neighbours`.

    Raises:
        ValueError: FAISS is not installed, or refuses the description or the
            parameters; or the features do not fit.
    """
    faiss = _import_faiss()
    if q_features.shape[1:] != g_features.shape[1:]:
        raise ValueError(f'Query features have shape {q_features.shape}, gallery '
                         f'features {g_features.shape}: the second numbers must agree.')
    index = None if kept is None else _read(faiss, kept, g_features.shape)
    if index is None:
        index = _build(faiss, g_features, distance, factory)
        if kept is not None:
            _write(faiss, index, kept)
    if parameters:
        try:
            faiss.ParameterSpace().set_index_parameters(index, parameters)
        except RuntimeError as error:
            raise ValueError(
                f'FAISS refuses the parameters {parameters!r} for an index '
                f'{factory!r}: {_first_sentence(error)}') from error
    count = min(2 * k + 32, len(g_features))
    candidates = list(_candidates(index, q_features, distance, count))
    return nearest_among(q_features, g_features, np.concatenate(candidates),
                         min(k, len(g_features)), distance)


def _import_faiss():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # SWIG's, under new versions of Python
            import faiss
    except ImportError:
        raise ValueError('FAISS is not installed: install it with "pip install '
                         'faiss-cpu", or search exactly.') from None
    return faiss


def _rows_for(features: np.ndarray, rows, distance: str) -> np.ndarray:
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


def _read(faiss, kept: KeptIndex, shape: tuple[int, int]):
    """The index that was kept, or None where none has that key and shape."""
    if not os.path.isfile(kept.file):
        return None
    key = kept.key.encode()
    with open(kept.file, 'rb') as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(key)))
        is_ours = file.read() == key
    reason = 'an index of other features'
    if is_ours:
        try:
            index = faiss.read_index(kept.file)
        except (RuntimeError, MemoryError) as error:
            reason = f'damaged ({_first_sentence(error)})'
        else:
            if (index.ntotal, index.d) == shape:
                return index
    print_log(f'{kept.file} is {reason}; it is built anew.', logger='current')
    return None


def _write(faiss, index, kept: KeptIndex) -> None:
    try:
        with writing(kept.file) as partial:
            faiss.write_index(index, str(partial))
            with open(partial, 'ab') as file:
                file.write(kept.key.encode())
        print_log(f'The FAISS index is kept in {kept.file}.', logger='current')
    except (OSError, RuntimeError) as error:
        print_log(f'The FAISS index cannot be kept in {kept.file}: {error}',
                  logger='current')


def _candidates(index, features: np.ndarray, distance: str, count: int
                ) -> Iterator[np.ndarray]:
    with progress_bar(what='searching', unit='query', total=len(features),
                      leave=False) as bar:
        for start in range(0, len(features), _ROWS):
            part = _rows_for(features, slice(start, start + _ROWS), distance)
            numbers = index.search(part, count)[1]
            # A file may hold numbers of its own choice.
            yield np.where(numbers < index.ntotal, numbers, -1)
            bar.update(len(part))
