"""Features of tracklets, as a dict in memory and as a file.

=============  ======================================================================
feature        (N, D) float32
pid, camid     (N,) integers. A negative pid is junk, which may not be evaluated. A
               negative camid means an unknown camera: such a tracklet is compared
               with all others, whatever their camera, only not with itself
               (the same pid and tracklet_id).
subset         (N,) 'query' or 'gallery'
tracklet_id    (N,) names for reports
unreadable     (N,) bool, optional: such features mean nothing and are left out
dataset, protocol, split, clip_sampling
               strings, optional: '' where unknown
=============  ======================================================================
"""
from collections.abc import Mapping

import numpy as np

from cosam_mm.utils.io import read_arrays, write_arrays
from cosam_mm.utils.messages import name_some

__all__ = [
    'ARRAYS',
    'SUBSETS',
    'TEXTS',
    'complete_features',
    'load_features',
    'save_features',
]

SUBSETS = ('query', 'gallery')
ARRAYS = dict(feature='f', pid='iu', camid='iu', subset='U', tracklet_id='U',
              unreadable='b')
TEXTS = ('dataset', 'protocol', 'split', 'clip_sampling')


def _typed(features: Mapping) -> dict:
    required = [key for key in ARRAYS if key != 'unreadable']
    missing = [key for key in required if key not in features]
    unknown = sorted(set(features).difference(ARRAYS, TEXTS))
    if missing or unknown:
        raise ValueError(
            f'Features need the keys {required} and may have unreadable, '
            f'{", ".join(TEXTS)}; {missing} are missing, {unknown} are unknown.')
    out = {key: np.asarray(features[key]) for key in required}
    out['feature'] = out['feature'].astype(np.float32, copy=False)
    for key in ('subset', 'tracklet_id'):
        out[key] = out[key].astype(str, copy=False)
    unreadable = features.get('unreadable')
    out['unreadable'] = (np.zeros(len(out['feature']), bool) if unreadable is None
                         else np.asarray(unreadable))
    for key in TEXTS:
        text = features.get(key)
        out[key] = '' if text is None else str(text)
    return out


def complete_features(features: Mapping) -> dict:
    """Features with every key, each array of its type, that fit each other.

    Raises:
        ValueError: A key is missing or unknown, or an array does not fit.
    """
    out = _typed(features)
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
    write_arrays(str(path), arrays, compress=False)


def load_features(path: str) -> dict:
    """Read a feature file; nothing in it is executed.

    Args:
        path: A file that ``ReIDMetric`` or :func:`save_features` wrote.

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
