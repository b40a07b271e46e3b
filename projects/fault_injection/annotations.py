"""Lists, split files and indices broken at random, through loaders and prepare_data.

Each is either refused, with the name of the file, or read; and what is read has to be
right: no clip may come with another label than it has, no image with another person or
camera, no path from outside of the data root. In a tracker's files nothing else says
whose a box is: there an independent parser has to read the same.

Mutant k of seed s is mutant 0 of seed s + k.
"""
import contextlib
import gzip
import math
import random
import re
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from .broken_files import break_bytes, break_lines
from .trials import Child, Options, Trial, Verdict

_LIMIT = 60.
_CLASSES = ('HandstandPushups', 'brush_hair', 'climb', 'climb_stairs', 'kick',
            'kick_ball', 'run', 'sit', 'stand', 'turn', 'walk', 'wave')
_PIDS = (1, 2, 3, 14, 23)
_SUBSETS = ('train', 'query', 'gallery')
# What may refuse a file, and has to name it.
_REFUSALS = (ValueError, FileNotFoundError, FileExistsError)


def annotations(options: Options) -> Iterator[Trial]:
    """Break ``options.count`` files in each family."""
    options.folder.mkdir(parents=True, exist_ok=True)
    log = options.folder / 'annotations.log'
    with contextlib.closing(Child(f'{__name__}:judge', log, _LIMIT)) as child:
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


def make(family: str, folder: Path, seed: int) -> tuple[str, str]:
    """Write a good data root and break one file of it: the fault, and its name."""
    rng = random.Random(f'{family} {seed}')
    folder.mkdir(parents=True)
    name = rng.choice(LAYOUTS[family][0](folder))
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
    """The file with one element of each of its matrices changed."""
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
    _, read, blamed = LAYOUTS[family]
    try:
        with DefaultScope.overwrite_default_scope('mmaction'):
            problem = '; '.join(islice(read(Path(folder)), 3))
    except _REFUSALS as error:
        stem = re.sub(r'\.gz$', '', Path(name).name)
        if not any(known in str(error) for known in (stem, *blamed)):
            return Verdict('lost', f'refused without a name: {error}')
        if '\n' in str(error):
            return Verdict('lost', f'refused in several lines: {error!r}')
        return Verdict('refused')
    return Verdict('lost', problem) if problem else Verdict('read')


def _items(dataset) -> Iterator[dict]:
    """All items of a data set, before its pipeline."""
    return map(dataset.get_data_info, range(len(dataset)))


# -- action recognition --------------------------------------------------------------


def _clips() -> dict[str, int]:
    """Path of each clip -> its label; names as HMDB51 has them."""
    return {f'{name}/{name}_(a&b)[{k}];#!+-@_{label}_{k}.avi': label
            for label, name in enumerate(_CLASSES) for k in range(4)}


def _write(folder: Path, files: dict[str, Iterable[str]], end: str = '\n') -> list[str]:
    """Write text files; their names."""
    for name, lines in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(''.join(f'{line}{end}' for line in lines).encode())
    return list(files)


def _write_lists(folder: Path) -> list[str]:
    (folder / 'videos').mkdir()
    (folder / 'rawframes').mkdir()
    clips = _clips()
    return _write(folder, {
        'videos.txt': [f'{path} {label}' for path, label in clips.items()],
        'frames.txt': [f'{path[:-4]} 20 {label}' for path, label in clips.items()],
        'demo_classes.txt': _CLASSES})


def _read_lists(folder: Path) -> Iterator[str]:
    for kind, ann_file, prefix in (('Video', 'videos.txt', dict(video='videos')),
                                   ('Frame', 'frames.txt', dict(img='rawframes'))):
        root = folder / next(iter(prefix.values()))
        yield from _check_clips(root, type=f'Action{kind}Dataset', ann_file=ann_file,
                                data_root=str(folder), data_prefix=prefix)


