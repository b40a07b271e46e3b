"""Synthetic data sets on disk: layout, splits, second runs, mistakes, silhouettes."""
import csv
import json
import os
import re
import subprocess
import sys
from functools import partial

import cv2
import decord
import numpy as np
import pytest
from scipy.io import loadmat

from cosam_mm.datasets.reid import MARS
from cosam_mm.datasets.synthetic.action_dataset_files import (
    clip_name,
    generate_action_dataset,
)
from cosam_mm.datasets.synthetic.ground_truth import (
    generation_parameters,
    synthetic_test_videos,
)
from cosam_mm.datasets.synthetic.motion_clip import MOTIONS, ClutterConfig
from cosam_mm.datasets.synthetic.reid_dataset_files import (
    dataset_person,
    generate_reid_dataset,
)
from cosam_mm.datasets.synthetic.walking_tracklet import Difficulty

ACTION = dict(clips_per_class=3, num_frames=6, size=(44, 36))
REID = dict(num_train_pids=2, num_test_pids=1, num_cameras=2, num_distractors=2,
            num_junk=2)
EASY = Difficulty(clutter=0, occlusion=0, accessories=0, misalignment=0)
FEW = dict(num_train_pids=1, num_test_pids=1, num_distractors=1, num_junk=1)
KINDS = {'action': (generate_action_dataset, ACTION, 'demo.json'),
         'reid': (generate_reid_dataset, REID, 'reid_demo.json')}


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    return {kind: generate(tmp_path_factory.mktemp(kind) / 'set', **arguments)
            for kind, (generate, arguments, _) in KINDS.items()}


@pytest.fixture
def action_root(roots):
    return roots['action']


@pytest.fixture
def reid_root(roots):
    return roots['reid']


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}


def media_of(folder):
    return {path: data for path, data in files_of(folder).items()
            if path.suffix in ('.avi', '.jpg')}


def read_images(paths):
    return np.stack([cv2.imread(str(path))[..., ::-1] for path in paths])


def read_video(path):
    reader, frames = cv2.VideoCapture(str(path)), []
    while (answer := reader.read())[0]:
        frames.append(answer[1][..., ::-1])
    return np.stack(frames)


def test_fresh_interpreter_writes_the_same_bytes(roots, repo, tmp_path):
    code = 'import sys, cv2\ncv2.setNumThreads(1)\n'
    for kind, (function, arguments, _) in KINDS.items():
        code += (f'from {function.__module__} import {function.__name__}\n'
                 f'{function.__name__}(sys.argv[1] + "/{kind}", **{arguments!r})\n')
    done = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path)], check=True, capture_output=True,
        text=True, env={**os.environ, 'PYTHONPATH': str(repo), 'PYTHONHASHSEED': '7'})
    for kind, root in roots.items():
        assert files_of(tmp_path / kind) == files_of(root)
    assert (done.stdout, done.stderr) == ('', '')  # no progress bar without a terminal


