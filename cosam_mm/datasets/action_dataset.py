"""Clips of one class each, under one of the official splits of their data set.

HMDB51 (Kuehne et al., ICCV 2011: 51 classes, 3 splits of 3,570 training and 1,530
test clips) and UCF101 (Soomro et al., 2012: 101 classes, 3 splits of about 9,500
and 3,700) come with three splits, and the training clips of one are test clips of
another. So these data sets say in their ``metainfo`` which data set and split they
are; mmengine writes that into every checkpoint.

Layout, as ``tools/prepare_data.py`` makes it:

    <data_root>/videos/<class>/<clip>.avi
    <data_root>/rawframes/<class>/<clip>/{img,flow_x,flow_y}_00001.jpg
    <data_root>/<name>_{train,val}_split_{1,2,3}_{videos,rawframes}.txt
    <data_root>/<name>_classes.txt            line k names label k

The lists are described in ``preparation/annotation_files.py``. The folders, every line
of the list and the classes are checked at once, the clips themselves when they are read
(see ``transforms/video_loading.py``).
"""
import logging
import os
from collections import Counter
from typing import Optional

from mmaction.datasets import RawframeDataset, VideoDataset

from cosam_mm.registry import DATASETS
from cosam_mm.utils.messages import name_some

from .preparation.annotation_files import (
    Entry,
    annotation_path,
    read_annotations,
    read_class_names,
)
from .preparation.official_splits import OFFICIAL_COUNTS
from .unreadable_samples import ReadableItems, log_once

__all__ = ['ActionFrameDataset', 'ActionVideoDataset']

SUBSETS = ('train', 'val')
# Share of a test's lines that may list a clip once more.
_MOST_DOUBLED = 0.05


def preparation_hint(name: str, data_root: str, with_frames: bool, modality: str
                     ) -> str:
    """What to do about missing or wrong lists, for an error message."""
    if name in OFFICIAL_COUNTS:
        flags = ' --flow tvl1' if modality == 'Flow' else ' --frames'
        return (f'Prepare it: python tools/prepare_data.py {name} --videos DIR '
                f'--splits DIR --out {data_root}{flags * with_frames}')
    if name == 'demo':
        return f'Make it: python tools/prepare_data.py demo --out {data_root}'
    if with_frames:
        return 'Make the list: each line a folder of frames, their number and a label.'
    return ('Make the lists of your videos: python tools/prepare_data.py folder '
            f'--videos DIR --out {data_root}')


