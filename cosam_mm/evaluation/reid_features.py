"""What a re-ID test is evaluated from: features of tracklets, and attribute tables.

Features are a dict in memory, and a file:

=============  ======================================================================
feature        (N, D) float32
pid, camid     (N,) integers. A negative pid is junk, which may not be evaluated. A
               negative camid means an unknown camera: such a tracklet is compared
               with all others, whatever their camera, only not with itself
               (the same pid and source).
subset         (N,) 'query' or 'gallery'
tracklet_id    (N,) names for reports
source         (N,) names, optional: tracklets of equal images have one source, and are
               no match for each other. Default: tracklet_id
unreadable     (N,) bool, optional: such features mean nothing and are left out
dataset, protocol, split, clip_sampling
               strings, optional: '' where unknown
weights_sha256, checkpoint, list_sha256
               strings, optional: what made them, see ``provenance.py``
=============  ======================================================================
"""
import csv
import io
import os
from collections.abc import Collection, Mapping
from typing import Union

import numpy as np

from cosam_mm.utils.io import read_arrays, read_text, write_results
from cosam_mm.utils.messages import name_some

from .provenance import MADE_BY

__all__ = ['ARRAYS', 'SUBSETS', 'TEXTS', 'Attributes', 'complete_features',
           'find_carriers', 'load_features', 'read_attributes', 'save_features']

SUBSETS = ('query', 'gallery')
ARRAYS = dict(feature='f', pid='iu', camid='iu', subset='U', tracklet_id='U',
              source='U', unreadable='b')
_OPTIONAL = ('source', 'unreadable')
TEXTS = ('dataset', 'protocol', 'split', 'clip_sampling')

# -- features ----------------------------------------------------------------


def complete_features(features: Mapping) -> dict:
    """Features with every key, each array of its type, that fit each other.

    Raises:
        ValueError: A key is missing or unknown, or an array does not fit.
    """
    required = [key for key in ARRAYS if key not in _OPTIONAL]
    missing = [key for key in required if key not in features]
    unknown = sorted(set(features).difference(ARRAYS, TEXTS, MADE_BY))
    if missing or unknown:
        raise ValueError(
            f'Features need the keys {required} and may have '
            f'{", ".join((*_OPTIONAL, *TEXTS, *MADE_BY))}; {missing} are missing, '
            f'{unknown} are unknown.')
    out = {key: np.asarray(features[key]) for key in required}
    out['feature'] = out['feature'].astype(np.float32, copy=False)
    for key in ('subset', 'tracklet_id'):
        out[key] = out[key].astype(str, copy=False)
    source = features.get('source')
    out['source'] = out['tracklet_id'] if source is None else np.asarray(source, str)
    unreadable = features.get('unreadable')
    out['unreadable'] = (np.zeros(len(out['feature']), bool) if unreadable is None
                         else np.asarray(unreadable))
    for key in (*TEXTS, *MADE_BY):
        out[key] = '' if features.get(key) is None else str(features[key])
    shape = out['feature'].shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"'feature' has shape {shape}; expected (number of "
                         'tracklets, length of a feature).')
    for key, kinds in ARRAYS.items():
        array = out[key]
        if array.dtype.kind not in kinds or (
                key != 'feature' and array.shape != shape[:1]):
            raise ValueError(f'{key!r} is {array.dtype} of shape {array.shape}, which '
                             f'does not fit features of shape {shape}.')
    other = sorted(set(out['subset'].tolist()).difference(SUBSETS))
    if other:
        raise ValueError(
            f"'subset' must be one of {SUBSETS}, got {name_some(map(repr, other))}.")
    return out


def save_features(path: str, features: Mapping) -> None:
    """Write a feature file; a reader meets the old one or the whole new one.

    Args:
        path: Ends in .npz; folders are made.
        features: See the head of this file.

    Raises:
        ValueError: The path ends otherwise, or the arrays do not fit each other.
    """
    if not str(path).endswith('.npz'):
        raise ValueError(f'A feature file must end in .npz, got {str(path)!r}.')
    arrays = {key: np.asarray(value)
              for key, value in complete_features(features).items()}
    write_results(str(path), arrays, compress=False)


