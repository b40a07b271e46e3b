"""Data sets of two cameras: one tracklet of each person in each, and ten splits.

A split trains on half of the persons, in both cameras, and tests on the others: camera
1 against camera 2. Results are means over the splits.
"""
import os
import re

from cosam_mm.datasets.image_files import list_folders, list_images
from cosam_mm.structures.tracklet import Tracklet
from cosam_mm.utils.messages import name_some

from .tracklet_dataset import TrackletDataset

__all__ = ['TwoCameraDataset']


class TwoCameraDataset(TrackletDataset):
    """One split of a data set whose cameras are folders of persons' folders.

    ``split`` is in ``metainfo``: the training persons of one split are test persons
    of others.

    Args:
        data_root: Folder of the data set.
        split: Number of the split, from 1.
        base: Further arguments, and errors, of :class:`TrackletDataset`.
    """

    protocol = 'camera 1 against camera 2'
    cameras: tuple[str, str]  # names of their folders
    person_name: str  # pattern of the persons' folders, with the pid as a group
    all_in_both = True  # whether both cameras saw every person

    def __init__(self, *args, split: int = 1, **base) -> None:
        if not isinstance(split, int) or split < 1:
            raise ValueError(f'split must be an integer of at least 1, got {split!r}.')
        self.split = split
        self.split_name = self.split_name or split
        super().__init__(*args, **base)

    def camera_folder(self, camid: int) -> str:
        """The folder of persons of a camera, 1 or 2."""
        raise NotImplementedError

    def split_persons(self, persons: list[str]) -> tuple[list[str], list[str]]:
        """Training and test persons, of those that both cameras saw."""
        raise NotImplementedError

    def list_tracklets(self) -> list[Tracklet]:
        train, test = self.split_persons(self._list_persons())
        wanted = {'train': (1, 2), 'query': (1,), 'gallery': (2,)}[self.subset]
        tracklets = []
        for person in train if self.subset == 'train' else test:
            for camid in wanted:
                folder = os.path.join(self.camera_folder(camid), person)
                tracklets.append(Tracklet(
                    int(re.fullmatch(self.person_name, person)[1]), camid,
                    f'{self.cameras[camid - 1]}/{person}',
                    [os.path.join(folder, name) for name in list_images(folder)]))
        return tracklets

    def _list_persons(self) -> list[str]:
        """Folders of persons that are in both cameras, in natural order."""
        persons = []
        for folder in map(self.camera_folder, (1, 2)):
            if not os.path.isdir(folder):
                raise FileNotFoundError(f'{folder!r} does not exist. {self.hint}')
            persons.append([name for name in list_folders(folder)
                            if re.fullmatch(self.person_name, name)])
        alone = sorted(set(persons[0]) ^ set(persons[1]))
        if alone and self.all_in_both:
            raise ValueError(
                f'{len(alone)} person(s) of {self.data_root!r} are in one camera only: '
                f'{name_some(alone)}. {self.hint}')
        return [name for name in persons[0] if name not in alone]
