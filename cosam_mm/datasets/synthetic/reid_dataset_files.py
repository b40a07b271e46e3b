"""Synthetic tracklets as files in MARS's layout, with index files of their own.

    OUT/bbox_train/0001/0001C1T0001F001.jpg     pid, camera, tracklet, frame
    OUT/bbox_test/{00-1,0000,0031,...}/...      junk, distractors, test identities
    OUT/info/train_name.txt, test_name.txt      file names, one a line
    OUT/info/tracks_{train,test}_info.mat       first, last name (from 1), pid, camera
    OUT/info/query_IDX.mat                      tracks of the test part (from 1)
    OUT/info/attributes.csv                     pid,handbag,backpack,hat,umbrella
    OUT/reid_demo.json                          parameters, marks a finished set
"""
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from io import BytesIO
from operator import index
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from cosam_mm.utils.progress import progress_bar

from .camera import Camera, generate_camera
from .generation import SegmentedFrames, generate_folder, stream
from .person import ATTRIBUTES, PERSONS_PER_WARDROBE, Person, generate_person
from .walking_tracklet import DEFAULT_DIFFICULTY, Difficulty, generate_tracklet

__all__ = ['JUNK_PID', 'REID_MARKER', 'TrackletKey', 'dataset_camera', 'dataset_person',
           'dataset_tracklet', 'generate_reid_dataset', 'plan_reid_dataset']

REID_MARKER = 'reid_demo.json'
JUNK_PID, DISTRACTOR_PID = -1, 0
TRACKLETS_PER_CAMERA = 2
MIN_FRAMES, MAX_FRAMES = 8, 16
_MAX_CAMERAS, _MAX_PIDS = 9, 9999  # what the file names have digits for
# First number of a generator's key, so that no two kinds of thing share a stream.
_PERSON, _WARDROBE, _CAMERA, _TRACKLET, _QUERY = range(5)


class TrackletKey(NamedTuple):
    """Names a tracklet: identity, camera from 1, number from 1 among those two's."""

    pid: int
    camid: int
    number: int

    @property
    def folder(self) -> str:
        """Name of the identity's folder."""
        return f'{self.pid:02d}'.rjust(4, '0') if self.pid < 0 else f'{self.pid:04d}'

    @property
    def name(self) -> str:
        """What the names of its images begin with."""
        return f'{self.folder}C{self.camid}T{self.number:04d}'

    def image_name(self, frame: int) -> str:
        """File name of a frame, counted from 1."""
        return f'{self.name}F{frame:03d}.jpg'


class _ReIDPlan(NamedTuple):
    """What a data set consists of, before anything is generated."""

    train: list  # tracklets in the order of the index files
    test: list
    query: list  # those of ``test`` that are queries


