"""Lists, split files and indices broken at random, through loaders and prepare_data.

Each is either refused, with the name of the file, or read; and what is read has to be
true: no clip may come with another label than it has, no image with another person or
camera, no path from outside of the data root. Track files of a tracker say of each box
whose it is, and nothing else does: there an independent parser has to read the same.

Mutant k of seed s is mutant 0 of seed s + k.
"""
import gzip
import math
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from projects.fault_injection.broken_files import break_bytes, break_lines
from projects.fault_injection.children import Child, Verdict
from projects.fault_injection.harness import Options, Trial

_LIMIT = 60.
_CLASSES = ('HandstandPushups', 'brush_hair', 'climb', 'climb_stairs', 'kick',
            'kick_ball', 'run', 'sit', 'stand', 'turn', 'walk', 'wave')
_PIDS = (1, 2, 3, 14, 23)
# No reason to stop: the name of the file has to be in it.
_REFUSALS = (ValueError, FileNotFoundError, FileExistsError)


def run(options: Options) -> Iterator[Trial]:
    """Break ``options.count`` files in each family."""
    options.folder.mkdir(parents=True, exist_ok=True)
    child = Child('projects.fault_injection.loops.annotations:judge',
                  options.folder / 'annotations.log', _LIMIT)
    try:
        for family in options.families:
            for seed in range(options.seed, options.seed + options.count):
                folder = options.folder / family / str(seed)
                shutil.rmtree(folder, ignore_errors=True)
                fault, name = make(family, folder, seed)
                outcome, problem = child(family, str(folder), name)
                if problem is None:
                    shutil.rmtree(folder)
                else:
                    problem = f'--seed {seed} --count 1, {folder / name}: {problem}'
                yield Trial(family, fault, problem, outcome)
    finally:
        child.close()


def make(family: str, folder: Path, seed: int) -> tuple[str, str]:
    """Write a good data root and break one file of it: the fault, and its name."""
    rng = random.Random(f'{family} {seed}')
    folder.mkdir(parents=True)
    names = _LAYOUTS[family][0](folder)
    name = rng.choice(names)
    path = folder / name
    data = path.read_bytes()
    if name.endswith(('.mat', '.gz')):
        fault, data = break_bytes(data, data, rng)
        if name.endswith('.mat') and rng.random() < 0.5:
            fault, data = 'a number changed', _change_matrix(path, rng)
    else:
        fault, data = break_lines(data.decode().splitlines(), rng)
    path.write_bytes(data)
    return fault, name


def _change_matrix(path: Path, rng: random.Random) -> bytes:
    from scipy.io import loadmat, savemat
    contents = {key: value for key, value in loadmat(path).items()
                if not key.startswith('__')}
    for matrix in contents.values():
        row, column = (rng.randrange(size) for size in matrix.shape)
        matrix[row, column] = rng.choice((
            matrix[row, column] + 1, matrix[row, column] - 1, 0, -1, 10**9,
            matrix[rng.randrange(matrix.shape[0]), column]))
    savemat(path, contents)
    return path.read_bytes()


def judge(family: str, folder: str, name: str) -> Verdict:
    """Load what was broken, in the process that this is called in."""
    from mmengine.registry import DefaultScope

    import cosam_mm  # noqa: F401
    try:
        with DefaultScope.overwrite_default_scope('mmaction'):
            problem = _LAYOUTS[family][1](Path(folder))
    except _REFUSALS as error:
        stem = re.sub(r'\.gz$', '', Path(name).name)
        if not any(known in str(error) for known in (stem, *_BLAMED[family])):
            return Verdict('lost', f'refused without a name: {error}')
        if '\n' in str(error):
            return Verdict('lost', f'refused in several lines: {error!r}')
        return Verdict('refused')
    return Verdict('lost', problem) if problem else Verdict('read')


# Action recognition.

def _clips() -> dict[str, int]:
    """Path of each clip -> its label; names as HMDB51 has them."""
    return {f'{name}/{name}_(a&b)[{k}];#!+-@_{label}_{k}.avi': label
            for label, name in enumerate(_CLASSES) for k in range(4)}


