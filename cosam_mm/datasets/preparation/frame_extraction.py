"""Videos become folders of numbered images; what is finished is not done again.

    rawframes/<class>/<clip>/img_00001.jpg, flow_x_00001.jpg, flow_y_00001.jpg
    rawframes/extraction.json       how they are made, so that they never mix

Images are written under ``rawframes/.partial``, and the folder is moved to its target
when it is complete. So a clip folder that is there is finished, and an interrupted run
goes on where it stopped.

The flow stream of two-stream networks reads displacement from 8-bit images: clipped to
+-20 pixels and mapped linearly to 0..255, so that no motion is 127.5, the mean that the
flow configs subtract. (Wang et al., *Temporal Segment Networks*, ECCV 2016, with TV-L1
of Zach et al., DAGM 2007.)
"""
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Callable, Optional, Union

import numpy as np

from cosam_mm.utils.io import read_text

from .annotation_files import clip_folder, write_lines
from .worker_pool import run_jobs

__all__ = ['DEFAULT_SHORT_SIDE', 'FLOW_ESTIMATORS', 'ExtractionResult', 'FrameSettings',
           'extract_clip', 'extract_frames', 'quantize_flow', 'shrunk_size']

DEFAULT_SHORT_SIDE = 256
FLOW_BOUND_PIXELS = 20.
PARTIAL = '.partial'
SETTINGS_FILE = 'extraction.json'
_IMAGE = re.compile(r'(img|flow_x|flow_y)_\d{5,}\.jpg')

PathLike = Union[str, Path]
# Two grey frames, uint8 (H, W) -> displacement in pixels, float32 (H, W, 2).
FlowEstimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


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


@dataclass(frozen=True)
class ExtractionResult:
    """What came of the videos, each by its path below the video folder.

    Attributes:
        num_frames: Video -> number of frames on disk.
        unreadable: Video -> why no decoder reads it.
        num_skipped: How many of the former were there before.
    """

    num_frames: dict[str, int]
    unreadable: dict[str, str]
    num_skipped: int


# -- a data set --------------------------------------------------------------


def extract_frames(
    videos: Iterable[str], videos_dir: PathLike, rawframes_dir: PathLike,
    settings: FrameSettings, num_workers: int = 0,
) -> ExtractionResult:
    """Writes the frames of many videos, and shows progress on a terminal.

    Args:
        videos: Paths below `videos_dir`.
        videos_dir: Folder of the videos.
        rawframes_dir: Where the images go.
        settings: How they are written. Flow may be added to frames that had none, and
            RGB alone may be asked for where there is flow.
        num_workers: Number of processes; 0 works in this one.

    Returns:
        Frame counts of all videos, and those that cannot be read.

    Raises:
        ValueError: The folder holds frames made with other settings, or the flow
            cannot be computed here.
    """
    from cosam_mm.utils.progress import progress_bar
    videos_dir, rawframes_dir = Path(videos_dir), Path(rawframes_dir)
    if settings.flow:
        _flow_estimator(settings.flow)  # fail now, not in a worker
    rawframes_dir.mkdir(parents=True, exist_ok=True)
    settings = _agree_settings(rawframes_dir / SETTINGS_FILE, settings)
    videos = list(dict.fromkeys(videos))
    num_frames = {
        video: _count_finished(rawframes_dir / clip_folder(video), settings.flow)
        for video in progress_bar(videos, 'looking for frames', 'clip', leave=False)}
    missing = [video for video in videos if not num_frames[video]]
    extract = partial(_extract, videos_dir, rawframes_dir, settings)
    outcomes, unreadable = run_jobs(extract, missing, num_workers, _crashed), {}
    for video, (count, reason) in progress_bar(
            outcomes, 'frames', 'clip', len(missing)):
        num_frames[video], unreadable[video] = count, reason
    shutil.rmtree(rawframes_dir / PARTIAL, ignore_errors=True)
    return ExtractionResult(
        {video: count for video, count in num_frames.items() if count},
        {video: unreadable[video] for video in videos if not num_frames[video]},
        len(videos) - len(missing))


def _extract(videos_dir: Path, rawframes_dir: Path, settings: FrameSettings,
             video: str) -> tuple[int, str]:
    from cosam_mm.datasets.video_reader import UnreadableVideo
    try:
        return extract_clip(
            videos_dir / video, rawframes_dir, clip_folder(video), settings), ''
    except UnreadableVideo as error:
        return 0, str(error)


def _crashed(video: str) -> tuple[int, str]:
    return 0, 'the process that decoded it was killed or crashed'


def _agree_settings(path: Path, settings: FrameSettings) -> FrameSettings:
    """Records how the frames of a folder are made, or checks the record."""
    before = _read_settings(path)
    if before is not None:
        settings = replace(settings, flow=settings.flow or before.flow)
        for what, asked, held in (
                ('short side', settings.short_side, before.short_side),
                ('flow', settings.flow, before.flow or settings.flow)):
            if asked != held:
                raise ValueError(
                    f'{path.parent} holds frames made with {what} {held}, asked for '
                    f'was {asked}: ask for the same, remove them, or choose another '
                    'folder to write to')
    write_lines(path, [json.dumps(asdict(settings))])
    return settings