def plan_reid_dataset(parameters: dict) -> _ReIDPlan:
    """List the tracklets of a data set, from what its marker says.

    Of each test identity and camera one random tracklet is a query.
    """
    num_cameras, num_train = parameters['num_cameras'], parameters['num_train_pids']

    def tracklets(pids):
        return [TrackletKey(pid, camid, number) for pid in pids
                for camid in range(1, num_cameras + 1)
                for number in range(1, TRACKLETS_PER_CAMERA + 1)]

    def others(pid, num_tracklets):  # dealt out to the cameras in turn
        return sorted(TrackletKey(pid, 1 + k % num_cameras, 1 + k // num_cameras)
                      for k in range(num_tracklets))

    test_pids = range(num_train + 1, num_train + parameters['num_test_pids'] + 1)
    query = [
        TrackletKey(pid, camid, int(stream(parameters['seed'], _QUERY, pid, camid)
                                    .integers(1, TRACKLETS_PER_CAMERA + 1)))
        for pid in test_pids for camid in range(1, num_cameras + 1)
    ]
    test = [*others(JUNK_PID, parameters['num_junk']),
            *others(DISTRACTOR_PID, parameters['num_distractors']),
            *tracklets(test_pids)]
    return _ReIDPlan(tracklets(range(1, num_train + 1)), test, query)


def dataset_person(seed: int, pid: int, accessories: float) -> Person:
    """The person behind an identity (from 1) of a data set of that seed.

    ``accessories`` is that of the data set's difficulty.
    """
    wardrobe = (pid - 1) // PERSONS_PER_WARDROBE
    return generate_person(
        stream(seed, _PERSON, pid), stream(seed, _WARDROBE, wardrobe), accessories)


def dataset_camera(seed: int, camid: int) -> Camera:
    """A camera of a data set, by its number from 1."""
    return generate_camera(stream(seed, _CAMERA), camid - 1)


def dataset_tracklet(key: TrackletKey, seed: int = 0, size: tuple = (64, 32),
                     difficulty: Difficulty = DEFAULT_DIFFICULTY) -> SegmentedFrames:
    """Generate one tracklet of a data set of that seed, size (H, W) and difficulty.

    Its frames are those of the files before compression.
    """
    rng = stream(seed, _TRACKLET, key.pid - JUNK_PID, key.camid, key.number)
    num_frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
    camera = dataset_camera(seed, key.camid)
    if key.pid > DISTRACTOR_PID:
        person = dataset_person(seed, key.pid, difficulty.accessories)
    else:
        person = generate_person(rng, accessories=difficulty.accessories)
    if key.pid == JUNK_PID:  # boxes that hold a piece of a person
        offset = tuple((rng.choice((-1, 1), 2) * rng.uniform(0.25, 0.45, 2)).tolist())
        camera = replace(camera, fill=float(rng.uniform(1.3, 2.2)), offset=offset)
    return generate_tracklet(person, camera, rng, num_frames, size, difficulty)


def _write_tracklets(folder: Path, keys: list, parameters: dict,
                     report: Callable[[], object]) -> list:
    """Generate and write tracklets, report each; the names of each one's files."""
    names = []
    for key in keys:
        frames = dataset_tracklet(
            key, parameters['seed'], tuple(parameters['size']),
            Difficulty(**parameters['difficulty'])).frames
        (folder / key.folder).mkdir(parents=True, exist_ok=True)
        names.append([key.image_name(k) for k in range(1, len(frames) + 1)])
        quality = dataset_camera(parameters['seed'], key.camid).jpeg_quality
        for name, frame in zip(names[-1], frames):
            _, data = cv2.imencode(
                '.jpg', frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            (folder / key.folder / name).write_bytes(data.tobytes())
        report()
    return names


def _write_matrix(path: Path, name: str, matrix: np.ndarray) -> None:
    """Write a MATLAB 5 file without the time of day that scipy puts in its head."""
    from scipy.io import savemat
    data = BytesIO()
    savemat(data, {name: matrix})
    path.write_bytes(b'MATLAB 5.0 MAT-file'.ljust(116) + data.getvalue()[116:])


def _write_index(info: Path, subset: str, keys: list, names: list) -> None:
    """Write the list of files and the table of tracklets of a part."""
    (info / f'{subset}_name.txt').write_text(
        ''.join(f'{name}\n' for tracklet in names for name in tracklet),
        encoding='utf-8')
    last = np.cumsum([len(tracklet) for tracklet in names])
    first = last - [len(tracklet) - 1 for tracklet in names]
    who = np.array([key[:2] for key in keys])
    _write_matrix(info / f'tracks_{subset}_info.mat', f'track_{subset}_info',
                  np.column_stack([first, last, who]).astype(np.int32))


def _write_attributes(path: Path, parameters: dict) -> None:
    """Write what each identity carries."""
    num_pids = parameters['num_train_pids'] + parameters['num_test_pids']
    accessories = parameters['difficulty']['accessories']
    rows = [('pid', *ATTRIBUTES), *(
        (pid, *dataset_person(parameters['seed'], pid, accessories).attributes.values())
        for pid in range(1, num_pids + 1))]
    path.write_text(''.join(','.join(map(str, row)) + '\n' for row in rows))


def _write_reid_dataset(folder: Path, plan: _ReIDPlan, parameters: dict,
                        progress: bool) -> None:
    """Write all but the marker into an empty folder."""
    info = folder / 'info'
    info.mkdir()
    with progress_bar(what='generating tracklets', unit='tracklet', show=progress,
                      total=len(plan.train) + len(plan.test)) as bar:
        for subset, keys in (('train', plan.train), ('test', plan.test)):
            names = _write_tracklets(
                folder / f'bbox_{subset}', keys, parameters, bar.update)
            _write_index(info, subset, keys, names)
    rows = {key: row for row, key in enumerate(plan.test, start=1)}
    query = np.array([[rows[key] for key in plan.query]], np.float64)
    _write_matrix(info / 'query_IDX.mat', 'query_IDX', query)
    _write_attributes(info / 'attributes.csv', parameters)


def _expected_files(out_dir: Path, plan: _ReIDPlan) -> Iterator[Path]:
    """Index files, and the first image of each tracklet: its length is random."""
    for name in ('train_name.txt', 'test_name.txt', 'tracks_train_info.mat',
                 'tracks_test_info.mat', 'query_IDX.mat', 'attributes.csv'):
        yield out_dir / 'info' / name
    for folder, keys in (('bbox_train', plan.train), ('bbox_test', plan.test)):
        for key in keys:
            yield out_dir / folder / key.folder / key.image_name(1)


def _check(parameters: dict) -> None:
    """Raise a ValueError for numbers out of range."""
    num_pids = parameters['num_train_pids'] + parameters['num_test_pids']
    for name, least, most in (
            ('num_train_pids', 1, None), ('num_test_pids', 1, None), ('seed', 0, None),
            ('num_distractors', 0, None), ('num_junk', 0, None),
            ('num_cameras', 2, _MAX_CAMERAS),
            ('num_train_pids + num_test_pids', 2, _MAX_PIDS)):
        value = parameters.get(name, num_pids)
        if value < least or value > (most or value):
            raise ValueError(f'{name} is {value}; allowed: {least} and above' + (
                f", and MARS's file names have room for {most}" if most else ''))


def generate_reid_dataset(out_dir, num_train_pids: int = 60, num_test_pids: int = 60,
                          num_cameras: int = 3, seed: int = 0, size: tuple = (64, 32),
                          num_distractors: int = 18, num_junk: int = 9,
                          difficulty: Difficulty = DEFAULT_DIFFICULTY,
                          progress: bool = True) -> Path:
    """Generate a re-ID data set in MARS's layout; its folder.

    Equal arguments give equal files, byte for byte. A data set that is there
    already with equal arguments is left as it is.

    Args:
        out_dir: Folder to make.
        num_train_pids: Identities 1, 2, ... to train on.
        num_test_pids: Identities that follow, to test on.
        num_cameras: 2 to 9; each sees every identity in two tracklets of 8 to 16
            frames.
        seed: Seed of everything, at least 0.
        size: Height and width of the images in pixels.
        num_distractors: Tracklets of strangers in the test part, pid 0.
        num_junk: Tracklets of misplaced boxes in the test part, pid -1.
        difficulty: How hard to make it.
        progress: Show a bar, where the error stream is a terminal.

    Raises:
        ValueError: An argument is out of range, or ``out_dir`` holds something else.
        OSError: The files cannot be written.
    """
    out_dir = Path(out_dir)
    parameters = dict(
        format=1, num_train_pids=index(num_train_pids),
        num_test_pids=index(num_test_pids), num_cameras=index(num_cameras),
        seed=index(seed), size=[index(side) for side in size],
        num_distractors=index(num_distractors), num_junk=index(num_junk),
        difficulty=asdict(difficulty))
    _check(parameters)
    plan = plan_reid_dataset(parameters)
    return generate_folder(
        out_dir / REID_MARKER, parameters, 're-ID demo data set',
        _expected_files(out_dir, plan),
        partial(_write_reid_dataset, plan=plan, parameters=parameters,
                progress=progress))
