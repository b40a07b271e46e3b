"""The drawn re-ID data set: bodies, scenes, tracklets and files."""
import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from cosam_mm.datasets.reid import MARS, TrackletFolder
from cosam_mm.datasets.synthetic import reid_files as on_disk
from cosam_mm.datasets.synthetic.gait import pose_body
from cosam_mm.datasets.synthetic.person import PERSONS_PER_WARDROBE
from cosam_mm.datasets.synthetic.persons import (
    ATTRIBUTES,
    Difficulty,
    TrackletKey,
    dataset_camera,
    dataset_person,
    draw_camera,
    draw_listed_tracklet,
    draw_person,
    draw_reid_dataset,
    draw_tracklet,
    plan_reid_dataset,
)
from cosam_mm.datasets.synthetic.raster import (
    Part,
    View,
    draw_part,
    make_canvas,
    project,
)

SMALL = dict(num_train_pids=3, num_test_pids=2, num_cameras=2, num_distractors=3,
             num_junk=3)
EASY = Difficulty(clutter=0, occlusion=0, accessories=0, misalignment=0)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return draw_reid_dataset(tmp_path_factory.mktemp('demo') / 'set', **SMALL)


def files_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob('*') if path.is_file()
    }


def person_of(seed=0, **changes):
    return replace(draw_person(np.random.default_rng(seed), accessories=0), **changes)


def camera_of(index=0, **changes):
    return replace(draw_camera(np.random.default_rng(0), index), **changes)


# Persons.


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
def test_accessories_set_how_much_is_carried(accessories, low, high):
    carried = np.array([
        list(dataset_person(1, pid, accessories).attributes.values())
        for pid in range(1, 401)])
    assert set(np.unique(carried)) <= {0, 1}
    for column, name in enumerate(ATTRIBUTES):
        factor = 0.5 if name == 'umbrella' else 1
        assert factor * low <= carried[:, column].mean() <= factor * high


def test_what_is_carried_changes_nothing_else_about_a_person():
    for pid in range(1, 11):
        bare, laden = (asdict(dataset_person(0, pid, share)) for share in (0, 1))
        assert {name for name in bare if bare[name] != laden[name]} <= set(ATTRIBUTES)


# Bodies.


def test_limbs_keep_their_lengths_and_the_lower_foot_stands():
    person = person_of(3)
    joints = pose_body(person, np.linspace(0, 2 * np.pi, 50))
    for side in (1, -1):
        for first, second in (('hip', 'knee'), ('knee', 'ankle'), ('shoulder', 'elbow'),
                              ('elbow', 'wrist')):
            length = np.linalg.norm(joints[first, side] - joints[second, side], axis=1)
            assert np.ptp(length) < 1e-9
    lowest = np.minimum(joints['ankle', 1][:, 2], joints['ankle', -1][:, 2])
    assert np.ptp(lowest) < 1e-9
    assert joints['head'][:, 2].max() < person.height


def test_left_and_right_take_turns_and_arms_swing_against_legs():
    phase = np.linspace(0, 2 * np.pi, 40)
    person = person_of(4, umbrella=None, handbag=None)
    now, later = pose_body(person, phase), pose_body(person, phase + np.pi)
    for name in ('knee', 'ankle', 'toe', 'wrist'):
        assert np.allclose(now[name, 1], later[name, -1] * [1, -1, 1], atol=1e-9)
    for side in (1, -1):
        forward = [now[name, side][:, 0] for name in ('knee', 'elbow')]
        assert np.corrcoef(forward)[0, 1] < -0.9


def view_of(yaw, num_frames=1, **changes):
    view = View(np.full(num_frames, yaw), np.full(num_frames, 20.0),
                np.full((num_frames, 2), 50.0), 0.0, 0.0, 0.0, (0.0, 0.0, 1.0, 0.5))
    return view._replace(**changes)


@pytest.mark.parametrize(('yaw', 'forward', 'left'), [
    (0, (70, 50, 0), (50, 50, -1)),  # to the right: the left side is behind
    (np.pi / 2, (50, 50, 1), (70, 50, 0)),  # to the camera: left is on the right
    (np.pi, (30, 50, 0), (50, 50, 1)),
    (-np.pi / 2, (50, 50, -1), (30, 50, 0)),
])
def test_ways_a_body_faces(yaw, forward, left):
    view = view_of(yaw)
    assert np.allclose(project(np.array([[1.0, 0, 0]]), view), forward)
    assert np.allclose(project(np.array([[0, 1.0, 0]]), view), left)
    assert np.allclose(project(np.array([[0, 0, 1.0]]), view), (50, 30, 0))


