"""One video becomes a folder of numbered images, whole or not at all.

    rawframes/<class>/<clip>/img_00001.jpg, flow_x_00001.jpg, flow_y_00001.jpg

Images are written under `rawframes/.partial` and the folder is moved to its place
when complete, so a clip folder that is there is finished, and an interrupted run
goes on where it stopped.
"""
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import numpy as np

from .optical_flow import make_flow_estimator, quantize_flow

PARTIAL = '.partial'
DEFAULT_SHORT_SIDE = 256

_IMAGE = re.compile(r'(img|flow_x|flow_y)_\d{5,}\.jpg')

PathLike = Union[str, Path]


@dataclass(frozen=True)
class FrameSettings:
    """How frames are written.

    Attributes:
        short_side: Frames whose short side is longer are shrunk to it, keeping
            their shape; shorter ones are kept. 0 keeps every size. Flow is
            computed on the frames as written, in their pixels.
        flow: 'tvl1', 'farneback', or None for RGB alone.
    """

    short_side: int = DEFAULT_SHORT_SIDE
    flow: Optional[str] = None

    def __post_init__(self) -> None:
        if self.short_side < 0:
            raise ValueError(
                f'short_side must be 0 (keep the size) or more, got {self.short_side}')


def shrunk_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Size of a frame once its short side is at most `short_side`.

    Args:
        width: In pixels.
        height: In pixels.
        short_side: In pixels; 0 keeps the size.

    Returns:
        (width, height).

    Example:
        >>> shrunk_size(640, 480, 240), shrunk_size(320, 240, 256)
        ((320, 240), (320, 240))
    """
    shortest = min(width, height)
    if not 0 < short_side < shortest:
        return width, height
    scale = short_side / shortest
    return round(width * scale), round(height * scale)


def count_finished_frames(clip_dir: PathLike, with_flow: bool) -> int:
    """Number of RGB images of a finished clip.

    Args:
        clip_dir: Folder of the clip's images.
        with_flow: Whether each RGB image needs its two flow images.

    Returns:
        The number; 0 if the folder is not there or lacks what is asked for.
    """
    clip_dir = Path(clip_dir)
    if not clip_dir.is_dir():
        return 0
    matches = (_IMAGE.fullmatch(path.name) for path in clip_dir.iterdir())
    counts = Counter(match[1] for match in matches if match)
    if with_flow and not counts['img'] == counts['flow_x'] == counts['flow_y']:
        return 0
    return counts['img']


def extract_clip(
    video: PathLike, rawframes_dir: PathLike, folder: str, settings: FrameSettings
) -> int:
    """Writes the images of one video.

    Args:
        video: Video file.
        rawframes_dir: Folder of all frames.
        folder: `class/clip`, where the images go below it.
        settings: How they are written.

    Returns:
        Number of frames.

    Raises:
        UnreadableVideo: No decoder reads the file; no image is left behind.
        FileExistsError: The clip's folder holds files of another origin.
    """
    from cosam_mm.datasets.video_file import (
        UnreadableVideo,
        frames_with_decord,
        frames_with_opencv,
    )
    partial = Path(rawframes_dir) / PARTIAL / folder
    reasons = []
    try:
        for read in (frames_with_decord, frames_with_opencv):
            _make_empty(partial)
            try:
                with closing(read(video)) as frames:
                    num_frames = write_images(frames, partial, settings)
            except UnreadableVideo as error:
                reasons.append(str(error))
            else:
                _move_into_place(partial, Path(rawframes_dir) / folder)
                return num_frames
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    raise UnreadableVideo('; '.join(dict.fromkeys(reasons)))


def write_images(
    frames: Iterable[np.ndarray], folder: PathLike, settings: FrameSettings
) -> int:
    """Writes RGB images and, if asked for, flow images.

    Flow image k leads from frame k to frame k+1; the last one is written twice, so
    that there are as many flow as RGB images. One frame alone has no motion.

    Args:
        frames: RGB frames, uint8 (H, W, 3). All get the size of the first.
        folder: Where to write; it exists.
        settings: How to write.

    Returns:
        Number of frames.

    Raises:
        UnreadableVideo: There is no frame.
    """
    import cv2

    from cosam_mm.datasets.video_file import UnreadableVideo
    folder = Path(folder)
    estimate = make_flow_estimator(settings.flow) if settings.flow else None
    size, previous, flow, number = None, None, None, 0
    for number, frame in enumerate(frames, start=1):
        size = size or shrunk_size(frame.shape[1], frame.shape[0], settings.short_side)
        frame = _resize(frame, size)
        _save(folder / f'img_{number:05d}.jpg', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        if estimate is not None:
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            if previous is not None:
                flow = estimate(previous, grey)
                _save_flow(folder, number - 1, flow)
            previous = grey
    if number == 0:
        raise UnreadableVideo('no frame')
    if estimate is not None:
        still = np.zeros((*previous.shape, 2), np.float32)
        _save_flow(folder, number, still if flow is None else flow)
    return number


def _resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _save(path: Path, image: np.ndarray) -> None:
    # Not cv2.imwrite: it hides why it failed, and a full disk must stop the run.
    import cv2
    success, data = cv2.imencode('.jpg', image)
    assert success, f'JPEG encoding of shape {image.shape} failed'
    path.write_bytes(data.tobytes())


def _save_flow(folder: Path, number: int, flow: np.ndarray) -> None:
    images = quantize_flow(flow)
    for axis, name in enumerate('xy'):
        _save(folder / f'flow_{name}_{number:05d}.jpg', images[..., axis])


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _move_into_place(partial: Path, target: Path) -> None:
    """Moves a finished folder; RGB images alone give way to RGB and flow."""
    if target.exists():
        foreign = [p.name for p in target.iterdir() if not _IMAGE.fullmatch(p.name)]
        if foreign:
            raise FileExistsError(
                f'{target} holds {foreign[0]!r}, which is no image of this tool: move '
                'the folder away, or choose another one to write to')
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)
