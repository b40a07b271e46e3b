"""The images of tracklets that a feature file names, out of the data set's own list.

A name in a feature file only picks from what the data set lists; it is never part of a
path, whoever wrote the file. Person and camera must agree too, so that features of
one data set do not get the pictures of another that names its tracklets alike.
"""
import copy
from collections.abc import Sequence
from typing import Optional

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope

from cosam_mm.datasets import reid  # noqa: F401  (registers what the config names)
from cosam_mm.utils.config import set_data_root, set_split

__all__ = ['TrackletImages', 'find_tracklet_images']

_PARTS = ('query', 'gallery')


class TrackletImages:
    """Paths of images by tracklet.

    Args:
        parts: Data sets of tracklets.
    """

    def __init__(self, parts: Sequence[BaseDataset]) -> None:
        self._parts = parts
        # Numbers only: the paths of all tracklets stay where they are packed.
        self._places = {}
        for part in parts:
            for number in range(len(part)):
                item = part.get_data_info(number)
                key = item['tracklet_id'], item['pid'], item['camid']
                self._places.setdefault(key, (part, number))

    def __len__(self) -> int:
        return len(self._places)

    def paths(self, tracklet_id: str, pid: int, camid: int) -> list[str]:
        """Images in the order of time; none of a tracklet that is not listed."""
        part, number = self._places.get((tracklet_id, pid, camid), (None, 0))
        return [] if part is None else list(part.get_data_info(number)['img_paths'])


def _test_parts(config: Config) -> list[dict]:
    """Configs of query and gallery, which need no pipeline to be listed.

    Raises:
        ValueError: The config tests on something else.
    """
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    if not all(isinstance(dataset.get(part), dict) for part in _PARTS):
        raise ValueError(
            'The test data set of this config has no query and gallery: take the '
            'config of a re-identification model (configs/reid).')
    return [dict(copy.deepcopy(dataset[part]), subset=part, pipeline=[],
                 test_mode=True) for part in _PARTS]


def find_tracklet_images(config: Config, data_root: Optional[str] = None,
                         split: str = '') -> TrackletImages:
    """List the tracklets of a config's test.

    Args:
        config: Of any data set of tracklets, those of this project among them.
        data_root: Folder of the data set. Default: the config's.
        split: What a feature file says; a number chooses the data set's split of
            that number, where it has splits.

    Raises:
        FileNotFoundError: The data set, or a part of it, is missing.
        ValueError: The config tests no tracklets, the data set is not as its config
            says, or it has no such split.
    """
    config = copy.deepcopy(config)
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    if data_root is not None:
        set_data_root(config, data_root)
    if _is_number(split) and any('split' in (dataset.get(part) or {})
                                 for part in _PARTS):
        set_split(config, int(split))
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        return TrackletImages([DATASETS.build(part) for part in _test_parts(config)])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4
