"""Track files: boxes of persons and of other things in the frames of a video.

    frame,id,x,y,w,h                            the least
    frame,id,x,y,w,h,confidence,-1,-1,-1        results of trackers, MOT15
    frame,id,x,y,w,h,flag,x,y,z                 MOT15 ground truth, world x, y, z
    frame,id,x,y,w,h,flag,class,visibility      MOT16, MOT17, MOT20 ground truth, CVAT
    frame,id,x,y,w,h,confidence,class,-1        trackers of several classes
    frame,id,x,y,w,h,flag,class,cut,occlusion   VisDrone ground truth

Between fields stand commas, semicolons, spaces or tabs. Frames count from 1, flag 0
marks what is to be ignored, and class 1 is a pedestrian (motchallenge.net/instructions;
Milan et al., *MOT16*, 2016, on its data format; TrackEval keeps the same boxes). A file
``labels.txt`` beside the track file names the classes from 1 on (CVAT, Datumaro). A
class 0 is a person in COCO's numbering (Ultralytics, BoxMOT, whose whole numbers turn
confidences into 0) and a region to be ignored in VisDrone's, where 1 is a pedestrian.
"""
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

from cosam_mm.utils.io import read_text

__all__ = ['BoxChoice', 'TrackBox', 'TrackFile', 'read_tracks']

_FORMAT = 'frame,id,x,y,w,h[,confidence[,class[,visibility]]]'
_MOT_CLASSES = dict(zip(map(str, range(1, 14)), (
    'pedestrian', 'person on vehicle', 'car', 'bicycle', 'motorbike',
    'non motorized vehicle', 'static person', 'distractor', 'occluder',
    'occluder on the ground', 'occluder full', 'reflection', 'crowd')))
_PERSONS = ('person', 'pedestrian')


class TrackBox(NamedTuple):
    """One line of a track file; pixels, from the left upper corner of the frame."""

    frame: int  # from 1
    track: int  # the tracker's number for the person, from 0
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class BoxChoice:
    """Which boxes of a track file are persons to keep.

    Args:
        classes: Numbers or names of classes. Default: persons, where the file tells
            them from others.
        min_confidence: Least confidence. Default: any, but not flag 0 where the
            column holds flags only.
        min_visibility: Least share that is visible. Default: any above 0.
        first_frame: Number of the video's first frame in the file.
    """

    classes: Optional[Sequence[str]] = None
    min_confidence: Optional[float] = None
    min_visibility: Optional[float] = None
    first_frame: int = 1


class TrackFile(NamedTuple):
    """What is kept of a track file, and how many boxes are not, by reason."""

    boxes: list[TrackBox]  # in the file's order
    left_out: dict[str, int]


def _whole(text: str, smallest: int, what: str) -> int:
    number = float(text)  # MATLAB writes '1.0' or '1e+02'
    if not number.is_integer() or number < smallest:
        raise ValueError(f'the {what} must be a whole number, {smallest} or more')
    return int(number)


def _parse_line(line: str, first_frame: int) -> tuple[TrackBox, list[str]]:
    """The box of a line, and the fields after it; track -1 has no number."""
    mark = next((mark for mark in ',;' if mark in line), None)
    fields = [field.strip() for field in line.strip().rstrip(mark or ' ').split(mark)]
    if len(fields) < 6:
        raise ValueError(f'{len(fields)} fields')
    advice = ' (of a file that counts from 0: --first-frame 0)' if first_frame else ''
    # The frame comes last: lines of other formats begin with a 0 as well.
    box = [float(field) for field in fields[2:6]]
    if not all(map(isfinite, box)):
        raise ValueError('the box must be finite')
    track = _whole(fields[1], -1, 'id')
    frame = _whole(fields[0], first_frame, f'frame{advice}')
    return TrackBox(frame - first_frame + 1, track, *box), fields[6:]


def _as_name(text: str) -> str:
    """A class as it is compared: '1.0' is '1', names are in lower case."""
    try:
        return f'{float(text):g}'
    except ValueError:
        return text.lower()


class _Columns(NamedTuple):
    """What the fields after the boxes mean; None where a file does not have it."""

    confidence: Optional[np.ndarray]
    classes: Optional[np.ndarray]  # numbers or names, as text
    visibility: Optional[np.ndarray]
    is_visdrone: bool

    @property
    def is_flag(self) -> bool:
        """Whether the confidences are flags."""
        is_coco = self.classes is not None and '0' in self.classes
        return self.confidence is not None and set(self.confidence) <= {0, 1} \
            and (self.is_visdrone or not is_coco)


def _read_columns(extras: Sequence[Sequence[str]]) -> _Columns:
    width = max(3, *map(len, extras))
    columns = np.array([[_as_name(text) for text in row] + ['-1'] * (width - len(row))
                        for row in extras]).T
    is_used = (columns != '-1').any(axis=1)
    numbers = []
    for column in columns[:3]:
        try:
            numbers.append(column.astype(float))
        except ValueError:  # names
            numbers.append(None)
    confidence, number, share = numbers
    is_visdrone = width > 3 and set(columns[2:].ravel()) <= set('012')
    # Else the fields are world coordinates, as those of MOT15.
    has_classes = is_used[1] and share is not None and all(
        value == -1 or 0 <= value <= 1 for value in share) and (
            number is None or all(value % 1 == 0 and value >= -1 for value in number)
        ) and (is_visdrone or not is_used[3:].any())
    return _Columns(confidence if is_used[0] else None,
                    columns[1] if has_classes else None,
                    share if has_classes and is_used[2] and not is_visdrone else None,
                    has_classes and is_visdrone)


