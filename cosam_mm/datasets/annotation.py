"""Annotation lists of action data sets: one clip a line, checked line by line.

    path/of/clip.avi LABEL                    list of videos
    path/of/frames NUM_FRAMES LABEL           list of extracted frames

Paths may hold spaces and any of ``()&[]!;#``, so fields are taken from the end.
"""
import re
from pathlib import PurePosixPath
from typing import NamedTuple, Optional

__all__ = ['Entry', 'read_annotations', 'read_class_names']


class Entry(NamedTuple):
    """One clip of an annotation list; ``num_frames`` is None for videos."""
    path: str
    num_frames: Optional[int]
    label: int


def _integer(text: str, what: str) -> int:
    if not re.fullmatch(r'[+-]?[0-9]+', text):
        raise ValueError(f'{what} must be an integer, got {text!r}')
    return int(text)


def _parse_line(line: str, num_classes: int, with_frames: bool) -> Entry:
    form = 'PATH NUM_FRAMES LABEL' if with_frames else 'PATH LABEL'
    fields = line.strip().rsplit(None, 2 if with_frames else 1)
    if len(fields) != len(form.split()):
        raise ValueError(f'expected "{form}"')
    path, label = fields[0], _integer(fields[-1], 'the label')
    if not 0 <= label < num_classes:
        raise ValueError(
            f'label {label} is outside [0, {num_classes}): check the list and '
            'num_classes')
    if PurePosixPath(path).is_absolute() or '..' in PurePosixPath(path).parts:
        raise ValueError('the path must stay inside the data root')
    if not with_frames:
        return Entry(path, None, label)
    num_frames = _integer(fields[1], 'the number of frames')
    if num_frames < 1:
        raise ValueError(f'the number of frames must be at least 1, got {num_frames}')
    return Entry(path.rstrip('/'), num_frames, label)


def read_annotations(ann_file: str, num_classes: int,
                     with_frames: bool) -> list[Entry]:
    """Read an annotation list; paths may hold spaces, blank lines are passed over.

    Args:
        ann_file: UTF-8 text file.
        num_classes: Labels lie in [0, num_classes).
        with_frames: Lines are ``PATH NUM_FRAMES LABEL``, not ``PATH LABEL``.

    Raises:
        ValueError: A line is not as described; file, line number and line are
            named. Or the file holds no line, or is not UTF-8.
    """
    entries = []
    try:
        with open(ann_file, encoding='utf-8-sig') as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    entries.append(
                        _parse_numbered(line, number, ann_file, num_classes,
                                        with_frames))
    except UnicodeDecodeError as error:
        raise ValueError(f'{ann_file} is not UTF-8 text: {error}') from error
    if not entries:
        raise ValueError(f'The annotation file {ann_file} is empty.')
    return entries


def _parse_numbered(line: str, number: int, ann_file: str, num_classes: int,
                    with_frames: bool) -> Entry:
    try:
        return _parse_line(line, num_classes, with_frames)
    except ValueError as error:
        raise ValueError(
            f'{ann_file}:{number}: {error}: {line.strip()!r}') from None


def read_class_names(file: str, num_classes: int) -> tuple[str, ...]:
    """Read class names, one a line, and check how many there are."""
    with open(file, encoding='utf-8-sig') as lines:
        names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != num_classes:
        raise ValueError(
            f'{file} names {len(names)} classes, but num_classes is {num_classes}. '
            'Set num_classes of the data set and of model.cls_head to the same '
            'number, or point data_root to the data set you mean.')
    return names
