"""Query and gallery in one data set, for one test loader.

    items 0 … Q - 1            the queries, subset='query'
    items Q … Q + G - 1        the gallery, subset='gallery'

Before anything is computed it is known, and logged, for how many queries the gallery
has no positive match: a tracklet of the same pid in another camera. Such queries cannot
be rated, and metrics leave them out. Tracklets of unknown cameras (negative ``camid``)
are compared with all but themselves.
"""
import logging
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Union

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from cosam_mm.utils.messages import name_some

__all__ = ['QueryGalleryDataset']

_SHARED = ('dataset', 'protocol', 'split')


def _queries_without_match(
    query: Sequence[tuple[int, Hashable]], gallery: Sequence[tuple[int, Hashable]]
) -> tuple[list[int], list[int]]:
    """Queries whose pid the gallery lacks, or has in the query's own camera only.

    Both parts are (pid, camera) of each tracklet.

    >>> _queries_without_match([(1, 1), (2, 1), (3, 1)], [(1, 2), (2, 1)])
    ([2], [1])
    """
    cameras = defaultdict(set)
    for pid, camera in gallery:
        cameras[pid].add(camera)
    absent = [number for number, (pid, _) in enumerate(query) if pid not in cameras]
    alone = [number for number, (pid, camera) in enumerate(query)
             if cameras.get(pid) == {camera}]
    return absent, alone


def _pids_and_cameras(part: BaseDataset) -> list[tuple[int, Hashable]]:
    """An unknown camera goes by the name of its tracklet: it is like no other."""
    return [(item['pid'], item['tracklet_id'] if item['camid'] < 0 else item['camid'])
            for item in map(part.get_data_info, range(len(part)))]


def _build(part: Union[dict, BaseDataset], subset: str) -> BaseDataset:
    """The data set of a part, which must be of that subset."""
    if isinstance(part, Mapping):
        part = DATASETS.build({'subset': subset, 'test_mode': True, **part})
    actual = part.metainfo.get('subset')
    if actual != subset:
        raise ValueError(f'{subset} must be a data set of subset={subset!r}, got one '
                         f'of subset={actual!r}.')
    return part


@DATASETS.register_module()
class QueryGalleryDataset(Dataset):
    """The queries, then the gallery, each with the pipeline of its own.

    ``metainfo`` holds ``dataset``, ``protocol`` and ``split`` of the two and, once
    initialised, ``num_queries``, ``num_gallery`` and ``num_queries_without_truth``.

    Args:
        query: Tracklet data set, or config of one; ``subset='query'`` and
            ``test_mode=True`` go without saying.
        gallery: The same for the gallery.
        lazy_init: List the tracklets at the first use.

    Raises:
        ValueError: The two are of other subsets, of different data sets, splits or
            protocols, or no query has a positive match in the gallery.
    """

    def __init__(self, query: Union[dict, BaseDataset],
                 gallery: Union[dict, BaseDataset], lazy_init: bool = False) -> None:
        self.query = _build(query, 'query')
        self.gallery = _build(gallery, 'gallery')
        theirs = [{key: part.metainfo.get(key) for key in _SHARED}
                  for part in (self.query, self.gallery)]
        if theirs[0] != theirs[1]:
            raise ValueError(
                'Query and gallery must be of one data set, protocol and split, got '
                f'{theirs[0]} and {theirs[1]}. Give both the same arguments but subset '
                'and pipeline.')
        self._metainfo = theirs[0]
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """List the tracklets of both and look which queries have a positive match."""
        if self._fully_initialized:
            return
        self.query.full_init()
        self.gallery.full_init()
        query, gallery = map(_pids_and_cameras, (self.query, self.gallery))
        absent, alone = _queries_without_match(query, gallery)
        name, without = self._metainfo['dataset'], sorted(absent + alone)
        self._metainfo.update(
            num_queries=len(query), num_gallery=len(gallery),
            num_queries_without_truth=len(without))
        names = [self.query.get_data_info(number)['tracklet_id'] for number in without]
        message = (
            f'{name}: {len(without):,} of {len(query):,} queries have no positive '
            f'match in the gallery: {len(absent):,} pids of queries are not in it, '
            f'{len(alone):,} only in the camera of the query: {name_some(names)}.')
        if len(without) == len(query):
            raise ValueError(f'{message} Nothing can be rated: check that query and '
                             'gallery number persons and cameras alike.')
        if without:
            print_log(f'{message} They are not rated.', logger='current',
                      level=logging.WARNING)
        self._fully_initialized = True

    @property
    def metainfo(self) -> dict:
        """What the metrics of a test are about."""
        return dict(self._metainfo)

    def _locate(self, idx: int) -> tuple[BaseDataset, int]:
        """The part that holds item ``idx``, and the item's number in it."""
        total, num_queries = len(self), len(self.query)
        if not -total <= idx < total:
            raise IndexError(f'Item {idx} of {total}.')
        idx %= total
        if idx < num_queries:
            return self.query, idx
        return self.gallery, idx - num_queries

    def get_data_info(self, idx: int) -> dict:
        """Item ``idx`` as it is before the pipeline."""
        part, number = self._locate(idx)
        return {**part.get_data_info(number), 'sample_idx': idx % len(self)}

    def __getitem__(self, idx: int) -> dict:
        part, number = self._locate(idx)
        return part[number]

    def __len__(self) -> int:
        self.full_init()
        return len(self.query) + len(self.gallery)
