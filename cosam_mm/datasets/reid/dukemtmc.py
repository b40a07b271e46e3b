"""DukeMTMC-VideoReID: 4,832 tracklets of 1,404 persons and 408 distractors, 8 cameras.

Ristani et al., *Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking*, ECCVW 2016; Wu et al., *Exploit the Unknown Gradually*, CVPR 2018. 702 pids
train in 2,196 tracklets; 702 others are queries, and the gallery has 2,636 tracklets.
Its owners have withdrawn the data set; this reads it for those who hold it. Checked are
the published counts, that folders of persons are numbers, and that the images of a
tracklet are of one camera.

Layout (the camera is the number after C):

    <data_root>/{train,query,gallery}/<pid>/<tracklet>/0001_C6_F0001_X30823.jpg
"""
import os
import re
from collections.abc import Iterable

from cosam_mm.datasets.image_files import list_folders, list_images
from cosam_mm.registry import DATASETS
from cosam_mm.structures.tracklet import Tracklet
from cosam_mm.utils.messages import name_some

from .tracklet_dataset import SUBSETS, TrackletDataset

__all__ = ['DukeMTMCVideoReID']


def _read_tracklet(folder: str, pid: int, tracklet_id: str) -> Tracklet:
    """The tracklet of the images in a folder; camera 0 where there is no image."""
    paths, cameras = [], set()
    for name in list_images(folder):
        match = re.search(r'(?<![A-Za-z])C([0-9]+)', name)
        if not match:
            raise ValueError(
                f'{folder}: {name!r} does not tell its camera: expected C and a '
                'number, as in 0001_C6_F0001_X30823.jpg.')
        cameras.add(int(match[1]))
        paths.append(os.path.join(folder, name))
    if len(cameras) > 1:
        raise ValueError(
            f'{folder}: images of several cameras, {sorted(cameras)}, in one tracklet.')
    return Tracklet(pid, cameras.pop() if cameras else 0, tracklet_id, paths)


@DATASETS.register_module()
class DukeMTMCVideoReID(TrackletDataset):
    """DukeMTMC-VideoReID; arguments and errors are those of :class:`TrackletDataset`.

    Args:
        data_root: Folder with ``train``, ``query`` and ``gallery``.
    """

    default_name = 'dukemtmc'
    hint = 'It must hold train/, query/ and gallery/ of DukeMTMC-VideoReID.'
    protocol = 'published query and gallery'

    def official_counts(self) -> dict:
        return dict(train=dict(num_tracklets=2196, num_pids=702),
                    query=dict(num_pids=702),
                    gallery=dict(num_tracklets=2636))[self.subset]

    def _list_pids(self, subsets: Iterable[str]) -> set[int]:
        """Persons of subsets, as far as these are there; junk is none."""
        roots = filter(os.path.isdir, (os.path.join(self.data_root, subset)
                                       for subset in subsets))
        return {int(name) for root in roots for name in list_folders(root)
                if name.isdecimal()}

    def list_tracklets(self) -> list[Tracklet]:
        root = os.path.join(self.data_root, self.subset)
        if not os.path.isdir(root):
            raise FileNotFoundError(f'{root!r} does not exist. {self.hint}')
        names = list_folders(root)
        odd = [name for name in names if not re.fullmatch('-?[0-9]+', name)]
        if odd:
            raise ValueError(
                f'{root!r}: folders must be numbers of persons, got {name_some(odd)}.')
        self.check_shared_persons(map(self._list_pids, (('train',), SUBSETS[1:])))
        return [
            _read_tracklet(os.path.join(root, name, tracklet), int(name),
                          f'{self.subset}/{name}/{tracklet}')
            for name in names for tracklet in list_folders(os.path.join(root, name))]
