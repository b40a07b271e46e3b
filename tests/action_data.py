"""Small data roots with real files, in the layout of tools/prepare_data.py."""
from pathlib import Path

import cv2
import numpy as np

NUM_FRAMES = 20


def write_video(path: Path, num_frames: int = NUM_FRAMES, seed: int = 0,
                size=(96, 80)) -> None:
    """A real Motion JPEG file of a drifting pattern; ``size`` is (w, h)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), size)
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG,
                             cv2.VideoWriter_fourcc(*'MJPG'), 25, size)
    assert writer.isOpened()
    for frame in range(num_frames):
        writer.write(np.roll(picture, 2 * frame, axis=1))
    writer.release()


def write_frames(folder: Path, num_frames: int = NUM_FRAMES, seed: int = 0,
                 size=(96, 80)) -> None:
    """RGB and flow images of one clip."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), size)
    for frame in range(1, num_frames + 1):
        cv2.imwrite(str(folder / f'img_{frame:05}.jpg'),
                    np.roll(picture, 2 * frame, axis=1))
        for axis, value in (('x', 140), ('y', 127)):
            cv2.imwrite(str(folder / f'flow_{axis}_{frame:05}.jpg'),
                        np.full(size[::-1], value, np.uint8))


def write_data_root(root: Path, name: str, num_classes: int, num_clips: int = 4,
                    frames: bool = False, train_seed: int = 100) -> Path:
    """A data root; its second split tests what the others train on, and vice versa."""
    clips = {subset: [(f'class {k % 2}/{title} {k}', k % 2) for k in range(num_clips)]
             for subset, title in (('train', 'shown (a&b)'), ('val', 'clip (a&b)'))}
    for subset, first in (('train', train_seed), ('val', 0)):
        for seed, (clip, _) in enumerate(clips[subset], start=first):
            write_video(root / 'videos' / f'{clip}.avi', seed=seed)
            if frames:
                write_frames(root / 'rawframes' / clip, seed=seed)
    names = ['class 0', 'class 1', *(f'c{k}' for k in range(2, num_classes))]
    (root / f'{name}_classes.txt').write_text('\n'.join(names) + '\n')
    for split in (1, 2, 3):
        for subset, chosen in zip(('train', 'val'),
                                  clips if split != 2 else reversed(clips)):
            stem = f'{name}_{subset}_split_{split}'
            (root / f'{stem}_videos.txt').write_text(
                ''.join(f'{clip}.avi {label}\n' for clip, label in clips[chosen]))
            (root / f'{stem}_rawframes.txt').write_text(
                ''.join(f'{clip} {NUM_FRAMES} {label}\n'
                        for clip, label in clips[chosen]))
    return root


def flat_pipeline(loader):
    """The steps of a data set, those that decoding does frame by frame among them."""
    return [inner for step in loader.dataset.pipeline
            for inner in (step, *step.get('transforms', ()))]
