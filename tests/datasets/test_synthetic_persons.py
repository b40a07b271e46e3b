"""Synthetic persons: who they are, and how tracklets of them look."""
from dataclasses import asdict, replace
from functools import partial

import cv2
import numpy as np
import pytest

from cosam_mm.datasets.synthetic.camera import generate_camera
from cosam_mm.datasets.synthetic.person import (
    ATTRIBUTES,
    PERSONS_PER_WARDROBE,
    generate_person,
)
from cosam_mm.datasets.synthetic.reid_dataset_files import (
    TrackletKey,
    dataset_person,
    dataset_tracklet,
)
from cosam_mm.datasets.synthetic.walking_tracklet import Difficulty, generate_tracklet

EASY = Difficulty(clutter=0, occlusion=0, accessories=0, misalignment=0)


def person_of(seed=0):
    return generate_person(np.random.default_rng(seed), accessories=0)


def camera_of(index=0, **changes):
    return replace(generate_camera(np.random.default_rng(0), index), **changes)


def tracklet_of(person=None, camera=None, seed=0, num_frames=8, **levels):
    return generate_tracklet(
        person or person_of(), camera or camera_of(), np.random.default_rng(seed),
        num_frames, difficulty=replace(EASY, **levels))


def test_persons_of_a_wardrobe_share_their_main_colours_and_little_else():
    people = [dataset_person(0, pid, 0.5) for pid in range(1, 31)]
    for first in range(0, 30, PERSONS_PER_WARDROBE):
        group = people[first:first + PERSONS_PER_WARDROBE]
        for name in ('upper', 'lower'):
            colours = np.array([getattr(person, name) for person in group])
            assert np.ptp(colours, axis=0).max() <= 10
        others = {(person.pattern, person.lower_kind, person.coat, person.hair_style,
                   *person.attributes.values()) for person in group}
        assert len(others) == len(group)
    assert len({person.upper for person in people}) == 30


@pytest.mark.parametrize(('accessories', 'low', 'high'), [
    (0, 0, 0), (0.5, 0.2, 0.4), (1, 0.5, 0.7)])
def test_accessories_set_how_much_is_carried_and_nothing_else(accessories, low, high):
    people = [dataset_person(1, pid, accessories) for pid in range(1, 401)]
    carried = np.array([list(person.attributes.values()) for person in people])
    assert set(np.unique(carried)) <= {0, 1}
    for column, name in enumerate(ATTRIBUTES):
        factor = 0.5 if name == 'umbrella' else 1
        assert factor * low <= carried[:, column].mean() <= factor * high
    for pid, person in enumerate(people[:10], 1):
        bare = asdict(dataset_person(1, pid, 0))
        assert {name for name, value in asdict(person).items()
                if value != bare[name]} <= set(ATTRIBUTES)


@pytest.mark.parametrize(('key', 'size', 'difficulty', 'means', 'areas'), [
    ((1, 1, 1), (64, 32), Difficulty(), [102.312, 106.189, 108.928], [757, 707, 653]),
    ((5, 2, 1), (64, 32), Difficulty(1, 1, 1, 1), [97.644, 74.709, 107.253],
     [584, 226, 679]),
    ((-1, 3, 1), (96, 48), Difficulty(), [82.908, 97.119, 111.994],
     [1231, 989, 1235]),
    ((0, 2, 1), (64, 32), Difficulty(0, 0, 1, .5), [94.727, 91.952, 91.412, 96.034],
     [413, 429, 484, 410])])
def test_tracklets_are_what_they_have_always_been(key, size, difficulty, means, areas):
    """Values of the first version; rounding may differ."""
    tracklet = dataset_tracklet(TrackletKey(*key), 0, size, difficulty)
    assert tracklet.frames.mean(axis=(1, 2, 3))[::3] == pytest.approx(means, abs=0.05)
    assert tracklet.silhouette.sum(axis=(1, 2))[::3] == pytest.approx(areas, abs=2)