def _check_clips(root: Path, **settings) -> Iterator[str]:
    """What is wrong with the clips of a data set and their labels.

    A clip that does not exist has no label that could be wrong.
    """
    from mmaction.registry import DATASETS
    labels = {Path(clip).with_suffix(''): known for clip, known in _clips().items()}
    dataset = DATASETS.build(dict(name='demo', num_classes=len(_CLASSES), pipeline=[],
                                  **settings))
    for item in _items(dataset):
        path = Path(item.get('filename', item.get('frame_dir')))
        if not path.resolve().is_relative_to(root.resolve()):
            yield f'{path} is outside'
            continue
        inside = path.relative_to(root)
        for known in {inside, inside.with_suffix('')} & set(labels):
            if labels[known] != item['label']:
                yield f'label {item["label"]} for {inside}, which has {labels[known]}'


def _write_videos(folder: Path) -> None:
    for path in _clips():
        (folder / 'videos' / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / 'videos' / path).write_bytes(b'RIFF')


def _write_hmdb51(folder: Path) -> list[str]:
    _write_videos(folder)
    _write(folder, {f'splits/{name}_test_split{split}.txt': [
        f'{path.partition("/")[2]} {(k + split) % 3}'
        for k, path in enumerate(_clips()) if path.startswith(f'{name}/')]
        for name in _CLASSES for split in (1, 2, 3)}, ' \n')
    return [f'splits/{name}_test_split1.txt' for name in _CLASSES]


def _write_ucf101(folder: Path) -> list[str]:
    _write_videos(folder)
    clips = [(k, path.replace('HandstandPushups/', 'HandStandPushups/'), path, label)
             for k, (path, label) in enumerate(_clips().items())]
    names = _write(folder, {'splits/classInd.txt': [
        f'{k} {name}' for k, name in enumerate(_CLASSES, 1)]})
    for split in (1, 2, 3):
        _write(folder, {
            f'splits/trainlist{split:02}.txt': [
                f'{spelt} {label + 1}' for k, spelt, _, label in clips
                if (k + split) % 3],
            f'splits/testlist{split:02}.txt': [
                path for k, _, path, _ in clips if (k + split) % 3 == 0]}, '\r\n')
    return [*names, 'splits/trainlist01.txt', 'splits/testlist01.txt']


def _prepare(parser: str, folder: Path) -> Iterator[str]:
    """Prepare as tools/prepare_data.py does, and load what it wrote."""
    from cosam_mm.datasets import preparation
    out = folder / 'out'
    out.mkdir()
    lists = preparation.PARSERS[parser](folder / 'splits', 'demo')
    located = preparation.locate_clips(
        lists, preparation.index_videos(folder / 'videos'))
    preparation.write_classes(out, lists)
    preparation.write_lists(out, lists, located.found)
    preparation.link_videos(folder / 'videos', out)
    for subset in ('train', 'val'):
        yield from _check_clips(out / 'videos', type='ActionVideoDataset',
                                data_root=str(out), subset=subset)


# -- person re-identification --------------------------------------------------------


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
        _write(folder, {f'info/{part}_name.txt': names})
        savemat(folder / f'info/tracks_{part}_info.mat', {
            f'track_{part}_info': np.array(rows, float)}, do_compression=part == 'test')
    savemat(folder / 'info/query_IDX.mat', dict(
        query_IDX=np.arange(1, 3 * len(_PIDS), 3)[None].astype(float)))
    text = folder / 'info/test_name.txt'
    (folder / 'info/test_name.txt.gz').write_bytes(gzip.compress(text.read_bytes()))
    text.unlink()
    return [f'info/{name}' for name in (
        'train_name.txt', 'test_name.txt.gz', 'tracks_train_info.mat',
        'tracks_test_info.mat', 'query_IDX.mat')]


def _read_mars(folder: Path) -> Iterator[str]:
    from cosam_mm.datasets.reid import MARS
    for subset in _SUBSETS:
        dataset = MARS(str(folder), subset, expected_counts=None, check_images=False)
        seen = set()
        for item in _items(dataset):
            for path in map(Path, item['img_paths']):
                if path in seen:
                    yield f'{path.name} is in two tracklets'
                seen.add(path)
                if not path.resolve().is_relative_to(folder.resolve()):
                    yield f'{path} is outside'
                if not path.exists():
                    continue  # another frame replaces it, and it is listed
                pid = -1 if path.name.startswith('00-1') else int(path.name[:4])
                if (pid, int(path.name[5])) != (item['pid'], item['camid']):
                    yield f'{path.name} as pid {item["pid"]}, camera {item["camid"]}'