@pytest.mark.parametrize('kind', KINDS)
class TestBothKinds:

    @pytest.fixture
    def generate(self, kind):
        function, arguments, _ = KINDS[kind]

        def _generate(out, **changes):
            return function(out, **{**arguments, **changes})
        return _generate

    @pytest.fixture
    def generate_few(self, kind, generate):
        return partial(generate, **FEW) if kind == 'reid' else generate

    def test_file_does_not_depend_on_which_others_there_are(
            self, roots, kind, generate_few, tmp_path):
        changes = dict(action=dict(clips_per_class=4), reid=dict(num_cameras=3))[kind]
        other = generate_few(tmp_path / 'other', **changes)
        media, others = media_of(roots[kind]), media_of(other)
        common = media.keys() & others.keys()
        assert {path: media[path] for path in common} == {
            path: others[path] for path in common}
        assert len({path.parent for path in common}) == dict(action=8, reid=3)[kind]
        assert len(set(others.values())) == len(others)

    def test_another_seed_gives_other_files_and_any_folder_will_do(
            self, roots, kind, generate_few, tmp_path):
        """Empty ones, links, and such whose parents are missing."""
        (tmp_path / 'empty').mkdir()
        (tmp_path / 'link').symlink_to('empty')
        other = generate_few(tmp_path / 'link', seed=1)
        assert other.is_symlink()
        assert generation_parameters(other)['seed'] == 1
        media, others = (set(media_of(root).values()) for root in (roots[kind], other))
        assert not media & others

    def test_finished_set_is_left_alone(self, roots, kind, generate):
        def stamps():
            return {path: path.stat().st_mtime_ns for path in roots[kind].rglob('*')}

        before = stamps()
        assert generate(str(roots[kind])) == roots[kind]
        assert stamps() == before
        parameters = json.loads((roots[kind] / KINDS[kind][2]).read_text())
        assert parameters == generation_parameters(roots[kind])
        assert parameters['size'] == dict(action=[44, 36], reid=[64, 32])[kind]
        assert 'occlusion' not in parameters

    def test_other_parameters_are_refused(self, roots, kind, generate):
        before = files_of(roots[kind])
        for changes, match in [
                (dict(seed=4), 'seed 0 instead of 4'),
                (dict(action=dict(num_frames=7), reid=dict(size=(128, 64)))[kind],
                 dict(action='num_frames', reid='size')[kind]),
                (dict(action=dict(clutter=ClutterConfig(num_distractors=1)),
                      reid=dict(difficulty=EASY))[kind],
                 dict(action='clutter', reid='difficulty')[kind])]:
            with pytest.raises(ValueError, match=match):
                generate(roots[kind], **changes)
        assert files_of(roots[kind]) == before

    def test_missing_file_is_named_and_later_ones_do_not_matter(
            self, kind, generate_few, tmp_path):
        root = generate_few(tmp_path / 'a' / 'b (c)')
        (root / 'classes.txt').write_text('grow\n')
        assert generate_few(root) == root
        missing = dict(action=f'videos/grow/{clip_name("grow", 2)}',
                       reid='info/query_IDX.mat')[kind]
        (root / missing).unlink()
        with pytest.raises(ValueError, match=re.escape(missing)):
            generate_few(root)

    def test_folder_with_other_things_is_refused_and_kept(self, generate_few, tmp_path):
        (tmp_path / 'thesis.tex').write_text('precious')
        for path in (tmp_path, tmp_path / 'thesis.tex'):
            with pytest.raises(ValueError, match='no finished'):
                generate_few(path)
        assert (tmp_path / 'thesis.tex').read_text() == 'precious'

    def test_interrupted_run_leaves_nothing_behind(self, generate_few, tmp_path,
                                                   monkeypatch):
        make_rng, calls = np.random.default_rng, []

        def interrupted(*args):
            calls.append(args)
            if len(calls) == 30:
                raise KeyboardInterrupt
            return make_rng(*args)

        monkeypatch.setattr(np.random, 'default_rng', interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate_few(tmp_path / 'set')
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('kind', 'name', 'values'), [
    ('action', 'clips_per_class', [2]), ('action', 'seed', [-1]),
    ('action', 'size', [(8, 8), (48, 36), (72, 96)]), ('action', 'occlusion', [-1]),
    ('reid', 'num_train_pids', [0]), ('reid', 'num_test_pids', [0, 9999]),
    ('reid', 'num_cameras', [1, 10]), ('reid', 'seed', [-1]),
    ('reid', 'num_junk', [-2]), ('reid', 'num_distractors', [-1]),
    ('reid', 'size', [(64, 8)])])
def test_bad_arguments_leave_nothing_behind(tmp_path, kind, name, values):
    generate, arguments, _ = KINDS[kind]
    for value in values:
        with pytest.raises(ValueError, match=f'{name} .*is '):
            generate(tmp_path / 'set', **{**arguments, name: value})
        assert not list(tmp_path.iterdir())


# Action clips.