def _name_classes(columns: _Columns, labels: Path) -> dict[str, str]:
    """Names of classes by number, as far as they are known."""
    if labels.is_file():
        names = read_text(labels, errors='replace').splitlines()
        return {str(k): name.strip().lower() for k, name in enumerate(names, start=1)}
    found = set(columns.classes) - {'-1'}
    is_mot = columns.is_flag and columns.visibility is not None
    if is_mot and found <= set(_MOT_CLASSES):
        return _MOT_CLASSES
    if columns.is_visdrone:
        return {'0': 'ignored region', '1': 'pedestrian', '2': 'people'}
    return {'0': 'person'} if '0' in found else \
        {'1': 'person'} if found == {'1'} else {}


def _other_classes(columns: _Columns, choice: BoxChoice, path: Path) -> dict[str, str]:
    """Classes that are not wanted, as messages call them."""
    names = _name_classes(columns, path.with_name('labels.txt'))
    found = Counter(columns.classes.tolist())
    wanted = set(_PERSONS if choice.classes is None else map(_as_name, choice.classes))
    others = {own: f'class {own}' + (f' ({names[own]})' if own in names else '')
              for own in sorted(found) if not wanted & {own, names.get(own)}}
    if len(others) == len(found):
        counts = ', '.join(f'{others[own]}: {found[own]} boxes' for own in others)
        raise ValueError(f'{path}: none of the classes is known to be persons, or is '
                         f'wanted: {counts}; name those of persons with --classes')
    return others


def _reasons(columns: _Columns, choice: BoxChoice, path: Path, tracks: np.ndarray
             ) -> list[tuple[str, np.ndarray]]:
    """Why boxes are left out, and which; the first reason of a box counts."""
    for option, column in (('classes', columns.classes),
                           ('min_visibility', columns.visibility),
                           ('min_confidence', columns.confidence)):
        if column is None and getattr(choice, option) is not None:
            raise ValueError(f'{path} does not tell the {option.split("_")[-1]} of its '
                             f'boxes: --{option.replace("_", "-")} cannot be used')
    reasons = [('without an id', tracks < 0)]
    if columns.classes is not None:
        reasons += [(title, columns.classes == own) for own, title in
                    _other_classes(columns, choice, path).items()]
    for name, least, values, title in (
            ('confidence', choice.min_confidence,
             columns.confidence, 'flag 0 (to be ignored)' if columns.is_flag else ''),
            ('visibility', choice.min_visibility, columns.visibility, 'visibility 0')):
        if least is not None:
            reasons.append((f'{name} below {least:g}', ~(values >= least)))
        elif title and values is not None:
            reasons.append((title, values == 0))
    return reasons


def read_tracks(path: Union[str, Path], choice: BoxChoice = BoxChoice()
                ) -> TrackFile:
    """Read the boxes of persons from a track file, see above.

    The frame's left upper corner is 0, 0. Blank lines and lines that begin with # are
    skipped.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is malformed or names a track twice in a frame, no box is
            kept, what is chosen by is not in the file, or it has several classes of
            which none is known to be persons.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no track file {path}')
    parsed = []
    # Undecodable bytes make a malformed line, which is then shown.
    lines = read_text(path, errors='replace').splitlines()
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith('#'):
            try:
                parsed.append((number, line, *_parse_line(line, choice.first_frame)))
            except ValueError as error:
                raise _malformed(path, number, line, error) from None
    if not parsed:
        raise ValueError(f'{path} holds no box; expected lines {_FORMAT}')
    columns = _read_columns([extra for *_, extra in parsed])
    tracks = np.array([box.track for _, _, box, _ in parsed])
    kept, left_out = np.ones(len(parsed), bool), {}
    for reason, is_out in _reasons(columns, choice, path, tracks):
        if count := int((kept & is_out).sum()):
            left_out[reason] = count
            kept &= ~is_out
    boxes = {}
    for number, line, box, _ in (parsed[row] for row in np.flatnonzero(kept)):
        if box[:2] in boxes:
            raise _malformed(path, number, line,
                             f'id {box.track} comes twice in frame {box.frame}')
        boxes[box[:2]] = box
    if not boxes:
        advice = '; detections have no ids until a tracker links them' \
            if (tracks < 0).all() else ''
        raise ValueError(f'{path}: no box is left: {left_out}{advice}')
    return TrackFile(list(boxes.values()), left_out)


def _malformed(path: Path, number: int, line: str, error) -> ValueError:
    return ValueError(f'{path}, line {number}: {line[:100]!r}: {error}; expected '
                      f'{_FORMAT}')
