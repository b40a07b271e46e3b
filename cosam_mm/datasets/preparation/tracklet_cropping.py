"""Tracklets cut out of a video by the boxes of a tracker.

    track file              boxes of persons, see track_files.py
          |                 boxes are padded, clipped to the frame, sorted into
          |                 tracklets: one an id, a new one after a long gap
          v
    OUT/<pid>/<camid>/<tracklet>/<frame>.jpg             what TrackletFolder reads

The video is read once, front to back, and no more than a batch of its frames is in
memory. A camera's folders appear when all of its tracklets are written.
"""
import configparser
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple, Optional, Union
from uuid import uuid4

import numpy as np

from cosam_mm.datasets.image_files import UnreadableImage, list_images, read_image
from cosam_mm.datasets.video_reader import UnreadableVideo, read_all_frames
from cosam_mm.utils.messages import name_some
from cosam_mm.utils.progress import progress_bar

from .track_files import BoxChoice, TrackBox, read_tracks

__all__ = ['CropReport', 'CropSettings', 'crop_tracklets']

PathLike = Union[str, Path]

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class CropSettings:
    """What to cut out, and what to leave.

    Args:
        camid: Number of the camera, at least 0.
        padding: What to add on each side, as a share of the box's width and height.
        min_height: Leave out boxes that show fewer rows.
        max_gap: Frames that a track may be lost for in one tracklet.
        min_frames: Leave out tracklets of fewer images.
        id_prefix: Stands before the ids in the names of persons: those of another
            tracker's run are other persons.
        same_ids: Ids that are in the folder already, from another camera, name the
            same persons.

    Raises:
        ValueError: A value is out of range.
    """

    camid: int = 1
    padding: float = 0.0
    min_height: int = 32
    max_gap: int = 10
    min_frames: int = 4
    id_prefix: str = ''
    same_ids: bool = False

    def __post_init__(self):
        smallest = dict(camid=0, padding=0, min_height=1, max_gap=0, min_frames=1)
        for name, low in smallest.items():
            value = getattr(self, name)
            if not low <= value < float('inf'):
                raise ValueError(f'{name} is {value!r}; allowed: {low} and above')
        if not re.fullmatch('[A-Za-z0-9_-]*', self.id_prefix):
            raise ValueError(f'id_prefix is {self.id_prefix!r}; allowed: letters, '
                             'digits, - and _')

    def person(self, track: int) -> str:
        """Name of the folder of a tracker's id."""
        return f'{self.id_prefix}{track:04d}'


DEFAULT_SETTINGS = CropSettings()
ALL_PERSONS = BoxChoice()


class CropReport(NamedTuple):
    """What became of the boxes of a track file."""

    num_tracklets: int  # written
    num_images: int  # in them
    num_clipped: int  # boxes written of which a part lay outside the frame
    num_empty: int  # boxes without any pixel of the frame
    num_low: int  # boxes that show less than ``min_height``
    num_short_tracklets: int  # of fewer images than ``min_frames``
    num_after_end: int  # boxes in frames that the video does not have
    left_out: dict  # number of boxes that the track file tells apart, by reason

    def lines(self, settings: CropSettings) -> list[str]:
        """The report as text."""
        return [
            f'camera {settings.camid}: {self.num_tracklets} tracklets, '
            f'{self.num_images} images',
            f'boxes cut off at the edge of the frame: {self.num_clipped}',
            f'left out: {self.num_empty} boxes outside the frame or empty, '
            f'{self.num_low} lower than {settings.min_height} pixels, '
            f'{self.num_after_end} after the last frame, {self.num_short_tracklets} '
            f'tracklets of fewer than {settings.min_frames} images',
            *(f'left out: {count} boxes, {reason}'
              for reason, count in self.left_out.items())]


def _clip_box(box: TrackBox, frame_size: tuple, padding: float
              ) -> Optional[tuple[slice, slice, bool]]:
    """Rows and columns of a frame that a padded box touches; whether it was clipped.

    None where the box touches no pixel, or has no or a negative side.
    """
    if box.width <= 0 or box.height <= 0:
        return None
    pad_x, pad_y = padding * box.width, padding * box.height
    top, left = floor(box.y - pad_y), floor(box.x - pad_x)
    bottom, right = ceil(box.y + box.height + pad_y), ceil(box.x + box.width + pad_x)
    height, width = frame_size
    rows = slice(max(top, 0), min(bottom, height))
    columns = slice(max(left, 0), min(right, width))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return None
    return rows, columns, top < 0 or left < 0 or bottom > height or right > width


