"""Extract the frames of a whole data set; what is finished is not done again."""
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple, Optional, Union

from .annotation_files import clip_folder, write_lines
from .frame_files import PARTIAL, FrameSettings, count_finished_frames, extract_clip
from .optical_flow import make_flow_estimator
from .worker_pool import run_jobs

SETTINGS_FILE = 'extraction.json'

PathLike = Union[str, Path]


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


class _Job(NamedTuple):
    video: str
    videos_dir: Path
    rawframes_dir: Path
    settings: FrameSettings


class _Outcome(NamedTuple):
    num_frames: int = 0
    reason: str = ''


def extract_frames(
    videos: Iterable[str],
    videos_dir: PathLike,
    rawframes_dir: PathLike,
    settings: FrameSettings,
    num_workers: int = 0,
) -> ExtractionResult:
    """Writes the frames of many videos, and shows progress on a terminal.

    Args:
        videos: Paths below `videos_dir`.
        videos_dir: Folder of the videos.
        rawframes_dir: Where the images go, see `frames`.
        settings: How they are written.
        num_workers: Number of processes; 0 works in this one.

    Returns:
        Frame counts of all videos, and those that cannot be read.

    Raises:
        ValueError: The folder holds frames made with other settings, or the flow
            cannot be computed here.
    """
    videos_dir, rawframes_dir = Path(videos_dir), Path(rawframes_dir)
    if settings.flow:
        make_flow_estimator(settings.flow)  # fail now, not in a worker
    rawframes_dir.mkdir(parents=True, exist_ok=True)
    settings = agree_settings(rawframes_dir, settings)
    videos = list(dict.fromkeys(videos))
    finished = _count_finished(videos, rawframes_dir, settings.flow is not None)
    jobs = [_Job(video, videos_dir, rawframes_dir, settings)
            for video in videos if not finished[video]]
    outcomes = dict(_run(jobs, num_workers))
    shutil.rmtree(rawframes_dir / PARTIAL, ignore_errors=True)
    new = {video: outcome.num_frames for video, outcome in outcomes.items()}
    num_frames = {video: finished[video] or new[video] for video in videos}
    return ExtractionResult(
        {video: count for video, count in num_frames.items() if count},
        {video: outcomes[video].reason
         for video in videos if not num_frames[video]},
        len(videos) - len(jobs))


def agree_settings(rawframes_dir: PathLike, settings: FrameSettings) -> FrameSettings:
    """Remembers how the frames of a folder are made, so that they never mix.

    Flow may come to frames that had none, and RGB alone may be asked for again
    where there is flow.

    Args:
        rawframes_dir: Folder of all frames.
        settings: What is asked for.

    Returns:
        What holds for the folder from now on.

    Raises:
        ValueError: The folder was made with other settings.
    """
    path = Path(rawframes_dir) / SETTINGS_FILE
    before = _read_settings(path)
    if before is not None:
        settings = replace(settings, flow=settings.flow or before.flow)
        _check_same(path, 'short side', settings.short_side, before.short_side)
        if before.flow is not None:
            _check_same(path, 'flow', settings.flow, before.flow)
    write_lines(path, [json.dumps(asdict(settings))])
    return settings


def _read_settings(path: Path) -> Optional[FrameSettings]:
    if not path.exists():
        return None
    try:
        return FrameSettings(**json.loads(path.read_text(encoding='utf-8')))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f'{path} does not say how the frames beside it were made ({error}): '
            'remove them, or choose another folder to write to') from None


def _check_same(path: Path, what: str, asked: object, before: object) -> None:
    if asked != before:
        raise ValueError(
            f'{path.parent} holds frames made with {what} {before}, asked for was '
            f'{asked}: ask for the same, remove them, or choose another folder to '
            'write to')


def _count_finished(
    videos: list[str], rawframes_dir: Path, with_flow: bool
) -> dict[str, int]:
    """Frames of each video that are there already; 0 where it is to be done."""
    from cosam_mm.utils.progress import progress_bar
    return {video: count_finished_frames(rawframes_dir / clip_folder(video), with_flow)
            for video in progress_bar(videos, 'looking for frames', 'clip',
                                      leave=False)}


def _run(jobs: list[_Job], num_workers: int) -> Iterable[tuple[str, _Outcome]]:
    from cosam_mm.utils.progress import progress_bar
    outcomes = run_jobs(_extract, jobs, num_workers, on_crash=_crashed)
    for job, outcome in progress_bar(outcomes, 'frames', 'clip', len(jobs)):
        yield job.video, outcome


def _extract(job: _Job) -> _Outcome:
    from cosam_mm.datasets.video_file import UnreadableVideo
    try:
        return _Outcome(num_frames=extract_clip(
            job.videos_dir / job.video, job.rawframes_dir, clip_folder(job.video),
            job.settings))
    except UnreadableVideo as error:
        return _Outcome(reason=str(error))


def _crashed(job: _Job) -> _Outcome:
    return _Outcome(reason='the process that decoded it was killed or crashed')
