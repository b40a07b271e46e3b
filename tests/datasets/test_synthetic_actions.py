"""The drawn action data set: its motions, its scenes and its files."""
import json
from itertools import combinations

import cv2
import decord
import numpy as np
import pytest

from cosam_mm.datasets.synthetic import action_files as on_disk
from cosam_mm.datasets.synthetic.action_clip import distractor_range, target_range
from cosam_mm.datasets.synthetic.action_motion import draw_poses
from cosam_mm.datasets.synthetic.actions import (
    MOTIONS,
    REVERSED_MOTION,
    ClutterConfig,
    clip_name,
    clip_rng,
    draw_action_dataset,
    draw_clip,
    split_subsets,
)
from cosam_mm.datasets.synthetic.occluder import draw_occluder

SMALL = dict(clips_per_class=3, num_frames=6, size=(44, 36))
NO_CLUTTER = ClutterConfig(0, 0, 0, 0, 0, 0)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return draw_action_dataset(tmp_path_factory.mktemp('demo') / 'set', **SMALL)


def _files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob('*') if path.is_file()
    }


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
    for clip in range(12):
        drawn = draw_clip(motion, clip_rng(3, motion, clip))
        assert _seen_motion(drawn.silhouette) == motion, clip


def test_at_least_eight_motions_in_reversed_pairs():
    assert len(MOTIONS) >= 8
    assert list(MOTIONS) == sorted(MOTIONS)
    assert set(REVERSED_MOTION) == set(MOTIONS)
    for motion, other in REVERSED_MOTION.items():
        assert motion != other
        assert REVERSED_MOTION[other] == motion


# No single frame tells the class.


@pytest.mark.parametrize(('motion', 'other'), REVERSED_MOTION.items())
def test_opposite_motions_own_the_same_frames(motion, other):
    clip = draw_clip(motion, np.random.default_rng(5), num_frames=9)
    reverse = draw_clip(other, np.random.default_rng(5), num_frames=9)
    assert np.array_equal(clip.frames, reverse.frames[::-1])
    assert np.array_equal(clip.silhouette, reverse.silhouette[::-1])
    assert not np.array_equal(clip.frames, reverse.frames)


def test_every_motion_takes_the_same_randomness():
    states = []
    for motion in MOTIONS:
        rng = np.random.default_rng(1)
        draw_clip(motion, rng, num_frames=4)
        states.append(rng.bit_generator.state)
    assert all(state == states[0] for state in states)


def _largest_gap(first, second):
    """Kolmogorov-Smirnov distance, divided by its 0.1 % critical value."""
    at = np.concatenate([first, second])
    below = [
        np.searchsorted(np.sort(values), at, side='right') / len(values)
        for values in (first, second)
    ]
    critical = 1.95 * np.sqrt(1 / len(first) + 1 / len(second))
    return np.abs(below[0] - below[1]).max() / critical


def _random_moment_poses(coordinate, seed, count=1500):
    rng = np.random.default_rng(seed)
    poses = [
        draw_poses(coordinate, target_range((96, 72)), rng, 40)[:, rng.integers(40)]
        for _ in range(count)
    ]
    return np.array(poses)


def test_a_pose_at_a_random_moment_does_not_tell_which_coordinate_runs():
    middle = np.asarray(target_range((96, 72)).middle)
    by_coordinate = [_random_moment_poses(row, seed=row) - middle for row in range(4)]
    for first, second in combinations(by_coordinate, 2):
        for row in range(4):
            assert _largest_gap(first[:, row], second[:, row]) < 1
        for left, right in combinations(range(4), 2):
            assert _largest_gap(first[:, left] * first[:, right],
                                second[:, left] * second[:, right]) < 1


def test_the_gap_measure_notices_a_run_that_starts_in_the_middle():
    rng = np.random.default_rng(0)
    held = rng.uniform(-1, 1, 1500)
    assert _largest_gap(held, rng.uniform(-1, 1, 1500)) < 1
    assert _largest_gap(held, np.abs(rng.uniform(-1, 1, 1500))) > 1


def test_centroid_and_area_of_one_frame_do_not_tell_the_class():
    rng = np.random.default_rng(7)
    looks = {}
    for motion in MOTIONS:
        rows = []
        for _ in range(100):
            clip = draw_clip(motion, rng, 12, (48, 36), NO_CLUTTER)
            silhouette = clip.silhouette[rng.integers(12)]
            rows.append([*_centroid(silhouette), silhouette.sum()])
        looks[motion] = np.array(rows)
    for motion, rows in looks.items():
        rest = np.concatenate([looks[other] for other in looks if other != motion])
        for column in range(3):
            assert _largest_gap(rows[:, column], rest[:, column]) < 1, motion


