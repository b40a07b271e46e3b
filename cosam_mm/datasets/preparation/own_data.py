"""Videos of your own: checked, split, and a config of a few lines that trains on it.

The recipes of the papers are for thousands of clips and hundreds of persons. Of a small
set an epoch would be a step or two, and gradients that are added up over 16 batches
would move the weights once in some epochs. So an epoch repeats a small set, and nothing
is added up: rate, schedule and number of epochs stay those of the shipped config.
"""
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from statistics import median
from textwrap import dedent
from typing import NamedTuple, Optional, Union

from mmengine.config import Config

from cosam_mm.utils.cli import find_config
from cosam_mm.utils.config import check_classes
from cosam_mm.utils.io import write_text
from cosam_mm.utils.messages import name_some, natural_key, table_lines
from cosam_mm.utils.progress import progress_bar

from .annotation_files import (
    annotation_path,
    link_videos,
    read_annotations,
    read_list,
    read_names,
    write_lines,
)
from .official_splits import PARSERS, find_videos
from .worker_pool import run_jobs

__all__ = ['Prepared', 'group_clips', 'prepare_videos', 'split_groups', 'spread',
           'write_config', 'write_left_out']

PathLike = Union[str, Path]
Clips = dict[str, str]  # path below the folder of videos -> class
# What names of one recording's clips have in common, most telling first.
_RECORDINGS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    # UCF101: clips of one group "may share some common features" (its home page).
    r'(.+_g\d+)_c\d+',
    # HMDB51: <source>_<class>_<body>_<camera>_np<n>_<view>_<quality>_<number>; clips
    # of one source must not be on both sides (Kuehne et al., ICCV 2011).
    r'(.+)_[fhul]_[cn]m_np\d+_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+',
    r'(.+?)[ ._-]*(?:part|pt|clip|seg|segment|scene|shot|cut|chunk)[ ._-]*\d+',
    r'(.+?)[ ._-]+\d+'))
# Steps of an epoch at least: those of the demo config, which learns from scratch.
_STEPS = 20


class Prepared(NamedTuple):
    """A config, what to tell of its data, and a clip to try or tracklet to search."""
    config: Path
    lines: list[str]
    example: Path
    can_validate: bool = True


def write_config(out_dir: Path, text: str, **values) -> Path:
    """Writes a config that mmengine reads and whose numbers of classes agree."""
    text = dedent(text).format(work_dir=str(out_dir.resolve() / 'work_dir'), **{
        key: str(value.resolve()) if isinstance(value, Path) else value
        for key, value in values.items()})
    check_classes(Config.fromstring(text, '.py'), 'train', 'val', 'test')
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(out_dir / 'config.py', text)
    return out_dir / 'config.py'


def spread(name: str, numbers: Iterable[float]) -> list[str]:
    """A row of a table: least, median and largest number."""
    numbers = list(numbers) or [float('nan')]
    return [name, *(f'{one:.0f}' if one % 1 == 0 else f'{one:.2f}'
                    for one in (min(numbers), median(numbers), max(numbers)))]


def write_left_out(out_dir: Path, reasons: dict[str, str]) -> list[str]:
    """Writes what cannot be used and why; lines that name some of it."""
    path = out_dir / 'left_out.txt'
    if not reasons:
        path.unlink(missing_ok=True)  # of an earlier run
        return []
    lines = [f'{name}: {" ".join(why.split())}' for name, why in reasons.items()]
    write_text(path, ''.join(f'{line}\n' for line in lines))
    return [f'warning: {len(lines)} files cannot be used, all named in {path}:',
            *(f'  {line}' for line in lines[:10])]


# -- videos ------------------------------------------------------------------


class ClipFacts(NamedTuple):
    """What decoding a video tells; ``fps`` is 0 where the file does not say."""
    num_frames: int
    height: int
    width: int
    fps: float