class _SplitDataset(ReadableItems):
    """What the data sets of videos and of frames have in common.

    Subclasses set ``list_kind`` (the end of the annotation file's name), whether
    ``with_frames``, ``prefix_key``, and ``templates``, the default ``filename_tmpl`` of
    each modality. They make data items in ``make_item``.
    """

    name_key, class_key = 'sample_id', 'label'
    # Arguments that go on to mmengine's and MMAction2's data sets.
    takes = {'indices', 'max_refetch', 'serialize_data', 'test_mode'}
    list_kind: str
    with_frames: bool
    prefix_key: str
    templates: dict[str, Optional[str]]

    def __init__(self,
                 data_root: str,
                 name: str,
                 pipeline: list,
                 num_classes: int,
                 split: int = 1,
                 subset: str = 'train',
                 ann_file: Optional[str] = None,
                 data_prefix: Optional[dict] = None,
                 modality: str = 'RGB',
                 lazy_init: bool = False,
                 **settings) -> None:
        self._check_choice(split, subset, num_classes, modality)
        if unknown := settings.keys() - self.takes:
            raise TypeError(f'{type(self).__name__} takes no {name_some(unknown)}.')
        if self.with_frames and not settings.get('filename_tmpl'):
            settings['filename_tmpl'] = self.templates[modality]
        self.subset = subset
        data_root = os.fspath(data_root)
        self.hint = preparation_hint(name, data_root, self.with_frames, modality)
        data_prefix = dict(data_prefix or {self.prefix_key: self.list_kind})
        if set(data_prefix) != {self.prefix_key}:
            raise ValueError(
                f'data_prefix must have the one key {self.prefix_key!r}, got '
                f'{data_prefix}.')
        if not os.path.isdir(data_root):
            raise FileNotFoundError(
                f'The data root {data_root!r} does not exist. {self.hint}')
        if ann_file is None:
            ann_file = annotation_path('', name, split, subset, self.list_kind).name
        super().__init__(
            ann_file=ann_file, pipeline=pipeline, data_root=data_root,
            num_classes=num_classes, data_prefix=data_prefix, modality=modality,
            lazy_init=True, **{'max_refetch': 100, **settings})
        self._metainfo.update(dataset=name, split=split)
        class_file = os.path.join(data_root, f'{name}_classes.txt')
        if os.path.isfile(class_file):
            self._metainfo['classes'] = read_class_names(class_file, num_classes)
        if not lazy_init:
            self.full_init()

    def _check_choice(self, split: int, subset: str, num_classes: int,
                      modality: str) -> None:
        if modality not in self.templates:
            raise ValueError(
                f'modality must be one of {tuple(self.templates)}, got {modality!r}. '
                'Flow is read from frames, by ActionFrameDataset.')
        if subset not in SUBSETS:
            raise ValueError(
                f"subset must be one of {SUBSETS} ('val' is the official test list), "
                f'got {subset!r}.')
        for what, value in (('split', split), ('num_classes', num_classes)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f'{what} must be an integer of at least 1, got {value!r}.')

    def make_item(self, entry: Entry, path: str) -> dict:
        """One data item, of an entry and its path with the prefix."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """Read the annotation file; see :func:`read_annotations`."""
        folder = self.data_prefix[self.prefix_key]
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'The annotation file {self.ann_file!r} does not exist. {self.hint}')
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f'The folder of {self.list_kind} {folder!r} does not exist. '
                f'{self.hint}')
        try:
            entries = read_annotations(
                self.ann_file, self.num_classes, self.with_frames,
                self._metainfo.get('classes', ()))
        except ValueError as error:
            raise ValueError(f'{error} {self.hint}') from None
        self._look_for_doubled([entry.path for entry in entries])
        official = OFFICIAL_COUNTS.get(self._metainfo['dataset'])
        subsets = official.clips.get(self._metainfo['split']) if official else None
        total = subsets[SUBSETS.index(self.subset)] if subsets else 0
        if self._indices is not None or len(entries) < total:
            self._metainfo['num_listed'] = max(len(entries), total)
        items = [self.make_item(entry, os.path.join(folder, entry.path))
                 for entry in entries]
        if self.with_frames:
            self._check_numbering(items[0])
        return items

    def _check_numbering(self, item: dict) -> None:
        """Raise a ValueError if the first clip shows that frames have other names."""
        folder, count = item['frame_dir'], item['total_frames']
        names = [self.filename_tmpl.format(*('x',) * (self.modality == 'Flow'),
                                           self.start_index + k)
                 for k in (-1, 0, count - 1, count)]
        before, first, last, after = (os.path.exists(os.path.join(folder, name))
                                      for name in names)
        found = sorted(os.listdir(folder)) if os.path.isdir(folder) else ()
        # A clip that lacks its first frame or its last is no worse than others.
        if found and (before or (not first and (after or not last))):
            raise ValueError(
                f'The frames of {folder!r} are {name_some(found, 2)}, and the '
                f'first one should be {names[1]!r}: set filename_tmpl and start_index '
                '(0 where frames count from 0) of the data set.')

    def _look_for_doubled(self, paths: list[str]) -> None:
        """Warn of clips that are listed more than once; refuse many in a test."""
        doubled = [path for path, count in Counter(paths).items() if count > 1]
        num_more = len(paths) - len(set(paths))
        message = (f'{self.ann_file}: {num_more:,} of {len(paths):,} lines list a '
                   f'clip once more: {name_some(map(repr, doubled))}.')
        if self.subset == 'val' and num_more > _MOST_DOUBLED * len(paths):
            raise ValueError(f'{message} A test would count it twice: list each once.')
        if doubled:
            log_once(message, logging.WARNING)


@DATASETS.register_module()
class ActionVideoDataset(_SplitDataset, VideoDataset):
    """Video files, each of one class.

    ``metainfo`` holds ``dataset``, ``split`` and, where ``<name>_classes.txt``
    exists, ``classes``. A data item holds ``filename``, ``label`` and ``sample_id``
    (the path in the list without extension, the same for videos and frames).

    Args:
        data_root: Folder of the layout above.
        name: Data set, as file names under ``data_root`` start: 'hmdb51', ….
        pipeline: Transforms.
        num_classes: Labels lie in [0, num_classes).
        split: Number of the official split, from 1.
        subset: 'train', or 'val' for the official test list.
        ann_file: Annotation list, under ``data_root`` unless absolute. Default:
            ``<name>_<subset>_split_<split>_videos.txt``.
        data_prefix: ``video``: folder that paths of the list start from.
        test_mode: Raise where a sample gives None, rather than load another.
        modality: Must be 'RGB': flow is read from frames.
        indices: Keep these samples only, or the first so many.
        serialize_data: Keep items pickled, which saves memory.
        lazy_init: Read the annotation list at the first use.
        max_refetch: How often training loads another sample in a row.

    Raises:
        FileNotFoundError: Data root, annotation list or video folder is missing.
        ValueError: An argument, or a line of the list, is not as described.
    """

    list_kind = 'videos'
    with_frames = False
    prefix_key = 'video'
    templates = {'RGB': None}

    def make_item(self, entry: Entry, path: str) -> dict:
        return {'filename': path, 'label': entry.label,
                'sample_id': os.path.splitext(entry.path)[0]}


@DATASETS.register_module()
class ActionFrameDataset(_SplitDataset, RawframeDataset):
    """Clips of one class each as folders of extracted RGB or flow frames.

    Arguments, ``metainfo`` and errors are those of :class:`ActionVideoDataset`; a
    data item holds ``frame_dir``, ``total_frames``, ``label`` and ``sample_id``.

    Args:
        ann_file: Default: ``<name>_<subset>_split_<split>_rawframes.txt``.
        data_prefix: ``img``: folder that paths of the list start from.
        filename_tmpl: Names of the frames. Default: 'img_{:05}.jpg', or
            'flow_{}_{:05}.jpg' (x and y) for flow.
        start_index: Number of the first frame. Default: 1.
        modality: 'RGB' or 'Flow'.
    """

    list_kind = 'rawframes'
    with_frames = True
    prefix_key = 'img'
    takes = _SplitDataset.takes | {'filename_tmpl', 'start_index'}
    templates = {'RGB': 'img_{:05}.jpg', 'Flow': 'flow_{}_{:05}.jpg'}

    def make_item(self, entry: Entry, path: str) -> dict:
        return {'frame_dir': path.rstrip('/'), 'total_frames': entry.num_frames,
                'label': entry.label, 'sample_id': entry.path}