def test_a_camera_that_looks_down_sees_what_is_nearer_lower():
    view = view_of(np.pi / 2, pitch=0.5)
    assert project(np.array([[1.0, 0, 0]]), view)[0, 1] > 55
    assert project(np.array([[-1.0, 0, 0]]), view)[0, 1] < 45


def colours(value):
    return lambda surface: np.full((len(surface.along), 3), value, np.float32)


def ball(place, radius, value, **changes):
    place = np.array([place], float)
    return Part(place, place, (radius,), colours(value), **changes)


def test_a_ball_is_a_disc_lit_most_where_it_faces_the_light():
    canvas = make_canvas(np.zeros((1, 100, 100, 3), np.float32))
    draw_part(canvas, ball((0, 0, 0), 1.5, 200), view_of(0.7), True)
    assert canvas.is_target.sum() == pytest.approx(np.pi * 30**2, rel=0.02)
    y, x = np.nonzero(canvas.is_target[0])
    assert (x.mean(), y.mean()) == pytest.approx((49.5, 49.5), abs=0.1)
    assert canvas.colour[0, 50, 50, 0] == pytest.approx(200, abs=1)
    assert 95 < canvas.colour[0, 50, 21, 0] < 135
    assert np.isneginf(canvas.depth[~canvas.is_target]).all()


@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_what_is_nearer_hides_what_is_farther_in_any_order(order):
    canvas = make_canvas(np.zeros((1, 100, 100, 3), np.float32))
    view = view_of(np.pi / 2)
    parts = [(ball((2, 0, 0), 0.5, 90), False), (ball((0, 0, 0), 1.0, 200), True)]
    for k in order:
        draw_part(canvas, parts[k][0], view, parts[k][1])
    assert canvas.colour[0, 50, 50, 0] < 95
    assert not canvas.is_target[0, 50, 50]
    assert canvas.is_target[0, 50, 35]
    assert canvas.is_target.sum() == pytest.approx(np.pi * (20**2 - 10**2), rel=0.03)


def test_a_dome_is_the_upper_half():
    whole, half = (make_canvas(np.zeros((1, 100, 100, 3), np.float32)) for _ in '12')
    place = np.zeros((1, 3))
    for canvas, dome in ((whole, False), (half, True)):
        part = Part(place, place - [0, 0, 0.01], (1.0,), colours(9), 1.0, 1.0, dome)
        draw_part(canvas, part, view_of(0), True)
    assert half.is_target.sum() == pytest.approx(whole.is_target.sum() / 2, rel=0.05)
    assert np.nonzero(half.is_target[0])[0].max() <= 50


def test_a_part_beyond_the_picture_is_not_drawn():
    canvas = make_canvas(np.zeros((1, 100, 100, 3), np.float32))
    for place in ((9, 0, 0), (-9, 0, 0), (0, 0, 9), (0, 0, -9)):
        draw_part(canvas, ball(place, 0.5, 200), view_of(0), True)
    assert not canvas.is_target.any()
    draw_part(canvas, ball((2.5, 0, 0), 0.5, 200), view_of(0), True)
    assert canvas.is_target[0, 50, 99]


# Tracklets.


@pytest.mark.parametrize('size', [(64, 32), (40, 24), (33, 47)])
def test_shapes(size):
    drawn = draw_tracklet(person_of(), camera_of(), np.random.default_rng(0), 5, size)
    assert drawn.frames.shape == (5, *size, 3)
    assert drawn.frames.dtype == np.uint8
    assert drawn.silhouette.shape == (5, *size)
    assert drawn.silhouette.dtype == bool


def recoloured(person):
    """The same person in other colours throughout."""
    return replace(person, **{
        name: tuple(255 - value for value in getattr(person, name))
        for name in ('skin', 'hair', 'upper', 'second', 'lower', 'shoes', *ATTRIBUTES)
        if getattr(person, name) is not None})