# The scene.


@pytest.mark.parametrize('size', [(96, 72), (64, 64), (33, 47)])
def test_clip_shapes(size):
    clip = draw_clip('grow', np.random.default_rng(0), 5, size)
    width, height = size
    assert clip.frames.shape == (5, height, width, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.silhouette.shape == (5, height, width)
    assert clip.silhouette.dtype == bool
    assert clip.silhouette.any(axis=(1, 2)).all()


def test_without_clutter_only_the_target_changes():
    clip = draw_clip('move_right', np.random.default_rng(2), 10, clutter=NO_CLUTTER)
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
    clip = draw_clip('grow', np.random.default_rng(2), 4, clutter=clutter)
    return clip.frames[~clip.silhouette].std(axis=0).max()


def test_background_drifts_and_brightness_changes():
    still = ClutterConfig(0, 0, 0.5, 0, 0, 0)
    moving = ClutterConfig(0, 0, 0.5, 1.0, 0, 0)
    swaying = ClutterConfig(0, 0, 0.5, 0, 0.5, 0)

    def change(clutter):
        frames = draw_clip('grow', np.random.default_rng(4), 8,
                           clutter=clutter).frames[:, :6].astype(float)
        return np.abs(frames - frames[0]).mean(), np.ptp(frames.mean(axis=(1, 2, 3)))

    assert change(moving)[0] > change(still)[0] + 2
    assert change(swaying)[1] > change(still)[1] + 5


def test_the_default_clips_are_what_they_have_always_been():
    """Figures of the first version; codecs and rounding are allowed to differ."""
    clip = draw_clip('move_left', clip_rng(0, 'move_left', 0))
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
    with pytest.raises(ValueError, match=f'clutter is {share}; allowed: 0 to 1'):
        ClutterConfig.scaled(share)


def _hidden_shares(motion, seed, occlusion=1.0):
    """How much of the target a bar hides, (T,)."""
    free, occluded = (
        draw_clip(motion, np.random.default_rng(seed), 24, (48, 36), NO_CLUTTER,
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
    shown = [draw_occluder(np.random.default_rng(seed), 8, (48, 36), chance).any()
             for seed in range(100)]
    assert low <= np.mean(shown) <= high


def test_an_occluder_is_opaque_and_enters_from_outside_and_leaves():
    for seed in range(12):
        layer = draw_occluder(np.random.default_rng(seed), 60, (48, 36), 1.0)
        alpha = layer[..., 3]
        assert alpha.max() == 1
        assert (layer[..., :3] <= 255 * alpha[..., None] + 1e-3).all()
        seen = np.flatnonzero(alpha.any(axis=(1, 2)))
        assert len(seen) == seen[-1] - seen[0] + 1  # once
        assert 10 < len(seen) < 60
        for frame in {seen[0], seen[-1]} - {0, 59}:
            assert alpha[frame].mean() < alpha.mean(axis=(1, 2)).max()


def test_a_motion_of_the_occluder_is_as_likely_as_its_reverse():
    """Where the bar stands at a share of its own way says nothing of time's arrow."""
    def centre(layer):
        weight = layer[..., 3]
        x = np.arange(layer.shape[2])
        return (weight * x).sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1e-9)

    ways, moments = [], []
    for seed in range(300):
        layer = draw_occluder(np.random.default_rng(seed), 24, (48, 36), 1.0)
        seen = np.flatnonzero(layer[..., 3].any(axis=(1, 2)))
        x = centre(layer[seen])
        ways.append(x[-1] - x[0])
        moments.append((seen[0] + seen[-1]) / 2 - 11.5)
    for values in (np.array(ways), np.array(moments)):
        assert _largest_gap(values, -values) < 1


@pytest.mark.parametrize(('motion', 'other'), REVERSED_MOTION.items())
def test_opposite_motions_own_the_same_frames_behind_an_occluder(motion, other):
    clip, reverse = (draw_clip(name, np.random.default_rng(5), 9, occlusion=1.0)
                     for name in (motion, other))
    assert np.array_equal(clip.frames, reverse.frames[::-1])
    assert np.array_equal(clip.silhouette, reverse.silhouette[::-1])


def test_whether_something_occludes_changes_no_draw():
    states = []
    for chance in (1e-9, 1.0):
        rng = np.random.default_rng(1)
        draw_clip('grow', rng, 4, occlusion=chance)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1]


def test_target_outgrows_every_distractor():
    def limits(pose_range):
        log_radius = (pose_range.middle[3], pose_range.spread[3],
                      pose_range.travel[3][1] / 2, pose_range.wobble[3])
        reach = sum(log_radius[1:])
        return log_radius[0] - reach, log_radius[0] + reach

    assert limits(target_range((96, 72)))[0] > limits(distractor_range((96, 72)))[1]


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(motion='jump'), "no motion 'jump'; allowed: grow, move_down"),
    (dict(num_frames=1), 'num_frames is 1; a motion needs 2 or more'),
    (dict(size=(96, 20)), r'size is \(96, 20\); give \(width, height\), each 32'),
    (dict(size=(96, )), r'size is \(96,\)'),
    (dict(occlusion=1.5), 'occlusion is 1.5; allowed: 0 to 1'),
    (dict(occlusion=float('nan')), 'occlusion is nan; allowed: 0 to 1'),
])
def test_draw_clip_refuses(changes, message):
    arguments = dict(motion='grow', rng=np.random.default_rng(0), num_frames=4)
    with pytest.raises(ValueError, match=message):
        draw_clip(**{**arguments, **changes})


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(num_distractors=-1), 'num_distractors of ClutterConfig is -1; allowed: 0 to'),
    (dict(num_distractors=1.5), 'is 1.5; allowed: whole numbers'),
    (dict(texture=1.5), 'texture of ClutterConfig is 1.5; allowed: 0 to 1'),
    (dict(noise_std=float('nan')), 'noise_std of ClutterConfig is nan'),
])
def test_clutter_config_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        ClutterConfig(**changes)


