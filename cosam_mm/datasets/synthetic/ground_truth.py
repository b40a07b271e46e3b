"""Silhouettes of the test videos of a synthetic data set.

The marker of a folder that ``tools/prepare_data.py demo`` or ``reid-demo`` has made
holds the parameters. So each of its videos can be generated again, and the silhouette
of its object with it.
"""
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np

from .action_dataset_files import ACTION_MARKER, clip_name, dataset_clip, split_subsets
from .generation import SegmentedFrames
from .motion_clip import MOTIONS
from .reid_dataset_files import (
    JUNK_PID,
    REID_MARKER,
    dataset_tracklet,
    plan_reid_dataset,
)
from .walking_tracklet import Difficulty

__all__ = ['SyntheticVideo', 'generation_parameters', 'synthetic_test_videos']

# Grey levels of 255, on average: compression changed a pixel by up to 9, and other
# parameters by 24 to 50.
_MAX_DIFFERENCE = 16


class SyntheticVideo(NamedTuple):
    """A clip or tracklet of a synthetic data set."""

    name: str
    source: Union[Path, Sequence[Path]]  # a video file, or a tracklet's images in order
    generate: Callable[[], SegmentedFrames]  # frames and silhouettes once again

    def silhouettes(self, numbers: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Silhouettes (n, H, W), bool, of frames that were read.

        Args:
            numbers: (n,) of the frames in the video, from 0.
            frames: (n, H, W, 3) uint8, RGB, as the file has them.

        Raises:
            ValueError: The frames are not those that are generated now.
        """
        own, silhouette = self.generate()
        if own.shape[1:] != frames.shape[1:] or max(numbers) >= len(own):
            raise ValueError(
                f'{self.name} holds frames of {frames.shape[1:]} up to number '
                f'{max(numbers)}, and is generated with {len(own)} of '
                f'{own.shape[1:]}: generate the data set again.')
        difference = np.abs(own[numbers].astype(float) - frames).mean()
        if difference > _MAX_DIFFERENCE:
            raise ValueError(
                f'{self.name} is not what its data set would hold if it were generated '
                f'now: pixels differ by {difference:.0f} grey levels on average, and '
                f'compression explains at most {_MAX_DIFFERENCE}. Generate the data '
                'set again.')
        return silhouette[numbers]


def generation_parameters(data_root: Union[str, Path]) -> dict:
    """The parameters of a synthetic data set; FileNotFoundError where there is none."""
    for name in (ACTION_MARKER, REID_MARKER):
        marker = Path(data_root) / name
        if marker.is_file():
            return json.loads(marker.read_text(encoding='utf-8'))
    raise FileNotFoundError(
        f'{data_root} has neither {ACTION_MARKER} nor {REID_MARKER}: silhouettes are '
        'known of synthetic data sets only, which tools/prepare_data.py demo and '
        'reid-demo make.')


def synthetic_test_videos(data_root: Union[str, Path],
                          split: int = 1) -> list[SyntheticVideo]:
    """The videos of the test part that show a whole object.

    Args:
        data_root: Folder of a synthetic data set.
        split: Which of an action data set's.

    Returns:
        Clips by class and number; or tracklets by identity, distractors first. Junk,
        whose boxes hold a piece of a person, is not among them.

    Raises:
        FileNotFoundError: The folder holds no synthetic data set.
        ValueError: There is no such split.
    """
    parameters, root = generation_parameters(data_root), Path(data_root)
    if 'motions' in parameters:
        return _clips(root, parameters, split)
    generate = partial(dataset_tracklet, seed=parameters['seed'],
                       size=tuple(parameters['size']),
                       difficulty=Difficulty(**parameters['difficulty']))
    folder = root / 'bbox_test'
    return [SyntheticVideo(key.name, sorted(folder.glob(f'{key.folder}/{key.name}F*')),
                           partial(generate, key))
            for key in plan_reid_dataset(parameters).test if key.pid != JUNK_PID]


def _clips(root: Path, parameters: dict, split: int) -> list[SyntheticVideo]:
    seed, count = parameters['seed'], parameters['clips_per_class']
    videos = []
    for motion in MOTIONS:
        subsets = split_subsets(seed, motion, count)
        if not 1 <= split <= len(subsets):
            raise ValueError(f'split must be 1 to {len(subsets)}, got {split}.')
        for number in np.flatnonzero(subsets[split - 1] == 2).tolist():
            name = clip_name(motion, number, seed)
            videos.append(SyntheticVideo(
                name, root / 'videos' / motion / name,
                partial(dataset_clip, motion, number, parameters)))
    return videos
