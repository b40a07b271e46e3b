"""Frames of clips on disk, listed as image projects list their images."""
import json

import cv2
import numpy as np

BOX = 24


def write_frames(root, num_clips, clip_len, size=64):
    """Draw clips of a bright square that moves over noise, in one of two colours.

    Returns:
        Path of the folder: ``<clip>/<frame>.png``, ``frames.txt`` with a line
        ``name class`` for every frame in order, for classifiers, and
        ``frames.json`` with a box for every frame, for detectors (COCO's format).
    """
    rng = np.random.default_rng(0)
    lines, images, boxes = [], [], []
    for clip in range(num_clips):
        label = clip % 2
        (root / f'{clip}').mkdir(parents=True)
        for frame in range(clip_len):
            name, x, y = f'{clip}/{frame}.png', 4 * frame, 8 + 3 * clip
            image = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
            image[y:y + BOX, x:x + BOX, 2 * label] = 250
            assert cv2.imwrite(str(root / name), image)
            lines.append(f'{name} {label}')
            images.append(dict(id=len(images), file_name=name, height=size,
                               width=size))
            boxes.append(dict(id=len(boxes), image_id=len(boxes), category_id=label,
                              bbox=[x, y, BOX, BOX], area=BOX * BOX, iscrowd=0))
    (root / 'frames.txt').write_text('\n'.join(lines))
    (root / 'frames.json').write_text(json.dumps(dict(
        images=images, annotations=boxes,
        categories=[dict(id=0, name='blue'), dict(id=1, name='red')])))
    return root
