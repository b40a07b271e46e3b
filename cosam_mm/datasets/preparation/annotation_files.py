"""Annotation files as MMAction2 lays them out, written so that none is ever half.

    <data_root>/videos/<class>/<clip>.avi
    <data_root>/<name>_classes.txt                          line k: class k
    <data_root>/<name>_{train,val}_split_<k>_videos.txt     class/clip.avi LABEL
    <data_root>/<name>_{train,val}_split_<k>_rawframes.txt  class/clip FRAMES LABEL

Paths may contain spaces, so readers take fields from the end of a line.
"""
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Union

from .official_splits import ListedClip, SplitLists

PathLike = Union[str, Path]
# (split, subset) -> number of clips.
ListCounts = dict[tuple[int, str], int]


def write_lines(path: PathLike, lines: Iterable[str]) -> None:
    """Writes a UTF-8 text file in one step: a reader sees the old or the new one.

    Args:
        path: File to make or replace.
        lines: Its lines, without line ends.
    """
    path = Path(path)
    beside = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        beside.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def annotation_path(
    data_root: PathLike, name: str, split: int, subset: str, kind: str
) -> Path:
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


def write_video_lists(
    data_root: PathLike, lists: SplitLists, found: Mapping[ListedClip, str]
) -> ListCounts:
    """Writes the annotation of every list for videos.

    Args:
        data_root: Where to write.
        lists: Parsed split files.
        found: Clip -> path below `videos`; clips that are not in it are left out.

    Returns:
        Lines written, by (split, subset).
    """
    lines = {clip: f'{path} {clip.label}' for clip, path in found.items()}
    return _write_lists(data_root, lists, lines, 'videos')


def write_rawframe_lists(
    data_root: PathLike,
    lists: SplitLists,
    found: Mapping[ListedClip, str],
    num_frames: Mapping[str, int],
) -> ListCounts:
    """Writes the annotation of every list for extracted frames.

    Args:
        data_root: Where to write.
        lists: Parsed split files.
        found: Clip -> path of its video below `videos`.
        num_frames: Path of a video -> its number of frames; videos that are not in
            it are left out.

    Returns:
        Lines written, by (split, subset).
    """
    lines = {clip: f'{clip_folder(path)} {num_frames[path]} {clip.label}'
             for clip, path in found.items() if path in num_frames}
    return _write_lists(data_root, lists, lines, 'rawframes')


def link_videos(videos_dir: PathLike, data_root: PathLike) -> Path:
    """Makes `<data_root>/videos` lead to the videos.

    Args:
        videos_dir: Folder of the videos.
        data_root: Folder that gets the link, unless its `videos` is that folder.

    Returns:
        The path of the link.

    Raises:
        FileExistsError: `<data_root>/videos` is something else.
    """
    videos, link = Path(videos_dir).resolve(), Path(data_root) / 'videos'
    if link.exists() and link.samefile(videos):
        return link
    if link.is_symlink():
        raise FileExistsError(
            f'{link} leads to {os.readlink(link)}, not to {videos}: remove the link, '
            'or choose another folder to write to')
    if link.exists():
        raise FileExistsError(
            f'{link} is there and is not {videos}: move it away, or choose another '
            'folder to write to')
    link.symlink_to(videos, target_is_directory=True)
    return link


def _write_lists(
    data_root: PathLike, lists: SplitLists, lines: Mapping[ListedClip, str], kind: str
) -> ListCounts:
    counts = {}
    for (split, subset), clips in lists.clips.items():
        present = [lines[clip] for clip in clips if clip in lines]
        path = annotation_path(data_root, lists.name, split, subset, kind)
        write_lines(path, present)
        counts[split, subset] = len(present)
    return counts
