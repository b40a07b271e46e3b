"""Official split files of HMDB51 and UCF101: parsed, checked, matched with the videos.

Both parsers give the same `SplitLists`, so what follows (finding videos, writing
annotations) does not know which data set it serves. A line that cannot be what
the format says is an error: a list that loses clips silently gives scores that
compare with nothing.

HMDB51: Kuehne et al., *HMDB: A Large Video Database for Human Motion
Recognition*, ICCV 2011. UCF101: Soomro et al., *UCF101: A Dataset of 101 Human
Actions Classes From Videos in The Wild*, CRCV-TR-12-01, 2012.

Copies of these data sets differ from their lists in the case of folder names
(UCF101's `HandstandPushups`) and, once re-encoded, in the file extension. Both
are forgiven when clips are matched with files; annotations then hold the real name.
"""
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Optional, Union

from cosam_mm.utils.io import read_text
from cosam_mm.utils.messages import natural_key

SUBSETS = ('train', 'val')
SPLITS = (1, 2, 3)

_HMDB51_FILE = re.compile(r'(?P<folder>[^.].*)_test_split(?P<split>\d+)\.txt')
_HMDB51_LINE = re.compile(r'(?P<file>[^/\\]+\.\w+)\s+(?P<use>[012])')
_UCF101_CLASS = re.compile(r'(?P<index>\d+)\s+(?P<folder>[^/\\]+)')
_UCF101_TEST = re.compile(r'(?P<folder>[^/\\]+)/(?P<file>[^/\\]+\.\w+)')
_UCF101_TRAIN = re.compile(_UCF101_TEST.pattern + r'\s+(?P<index>\d+)')

# Containers that PyAV and OpenCV open, as people name their files.
_VIDEO = re.compile(
    r'.+\.(3gp|asf|avi|dv|f4v|flv|gif|h26[45]|hevc|m2ts|m[24]v|mjpe?g|mkv|mov|mp4|'
    r'mpe?g|mts|mxf|og[gv]|rm|rmvb|ts|vob|webm|wmv|y4m)', re.IGNORECASE)
_AGAIN = 'get the official split files again'

PathLike = Union[str, Path]
# (class folder, stem), both in folded case -> paths below the video folder.
VideoIndex = dict[tuple[str, str], list[str]]


class ListedClip(NamedTuple):
    """One video as the official lists name it; `label` counts from 0."""

    folder: str
    file_name: str
    label: int

    @property
    def path(self) -> str:
        """Path below the video folder, as listed."""
        return f'{self.folder}/{self.file_name}'


@dataclass(frozen=True)
class SplitLists:
    """All lists of one data set."""

    name: str                  # stem of annotation files: 'hmdb51', 'ucf101', 'demo'
    classes: tuple[str, ...]   # names; the position is the label
    clips: dict[tuple[int, str], list[ListedClip]]  # (split, subset), in files' order
    # Clips that some split lists for neither training nor testing.
    unused: frozenset[ListedClip] = frozenset()

    def used_clips(self) -> list[ListedClip]:
        """Clips that at least one list holds, each once, by label, then name."""
        return sorted(set().union(*self.clips.values()), key=lambda clip: (
            clip.label, clip.folder, clip.file_name))


class OfficialCounts(NamedTuple):
    """What a complete set of split files holds: `clips[split]` = (train, val)."""

    num_classes: int
    clips: dict[int, tuple[int, int]]


OFFICIAL_COUNTS = {
    'hmdb51': OfficialCounts(51, {split: (3570, 1530) for split in SPLITS}),
    'ucf101': OfficialCounts(
        101, {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}),
}


def parse_hmdb51_splits(
    splits_dir: PathLike, name: str = 'hmdb51', splits: tuple[int, ...] = SPLITS
) -> SplitLists:
    """Reads `<class>_test_split<k>.txt` files: `name.avi 0|1|2` a line.

    0 is unused, 1 training, 2 test. Labels follow the alphabet of class names. Subset
    'val' is the official test list.

    Args:
        splits_dir: Folder of the split files.
        name: What annotation files of this data set are called.
        splits: Splits to read; every class needs a file for each.

    Raises:
        FileNotFoundError: No split file there, or a class lacks one.
        ValueError: A line is malformed, or a list names a clip twice.
    """
    folder = Path(splits_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} is not a folder: expected the split files')
    names = (path.name for path in folder.iterdir())
    classes = tuple(sorted({
        match['folder'] for match in map(_HMDB51_FILE.fullmatch, names) if match}))
    if not classes:
        raise FileNotFoundError(
            f'{folder} holds no split file: expected <class>_test_split1.txt and so '
            f'on, the content of the folder testTrainMulti_7030_splits')
    clips = {(split, subset): [] for split in splits for subset in SUBSETS}
    unused = set()
    for label, class_name in enumerate(classes):
        for split in splits:
            path = folder / f'{class_name}_test_split{split}.txt'
            for clip, use in _parse_hmdb51_file(path, class_name, label):
                if use:
                    clips[split, SUBSETS[use - 1]].append(clip)
                else:
                    unused.add(clip)
    return SplitLists(name, classes, clips, frozenset(unused))