@pytest.mark.parametrize('seed', range(3))
def test_the_silhouette_is_where_the_persons_colours_show(seed):
    """Two tracklets that differ in the colours of the person alone."""
    difficulty = Difficulty(1, 1, 1, 0.5)
    person = draw_person(np.random.default_rng(seed), accessories=1)
    camera = camera_of(seed % 3, blur=0.001, noise_std=0)
    one, other = (
        draw_tracklet(who, camera, np.random.default_rng(seed), 8, (64, 32), difficulty)
        for who in (person, recoloured(person)))
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
    for seed in range(12):
        free, hidden = (
            draw_tracklet(
                person_of(seed), camera_of(seed % 3), np.random.default_rng(seed), 8,
                difficulty=replace(EASY, occlusion=occlusion)).silhouette
            for occlusion in (0, 1))
        assert not (hidden & ~free).any()
        shares.append(hidden.sum(axis=(1, 2)) / free.sum(axis=(1, 2)))
    shares = np.array(shares)
    assert shares.min() > 0.25
    assert (shares.min(axis=1) < 0.95).mean() > 0.7


def test_clutter_fills_the_background():
    def spread(clutter):
        values = []
        for index in range(3):
            drawn = draw_tracklet(
                person_of(), camera_of(index, noise_std=0), np.random.default_rng(1), 6,
                difficulty=replace(EASY, clutter=clutter))
            values.append(drawn.frames[~drawn.silhouette].std(axis=0).mean())
        return np.mean(values)

    assert spread(1) > 1.5 * spread(0)


def test_the_background_moves_with_a_walk_across_and_stays_on_one_to_the_camera():
    def movement(yaw):
        drawn = draw_tracklet(
            person_of(), camera_of(yaw=yaw, noise_std=0, roll=0.0),
            np.random.default_rng(5), 8, difficulty=replace(EASY, clutter=0.8))
        still = ~drawn.silhouette.any(axis=0)
        return drawn.frames[:, still].astype(float).std(axis=0).mean()

    assert movement(0) > 2 * movement(np.pi / 2)


def centres(misalignment, seed):
    silhouette = draw_tracklet(
        person_of(), camera_of(yaw=np.pi / 2), np.random.default_rng(seed), 8,
        difficulty=replace(EASY, misalignment=misalignment)).silhouette
    return np.array([np.argwhere(frame).mean(axis=0) for frame in silhouette])


def test_misalignment_moves_the_boxes():
    well = np.stack([centres(0, seed) for seed in range(5)])
    badly = np.stack([centres(1, seed) for seed in range(5)])
    # Rows and columns; a walk by itself lifts the body.
    assert (np.ptp(well, axis=1).max(axis=0) < (5, 1)).all()
    assert np.ptp(badly, axis=1)[:, 1].mean() > 4 * np.ptp(well, axis=1)[:, 1].mean()
    placed = [centre.mean(axis=1).std(axis=0) for centre in (well, badly)]
    assert (placed[1] > 2 * placed[0]).all()


def test_the_person_walks():
    silhouette = draw_tracklet(
        person_of(), camera_of(yaw=0.0), np.random.default_rng(0), 10,
        difficulty=EASY).silhouette
    spread = [np.nonzero(frame[48:].any(axis=0))[0] for frame in silhouette]
    widths = np.array([columns.max() - columns.min() for columns in spread])
    assert widths.max() > widths.min() + 4  # legs open and close


def test_cameras_differ_in_light_colour_and_viewpoint():
    cameras = [dataset_camera(0, camid) for camid in range(1, 7)]
    means = []
    for camera in cameras:
        drawn = draw_tracklet(person_of(), camera, np.random.default_rng(0), 4,
                              difficulty=EASY)
        means.append(drawn.frames[drawn.silhouette].mean(axis=0))
    for k in range(6):
        for j in range(k):
            turn = np.abs(np.angle(np.exp(1j * (cameras[k].yaw - cameras[j].yaw))))
            assert turn > 0.2
            assert np.abs(means[k] - means[j]).max() > 4


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(num_frames=0), 'num_frames is 0; allowed: 1 and above'),
    (dict(size=(64, 12)), r'size is \(64, 12\); give \(height, width\), each 16'),
    (dict(size=(64,)), r'size is \(64,\)'),
])
def test_draw_tracklet_refuses(changes, message):
    arguments = dict(person=person_of(), camera=camera_of(),
                     rng=np.random.default_rng(0), num_frames=2)
    with pytest.raises(ValueError, match=message):
        draw_tracklet(**{**arguments, **changes})