def _write_ilids(folder: Path) -> list[str]:
    import numpy as np
    from scipy.io import savemat
    for camid in (1, 2):
        for person in range(1, 13):
            path = folder / f'i-LIDS-VID/sequences/cam{camid}/person{person:03}'
            path.mkdir(parents=True)
            (path / f'cam{camid}_person{person:03}_00001.png').touch()
    name = 'train-test people splits/train_test_splits_ilidsvid.mat'
    (folder / name).parent.mkdir()
    rows = [np.random.RandomState(k).permutation(12) + 1 for k in range(10)]
    savemat(folder / name, dict(ls_set=np.array(rows)))
    return [name]


def _read_ilids(folder: Path) -> Iterator[str]:
    from cosam_mm.datasets.reid import ILIDSVID
    persons = {}
    for subset in _SUBSETS:
        dataset = ILIDSVID(str(folder), subset, expected_counts=None)
        persons[subset] = {item['pid'] for item in _items(dataset)}
        for item in _items(dataset):
            path = item['img_paths'][0]
            camid, person = re.search(r'cam(\d)_person(\d+)', path).groups()
            if (int(person), int(camid)) != (item['pid'], item['camid']):
                yield f'{path} as pid {item["pid"]}'
    if persons['train'] & persons['query'] or persons['query'] != persons['gallery']:
        yield f'persons {persons}'


def _write_tracklets(folder: Path) -> list[str]:
    """Persons, cameras and tracklets as folders; their names are what is broken."""
    return _write(folder, {'names.txt': [
        f'{pid:04}/{camid}/{tracklet}/{frame:03}.jpg' for pid in _PIDS
        for camid in (1, 2) for tracklet in 'ab' for frame in (1, 2, 3)]})


def _read_tracklets(folder: Path) -> Iterator[str]:
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
    pids = {}
    for subset in _SUBSETS:
        for item in _items(TrackletFolder(str(root), subset)):
            persons = {Path(path).relative_to(root).parts[0]
                       for path in item['img_paths']}
            if len(persons) != 1 or pids.setdefault(item['pid'], persons) != persons:
                yield f'pid {item["pid"]} is {persons}'


def _write_tracks(folder: Path) -> list[str]:
    return _write(folder, {'tracks.txt': [
        f'{frame},{track},{10 * track}.5,20,30,{60 + frame},1,-1,-1,-1'
        for frame in range(1, 11) for track in (1, 2, 13)]})


def _read_tracks(folder: Path) -> Iterator[str]:
    from cosam_mm.datasets.preparation.track_files import read_tracks
    boxes = read_tracks(folder / 'tracks.txt').boxes
    found = [tuple(map(float, box)) for box in boxes]
    expected, text = [], (folder / 'tracks.txt').read_bytes().decode('utf-8', 'replace')
    for line in re.split('\r\n|\n|\r', text.lstrip('\ufeff')):
        if line.strip():
            expected.append(tuple(float(field) for field in line.split(',')[:6]))
            if not all(map(math.isfinite, expected[-1])) or len(expected[-1]) < 6:
                yield f'{line!r} was read'
    if found != expected:
        yield f'{len(found)} boxes, {len(expected)} expected'


# Family -> writes a data root and tells which files are to be broken; reads it and
# tells what is wrong; files that a contradiction between two files may be blamed on.
LAYOUTS = {
    'lists': (_write_lists, _read_lists,
              ('videos.txt', 'frames.txt', 'demo_classes.txt')),
    'hmdb51': (_write_hmdb51, partial(_prepare, 'hmdb51'),
               ('_test_split', 'demo_', 'videos')),
    'ucf101': (_write_ucf101, partial(_prepare, 'ucf101'),
               ('classInd.txt', 'list0', 'demo_')),
    'mars': (_write_mars, _read_mars, ('_name.txt', 'tracks_', 'query_IDX.mat')),
    'ilids': (_write_ilids, _read_ilids, ()),
    'tracklets': (_write_tracklets, _read_tracklets, ('persons',)),
    'tracks': (_write_tracks, _read_tracks, ()),
}