def test_action_layout_and_official_style_splits(action_root):
    names = [clip_name('grow', clip) for clip in range(3)]
    expected = {'demo.json'}
    for motion in MOTIONS:
        expected |= {f'videos/{motion}/{name.replace("grow", motion)}'
                     for name in names}
        for split in (1, 2, 3):
            path = f'splits/{motion}_test_split{split}.txt'
            expected.add(path)
            lines = (action_root / path).read_text().splitlines()
            assert all(line.endswith((' 1 ', ' 2 ')) for line in lines)
            assert [line.split()[0] for line in lines] == [
                name.replace('grow', motion) for name in names]
            assert sorted(line.split()[1] for line in lines) == ['1', '1', '2']
    assert {path.as_posix() for path in files_of(action_root)} == expected
    assert not list(action_root.parent.glob('.*'))


def test_videos_are_read_by_decord_and_opencv(action_root):
    for video in synthetic_test_videos(action_root):
        expected = video.generate().frames
        reader = decord.VideoReader(str(video.source))
        assert len(reader) == 6
        frames = reader.get_batch(range(6)).asnumpy()
        assert frames.shape == (6, 36, 44, 3)
        assert np.array_equal(reader.get_batch([4, 1]).asnumpy(), frames[[4, 1]])
        assert np.abs(frames.astype(int) - expected).mean() < 8
        assert np.abs(read_video(video.source).astype(int) - expected).mean() < 8


def test_video_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    class FullDisk:
        def __init__(self, *args):
            self.write = lambda frame: None
            self.release = lambda: None

    monkeypatch.setattr(cv2, 'VideoWriter', FullDisk)
    with pytest.raises(OSError, match='disk full'):
        generate_action_dataset(tmp_path / 'set', **ACTION)
    assert not list(tmp_path.iterdir())


def test_occluded_set_recognises_itself(action_root, tmp_path):
    arguments = dict(ACTION, occlusion=1.0, clutter=ClutterConfig.scaled(1))
    hard = generate_action_dataset(tmp_path / 'hard', **arguments)
    assert generate_action_dataset(hard, **arguments) == hard
    assert generation_parameters(hard)['occlusion'] == 1.0
    for video in synthetic_test_videos(hard):  # generated again
        own = video.generate().frames.astype(float)
        assert np.abs(own - read_video(video.source)).mean() < 10
    for root, arguments in ((hard, ACTION), (action_root, dict(ACTION, occlusion=.5))):
        with pytest.raises(ValueError, match='occlusion'):
            generate_action_dataset(root, **arguments)
    easy, occluded = media_of(action_root), media_of(hard)
    assert easy.keys() == occluded.keys()
    assert not set(easy.values()) & set(occluded.values())


# Tracklets in MARS's layout.


@pytest.mark.parametrize('part', ['train', 'test'])
def test_index_files_describe_the_images(reid_root, part):
    text = (reid_root / 'info' / f'{part}_name.txt').read_text()
    names = text.splitlines()
    assert text.endswith('\n')
    images = [path.name for path in (reid_root / f'bbox_{part}').rglob('*.jpg')]
    assert sorted(images) == sorted(names)
    path = reid_root / 'info' / f'tracks_{part}_info.mat'
    assert path.read_bytes()[:116].rstrip() == b'MATLAB 5.0 MAT-file'  # no time of day
    rows = loadmat(path)[f'track_{part}_info']
    assert (rows[0, 0], rows[-1, 1]) == (1, len(names))
    assert np.array_equal(rows[1:, 0], rows[:-1, 1] + 1)
    lengths = (rows[:, 1] - rows[:, 0] + 1).tolist()
    assert 8 <= min(lengths) < max(lengths) <= 16
    for first, last, pid, camid in rows:
        folder = '00-1' if pid == -1 else f'{pid:04d}'
        start = f'{folder}C{camid}{names[first - 1][6:11]}'
        for number, name in enumerate(names[first - 1:last], 1):
            assert name == f'{start}F{number:03d}.jpg'
            assert (reid_root / f'bbox_{part}' / folder / name).is_file()
    pids = rows[:, 2].tolist()
    assert pids == sorted(pids)
    expected = {1, 2} if part == 'train' else {-1, 0, 3}
    assert set(pids) == expected
    assert all(pids.count(pid) == (4 if pid > 0 else 2) for pid in expected)


