"""Official split files of HMDB51 and UCF101: parse them and check their counts.

Both parsers give the same `SplitLists`, so what follows (finding videos, writing
annotations) does not know which data set it serves. A line that cannot be what
the format says is an error: a list that loses clips silently gives scores that
compare with nothing.

HMDB51: Kuehne et al., *HMDB: A Large Video Database for Human Motion
Recognition*, ICCV 2011. UCF101: Soomro et al., *UCF101: A Dataset of 101 Human
Actions Classes From Videos in The Wild*, CRCV-TR-12-01, 2012.
"""
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple, Union

SUBSETS = ('train', 'val')
SPLITS = (1, 2, 3)

_HMDB51_FILE = re.compile(r'(?P<folder>[^.].*)_test_split(?P<split>\d+)\.txt')
_HMDB51_LINE = re.compile(r'(?P<file>[^/\\]+\.\w+)\s+(?P<use>[012])')
_UCF101_CLASS = re.compile(r'(?P<index>\d+)\s+(?P<folder>[^/\\]+)')
_UCF101_TEST = re.compile(r'(?P<folder>[^/\\]+)/(?P<file>[^/\\]+\.\w+)')
_UCF101_TRAIN = re.compile(_UCF101_TEST.pattern + r'\s+(?P<index>\d+)')

PathLike = Union[str, Path]


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
    """All lists of one data set.

    Attributes:
        name: Stem of the annotation files: 'hmdb51', 'ucf101', 'demo'.
        classes: Class names; the position is the label.
        clips: (split, subset) -> clips, in the order of the files.
        unused: Clips that some split lists for neither training nor testing.
    """

    name: str
    classes: tuple[str, ...]
    clips: dict[tuple[int, str], list[ListedClip]]
    unused: frozenset[ListedClip] = frozenset()

    def used_clips(self) -> list[ListedClip]:
        """Clips that at least one list holds, each once, by label, then name."""
        return sorted(set().union(*self.clips.values()), key=_label_then_name)


@dataclass(frozen=True)
class OfficialCounts:
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

    0 is unused, 1 training, 2 test. Labels follow the alphabet of class names.

    Args:
        splits_dir: Folder of the split files.
        name: What annotation files of this data set are called.
        splits: Splits to read; every class needs a file for each.

    Returns:
        The lists, subset 'val' being the official test lists.

    Raises:
        FileNotFoundError: No split file there, or a class lacks one.
        ValueError: A line is malformed, or a list names a clip twice.
    """
    folder = Path(splits_dir)
    classes = tuple(sorted({
        match['folder'] for match in map(_HMDB51_FILE.fullmatch, _names(folder))
        if match}))
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
    'HandStandPushups'), and the clip gets the spelling of classInd.txt.

    Args:
        splits_dir: Folder of the split files.
        name: What annotation files of this data set are called.
        splits: Splits to read.

    Returns:
        The lists, subset 'val' being the official test lists.

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


PARSERS: dict[str, Callable[[PathLike], SplitLists]] = {
    'hmdb51': parse_hmdb51_splits,
    'ucf101': parse_ucf101_splits,
}


def check_counts(lists: SplitLists, official: OfficialCounts) -> None:
    """Compares the lists with the published counts.

    Args:
        lists: Parsed split files.
        official: What they should hold.

    Raises:
        ValueError: The first count that differs, found and expected.
    """
    if len(lists.classes) != official.num_classes:
        raise ValueError(
            f'the split files of {lists.name} name {len(lists.classes)} classes, '
            f'expected {official.num_classes}: get the official files again')
    for split, expected in official.clips.items():
        for subset, count in zip(SUBSETS, expected):
            found = len(lists.clips[split, subset])
            if found != count:
                raise ValueError(
                    f'the split files of {lists.name} list {found} {subset} clips in '
                    f'split {split}, expected {count}: get the official files again')


def _label_then_name(clip: ListedClip) -> tuple[int, str, str]:
    return clip.label, clip.folder, clip.file_name


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} is not a folder: expected the split files')
    return [path.name for path in folder.iterdir()]


def _read_lines(path: Path) -> list[tuple[int, str]]:
    """Non-empty lines, stripped, with their numbers from 1."""
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is not there: the lists are incomplete, get the official split '
            'files again')
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not a UTF-8 text file: {error}') from None
    numbered = enumerate(text.split('\n'), start=1)
    return [(number, line.strip()) for number, line in numbered if line.strip()]


def _malformed(path: Path, number: int, line: str, expected: str) -> ValueError:
    return ValueError(f'{path}, line {number}: {line!r}: expected {expected}')


def _check_new(seen: dict, key: object, path: Path, number: int, line: str) -> None:
    if key in seen:
        raise _malformed(
            path, number, line,
            f'each clip once in a split, this one stands in {seen[key]} already')
    seen[key] = f'{path.name}, line {number}'


def _parse_hmdb51_file(
    path: Path, folder: str, label: int
) -> list[tuple[ListedClip, int]]:
    entries, seen = [], {}
    for number, line in _read_lines(path):
        match = _HMDB51_LINE.fullmatch(line)
        if match is None:
            raise _malformed(
                path, number, line,
                "a file name and 0, 1 or 2, as in 'clip_name.avi 1' "
                '(0 unused, 1 training, 2 test)')
        _check_new(seen, match['file'], path, number, line)
        entries.append((ListedClip(folder, match['file'], label), int(match['use'])))
    if not entries:
        raise ValueError(f'{path} lists no clip: get the official split files again')
    return entries


def _parse_class_index(path: Path) -> tuple[str, ...]:
    classes = []
    for number, line in _read_lines(path):
        match = _UCF101_CLASS.fullmatch(line)
        if match is None or int(match['index']) != len(classes) + 1:
            raise _malformed(
                path, number, line,
                f"index {len(classes) + 1} and a class name, as in "
                f"'{len(classes) + 1} ApplyEyeMakeup'")
        if match['folder'].casefold() in map(str.casefold, classes):
            raise _malformed(path, number, line, 'each class once')
        classes.append(match['folder'])
    if not classes:
        raise ValueError(f'{path} names no class: get the official split files again')
    return tuple(classes)


def _parse_ucf101_file(
    path: Path, pattern: re.Pattern, classes: tuple[str, ...], seen: dict
) -> list[ListedClip]:
    labels = {class_name.casefold(): k for k, class_name in enumerate(classes)}
    has_index = 'index' in pattern.groupindex
    example = 'Archery/v_Archery_g01_c01.avi' + (' 3' if has_index else '')
    clips = []
    for number, line in _read_lines(path):
        match = pattern.fullmatch(line)
        if match is None:
            raise _malformed(
                path, number, line,
                f"class/file{' and class index' if has_index else ''}, "
                f"as in '{example}'")
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
    if not clips:
        raise ValueError(f'{path} lists no clip: get the official split files again')
    return clips