# The files.


def test_layout(dataset):
    assert {path.name for path in dataset.iterdir()} == {
        'videos', 'splits', 'demo.json'}
    assert {path.name for path in (dataset / 'videos').iterdir()} == set(MOTIONS)
    for motion in MOTIONS:
        names = {path.name for path in (dataset / 'videos' / motion).iterdir()}
        assert names == {clip_name(motion, clip) for clip in range(3)}
    assert {path.name for path in (dataset / 'splits').iterdir()} == {
        f'{motion}_test_split{split}.txt' for motion in MOTIONS for split in (1, 2, 3)}
    assert not list(dataset.parent.glob('.*'))


def test_split_files_name_every_clip_once_in_the_official_style(dataset):
    for motion in MOTIONS:
        for split in (1, 2, 3):
            path = dataset / 'splits' / f'{motion}_test_split{split}.txt'
            lines = path.read_text(encoding='utf-8').splitlines()
            assert all(line.endswith((' 1 ', ' 2 ')) for line in lines)
            assert [line.split()[0] for line in lines] == [
                clip_name(motion, clip) for clip in range(3)]
            assert sorted(line.split()[1] for line in lines) == ['1', '1', '2']


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


def test_videos_are_read_by_decord_and_opencv(dataset):
    for motion in MOTIONS:
        path = dataset / 'videos' / motion / clip_name(motion, 1)
        expected = draw_clip(motion, clip_rng(0, motion, 1), 6, (44, 36)).frames
        reader = decord.VideoReader(str(path))
        assert len(reader) == 6
        frames = reader.get_batch(range(6)).asnumpy()
        assert frames.shape == (6, 36, 44, 3)
        assert np.array_equal(reader.get_batch([4, 1]).asnumpy(), frames[[4, 1]])
        assert np.abs(frames.astype(int) - expected).mean() < 8
        assert np.abs(_read_with_opencv(path).astype(int) - expected).mean() < 8


def _read_with_opencv(path):
    reader = cv2.VideoCapture(str(path))
    frames = []
    while (answer := reader.read())[0]:
        frames.append(cv2.cvtColor(answer[1], cv2.COLOR_BGR2RGB))
    reader.release()
    return np.stack(frames)


def test_two_runs_write_the_same_bytes(dataset, tmp_path):
    assert _files(draw_action_dataset(tmp_path / 'again', **SMALL)) == _files(dataset)


def test_a_clip_does_not_depend_on_how_many_there_are(dataset, tmp_path):
    more = draw_action_dataset(tmp_path / 'more', **{**SMALL, 'clips_per_class': 4})
    videos, more_videos = _files(dataset / 'videos'), _files(more / 'videos')
    assert videos.items() <= more_videos.items()
    assert len(set(more_videos.values())) == len(more_videos) == 32