@pytest.mark.parametrize(('name', 'value'), [
    ('clutter', -0.1), ('occlusion', 1.5), ('accessories', float('nan')),
    ('misalignment', 2)])
def test_difficulty_refuses(name, value):
    with pytest.raises(ValueError, match=f'{name} of Difficulty is {value}; allowed'):
        Difficulty(**{name: value})


# Files.


@pytest.mark.parametrize('part', ['train', 'test'])
def test_index_files_describe_the_images(root, part):
    text = (root / 'info' / f'{part}_name.txt').read_text()
    names = text.splitlines()
    assert text.endswith('\n')
    images = [path.name for path in (root / f'bbox_{part}').rglob('*.jpg')]
    assert sorted(images) == sorted(names)
    assert len(set(names)) == len(names)
    rows = loadmat(root / 'info' / f'tracks_{part}_info.mat')[f'track_{part}_info']
    assert rows[0, 0] == 1
    assert rows[-1, 1] == len(names)
    assert np.array_equal(rows[1:, 0], rows[:-1, 1] + 1)
    lengths = rows[:, 1] - rows[:, 0] + 1
    assert lengths.min() >= 8
    assert lengths.max() <= 16
    assert len(set(lengths.tolist())) > 1
    for first, last, pid, camid in rows:
        tracklet = names[first - 1:last]
        start = tracklet[0][:11]
        folder = '00-1' if pid == -1 else f'{pid:04d}'
        assert start[:6] == f'{folder}C{camid}'
        assert tracklet == [f'{start}F{k:03d}.jpg' for k in range(1, len(tracklet) + 1)]
        for name in tracklet:
            assert (root / f'bbox_{part}' / folder / name).is_file()
    pids = rows[:, 2].tolist()
    assert pids == sorted(pids)
    expected = {1, 2, 3} if part == 'train' else {-1, 0, 4, 5}
    assert set(pids) == expected
    for pid in expected:
        assert pids.count(pid) == (4 if pid > 0 else 3)


def test_queries_are_one_of_each_identity_and_camera(root):
    rows = loadmat(root / 'info' / 'tracks_test_info.mat')['track_test_info']
    query = loadmat(root / 'info' / 'query_IDX.mat')['query_IDX']
    assert query.shape == (1, 4)
    assert rows[query[0].astype(int) - 1, 2:].tolist() == [
        [4, 1], [4, 2], [5, 1], [5, 2]]


def test_queries_are_drawn_by_lot():
    query = plan_reid_dataset(1, 40, 3, 0, 0, 0).query
    first = np.mean([key.number == 1 for key in query])
    assert 0.3 < first < 0.7


def test_images_are_read_and_look_like_what_was_drawn(root):
    for key in (TrackletKey(2, 1, 2), TrackletKey(5, 2, 1), TrackletKey(0, 1, 1),
                TrackletKey(-1, 2, 1)):
        part = 'train' if key.pid in (1, 2, 3) else 'test'
        drawn = draw_listed_tracklet(key, seed=0)
        files = sorted((root / f'bbox_{part}' / key.folder).glob(
            key.image_name(1)[:11] + '*'))
        assert len(files) == len(drawn.frames)
        for path, frame in zip(files, drawn.frames):
            image = cv2.imread(str(path))[..., ::-1]
            assert image.shape == (64, 32, 3)
            # Averaged over 4 x 4 pixels, as most of the noise does not survive.
            coarse = [cv2.resize(picture.astype(np.float32), (8, 16),
                                 interpolation=cv2.INTER_AREA)
                      for picture in (image, frame)]
            assert np.abs(coarse[0] - coarse[1]).mean() < 3


