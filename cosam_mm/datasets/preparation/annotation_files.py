"""Annotation lists of action data sets: written whole, and checked when they are read.

    <data_root>/videos/<class>/<clip>.avi
    <data_root>/<name>_classes.txt                          line k: class k
    <data_root>/<name>_{train,val}_split_<k>_videos.txt     class/clip.avi LABEL
    <data_root>/<name>_{train,val}_split_<k>_rawframes.txt  class/clip FRAMES LABEL

Paths may hold spaces and any of ``()&[]!;#``, so fields are taken from the end. A clip
in the folder of a class must have the label of that class: a digit that is lost or
changed would go unnoticed otherwise.
"""
import csv
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Optional, Union

from cosam_mm.utils.io import write_text
from cosam_mm.utils.messages import name_some

from .official_splits import ListedClip, SplitLists, numbered_lines

__all__ = ['Entry', 'annotation_path', 'clip_folder', 'link_videos',
           'read_annotations', 'read_class_names', 'read_list', 'read_names',
           'write_classes', 'write_lines', 'write_lists']

PathLike = Union[str, Path]
_FILE_TITLES = ('file', 'filename', 'path', 'video', 'clip', 'name')
_CLASS_TITLES = ('class', 'label', 'category', 'action')
# (split, subset) -> number of clips.
ListCounts = dict[tuple[int, str], int]


# -- reading -----------------------------------------------------------------


class Entry(NamedTuple):
    """One clip of an annotation list; ``num_frames`` is None for videos."""
    path: str
    num_frames: Optional[int]
    label: int


def _integer(text: str, what: str) -> int:
    if not re.fullmatch(r'[+-]?[0-9]+', text):
        raise ValueError(f'{what} must be an integer, got {text!r}')
    return int(text)


def _parse_line(line: str, num_classes: int, with_frames: bool,
                labels: Mapping[str, int]) -> Entry:
    form = 'PATH NUM_FRAMES LABEL' if with_frames else 'PATH LABEL'
    fields = line.rsplit(None, 2 if with_frames else 1)
    if len(fields) != len(form.split()):
        raise ValueError(f'expected "{form}"')
    path, label = fields[0], _integer(fields[-1], 'the label')
    if not 0 <= label < num_classes:
        raise ValueError(
            f'label {label} is outside [0, {num_classes}): labels count from 0; check '
            'the list and num_classes')
    if PurePosixPath(path).is_absolute() or '..' in PurePosixPath(path).parts:
        raise ValueError('the path must stay inside the data root')
    # The nearest folder that has the name of a class. UCF101 spells some in two ways.
    folder = next((one for one in reversed(PurePosixPath(path).parts[:-1])
                   if one.casefold() in labels), '')
    own = labels.get(folder.casefold(), label)
    if own != label:
        raise ValueError(f'label {label}, but the folder {folder!r} is that of class '
                         f'{own}: check the list and the file of class names')
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
    for number, line in numbered_lines(ann_file):
        try:
            entry = _parse_line(line, num_classes, with_frames, labels)
            label, first = known.setdefault(entry.path, (entry.label, number))
            if label != entry.label:
                raise ValueError(f'the clip has label {label} in line {first}')
        except ValueError as error:
            raise ValueError(f'{ann_file}:{number}: {error}: {line!r}') from None
        entries.append(entry)
    if not entries:
        raise ValueError(f'The annotation file {ann_file} is empty.')
    return entries


def read_class_names(file: str, num_classes: int) -> tuple[str, ...]:
    """Read class names, one a line: so many, and all different.

    Raises:
        ValueError: They are not, or the file is not UTF-8 text.
    """
    names = tuple(line for _, line in numbered_lines(file))
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


# -- lists of others ----------------------------------------------------------


def _rows(file: PathLike) -> Iterator[tuple[str, str, list[str]]]:
    """Place, line and fields: between tabs, commas, semicolons or before the class."""
    lines = numbered_lines(file)
    mark = next((mark for mark in '\t,;' if lines and mark in lines[0][1]), None)
    for number, line in lines:
        row = next(csv.reader([line], delimiter=mark)) if mark else line.rsplit(None, 1)
        yield f'{file}, line {number}', line, [field.strip() for field in row]