def parse_ucf101_splits(
    splits_dir: PathLike, name: str = 'ucf101', splits: tuple[int, ...] = SPLITS
) -> SplitLists:
    """Reads `classInd.txt`, `trainlist0<k>.txt` and `testlist0<k>.txt`.

    Class indices count from 1 in the files and become labels from 0. A folder in
    a list is matched to its class whatever its case ('HandstandPushups' occurs as
    'HandStandPushups'), and the clip gets the spelling of classInd.txt. Arguments are
    those of `parse_hmdb51_splits`.

    Raises:
        FileNotFoundError: One of the files is not there.
        ValueError: A line is malformed, names an unknown class, carries another
            class's index, or names a clip that the split already holds.
    """
    folder = Path(splits_dir)
    classes = _parse_class_index(folder / 'classInd.txt')
    clips = {}
    for split in splits:
        seen = {}
        for subset, stem, pattern in (('train', 'trainlist', _UCF101_TRAIN),
                                      ('val', 'testlist', _UCF101_TEST)):
            path = folder / f'{stem}{split:02d}.txt'
            clips[split, subset] = _parse_ucf101_file(path, pattern, classes, seen)
    return SplitLists(name, classes, clips)


PARSERS = {'hmdb51': parse_hmdb51_splits, 'ucf101': parse_ucf101_splits}


def check_counts(lists: SplitLists, official: OfficialCounts) -> None:
    """Raises a ValueError for the first count that is not the published one."""
    if len(lists.classes) != official.num_classes:
        raise ValueError(
            f'the split files of {lists.name} name {len(lists.classes)} classes, '
            f'expected {official.num_classes}: {_AGAIN}')
    for split, expected in official.clips.items():
        for subset, count in zip(SUBSETS, expected):
            found = len(lists.clips[split, subset])
            if found != count:
                raise ValueError(
                    f'the split files of {lists.name} list {found} {subset} clips in '
                    f'split {split}, expected {count}: {_AGAIN}')


def numbered_lines(path: PathLike) -> list[tuple[int, str]]:
    """Lines with text, stripped, with their numbers from 1.

    Raises:
        FileNotFoundError, ValueError: As :func:`~cosam_mm.utils.io.read_text`.
    """
    return [(number, line.strip())
            for number, line in enumerate(read_text(path).split('\n'), 1)
            if line.strip()]


def _read_lines(path: Path, what: str = 'clip') -> list[tuple[int, str]]:
    """Numbered lines of an official file, at least one."""
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is not there: the lists are incomplete, {_AGAIN}')
    lines = numbered_lines(path)
    if not lines:
        raise ValueError(f'{path} names no {what}: {_AGAIN}')
    return lines


def _malformed(path: Path, number: int, line: str, expected: str) -> ValueError:
    return ValueError(f'{path}, line {number}: {line!r}: expected {expected}')


def _check_new(seen: dict, key: object, path: Path, number: int, line: str) -> None:
    """Raise a ValueError where a clip is listed twice."""
    if key in seen:
        raise _malformed(
            path, number, line,
            f'each clip once in a split, this one stands in {seen[key]} already')
    seen[key] = f'{path.name}, line {number}'


def _matched(path: Path, pattern: re.Pattern, expected: str, what: str = 'clip'
             ) -> Iterator[tuple[re.Match, int, str]]:
    """Each line's match, its number and the line."""
    for number, line in _read_lines(path, what):
        match = pattern.fullmatch(line)
        if match is None:
            raise _malformed(path, number, line, expected)
        yield match, number, line


def _parse_hmdb51_file(path: Path, folder: str, label: int
                       ) -> Iterator[tuple[ListedClip, int]]:
    seen = {}
    for match, number, line in _matched(
            path, _HMDB51_LINE, "a file name and 0, 1 or 2, as in 'clip_name.avi 1' "
            '(0 unused, 1 training, 2 test)'):
        _check_new(seen, match['file'], path, number, line)
        yield ListedClip(folder, match['file'], label), int(match['use'])


def _parse_class_index(path: Path) -> tuple[str, ...]:
    classes = []
    for match, number, line in _matched(
            path, _UCF101_CLASS, "an index and a class name, as in '1 ApplyEyeMakeup'",
            'class'):
        if int(match['index']) != len(classes) + 1:
            raise _malformed(path, number, line,
                             f'index {len(classes) + 1} and a class name')
        if match['folder'].casefold() in map(str.casefold, classes):
            raise _malformed(path, number, line, 'each class once')
        classes.append(match['folder'])
    return tuple(classes)


