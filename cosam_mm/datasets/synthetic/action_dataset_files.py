"""The synthetic action clips as files in HMDB51's layout, with official-style splits.

    OUT/videos/<class>/<clip>.avi                  real encoded files
    OUT/splits/<class>_test_split{1,2,3}.txt       lines 'name.avi 1 ' or '... 2 '
    OUT/demo.json                                  parameters, marks a finished set
"""
from dataclasses import asdict
from functools import partial
from operator import index
from pathlib import Path

import cv2
import numpy as np

from cosam_mm.utils.progress import progress_bar

from .generation import SegmentedFrames, generate_folder, stream
from .motion_clip import DEFAULT_CLUTTER, MOTIONS, ClutterConfig, generate_clip

__all__ = ['ACTION_MARKER', 'clip_name', 'clip_rng', 'dataset_clip',
           'generate_action_dataset', 'split_subsets']

ACTION_MARKER = 'demo.json'
NUM_SPLITS = 3
FRAMES_PER_SECOND = 30
# Seen with decord 0.6.0, whatever the codec: get_batch fails on these two alone.
_WIDTHS_DECORD_FAILS_ON = (48, 72)
# First number of a generator's key, so that clips and splits never share a stream.
_CLIP_STREAM, _SPLIT_STREAM = 0, 1


def clip_name(motion: str, clip_index: int, seed: int = 0) -> str:
    """File name in the manner of HMDB51: source, class, tags, number."""
    return f'Drawn_toys_({seed})_{motion}_f_cm_np1_fr_med_{clip_index}.avi'


def clip_rng(seed: int, motion: str, clip_index: int) -> np.random.Generator:
    """A fresh generator of the clip ``clip_index`` (from 0) of a class."""
    return stream(seed, _CLIP_STREAM, list(MOTIONS).index(motion), clip_index)


def dataset_clip(motion: str, clip_index: int, parameters: dict) -> SegmentedFrames:
    """Generate a clip of a data set again, from what the data set's marker says."""
    return generate_clip(
        motion, clip_rng(parameters['seed'], motion, clip_index),
        parameters['num_frames'], tuple(parameters['size']),
        ClutterConfig(**parameters['clutter']), parameters.get('occlusion', 0.0))


def split_subsets(seed: int, motion: str, clips_per_class: int) -> np.ndarray:
    """Divide a class's clips three times: (3, clips_per_class), 1 trains, 2 tests.

    About 30 % are test clips, and no clip is a test clip twice: one random order is
    cut into three parts, and each split tests on clips of its own part.
    """
    rng = stream(seed, _SPLIT_STREAM, list(MOTIONS).index(motion))
    parts = np.array_split(rng.permutation(clips_per_class), NUM_SPLITS)
    num_test = max(1, min(round(0.3 * clips_per_class), len(parts[-1])))
    subsets = np.full((NUM_SPLITS, clips_per_class), 1)
    for row, part in zip(subsets, parts):
        row[part[:num_test]] = 2
    return subsets


def _write_video(path: Path, frames: np.ndarray) -> None:
    """Encode RGB frames (T, H, W, 3).

    Motion JPEG codes every frame by itself: prediction between frames would leave
    traces of the past in each of them, and with that of the motion's direction.
    """
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*'MJPG'),
        FRAMES_PER_SECOND, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    # The writer itself reports neither a full disk nor a folder it may not use.
    reader = cv2.VideoCapture(str(path))
    written = max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT)))
    reader.release()
    if written != len(frames):
        raise OSError(f'{path} holds {written} of {len(frames)} frames after writing: '
                      'is the disk full, or the folder read-only?')


def _write_action_dataset(folder: Path, parameters: dict, progress: bool) -> None:
    """Write all but the marker into an empty folder."""
    seed, num_clips = parameters['seed'], parameters['clips_per_class']
    (folder / 'splits').mkdir()
    with progress_bar(what='generating clips', unit='clip', show=progress,
                      total=len(MOTIONS) * num_clips) as bar:
        for motion in MOTIONS:
            (folder / 'videos' / motion).mkdir(parents=True)
            names = [clip_name(motion, clip, seed) for clip in range(num_clips)]
            for clip, name in enumerate(names):
                _write_video(folder / 'videos' / motion / name,
                             dataset_clip(motion, clip, parameters).frames)
                bar.update()
            subsets = split_subsets(seed, motion, num_clips)
            for split, own in enumerate(subsets, start=1):
                path = folder / 'splits' / f'{motion}_test_split{split}.txt'
                path.write_text(''.join(f'{name} {subset} \n' for name, subset
                                        in zip(names, own)), encoding='utf-8')


def generate_action_dataset(out_dir, clips_per_class: int = 60, seed: int = 0,
                            num_frames: int = 40, size: tuple = (96, 72),
                            clutter: ClutterConfig = DEFAULT_CLUTTER,
                            occlusion: float = 0.0, progress: bool = True) -> Path:
    """Generate the demo data set; its folder.

    Equal arguments give equal files, byte for byte. A data set that is there
    already with equal arguments is left as it is.

    Opposite motions are mirror images of each other: a pipeline that flips frames
    must swap ``move_left`` with ``move_right`` and ``rotate_clockwise`` with
    ``rotate_counterclockwise``, or leave flipping out.

    Args:
        out_dir: Folder to make.
        clips_per_class: Clips of each of the eight motions, at least 3.
        seed: Seed of everything, at least 0.
        num_frames: Frames of a clip.
        size: Width and height of the frames in pixels; decord rules out the widths
            48 and 72.
        clutter: What else is in the clips; :meth:`ClutterConfig.scaled` makes it of
            one number.
        occlusion: Share of the clips, 0 to 1, in which something opaque passes
            before the target.
        progress: Show a bar, where the error stream is a terminal.

    Raises:
        ValueError: An argument is out of range, or ``out_dir`` holds something else.
        OSError: The files cannot be written.
    """
    for name, value, least in (('clips_per_class', clips_per_class, NUM_SPLITS),
                               ('seed', seed, 0)):
        if value < least:
            raise ValueError(f'{name} is {value}; allowed: {least} and above')
    if size[0] in _WIDTHS_DECORD_FAILS_ON:
        raise ValueError(f'size is {size!r}; decord cannot read videos of width '
                         f'{size[0]}, choose another')
    out_dir = Path(out_dir)
    parameters = dict(
        format=1, motions=list(MOTIONS), clips_per_class=index(clips_per_class),
        seed=index(seed), num_frames=index(num_frames),
        size=[index(side) for side in size], clutter=asdict(clutter),
        occlusion=float(occlusion))
    if not occlusion:  # data sets made before there was any do not name it
        del parameters['occlusion']
    expected = [out_dir / 'videos' / motion / clip_name(motion, clip, seed)
                for motion in MOTIONS for clip in range(clips_per_class)]
    return generate_folder(
        out_dir / ACTION_MARKER, parameters, 'demo data set', expected,
        partial(_write_action_dataset, parameters=parameters, progress=progress))