def _write_lists(folder: Path) -> list[str]:
    (folder / 'videos').mkdir()
    (folder / 'rawframes').mkdir()
    (folder / 'demo_classes.txt').write_text('\n'.join(_CLASSES) + '\n')
    clips = _clips()
    (folder / 'videos.txt').write_text(
        ''.join(f'{path} {label}\n' for path, label in clips.items()))
    (folder / 'frames.txt').write_text(
        ''.join(f'{path[:-4]} 20 {label}\n' for path, label in clips.items()))
    return ['videos.txt', 'frames.txt', 'demo_classes.txt']


def _read_lists(folder: Path) -> str:
    from mmaction.registry import DATASETS
    problems = []
    for kind, ann_file, prefix in (('Video', 'videos.txt', dict(video='videos')),
                                   ('Frame', 'frames.txt', dict(img='rawframes'))):
        dataset = DATASETS.build(dict(
            type=f'Action{kind}Dataset', data_root=str(folder), name='demo',
            num_classes=len(_CLASSES), ann_file=ann_file, data_prefix=prefix,
            pipeline=[]))
        root = folder / next(iter(prefix.values()))
        for number in range(len(dataset)):
            item = dataset.get_data_info(number)
            path = Path(item.get('filename', item.get('frame_dir')))
            problems += _check_clip(path, root, item['label'])
    return '; '.join(problems[:3])


def _check_clip(path: Path, root: Path, label: int) -> list[str]:
    """What is wrong with a clip and its label; a clip that is not there has none."""
    truth = {Path(clip).with_suffix(''): known for clip, known in _clips().items()}
    if not path.resolve().is_relative_to(root.resolve()):
        return [f'{path} is outside']
    inside = path.relative_to(root)
    for known in (inside, inside.with_suffix('')):
        if known in truth and truth[known] != label:
            return [f'label {label} for {inside}, which has {truth[known]}']
    return []


def _write_videos(folder: Path) -> None:
    for path in _clips():
        (folder / 'videos' / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / 'videos' / path).write_bytes(b'RIFF')


def _write_hmdb51(folder: Path) -> list[str]:
    _write_videos(folder)
    (folder / 'splits').mkdir()
    for name in _CLASSES:
        for split in (1, 2, 3):
            lines = [f'{path.partition("/")[2]} {(k + split) % 3}'
                     for k, path in enumerate(_clips()) if path.startswith(f'{name}/')]
            (folder / 'splits' / f'{name}_test_split{split}.txt').write_text(
                ' \n'.join(lines) + ' \n')
    return [f'splits/{name}_test_split1.txt' for name in _CLASSES]


def _write_ucf101(folder: Path) -> list[str]:
    _write_videos(folder)
    (folder / 'splits').mkdir()
    (folder / 'splits/classInd.txt').write_text(
        ''.join(f'{k} {name}\n' for k, name in enumerate(_CLASSES, 1)))
    for split in (1, 2, 3):
        clips = list(enumerate(_clips().items()))
        spelt = 'HandStandPushups'
        (folder / f'splits/trainlist{split:02}.txt').write_text(''.join(
            f'{path.replace("HandstandPushups/", spelt + "/")} {label + 1}\r\n'
            for k, (path, label) in clips if (k + split) % 3))
        (folder / f'splits/testlist{split:02}.txt').write_text(''.join(
            f'{path}\r\n' for k, (path, _) in clips if (k + split) % 3 == 0))
    return ['splits/classInd.txt', 'splits/trainlist01.txt', 'splits/testlist01.txt']


def _prepare(parser: str) -> Callable[[Path], str]:
    """Prepare as tools/prepare_data.py does, and load what it wrote."""
    def prepare(folder: Path) -> str:
        from mmaction.registry import DATASETS

        from cosam_mm.datasets import preparation
        out = folder / 'out'
        out.mkdir()
        parse = getattr(preparation, f'parse_{parser}_splits')
        lists = parse(folder / 'splits', 'demo')
        located = preparation.locate_clips(
            lists, preparation.index_videos(folder / 'videos'))
        preparation.write_classes(out, lists)
        preparation.write_video_lists(out, lists, located.found)
        preparation.link_videos(folder / 'videos', out)
        problems = []
        for subset in ('train', 'val'):
            dataset = DATASETS.build(dict(
                type='ActionVideoDataset', data_root=str(out), name='demo',
                subset=subset, num_classes=len(_CLASSES), pipeline=[]))
            for number in range(len(dataset)):
                item = dataset.get_data_info(number)
                problems += _check_clip(
                    Path(item['filename']), out / 'videos', item['label'])
        return '; '.join(problems[:3])
    return prepare


