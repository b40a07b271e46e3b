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
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Optional, Union

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from cosam_mm.utils.io import regular_size
from cosam_mm.utils.messages import name_some

__all__ = ['Fingerprint', 'compare', 'find_copies', 'fingerprints', 'former_split',
           'inner_datasets', 'is_in', 'merge_entries',
           'trained_entries', 'trained_on_test_clips']

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


def inner_datasets(dataset: Any) -> Iterator[tuple[Any, Iterator[Mapping]]]:
    """Data sets inside of what joins, repeats or selects them, with their items.

    Each is an object with ``get_data_info``, with the infos that are in use.
    """
    inner = getattr(dataset, 'dataset', None)
    joined = [part for part in (
        *(getattr(dataset, 'datasets', None) or ()), inner,
        getattr(dataset, 'query', None), getattr(dataset, 'gallery', None))
        if hasattr(part, 'metainfo') or isinstance(part, Dataset)]
    if isinstance(dataset, Subset) and hasattr(inner, 'get_data_info'):
        yield inner, map(inner.get_data_info, dataset.indices)
    elif joined:
        for part in joined:
            yield from inner_datasets(part)
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
    for part, infos in inner_datasets(dataset):
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


def find_copies(folder: Union[str, os.PathLike], clips: Mapping[str, str],
                first: Collection[str] = ()) -> dict[str, str]:
    """Reasons of clips that are copies, by content, of others.

    Of equal files the first stays, one of ``first`` if there is; of equal files of
    several classes none does.
    """
    equal, reasons = defaultdict(list), {}
    for path in sorted(clips, key=lambda path: path not in first):  # stable
        equal[_hash_of_file(os.path.join(folder, path))].append(path)
    for paths in equal.values():
        if len({clips[path] for path in paths}) > 1:
            why = f'one content, several classes: {name_some(paths)}'
            reasons |= dict.fromkeys(paths, why)
        else:
            reasons |= dict.fromkeys(paths[1:], f'a copy of {paths[0]}')
    return reasons


# -- what was trained on, and what is tested -------------------------------------------


def former_split(own, metainfo: dict) -> Optional[str]:
    """Say how to get the split that version 0.1 made, if it is what differs."""
    former, option = metainfo.get('former_split') or (None, '')
    if own is None or str(own) != str(former):
        return None
    return (f'The model was trained on split {own} of {metainfo.get("dataset")} as '
            'version 0.1 made it, and other persons train and test today. For that '
            f'split, set {option} of every data set')


def trained_on_test_clips(trained: Mapping, tested: Mapping) -> Optional[str]:
    """Say by names why a test would rate clips that were trained on, if it would.

    Args:
        trained: ``dataset`` and ``split`` of the training data set.
        tested: Those of the test data set.
    """
    name, own, other = (trained.get('dataset'), trained.get('split'),
                        tested.get('split'))
    if (name is None or name != tested.get('dataset') or None in (own, other)
            or str(own) == str(other)):
        return None
    if former := former_split(own, tested):
        return former
    return (f'The model was trained on split {own} of {name} and would be tested on '
            f'split {other}: the training set of split {own} holds test clips of split '
            f'{other}, so the result would mean nothing. {_advice([trained], tested)}')


def _advice(trained: Iterable[Mapping], tested: Mapping) -> str:
    """What to test on instead."""
    for one in trained:  # '1', or '1 (first half tests)'
        own, other = (re.fullmatch(r'(\d+)(.*)', str(each.get('split')))
                      for each in (one, tested))
        if (one.get('dataset') == tested.get('dataset') and own and other
                and own[1] != other[1] and own[2] == other[2]):
            return f'Test on split {own[1]} (--split {own[1]})'
    return 'Test on other data (--data-root), or on the split of the training'


def trained_entries(meta: Mapping) -> list[dict]:
    """What a checkpoint says that it was trained on; nothing in it is trusted."""
    listed = meta.get('trained_on')
    listed = [one for one in (listed if isinstance(listed, list) else ())
              if isinstance(one, Mapping)]
    entries = []
    for one in listed or [meta.get('dataset_meta') or {}]:
        entries.append({key: one.get(key) for key in ('dataset', 'split')})
        if isinstance(one.get('content'), Tensor):
            entries[-1]['content'] = one['content'].flatten().long()
    return entries


def merge_entries(entries: Iterable[Mapping]) -> list[dict]:
    """One entry for each data set and split."""
    merged: dict[tuple, dict] = {}
    for entry in entries:
        own = merged.setdefault((str(entry.get('dataset')), str(entry.get('split'))),
                                {key: entry.get(key) for key in ('dataset', 'split')})
        hashes = [one['content'] for one in (own, entry) if 'content' in one]
        if hashes:
            own['content'] = torch.unique(torch.cat(hashes))
    return [merged[key] for key in sorted(merged)
            if 'content' in merged[key] or merged[key]['dataset'] is not None]


def _title(about: Mapping) -> str:
    """``split 1 of hmdb51``."""
    split, name = about.get('split'), about.get('dataset') or 'data without a name'
    return str(name) if split is None else f'split {split} of {name}'


def _compare_items(entries: list[dict], marks: list[Fingerprint]) -> Optional[str]:
    """Say which clips or persons of a test were trained on, if some were."""
    known = torch.cat([entry['content'] for entry in entries])
    items, seen = {}, {}
    for mark in marks:
        marked = zip(mark.names, is_in(mark.content, known).tolist())
        for k, (name, is_known) in enumerate(marked):
            items[name if mark.unit == 'persons' else (name, k)] = None
            if is_known:
                seen[name] = None
    if not seen:
        return None
    sources = [entry for entry in entries
               if any(is_in(mark.content, entry['content']).any() for mark in marks)]
    about = marks[0].about
    return (
        f'{len(seen):,} of the {len(items):,} {marks[0].unit} of the test were trained '
        f'on: {name_some(seen, most=3)}. The model was trained on '
        f'{name_some(map(_title, sources))} and would be tested on {_title(about)}, so '
        f'the result would mean nothing. {_advice(sources, about)}')


def compare(trained_on: list[dict], dataset: Any) -> tuple[list[str], bool]:
    """Reasons not to test on a data set, and whether all that was trained on is known.

    The names of data set and split count where there is no content to compare.
    """
    entries = merge_entries(trained_on)
    known = [entry for entry in entries if 'content' in entry]
    marks = fingerprints(dataset) if known else []
    reasons = [_compare_items(known, marks)] if marks else []
    metainfo = getattr(dataset, 'metainfo', None) or {}
    reasons += [trained_on_test_clips(entry, metainfo) for entry in entries
                if not marks or 'content' not in entry]
    return ([reason for reason in reasons if reason],
            bool(marks) and len(known) == len(entries))