def _read_settings(path: Path) -> Optional[FrameSettings]:
    if not path.exists():
        return None
    try:
        return FrameSettings(**json.loads(read_text(path)))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f'{path} does not say how the frames beside it were made ({error}): '
            'remove them, or choose another folder to write to') from None


def _count_finished(clip_dir: Path, flow: Optional[str]) -> int:
    """Number of RGB images of a finished clip; 0 where something is missing."""
    if not clip_dir.is_dir():
        return 0
    matches = (_IMAGE.fullmatch(path.name) for path in clip_dir.iterdir())
    counts = Counter(match[1] for match in matches if match)
    if flow and not counts['img'] == counts['flow_x'] == counts['flow_y']:
        return 0
    return counts['img']


# -- a video -----------------------------------------------------------------


def extract_clip(
    video: PathLike, rawframes_dir: PathLike, folder: str, settings: FrameSettings
) -> int:
    """Writes the images of one video, and returns the number of its frames.

    Flow image k leads from frame k to frame k+1; the last one is written twice, so
    that there are as many flow as RGB images. One frame alone has no motion.

    Args:
        video: Video file.
        rawframes_dir: Folder of all frames.
        folder: `class/clip`, where the images go below it.
        settings: How they are written.

    Raises:
        UnreadableVideo: No decoder reads the file; no image is left behind.
        FileExistsError: The clip's folder holds files of another origin.
    """
    from cosam_mm.datasets.video_reader import read_all_frames
    partial = Path(rawframes_dir) / PARTIAL / folder

    def write(frames: Iterable[np.ndarray]) -> int:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return _write_images(frames, partial, settings)

    try:
        num_frames = read_all_frames(video, write)
        _publish(partial, Path(rawframes_dir) / folder)
        return num_frames
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def shrunk_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) in pixels once the short side is at most `short_side`; 0 keeps.

    Example:
        >>> shrunk_size(640, 480, 240), shrunk_size(320, 240, 256)
        ((320, 240), (320, 240))
    """
    shortest = min(width, height)
    if not 0 < short_side < shortest:
        return width, height
    scale = short_side / shortest
    return round(width * scale), round(height * scale)


def _write_images(
    frames: Iterable[np.ndarray], folder: Path, settings: FrameSettings
) -> int:
    """Writes RGB and flow images, all of the size of the first."""
    import cv2

    from cosam_mm.datasets.video_reader import UnreadableVideo
    estimate = _flow_estimator(settings.flow) if settings.flow else None
    size, previous, flow, number = None, None, None, 0
    for number, frame in enumerate(frames, start=1):
        size = size or shrunk_size(frame.shape[1], frame.shape[0], settings.short_side)
        if frame.shape[1::-1] != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
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


def _save(path: Path, image: np.ndarray) -> None:
    # Not cv2.imwrite: it hides why it failed, and a full disk must stop the run.
    import cv2
    success, data = cv2.imencode('.jpg', image)
    assert success, f'JPEG encoding of shape {image.shape} failed'
    path.write_bytes(data.tobytes())


def _save_flow(folder: Path, number: int, flow: np.ndarray) -> None:
    for name, image in zip('xy', np.moveaxis(quantize_flow(flow), -1, 0)):
        _save(folder / f'flow_{name}_{number:05d}.jpg', np.ascontiguousarray(image))


def _publish(partial: Path, target: Path) -> None:
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


# -- optical flow ------------------------------------------------------------


def quantize_flow(flow: np.ndarray) -> np.ndarray:
    """Maps displacements in pixels, of any shape, to grey values, uint8.

    Example:
        >>> quantize_flow(np.array([-25., -20., 0., 10., 20.])).tolist()
        [0, 0, 128, 191, 255]
    """
    bound = FLOW_BOUND_PIXELS
    grey = (np.clip(flow, -bound, bound) + bound) * (255 / (2 * bound))
    return np.rint(grey).astype(np.uint8)


def _tvl1() -> FlowEstimator:
    """Dual TV-L1 with OpenCV's defaults: sharp edges, about a second a frame."""
    import cv2
    if not hasattr(cv2, 'optflow'):
        raise ValueError(
            "flow 'tvl1' needs the optflow module, which this OpenCV lacks: install "
            "opencv-contrib-python, or choose 'farneback'")
    solver = cv2.optflow.DualTVL1OpticalFlow_create()
    return lambda previous, following: solver.calc(previous, following, None)


def _farneback() -> FlowEstimator:
    """Farneback's polynomial expansion: smoother, and some 50 times as fast."""
    import cv2
    return lambda previous, following: cv2.calcOpticalFlowFarneback(
        previous, following, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3,
        poly_n=5, poly_sigma=1.2, flags=0)


FLOW_ESTIMATORS = {'tvl1': _tvl1, 'farneback': _farneback}


def _flow_estimator(name: str) -> FlowEstimator:
    if name not in FLOW_ESTIMATORS:
        raise ValueError(
            f'flow must be one of {", ".join(FLOW_ESTIMATORS)}, got {name!r}')
    return FLOW_ESTIMATORS[name]()