def test_shapes():
    frames, silhouette = generate_tracklet(
        person_of(), camera_of(), np.random.default_rng(0), 5, (33, 47))
    assert (frames.shape, frames.dtype) == ((5, 33, 47, 3), np.uint8)
    assert (silhouette.shape, silhouette.dtype) == ((5, 33, 47), bool)


@pytest.mark.parametrize('seed', range(3))
def test_silhouette_is_where_the_colours_of_the_person_show(seed):
    """Two tracklets that differ in the colours of the person alone."""
    person = generate_person(np.random.default_rng(seed), accessories=1)
    recoloured = replace(person, **{
        name: tuple(255 - value for value in getattr(person, name))
        for name in ('skin', 'hair', 'upper', 'second', 'lower', 'shoes', *ATTRIBUTES)
        if getattr(person, name) is not None})
    camera = camera_of(seed % 3, blur=0.001, noise_std=0)
    levels = dict(clutter=1, occlusion=1, accessories=1, misalignment=0.5)
    one, other = (tracklet_of(who, camera, seed, **levels)
                  for who in (person, recoloured))
    assert np.array_equal(one.silhouette, other.silhouette)
    change = np.abs(one.frames.astype(int) - other.frames).max(axis=-1)
    kernel = np.ones((3, 3), np.uint8)
    for moved, inside in zip(change, one.silhouette.astype(np.uint8)):
        # Straps and the umbrella's stick are thinner than a pixel: no silhouette.
        outside = moved[cv2.dilate(inside, kernel) == 0] > 25
        assert outside.sum() <= 0.05 * inside.sum()
        core = cv2.erode(inside, kernel) > 0
        assert not core.any() or np.median(moved[core]) > 40


def test_occluders_leave_the_person_visible_in_part():
    shares = []
    for seed in range(8):
        free, hidden = (
            tracklet_of(person_of(seed), camera_of(seed % 3), seed,
                        occlusion=occlusion).silhouette for occlusion in (0, 1))
        assert not (hidden & ~free).any()
        shares.append(hidden.sum(axis=(1, 2)) / free.sum(axis=(1, 2)))
    shares = np.array(shares)
    assert shares.min() > 0.25
    assert (shares.min(axis=1) < 0.95).mean() > 0.7


def test_clutter_fills_the_background():
    def spread(clutter):
        tracklets = [tracklet_of(None, camera_of(index, noise_std=0), 1, 6,
                                 clutter=clutter) for index in range(3)]
        return np.mean([frames[~silhouette].std(axis=0).mean()
                        for frames, silhouette in tracklets])

    assert spread(1) > 1.5 * spread(0)


def test_misalignment_moves_the_boxes():
    well, badly = (np.array([
        [np.argwhere(frame).mean(axis=0) for frame in tracklet_of(
            None, camera_of(yaw=np.pi / 2), seed, misalignment=level).silhouette]
        for seed in range(5)]) for level in (0, 1))
    # Rows and columns; a walk by itself lifts the body.
    assert (np.ptp(well, axis=1).max(axis=0) < (5, 1)).all()
    assert np.ptp(badly, axis=1)[:, 1].mean() > 4 * np.ptp(well, axis=1)[:, 1].mean()
    spreads = [centres.mean(axis=1).std(axis=0) for centres in (well, badly)]
    assert (spreads[1] > 2 * spreads[0]).all()


@pytest.mark.parametrize(('name', 'value'), [
    ('num_frames', 0), ('size', (64, 12)), ('size', (64,)),
    ('clutter', -0.1), ('occlusion', 1.5), ('accessories', float('nan')),
    ('misalignment', 2)])
def test_bad_arguments_are_refused(name, value):
    make = Difficulty if hasattr(EASY, name) else partial(
        generate_tracklet, person_of(), camera_of(), np.random.default_rng(0))
    with pytest.raises(ValueError, match=name):
        make(**{name: value})
