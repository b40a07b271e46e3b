"""Masks on frames: which step, which pixels, and which view a pipeline takes."""
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cosam_mm.visualization.mask_maps import (
    WHOLE_FRAME,
    find_view,
    frame_masks,
    mask_at_pixels,
    seen_pixels,
)


@pytest.mark.parametrize(('steps', 'frames', 'expected'), [
    (4, 8, [0, 0, 1, 1, 2, 2, 3, 3]), (1, 3, [0, 0, 0]), (2, 5, [0, 0, 0, 1, 1]),
    (3, 4, [0, 0, 1, 2])])
def test_each_frame_has_the_mask_of_its_step(steps, frames, expected):
    mask = np.arange(2. * steps).reshape(2, steps, 1, 1)
    assert frame_masks(mask, frames).ravel().tolist() == [
        *expected, *(steps + step for step in expected)]


# -- pixels ----------------------------------------------------------------------


@pytest.mark.parametrize(('box', 'seen', 'values'), [
    (WHOLE_FRAME, [1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 2, 2, 2, 2]),
    ((.25, 0., .75, 1.), [0, 0, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 2, 2, 2, 2]),
    ((1., 0., 0., 1.), [1, 1, 1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 1, 1, 1, 1]),
    ((1., 0., .5, 1.), [0, 0, 0, 0, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2, 1, 1]),
    ((0., 0., 2., 1.), [1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1])],
    ids=['whole', 'crop', 'mirrored', 'mirrored crop', 'padded'])
def test_positions_are_blocks_of_pixels_in_the_view(box, seen, values):
    mask = np.array([[1., 2.]])
    assert seen_pixels((1, 8), box).astype(int).tolist() == [seen]
    assert mask_at_pixels(mask, (1, 8), box, smooth=False).tolist() == [values]
    upright = tuple(box[k] for k in (1, 0, 3, 2))
    assert seen_pixels((8, 1), upright).ravel().astype(int).tolist() == seen
    assert mask_at_pixels(mask.T, (8, 1), upright, False).ravel().tolist() == values


def test_smooth_mask_is_opencvs_linear_resize():
    mask = np.random.default_rng(0).random((5, 3))
    expected = cv2.resize(mask, (21, 40), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(mask_at_pixels(mask, (40, 21)), expected, atol=1e-6)
    np.testing.assert_allclose(mask_at_pixels(np.full((3, 4), .7), (50, 31)), .7)


# -- views -----------------------------------------------------------------------


def view_of(change, shape=(60, 60, 3), dtype=torch.uint8):
    """The view of a pipeline that changes the image and, for floats, normalises it."""
    def process(frames):
        seen = torch.from_numpy(np.ascontiguousarray(change(frames[0])))
        seen = seen.permute(2, 0, 1)
        return seen if dtype == torch.uint8 else (seen.to(dtype) - 100) / 50
    return find_view(process, [np.zeros(shape, np.uint8)])


@settings(deadline=None, max_examples=50)
@given(height=st.integers(40, 300), width=st.integers(40, 300), data=st.data())
def test_crops_resizes_and_flips_are_found(height, width, data):
    top = data.draw(st.integers(0, height - 32))
    left = data.draw(st.integers(0, width - 32))
    bottom = data.draw(st.integers(top + 32, height))
    right = data.draw(st.integers(left + 32, width))
    size = data.draw(st.integers(32, 224)), data.draw(st.integers(32, 224))
    is_mirrored = data.draw(st.booleans())

    def change(image):
        image = cv2.resize(image[top:bottom, left:right], size)
        return image[:, ::-1] if is_mirrored else image

    x0, y0, x1, y1 = view_of(change, (height, width, 3))
    if is_mirrored:
        x0, x1 = x1, x0
    np.testing.assert_allclose(
        [x0, y0, x1, y1],
        [left / width, top / height, right / width, bottom / height],
        atol=max(.004, 1.01 / min(width, height)))


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_view_of_bytes_and_of_normalised_frames(dtype):
    """A whole frame, found exactly; a crop of optical flow; other changes."""
    assert view_of(lambda image: cv2.resize(image, (128, 256)), (64, 32, 3),
                   dtype) == WHOLE_FRAME
    view = view_of(lambda image: image[10:30, 20:60], (40, 80, 2), dtype)
    np.testing.assert_allclose(view, (.25, .25, .75, .75), atol=.003)
    for change in (np.zeros_like, lambda image: np.swapaxes(image, 0, 1),
                   lambda image: np.pad(image, ((0, 0), (20, 20), (0, 0)))):
        assert view_of(change, dtype=dtype) is None