_VIDEOS = '''\
    """{title}. Run tools/prepare_data.py folder again where it changes."""
    _base_ = [{base!r}]
    num_classes, num_splits = {num_classes}, 1
    own = dict(data_root={root!r}, name={name!r}, num_classes=num_classes)
    clips = dict(own, type='ActionVideoDataset', subset='train',
                 pipeline=_base_.train_dataloader.dataset.pipeline)
    train_dataloader = dict(  # an epoch shows each clip so many times
        batch_size={batch_size}, drop_last=True, dataset=dict(
            _delete_=True, type='RepeatDataset', times={times}, dataset=clips))
    val_dataloader = dict(dataset=own)
    test_dataloader = dict(dataset=own)
    val_evaluator = test_evaluator = dict(topk={topk})
    model = dict(cls_head=dict(num_classes=num_classes){blending})
    optim_wrapper = dict(accumulative_counts=1)
    work_dir = {work_dir!r}
'''
_BLENDING = ''',
    data_preprocessor=dict(blending=dict(augments=[
        dict(one, num_classes=num_classes)
        for one in _base_.model.data_preprocessor.blending.augments]))'''


def prepare_videos(
        videos_dir: PathLike, out_dir: PathLike, list_file: Optional[PathLike] = None,
        val_list: Optional[PathLike] = None, val_share: float = 0.2,
        group_by: Optional[str] = None, base: str = 'resnext14_cosam_bert_own',
        num_workers: int = 0, time_limit: float = 60.) -> Prepared:
    """Make lists and a config of videos, which stay where they are.

    ``tools/prepare_data.py folder --help`` describes the arguments.

    Raises:
        FileNotFoundError: A file or folder is missing.
        FileExistsError: ``out_dir`` belongs to other videos.
        ValueError: A list, the regex or the config is not as it must be, a class has
            no clip that can be used, or no class can be validated.
    """
    videos_dir, out_dir, base = Path(videos_dir), Path(out_dir), find_config(base)
    inherited = Config.fromfile(base)
    kind = inherited.train_dataloader.dataset.get('type')
    if kind != 'ActionVideoDataset':
        raise ValueError(f'--base {base} trains on {kind}, not on videos')
    clips, others = find_videos(videos_dir) if list_file is None else (
        read_list(list_file, videos_dir), {})
    val = read_names(val_list, clips) if val_list else set()
    facts, reasons = _check_videos(videos_dir, clips, num_workers, time_limit)
    clips = _usable(videos_dir, clips, reasons, val)
    recordings, in_doubt = group_clips(clips, group_by)
    val = val & set(clips) or split_groups(clips, recordings, val_share)
    if not 0 < len(val) < len(clips):
        raise ValueError(
            'nothing is left to train or to validate with: the clips of each class are '
            "of one recording. Give --val-list, or --group-by '(.*)' if each clip is a "
            'recording by itself')
    out_dir.mkdir(parents=True, exist_ok=True)
    link_videos(videos_dir, out_dir)
    name = re.sub(r'\W+', '_', out_dir.resolve().name)
    name = 'own' if name in (*PARSERS, 'demo') else name
    num_classes = _write_lists(out_dir, name, clips, val)
    num_train = len(clips) - len(val)
    title = f'{num_classes} classes, {num_train} clips to train, {len(val)} to validate'
    batch_size = next(size for size in (16, 8, 4, 2) if size <= max(2, num_train / 3))
    config = write_config(
        out_dir, _VIDEOS, title=title, base=base, root=out_dir, name=name,
        num_classes=num_classes, batch_size=batch_size, blending=_BLENDING
        if 'blending' in inherited.model.get('data_preprocessor', ()) else '',
        times=max(1, -(-_STEPS * batch_size // num_train)),
        topk=(1, 3) if num_classes > 3 else (1,))
    return Prepared(config, [
        title, *([f'files that are no videos: {dict(others)}'] if others else []),
        *write_left_out(out_dir, reasons),
        *_describe_videos([facts[path] for path in clips]),
        *_describe_classes(clips, val),
        *_describe_recordings(recordings, val, in_doubt)], videos_dir / min(val))


def _write_lists(out_dir: Path, name: str, clips: Clips, val: set[str]) -> int:
    """Writes classes and the lists of both sides; the number of classes."""
    classes = sorted(set(clips.values()), key=natural_key)
    write_lines(out_dir / f'{name}_classes.txt', classes)
    for subset in ('train', 'val'):
        path = annotation_path(out_dir, name, 1, subset, 'videos')
        write_lines(path, [f'{clip} {classes.index(label)}' for clip, label
                           in clips.items() if (clip in val) == (subset == 'val')])
        read_annotations(path, len(classes), False, classes)  # as training will
    return len(classes)


def _usable(videos_dir: Path, clips: Clips, reasons: dict[str, str], first: set[str]
            ) -> Clips:
    """The clips without a reason against them, to which copies are added."""
    from cosam_mm.datasets.fingerprint import find_copies  # loads torch
    reasons |= find_copies(
        videos_dir, {path: clips[path] for path in clips if path not in reasons}, first)
    kept = {path: label for path, label in clips.items() if path not in reasons}
    lost = sorted(set(clips.values()) - set(kept.values()))
    if lost or len(set(kept.values())) < 2:
        why = ''.join(f'; {path}: {why}' for path, why in list(reasons.items())[:3])
        raise ValueError('there must be two classes, each with a video that can be '
                         f'used; without one: {name_some(lost) or "none"}{why}')
    return kept


def _check_videos(videos_dir: Path, clips: Clips, num_workers: int, time_limit: float
                  ) -> tuple[dict[str, ClipFacts], dict[str, str]]:
    """Facts of the videos that decode from start to end, reasons of the others."""
    found = dict(progress_bar(run_jobs(
        partial(_check, videos_dir, time_limit), list(clips), num_workers,
        lambda path: 'the process that decoded it was killed or crashed'),
        'decoding', 'clip', len(clips)))
    return ({path: found[path] for path in clips if not isinstance(found[path], str)},
            {path: found[path] for path in clips if isinstance(found[path], str)})


def _check(videos_dir: Path, time_limit: float, path: str) -> Union[ClipFacts, str]:
    """Facts of a video, or why it cannot be used."""
    from cosam_mm.datasets.video_reader import VideoReader, read_all_frames
    if path != path.strip() or not path.isprintable():
        return 'a line of a list cannot hold its name: rename it'

    def shapes_of(frames: Iterable) -> list[tuple]:
        return [frame.shape for frame in frames]

    try:
        shapes = read_all_frames(videos_dir / path, shapes_of, time_limit)
        fps = VideoReader(videos_dir / path, time_limit=time_limit).get_avg_fps()
    except RuntimeError as error:  # UnreadableVideo, or a disk that hangs
        return str(error)
    if len(set(shapes)) != 1:
        return 'its frames differ in size' if shapes else 'it holds no frame'
    return ClipFacts(len(shapes), *shapes[0][:2], fps)


def group_clips(clips: Clips, regex: Optional[str] = None
                ) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Tell which clips are of one recording.

    Args:
        clips: Path -> class.
        regex: It is searched for in a path, and what its one group matches names the
            recording; a clip without a match is one by itself. Default: what divides
            the clips of a class into several recordings, folders below the class, else
            names as UCF101's, HMDB51's, ``name_part3`` or ``name_0003``.

    Returns:
        Clip -> recording; and the clips of classes that may be of one recording as a
        whole, which could not be split: each counts as one by itself.

    Raises:
        ValueError: The regex is malformed, has not one group or matches nothing.
    """
    if regex is not None:
        return _match_all(clips, regex), {}
    recordings, in_doubt = {}, {}
    for label in dict.fromkeys(clips.values()):
        own = [path for path in clips if clips[path] == label]
        by_folder, by_name = ({path: recording_of(path, label) for path in own}
                              for recording_of in (_folder, _stem))
        found = next((each for each in (by_folder, by_name)
                      if 1 < len(set(each.values())) < len(own)), None)
        if found is None and len(set(by_name.values())) < len(own):
            in_doubt[label] = own
        recordings |= found or dict(zip(own, own))
    return recordings, in_doubt


def _match_all(clips: Clips, regex: str) -> dict[str, str]:
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise ValueError(f'--group-by {regex!r} is no regex: {error}') from None
    found = {path: pattern.search(path) for path in clips}
    if pattern.groups != 1 or not any(found.values()):
        raise ValueError(f'--group-by {regex!r} must have one group, and match names '
                         f'as {next(iter(clips))}')
    return {path: match[1] if match else path for path, match in found.items()}


def _folder(path: str, label: str) -> str:
    """The folder below that of the class; the path where there is none."""
    folders = PurePosixPath(path).parts[:-1]
    return '/'.join(folders[folders[:1] == (label,):]) or path


def _stem(path: str, label: str) -> str:
    """What the name says of the recording; the path where it says nothing."""
    found = (one.fullmatch(PurePosixPath(path).stem) for one in _RECORDINGS)
    return next((match[1] for match in found if match), path)


def split_groups(clips: Clips, recordings: Mapping[str, str], val_share: float
                 ) -> set[str]:
    """Clips to validate with: whole recordings, about the same share of each class.

    Recordings come in the order of a hash of their names, so equal names give an equal
    split. Every class of several recordings gets one on each side, if they allow it. A
    class of one recording trains only.
    """
    members, count = defaultdict(Counter), Counter(clips.values())
    for path, label in clips.items():
        members[recordings[path]][label] += 1
    several = Counter(label for own in members.values() for label in own)
    share = {label: max(1, round(val_share * number)) * (several[label] > 1)
             for label, number in count.items()}
    order = sorted(members, key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen, taken = set(), Counter()

    def take(name: str, most: Mapping[str, int]) -> None:
        if all(taken[label] + number <= most[label]
               for label, number in members[name].items()):
            chosen.add(name)
            taken.update(members[name])

    for name in order:
        take(name, share)
    # Where each recording is more than the share: the smallest of the class.
    some_train = {label: number - 1 for label, number in count.items()}
    for name in sorted(order, key=lambda name: sum(members[name].values())):
        if any(several[label] > 1 and not taken[label] for label in members[name]):
            take(name, some_train)
    return {path for path in clips if recordings[path] in chosen}


def _describe_videos(facts: Sequence[ClipFacts]) -> list[str]:
    """Table of lengths, sizes and rates."""
    timed = [each for each in facts if each.fps]
    return table_lines(['', 'min', 'median', 'max'], [
        spread('frames', (each.num_frames for each in facts)),
        spread('seconds', (each.num_frames / each.fps for each in timed)),
        spread('frames a second', (each.fps for each in timed)),
        spread('shorter side', (min(each.height, each.width) for each in facts)),
        spread('longer side', (max(each.height, each.width) for each in facts))])


def _describe_classes(clips: Clips, val: set[str]) -> list[str]:
    """Table of clips a class, and what is uneven."""
    train, validated = (Counter(clips[path] for path in clips if (path in val) == side)
                        for side in (False, True))
    lines = table_lines(['class', 'train', 'val'], [
        [label, train[label], validated[label]] for label in train | validated])
    (most, count), *_, (least, lowest) = (train + validated).most_common()
    if count >= 2 * lowest:
        lines.append(f'uneven: {count} clips of {most}, {lowest} of {least}')
    for side, word in ((train, 'trained'), (validated, 'validated')):
        if missing := sorted(set(clips.values()) - set(side)):
            lines.append(f'warning: not {word}, all clips are on the other side: '
                         f'{name_some(missing)}')
    return lines


def _describe_recordings(recordings: dict[str, str], val: set[str],
                         in_doubt: dict[str, list[str]]) -> list[str]:
    """What counts as one recording, what may be one, and what is on both sides."""
    members: dict[str, list[str]] = {}
    for path, name in recordings.items():
        members.setdefault(name, []).append(path)
    lines = [f'{len(members)} recordings; clips of one are on one side, as '
             f"{name_some(paths, 2)} (--group-by '(.*)' parts them)"
             for paths in members.values() if len(paths) > 1][:1]
    both = [name for name, paths in members.items()
            if 0 < len(val.intersection(paths)) < len(paths)]
    if both:
        lines.append(f'warning: recordings on both sides: {name_some(both)}')
    for paths in [*in_doubt.values()][:1]:
        lines.append(
            f'warning: all clips of {name_some(in_doubt)} look like parts of one '
            f'recording, as {name_some(paths, 2)}. If they are, a validation on some '
            'of them flatters: name recordings with --group-by REGEX, as '
            r"'(.*\D)\d+\.', or give --val-list")
    return lines
