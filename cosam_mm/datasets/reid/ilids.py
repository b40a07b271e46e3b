"""iLIDS-VID: 300 persons, one tracklet in each of two cameras, ten splits.

Wang et al., *Person Re-Identification by Video Ranking*, ECCV 2014. A row of ``ls_set``
(10 x 300) is a split and numbers the sorted persons from 1. Two conventions are in use:
torchreid, which follows Wang et al., and the COSAM authors' code test on the first half
of a row and train on the rest; others do the reverse. Checked are that both cameras
hold the same persons, that the row names each of them once, and the published counts.

Layout:

    <data_root>/i-LIDS-VID/sequences/cam{1,2}/person<id>/*.png
    <data_root>/train-test people splits/train_test_splits_ilidsvid.mat  (ls_set)
"""
import os
from collections.abc import Sequence

import numpy as np

from cosam_mm.registry import DATASETS

from .matfile import read_integer_matrix
from .two_camera_dataset import TwoCameraDataset

__all__ = ['ILIDSVID']

_SPLIT_FILE = os.path.join(
    'train-test people splits', 'train_test_splits_ilidsvid.mat')
_CONVENTIONS = ('first_half_tests', 'first_half_trains')


def _halves(ls_set: np.ndarray, split: int, persons: Sequence[str]) -> list[list[str]]:
    """Persons of the first and of the second half of a split, each in order.

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
    return [[persons[number - 1] for number in sorted(part)]
            for part in (numbers[:half], numbers[half:])]


@DATASETS.register_module()
class ILIDSVID(TwoCameraDataset):
    """One split of iLIDS-VID.

    Args:
        data_root: Folder with ``i-LIDS-VID`` and ``train-test people splits``.
        split: Number of the split, 1 to 10.
        split_convention: 'first_half_tests', see above, or 'first_half_trains', which
            was that of this package up to version 0.1. ``split`` of ``metainfo`` names
            the first.
        base: Further arguments, and errors, of :class:`TrackletDataset`.
    """

    default_name = 'ilids'
    cameras = ('cam1', 'cam2')
    person_name = 'person([0-9]+)'
    hint = ('It must hold i-LIDS-VID/sequences/ and "train-test people splits/" of '
            'iLIDS-VID.')

    def __init__(self, *args, split: int = 1,
                 split_convention: str = 'first_half_tests', **base) -> None:
        if split_convention not in _CONVENTIONS:
            raise ValueError(f'split_convention must be one of {_CONVENTIONS}, got '
                             f'{split_convention!r}.')
        self.first_half_tests = split_convention == 'first_half_tests'
        if self.first_half_tests:
            self.split_name = f'{split} (first half tests)'
            self.former_split = split, 'split_convention=first_half_trains'
        super().__init__(*args, split=split, **base)

    def official_counts(self) -> dict:
        return dict(num_tracklets=300 if self.subset == 'train' else 150, num_pids=150)

    def camera_folder(self, camid: int) -> str:
        return os.path.join(self.data_root, 'i-LIDS-VID', 'sequences', f'cam{camid}')

    def split_persons(self, persons: list[str]) -> tuple[list[str], list[str]]:
        path = os.path.join(self.data_root, _SPLIT_FILE)
        ls_set = read_integer_matrix(path, 'ls_set')
        try:
            first, second = _halves(ls_set, self.split, persons)
        except ValueError as error:
            raise ValueError(f'{path!r}: {error}.') from None
        return (second, first) if self.first_half_tests else (first, second)