# Person re-identification.

def _write_mars(folder: Path) -> list[str]:
    import numpy as np
    from scipy.io import savemat
    (folder / 'info').mkdir()
    for part in ('train', 'test'):
        names, rows = [], []
        for pid in (*_PIDS, 0, -1) if part == 'test' else _PIDS:
            for camid in (1, 2, 3):
                digits = '00-1' if pid < 0 else f'{pid:04}'
                own = [f'{digits}C{camid}T0001F{frame:03}.jpg' for frame in range(1, 6)]
                (folder / f'bbox_{part}' / digits).mkdir(parents=True, exist_ok=True)
                rows.append((len(names) + 1, len(names) + len(own), pid, camid))
                names += own
        for name in names:
            (folder / f'bbox_{part}' / name[:4] / name).touch()
        (folder / f'info/{part}_name.txt').write_text('\n'.join(names) + '\n')
        savemat(folder / f'info/tracks_{part}_info.mat', {
            f'track_{part}_info': np.array(rows, float)}, do_compression=part == 'test')
    savemat(folder / 'info/query_IDX.mat', dict(
        query_IDX=np.arange(1, 3 * len(_PIDS), 3)[None].astype(float)))
    text = (folder / 'info/test_name.txt').read_bytes()
    (folder / 'info/test_name.txt').unlink()
    (folder / 'info/test_name.txt.gz').write_bytes(gzip.compress(text))
    return [f'info/{name}' for name in (
        'train_name.txt', 'test_name.txt.gz', 'tracks_train_info.mat',
        'tracks_test_info.mat', 'query_IDX.mat')]


def _read_mars(folder: Path) -> str:
    from cosam_mm.datasets.reid import MARS
    problems = []
    for subset in ('train', 'query', 'gallery'):
        dataset = MARS(str(folder), subset, expected_counts=None, check_images=False)
        seen = set()
        for number in range(len(dataset)):
            item = dataset.get_data_info(number)
            for path in map(Path, item['img_paths']):
                if path in seen:
                    problems.append(f'{path.name} is in two tracklets')
                seen.add(path)
                if not path.resolve().is_relative_to(folder.resolve()):
                    problems.append(f'{path} is outside')
                if not path.exists():
                    continue  # another frame takes its place, and it is listed
                pid = -1 if path.name.startswith('00-1') else int(path.name[:4])
                if (pid, int(path.name[5])) != (item['pid'], item['camid']):
                    problems.append(f'{path.name} as pid {item["pid"]}, camera '
                                    f'{item["camid"]}')
    return '; '.join(problems[:3])


def _write_ilids(folder: Path) -> list[str]:
    import numpy as np
    from scipy.io import savemat
    for camid in (1, 2):
        for person in range(1, 13):
            path = folder / f'i-LIDS-VID/sequences/cam{camid}/person{person:03}'
            path.mkdir(parents=True)
            (path / f'cam{camid}_person{person:03}_00001.png').touch()
    splits = folder / 'train-test people splits'
    splits.mkdir()
    rows = [np.random.RandomState(k).permutation(12) + 1 for k in range(10)]
    savemat(splits / 'train_test_splits_ilidsvid.mat', dict(ls_set=np.array(rows)))
    return ['train-test people splits/train_test_splits_ilidsvid.mat']