def test_attributes_are_those_of_the_persons(root):
    with open(root / 'info' / 'attributes.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['pid'] for row in rows] == ['1', '2', '3', '4', '5']
    for row in rows:
        carried = dataset_person(0, int(row['pid']), 0.5).attributes
        assert row == {'pid': row['pid'], **{k: str(v) for k, v in carried.items()}}


@pytest.mark.parametrize(('subset', 'query_in_gallery', 'num_tracklets', 'pids'), [
    ('train', False, 12, {1, 2, 3}), ('query', False, 4, {4, 5}),
    ('gallery', False, 7, {0, 4, 5}), ('gallery', True, 11, {0, 4, 5})])
def test_the_mars_data_set_reads_it(root, subset, query_in_gallery, num_tracklets,
                                    pids):
    dataset = MARS(str(root), subset, query_in_gallery=query_in_gallery,
                   expected_counts=None, check_images=True)
    items = [dataset.get_data_info(k) for k in range(len(dataset))]
    assert len(items) == num_tracklets
    assert {item['pid'] for item in items} == pids
    assert {item['camid'] for item in items} == {1, 2}
    assert all(os.path.isfile(path) for item in items for path in item['img_paths'])


def test_the_metrics_read_the_attributes(root):
    from cosam_mm.evaluation.metrics.reid_attributes import read_attributes
    attributes = read_attributes(str(root / 'info' / 'attributes.csv'))
    assert {pid: {name for name, has in dataset_person(0, pid, 0.5).attributes.items()
                  if has} for pid in range(1, 6)} == attributes


def test_a_fresh_interpreter_writes_the_same_bytes(root, repo, tmp_path):
    code = ('import sys, cv2\n'
            'cv2.setNumThreads(1)\n'
            'from cosam_mm.datasets.synthetic.persons import draw_reid_dataset\n'
            f'draw_reid_dataset(sys.argv[1], **{SMALL!r})\n')
    subprocess.run([sys.executable, '-c', code, str(tmp_path / 'again')], check=True,
                   env={**os.environ, 'PYTHONPATH': str(repo), 'PYTHONHASHSEED': '7'})
    assert files_of(tmp_path / 'again') == files_of(root)


def test_matrices_hold_no_time_of_day(root):
    for path in (root / 'info').glob('*.mat'):
        assert path.read_bytes()[:116].rstrip() == b'MATLAB 5.0 MAT-file'


def test_an_image_does_not_depend_on_how_many_there_are(root, tmp_path):
    more = draw_reid_dataset(tmp_path / 'more', **{
        **SMALL, 'num_test_pids': 3, 'num_cameras': 3, 'num_distractors': 6,
        'num_junk': 6})
    images, more_images = (
        {path: data for path, data in files_of(folder).items() if path.suffix == '.jpg'}
        for folder in (root, more))
    assert images.items() <= more_images.items()
    assert len(set(more_images.values())) == len(more_images)


def test_another_seed_draws_other_images(root, tmp_path):
    other = draw_reid_dataset(tmp_path / 'other', seed=1, **SMALL)
    images = [{data for path, data in files_of(folder).items() if path.suffix == '.jpg'}
              for folder in (root, other)]
    assert not images[0] & images[1]


def test_size_and_difficulty_reach_the_images(tmp_path):
    root = draw_reid_dataset(tmp_path, 1, 1, 2, size=(48, 20), num_distractors=0,
                             num_junk=0, difficulty=EASY)
    assert {path.parent.name for path in root.rglob('*.jpg')} == {'0001', '0002'}
    assert cv2.imread(str(next(root.rglob('*.jpg')))).shape == (48, 20, 3)
    assert (root / 'info' / 'attributes.csv').read_text() == (
        'pid,handbag,backpack,hat,umbrella\n1,0,0,0,0\n2,0,0,0,0\n')


def test_a_finished_data_set_is_left_alone(root):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in root.rglob('*')}

    before = stamps()
    assert draw_reid_dataset(str(root), **SMALL) == root
    assert stamps() == before
    assert json.loads((root / 'reid_demo.json').read_text())['size'] == [64, 32]


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(seed=4), r'drawn re-ID data set with other parameters \(seed 0 instead of 4'),
    (dict(size=(128, 64)), r'size \[64, 32\] instead of \[128, 64\]'),
    (dict(difficulty=EASY), r'difficulty {.*} instead of {'),
])
def test_other_parameters_are_refused(root, changes, message):
    before = files_of(root)
    with pytest.raises(ValueError, match=message):
        draw_reid_dataset(root, **{**SMALL, **changes})
    assert files_of(root) == before


