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

_SPLIT_FILE = os.path.join(
    'train-test people splits', 'train_test_splits_ilidsvid.mat')
_CAMERAS = (1, 2)


def _split_persons(
    ls_set: np.ndarray, split: int, persons: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Persons of the training and of the test half of a split, each in order.

    ``ls_set`` is (num_splits, num_persons); it numbers ``persons``, as ``split`` the
    splits, from 1.
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
    train, test = ([persons[number - 1] for number in sorted(part)]
                   for part in (numbers[:half], numbers[half:]))
    return train, test


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
    protocol = 'camera 1 against camera 2'
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
        self.split = self.split_name = split
        super().__init__(data_root, subset, pipeline, **base)

    def official_counts(self) -> dict:
        return dict(num_tracklets=300 if self.subset == 'train' else 150, num_pids=150)

    def list_tracklets(self) -> list[Tracklet]:
        path = os.path.join(self.data_root, _SPLIT_FILE)
        ls_set = read_integer_matrix(path, 'ls_set')
        persons = self._list_persons()
        try:
            train, test = _split_persons(ls_set, self.split, persons)
        except ValueError as error:
            raise ValueError(f'{path!r}: {error}.') from None
        cameras = {'train': _CAMERAS, 'query': _CAMERAS[:1], 'gallery': _CAMERAS[1:]}
        tracklets = []
        for person in train if self.subset == 'train' else test:
            for camid in cameras[self.subset]:
                folder = os.path.join(self._folder(camid), person)
                tracklets.append(Tracklet(
                    int(person[len('person'):]), camid, f'cam{camid}/{person}',
                    [os.path.join(folder, name) for name in list_images(folder)]))
        return tracklets

    def _folder(self, camid: int) -> str:
        return os.path.join(self.data_root, 'i-LIDS-VID', 'sequences', f'cam{camid}')

    def _list_persons(self) -> list[str]:
        """Folders of persons, which must be the same in both cameras."""
        persons = []
        for folder in map(self._folder, _CAMERAS):
            if not os.path.isdir(folder):
                raise FileNotFoundError(f'{folder!r} does not exist. {self.hint}')
            persons.append([name for name in list_folders(folder)
                            if re.fullmatch('person[0-9]+', name)])
        alone = sorted(set(persons[0]) ^ set(persons[1]))
        if alone:
            raise ValueError(
                f'{len(alone)} person(s) of {self.data_root!r} are in one camera only: '
                f'{name_some(alone)}. {self.hint}')
        return persons[0]
