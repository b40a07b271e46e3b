"""Your own tracklets, as folders of images.

    <root>/<pid>/<camid>/<tracklet>/*.jpg      or, where cameras are not known,
    <root>/<pid>/<tracklet>/*.jpg              or, camera first, as of PRID2011,
    <root>/<camid>/<pid>[/<tracklet>]/*.jpg

Camera first is recognised by names: ``cam_a``, ``camera 2``, ``c1`` above persons, or
``person_0001``, ``id7`` below others. Other names of folders are free. Persons keep
their numbers where every name is a different whole number (a negative one is junk and
is left out), else they are numbered from 0 in natural order of the names; cameras
likewise. Without cameras ``camid`` is -1, unknown: a test compares such a query with
every tracklet but itself.

Which tracklets make a subset:

- <data_root> holds a folder ``train``, ``query`` or ``gallery``: each subset is the
  folder of its name, laid out as above.
- It holds none of them: a hash of the person's name and the seed says whether the
  person trains or tests, so that nobody moves when persons are added. Queries are the
  first tracklet (in natural order) of each test person in each camera, or of each test
  person where cameras are not known; the gallery is every tracklet of the test persons,
  queries included, since a test leaves out what the query's own camera saw of its
  person.
"""
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

import numpy as np

from cosam_mm.datasets.image_files import list_folders, list_images, warn_other_files
from cosam_mm.registry import DATASETS
from cosam_mm.structures.tracklet import UNKNOWN_CAMERA, Tracklet
from cosam_mm.utils.messages import name_some, natural_key

from .tracklet_dataset import SUBSETS, TrackletDataset

__all__ = ['TrackletFolder']

_LAYOUTS = ('auto', 'person_first', 'camera_first')
_CAMERA_NAME = r'cam(era)?[ ._-]*([0-9]+|[a-z])|c[0-9]{1,2}'
_PERSON_NAME = r'(person|pid|id)[ ._-]*[0-9]+'
_SPLITS = ('hash', 'shuffle')


class _ImageFolder(NamedTuple):
    """A folder of images; ``camera`` is None where there is no camera level."""
    person: str
    camera: Optional[str]
    folder: str
    images: list[str]


def _number_names(names: Iterable[str]) -> dict[str, int]:
    """Numbers of names: their own where all are different numbers, else 0, 1, ….

    >>> _number_names(['7', '003']), _number_names(['cam10', 'cam2'])
    ({'003': 3, '7': 7}, {'cam2': 0, 'cam10': 1})
    """
    ordered = sorted(set(names), key=natural_key)
    if all(re.fullmatch('-?[0-9]+', name) for name in ordered):
        numbers = {name: int(name) for name in ordered}
        if len(set(numbers.values())) == len(numbers):
            return numbers
    return {name: number for number, name in enumerate(ordered)}


def _trains(name: str, train_fraction: float, seed: int) -> bool:
    """Whether a person trains: a matter of nothing but name, fraction and seed."""
    digest = hashlib.sha256(os.fsencode(f'{seed}/{name}')).digest()
    return int.from_bytes(digest[:8], 'big') < train_fraction * 2**64


def _shuffled_train_pids(
    pids: Iterable[int], train_fraction: float, seed: int) -> set[int]:
    """Training pids as version 0.1 chose them: a new person moves others."""
    ordered = sorted(set(pids))
    num_train = int(len(ordered) * train_fraction + 0.5)
    # RandomState: its stream is the same in every version of numpy.
    return set(np.random.RandomState(seed).permutation(ordered).tolist()[:num_train])


def _walk_persons(root: str, others: list[str]) -> list[_ImageFolder]:
    """Folders of tracklets in a folder of persons, also those without an image.

    They are in natural order of person, camera and name. Images where folders should
    be are a ValueError; files that are no images are added to ``others``.
    """
    tracklets = []
    for person in list_folders(root):
        folder = os.path.join(root, person)
        if list_images(folder):
            raise ValueError(
                f'{folder!r} is a person and holds images. Put the images of each '
                'tracklet into a folder: <pid>/<camid>/<tracklet>/*.jpg.')
        for name in list_folders(folder):
            path = os.path.join(folder, name)
            inside = list_folders(path)
            images = list_images(path, None if inside else others)
            if images and inside:
                raise ValueError(
                    f'{path!r} holds images and folders: it must be a tracklet '
                    '(images) or a camera (folders).')
            if not inside:
                tracklets.append(_ImageFolder(person, None, path, images))
            for own in (os.path.join(path, each) for each in inside):
                tracklets.append(
                    _ImageFolder(person, name, own, list_images(own, others)))
    return tracklets