def _parse_ucf101_file(path: Path, pattern: re.Pattern, classes: tuple[str, ...],
                       seen: dict) -> list[ListedClip]:
    labels = {class_name.casefold(): k for k, class_name in enumerate(classes)}
    has_index, clips = 'index' in pattern.groupindex, []
    example = 'Archery/v_Archery_g01_c01.avi' + (' 3' if has_index else '')
    for match, number, line in _matched(
            path, pattern, f"class/file{' and class index' if has_index else ''}, "
            f"as in '{example}'"):
        label = labels.get(match['folder'].casefold())
        if label is None:
            raise _malformed(path, number, line, 'a class that classInd.txt names')
        if has_index and int(match['index']) != label + 1:
            raise _malformed(
                path, number, line,
                f'index {label + 1}, that of {classes[label]} in classInd.txt')
        # The same clip in training and test list is a leak, so both share `seen`.
        _check_new(seen, (label, match['file']), path, number, line)
        clips.append(ListedClip(classes[label], match['file'], label))
    return clips


# -- videos on disk ----------------------------------------------------------


class LocatedClips(NamedTuple):
    """What of the lists is on disk."""

    found: dict[ListedClip, str]   # clip -> its real path below the video folder
    missing: list[ListedClip]      # clips of which no file is there
    num_unlisted: int              # videos that no list names, unused ones included


def list_videos(videos_dir: PathLike) -> tuple[list[str], list[str]]:
    """Paths of videos, and of other files, below a folder, in natural order.

    Linked folders are followed; hidden files and folders are passed over.

    Raises:
        FileNotFoundError: `videos_dir` is not a folder.
    """
    if not Path(videos_dir).is_dir():
        raise FileNotFoundError(
            f'{videos_dir} is not a folder: expected a folder per class')
    found, seen = ([], []), set()
    for folder, folders, names in os.walk(videos_dir, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:  # links in a circle
            folders[:], names = [], []
        seen.add(place)
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in names:
            if not name.startswith('.'):
                path = Path(folder, name).relative_to(videos_dir).as_posix()
                found[_VIDEO.fullmatch(name) is None].append(path)
    return tuple(sorted(paths, key=natural_key) for paths in found)


def find_videos(videos_dir: PathLike) -> tuple[dict[str, str], Counter]:
    """Path -> class of videos below a folder per class, and endings of other files.

    Raises:
        FileNotFoundError: There is no such folder, or no folder of a class in it.
    """
    videos, others = list_videos(videos_dir)
    clips = {path: path.split('/')[0] for path in videos if '/' in path}
    endings = Counter(PurePosixPath(path).suffix or 'no ending' for path in others)
    if not clips:
        raise FileNotFoundError(
            f'{videos_dir} holds no <class>/<video>, but {len(videos)} videos in no '
            f'folder and other files: {dict(endings) or "none"}. Put the videos of '
            'each class into a folder, or name files and classes in a list (--list)')
    return clips, endings


def index_videos(videos_dir: PathLike) -> VideoIndex:
    """Looks for `<class>/<clip>.<video extension>` one folder deep.

    Empty files are passed over: a broken download leaves them behind.

    Raises:
        FileNotFoundError: `videos_dir` is not a folder.
    """
    index = {}
    for path in list_videos(videos_dir)[0]:
        folder, _, name = path.partition('/')
        if name and '/' not in name and Path(videos_dir, path).stat().st_size:
            index.setdefault(_key(folder, name), []).append(path)
    return index


def match_video(clip: ListedClip, index: VideoIndex) -> Optional[str]:
    """The path of the file that comes closest to what the list says, or None.

    Folder, stem and extension as listed win in this order.

    Example:
        >>> clip = ListedClip('HandStandPushups', 'a.avi', 36)
        >>> match_video(clip, {('handstandpushups', 'a'): ['HandstandPushups/a.mp4']})
        'HandstandPushups/a.mp4'
    """
    listed = PurePosixPath(clip.path)

    def distance(candidate: str) -> tuple:
        path = PurePosixPath(candidate)
        return path.parent != listed.parent, path.stem != listed.stem, path != listed

    return min(index.get(_key(clip.folder, clip.file_name), []), key=distance,
               default=None)


def locate_clips(lists: SplitLists, index: VideoIndex) -> LocatedClips:
    """Finds the video of every clip that a list holds.

    Clips that all splits leave unused are not looked for: their absence is no gap.
    """
    used = lists.used_clips()
    found = {clip: match_video(clip, index) for clip in used}
    listed = {_key(clip.folder, clip.file_name) for clip in (*used, *lists.unused)}
    return LocatedClips(
        {clip: path for clip, path in found.items() if path is not None},
        [clip for clip in used if found[clip] is None],
        sum(len(paths) for key, paths in index.items() if key not in listed))


def _key(folder: str, file_name: str) -> tuple[str, str]:
    return folder.casefold(), PurePosixPath(file_name).stem.casefold()
