"""PRID2011: 200 persons in two cameras, of whom 178 are long enough; ten splits.

Hirzer et al., *Person Re-Identification by Descriptive and Discriminative
Classification*, SCIA 2011. The video protocol (Wang et al., *Person Re-Identification
by Video Ranking*, ECCV 2014) takes the 178 persons with long sequences in both cameras:
89 train, 89 test, camera a against camera b, mean of ten splits. Which 178, the splits
in use say, those of torchreid's ``splits_prid2011.json``: no image is counted. Checked
are that a split names different persons, that both cameras hold them, and the counts.

Layout (``prid_2011`` may be left out):

    <data_root>/prid_2011/multi_shot/cam_{a,b}/person_0001/0001.png
    <data_root>/splits_prid2011.json    [{"train": ["person_0004", …], "test": […]}, …]
"""
import json
import os
import re
from typing import Optional

from cosam_mm.registry import DATASETS
from cosam_mm.utils.io import read_text
from cosam_mm.utils.messages import name_some, one_line

from .two_camera_dataset import TwoCameraDataset

__all__ = ['PRID2011']

@DATASETS.register_module()
class PRID2011(TwoCameraDataset):
    """One split of PRID2011.

    Args:
        data_root: Folder with ``prid_2011`` and ``splits_prid2011.json``.
        split: Number of the split, 1 to 10.
        split_file: Another place of the split file.
        base: Further arguments, and errors, of :class:`TrackletDataset`.
    """

    default_name = 'prid2011'
    protocol = 'camera a against camera b'
    cameras = ('cam_a', 'cam_b')
    all_in_both = False
    person_name = 'person_([0-9]+)'
    hint = ('It must hold prid_2011/multi_shot/ of PRID2011 and splits_prid2011.json, '
            'which comes with the data set that torchreid names in its documents.')

    def __init__(self, data_root: str, *args, split_file: Optional[str] = None,
                 **base) -> None:
        self.split_file = split_file or os.path.join(data_root, 'splits_prid2011.json')
        super().__init__(data_root, *args, **base)

    def official_counts(self) -> dict:
        return dict(num_tracklets=178 if self.subset == 'train' else 89, num_pids=89)

    def camera_folder(self, camid: int) -> str:
        folders = [os.path.join(self.data_root, above, 'multi_shot',
                                self.cameras[camid - 1]) for above in ('prid_2011', '')]
        return next(filter(os.path.isdir, folders), folders[0])

    def split_persons(self, persons: list[str]) -> tuple[list[str], list[str]]:
        if not os.path.isfile(self.split_file):
            raise FileNotFoundError(f'{self.split_file!r} does not exist. {self.hint}')
        try:
            train, test = self._read_split()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f'{self.split_file!r}: expected a list of splits, each with "train" '
                'and "test", different persons in each; got '
                f'{one_line(error)}.') from error
        missing = sorted({*train, *test}.difference(persons))
        if missing:
            raise ValueError(
                f'{len(missing)} persons of split {self.split} are not in both cameras '
                f'of {self.data_root!r}: {name_some(missing)}. {self.hint}')
        return train, test

    def _read_split(self) -> tuple[list[str], list[str]]:
        splits = json.loads(read_text(self.split_file))
        if self.split > len(splits):
            raise ValueError(f'no split {self.split}, only 1 to {len(splits)}')
        train, test = (splits[self.split - 1][key] for key in ('train', 'test'))
        names = [*train, *test]
        bad = [name for name in names if not re.fullmatch(self.person_name, name)]
        if bad or len(set(names)) < len(names):
            raise ValueError(f'split {self.split} with {bad or "a person twice"}')
        return train, test