def _is_camera_first(folders: Sequence[_ImageFolder]) -> bool:
    """Whether names say that cameras are above persons."""
    upper = {each.person.lower() for each in folders}
    lower = {_second_level(each).lower() for each in folders}
    cameras = sorted(name for name in upper if re.fullmatch(_CAMERA_NAME, name))
    is_above_persons = all(re.fullmatch(_PERSON_NAME, name) for name in lower) and (
        not any(re.fullmatch(_PERSON_NAME, name) for name in upper))
    if not is_above_persons and 0 < len(cameras) < len(upper):
        raise ValueError(
            f'Folders named as cameras ({name_some(cameras)}) lie beside others '
            f'({name_some(sorted(upper.difference(cameras)))}): move those, or say '
            'what is above, layout="person_first" or "camera_first".')
    return bool(upper) and (is_above_persons or len(cameras) == len(upper))


def _plain(name: str) -> str:
    """The name, or the number that it is: 007 is 7."""
    return str(int(name)) if name.isdecimal() else name


def _second_level(folder: _ImageFolder) -> str:
    return folder.camera or os.path.basename(folder.folder)


def _number_cameras(folders: Sequence[_ImageFolder]) -> list[int]:
    """Camera numbers of tracklets, over all subsets of a data set; -1 is unknown."""
    without = [tracklet for tracklet in folders if tracklet.camera is None]
    if without and len(without) < len(folders):
        other = next(tracklet for tracklet in folders if tracklet.camera is not None)
        raise ValueError(
            f'{without[0].folder!r} is <pid>/<tracklet> and {other.folder!r} is '
            '<pid>/<camid>/<tracklet>: all tracklets must have a camera, or none.')
    if without:
        return [UNKNOWN_CAMERA] * len(folders)
    numbers = _number_names(tracklet.camera for tracklet in folders)
    return [numbers[tracklet.camera] for tracklet in folders]