def test_queries_are_one_of_each_identity_and_camera(reid_root):
    rows = loadmat(reid_root / 'info' / 'tracks_test_info.mat')['track_test_info']
    query = loadmat(reid_root / 'info' / 'query_IDX.mat')['query_IDX']
    assert query.shape == (1, 2)
    assert rows[query[0].astype(int) - 1, 2:].tolist() == [[3, 1], [3, 2]]


def test_attributes_are_those_of_the_persons(reid_root):
    with open(reid_root / 'info' / 'attributes.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['pid'] for row in rows] == ['1', '2', '3']
    for row in rows:
        carried = dataset_person(0, int(row['pid']), 0.5).attributes
        assert row == {'pid': row['pid'], **{k: str(v) for k, v in carried.items()}}


@pytest.mark.parametrize(('subset', 'query_in_gallery', 'num_tracklets', 'pids'), [
    ('train', False, 8, {1, 2}), ('query', False, 2, {3}),
    ('gallery', False, 4, {0, 3}), ('gallery', True, 6, {0, 3})])
def test_mars_reads_it(reid_root, subset, query_in_gallery, num_tracklets, pids):
    dataset = MARS(str(reid_root), subset, query_in_gallery=query_in_gallery,
                   expected_counts=None, check_images=True)
    items = [dataset.get_data_info(k) for k in range(len(dataset))]
    assert len(items) == num_tracklets
    assert {item['pid'] for item in items} == pids
    assert {item['camid'] for item in items} == {1, 2}


def test_size_and_difficulty_reach_the_files(tmp_path):
    root = generate_reid_dataset(tmp_path, 1, 1, 2, size=(48, 20), num_distractors=0,
                                 num_junk=0, difficulty=EASY)
    assert {path.parent.name for path in root.rglob('*.jpg')} == {'0001', '0002'}
    assert cv2.imread(str(next(root.rglob('*.jpg')))).shape == (48, 20, 3)
    assert (root / 'info' / 'attributes.csv').read_text() == (
        'pid,handbag,backpack,hat,umbrella\n1,0,0,0,0\n2,0,0,0,0\n')


# Ground truth of the files.


def test_silhouettes_of_every_test_tracklet_but_junk(reid_root):
    videos = synthetic_test_videos(reid_root)
    lines = (reid_root / 'info' / 'test_name.txt').read_text().split()
    expected = [name for name in lines if not name.startswith('00-1')]
    assert [path.name for video in videos for path in video.source] == expected
    assert videos[0].name == '0000C1T0001'
    for video in videos:
        frames = read_images(video.source)
        np.testing.assert_array_equal(
            video.silhouettes(np.arange(len(frames)), frames),
            video.generate().silhouette)


@pytest.mark.parametrize('split', [1, 3])
def test_silhouettes_of_every_test_clip_of_a_split(action_root, split):
    videos = synthetic_test_videos(action_root, split)
    listed = {match for path in (action_root / 'splits').glob(f'*split{split}.txt')
              for match in re.findall(r'^(\S+) 2', path.read_text(), re.M)}
    assert {video.name for video in videos} == listed
    assert len(videos) == len(listed) == 8
    for video in videos:
        found = video.silhouettes(np.array([3, 1]), read_video(video.source)[[3, 1]])
        np.testing.assert_array_equal(found, video.generate().silhouette[[3, 1]])
        assert found.any()


def test_other_frames_are_noticed(reid_root):
    first, second = synthetic_test_videos(reid_root)[-2:]
    frames = read_images(second.source)[:8]
    for numbers, images, match in [
            (np.arange(8), frames, 'differ'),
            (np.arange(8), frames[:, 1:], r'\(63, 32, 3\)'),
            (np.array([99]), frames[:1], '99')]:
        with pytest.raises(ValueError, match=match):
            first.silhouettes(numbers, images)


def test_wrong_folder_and_split(tmp_path, action_root):
    with pytest.raises(FileNotFoundError, match='reid_demo.json'):
        synthetic_test_videos(tmp_path)
    with pytest.raises(ValueError, match='split'):
        synthetic_test_videos(action_root, 4)
