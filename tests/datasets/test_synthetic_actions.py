"""Synthetic action clips: their motions, their scenes and their splits."""
from itertools import combinations

import cv2
import numpy as np
import pytest
from scipy.stats import ks_2samp

from cosam_mm.datasets.synthetic.action_dataset_files import clip_rng, split_subsets
from cosam_mm.datasets.synthetic.motion_clip import (
    MOTIONS,
    REVERSED_MOTION,
    ClutterConfig,
    distractor_range,
    generate_clip,
    generate_poses,
    target_range,
)
from cosam_mm.datasets.synthetic.sprites import render_occluder

NO_CLUTTER = ClutterConfig(0, 0, 0, 0, 0, 0)


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


def test_at_least_eight_motions_in_reversed_pairs():
    assert len(MOTIONS) >= 8
    assert list(MOTIONS) == sorted(MOTIONS)
    assert set(REVERSED_MOTION) == set(MOTIONS)
    for motion, other in REVERSED_MOTION.items():
        assert motion != other
        assert REVERSED_MOTION[other] == motion


# No single frame tells the class.


@pytest.mark.parametrize('occlusion', [0.0, 1.0])
@pytest.mark.parametrize(('motion', 'other'), REVERSED_MOTION.items())
def test_opposite_motions_own_the_same_frames(motion, other, occlusion):
    clip, reverse = (
        generate_clip(name, np.random.default_rng(5), 9, occlusion=occlusion)
        for name in (motion, other))
    assert np.array_equal(clip.frames, reverse.frames[::-1])
    assert np.array_equal(clip.silhouette, reverse.silhouette[::-1])
    assert not np.array_equal(clip.frames, reverse.frames)


def _state_after(motion, **options):
    rng = np.random.default_rng(1)
    generate_clip(motion, rng, 4, (48, 36), **options)
    return rng.bit_generator.state


def test_neither_motion_nor_occlusion_changes_the_random_stream():
    states = [_state_after(motion) for motion in MOTIONS]
    assert all(state == states[0] for state in states)
    assert _state_after('grow', occlusion=1e-9) == _state_after('grow', occlusion=1.0)


def assert_alike(first, second):
    """No two-sample test at the 0.1 % level tells the samples apart."""
    assert ks_2samp(first, second).pvalue > 1e-3


def _random_moment_poses(coordinate, seed, count=1500):
    rng = np.random.default_rng(seed)
    poses = [
        generate_poses(coordinate, target_range((96, 72)), rng, 40)[:, rng.integers(40)]
        for _ in range(count)
    ]
    return np.array(poses)


def test_a_pose_at_a_random_moment_does_not_tell_which_coordinate_runs():
    middle = np.asarray(target_range((96, 72)).middle)
    by_coordinate = [_random_moment_poses(row, seed=row) - middle for row in range(4)]
    for first, second in combinations(by_coordinate, 2):
        for row in range(4):
            assert_alike(first[:, row], second[:, row])
        for left, right in combinations(range(4), 2):
            assert_alike(first[:, left] * first[:, right],
                         second[:, left] * second[:, right])


# The scene.


