"""Masks on frames: which step, which pixels, and which view a pipeline takes."""
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosam_mm.visualization.mask_placement import (
    WHOLE_FRAME,
    average_places,
    first_showings,
    fit_view,
    frame_masks,
    paint_places,
    place_mask,
    seen_pixels,
    step_means,
    value_range,
)

# -- time ------------------------------------------------------------------------


@pytest.mark.parametrize(('steps', 'frames', 'expected'), [
    (4, 32, [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8),
    (4, 4, [0, 1, 2, 3]),
    (1, 3, [0, 0, 0]),
    (2, 5, [0, 0, 0, 1, 1]),
    (3, 4, [0, 0, 1, 2])])
def test_each_frame_has_the_mask_of_its_step(steps, frames, expected):
    mask = np.arange(float(steps)).reshape(1, steps, 1, 1)
    assert frame_masks(mask, frames).ravel().tolist() == expected


def test_clips_follow_one_another():
    mask = np.arange(12.).reshape(2, 2, 3, 1)
    found = frame_masks(mask, 4)
    assert found.shape == (8, 3, 1)
    for frame in range(8):
        np.testing.assert_array_equal(found[frame], mask[frame // 4, frame % 4 // 2])


def test_first_showings():
    # A tracklet of 6 frames in clips of 4, a video of 3 frames that is looped.
    assert first_showings([0, 1, 2, 3, 4, 5, 4, 5]).tolist() == [0, 1, 2, 3, 4, 5]
    assert first_showings([0, 1, 2, 0, 1]).tolist() == [0, 1, 2]


# -- space -----------------------------------------------------------------------


def test_places_are_blocks_of_pixels():
    mask = np.array([[.1, .2], [.3, .4]])
    found = place_mask(mask, (4, 6), smooth=False)
    np.testing.assert_allclose(found, np.kron(mask, np.ones((2, 3))))


def test_smooth_mask_is_opencvs_linear_resize():
    mask = np.random.default_rng(0).random((5, 3))
    expected = cv2.resize(mask, (21, 40), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(place_mask(mask, (40, 21)), expected, atol=1e-6)


def test_mask_lies_where_the_crop_was():
    """A mask of 2 x 2 in the middle half of a frame of 8 x 8."""
    mask, box = np.array([[1., 2.], [3., 4.]]), (.25, .25, .75, .75)
    seen = seen_pixels((8, 8), box)
    expected = np.zeros((8, 8), bool)
    expected[2:6, 2:6] = True
    np.testing.assert_array_equal(seen, expected)
    found = place_mask(mask, (8, 8), box, smooth=False)
    np.testing.assert_allclose(found[2:6, 2:6], np.kron(mask, np.ones((2, 2))))


def test_mirrored_view():
    mask = np.array([[1., 2.]])
    found = place_mask(mask, (1, 4), (1., 0., 0., 1.), smooth=False)
    assert found.tolist() == [[2., 2., 1., 1.]]
    seen = seen_pixels((1, 4), (1., 0., .5, 1.))
    assert seen.tolist() == [[False, False, True, True]]


def test_view_beyond_the_frame():
    """Padding at the right takes the mask's last column with it."""
    mask = np.array([[1., 2., 3.]])
    found = place_mask(mask, (1, 4), (0., 0., 1.5, 1.), smooth=False)
    assert found.tolist() == [[1., 1., 2., 2.]]
    assert seen_pixels((1, 4), (0., 0., 1.5, 1.)).all()


def test_constant_mask_stays_constant():
    np.testing.assert_allclose(place_mask(np.full((3, 4), .7), (50, 31)), .7)


def test_value_range():
    assert value_range([np.array([.3, .9]), np.array([[.1]])]) == (.1, .9)


# -- views -----------------------------------------------------------------------


@given(height=st.integers(40, 300), width=st.integers(40, 300), data=st.data())
def test_crops_resizes_and_flips_are_found(height, width, data):
    top = data.draw(st.integers(0, height - 32))
    left = data.draw(st.integers(0, width - 32))
    bottom = data.draw(st.integers(top + 32, height))
    right = data.draw(st.integers(left + 32, width))
    size = data.draw(st.integers(32, 224)), data.draw(st.integers(32, 224))
    is_mirrored = data.draw(st.booleans())

    painted = paint_places(np.zeros((height, width, 3), np.uint8))
    seen = cv2.resize(painted[top:bottom, left:right], size)
    if is_mirrored:
        seen = seen[:, ::-1]
    x0, y0, x1, y1 = fit_view(seen)
    if is_mirrored:
        x0, x1 = x1, x0
    np.testing.assert_allclose(
        [x0, y0, x1, y1],
        [left / width, top / height, right / width, bottom / height],
        atol=max(.004, 1.01 / min(width, height)))


def test_whole_frame_is_found_exactly():
    painted = paint_places(np.zeros((64, 32, 3), np.uint8))
    assert fit_view(cv2.resize(painted, (128, 256))) == WHOLE_FRAME


def test_flow_is_painted_in_two_channels():
    painted = paint_places(np.zeros((40, 80, 2), np.uint8))
    view = fit_view(painted[10:30, 20:60])
    np.testing.assert_allclose(view, (.25, .25, .75, .75), atol=.003)


@pytest.mark.parametrize('change', [
    lambda image: np.zeros_like(image),
    lambda image: np.swapaxes(image, 0, 1),
    lambda image: np.pad(image, ((0, 0), (20, 20), (0, 0)))],
    ids=['black', 'turned', 'padded'])
def test_what_is_no_view_is_refused(change):
    painted = paint_places(np.zeros((60, 60, 3), np.uint8))
    with pytest.raises(ValueError, match='not only resized, cropped and mirrored'):
        fit_view(change(painted))


# -- the way back ----------------------------------------------------------------


@pytest.mark.parametrize(('size', 'grid'), [
    ((64, 32), (4, 2)), ((12, 9), (3, 3)), ((5, 7), (5, 7)), ((6, 4), (1, 1))])
def test_average_places_is_average_pooling(size, grid):
    values = np.random.default_rng(0).random(size)
    expected = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(values)[None], grid)[0].numpy()
    np.testing.assert_allclose(average_places(values, grid), expected)


def test_average_places_within_a_view():
    values = np.random.default_rng(1).random((20, 40))
    inside = values[4:16, 10:30]
    box = (10 / 40, 4 / 20, 30 / 40, 16 / 20)
    expected = inside.reshape(3, 4, 2, 10).mean((1, 3))
    np.testing.assert_allclose(average_places(values, (3, 2), box), expected)
    mirrored = (box[2], box[1], box[0], box[3])
    np.testing.assert_allclose(average_places(values, (3, 2), mirrored),
                               expected[:, ::-1])


def test_average_places_of_padding_is_zero():
    values = np.ones((4, 4))
    padded = (0., 0., 2., 1.)                # as much again at the right
    np.testing.assert_array_equal(average_places(values, (1, 4), padded),
                                  [[1, 1, 0, 0]])


@pytest.mark.parametrize(('frames', 'steps'), [(8, 4), (8, 8), (7, 3), (5, 1)])
def test_step_means_by_the_frames_of_a_mask(frames, steps):
    values = np.random.default_rng(2).random((2, frames, 2, 3))
    numbers = frame_masks(np.arange(float(steps)).reshape(1, -1, 1, 1), frames).ravel()
    expected = np.stack([
        np.mean([values[:, t] for t in range(frames) if numbers[t] == step], axis=0)
        for step in range(steps)], axis=1)
    np.testing.assert_allclose(step_means(values, steps), expected)
