"""Query and gallery in one data set, for one test loader.

    items 0 … Q - 1            the queries, subset='query'
    items Q … Q + G - 1        the gallery, subset='gallery'

Before anything is computed it is known, and logged, for how many queries the gallery
has no positive match: a tracklet of the same pid in another camera that is not the
query itself. A tracklet all of whose images are, byte for byte, among those of another
is that tracklet once more, whatever folders and cameras say. Queries without a match
cannot be rated, and metrics leave them out. Tracklets of unknown cameras (negative
``camid``) are compared with all but themselves.
"""
import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Union

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch.utils.data import Dataset

from cosam_mm.registry import DATASETS
from cosam_mm.utils.messages import name_some
from cosam_mm.utils.progress import progress_bar

__all__ = ['QueryGalleryDataset']

_SHARED = ('dataset', 'protocol', 'split', 'former_split')


def _items(part: BaseDataset) -> list[dict]:
    return [part.get_data_info(number) for number in range(len(part))]


def _in_own_camera(query: dict, item: dict) -> bool:
    """Whether a test leaves out an item of the query's person."""
    return query['tracklet_id'] == item['tracklet_id'] or (
        query['camid'] == item['camid'] >= 0)


def _find_copies(pairs: list[tuple[dict, dict]]) -> dict[str, str]:
    """Tracklets with the same images, by name: what they are copies of.

    Sizes of files are compared first, so that hardly any file is read.
    """
    def size(path: str) -> Union[int, str]:
        try:
            return os.path.getsize(path) or path  # empty files are not alike
        except OSError:
            return path

    def digest(path: str) -> bytes:
        return hashlib.sha256(Path(path).read_bytes()).digest()

    @lru_cache(None)
    def values(of, paths: tuple[str, ...]) -> frozenset:
        return frozenset(map(of, paths))

    size, digest = map(lru_cache(None), (size, digest))
    copies: dict[str, str] = {}
    for pair in progress_bar(pairs, 'looking for copies', 'pair', leave=False):
        paths = [tuple(item['img_paths']) for item in pair]
        fewer, more = sorted(paths, key=len)
        if values(size, fewer) <= values(size, more) and (
                values(digest, fewer) <= values(digest, more)):
            names = [item['tracklet_id'] for item in pair]
            sources = {copies[name] for name in names if name in copies}
            if len(sources) > 1:  # one tracklet joins two groups
                names += [name for name in copies if copies[name] in sources]
            copies.update(dict.fromkeys(
                names, min(sources, default=f'copies of {names[0]}')))
    return copies


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
    initialised, ``num_queries``, ``num_gallery``, ``num_queries_without_truth`` and,
    where there are any, ``copies``: which tracklets are in it twice, by name.

    Args:
        query: Tracklet data set, or config of one; ``subset='query'`` and
            ``test_mode=True`` go without saying.
        gallery: The same for the gallery.
        lazy_init: List the tracklets at the first use.

    Raises:
        ValueError: The two are of other subsets, of different data sets, splits or
            protocols, no query has a positive match in the gallery, or none has a
            wrong candidate there, so that any model would reach 100 %.
    """

    def __init__(self, query: Union[dict, BaseDataset],
                 gallery: Union[dict, BaseDataset], lazy_init: bool = False) -> None:
        self.query = _build(query, 'query')
        self.gallery = _build(gallery, 'gallery')
        theirs = [{key: part.metainfo.get(key) for key in _SHARED
                   if key != 'former_split' or key in part.metainfo}
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
        query, by_pid = _items(self.query), defaultdict(list)
        for item in _items(self.gallery):
            by_pid[item['pid']].append(item)
        self._check_persons({item['pid'] for item in query}, set(by_pid))
        pairs = [(item, other) for item in query
                 for other in by_pid.get(item['pid'], ())
                 if not _in_own_camera(item, other)]
        copies = _find_copies(pairs)
        matched = {item['tracklet_id'] for item, other in pairs
                   if item['tracklet_id'] not in copies or (
                       copies.get(other['tracklet_id']) != copies[item['tracklet_id']])}
        self._metainfo.update(num_queries=len(query), num_gallery=len(self.gallery))
        if copies:
            self._metainfo['copies'] = copies
        self._report([item for item in query if item['tracklet_id'] not in matched],
                     set(by_pid), [item['tracklet_id'] for item in query
                                   if item['tracklet_id'] in copies])
        self._fully_initialized = True

    def _check_persons(self, q_pids: set[int], g_pids: set[int]) -> None:
        """Raise a ValueError where no query has a wrong candidate."""
        if len(g_pids) == 1 and g_pids <= q_pids:
            raise ValueError(
                f'{self._metainfo["dataset"]}: all {len(self.gallery)} gallery '
                f'tracklets are of one person, pid {next(iter(g_pids))}, so any model '
                'would reach 100 %. Check how the data set reads the folders (what are '
                'persons, what are cameras?) and how many persons its split leaves.')

    def _report(self, without: list[dict], g_pids: set[int], copied: list[str]) -> None:
        """Say which queries have no match, and which are in the gallery once more."""
        name, num_queries = self._metainfo['dataset'], self._metainfo['num_queries']
        self._metainfo['num_queries_without_truth'] = len(without)
        absent = sum(item['pid'] not in g_pids for item in without)
        names = [item['tracklet_id'] for item in without]
        message = (
            f'{name}: {len(without):,} of {num_queries:,} queries have no positive '
            f'match in the gallery: {absent:,} pids of queries are not in it, '
            f'{len(without) - absent:,} only in the camera of the query, or as the '
            f'query itself: {name_some(names)}.')
        if copied:
            print_log(
                f'{name}: {len(copied):,} queries are, byte for byte, in the gallery '
                f'as well: {name_some(copied)}. Their own ranking leaves these out.',
                logger='current', level=logging.WARNING)
        if len(without) == num_queries:
            cameras = {part.get_data_info(k)['camid']
                       for part in (self.query, self.gallery) for k in range(len(part))}
            advice = (
                'check that query and gallery number persons and cameras alike.'
                if len(cameras) > 1 else
                'all tracklets are of one camera, and a person is to be found in '
                'another. Train with --no-validate, or name the cameras by folders: '
                '<pid>/<camera>/<tracklet>/*.jpg.')
            raise ValueError(f'{message} Nothing can be rated: {advice}')
        if without:
            print_log(f'{message} They are not rated.', logger='current',
                      level=logging.WARNING)

    @property
    def metainfo(self) -> dict:
        """What the metrics of a test are about."""
        return dict(self._metainfo)

    def _locate(self, idx: int) -> tuple[BaseDataset, int]:
        """The part that holds item ``idx``, and the item's number in it."""
        idx = range(len(self))[idx]
        number = idx - len(self.query)
        return (self.query, idx) if number < 0 else (self.gallery, number)

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
