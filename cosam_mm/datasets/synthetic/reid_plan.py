"""What a drawn data set consists of, and how to draw any piece of it again.

Every identity, camera and tracklet has a generator of its own, derived from the seed
and its number, so that no file depends on which others are drawn, or when.
"""
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .camera import Camera, draw_camera
from .person import PERSONS_PER_WARDROBE, Person, draw_person
from .walking_tracklet import (
    DEFAULT_DIFFICULTY,
    Difficulty,
    DrawnTracklet,
    draw_tracklet,
)

JUNK_PID, DISTRACTOR_PID = -1, 0
TRACKLETS_PER_CAMERA = 2
MIN_FRAMES, MAX_FRAMES = 8, 16
# First word of a generator's key, so that no two kinds of thing share a stream.
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

    def image_name(self, frame: int) -> str:
        """File name of a frame, counted from 1."""
        return f'{self.folder}C{self.camid}T{self.number:04d}F{frame:03d}.jpg'


class ReIDPlan(NamedTuple):
    """What a data set consists of, before anything is drawn.

    Args:
        train, test: Tracklets in the order of the index files.
        query: Those of ``test`` that are queries.
    """

    train: list
    test: list
    query: list


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def dataset_person(seed: int, pid: int, accessories: float) -> Person:
    """The person behind an identity of a data set.

    Args:
        seed: Seed of the data set.
        pid: Identity, from 1.
        accessories: Of the data set's difficulty.
    """
    wardrobe = (pid - 1) // PERSONS_PER_WARDROBE
    return draw_person(
        _rng(seed, _PERSON, pid), _rng(seed, _WARDROBE, wardrobe), accessories)


def dataset_camera(seed: int, camid: int) -> Camera:
    """A camera of a data set, by its number from 1."""
    return draw_camera(_rng(seed, _CAMERA), camid - 1)


def _spoil(camera: Camera, rng: np.random.Generator) -> Camera:
    """A camera whose boxes hold a piece of a person, as junk does."""
    offset = tuple((rng.choice((-1, 1), 2) * rng.uniform(0.25, 0.45, 2)).tolist())
    return replace(camera, fill=float(rng.uniform(1.3, 2.2)), offset=offset)


def draw_listed_tracklet(key: TrackletKey, seed: int = 0, size: tuple = (64, 32),
                         difficulty: Difficulty = DEFAULT_DIFFICULTY) -> DrawnTracklet:
    """Draw one tracklet of a data set again.

    Args:
        key: Which.
        seed: Seed of the data set.
        size: Height and width of its images.
        difficulty: Of the data set.

    Returns:
        The frames of the files before compression, and the visible person.
    """
    rng = _rng(seed, _TRACKLET, key.pid - JUNK_PID, key.camid, key.number)
    num_frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
    camera = dataset_camera(seed, key.camid)
    if key.pid > DISTRACTOR_PID:
        person = dataset_person(seed, key.pid, difficulty.accessories)
    else:
        person = draw_person(rng, accessories=difficulty.accessories)
    if key.pid == JUNK_PID:
        camera = _spoil(camera, rng)
    return draw_tracklet(person, camera, rng, num_frames, size, difficulty)


def _others(pid: int, num_tracklets: int, num_cameras: int) -> list:
    """Junk or distractors, dealt out to the cameras in turn."""
    keys = [TrackletKey(pid, 1 + k % num_cameras, 1 + k // num_cameras)
            for k in range(num_tracklets)]
    return sorted(keys)


def plan_reid_dataset(num_train_pids: int, num_test_pids: int, num_cameras: int,
                      seed: int, num_distractors: int, num_junk: int) -> ReIDPlan:
    """List the tracklets of a data set; arguments of :func:`draw_reid_dataset`.

    Of each test identity and camera one tracklet, drawn by lot, is a query.
    """
    def tracklets(pids):
        return [TrackletKey(pid, camid, number) for pid in pids
                for camid in range(1, num_cameras + 1)
                for number in range(1, TRACKLETS_PER_CAMERA + 1)]

    test_pids = range(num_train_pids + 1, num_train_pids + num_test_pids + 1)
    query = [
        TrackletKey(pid, camid, int(
            _rng(seed, _QUERY, pid, camid).integers(1, TRACKLETS_PER_CAMERA + 1)))
        for pid in test_pids for camid in range(1, num_cameras + 1)
    ]
    test = [*_others(JUNK_PID, num_junk, num_cameras),
            *_others(DISTRACTOR_PID, num_distractors, num_cameras),
            *tracklets(test_pids)]
    return ReIDPlan(tracklets(range(1, num_train_pids + 1)), test, query)
