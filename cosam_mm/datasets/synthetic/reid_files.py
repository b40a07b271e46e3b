"""Drawn tracklets as files in MARS's layout, with index files of their own.

    OUT/bbox_train/0001/0001C1T0001F001.jpg     pid, camera, tracklet, frame
    OUT/bbox_test/{00-1,0000,0031,...}/...      junk, distractors, test identities
    OUT/info/train_name.txt, test_name.txt      file names, one a line
    OUT/info/tracks_{train,test}_info.mat       first, last name (from 1), pid, camera
    OUT/info/query_IDX.mat                      tracks of the test part (from 1)
    OUT/info/attributes.csv                     pid,handbag,backpack,hat,umbrella
    OUT/reid_demo.json                          parameters, marks a finished set

A data set appears under its name only when all of it is there.
"""
from collections.abc import Callable, Iterator
from dataclasses import asdict
from io import BytesIO
from operator import index
from pathlib import Path

import cv2
import numpy as np

from cosam_mm.utils.progress import progress_bar

from .finished_folder import check_finished, write_marker, written_at_once
from .person import ATTRIBUTES
from .reid_plan import (
    ReIDPlan,
    dataset_camera,
    dataset_person,
    draw_listed_tracklet,
    plan_reid_dataset,
)
from .walking_tracklet import DEFAULT_DIFFICULTY, Difficulty

MARKER = 'reid_demo.json'
_FORMAT = 1
_MAX_CAMERAS, _MAX_PIDS = 9, 9999  # what the file names have digits for


def _write_image(path: Path, frame: np.ndarray, quality: int) -> None:
    """Encode an RGB frame (H, W, 3)."""
    good, data = cv2.imencode(
        '.jpg', frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise OSError(f'{path} cannot be encoded')
    path.write_bytes(data.tobytes())


def _write_tracklets(folder: Path, keys: list, parameters: dict,
                     report: Callable[[], object]) -> list:
    """Draw and write tracklets, report each; returns the file names of each."""
    names = []
    for key in keys:
        drawn = draw_listed_tracklet(
            key, parameters['seed'], tuple(parameters['size']),
            Difficulty(**parameters['difficulty']))
        (folder / key.folder).mkdir(parents=True, exist_ok=True)
        names.append([key.image_name(k) for k in range(1, len(drawn.frames) + 1)])
        quality = dataset_camera(parameters['seed'], key.camid).jpeg_quality
        for name, frame in zip(names[-1], drawn.frames):
            _write_image(folder / key.folder / name, frame, quality)
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
    flat = [name for tracklet in names for name in tracklet]
    (info / f'{subset}_name.txt').write_text(
        ''.join(f'{name}\n' for name in flat), encoding='utf-8')
    last = np.cumsum([len(tracklet) for tracklet in names])
    first = last - [len(tracklet) - 1 for tracklet in names]
    who = np.array([key[:2] for key in keys])
    _write_matrix(info / f'tracks_{subset}_info.mat', f'track_{subset}_info',
                  np.column_stack([first, last, who]).astype(np.int32))


def _write_attributes(path: Path, parameters: dict) -> None:
    """Write what each identity carries."""
    num_pids = parameters['num_train_pids'] + parameters['num_test_pids']
    lines = [','.join(('pid', *ATTRIBUTES))]
    for pid in range(1, num_pids + 1):
        person = dataset_person(
            parameters['seed'], pid, parameters['difficulty']['accessories'])
        lines.append(','.join(map(str, (pid, *person.attributes.values()))))
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def _plan(parameters: dict) -> ReIDPlan:
    names = ('num_train_pids', 'num_test_pids', 'num_cameras', 'seed',
             'num_distractors', 'num_junk')
    return plan_reid_dataset(*(parameters[name] for name in names))


def _expected_files(out_dir: Path, plan: ReIDPlan) -> Iterator[Path]:
    """Index files, and the first image of each tracklet: how many it has is drawn."""
    for name in ('train_name.txt', 'test_name.txt', 'tracks_train_info.mat',
                 'tracks_test_info.mat', 'query_IDX.mat', 'attributes.csv'):
        yield out_dir / 'info' / name
    for folder, keys in (('bbox_train', plan.train), ('bbox_test', plan.test)):
        for key in keys:
            yield out_dir / folder / key.folder / key.image_name(1)


def _check(parameters: dict) -> None:
    smallest = dict(num_train_pids=1, num_test_pids=1, num_cameras=2, seed=0,
                    num_distractors=0, num_junk=0)
    for name, low in smallest.items():
        if parameters[name] < low:
            raise ValueError(
                f'{name} is {parameters[name]}; allowed: {low} and above')
    if parameters['num_cameras'] > _MAX_CAMERAS:
        raise ValueError(f'num_cameras is {parameters["num_cameras"]}; MARS\'s file '
                         f'names have room for {_MAX_CAMERAS}')
    num_pids = parameters['num_train_pids'] + parameters['num_test_pids']
    if num_pids > _MAX_PIDS:
        raise ValueError(f'num_train_pids + num_test_pids is {num_pids}; MARS\'s file '
                         f'names have room for {_MAX_PIDS}')


def draw_reid_dataset(out_dir, num_train_pids: int = 60, num_test_pids: int = 60,
                      num_cameras: int = 3, seed: int = 0, size: tuple = (64, 32),
                      num_distractors: int = 18, num_junk: int = 9,
                      difficulty: Difficulty = DEFAULT_DIFFICULTY,
                      progress: bool = True) -> Path:
    """Draw a re-ID data set in MARS's layout.

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

    Returns:
        ``out_dir`` as a path.

    Raises:
        ValueError: An argument is out of range, or ``out_dir`` holds something else.
        OSError: The files cannot be written.
    """
    out_dir = Path(out_dir)
    parameters = dict(
        format=_FORMAT, num_train_pids=index(num_train_pids),
        num_test_pids=index(num_test_pids), num_cameras=index(num_cameras),
        seed=index(seed), size=[index(side) for side in size],
        num_distractors=index(num_distractors), num_junk=index(num_junk),
        difficulty=asdict(difficulty))
    _check(parameters)
    plan = _plan(parameters)
    if check_finished(out_dir / MARKER, parameters, 'drawn re-ID data set',
                      _expected_files(out_dir, plan), 'files'):
        return out_dir
    with written_at_once(out_dir) as partial:
        _write_dataset(partial, plan, parameters, progress)
    return out_dir


def _write_dataset(folder: Path, plan: ReIDPlan, parameters: dict,
                   progress: bool) -> None:
    """Write all files, the marker last."""
    info = folder / 'info'
    info.mkdir()
    with progress_bar(what='drawing tracklets', unit='tracklet', show=progress,
                      total=len(plan.train) + len(plan.test)) as bar:
        for subset, keys in (('train', plan.train), ('test', plan.test)):
            names = _write_tracklets(
                folder / f'bbox_{subset}', keys, parameters, bar.update)
            _write_index(info, subset, keys, names)
    places = {key: number for number, key in enumerate(plan.test, start=1)}
    query = np.array([[places[key] for key in plan.query]], np.float64)
    _write_matrix(info / 'query_IDX.mat', 'query_IDX', query)
    _write_attributes(info / 'attributes.csv', parameters)
    write_marker(folder / MARKER, parameters)