def load_features(path: str) -> dict:
    """Read a feature file; nothing in it is executed.

    Returns:
        Features as the head of this file describes them, with every key.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no feature file, or its arrays do not fit each other.
    """
    arrays = read_arrays(str(path), 'feature file')
    try:
        return complete_features(arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(f'{path} is not a feature file: {error}') from error


# -- attributes --------------------------------------------------------------

Attributes = Mapping[Union[int, str], Collection[str]]
"""Names of attributes (handbag, hat, ...) by pid (int), or by tracklet_id (str)."""


def _read_row(row: list[str], header: list[str]) -> tuple[Union[int, str], frozenset]:
    """Whose line it is, and the attributes that it has."""
    if len(row) != len(header):
        raise ValueError(f'{len(row)} fields, the first line has {len(header)}')
    name, *flags = (field.strip() for field in row)
    wrong = [flag for flag in flags if flag not in ('0', '1')]
    if wrong:
        raise ValueError(f'attributes must be 0 or 1, got {wrong[0]!r}')
    if header[0] == 'pid':
        try:
            name = int(name)
        except ValueError:
            raise ValueError(f'pid must be an integer, got {name!r}') from None
    return name, frozenset(
        key for key, flag in zip(header[1:], flags) if flag == '1')


def read_attributes(path: str) -> dict[Union[int, str], frozenset]:
    """Read which person, or which tracklet, carries what.

    Args:
        path: CSV file in UTF-8. First line: ``pid,handbag,hat``, or
            ``tracklet_id,handbag,hat``; the others: a pid (or name of a tracklet),
            then 0 or 1 for each attribute.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is not as described, or a pid comes twice.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'The attribute file {str(path)!r} does not exist.')
    attributes = {}
    reader = csv.reader(io.StringIO(read_text(path)))
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(header) < 2 or header[0] not in ('pid', 'tracklet_id') or (
                '' in header or len(set(header)) < len(header)):
            raise ValueError(
                'the first line must be "pid" or "tracklet_id" and the different '
                f'names of the attributes, between commas; got {header}')
        for row in filter(any, reader):
            name, carried = _read_row(row, header)
            if name in attributes:
                raise ValueError(f'{header[0]} {name!r} comes twice')
            attributes[name] = carried
    except (ValueError, csv.Error) as error:
        raise ValueError(f'{path}, line {reader.line_num}: {error}.') from None
    if not attributes:
        raise ValueError(f'{path}: there is no line beneath the first.')
    return attributes


def find_carriers(attributes: Attributes, features: Mapping[str, np.ndarray]
                  ) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Which tracklets carry each attribute, and which ones the table knows.

    Args:
        attributes: Names of attributes by pid, or by tracklet_id.
        features: ``pid`` and ``tracklet_id``, (N,) each.

    Returns:
        (N,) bool by attribute, in the order of their names, for those that somebody
        in the table carries; and (N,) bool, False where the table has no entry.

    Raises:
        ValueError: The table is empty, mixes keys, or knows none of the tracklets.
    """
    by_pid = {isinstance(key, (int, np.integer)) for key in attributes}
    if len(by_pid) != 1 or any(isinstance(own, str) for own in attributes.values()):
        raise ValueError(
            'attributes must have either pids (integers) or names of tracklets '
            '(strings) as keys, and sets of names as values, got '
            f'{name_some(attributes.items())}.')
    key = 'pid' if by_pid.pop() else 'tracklet_id'
    own = [attributes.get(name) for name in features[key].tolist()]
    known = np.array([carried is not None for carried in own])
    if not known.any():
        raise ValueError(
            f'None of the {len(own)} queries has its {key} among the '
            f'{len(attributes)} of the attributes: they belong to other data.')
    names = sorted(set().union(*attributes.values()))
    return {name: np.array([name in (carried or ()) for carried in own])
            for name in names}, known