def _read_ilids(folder: Path) -> str:
    from cosam_mm.datasets.reid import ILIDSVID
    persons, problems = {}, []
    for subset in ('train', 'query', 'gallery'):
        dataset = ILIDSVID(str(folder), subset, expected_counts=None)
        persons[subset] = set()
        for number in range(len(dataset)):
            item = dataset.get_data_info(number)
            camid, person = re.search(r'cam(\d)_person(\d+)', item['img_paths'][0])\
                .groups()
            persons[subset].add(item['pid'])
            if (int(person), int(camid)) != (item['pid'], item['camid']):
                problems.append(f'{item["img_paths"]} as pid {item["pid"]}')
    if persons['train'] & persons['query'] or persons['query'] != persons['gallery']:
        problems.append(f'persons {persons}')
    return '; '.join(problems[:3])


def _write_tracklets(folder: Path) -> list[str]:
    """Persons, cameras and tracklets as folders; their names are what is broken."""
    lines = [f'{pid:04}/{camid}/{tracklet}/{frame:03}.jpg' for pid in _PIDS
             for camid in (1, 2) for tracklet in 'ab' for frame in (1, 2, 3)]
    (folder / 'names.txt').write_text('\n'.join(lines) + '\n')
    return ['names.txt']


def _read_tracklets(folder: Path) -> str:
    import contextlib

    from cosam_mm.datasets.reid import TrackletFolder
    root = folder / 'persons'
    root.mkdir()
    text = (folder / 'names.txt').read_bytes().decode('utf-8', 'surrogateescape')
    for name in text.split('\n'):
        path = root / name.lstrip('/')
        with contextlib.suppress(OSError, ValueError):  # no file can be called so
            if path.resolve().is_relative_to(root) and path != root:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    problems, pids = [], {}
    for subset in ('train', 'query', 'gallery'):
        dataset = TrackletFolder(str(root), subset)
        for number in range(len(dataset)):
            item = dataset.get_data_info(number)
            persons = {Path(path).relative_to(root).parts[0]
                       for path in item['img_paths']}
            if len(persons) != 1 or pids.setdefault(item['pid'], persons) != persons:
                problems.append(f'pid {item["pid"]} is {persons}')
    return '; '.join(problems[:3])


def _write_tracks(folder: Path) -> list[str]:
    (folder / 'tracks.txt').write_text(''.join(
        f'{frame},{track},{10 * track}.5,20,30,{60 + frame},1,-1,-1,-1\n'
        for frame in range(1, 11) for track in (1, 2, 13)))
    return ['tracks.txt']


def _read_tracks(folder: Path) -> str:
    from cosam_mm.datasets.preparation.tracklet_cropping import read_tracks
    found = [tuple(map(float, box)) for box in read_tracks(folder / 'tracks.txt')]
    expected, text = [], (folder / 'tracks.txt').read_bytes().decode('utf-8', 'replace')
    for line in re.split('\r\n|\n|\r', text.lstrip('\ufeff')):
        if line.strip():
            fields = [float(field) for field in line.split(',')[:6]]
            if not all(map(math.isfinite, fields)) or len(fields) < 6:
                return f'{line!r} was read'
            expected.append(tuple(fields))
    return '' if found == expected else f'{len(found)} boxes, {len(expected)} expected'


# Family -> what writes a data root and tells which files are to be broken, and what
# reads it and tells what is wrong.
_LAYOUTS: dict[str, tuple[Callable[[Path], list[str]], Callable[[Path], str]]] = {
    'lists': (_write_lists, _read_lists),
    'hmdb51': (_write_hmdb51, _prepare('hmdb51')),
    'ucf101': (_write_ucf101, _prepare('ucf101')),
    'mars': (_write_mars, _read_mars),
    'ilids': (_write_ilids, _read_ilids),
    'tracklets': (_write_tracklets, _read_tracklets),
    'tracks': (_write_tracks, _read_tracks),
}
FAMILIES = tuple(_LAYOUTS)
# Files that a contradiction between two files may be blamed on.
_BLAMED = {
    'lists': ('videos.txt', 'frames.txt', 'demo_classes.txt'),
    'hmdb51': ('_test_split', 'demo_', 'videos'),
    'ucf101': ('classInd.txt', 'list0', 'demo_'),
    'mars': ('_name.txt', 'tracks_', 'query_IDX.mat'),
    'ilids': (), 'tracklets': ('persons',), 'tracks': ()}
