"""Sizes and random changes: right pixels, right odds, alike in a clip."""
import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from cosam_mm.datasets.reid import (
    RandomErasingFrames,
    RandomFlipFrames,
    RandomTranslation2D,
    ResizeFrames,
)

RANDOM = [dict(type='RandomTranslation2D', size=(32, 16)),
          dict(type='RandomFlipFrames'), dict(type='RandomErasingFrames')]


@pytest.fixture(autouse=True)
def _seed():
    np.random.seed(0)


def image_of(seed=0, size=(32, 16)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def apply(transform, imgs, clip_len=None):
    if isinstance(transform, dict):
        transform = TRANSFORMS.build(transform)
    return transform(dict(imgs=list(imgs), clip_len=clip_len or len(imgs)))['imgs']


@pytest.mark.parametrize('config', RANDOM, ids=lambda config: config['type'])
class TestEveryRandomTransform:

    def test_all_frames_of_a_clip_change_alike(self, config):
        """Equal frames stay equal within a clip, and do not between clips."""
        image, between = image_of(), []
        for _ in range(30):
            clips = np.array(apply(config, [image.copy() for _ in range(12)], 4))
            clips = clips.reshape(3, 4, 32, 16, 3)
            assert (clips == clips[:, :1]).all()
            between.append((clips == clips[:1]).all())
        assert not all(between)

    def test_frames_stay_different_and_what_came_in_is_not_changed(self, config):
        """With one seed each frame goes through what it would go through alone."""
        frames = [image_of(seed) for seed in range(4)]
        for seed in range(20):
            np.random.seed(seed)
            together = apply(config, frames)
            for number, (frame, result) in enumerate(zip(frames, together)):
                np.random.seed(seed)
                np.testing.assert_array_equal(apply(config, [frame])[0], result)
                np.testing.assert_array_equal(frame, image_of(number))
                assert (result.shape, result.dtype) == ((32, 16, 3), np.uint8)

    @pytest.mark.parametrize('prob', [0.0, 0.5, 1.0])
    def test_odds(self, config, prob):
        image = image_of()
        changed = sum(
            not np.array_equal(apply(dict(config, prob=prob), [image])[0], image)
            for _ in range(400))
        # Some random shifts are none; 4.5 standard deviations.
        assert changed == pytest.approx(400 * prob, abs=0 if prob in (0, 1) else 45)


def test_frames_of_any_sizes_become_one_size():
    frames = [image_of(0, (40, 11)), image_of(1, (256, 128)), image_of(2, (2, 300))]
    results = apply(ResizeFrames((256, 128)), frames, 1)
    assert {result.shape for result in results} == {(256, 128, 3)}
    np.testing.assert_array_equal(results[1], frames[1])


class TestTranslation:

    def test_window_of_the_larger_image(self):
        image = image_of(size=(64, 24))
        larger = cv2.resize(image, (18, 36), interpolation=cv2.INTER_LINEAR)
        windows = {larger[y:y + 32, x:x + 16].tobytes(): (y, x)
                   for y in range(5) for x in range(3)}
        transform = RandomTranslation2D((32, 16), prob=1)
        seen = {windows[np.ascontiguousarray(apply(transform, [image])[0]).tobytes()]
                for _ in range(300)}
        assert seen == set(windows.values())

    @pytest.mark.parametrize(('options', 'size'), [
        (dict(prob=0), (64, 24)), (dict(prob=1, scale=1), (32, 16))])
    def test_plain_resize(self, options, size):
        image = image_of(size=size)
        result, = apply(RandomTranslation2D((32, 16), **options), [image])
        expected, = apply(ResizeFrames((32, 16)), [image])
        np.testing.assert_array_equal(result, expected)

    def test_defaults_are_those_of_the_paper(self):
        assert repr(RandomTranslation2D()) == (
            'RandomTranslation2D(size=(256, 128), prob=0.5, scale=1.125)')


def test_flip_mirrors_left_and_right():
    image = image_of()
    result, = apply(RandomFlipFrames(prob=1), [image])
    for column in range(16):
        np.testing.assert_array_equal(result[:, column], image[:, 15 - column])
    assert result.flags.c_contiguous


class TestErasing:

    @pytest.mark.parametrize('per_frame', [False, True])
    def test_one_box_of_the_colour(self, per_frame):
        image = np.full((64, 32, 3), 255, np.uint8)
        frames = apply(RandomErasingFrames(prob=1, per_frame=per_frame), 200 * [image],
                       4 if per_frame else 1)
        boxes = set()
        for frame in frames:
            erased = (frame == (124, 116, 104)).all(-1)
            assert (frame[~erased] == 255).all()
            height, width = np.ptp(np.argwhere(erased), 0) + 1
            assert erased.sum() == height * width           # one box
            assert 0.015 < erased.mean() < 0.42
            # Rounding to pixels moves the aspect of thin boxes.
            assert 0.2 < height / width < 5
            boxes.add(erased.tobytes())
        assert len(boxes) > 190

    def test_boxes_cover_the_whole_image(self):
        image = np.full((20, 10, 3), 255, np.uint8)
        frames = apply(RandomErasingFrames(prob=1, fill=(0, 0, 0)), 500 * [image], 1)
        assert not np.min(frames, axis=0).any()

    def test_no_box_fits(self):
        image = image_of()
        transform = RandomErasingFrames(prob=1, area_range=(1, 1), aspect_range=(9, 9))
        assert apply(transform, [image])[0] is image

    def test_half_of_the_frames(self):
        """Of four frames of a clip, all or none are erased in 1 of 8 clips."""
        image = image_of()
        np.random.seed(0)
        frames = apply(RandomErasingFrames(per_frame=True), 4000 * [image], 4)
        changed = np.array([frame is not image for frame in frames]).reshape(-1, 4)
        assert changed.mean() == pytest.approx(0.5, abs=0.03)
        assert np.isin(changed.sum(1), (0, 4)).mean() == pytest.approx(1 / 8, abs=0.03)

    def test_frames_of_several_sizes(self):
        frames = [image_of(), image_of(size=(16, 8))]
        erased = apply(RandomErasingFrames(prob=1, per_frame=True), frames)
        assert [frame.shape for frame in erased] == [(32, 16, 3), (16, 8, 3)]
        with pytest.raises(ValueError, match='one size'):
            apply(RandomErasingFrames(prob=1), frames)


@pytest.mark.parametrize(('transform', 'name', 'values'), [
    (ResizeFrames, 'size', [(256,), (0, 128), (2.5, 3), (3, 4, 5)]),
    (RandomTranslation2D, 'size', [(256,), (0, 128)]),
    (RandomTranslation2D, 'prob', [-0.1, 1.5]),
    (RandomTranslation2D, 'scale', [0.9]),
    (RandomFlipFrames, 'prob', [-0.1, 1.5]),
    (RandomErasingFrames, 'prob', [-0.1, 1.5]),
    (RandomErasingFrames, 'area_range', [(0.5, 0.1), (0.1, 1.1)]),
    (RandomErasingFrames, 'aspect_range', [(0, 1), (1,)]),
    (RandomErasingFrames, 'fill', [(0, 0), (0, 0, 256)])])
def test_bad_arguments_are_refused(transform, name, values):
    for value in values:
        with pytest.raises(ValueError, match=name):
            transform(**{name: value})
