"""The test part of a drawn data set, with what only a drawn one knows: silhouettes.

A folder that ``tools/prepare_data.py demo`` or ``reid-demo`` has made holds in its
marker what it was drawn with. So each of its videos can be drawn again, and the true
place of its object with it.
"""
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np

from .action_files import MARKER as ACTION_MARKER
from .actions import MOTIONS, DrawnClip, clip_name, draw_listed_clip, split_subsets
from .persons import (
    Difficulty,
    DrawnTracklet,
    TrackletKey,
    draw_listed_tracklet,
    plan_reid_dataset,
)
from .reid_files import MARKER as REID_MARKER
from .reid_plan import JUNK_PID

__all__ = ['DrawnVideo', 'drawn_parameters', 'drawn_test_part']

# Grey levels of 255, on average: compression changed a pixel by up to 9, where another
# drawing was 24 to 50 away.
_MAX_DIFFERENCE = 16


class DrawnVideo(NamedTuple):
    """A clip or tracklet of a drawn data set.

    Attributes:
        name: Short.
        source: A video file, or the images of a tracklet in order.
        draw: Draws it again: RGB frames (T, H, W, 3) uint8 and the silhouette
            (T, H, W) bool.
    """
    name: str
    source: Union[Path, Sequence[Path]]
    draw: Callable[[], Union[DrawnClip, DrawnTracklet]]

    def silhouettes(self, numbers: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Silhouettes of frames that were read.

        Args:
            numbers: (n,) of the frames in the video, from 0.
            frames: (n, H, W, 3) uint8, RGB, as the file has them.

        Returns:
            (n, H, W) bool.

        Raises:
            ValueError: The frames are others than those that are drawn.
        """
        drawn = self.draw()
        if drawn.frames.shape[1:] != frames.shape[1:] or max(numbers) >= len(
                drawn.frames):
            raise ValueError(
                f'{self.name} holds frames of {frames.shape[1:]} up to number '
                f'{max(numbers)}, and is drawn with {len(drawn.frames)} of '
                f'{drawn.frames.shape[1:]}: draw the data set again.')
        difference = np.abs(drawn.frames[numbers].astype(float) - frames).mean()
        if difference > _MAX_DIFFERENCE:
            raise ValueError(
                f'{self.name} is not what its data set would be drawn like now: '
                f'pixels differ by {difference:.0f} grey levels on average, and '
                f'compression explains at most {_MAX_DIFFERENCE}. Draw the data set '
                'again.')
        return drawn.silhouette[numbers]


def drawn_parameters(data_root: Union[str, Path]) -> dict:
    """What a drawn data set was drawn with.

    Raises:
        FileNotFoundError: The folder is none of a drawn data set.
    """
    for name in (ACTION_MARKER, REID_MARKER):
        marker = Path(data_root) / name
        if marker.is_file():
            return json.loads(marker.read_text(encoding='utf-8'))
    raise FileNotFoundError(
        f'{data_root} has neither {ACTION_MARKER} nor {REID_MARKER}: silhouettes are '
        'known of drawn data sets only, which tools/prepare_data.py demo and reid-demo '
        'make.')


def drawn_test_part(data_root: Union[str, Path], split: int = 1) -> list[DrawnVideo]:
    """The videos of the test part that show a whole object.

    Args:
        data_root: Folder of a drawn data set.
        split: Which of an action data set's.

    Returns:
        Clips by class and number; or tracklets by identity, distractors first. Junk,
        whose boxes hold a piece of a person, is not among them.

    Raises:
        FileNotFoundError: The folder is none of a drawn data set.
        ValueError: There is no such split.
    """
    parameters = drawn_parameters(data_root)
    root = Path(data_root)
    if 'motions' in parameters:
        return _clips(root, parameters, split)
    return _tracklets(root, parameters)


def _clips(root: Path, parameters: dict, split: int) -> list[DrawnVideo]:
    seed, count = parameters['seed'], parameters['clips_per_class']
    found = []
    for motion in MOTIONS:
        subsets = split_subsets(seed, motion, count)
        if not 1 <= split <= len(subsets):
            raise ValueError(f'split must be 1 to {len(subsets)}, got {split}.')
        for number in np.flatnonzero(subsets[split - 1] == 2):
            name = clip_name(motion, int(number), seed)
            found.append(DrawnVideo(
                name, root / 'videos' / motion / name,
                partial(draw_listed_clip, motion, int(number), parameters)))
    return found


def _tracklets(root: Path, parameters: dict) -> list[DrawnVideo]:
    names = ('num_train_pids', 'num_test_pids', 'num_cameras', 'seed',
             'num_distractors', 'num_junk')
    plan = plan_reid_dataset(*(parameters[name] for name in names))
    draw = partial(draw_listed_tracklet, seed=parameters['seed'],
                   size=tuple(parameters['size']),
                   difficulty=Difficulty(**parameters['difficulty']))
    return [DrawnVideo(key.image_name(1)[:-len('F001.jpg')], _images(root, key),
                       partial(draw, key))
            for key in plan.test if key.pid != JUNK_PID]


def _images(root: Path, key: TrackletKey) -> list[Path]:
    folder = root / 'bbox_test' / key.folder
    return sorted(folder.glob(key.image_name(1).replace('F001', 'F*')))
