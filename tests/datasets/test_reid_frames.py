"""From image files to clips: frames of any tracklet, stand-ins for broken images."""
import logging

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from cosam_mm.datasets import image_files
from cosam_mm.datasets.reid import LoadTrackletFrames, SampleTrackletFrames

BROKEN = {
    'missing': None,
    'empty': b'',
    'garbage': bytes(range(256)) * 4,
    'pixel': cv2.imencode('.png', np.zeros((1, 1, 3), np.uint8))[1].tobytes(),
    'line': cv2.imencode('.png', np.zeros((40, 1, 3), np.uint8))[1].tobytes(),
    'head': cv2.imencode('.jpg', np.zeros((64, 32, 3), np.uint8))[1].tobytes()[:100],
}
RANDOM_MODES = ('consecutive', 'random')
FIXED_MODES = ('even', 'all_clips')


def choose(num_frames, clip_len, mode):
    return TRANSFORMS.build(dict(
        type='SampleTrackletFrames', num_frames=clip_len, mode=mode))(
            dict(img_paths=['x'] * num_frames, pid=3))


def looped(frames, clip_len):
    """The oracle of looping: append from the front until it is enough."""
    clip = list(frames)
    for frame in frames * clip_len:
        if len(clip) < clip_len:
            clip.append(frame)
    return clip[:clip_len]


@pytest.mark.parametrize(('num_frames', 'clip_len'), [
    (num_frames, clip_len) for num_frames in (1, 3, 4, 8, 17, 100)
    for clip_len in (1, 4, 8)])
class TestChoosing:

    @pytest.mark.parametrize('mode', RANDOM_MODES)
    def test_random_modes(self, num_frames, clip_len, mode):
        for _ in range(20):
            clip, = choose(num_frames, clip_len, mode)['frame_inds'].tolist()
            if num_frames < clip_len:
                assert clip == looped(list(range(num_frames)), clip_len)
                continue
            assert clip == sorted(set(clip))
            assert len(clip) == clip_len
            assert 0 <= clip[0] <= clip[-1] < num_frames
            assert mode == 'random' or clip[-1] - clip[0] == clip_len - 1

    def test_fixed_modes(self, num_frames, clip_len):
        clip, = choose(num_frames, clip_len, 'even')['frame_inds'].tolist()
        assert len(clip) == clip_len
        for k, frame in enumerate(clip):
            # The frame that holds the middle of the k-th part.
            middle = (k + 0.5) * num_frames / clip_len
            assert frame <= middle < frame + 1
        frames = list(range(num_frames))
        expected = []
        while frames:
            expected.append(looped(frames[:clip_len], clip_len))
            frames = frames[clip_len:]
        assert choose(num_frames, clip_len, 'all_clips')['frame_inds'].tolist() == (
            expected)

    @pytest.mark.parametrize('mode', RANDOM_MODES + FIXED_MODES)
    def test_results(self, num_frames, clip_len, mode):
        results = choose(num_frames, clip_len, mode)
        inds = results.pop('frame_inds')
        assert (inds.shape, inds.dtype) == ((results['num_clips'], clip_len), np.int64)
        results.pop('img_paths')
        assert results == dict(
            pid=3, num_clips=len(inds), clip_len=clip_len, num_frames=num_frames,
            clip_sampling=f'{mode}, {clip_len} frames')


@pytest.mark.parametrize(('num_frames', 'clip_len', 'mode', 'num_choices'), [
    (7, 4, 'consecutive', 4), (5, 3, 'random', 10)])
def test_every_choice_comes_some_time(num_frames, clip_len, mode, num_choices):
    clips = {tuple(choose(num_frames, clip_len, mode)['frame_inds'][0])
             for _ in range(400)}
    assert len(clips) == num_choices


def test_random_modes_follow_the_seed_of_numpy_and_others_leave_it_alone():
    for mode in RANDOM_MODES + FIXED_MODES:
        np.random.seed(5)
        before = np.random.get_state()[1:3]
        first = [choose(50, 4, mode)['frame_inds'].tolist() for _ in range(5)]
        unchanged = all(map(np.array_equal, before, np.random.get_state()[1:3]))
        assert unchanged == (mode in FIXED_MODES)
        np.random.seed(5)
        assert [choose(50, 4, mode)['frame_inds'].tolist() for _ in range(5)] == first


@pytest.mark.parametrize(('transform', 'kwargs', 'match'), [
    (SampleTrackletFrames, dict(mode='dense'), 'all_clips'),
    (SampleTrackletFrames, dict(num_frames=0), 'num_frames'),
    (SampleTrackletFrames, dict(num_frames=2.5), 'num_frames'),
    (LoadTrackletFrames, dict(on_unreadable='ignore'), 'on_unreadable')])