def test_a_data_set_with_a_file_missing_is_refused(tmp_path):
    root = draw_reid_dataset(tmp_path / 'set', **SMALL)
    (root / 'info' / 'query_IDX.mat').unlink()
    with pytest.raises(ValueError, match='lacks 1 of its files, .*query_IDX.mat for'):
        draw_reid_dataset(root, **SMALL)


def test_a_folder_with_other_things_is_refused_and_kept(tmp_path):
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(ValueError, match='no finished drawn re-ID data set .*_demo'):
        draw_reid_dataset(tmp_path, **SMALL)
    assert (tmp_path / 'thesis.tex').read_text() == 'precious'


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(num_train_pids=0), 'num_train_pids is 0; allowed: 1 and above'),
    (dict(num_test_pids=0), 'num_test_pids is 0; allowed: 1'),
    (dict(num_cameras=1), 'num_cameras is 1; allowed: 2'),
    (dict(num_cameras=10), "num_cameras is 10; MARS's file names have room for 9"),
    (dict(num_test_pids=9999), r'num_train_pids \+ num_test_pids is 10002; MARS'),
    (dict(seed=-1), 'seed is -1; allowed: 0'),
    (dict(num_junk=-2), 'num_junk is -2; allowed: 0'),
    (dict(num_distractors=-1), 'num_distractors is -1; allowed: 0'),
    (dict(size=(64, 8)), r'size is \(64, 8\)'),
])
def test_bad_arguments_leave_nothing_behind(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        draw_reid_dataset(tmp_path / 'set', **{**SMALL, **changes})
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, monkeypatch):
    drawn = []

    def interrupted(*args):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(args)
        return draw_listed_tracklet(*args)

    monkeypatch.setattr(on_disk, 'draw_listed_tracklet', interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_reid_dataset(tmp_path / 'set', **SMALL)
    assert not list(tmp_path.iterdir())


def test_no_progress_bar_without_a_terminal(tmp_path, capsys):
    draw_reid_dataset(tmp_path / 'set', 1, 1, 2)
    assert capsys.readouterr() == ('', '')


# Is it hard enough, and not too hard?


def colour_histogram(paths):
    """Colours of the middle columns in six stripes, after balancing out the light."""
    frames = np.stack([cv2.imread(path) for path in paths]).astype(float)
    frames = np.clip(frames * (110 / frames.mean(axis=(0, 1, 2))), 0, 255)[:, :, 8:24]
    stripes = (np.histogramdd(part.reshape(-1, 3), bins=[np.arange(0, 257, 64)] * 3)[0]
               for part in np.array_split(frames, 6, axis=1))
    return np.sqrt(np.concatenate([stripe.ravel() for stripe in stripes]))


def rank1(root, describe):
    subsets = []
    for subset in ('query', 'gallery'):
        dataset = MARS(str(root), subset, expected_counts=None)
        subsets.append([dataset.get_data_info(k) for k in range(len(dataset))])
    features = [[describe(item['img_paths']) for item in items] for items in subsets]
    hits = 0
    for item, feature in zip(subsets[0], features[0]):
        distances = [
            (np.linalg.norm(feature / np.linalg.norm(feature)
                            - other / np.linalg.norm(other)), candidate['pid'])
            for candidate, other in zip(subsets[1], features[1])
            if (candidate['pid'], candidate['camid']) != (item['pid'], item['camid'])]
        hits += min(distances)[1] == item['pid']
    return hits / len(subsets[0])


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
def test_colour_alone_is_better_than_chance_and_not_enough(tmp_path, seed):
    start = time.process_time()
    root = draw_reid_dataset(tmp_path / 'set', seed=seed)
    assert time.process_time() - start < 60
    rng = np.random.default_rng(0)
    assert rank1(root, lambda paths: rng.standard_normal(8)) < 0.08
    assert 0.15 < rank1(root, colour_histogram) < 0.6


def test_tracklet_folder_can_read_the_images(root, tmp_path):
    """The layout of folders is another one; the images are the same."""
    for path in sorted((root / 'bbox_train').rglob('*.jpg')):
        pid, camid, number = path.name[:4], path.name[5], path.name[7:11]
        folder = tmp_path / pid / camid / number
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).symlink_to(path)
    dataset = TrackletFolder(str(tmp_path), 'train', train_fraction=1.0)
    assert len(dataset) == 12
