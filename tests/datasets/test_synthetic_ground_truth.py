"""Files of drawn data sets, and their silhouettes drawn again."""
import json
import re

import cv2
import numpy as np
import pytest

from cosam_mm.datasets.synthetic.actions import ClutterConfig, draw_action_dataset
from cosam_mm.datasets.synthetic.ground_truth import drawn_parameters, drawn_test_part
from cosam_mm.datasets.synthetic.persons import draw_reid_dataset


@pytest.fixture(scope='module')
def reid_root(tmp_path_factory):
    return draw_reid_dataset(tmp_path_factory.mktemp('truth') / 'reid', 1, 2, 2, seed=3,
                             num_distractors=2, num_junk=2, progress=False)


@pytest.fixture(scope='module')
def action_root(tmp_path_factory):
    return draw_action_dataset(tmp_path_factory.mktemp('truth') / 'action', 3, seed=3,
                               num_frames=4, progress=False)


def read_images(paths):
    return np.stack([cv2.imread(str(path))[..., ::-1] for path in paths])


def read_video(path):
    reader, frames = cv2.VideoCapture(str(path)), []
    while True:
        is_there, frame = reader.read()
        if not is_there:
            return np.stack(frames)[..., ::-1]
        frames.append(frame)


def test_every_test_tracklet_but_junk(reid_root):
    videos = drawn_test_part(reid_root)
    lines = (reid_root / 'info' / 'test_name.txt').read_text().split()
    expected = [name for name in lines if not name.startswith('00-1')]
    assert [path.name for video in videos for path in video.source] == expected
    assert videos[0].name == '0000C1T0001'
    for video in videos:
        frames = read_images(video.source)
        drawn = video.draw()
        np.testing.assert_array_equal(
            video.silhouettes(np.arange(len(frames)), frames), drawn.silhouette)
        assert len(drawn.silhouette) == len(frames)


def test_every_test_clip_of_a_split(action_root):
    for split in (1, 2, 3):
        videos = drawn_test_part(action_root, split)
        listed = {match for path in (action_root / 'splits').glob(f'*split{split}.txt')
                  for match in re.findall(r'^(\S+) 2', path.read_text(), re.M)}
        assert {video.name for video in videos} == listed
        assert len(videos) == len(listed) == 8
    numbers = np.array([3, 1])
    for video in videos:
        frames = read_video(video.source)
        found = video.silhouettes(numbers, frames[numbers])
        np.testing.assert_array_equal(found, video.draw().silhouette[[3, 1]])
        assert found.any()


def test_clips_of_any_difficulty_are_drawn_again(tmp_path):
    root = draw_action_dataset(
        tmp_path / 'hard', 3, num_frames=12, size=(64, 40), progress=False,
        clutter=ClutterConfig.scaled(1), occlusion=1.0)
    for video in drawn_test_part(root):
        drawn, frames = video.draw().frames.astype(float), read_video(video.source)
        assert np.abs(drawn - frames).mean() < 10  # else 10 to 23


def test_each_drawing_is_the_same(action_root, reid_root):
    for root in (action_root, reid_root):
        video = drawn_test_part(root)[0]
        np.testing.assert_array_equal(video.draw().frames, video.draw().frames)


def test_other_frames_are_noticed(reid_root):
    first, second = drawn_test_part(reid_root)[-2:]
    frames = read_images(second.source)[:8]
    with pytest.raises(ValueError, match=f'{first.name} is not what its data set would '
                                         r'be drawn like now: pixels differ by \d\d'):
        first.silhouettes(np.arange(8), frames)
    with pytest.raises(ValueError, match=rf'{first.name} holds frames of \(63, 32, 3\) '
                                         r'up to number 7, and is drawn with \d+ of '
                                         r'\(64, 32, 3\): draw the data set again'):
        first.silhouettes(np.arange(8), frames[:, 1:])
    with pytest.raises(ValueError, match='up to number 99, and is drawn with'):
        first.silhouettes(np.array([99]), frames[:1])


def test_wrong_folder_and_split(tmp_path, action_root):
    with pytest.raises(FileNotFoundError,
                       match=f'{tmp_path} has neither demo.json nor reid_demo.json'):
        drawn_test_part(tmp_path)
    with pytest.raises(ValueError, match='split must be 1 to 3, got 4'):
        drawn_test_part(action_root, 4)


def test_parameters(action_root):
    assert drawn_parameters(action_root) == json.loads(
        (action_root / 'demo.json').read_text())
