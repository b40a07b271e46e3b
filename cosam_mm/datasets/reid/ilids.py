"""iLIDS-VID: 300 persons, one tracklet in each of two cameras, ten splits.

Wang et al., *Person Re-Identification by Video Ranking*, ECCV 2014. Each split trains
on 150 persons and tests on the others, camera 1 against camera 2. Results are means
over the ten splits. Checked are that both cameras hold the same persons, that the row
of the split names each of them once, and the published counts.

Layout (a row of ``ls_set``, 10 x 300, is a split: it numbers the sorted persons from
1, and its first half trains):

    <data_root>/i-LIDS-VID/sequences/cam{1,2}/person<id>/*.png
    <data_root>/train-test people splits/train_test_splits_ilidsvid.mat  (ls_set)
"""
import os
import re
from collections.abc import Sequence

import numpy as np
from mmengine.registry import DATASETS

from cosam_mm.datasets.image_files import list_folders, list_images
from cosam_mm.structures.tracklet import Tracklet
from cosam_mm.utils.messages import name_some

from .matfile import read_integer_matrix
from .tracklet_dataset import TrackletDataset

__all__ = ['ILIDSVID']

SPLIT_FILE = os.path.join(
    'train-test people splits', 'train_test_splits_ilidsvid.mat')
SEQUENCES = os.path.join('i-LIDS-VID', 'sequences')
CAMERAS = (1, 2)


def _split_persons(
    ls_set: np.ndarray, split: int, persons: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Persons of the training and of the test half of a split, each in order.

    Args:
        ls_set: (num_splits, num_persons) numbers of persons, from 1.
        split: Number of the split, from 1.
        persons: Names of the persons in natural order.

    Raises:
        ValueError: There is no such split, or the row does not name every person.
    """
    if split > len(ls_set):
        raise ValueError(f'there is no split {split}, only 1 to {len(ls_set)}')
    numbers = ls_set[split - 1].tolist()
    if sorted(numbers) != list(range(1, len(persons) + 1)):
        raise ValueError(
            f'row {split} must hold each of 1 to {len(persons)} (the persons of the '
            f'cameras\' folders) once, but it has {len(numbers)} numbers from '
            f'{min(numbers)} to {max(numbers)}')
    half = len(numbers) // 2
    train, test = sorted(numbers[:half]), sorted(numbers[half:])
    return ([persons[number - 1] for number in train],
            [persons[number - 1] for number in test])


@DATASETS.register_module()
class ILIDSVID(TrackletDataset):
    """One split of iLIDS-VID.

    ``split`` is in ``metainfo``: the training persons of one split are test persons
    of others.

    Args:
        data_root: Folder with ``i-LIDS-VID`` and ``train-test people splits``.
        split: Number of the split, 1 to 10.
        base: Further arguments, and errors, of :class:`TrackletDataset`.
    """

    default_name = 'ilids'
    hint = ('It must hold i-LIDS-VID/sequences/ and "train-test people splits/" of '
            'iLIDS-VID.')

    def __init__(self,
                 data_root: str,
                 subset: str = 'train',
                 pipeline: Sequence = (),
                 split: int = 1,
                 **base) -> None:
        if not isinstance(split, int) or split < 1:
            raise ValueError(f'split must be an integer of at least 1, got {split!r}.')
        self.split = split
        super().__init__(data_root, subset, pipeline, **base)

    @property
    def protocol(self) -> str:
        return 'camera 1 against camera 2'

    @property
    def split_name(self) -> int:
        return self.split

    def official_counts(self) -> dict:
        return dict(num_tracklets=300 if self.subset == 'train' else 150, num_pids=150)

    def list_tracklets(self) -> list[Tracklet]:
        path = os.path.join(self.data_root, SPLIT_FILE)
        ls_set = read_integer_matrix(path, 'ls_set')
        persons = self._list_persons()
        try:
            train, test = _split_persons(ls_set, self.split, persons)
        except ValueError as error:
            raise ValueError(f'{path!r}: {error}.') from None
        cameras = {'train': CAMERAS, 'query': CAMERAS[:1], 'gallery': CAMERAS[1:]}
        return [self._read_tracklet(person, camid)
                for person in (train if self.subset == 'train' else test)
                for camid in cameras[self.subset]]

    def _folder(self, camid: int) -> str:
        return os.path.join(self.data_root, SEQUENCES, f'cam{camid}')

    def _list_persons(self) -> list[str]:
        persons = []
        for camid in CAMERAS:
            if not os.path.isdir(self._folder(camid)):
                raise FileNotFoundError(
                    f'{self._folder(camid)!r} does not exist. {self.hint}')
            persons.append([name for name in list_folders(self._folder(camid))
                            if re.fullmatch('person[0-9]+', name)])
        alone = sorted(set(persons[0]) ^ set(persons[1]))
        if alone:
            raise ValueError(
                f'{len(alone)} person(s) of {self.data_root!r} are in one camera only: '
                f'{name_some(alone)}. {self.hint}')
        return persons[0]

    def _read_tracklet(self, person: str, camid: int) -> Tracklet:
        folder = os.path.join(self._folder(camid), person)
        return Tracklet(
            int(person[len('person'):]), camid, f'cam{camid}/{person}',
            [os.path.join(folder, name) for name in list_images(folder)])