def read_list(file: PathLike, videos_dir: PathLike) -> dict[str, str]:
    """Files below the folder of videos and their classes, one a line.

    With a line of titles, as ``file,class``, other columns are passed over.

    Raises:
        ValueError: A line is malformed, leads elsewhere or gives a clip a second class.
    """
    clips, columns = {}, None
    for where, line, row in _rows(file):
        titles = [[k for k, title in enumerate(row) if title.lower() in names]
                  for names in (_FILE_TITLES, _CLASS_TITLES)]
        if all(titles) and not clips and columns is None:
            columns = titles[0][0], titles[1][0]
            continue
        at, of = columns or (0, 1)
        if len(row) <= max(at, of) or not (row[at] and row[of]):
            raise ValueError(f'{where}: expected a file and its class, got {line!r}')
        path = os.path.relpath(os.path.join(videos_dir, row[at]), videos_dir)
        path = path.replace(os.sep, '/')
        if path.startswith('../'):
            raise ValueError(f'{where}: {row[at]} must be below {videos_dir}')
        is_extra = len(row) > 2 and not columns
        if is_extra or clips.setdefault(path, row[of]) != row[of]:
            raise ValueError(
                f'{where}: {path} has several classes, which is not supported. Give it '
                'one, or begin the list with titles, file and class, if these are '
                'other columns')
    if not clips:
        raise ValueError(f'{file} names no clip: expected a file and its class a line')
    return clips


def read_names(file: PathLike, clips: Collection[str]) -> set[str]:
    """The clips that a list names, one a line; a class may stand behind each.

    Raises:
        ValueError: One is none of the clips.
    """
    names = {line if line in clips else row[0] for _, line, row in _rows(file)}
    if not names or not names <= set(clips):
        raise ValueError(
            f'{file} must name clips as {next(iter(clips))}, one a line; unknown are '
            f'{name_some(sorted(names - set(clips))) or "all: it is empty"}')
    return names


# -- writing -----------------------------------------------------------------


def write_lines(path: PathLike, lines: Iterable[str]) -> None:
    """Writes a UTF-8 text file of lines, whole or not at all."""
    write_text(path, ''.join(f'{line}\n' for line in lines))


def annotation_path(data_root: PathLike, name: str, split: int, subset: str,
                    kind: str) -> Path:
    """Where an annotation file lies.

    Example:
        >>> annotation_path('data/demo', 'demo', 1, 'val', 'videos').as_posix()
        'data/demo/demo_val_split_1_videos.txt'
    """
    return Path(data_root) / f'{name}_{subset}_split_{split}_{kind}.txt'


def clip_folder(video: str) -> str:
    """Folder of a video's frames below `rawframes`.

    Example:
        >>> clip_folder('wave/a.b (1).avi')
        'wave/a.b (1)'
    """
    return str(PurePosixPath(video).with_suffix(''))


def write_classes(data_root: PathLike, lists: SplitLists) -> Path:
    """Writes `<name>_classes.txt` and returns its path."""
    path = Path(data_root) / f'{lists.name}_classes.txt'
    write_lines(path, lists.classes)
    return path


def write_lists(data_root: PathLike, lists: SplitLists,
                found: Mapping[ListedClip, str],
                num_frames: Optional[Mapping[str, int]] = None) -> ListCounts:
    """Writes the annotation of every list, for videos or for extracted frames.

    Args:
        data_root: Where to write.
        lists: Parsed split files.
        found: Clip -> path below `videos`; clips that are not in it are left out.
        num_frames: For frames: path of a video -> its number of frames; videos that
            are not in it are left out.

    Returns:
        Lines written, by (split, subset).
    """
    lines = {clip: f'{path} {clip.label}' if num_frames is None else
             f'{clip_folder(path)} {num_frames[path]} {clip.label}'
             for clip, path in found.items()
             if num_frames is None or path in num_frames}
    kind, counts = 'videos' if num_frames is None else 'rawframes', {}
    for (split, subset), clips in lists.clips.items():
        present = [lines[clip] for clip in clips if clip in lines]
        write_lines(annotation_path(data_root, lists.name, split, subset, kind),
                    present)
        counts[split, subset] = len(present)
    return counts


def link_videos(videos_dir: PathLike, data_root: PathLike) -> Path:
    """Makes `<data_root>/videos` lead to the videos, and returns it.

    Raises:
        FileExistsError: `<data_root>/videos` is something else.
    """
    videos, link = Path(videos_dir).resolve(), Path(data_root) / 'videos'
    if link.exists() and link.samefile(videos):
        return link
    if link.is_symlink() or link.exists():
        target = f' and leads to {os.readlink(link)}' if link.is_symlink() else ''
        raise FileExistsError(
            f'{link} is there{target} and is not {videos}: move it away, or choose '
            'another folder to write to')
    link.symlink_to(videos, target_is_directory=True)
    return link