@DATASETS.register_module()
class TrackletFolder(TrackletDataset):
    """A folder of tracklets, see above.

    ``metainfo`` names the seed and the fraction in ``split`` where they made it.

    Args:
        data_root: The folder.
        train_fraction: Part of the persons that trains, 0 to 1; of no use where the
            subsets have folders.
        seed: Makes the split of the persons.
        person_split: 'hash', see above, or 'shuffle', for models that version 0.1
            trained: a permutation of all persons, which a new one changes.
        layout: 'person_first', 'camera_first', or 'auto', which looks at the names.
        base: Further arguments, and errors, of :class:`TrackletDataset`; the default of
            ``name`` is the folder's name.
    """

    hint = ('It must hold <pid>/<camid>/<tracklet>/*.jpg (the camera may be left out), '
            'or that in each of train/, query/ and gallery/.')

    def __init__(self,
                 data_root: str,
                 subset: str = 'train',
                 pipeline: Sequence = (),
                 train_fraction: float = 0.5,
                 seed: int = 0,
                 person_split: str = 'hash',
                 layout: str = 'auto',
                 **base) -> None:
        for name, value, allowed in (('person_split', person_split, _SPLITS),
                                     ('layout', layout, _LAYOUTS)):
            if value not in allowed:
                raise ValueError(f'{name} must be one of {allowed}, got {value!r}.')
        if not 0 <= train_fraction <= 1:
            raise ValueError(
                f'train_fraction must lie in [0, 1], got {train_fraction!r}.')
        self.train_fraction = train_fraction
        self.seed = seed
        self.person_split = person_split
        self.layout = layout
        # Those of the subsets that have a folder.
        self.subset_folders = [each for each in SUBSETS
                               if os.path.isdir(os.path.join(data_root, each))]
        self.protocol = 'query and gallery folders'
        if not self.subset_folders:
            self.protocol = (
                'gallery with queries (first tracklet of each person and camera)')
            self.split_name = f'seed {seed}, {train_fraction:g} of the persons train'
            if person_split == 'hash':
                self.former_split = self.split_name, 'person_split=shuffle'
                self.split_name = f'hash of names, {self.split_name}'
        super().__init__(data_root, subset, pipeline, **base)

    def balanced_seed(self) -> int:
        """The first seed that parts the persons as ``train_fraction`` says.

        A hash leaves it to chance how many of a few persons train; 0 where folders say.
        """
        folders = [] if self.subset_folders else self._in_layout(self._find('', []))
        names = [name for name, pid in _number_names(
            each.person for each in folders).items() if pid >= 0]
        wanted = self.train_fraction * len(names)
        return next((seed for seed in range(1000) if abs(wanted - sum(
            _trains(name, self.train_fraction, seed) for name in names))
            <= max(0.5, 0.05 * len(names))), 0)

    def list_tracklets(self) -> list[Tracklet]:
        subsets = self.subset_folders
        if subsets and self.subset not in subsets:
            raise FileNotFoundError(
                f'{self.data_root!r} has folders of {subsets}, but none of '
                f'{self.subset!r}. {self.hint}')
        # Numbers of persons and cameras must agree between the subsets.
        subset_of, folders, others = [], [], []
        for subset in subsets or ['']:
            found = self._find(subset, others)
            folders += found
            subset_of += [subset] * len(found)
        warn_other_files(others, self.title)
        folders = self._in_layout(folders)
        pids = _number_names(each.person for each in folders)
        self.check_shared_persons(
            {_plain(each.person) for each, subset in zip(folders, subset_of)
             if (subset == 'train') == part and subset and pids[each.person] >= 0}
            for part in (True, False))
        tracklets = [
            Tracklet(pids[each.person], camid,
                     os.path.relpath(each.folder, self.data_root).replace(os.sep, '/'),
                     [os.path.join(each.folder, image) for image in each.images])
            for each, camid in zip(folders, _number_cameras(folders))]
        if not subsets:
            return self._choose(tracklets, pids)
        return [tracklet for subset, tracklet in zip(subset_of, tracklets)
                if subset == self.subset]

    def _find(self, subset: str, others: list[str]) -> list[_ImageFolder]:
        """Folders with images of a subset; the others are named in the log."""
        folders = _walk_persons(os.path.join(self.data_root, subset), others)
        empty = [each.folder for each in folders if not each.images]
        if empty and subset in ('', self.subset):
            self._log(f'{len(empty):,} folders without an image are left out: '
                      f'{name_some(empty)}.', logging.WARNING)
        return [each for each in folders if each.images]

    def _in_layout(self, folders: list[_ImageFolder]) -> list[_ImageFolder]:
        """The folders, each with its person and its camera."""
        is_auto = self.layout == 'auto'
        if not (_is_camera_first(folders) if is_auto else
                self.layout == 'camera_first'):
            persons, cameras = ({getattr(each, key) for each in folders}
                                for key in ('person', 'camera'))
            if is_auto and len(cameras) > len(persons) > 1:
                self._log('there are more cameras than persons: if the folders above '
                          'are cameras, set layout="camera_first".', logging.WARNING)
            return folders
        self._log(f'{folders[0].person if folders else ""} and the others beside it '
                  'are cameras, the folders in them persons'
                  + (' (by their names; layout="person_first" reads it the other way)'
                     if is_auto else '') + '.')
        return [each._replace(person=_second_level(each), camera=each.person)
                for each in folders]

    def _choose(self, tracklets: list[Tracklet], pids: dict[str, int]
                ) -> list[Tracklet]:
        """Tracklets of the subset where the seed splits the persons."""
        known = {name: pid for name, pid in pids.items() if pid >= 0}
        split = self.train_fraction, self.seed
        train = {pid for name, pid in known.items() if _trains(name, *split)} \
            if self.person_split == 'hash' else _shuffled_train_pids(
                known.values(), *split)
        wanted = train if self.subset == 'train' else {*known.values()} - train
        if known and not wanted:
            raise ValueError(
                f'{self.title}: none of the {len(known)} persons of {self.data_root!r} '
                f'comes into it by {self.split_name}. Set another seed or '
                'train_fraction, or make folders train, query and gallery.')
        chosen = [tracklet for tracklet in tracklets if tracklet.pid in wanted]
        if self.subset != 'query':
            return chosen
        first = {}
        for tracklet in chosen:
            # A tracklet that is left out as too short must not be the query.
            if len(tracklet.img_paths) >= self.min_frames:
                first.setdefault((tracklet.pid, tracklet.camid), tracklet)
        return list(first.values())
