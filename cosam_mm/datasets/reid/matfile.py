"""Matrices of whole numbers out of MATLAB files, nothing else.

The lists of MARS and iLIDS-VID are plain matrices. Structures, cells and functions,
which a .mat file can hold as well, are refused before they are read. So are elements
of unknown types in files of version 5: scipy dies of them.
"""
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Optional

import numpy as np

from cosam_mm.utils.messages import one_line

__all__ = ['read_integer_matrix']

_PLAIN = ('double', 'single', 'logical', *(
    f'{sign}int{bits}' for sign in ('', 'u') for bits in (8, 16, 32, 64)))
# Far above any list of tracklets; it bounds what a broken header can ask for.
_MAX_ELEMENTS = 10_000_000

# Of the file format's version 5: numbers of types of elements, sizes in bytes.
_HEAD_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_VALUES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18}


def read_integer_matrix(
    path: str, variable: str, num_columns: Optional[int] = None
) -> np.ndarray:
    """Read a matrix (rows, columns), int64, from a .mat file (MATLAB 4 to 7.2).

    Args:
        path: The file.
        variable: Name of the matrix. Where the file holds one variable only, its
            name does not matter.
        num_columns: Columns that the matrix must have; None allows any number.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no .mat file, or holds no such matrix.
    """
    columns = 'n' if num_columns is None else num_columns
    expected = (f'expected a MATLAB file (version 7.2 or older) with a matrix '
                f'{variable!r} of whole numbers, m x {columns}')
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{path!r} does not exist: {expected}.')
    try:
        matrix = _read_variable(path, variable)
        if matrix.dtype.kind not in 'iufb':
            raise ValueError(f'a matrix of {matrix.dtype}')
        if not np.isfinite(matrix).all() or (matrix != np.floor(matrix)).any():
            raise ValueError('numbers that are not whole')
        if num_columns is not None and matrix.shape[1] != num_columns:
            raise ValueError(f'the matrix is {matrix.shape[0]} x {matrix.shape[1]}')
    except Exception as error:
        # What scipy raises for a damaged file depends on where the damage lies.
        raise ValueError(f'{path!r}: {expected}; got {one_line(error)}.') from error
    return matrix.astype(np.int64)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, content) of the elements that follow each other."""
    offset = 0
    while offset + 8 <= len(data):
        kind, size = struct.unpack_from(f'{order}II', data, offset)
        if kind >> 16:  # small ones have type and size in four bytes
            kind, size, start, end = kind & 0xffff, kind >> 16, offset + 4, offset + 8
        else:
            start = offset + 8
            # Compressed ones are not filled up to a multiple of eight bytes.
            end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError(f'an element that claims {size:,} bytes, of which '
                             f'{len(data) - start:,} are there')
        yield kind, data[start:start + size]
        offset = end


def _check_types(path: str) -> None:
    """Raise a ValueError if a matrix of a version 5 file has values of no type."""
    with open(path, 'rb') as file:
        head = file.read(_HEAD_BYTES)
        order = {b'IM': '<', b'MI': '>'}.get(head[126:])
        if order is None:
            return  # another version
        data = file.read(8 * _MAX_ELEMENTS)
    for kind, content in _elements(data, order):
        if kind == _COMPRESSED:
            content = zlib.decompressobj().decompress(content, 8 * _MAX_ELEMENTS)
            kind, content = next(_elements(content, order), (0, b''))
        if kind != _MATRIX:
            raise ValueError(f'an element of type {kind}')
        for part, _ in _elements(content, order):
            if part not in _VALUES | {_MATRIX}:  # a cell's is refused later
                raise ValueError(f'values of type {part}')


def _read_variable(path: str, variable: str) -> np.ndarray:
    """A plain matrix of any type, not yet read where it is none."""
    _check_types(path)
    from scipy.io import loadmat, whosmat  # only these data sets need scipy
    contents = {name: (shape, kind) for name, shape, kind in whosmat(path)}
    if variable not in contents and len(contents) == 1:
        variable = next(iter(contents))
    if variable not in contents:
        raise ValueError(f'variables {sorted(contents)}')
    shape, kind = contents[variable]
    if kind not in _PLAIN:
        raise ValueError(f'{variable!r} is a {kind}')
    if len(shape) != 2 or not 0 < np.prod(shape, dtype=float) <= _MAX_ELEMENTS:
        raise ValueError(f'{variable!r} has shape {tuple(shape)}')
    return loadmat(path, variable_names=[variable])[variable]
