"""Search a folder of tracklets for a person.

    find_tracklet_folders    folder -> every folder of images below it
    index_folder             folder -> gallery file; again: only what is new
    Gallery                  the file in memory: check_fit, search

Features are made by :class:`cosam_mm.TrackletEncoder`. A gallery file mirrors its
folder: what :func:`index_folder` leaves equals what it would make from nothing, unless
tracklets of other folders were added or some removed.
``tools/search_gallery.py`` is the command line.
"""
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from cosam_mm.datasets.image_files import list_folders, list_images, warn_other_files
from cosam_mm.evaluation.functional.neighbours import Neighbours, nearest
from cosam_mm.utils.io import check_destination, read_arrays, write_results
from cosam_mm.utils.messages import name_some
from cosam_mm.utils.progress import progress_bar

from .gallery_faiss import FLAT, nearest_by_faiss
from .tracklet_encoder import DISTANCES, TrackletEncoder

__all__ = ['ENGINES', 'FLAT', 'Gallery', 'IndexReport', 'TrackletFiles',
           'find_tracklet_folders', 'index_folder', 'remove_tracklets']

ENGINES = ('auto', 'exact', 'faiss')
_MODES = ('update', 'add', 'mirror')
# Arrays of a gallery file: kinds of their dtype, and how many dimensions.
_ARRAYS = dict(feature=('f', 2), tracklet_id=('U', 1), state=('u', 1),
               weights_sha256=('U', 0), recipe=('U', 0), checkpoint=('U', 0),
               distance=('U', 0), num_waiting=('iu', 0), num_unreadable=('iu', 0))
_OPTIONAL = ('num_unreadable',)  # version 0.1 did not write them


class TrackletFiles(NamedTuple):
    """A folder that holds the images of one tracklet."""
    tracklet_id: str  # its path relative to the folder that was searched, with '/'
    folder: str  # '' of one that is kept from another folder
    state: int  # 64 bits that change with names, sizes and times of the images


def _state(folder: str, images: Sequence[str]) -> int:
    digest = hashlib.sha256()
    for name in images:
        status = os.stat(os.path.join(folder, name))
        digest.update(os.fsencode(f'{name}/{status.st_size}/{status.st_mtime_ns}/'))
    return int.from_bytes(digest.digest()[:8], 'little')