class _Writer:
    """Sorts boxes into tracklets and writes their images; frames come in order."""

    def __init__(self, folder: Path, settings: CropSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.counts = Counter()
        self.num_images = {}  # by tracklet's folder
        self.num_clipped = Counter()  # likewise
        self._current = {}  # by track: number of its tracklet and its last frame

    def write(self, frame: np.ndarray, box: TrackBox) -> None:
        """Write what a box shows of a frame (H, W, 3)."""
        region = _clip_box(box, frame.shape[:2], self.settings.padding)
        if region is None:
            self.counts['num_empty'] += 1
            return
        rows, columns, is_clipped = region
        if rows.stop - rows.start < self.settings.min_height:
            self.counts['num_low'] += 1
            return
        folder = self._tracklet_folder(box)
        self._write_image(folder / f'{box.frame:06d}.jpg', frame[rows, columns])
        self.num_images[folder] += 1
        self.num_clipped[folder] += is_clipped

    def _tracklet_folder(self, box: TrackBox) -> Path:
        """Folder of the tracklet that a box continues or begins."""
        number, last = self._current.get(box.track, (1, box.frame))
        number += box.frame - last > self.settings.max_gap + 1
        self._current[box.track] = number, box.frame
        folder = self.folder.joinpath(self.settings.person(box.track),
                                      str(self.settings.camid), f'{number:04d}')
        if folder not in self.num_images:
            folder.mkdir(parents=True)
            self.num_images[folder] = 0
        return folder

    @staticmethod
    def _write_image(path: Path, crop: np.ndarray) -> None:
        import cv2
        good, data = cv2.imencode(
            '.jpg', crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not good:
            raise OSError(f'{path} cannot be encoded')
        path.write_bytes(data.tobytes())

    def finish(self) -> CropReport:
        """Remove short tracklets, and count."""
        short = [folder for folder, count in self.num_images.items()
                 if count < self.settings.min_frames]
        for folder in short:
            shutil.rmtree(folder)
            del self.num_images[folder], self.num_clipped[folder]
        return CropReport(
            len(self.num_images), sum(self.num_images.values()),
            sum(self.num_clipped.values()), num_short_tracklets=len(short), left_out={},
            **{kind: self.counts[kind]
               for kind in ('num_empty', 'num_low', 'num_after_end')})


def _crop(frames: Iterable[np.ndarray], boxes: list[TrackBox],
          writer: _Writer) -> CropReport:
    """Read a video as far as there are boxes."""
    by_frame = {}
    for box in sorted(boxes):
        by_frame.setdefault(box.frame, []).append(box)
    last = max(by_frame)
    with progress_bar(what='cutting out', unit='frame', total=last) as bar:
        for number, frame in enumerate(frames, start=1):
            for box in by_frame.pop(number, ()):
                writer.write(frame, box)
            bar.update()
            if number >= last:
                break
    writer.counts['num_after_end'] = sum(map(len, by_frame.values()))
    return writer.finish()


def _list_frames(video: Path, first_frame: int) -> Optional[list[str]]:
    """Images of a folder, or of a sequence of the MOT challenge; None of a file.

    Raises:
        ValueError: There is no image, or their numbers are not those of the frames.
    """
    info = video if video.suffix == '.ini' else video / 'seqinfo.ini'
    folder, length = video, None
    if info.is_file():
        parser = configparser.ConfigParser()
        try:
            parser.read(info, encoding='utf-8-sig')
            folder = info.parent / parser.get('Sequence', 'imDir', fallback='img1')
            length = parser.getint('Sequence', 'seqLength', fallback=None)
        except (configparser.Error, ValueError) as error:
            raise ValueError(f'{info} is no seqinfo.ini: {error}') from None
    elif (video / 'img1').is_dir():
        folder = video / 'img1'
    if not folder.is_dir():
        return None
    names = list_images(folder)
    if not names or length not in (None, len(names)):
        expected = '' if length is None else f', {info} says {length}'
        raise ValueError(f'{folder} holds {len(names)} images{expected}')
    stems = [re.fullmatch('(.*?)([0-9]+)', Path(name).stem) for name in names]
    if all(stems) and len({stem[1] for stem in stems}) == 1:  # frame_0001, ...
        numbers = [int(stem[2]) for stem in stems]
        for before, after in zip(numbers, numbers[1:]):
            if after != before + 1:
                raise ValueError(f'{folder}: the numbers of the images have gaps or '
                                 f'come twice: {after} follows on {before}')
        if numbers[0] not in (0, 1, first_frame):
            raise ValueError(f'{folder} begins with image {numbers[0]}; if the boxes '
                             f'count from there: --first-frame {numbers[0]}')
    return [str(folder / name) for name in names]


def _read_images(paths: list[str]) -> Iterator[np.ndarray]:
    for path in paths:
        try:
            yield read_image(path)
        except UnreadableImage as error:
            raise UnreadableVideo(f'{path}: {error}') from None


def _check_persons(out_dir: Path, names: list[str], settings: CropSettings) -> None:
    """Raise a FileExistsError where persons would mix with those that are there."""
    there = [name for name in names if (out_dir / name).is_dir()]
    twice = [name for name in there if (out_dir / name / str(settings.camid)).exists()]
    if twice:
        raise FileExistsError(
            f'{out_dir} holds tracklets of camera {settings.camid} of '
            f'{name_some(twice)} already; delete them, choose another --camid or '
            '--out, or tell this video\'s persons apart with --id-prefix')
    if there and not settings.same_ids:
        raise FileExistsError(
            f'{len(there)} ids of this track file are persons in {out_dir} already: '
            f'{name_some(there)}. If both trackers number the same persons alike, say '
            '--same-ids; if not, tell them apart with --id-prefix')


def crop_tracklets(video: PathLike, tracks: PathLike, out_dir: PathLike,
                   settings: CropSettings = DEFAULT_SETTINGS,
                   choice: BoxChoice = ALL_PERSONS) -> CropReport:
    """Cut the tracklets of one camera out of its video.

    The ids of the track file become the pids. Run it once for each camera, into one
    folder, with ``same_ids`` or an ``id_prefix``.

    Args:
        video: Video file, folder of images in the order of time, or folder with (or
            path of) a ``seqinfo.ini`` of the MOT challenge.
        tracks: Track file, see :func:`~.track_files.read_tracks`.
        out_dir: Folder to add ``<pid>/<camid>/<tracklet>/<frame>.jpg`` to.
        settings: What to cut out.
        choice: Which boxes are persons.

    Returns:
        Counts of what was written and what was left out.

    Raises:
        FileNotFoundError: One of the files is not there.
        FileExistsError: ``out_dir`` holds tracklets of this camera and person, or,
            without ``same_ids``, of this person.
        ValueError: The track file is malformed, images and frames do not agree, or no
            tracklet is left.
        UnreadableVideo: No decoder reads the video.
    """
    video, out_dir = Path(video), Path(out_dir)
    images = _list_frames(video, choice.first_frame)
    if images is None and not video.is_file():
        raise FileNotFoundError(f'there is no video {video}')
    boxes, left_out = read_tracks(tracks, choice)
    tracks = sorted({box.track for box in boxes})
    _check_persons(out_dir, list(map(settings.person, tracks)), settings)
    partial = out_dir / f'.partial-{uuid4().hex[:8]}'
    made = [path for path in (out_dir, *out_dir.parents) if not path.exists()]

    def crop(frames: Iterable[np.ndarray]) -> CropReport:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return _crop(frames, boxes, _Writer(partial, settings))

    try:
        report = read_all_frames(video, crop) if images is None \
            else crop(_read_images(images))
        report = report._replace(left_out=left_out)
        if not report.num_tracklets:
            raise ValueError(
                f'{video}: no tracklet is left of {len(boxes)} boxes: '
                f'{"; ".join(report.lines(settings)[2:])}. Allow more with '
                '--min-height, --max-gap, --min-frames or --first-frame')
        for camera in sorted(partial.glob('*/*')):
            if any(camera.iterdir()):
                person = out_dir / camera.parent.name
                person.mkdir(parents=True, exist_ok=True)
                camera.rename(person / camera.name)
        return report
    except BaseException as error:
        for folder in made[-1:]:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UnreadableVideo):
            raise UnreadableVideo(f'{video} cannot be read: {error}') from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
