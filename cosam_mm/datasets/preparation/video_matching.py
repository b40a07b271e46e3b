"""Which file on disk is the clip that a list names.

Copies of these data sets differ from their lists in the case of folder names
(UCF101's `HandstandPushups`) and, once re-encoded, in the file extension. Both
are forgiven here, in this one place; annotations then hold the real name. File
names are data throughout and never reach a shell.
"""
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional, Union

from .official_splits import ListedClip, SplitLists

VIDEO_EXTENSIONS = ('.avi', '.mp4', '.mkv', '.webm', '.mov')

# (class folder, stem), both in folded case -> paths below the video folder.
VideoIndex = dict[tuple[str, str], list[str]]


@dataclass(frozen=True)
class LocatedClips:
    """What of the lists is on disk.

    Attributes:
        found: Clip -> its real path below the video folder.
        missing: Clips of which no file is there.
        num_unlisted: Videos on disk that no list names, the unused ones included
            in the lists.
    """

    found: dict[ListedClip, str]
    missing: list[ListedClip]
    num_unlisted: int


def index_videos(videos_dir: Union[str, Path]) -> VideoIndex:
    """Looks for `<class>/<clip>.<video extension>` one folder deep.

    Hidden and empty files are passed over: the latter are what a broken download
    leaves behind, and no decoder reads them.

    Args:
        videos_dir: Folder that holds a folder per class.

    Returns:
        Paths below `videos_dir`, by class folder and stem in folded case.

    Raises:
        FileNotFoundError: `videos_dir` is not a folder.
    """
    from cosam_mm.utils.progress import progress_bar
    root = Path(videos_dir)
    if not root.is_dir():
        raise FileNotFoundError(f'{root} is not a folder: expected a folder per class')
    index = {}
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in progress_bar(folders, 'looking for videos', 'class', leave=False):
        for path in sorted(folder.iterdir()):
            if _is_video(path):
                index.setdefault(_key(folder.name, path.name), []).append(
                    f'{folder.name}/{path.name}')
    return index


def match_video(clip: ListedClip, index: VideoIndex) -> Optional[str]:
    """Picks the file that comes closest to what the list says.

    Folder, stem and extension as listed win in this order, then the order of
    `VIDEO_EXTENSIONS`.

    Args:
        clip: The clip as listed.
        index: What `index_videos` found.

    Returns:
        The path below the video folder, or None where there is none.

    Example:
        >>> clip = ListedClip('HandStandPushups', 'a.avi', 36)
        >>> match_video(clip, {('handstandpushups', 'a'): ['HandstandPushups/a.mp4']})
        'HandstandPushups/a.mp4'
    """
    listed = PurePosixPath(clip.path)

    def distance(candidate: str) -> tuple:
        path = PurePosixPath(candidate)
        extension = path.suffix.lower()
        return (path.parent != listed.parent, path.stem != listed.stem,
                extension != listed.suffix.lower(), VIDEO_EXTENSIONS.index(extension),
                candidate)

    candidates = index.get(_key(clip.folder, clip.file_name), [])
    return min(candidates, key=distance, default=None)


def locate_clips(lists: SplitLists, index: VideoIndex) -> LocatedClips:
    """Finds the video of every clip that a list holds.

    Clips that all splits leave unused are looked for by nobody: their absence is
    no gap.

    Args:
        lists: Parsed split files.
        index: What `index_videos` found.

    Returns:
        What is there, what is missing, and how many videos no list names.
    """
    used = lists.used_clips()
    found = {clip: match_video(clip, index) for clip in used}
    missing = [clip for clip in used if found[clip] is None]
    listed = {_key(clip.folder, clip.file_name) for clip in (*used, *lists.unused)}
    num_unlisted = sum(
        len(paths) for key, paths in index.items() if key not in listed)
    return LocatedClips(
        {clip: path for clip, path in found.items() if path is not None},
        missing, num_unlisted)


def _is_video(path: Path) -> bool:
    return (not path.name.startswith('.') and path.suffix.lower() in VIDEO_EXTENSIONS
            and path.is_file() and path.stat().st_size > 0)


def _key(folder: str, file_name: str) -> tuple[str, str]:
    return folder.casefold(), PurePosixPath(file_name).stem.casefold()