def find_tracklet_folders(root: str) -> list[TrackletFiles]:
    """Every folder below a folder that directly holds images, in natural order.

    Links to folders are followed, but for those that lead back to where they lie.
    Images in ``root`` itself belong to no tracklet.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no such tracklet, or a folder cannot be listed.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(f'There is no folder {root}.')
    tracklets = list(progress_bar(_walk(root, others := []), 'looking for tracklets',
                                  'tracklet', leave=False))
    warn_other_files(others, root)
    if not tracklets:
        raise ValueError(
            f'No folder below {root} holds images'
            + (', only that folder itself' if list_images(root) else '')
            + ': the images of each tracklet belong into a folder of their own.')
    return tracklets


def _walk(root: str, others: list[str]) -> Iterator[TrackletFiles]:
    waiting = [('', root, frozenset())]
    while waiting:
        tracklet_id, folder, above = waiting.pop()
        try:
            images = list_images(folder, beside := [])
            inside = list_folders(folder)
            status, state = os.stat(folder), _state(folder, images)
        except OSError as error:
            raise ValueError(f'{folder} cannot be listed: {error.strerror}.') from error
        identity = status.st_dev, status.st_ino
        if identity in above:
            continue
        if images and tracklet_id:
            others += beside
            yield TrackletFiles(tracklet_id, folder, state)
        prefix = f'{tracklet_id}/' if tracklet_id else ''
        waiting += [(prefix + name, os.path.join(folder, name), above | {identity})
                    for name in reversed(inside)]


@dataclasses.dataclass
class Gallery:
    """Features of tracklets, and what made them.

    Example::

        index_folder(encoder, 'people', 'gallery.npz')
        gallery = Gallery.read('gallery.npz')
        index, distance = gallery.search(encoder.encode('query')[None], topk=5)
        print(gallery.tracklet_id[index[0]])
    """
    feature: np.ndarray  # (G, D) float32
    tracklet_id: np.ndarray  # (G,) str, different
    state: np.ndarray  # (G,) uint64, of the images when they were read
    weights_sha256: str  # of the model
    recipe: str  # settings of model and pipeline that features depend on, as JSON
    checkpoint: str  # name of the file, for messages
    distance: str  # what to compare the features by if nothing else is said
    num_waiting: int = 0  # tracklets that are still to be computed
    num_unreadable: int = 0  # tracklets without a readable image, which are not in it

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def content_sha256(self) -> str:
        """SHA-256 of what the features were made of."""
        digest = hashlib.sha256(f'{self.weights_sha256} {self.recipe}\n'.encode())
        digest.update('\n'.join(self.tracklet_id.tolist()).encode(
            'utf-8', 'surrogateescape'))
        digest.update(np.ascontiguousarray(self.state))
        return digest.hexdigest()

    @classmethod
    def read(cls, path: str) -> 'Gallery':
        """Read a gallery file; nothing in it is executed.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no gallery file, or an empty one.
        """
        advice = 'Make one with tools/search_gallery.py index.'
        if not os.path.isfile(path):
            raise FileNotFoundError(f'There is no gallery {path}. {advice}')
        arrays = read_arrays(path, 'gallery')
        if problem := _describe_problem(arrays):
            raise ValueError(f'{path} is not a gallery that can be searched: {problem}.'
                             f' {advice}')
        return cls(**{key: arrays[key] if arrays[key].ndim else arrays[key].item()
                      for key in _ARRAYS if key in arrays})

    def write(self, path: str) -> None:
        """Write a gallery file; a reader meets the old one or the whole new one."""
        write_results(path, {key: np.asarray(getattr(self, key)) for key in _ARRAYS},
                     compress=False)

    def check_fit(self, encoder: TrackletEncoder, path: str) -> None:
        """Raise ``ValueError`` if an encoder's features do not compare with these.

        Weights, or settings of model or pipeline, differ then.

        Args:
            encoder: What makes new features.
            path: File of the gallery, for messages.
        """
        advice = ('Search with the checkpoint of the index, or index the folder anew '
                  '(--overwrite).')
        if self.weights_sha256 != encoder.weights:
            raise ValueError(
                f'{path} was indexed with other weights ({self.checkpoint}, sha256 '
                f'{self.weights_sha256[:12]}) than {encoder.checkpoint} has (sha256 '
                f'{encoder.weights[:12]}): their features do not compare. {advice}')
        if self.recipe != encoder.recipe:
            try:
                old, new = (_flat(json.loads(recipe))
                            for recipe in (self.recipe, encoder.recipe))
            except (ValueError, RecursionError):
                raise ValueError(f'{path}: its recipe is no JSON. {advice}') from None
            differences = [
                f'{key} {old.get(key)!r} there, {new.get(key)!r} here'
                for key in {**old, **new} if old.get(key) != new.get(key)]
            raise ValueError(
                f'{path} was indexed with the same weights in other settings: '
                f'{name_some(differences, separator="; ")}. {advice}')

    def search(self, features: np.ndarray, topk: int = 10,
               distance: Optional[str] = None, engine: str = 'auto',
               faiss_factory: str = FLAT, faiss_parameters: str = '',
               path: Optional[str] = None) -> Neighbours:
        """The tracklets that are nearest to queries.

        Args:
            features: (Q, D) of the queries.
            topk: How many to return, at most the whole gallery.
            distance: 'euclidean' (not squared) or 'cosine'. Default: the gallery's.
            engine: 'exact' compares with all tracklets; 'faiss' lets FAISS choose;
                'auto' is 'exact'.
            faiss_factory: FAISS's description of an index. All but the flat one may
                miss tracklets that are nearer.
            faiss_parameters: Of the search, as 'nprobe=16'.
            path: File of the gallery, beside which an index that is not flat is kept.

        Returns:
            Arrays (Q, min(topk, G)): ``index`` and ``distance``, nearest first.

        Raises:
            ValueError: An argument is not as described, the gallery is not finished,
                or FAISS is not installed or refuses its arguments.
        """
        distance = self.distance if distance is None else distance
        for name, value, allowed in (('distance', distance, DISTANCES),
                                     ('engine', engine, ENGINES)):
            if value not in allowed:
                raise ValueError(f'{name} must be one of {allowed}, got {value!r}.')
        if not isinstance(topk, (int, np.integer)) or topk < 1:
            raise ValueError(f'topk must be an integer of at least 1, got {topk!r}.')
        if self.num_waiting:
            raise ValueError(
                f'The gallery is not finished: {self.num_waiting} of '
                f'{len(self) + self.num_waiting} tracklets are still to be computed. '
                'Run the same tools/search_gallery.py index again: it continues.')
        if engine == 'faiss':
            return nearest_by_faiss(
                features, self.feature, topk, distance, faiss_factory,
                faiss_parameters, path, self.content_sha256)
        with progress_bar(what='searching', unit='query', total=len(features),
                          leave=False) as bar:
            return nearest(features, self.feature, topk, distance, bar.update)


def _describe_problem(arrays: Mapping[str, np.ndarray]) -> str:
    """Why arrays are no gallery; nothing, if they are one."""
    missing = [key for key in _ARRAYS if key not in (*arrays, *_OPTIONAL)]
    if missing:
        return f'it lacks {missing}'
    shape = arrays['feature'].shape
    for key, (kinds, num_dims) in _ARRAYS.items():
        if key in _OPTIONAL and key not in arrays:
            continue
        array = arrays[key]
        fits = array.ndim == num_dims and array.dtype.kind in kinds
        if not fits or (array.ndim and array.shape[:1] != shape[:1]):
            return (f'{key!r} is {array.dtype} of shape {array.shape}, which does not '
                    f'fit features of shape {shape}')
    if 0 in shape:
        return f'it is empty: its features have shape {shape}'
    distance = arrays['distance'].item()
    return '' if distance in DISTANCES else (
        f"'distance' must be one of {DISTANCES}, got {distance!r}")


def _flat(settings, name: str = '') -> dict:
    """Settings by their path, as ``model.backbone.depth`` or ``pipeline.0.mode``."""
    if isinstance(settings, list):
        settings = dict(enumerate(settings))
    if not isinstance(settings, dict):
        return {name: settings}
    return {path: leaf for key, value in settings.items()
            for path, leaf in _flat(value, f'{name}.{key}' if name else key).items()}


class IndexReport(NamedTuple):
    """What indexing did."""
    num_tracklets: int  # in the gallery now
    num_kept: int  # of these, those that were in it before with the same images
    num_removed: int  # those of before whose folder is gone or cannot be read
    skipped: list[str]  # those without any readable image


class _GalleryBuilder:
    """A gallery under construction: one row for each tracklet that was found."""

    def __init__(self, path: str, tracklets: Sequence[TrackletFiles],
                 encoder: TrackletEncoder) -> None:
        self.path = path
        self.tracklets = tracklets
        self.encoder = encoder
        self.features: dict[int, np.ndarray] = {}  # of what is done, by its number
        self.skipped: list[str] = []  # tracklets that cannot be read

    def keep(self, old: Gallery) -> None:
        """Take over the tracklets whose images have not changed."""
        known = dict(zip(zip(old.tracklet_id.tolist(), old.state.tolist()),
                         old.feature))
        for number, tracklet in enumerate(self.tracklets):
            if (tracklet.tracklet_id, tracklet.state) in known:
                self.features[number] = known[tracklet.tracklet_id, tracklet.state]

    def compute(self, batch_size: int, num_workers: int, save_every: float) -> None:
        """Fill in what is missing."""
        numbers = [number for number in range(len(self.tracklets))
                   if number not in self.features]
        if not numbers:
            return
        features = self.encoder.encode_each(
            [self.tracklets[number].folder for number in numbers], batch_size,
            num_workers)
        bar = progress_bar(features, 'indexing', 'tracklet', len(numbers))
        waiting = len(numbers)
        pause, saved = save_every, time.monotonic()
        try:
            for feature, number in zip(bar, numbers):
                if feature is None:
                    self.skipped.append(self.tracklets[number].tracklet_id)
                else:
                    self.features[number] = feature
                waiting -= 1
                if time.monotonic() - saved >= pause:
                    start = time.monotonic()
                    self.save(waiting)
                    saved = time.monotonic()
                    pause = max(save_every, 20 * (saved - start))  # 5 % at most
        finally:
            if waiting:
                self.save(waiting)

    def save(self, num_waiting: int = 0) -> None:
        """Write what is done, if anything is."""
        if not self.features:
            return
        encoder, numbers = self.encoder, sorted(self.features)
        done = [self.tracklets[number] for number in numbers]
        Gallery(
            feature=np.array([self.features[number] for number in numbers], np.float32),
            tracklet_id=np.array([tracklet.tracklet_id for tracklet in done]),
            state=np.array([tracklet.state for tracklet in done], np.uint64),
            weights_sha256=encoder.weights, recipe=encoder.recipe,
            checkpoint=os.path.basename(encoder.checkpoint),
            distance=encoder.default_distance, num_waiting=num_waiting,
            num_unreadable=len(self.skipped)).write(self.path)


def index_folder(encoder: TrackletEncoder, folder: str, path: str,
                 batch_size: int = 4, num_workers: int = 0, overwrite: bool = False,
                 save_every: float = 600., mode: str = 'update') -> IndexReport:
    """Write a gallery of all tracklets below a folder, or bring one up to date.

    What is done is kept when this is interrupted, or fails; the same call continues.

    Args:
        encoder: Makes the features.
        folder: See :func:`find_tracklet_folders`.
        path: Gallery file, ends in .npz. If it exists, only tracklets that are new in
            it or whose images changed are computed.
        mode: What becomes of tracklets of the file that are not in the folder. 'add':
            they stay; 'mirror': they leave it; 'update': they leave it if as many of
            it are still in the folder as they were, else nothing is done.
        batch_size: Tracklets at once.
        num_workers: Processes that read images.
        overwrite: Do not look at the file, compute everything.
        save_every: Seconds after which what is done so far is written.

    Raises:
        FileNotFoundError: There is no such folder.
        FileExistsError: The file would replace a folder.
        ValueError: It holds no tracklet, none can be read, the file cannot be
            written, or it exists and is no gallery, one of another model, or one of
            another folder whose tracklets would be lost.
    """
    if mode not in _MODES:
        raise ValueError(f'mode must be one of {_MODES}, got {mode!r}.')
    path = os.fspath(path)
    if not path.endswith('.npz'):
        raise ValueError(f'A gallery file must end in .npz, got {path!r}.')
    check_destination(path, overwrite=True)
    tracklets = find_tracklet_folders(folder)
    builder = _GalleryBuilder(path, tracklets, encoder)
    before, is_current, num_unreadable = set(), False, 0
    if os.path.exists(path) and not overwrite:
        old = Gallery.read(path)
        old.check_fit(encoder, path)
        tracklets += _others_to_keep(old, tracklets, mode, folder, path)
        builder.keep(old)
        before, num_unreadable = set(old.tracklet_id.tolist()), old.num_unreadable
        is_current = (len(builder.features) == len(old) == len(tracklets)
                      and not old.num_waiting
                      and old.distance == encoder.default_distance)
    num_kept = len(builder.features)
    builder.compute(batch_size, num_workers, save_every)
    if not builder.features:
        raise ValueError(
            f'None of {len(tracklets)} tracklets below {folder} has a readable image, '
            'so nothing can be indexed.')
    if not is_current or num_unreadable != len(builder.skipped):
        builder.save()
    readable = {tracklet.tracklet_id for tracklet in tracklets}.difference(
        builder.skipped)
    return IndexReport(len(builder.features), num_kept, len(before - readable),
                       builder.skipped)


def _others_to_keep(old: Gallery, tracklets: Sequence[TrackletFiles], mode: str,
                    folder: str, path: str) -> list[TrackletFiles]:
    """Tracklets of a gallery that stay in it though they are not in the folder.

    Raises:
        ValueError: They must neither stay nor leave, see :func:`index_folder`.
    """
    there = dict(zip(old.tracklet_id.tolist(), old.state.tolist()))
    now = {tracklet.tracklet_id: tracklet.state for tracklet in tracklets}
    gone = [name for name in there if name not in now]
    num_common = sum(now.get(name) == state for name, state in there.items())
    if len(gone) > num_common and mode == 'update':
        raise ValueError(
            f'{num_common} of the {len(there)} tracklets of {path} are in {folder} as '
            f'they were, {len(gone)} would leave the gallery: {name_some(gone)}. Say '
            '--add to keep them beside those of the folder, --mirror to make the '
            'gallery that of this folder alone, or name another --out.')
    changed = [name for name, state in there.items() if now.get(name, state) != state]
    if mode == 'add' and changed and not num_common:
        raise ValueError(
            f'{len(changed)} tracklets of {folder} have names that others have in '
            f'{path}: {name_some(changed)}. Index the folder above it, so that their '
            'names differ, or --remove those first.')
    return [TrackletFiles(name, '', there[name]) for name in gone] \
        if mode == 'add' else []


def remove_tracklets(path: str, names: Sequence[str]) -> int:
    """Take tracklets out of a gallery file; returns how many are left.

    Args:
        path: Gallery file.
        names: Of tracklets, or of folders above them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no gallery, a name is not in it, or nothing would be left.
    """
    gallery = Gallery.read(path)
    leaves = np.zeros(len(gallery), bool)
    for name in (name.rstrip('/') for name in names):
        is_it = np.array([own == name or own.startswith(f'{name}/')
                          for own in gallery.tracklet_id.tolist()])
        if not is_it.any():
            raise ValueError(f'{path} holds no tracklet {name!r}; nothing is removed.')
        leaves |= is_it
    if leaves.all():
        raise ValueError(f'{path} would be empty: delete the file instead.')
    for key in ('feature', 'tracklet_id', 'state'):
        setattr(gallery, key, getattr(gallery, key)[~leaves])
    gallery.write(path)
    return len(gallery)