def test_another_seed_draws_other_clips(dataset, tmp_path):
    other = draw_action_dataset(tmp_path / 'other', seed=1, **SMALL)
    assert not set(_files(other / 'videos').values()) & set(
        _files(dataset / 'videos').values())


def test_a_finished_data_set_is_left_alone(dataset):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in dataset.rglob('*')}

    before = stamps()
    assert draw_action_dataset(str(dataset), **SMALL) == dataset
    assert stamps() == before


def test_files_added_later_do_not_matter(tmp_path):
    out_dir = draw_action_dataset(tmp_path / 'set', **SMALL)
    (out_dir / 'demo_classes.txt').write_text('grow\n')
    assert draw_action_dataset(out_dir, **SMALL) == out_dir


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(seed=4), r'other parameters \(seed 0 instead of 4\); delete the folder or'),
    (dict(num_frames=7), r'num_frames 6 instead of 7'),
    (dict(clutter=ClutterConfig(num_distractors=1)), r"clutter {.*} instead of {"),
    (dict(occlusion=0.5), 'occlusion None instead of 0.5'),
])
def test_other_parameters_are_refused(dataset, changes, message):
    before = _files(dataset)
    with pytest.raises(ValueError, match=message):
        draw_action_dataset(dataset, **{**SMALL, **changes})
    assert _files(dataset) == before


def test_a_data_set_with_a_clip_missing_is_refused(tmp_path):
    out_dir = draw_action_dataset(tmp_path / 'set', **SMALL)
    (out_dir / 'videos' / 'grow' / clip_name('grow', 2)).unlink()
    with pytest.raises(ValueError, match='lacks 1 of its clips, .*med_2.avi for one'):
        draw_action_dataset(out_dir, **SMALL)


def test_a_folder_with_other_things_is_refused_and_kept(tmp_path):
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(ValueError, match=r'no finished demo data set .*demo\.json'):
        draw_action_dataset(tmp_path, **SMALL)
    with pytest.raises(ValueError, match='no finished demo data set'):
        draw_action_dataset(tmp_path / 'thesis.tex', **SMALL)
    assert (tmp_path / 'thesis.tex').read_text() == 'precious'


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'link').symlink_to('empty')
    for name in ('link', 'a/b (c)'):
        out_dir = draw_action_dataset(tmp_path / name, **SMALL)
        assert json.loads((out_dir / 'demo.json').read_text())['seed'] == 0
    assert (tmp_path / 'link').is_symlink()


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(clips_per_class=2), 'clips_per_class is 2; 3 splits need 3 or more'),
    (dict(seed=-1), 'seed is -1; allowed: 0 and above'),
    (dict(size=(8, 8)), r'size is \(8, 8\)'),
    (dict(size=(48, 36)), 'decord cannot read videos of width 48, choose another'),
    (dict(size=(72, 96)), 'decord cannot read videos of width 72'),
    (dict(occlusion=-1), 'occlusion is -1; allowed: 0 to 1'),
])
def test_bad_arguments_leave_nothing_behind(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        draw_action_dataset(tmp_path / 'set', **{**SMALL, **changes})
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, monkeypatch):
    drawn = []

    def interrupted(*args):
        if len(drawn) == 5:
            raise KeyboardInterrupt
        drawn.append(args)
        return draw_clip(*args)

    monkeypatch.setattr(on_disk, 'draw_clip', interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_action_dataset(tmp_path / 'set', **SMALL)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    frames = np.zeros((4, 36, 48, 3), np.uint8)
    with pytest.raises(OSError, match='holds 0 of 4 frames after writing: is the disk'):
        on_disk._write_video(tmp_path / 'absent' / 'clip.avi', frames)


def test_an_occluded_data_set_knows_itself_again(dataset, tmp_path):
    hard = draw_action_dataset(tmp_path / 'hard', occlusion=1.0, **SMALL)
    assert draw_action_dataset(hard, occlusion=1.0, **SMALL) == hard
    assert json.loads((hard / 'demo.json').read_text())['occlusion'] == 1.0
    assert 'occlusion' not in json.loads((dataset / 'demo.json').read_text())
    with pytest.raises(ValueError, match=r'parameters \(occlusion 1.0 instead of None'):
        draw_action_dataset(hard, **SMALL)
    easy, occluded = _files(dataset / 'videos'), _files(hard / 'videos')
    assert easy.keys() == occluded.keys()
    assert not set(easy.values()) & set(occluded.values())


def test_no_progress_bar_without_a_terminal(tmp_path, capsys):
    draw_action_dataset(tmp_path / 'set', **SMALL)
    assert capsys.readouterr() == ('', '')
