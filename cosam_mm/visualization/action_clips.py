"""The clips that a score file names, found by the data set's own list.

A name in a score file only picks from what the list names; it is never part of a path,
whoever wrote the file. The label must agree too, so that scores of one data set do not
get the pictures of another that names its clips alike.
"""
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from cosam_mm.datasets import action_dataset as action  # noqa: F401  (registers the two data sets)
from cosam_mm.datasets.image_files import UnreadableImage, read_image
from cosam_mm.datasets.video_reader import UnreadableVideo, VideoReader
from cosam_mm.layers.cosam_functional import evenly_spaced_indices

__all__ = ['ActionClip', 'ActionClips', 'dataset_of_test', 'find_clips']

_KINDS = {'ActionVideoDataset': 'videos', 'ActionFrameDataset': 'rawframes'}
_FRAME_NAME = 'img_{:05}.jpg'


@dataclass(frozen=True)
class ActionClip:
    """Where the frames of a clip are.

    Attributes:
        path: Video file, or folder of frames.
        num_frames: Frames in the folder; None for a video file.
        template: Names of the frames, which count from 1.
    """
    path: str
    num_frames: Optional[int] = None
    template: str = _FRAME_NAME

    def frames(self, count: int) -> np.ndarray:
        """Frames from the middle of as many equal parts, (count, H, W, 3) uint8, RGB.

        Raises:
            ValueError: They cannot be read.
        """
        try:
            if self.num_frames is None:
                reader = VideoReader(self.path)
                numbers = evenly_spaced_indices(len(reader), count).numpy()
                return reader.get_batch(numbers)
            numbers = evenly_spaced_indices(self.num_frames, count).tolist()
            return np.stack([read_image(
                os.path.join(self.path, self.template.format(number + 1)))
                for number in numbers])
        except (UnreadableVideo, UnreadableImage, OSError, ValueError) as error:
            raise ValueError(f'{self.path} cannot be read: {error}') from None


class ActionClips:
    """Clips by name and label.

    Args:
        clips: Of (sample_id, label).
    """

    def __init__(self, clips: Mapping[tuple[str, int], ActionClip]) -> None:
        self._clips = dict(clips)

    def __len__(self) -> int:
        return len(self._clips)

    def find(self, sample_id: str, label: int) -> Optional[ActionClip]:
        """The clip, or None where the list names none like that."""
        return self._clips.get((str(sample_id), int(label)))


def dataset_of_test(config: Union[Config, Mapping, None]) -> dict:
    """Settings of the data set that a config tests on; empty where it has none."""
    loader = (config or {}).get('test_dataloader')
    dataset = loader.get('dataset') if isinstance(loader, Mapping) else None
    return dict(dataset) if isinstance(dataset, Mapping) else {}


def find_clips(data_root: str, name: str, split: int, num_classes: int,
               dataset: Optional[Mapping] = None) -> ActionClips:
    """All clips of a test.

    Args:
        data_root: Folder that ``tools/prepare_data.py`` wrote.
        name: Data set, as the score file says; '' where it does not.
        split: Number of the official split; 0 where unknown.
        num_classes: Labels lie in [0, num_classes).
        dataset: Settings of the config's test data set, of :func:`dataset_of_test`: its
            kind, lists and folders. Default: those of the layout.

    Raises:
        FileNotFoundError: The data root, its list or its folder is missing.
        ValueError: The data set is unknown, or a line of the list is damaged.
    """
    dataset = dict(dataset or {})
    name = name or dataset.get('name', '')
    if not name:
        raise ValueError('The score file does not say of which data set it is: give '
                         'the config of the test.')
    if name != os.path.basename(name):
        raise ValueError(f'The name of the data set is {name!r}, which names no list '
                         'in a data root.')
    split = split or dataset.get('split', 1)
    settings = dict(
        data_root=os.fspath(data_root), name=name, split=split, pipeline=[],
        num_classes=num_classes, subset=dataset.get('subset', 'val'), test_mode=True)
    kind = dataset.get('type')
    if kind not in _KINDS:
        kind = _kind_of_layout(settings)
    elif dataset.get('split', split) == split:
        # A list that the config names belongs to its own split.
        settings.update({key: dataset[key] for key in ('ann_file', 'data_prefix')
                         if dataset.get(key) is not None})
    # Where a model saw the flow, people look at the pictures beside it.
    if kind == 'ActionFrameDataset' and dataset.get('modality', 'RGB') == 'RGB':
        settings['filename_tmpl'] = dataset.get('filename_tmpl')
    with DefaultScope.overwrite_default_scope('mmaction'):
        listed = DATASETS.build(dict(settings, type=kind))
    items = map(listed.get_data_info, range(len(listed)))
    return ActionClips({(item['sample_id'], item['label']): _clip(item, listed)
                        for item in items})


def _kind_of_layout(settings: Mapping) -> str:
    """Videos, unless there are lists of frames only."""
    stem = '{name}_{subset}_split_{split}_'.format(**settings)
    for kind, end in _KINDS.items():
        if os.path.isfile(os.path.join(settings['data_root'], f'{stem}{end}.txt')):
            return kind
    return next(iter(_KINDS))


def _clip(item: Mapping, listed) -> ActionClip:
    if 'filename' in item:
        return ActionClip(item['filename'])
    return ActionClip(item['frame_dir'], item['total_frames'], listed.filename_tmpl)
