"""A gallery in memory and as a file: features, and what made them."""
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping

import numpy as np

from cosam_mm.apis.tracklet_encoder import DISTANCES, TrackletEncoder
from cosam_mm.utils.io import read_arrays, write_arrays

__all__ = ['Gallery', 'check_fit', 'read_gallery', 'write_gallery']

_MAX_NAMED = 5


@dataclasses.dataclass
class Gallery:
    """Features of tracklets, and what made them.

    Attributes:
        feature: (G, D) float32.
        tracklet_id: (G,) str, different.
        state: (G,) uint64, of the images when they were read.
        weights_sha256: Fingerprint of the model's weights.
        recipe: Settings of model and pipeline that features depend on, as JSON.
        checkpoint: Name of the checkpoint file, for messages.
        distance: What to compare the features by if nothing else is said.
        num_waiting: Tracklets that are still to be computed.
    """
    feature: np.ndarray
    tracklet_id: np.ndarray
    state: np.ndarray
    weights_sha256: str
    recipe: str
    checkpoint: str
    distance: str
    num_waiting: int = 0

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def content_sha256(self) -> str:
        """Fingerprint of what the features were made of."""
        digest = hashlib.sha256(f'{self.weights_sha256} {self.recipe}\n'.encode())
        digest.update('\n'.join(self.tracklet_id.tolist()).encode(
            'utf-8', 'surrogateescape'))
        digest.update(np.ascontiguousarray(self.state))
        return digest.hexdigest()


# -- the file ----------------------------------------------------------------

_KINDS = dict(feature='f', tracklet_id='U', state='u', weights_sha256='U', recipe='U',
              checkpoint='U', distance='U', num_waiting='iu')


def _check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    missing = [key for key in _KINDS if key not in arrays]
    if missing:
        raise ValueError(f'it lacks {missing}')
    shape = arrays['feature'].shape
    wanted = dict(feature=2, tracklet_id=1, state=1)
    for key, kinds in _KINDS.items():
        array = arrays[key]
        fits = array.ndim == wanted.get(key, 0) and array.dtype.kind in kinds
        if not fits or (array.ndim and array.shape[:1] != shape[:1]):
            raise ValueError(f'{key!r} is {array.dtype} of shape {array.shape}, which '
                             f'does not fit features of shape {shape}')
    if 0 in shape:
        raise ValueError(f'it is empty: its features have shape {shape}')
    if arrays['distance'].item() not in DISTANCES:
        raise ValueError(f"'distance' must be one of {DISTANCES}, got "
                         f'{arrays["distance"].item()!r}')


def read_gallery(path: str) -> Gallery:
    """Read a gallery file; nothing in it is executed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no gallery file, or an empty one.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no gallery {path}. Make one with '
                                'tools/search_gallery.py index.')
    arrays = read_arrays(str(path), 'gallery')
    try:
        _check_arrays(arrays)
    except ValueError as error:
        raise ValueError(f'{path} is not a gallery that can be searched: {error}. Make '
                         'one with tools/search_gallery.py index.') from error
    values = {key: arrays[key] if arrays[key].ndim else arrays[key].item()
              for key in _KINDS}
    return Gallery(**values)


def write_gallery(path: str, gallery: Gallery) -> None:
    """Write a gallery file; a reader meets the old one or the whole new one."""
    arrays = {field.name: np.asarray(getattr(gallery, field.name))
              for field in dataclasses.fields(gallery)}
    write_arrays(str(path), arrays, compress=False)


# -- which model made it -----------------------------------------------------


def _flat(settings, name: str = '') -> dict:
    """Settings by their path, as ``model.backbone.depth``."""
    if isinstance(settings, dict):
        settings = [(f'{name}.{key}' if name else key, value)
                    for key, value in settings.items()]
    elif isinstance(settings, list):
        settings = [(f'{name}[{key}]', value) for key, value in enumerate(settings)]
    else:
        return {name: settings}
    return {path: leaf for part, value in settings
            for path, leaf in _flat(value, part).items()}


def _describe_differences(old: str, new: str) -> str:
    """The first few settings in which two recipes differ."""
    old, new = (_flat(json.loads(recipe)) for recipe in (old, new))
    lines = [f'{path} {old.get(path)!r} there, {new.get(path)!r} here'
             for path in {**old, **new} if old.get(path) != new.get(path)]
    rest = len(lines) - _MAX_NAMED
    return '; '.join(lines[:_MAX_NAMED]) + (f'; and {rest} more' if rest > 0 else '')


def check_fit(gallery: Gallery, encoder: TrackletEncoder, path: str) -> None:
    """Make sure that an encoder's features compare with those of a gallery.

    Args:
        gallery: What was read.
        encoder: What makes new features.
        path: File of the gallery, for messages.

    Raises:
        ValueError: Weights, or settings of model or pipeline, differ.
    """
    advice = ('Search with the checkpoint of the index, or index the folder anew '
              '(--overwrite).')
    if gallery.weights_sha256 != encoder.weights:
        raise ValueError(
            f'{path} was indexed with other weights ({gallery.checkpoint}, sha256 '
            f'{gallery.weights_sha256[:12]}) than {encoder.checkpoint} has (sha256 '
            f'{encoder.weights[:12]}): their features do not compare. {advice}')
    if gallery.recipe != encoder.recipe:
        raise ValueError(
            f'{path} was indexed with the same weights in other settings: '
            f'{_describe_differences(gallery.recipe, encoder.recipe)}. {advice}')