def test_bad_arguments_are_refused(transform, kwargs, match):
    with pytest.raises(ValueError, match=match):
        transform(**kwargs)


def test_repr():
    assert repr(SampleTrackletFrames(8, 'even')) == (
        "SampleTrackletFrames(num_frames=8, mode='even')")
    assert repr(LoadTrackletFrames('blank')) == (
        "LoadTrackletFrames(on_unreadable='blank', blank_size=(256, 128), "
        'time_limit=60, white_level=None)')


@pytest.fixture
def paths(tmp_path):
    """Eight frames; frame k is grey 20 * k, and of a size of its own."""
    folder = tmp_path / 'tracklet'
    folder.mkdir()
    paths = []
    for k in range(8):
        paths.append(str(folder / f'{k}.png'))
        cv2.imwrite(paths[-1], np.full((16 + k, 8, 3), 20 * k, np.uint8))
    return paths


def spoil(path, kind='garbage'):
    with open(path, 'wb') as file:
        file.write(BROKEN[kind] or b'')


def load(paths, inds, transform=None, **kwargs):
    transform = transform or LoadTrackletFrames(**kwargs)
    inds = np.array(inds)
    return transform(dict(img_paths=paths, frame_inds=inds, num_clips=len(inds),
                          clip_len=inds.shape[1], tracklet_id='t7'))


def frames_of(results):
    """Which frame each image is, by its grey."""
    assert all(img.dtype == np.uint8 and img.ndim == 3 for img in results['imgs'])
    return [int(img[0, 0, 0]) // 20 for img in results['imgs']]


class TestWhole:

    def test_frames_in_order(self, paths, log):
        results = load(paths, [[3, 1], [1, 7], [0, 0]])
        assert frames_of(results) == [3, 1, 1, 7, 0, 0]
        assert [img.shape for img in results['imgs'][:2]] == [(19, 8, 3), (17, 8, 3)]
        assert results['num_replaced'] == 0
        assert 'unreadable' not in results
        assert not log(logging.WARNING)

    def test_a_frame_is_decoded_once(self, paths, monkeypatch):
        decode, calls = image_files.rgb_pixels, []
        monkeypatch.setattr(image_files, 'rgb_pixels',
                            lambda *args: calls.append(1) or decode(*args))
        assert frames_of(load(paths, [[2, 5, 2, 5]])) == [2, 5, 2, 5]
        assert len(calls) == 2

    def test_order_of_transforms(self, paths):
        with pytest.raises(ValueError, match='SampleTrackletFrames'):
            LoadTrackletFrames()(dict(img_paths=paths))


class TestBroken:

    @pytest.mark.parametrize(('broken', 'wanted', 'expected'), [
        ([3], 3, 2), ([0], 0, 1), ([7], 7, 6), ([2, 3, 4], 3, 1), ([2, 3], 3, 4),
        ([0, 1, 2, 3], 0, 4), (range(7), 1, 7)])
    def test_nearest_readable_frame(self, paths, broken, wanted, expected):
        for k in broken:
            spoil(paths[k])
        results = load(paths, [[wanted]])
        assert frames_of(results) == [expected]
        assert results['num_replaced'] == 1

    @pytest.mark.parametrize('kind', BROKEN)
    def test_every_kind(self, paths, kind):
        spoil(paths[5], kind)
        results = load(paths, [[4, 5, 6, 5]])
        assert frames_of(results) == [4, 4, 6, 4]
        assert results['num_replaced'] == 2

    def test_reported_once_with_name_and_count(self, paths, log):
        transform = LoadTrackletFrames()
        for k in (2, 5):
            spoil(paths[k])
        for _ in range(3):
            load(paths, [[2, 5, 2, 5]], transform)
        first, second = log(logging.WARNING)
        assert all(part in first for part in (' 1: ', paths[2], 'decode', paths[1]))
        assert f' 2: {paths[5]}' in second
        assert transform.num_unreadable == 2


class TestNoFrame:

    @pytest.fixture
    def lost(self, paths):
        for path in paths:
            spoil(path)
        return paths

    def test_skip(self, lost, log):
        transform = LoadTrackletFrames()
        assert load(lost, [[0, 1, 2, 3]], transform) is None
        assert load(lost, [[4, 5, 6, 7]], transform) is None
        line, = log(logging.WARNING)
        assert lost[0] in line
        assert 'all 8 frames' in line
        assert transform.num_unreadable == 8

    def test_blank(self, lost, log):
        results = load(lost, [[0, 1], [2, 3]], on_unreadable='blank', blank_size=(6, 4))
        assert results['unreadable']
        assert results['num_replaced'] == 4
        assert [img.shape for img in results['imgs']] == [(6, 4, 3)] * 4
        assert not np.any(results['imgs'])
        assert 'black' in log(logging.WARNING)[0]
