"""Annotation lists of action data sets: one clip a line, checked line by line.

    path/of/clip.avi LABEL                    list of videos
    path/of/frames NUM_FRAMES LABEL           list of extracted frames

Paths may hold spaces and any of ``()&[]!;#``, so fields are taken from the end. A clip
in the folder of a class must have the label of that class: a digit that is lost or
changed would go unnoticed otherwise.
"""
import re
from collections.abc import Mapping, Sequence
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


def _check_folder(path: str, label: int, labels: Mapping[str, int]) -> None:
    """Raise a ValueError if a clip lies in the folder of another class."""
    folder = PurePosixPath(path).parent.name
    own = labels.get(folder.casefold(), label)  # UCF101 spells some in two ways
    if own != label:
        raise ValueError(f'label {label}, but the folder {folder!r} is that of class '
                         f'{own}: check the list and the file of class names')


def _parse_line(line: str, num_classes: int, with_frames: bool,
                labels: Mapping[str, int]) -> Entry:
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
    _check_folder(path, label, labels)
    if not with_frames:
        return Entry(path, None, label)
    num_frames = _integer(fields[1], 'the number of frames')
    if num_frames < 1:
        raise ValueError(f'the number of frames must be at least 1, got {num_frames}')
    return Entry(path.rstrip('/'), num_frames, label)


def read_annotations(ann_file: str, num_classes: int,
                     with_frames: bool, classes: Sequence[str] = ()) -> list[Entry]:
    """Read an annotation list; paths may hold spaces, blank lines are passed over.

    Args:
        ann_file: UTF-8 text file.
        num_classes: Labels lie in [0, num_classes).
        with_frames: Lines are ``PATH NUM_FRAMES LABEL``, not ``PATH LABEL``.
        classes: Names of the classes, if they are known. Clips in a folder that has
            the name of one must be of that class.

    Raises:
        ValueError: A line is not as described, or gives a clip another label than an
            earlier line; file, line number and line are named. Or the file holds no
            line, or is not UTF-8.
    """
    entries, known = [], {}
    labels = {name.casefold(): label for label, name in enumerate(classes)}
    try:
        with open(ann_file, encoding='utf-8-sig') as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    entries.append(_parse_numbered(
                        line, number, ann_file, num_classes, with_frames, labels,
                        known))
    except UnicodeDecodeError as error:
        raise ValueError(f'{ann_file} is not UTF-8 text: {error}') from error
    if not entries:
        raise ValueError(f'The annotation file {ann_file} is empty.')
    return entries


def _parse_numbered(line: str, number: int, ann_file: str, num_classes: int,
                    with_frames: bool, labels: Mapping[str, int],
                    known: dict[str, tuple[int, int]]) -> Entry:
    try:
        entry = _parse_line(line, num_classes, with_frames, labels)
        label, first = known.setdefault(entry.path, (entry.label, number))
        if label != entry.label:
            raise ValueError(f'the clip has label {label} in line {first}')
        return entry
    except ValueError as error:
        raise ValueError(
            f'{ann_file}:{number}: {error}: {line.strip()!r}') from None


def read_class_names(file: str, num_classes: int) -> tuple[str, ...]:
    """Read class names, one a line: so many, and all different.

    Raises:
        ValueError: They are not, or the file is not UTF-8 text.
    """
    try:
        with open(file, encoding='utf-8-sig') as lines:
            names = tuple(line.strip() for line in lines if line.strip())
    except UnicodeDecodeError as error:
        raise ValueError(f'{file} is not UTF-8 text: {error}') from error
    if len(names) != num_classes:
        raise ValueError(
            f'{file} names {len(names)} classes, but num_classes is {num_classes}. '
            'Set num_classes of the data set and of model.cls_head to the same '
            'number, or point data_root to the data set you mean.')
    known = {}
    for label, name in enumerate(names):
        if known.setdefault(name.casefold(), label) != label:
            raise ValueError(f'{file}: class {label} and class '
                             f'{known[name.casefold()]} have one name, {name!r}.')
    return names