@pytest.mark.parametrize('size', [(96, 72), (64, 64), (33, 47)])
def test_clip_shapes(size):
    clip = generate_clip('grow', np.random.default_rng(0), 5, size)
    width, height = size
    assert clip.frames.shape == (5, height, width, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.silhouette.shape == (5, height, width)
    assert clip.silhouette.dtype == bool
    assert clip.silhouette.any(axis=(1, 2)).all()


def test_without_clutter_only_the_target_changes():
    clip = generate_clip('move_right', np.random.default_rng(2), 10, clutter=NO_CLUTTER)
    touched = np.stack([
        cv2.dilate(frame.astype(np.uint8), np.ones((5, 5))) for frame in
        clip.silhouette]) > 0
    background = clip.frames[~touched]
    assert (background == background[0]).all()
    assert (clip.frames[clip.silhouette] != background[0]).any()


@pytest.mark.parametrize('setting', [
    dict(num_distractors=3), dict(num_backdrop_shapes=3), dict(texture=0.5),
    dict(noise_std=5.0)])
def test_each_kind_of_clutter_shows(setting):
    clutter = ClutterConfig(**{**vars(NO_CLUTTER), **setting})
    assert _background_std(clutter) > _background_std(NO_CLUTTER) + 1


def _background_std(clutter):
    clip = generate_clip('grow', np.random.default_rng(2), 4, clutter=clutter)
    return clip.frames[~clip.silhouette].std(axis=0).max()


def test_background_drifts_and_brightness_changes():
    still = ClutterConfig(0, 0, 0.5, 0, 0, 0)
    moving = ClutterConfig(0, 0, 0.5, 1.0, 0, 0)
    swaying = ClutterConfig(0, 0, 0.5, 0, 0.5, 0)

    def change(clutter):
        frames = generate_clip('grow', np.random.default_rng(4), 8,
                           clutter=clutter).frames[:, :6].astype(float)
        return np.abs(frames - frames[0]).mean(), np.ptp(frames.mean(axis=(1, 2, 3)))

    assert change(moving)[0] > change(still)[0] + 2
    assert change(swaying)[1] > change(still)[1] + 5


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


@pytest.mark.parametrize('share', [-0.1, 1.5, float('nan')])
def test_a_share_of_clutter_lies_between_0_and_1(share):
    with pytest.raises(ValueError, match='clutter'):
        ClutterConfig.scaled(share)


def _hidden_shares(motion, seed, occlusion=1.0):
    """How much of the target a bar hides, (T,)."""
    free, occluded = (
        generate_clip(motion, np.random.default_rng(seed), 24, (48, 36), NO_CLUTTER,
                  chance).silhouette for chance in (0, occlusion))
    assert not (occluded & ~free).any()
    return 1 - occluded.sum(axis=(1, 2)) / free.sum(axis=(1, 2))


def test_an_occluder_hides_some_of_the_target_for_some_of_the_time():
    shares = np.array([_hidden_shares(motion, seed)
                       for motion in MOTIONS for seed in range(8)])
    assert (shares.max(axis=1) > 0.2).all()
    assert ((shares > 0.05).mean(axis=1) <= 0.6).all()
    assert np.median((shares > 0.5).mean(axis=1)) < 0.1


@pytest.mark.parametrize(('chance', 'low', 'high'), [(0.3, 0.15, 0.45), (1, 1, 1)])
def test_occlusion_is_a_chance(chance, low, high):
    shown = [render_occluder(np.random.default_rng(seed), 8, (48, 36), chance).any()
             for seed in range(100)]
    assert low <= np.mean(shown) <= high


def test_an_occluder_is_opaque_and_enters_from_outside_and_leaves():
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


def test_a_motion_of_the_occluder_is_as_likely_as_its_reverse():
    """Where the bar stands at a share of its own path says nothing of time's arrow."""
    def centre(layer):
        weight = layer[..., 3]
        x = np.arange(layer.shape[2])
        return (weight * x).sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1e-9)

    distances, moments = [], []
    for seed in range(300):
        layer = render_occluder(np.random.default_rng(seed), 24, (48, 36), 1.0)
        seen = np.flatnonzero(layer[..., 3].any(axis=(1, 2)))
        x = centre(layer[seen])
        distances.append(x[-1] - x[0])
        moments.append((seen[0] + seen[-1]) / 2 - 11.5)
    for values in (np.array(distances), np.array(moments)):
        assert_alike(values, -values)


def test_target_outgrows_every_distractor():
    def limits(pose_range):
        log_radius = (pose_range.middle[3], pose_range.spread[3],
                      pose_range.travel[3][1] / 2, pose_range.wobble[3])
        reach = sum(log_radius[1:])
        return log_radius[0] - reach, log_radius[0] + reach

    assert limits(target_range((96, 72)))[0] > limits(distractor_range((96, 72)))[1]


@pytest.mark.parametrize(('changes', 'match'), [
    (dict(motion='jump'), 'jump'),
    (dict(num_frames=1), 'num_frames'),
    (dict(size=(96, 20)), 'size'),
    (dict(size=(96, )), 'size'),
    (dict(occlusion=1.5), 'occlusion'),
    (dict(occlusion=float('nan')), 'occlusion'),
])
def test_generate_clip_refuses(changes, match):
    arguments = dict(motion='grow', rng=np.random.default_rng(0), num_frames=4)
    with pytest.raises(ValueError, match=match):
        generate_clip(**{**arguments, **changes})


@pytest.mark.parametrize(('changes', 'match'), [
    (dict(num_distractors=-1), 'num_distractors'),
    (dict(num_distractors=1.5), 'whole'),
    (dict(texture=1.5), 'texture'),
    (dict(noise_std=float('nan')), 'noise_std'),
])
def test_clutter_config_refuses(changes, match):
    with pytest.raises(ValueError, match=match):
        ClutterConfig(**changes)


# The splits.


@pytest.mark.parametrize(('num_clips', 'num_test'), [(3, 1), (4, 1), (10, 3), (60, 18)])
def test_splits_are_three_and_test_on_different_clips(num_clips, num_test):
    subsets = split_subsets(0, 'grow', num_clips)
    assert subsets.shape == (3, num_clips)
    assert set(np.unique(subsets)) == {1, 2}
    assert ((subsets == 2).sum(axis=1) == num_test).all()
    assert (subsets == 2).sum(axis=0).max() == 1


def test_splits_differ_by_class_and_seed():
    splits = [split_subsets(seed, motion, 60) for seed in (0, 1)
              for motion in ('grow', 'shrink')]
    for first, second in combinations(splits, 2):
        assert not np.array_equal(first, second)
