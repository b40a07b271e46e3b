"""Tracklets cut out of a video by the boxes of a tracker.

    tracks (MOT format)     frame,id,x,y,w,h[,...]       one box a line, frames from 1
          |                 boxes are padded, clipped to the frame, sorted into
          |                 tracklets: one an id, a new one after a long gap
          v
    OUT/<pid>/<camid>/<tracklet>/<frame>.jpg             what TrackletFolder reads

The video is read once, front to back, and no more than a batch of its frames is in
memory. A camera's folders appear when all of its tracklets are written.
"""
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite
from pathlib import Path
from typing import NamedTuple, Optional, Union
from uuid import uuid4

import numpy as np

from cosam_mm.datasets.video_reader import UnreadableVideo, read_all_frames
from cosam_mm.utils.progress import progress_bar

__all__ = ['CropReport', 'CropSettings', 'TrackBox', 'crop_tracklets', 'read_tracks']

PathLike = Union[str, Path]

_JPEG_QUALITY = 95
_FORMAT = 'frame,id,x,y,w,h[,...]'


class TrackBox(NamedTuple):
    """One line of a track file; pixels, from the left upper corner of the frame."""

    frame: int  # from 1
    track: int  # the tracker's number for the person, from 0
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class CropSettings:
    """What to cut out, and what to leave.

    Args:
        camid: Number of the camera, at least 0.
        padding: What to add on each side, as a share of the box's width and height.
        min_height: Leave out boxes that show fewer rows.
        max_gap: Frames that a track may be lost for in one tracklet.
        min_frames: Leave out tracklets of fewer images.

    Raises:
        ValueError: A value is out of range.
    """

    camid: int = 1
    padding: float = 0.0
    min_height: int = 32
    max_gap: int = 10
    min_frames: int = 4

    def __post_init__(self):
        smallest = dict(camid=0, padding=0, min_height=1, max_gap=0, min_frames=1)
        for name, low in smallest.items():
            value = getattr(self, name)
            if not low <= value < float('inf'):
                raise ValueError(f'{name} is {value!r}; allowed: {low} and above')


DEFAULT_SETTINGS = CropSettings()


class CropReport(NamedTuple):
    """What became of the boxes of a track file."""

    num_tracklets: int  # written
    num_images: int  # in them
    num_clipped: int  # boxes written of which a part lay outside the frame
    num_empty: int  # boxes without any pixel of the frame
    num_low: int  # boxes that show less than ``min_height``
    num_short_tracklets: int  # of fewer images than ``min_frames``
    num_after_end: int  # boxes in frames that the video does not have


def _whole(text: str, smallest: int, what: str) -> int:
    number = float(text)  # MATLAB writes '1.0' or '1e+02'
    if not number.is_integer() or number < smallest:
        raise ValueError(f'the {what} must be a whole number, {smallest} or more')
    return int(number)


def _parse_line(line: str) -> TrackBox:
    fields = line.split(',')
    if len(fields) < 6:
        raise ValueError(f'{len(fields)} fields')
    frame = _whole(fields[0], 1, 'frame')
    track = _whole(fields[1], 0, 'id (-1 is a detection that no tracker has linked)')
    box = [float(field) for field in fields[2:6]]
    if not all(map(isfinite, box)):
        raise ValueError('the box must be finite')
    return TrackBox(frame, track, *box)


def read_tracks(path: PathLike) -> list[TrackBox]:
    """Read a track file in MOT format.

    The frame's left upper corner is 0, 0. What follows the sixth field (confidence,
    class, ...) is not used; blank lines are skipped.

    Returns:
        The boxes in the file's order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is malformed or names a track twice in a frame, or the
            file holds no box.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no track file {path}')
    boxes, seen = [], set()
    # Undecodable bytes make a malformed line, which is then shown.
    text = path.read_text(encoding='utf-8-sig', errors='replace')
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            box = _parse_line(line)
            if box[:2] in seen:
                raise ValueError(f'id {box.track} comes twice in frame {box.frame}')
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: {line[:100]!r}: {error}; '
                             f'expected {_FORMAT}') from None
        seen.add(box[:2])
        boxes.append(box)
    if not boxes:
        raise ValueError(f'{path} holds no box; expected lines {_FORMAT}')
    return boxes


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
        folder = self.folder / f'{box.track:04d}/{self.settings.camid}/{number:04d}'
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
            sum(self.num_clipped.values()), num_short_tracklets=len(short),
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


def crop_tracklets(video: PathLike, tracks: PathLike, out_dir: PathLike,
                   settings: CropSettings = DEFAULT_SETTINGS) -> CropReport:
    """Cut the tracklets of one camera out of its video.

    The ids of the track file become the pids: those of several cameras must name the
    same people. Run it once for each camera, into one folder.

    Args:
        video: Video file.
        tracks: Track file, see :func:`read_tracks`.
        out_dir: Folder to add ``<pid>/<camid>/<tracklet>/<frame>.jpg`` to.
        settings: What to cut out.

    Returns:
        Counts of what was written and what was left out.

    Raises:
        FileNotFoundError: One of the files is not there.
        FileExistsError: ``out_dir`` holds tracklets of this camera and person.
        ValueError: The track file is malformed, or no tracklet is left.
        UnreadableVideo: No decoder reads the video.
    """
    video, out_dir = Path(video), Path(out_dir)
    if not video.is_file():
        raise FileNotFoundError(f'there is no video {video}')
    boxes = read_tracks(tracks)
    for track in sorted({box.track for box in boxes}):
        folder = out_dir / f'{track:04d}' / str(settings.camid)
        if folder.exists():  # tracklets of two runs must not mix
            raise FileExistsError(
                f'{folder} holds tracklets of camera {settings.camid} already; delete '
                'them, or choose another --camid or --out')
    partial = out_dir / f'.partial-{uuid4().hex[:8]}'
    is_new = not out_dir.exists()

    def crop(frames: Iterable[np.ndarray]) -> CropReport:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return _crop(frames, boxes, _Writer(partial, settings))

    try:
        report = read_all_frames(video, crop)
        if not report.num_tracklets:
            raise ValueError(f'no tracklet is left of {len(boxes)} boxes: {report}')
        for camera in sorted(partial.glob('*/*')):
            if any(camera.iterdir()):
                person = out_dir / camera.parent.name
                person.mkdir(parents=True, exist_ok=True)
                camera.rename(person / camera.name)
        return report
    except BaseException as error:
        if is_new:
            shutil.rmtree(out_dir, ignore_errors=True)
        if isinstance(error, UnreadableVideo):
            raise UnreadableVideo(f'{video} cannot be read: {error}') from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
