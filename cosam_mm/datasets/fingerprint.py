"""What a data set consists of, told by the content of its files.

Names of folders, data sets and splits change, and two data sets may share one name. So
a checkpoint holds hashes of the files that it was trained on, and a test compares its
own files with them: each clip, or the first, middle and last image of each tracklet.

A file goes by its size and its bytes: of a larger one, those in the middle and at the
end. Clips of HMDB51 and UCF101 go by their names as well, however they are encoded.
"""
import copy
import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from cosam_mm.utils.io import regular_size

__all__ = ['Fingerprint', 'fingerprints', 'is_in']

_BLOCK = 1 << 14
_UNREADABLE = 0  # in place of a file's hash
_PUBLISHED = ('hmdb51', 'ucf101')


class Fingerprint(NamedTuple):
    """N items of one data set."""
    about: dict  # dataset and split, as the metainfo names them
    unit: str  # 'clips' or 'persons'
    names: list[str]  # of the clips, or of the tracklets' persons
    content: Tensor  # (N, F) int64: hashes of an item; 0 where a file is unreadable


def _hash(data: bytes) -> int:
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return int.from_bytes(digest, 'little', signed=True)


def _hash_of_file(path: str) -> int:
    try:
        size = regular_size(path)
        with open(path, 'rb') as file:
            data = file.read(_BLOCK) if size <= _BLOCK else b''
            for start in (size // 2, size - _BLOCK) if size > _BLOCK else ():
                file.seek(start)
                data += file.read(_BLOCK)
    except OSError:
        return _UNREADABLE
    return _hash(b'%d ' % size + data)


def _hash_of_files(paths: list[str]) -> int:
    hashes = [_hash_of_file(path) for path in paths]
    return _hash(repr(hashes).encode()) if all(hashes) else _UNREADABLE


def _ends_and_middle(items: Any) -> list:
    return [items[0], items[len(items) // 2], items[-1]]


def _files_of(dataset: Any, item: Mapping) -> Optional[tuple[str, list[list[str]]]]:
    """Name of an item and what is hashed: files, each by itself or some together."""
    if item.get('img_paths') and 'pid' in item:
        return (f'{item["pid"]} of {getattr(dataset, "data_root", "")}',
                [[path] for path in _ends_and_middle(item['img_paths'])])
    name, count = item.get('frame_dir'), item.get('total_frames', 0)
    if name and count > 0 and hasattr(dataset, 'filename_tmpl'):
        template, first = dataset.filename_tmpl, item.get('start_index', 1)
        axis = ('x',) * (template.count('{') - 1)  # of optical flow
        # Together: many clips begin with the same black frame.
        return name, [[os.path.join(name, template.format(*axis, first + k))
                       for k in _ends_and_middle(range(count))]]
    name = item.get('filename', item.get('img_path'))
    return (name, [[name]]) if isinstance(name, str) else None


def _parts(dataset: Any) -> Iterator[tuple[Any, Iterator[Mapping]]]:
    """Data sets inside of what joins, repeats or selects them, with their items."""
    inner = getattr(dataset, 'dataset', None)
    joined = [part for part in (
        *(getattr(dataset, 'datasets', None) or ()), inner,
        getattr(dataset, 'query', None), getattr(dataset, 'gallery', None))
        if hasattr(part, 'metainfo') or isinstance(part, Dataset)]
    if isinstance(dataset, Subset) and hasattr(inner, 'get_data_info'):
        yield inner, map(inner.get_data_info, dataset.indices)
    elif joined:
        for part in joined:
            yield from _parts(part)
    elif hasattr(dataset, 'get_data_info'):
        yield dataset, map(dataset.get_data_info, range(len(dataset)))


def _elsewhere(dataset: Any, pids: set) -> Iterator[Mapping]:
    """What the test folders of a training set hold of its persons."""
    for subset in getattr(dataset, 'subset_folders', ()):
        if dataset.subset == 'train' and subset != 'train':
            other = copy.copy(dataset)
            other.subset = subset
            yield from (each._asdict() for each in other.list_tracklets()
                        if each.pid in pids)


def fingerprints(dataset: Any) -> list[Fingerprint]:
    """The items of a data set, by the data sets inside of it.

    Those of a training set with folders ``train``, ``query`` and ``gallery`` take in
    what the others hold of its persons: a person who was trained on is known in every
    picture.

    Args:
        dataset: Of clips, images or tracklets; or ``ConcatDataset``, ``RepeatDataset``,
            ``ClassBalancedDataset``, ``Subset``, ``QueryGalleryDataset`` of such.

    Returns:
        One for each data set inside; none for one whose items name no files.
    """
    found = []
    for part, infos in _parts(dataset):
        items = list(infos)
        items += _elsewhere(part, {item.get('pid') for item in items})
        entries = [_files_of(part, item) for item in items]
        if not entries or None in entries:
            continue
        names, files = zip(*entries)
        with ThreadPoolExecutor(16) as pool:  # disks take several requests at a time
            hashes = list(pool.map(_hash_of_files, [f for own in files for f in own]))
        content = torch.tensor(hashes).reshape(len(files), -1)
        meta = getattr(part, 'metainfo', None) or {}
        if meta.get('dataset') in _PUBLISHED and 'sample_id' in items[0]:
            named = torch.tensor([_hash(item['sample_id'].encode()) for item in items])
            content = torch.cat([content, named[:, None]], 1)
        found.append(Fingerprint(
            {key: meta.get(key) for key in ('dataset', 'split')},
            'persons' if 'pid' in items[0] else 'clips', list(names), content))
    return found


def is_in(content: Tensor, known: Tensor) -> Tensor:
    """(N,) bool: whether any hash of each item, (N, F), is a known one."""
    return (torch.isin(content, known) & (content != _UNREADABLE)).any(1)
