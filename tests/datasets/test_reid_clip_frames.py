"""Frames of clips: every way of choosing, for tracklets of every length."""
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from cosam_mm.datasets.reid import SampleTrackletFrames
from cosam_mm.datasets.reid.tracklet_sampling import (
    all_clips,
    consecutive_frames,
    even_frames,
    random_frames,
)

LENGTHS = [(num_frames, clip_len) for num_frames in (1, 2, 3, 4, 5, 8, 17, 100)
           for clip_len in (1, 2, 4, 8)]


@pytest.fixture(autouse=True)
def _seed():
    np.random.seed(0)


def looped(frames, clip_len):
    """The oracle of looping: append from the front until it is enough."""
    clip = list(frames)
    for frame in frames * clip_len:
        if len(clip) < clip_len:
            clip.append(frame)
    return clip[:clip_len]


@pytest.mark.parametrize(('num_frames', 'clip_len'), LENGTHS)
class TestAnyLength:

    def test_consecutive(self, num_frames, clip_len):
        for _ in range(20):
            clip, = consecutive_frames(num_frames, clip_len).tolist()
            if num_frames < clip_len:
                assert clip == looped(list(range(num_frames)), clip_len)
            else:
                assert clip == list(range(clip[0], clip[0] + clip_len))
                assert 0 <= clip[0] <= num_frames - clip_len

    def test_random(self, num_frames, clip_len):
        for _ in range(20):
            clip, = random_frames(num_frames, clip_len).tolist()
            if num_frames < clip_len:
                assert clip == looped(list(range(num_frames)), clip_len)
            else:
                assert clip == sorted(set(clip))
                assert len(clip) == clip_len
                assert set(clip) <= set(range(num_frames))

    def test_even(self, num_frames, clip_len):
        clip, = even_frames(num_frames, clip_len).tolist()
        for k, frame in enumerate(clip):
            # The frame that holds the middle of the k-th part.
            middle = (k + 0.5) * num_frames / clip_len
            assert frame <= middle < frame + 1
        assert len(clip) == clip_len
        if num_frames >= clip_len:
            assert len(set(clip)) == clip_len

    def test_all_clips(self, num_frames, clip_len):
        frames = list(range(num_frames))
        expected = []
        while frames:
            expected.append(looped(frames[:clip_len], clip_len))
            frames = frames[clip_len:]
        assert all_clips(num_frames, clip_len).tolist() == expected

    @pytest.mark.parametrize('mode', SampleTrackletFrames.modes)
    def test_transform(self, num_frames, clip_len, mode):
        transform = TRANSFORMS.build(dict(
            type='SampleTrackletFrames', num_frames=clip_len, mode=mode))
        results = transform(dict(img_paths=['x'] * num_frames, pid=3))
        inds = results['frame_inds']
        assert inds.shape == (results['num_clips'], clip_len)
        assert inds.dtype == np.int64
        assert inds.min() >= 0
        assert inds.max() < num_frames
        assert results['clip_len'] == clip_len
        assert results['num_frames'] == num_frames
        assert results['clip_sampling'] == f'{mode}, {clip_len} frames'
        assert results['pid'] == 3


def test_every_start_is_drawn():
    starts = {consecutive_frames(7, 4)[0, 0] for _ in range(200)}
    assert starts == {0, 1, 2, 3}


def test_every_choice_is_drawn():
    clips = {tuple(random_frames(5, 3)[0]) for _ in range(400)}
    assert len(clips) == 10


def test_draws_follow_the_seed_of_numpy():
    for draw in (consecutive_frames, random_frames):
        np.random.seed(5)
        first = [draw(50, 4).tolist() for _ in range(5)]
        np.random.seed(5)
        assert [draw(50, 4).tolist() for _ in range(5)] == first


def test_testing_draws_nothing():
    for choose in (even_frames, all_clips):
        state = np.random.get_state()[1].tolist()
        choose(50, 4)
        assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize(('kwargs', 'match'), [
    (dict(mode='dense'), r"mode must be one of \('consecutive', 'random', 'even', '"),
    (dict(num_frames=0), 'num_frames must be an integer of at least 1, got 0'),
    (dict(num_frames=2.5), 'num_frames must be an integer')])
def test_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        SampleTrackletFrames(**kwargs)


def test_repr():
    assert repr(SampleTrackletFrames(8, 'even')) == (
        "SampleTrackletFrames(num_frames=8, mode='even')")
