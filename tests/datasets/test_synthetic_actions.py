"""Synthetic action clips: their motions, their scenes and their splits."""
from itertools import combinations

import cv2
import numpy as np
import pytest
from scipy.stats import ks_2samp

from cosam_mm.datasets.synthetic.action_dataset_files import clip_rng, split_subsets
from cosam_mm.datasets.synthetic.motion_clip import (
    MOTIONS,
    ClutterConfig,
    generate_clip,
    generate_poses,
    target_range,
)
from cosam_mm.datasets.synthetic.sprites import render_occluder

NO_CLUTTER = ClutterConfig(0, 0, 0, 0, 0, 0)
OPPOSITES = [('grow', 'shrink'), ('move_left', 'move_right'), ('move_up', 'move_down'),
             ('rotate_clockwise', 'rotate_counterclockwise')]


# What the target does, seen in its silhouette alone.


def _centroid(silhouette):
    return np.argwhere(silhouette).mean(axis=0)[::-1]


def _turned_overlap(before, after, degrees):
    """Agreement of two silhouettes when the first is turned, clockwise positive."""
    x, y = _centroid(before)
    matrix = cv2.getRotationMatrix2D((float(x), float(y)), -degrees, 1)
    matrix[:, 2] += _centroid(after) - (x, y)
    turned = cv2.warpAffine(before.astype(np.uint8), matrix, before.shape[::-1]) > 0
    return (turned & after).sum() / (turned | after).sum()


def _seen_motion(silhouette):
    """Name the motion from a silhouette over time (T, H, W)."""
    height = silhouette.shape[1]
    dx, dy = (_centroid(silhouette[-1]) - _centroid(silhouette[0])) / height
    growth = np.log(silhouette[-1].sum() / silhouette[0].sum()) / 2
    if abs(growth) > 0.45:
        return 'grow' if growth > 0 else 'shrink'
    if max(abs(dx), abs(dy)) > 0.25:
        names = ('move_left', 'move_right', 'move_up', 'move_down')
        return names[np.argmax([-dx, dx, -dy, dy])]
    clockwise = sum(
        _turned_overlap(before, after, 25) - _turned_overlap(before, after, -25)
        for before, after in zip(silhouette, silhouette[4:]))
    return 'rotate_clockwise' if clockwise > 0 else 'rotate_counterclockwise'


@pytest.mark.parametrize('motion', MOTIONS)
def test_silhouette_makes_the_motion_of_its_class(motion):
    for clip in range(6):
        silhouette = generate_clip(motion, clip_rng(3, motion, clip)).silhouette
        assert _seen_motion(silhouette) == motion, clip


def test_motions_are_sorted_and_come_in_reversed_pairs():
    assert list(MOTIONS) == sorted(MOTIONS)
    assert {name for pair in OPPOSITES for name in pair} == set(MOTIONS)


# No single frame tells the class.


@pytest.mark.parametrize('occlusion', [0.0, 1.0])
@pytest.mark.parametrize(('motion', 'other'), OPPOSITES)
def test_opposite_motions_own_the_same_frames(motion, other, occlusion):
    clip, reverse = (
        generate_clip(name, np.random.default_rng(5), 9, occlusion=occlusion)
        for name in (motion, other))
    assert np.array_equal(clip.frames, reverse.frames[::-1])
    assert np.array_equal(clip.silhouette, reverse.silhouette[::-1])
    assert not np.array_equal(clip.frames, reverse.frames)


def test_neither_motion_nor_occlusion_changes_the_random_stream():
    def state_after(motion, **options):
        rng = np.random.default_rng(1)
        generate_clip(motion, rng, 4, (48, 36), **options)
        return rng.bit_generator.state

    assert all(state_after(motion) == state_after('grow') for motion in MOTIONS)
    assert state_after('grow', occlusion=1e-9) == state_after('grow', occlusion=1.0)


def assert_alike(first, second):
    """No two-sample test at the 0.1 % level tells the samples apart."""
    assert ks_2samp(first, second).pvalue > 1e-3


def test_a_pose_at_a_random_moment_does_not_tell_which_coordinate_runs():
    limits, by_coordinate = target_range((96, 72)), []
    for row in range(4):
        rng = np.random.default_rng(row)
        poses = [generate_poses(row, limits, rng, 40)[:, rng.integers(40)]
                 for _ in range(1000)]
        by_coordinate.append(np.array(poses) - limits.middle)
    for first, second in combinations(by_coordinate, 2):
        for row in range(4):
            assert_alike(first[:, row], second[:, row])
        for left, right in combinations(range(4), 2):
            assert_alike(first[:, left] * first[:, right],
                         second[:, left] * second[:, right])


# The scene.


@pytest.mark.parametrize('size', [(96, 72), (33, 47)])
def test_clip_shapes(size):
    frames, silhouette = generate_clip('grow', np.random.default_rng(0), 5, size)
    assert (frames.shape, frames.dtype) == ((5, *size[::-1], 3), np.uint8)
    assert (silhouette.shape, silhouette.dtype) == ((5, *size[::-1]), bool)
    assert silhouette.any(axis=(1, 2)).all()


def test_without_clutter_only_the_target_changes():
    clip = generate_clip('move_right', np.random.default_rng(2), 10, clutter=NO_CLUTTER)
    touched = np.stack([
        cv2.dilate(frame.astype(np.uint8), np.ones((5, 5))) for frame in
        clip.silhouette]) > 0
    background = clip.frames[~touched]
    assert (background == background[0]).all()
    assert (clip.frames[clip.silhouette] != background[0]).any()


def test_the_default_clips_are_what_they_have_always_been():
    """Values of the first version; rounding may differ."""
    clip = generate_clip('move_left', clip_rng(0, 'move_left', 0))
    assert clip.frames.mean(axis=(1, 2, 3))[::13] == pytest.approx(
        [108.1255, 110.6369, 121.6324, 117.8439], abs=0.05)
    assert clip.silhouette.sum(axis=(1, 2))[::13] == pytest.approx(
        [159, 162, 154, 161], abs=2)


@pytest.mark.parametrize(('share', 'expected'), [
    (0, ClutterConfig(0, 0, 0, 0)), (0.5, ClutterConfig()),
    (0.25, ClutterConfig(2, 2, 0.25, 0.2)), (1, ClutterConfig(6, 8, 1.0, 0.8))])
def test_clutter_grows_with_its_share(share, expected):
    assert ClutterConfig.scaled(share) == expected


def test_an_occluder_hides_some_of_the_target_for_some_of_the_time():
    shares = []
    for motion in MOTIONS:
        for seed in range(6):
            free, occluded = (
                generate_clip(motion, np.random.default_rng(seed), 24, (48, 36),
                              NO_CLUTTER, chance).silhouette for chance in (0, 1.0))
            assert not (occluded & ~free).any()
            shares.append(1 - occluded.sum(axis=(1, 2)) / free.sum(axis=(1, 2)))
    shares = np.array(shares)
    assert (shares.max(axis=1) > 0.2).all()
    assert ((shares > 0.05).mean(axis=1) <= 0.6).all()
    assert np.median((shares > 0.5).mean(axis=1)) < 0.1


def test_an_occluder_is_a_chance_is_opaque_enters_from_outside_and_leaves():
    shown = [render_occluder(np.random.default_rng(seed), 8, (48, 36), 0.3).any()
             for seed in range(100)]
    assert 0.15 <= np.mean(shown) <= 0.45
    for seed in range(12):
        layer = render_occluder(np.random.default_rng(seed), 60, (48, 36), 1.0)
        alpha = layer[..., 3]
        assert alpha.max() == 1
        assert (layer[..., :3] <= 255 * alpha[..., None] + 1e-3).all()
        seen = np.flatnonzero(alpha.any(axis=(1, 2)))
        assert len(seen) == seen[-1] - seen[0] + 1  # once
        assert 10 < len(seen) < 60
        for frame in {seen[0], seen[-1]} - {0, 59}:
            assert alpha[frame].mean() < alpha.mean(axis=(1, 2)).max()


def clip_with(**changes):
    arguments = dict(motion='grow', rng=np.random.default_rng(0), num_frames=4)
    return generate_clip(**{**arguments, **changes})


@pytest.mark.parametrize(('make', 'name', 'value'), [
    (clip_with, 'motion', 'jump'), (clip_with, 'num_frames', 1),
    (clip_with, 'size', (96, 20)), (clip_with, 'size', (96,)),
    (clip_with, 'occlusion', 1.5), (clip_with, 'occlusion', float('nan')),
    (ClutterConfig, 'num_distractors', -1), (ClutterConfig, 'num_distractors', 1.5),
    (ClutterConfig, 'texture', 1.5), (ClutterConfig, 'noise_std', float('nan')),
    *((lambda clutter: ClutterConfig.scaled(clutter), 'clutter', share)
      for share in (-0.1, 1.5, float('nan')))])
def test_bad_arguments_are_refused(make, name, value):
    with pytest.raises(ValueError, match=name):
        make(**{name: value})


# The splits.


@pytest.mark.parametrize(('num_clips', 'num_test'), [(3, 1), (4, 1), (10, 3), (60, 18)])
def test_splits_are_three_test_on_different_clips_and_differ(num_clips, num_test):
    subsets = split_subsets(0, 'grow', num_clips)
    assert subsets.shape == (3, num_clips)
    assert set(np.unique(subsets)) == {1, 2}
    assert ((subsets == 2).sum(axis=1) == num_test).all()
    assert (subsets == 2).sum(axis=0).max() == 1
    by_class_and_seed = {split_subsets(seed, motion, 60).tobytes()
                         for seed in (0, 1) for motion in ('grow', 'shrink')}
    assert len(by_class_and_seed) == 4
