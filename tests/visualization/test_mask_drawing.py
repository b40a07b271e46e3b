"""Masks over frames: colours and places of pixels, common ranges, sizes."""
import matplotlib
import numpy as np
import pytest

from cosam_mm.visualization.canvas import (
    Canvas,
    colour_map,
    fit_image,
    fit_size,
    shorten,
    text_width,
    wrap,
)
from cosam_mm.visualization.mask_overlay import (
    MaskLayer,
    mask_grid,
    mask_ranges,
    mask_video,
    overlay,
    spread,
)

SIDE = 40


def expected_colour(share):
    return (np.array(matplotlib.colormaps['magma'](float(share))[:3]) * 255).round()


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (6, 30, SIDE, 3), dtype=np.uint8))


def layer(title='a', low=0., high=1., frames=6, state=''):
    masks = np.linspace(low, high, frames * 4).reshape(frames, 2, 2)
    return MaskLayer(title, masks, state)


def find(image, part):
    """(row, column) of every place where an image holds another one."""
    windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], part.shape[:2])
    places = np.argwhere((windows == part[..., 0]).all((2, 3)))
    return [tuple(place) for place in places if (
        image[place[0]:place[0] + part.shape[0], place[1]:place[1] + part.shape[1]]
        == part).all()]


# -- colours ---------------------------------------------------------------------


@pytest.mark.parametrize(('value', 'share'), [
    (.2, 0), (.6, 1), (.4, .5), (.3, .25), (0., 0), (1., 1)])
def test_colour_of_a_value_is_the_colour_maps(value, share):
    found = colour_map(np.array([value]), (.2, .6))[0]
    np.testing.assert_allclose(found, expected_colour(share), atol=2)


def test_one_value_has_the_colour_in_the_middle():
    found = colour_map(np.full(3, .5), (.5, .5))
    np.testing.assert_allclose(found, np.tile(expected_colour(.5), (3, 1)), atol=2)


def test_overlay_mixes_the_colour_into_the_pixel():
    frame = np.full((20, 20, 3), 100, np.uint8)
    mask = np.array([[.0, .25], [.75, 1.]])
    opaque = overlay(frame, mask, (0., 1.), alpha=1, smooth=False)
    mixed = overlay(frame, mask, (0., 1.), alpha=.25, smooth=False)
    for (row, column), value in np.ndenumerate(mask):
        pixel = 5 + 10 * row, 5 + 10 * column
        colour = expected_colour(value)
        np.testing.assert_allclose(opaque[pixel], colour, atol=2)
        np.testing.assert_allclose(mixed[pixel], .75 * 100 + .25 * colour, atol=2)
    np.testing.assert_array_equal(overlay(frame, mask, alpha=0), frame)


def test_overlay_under_a_crop():
    """The mask lies in the crop; around it the frame is dark grey, not hidden."""
    rng = np.random.default_rng(0)
    frame = rng.integers(50, 256, (20, 40, 3), dtype=np.uint8)
    found = overlay(frame, np.array([[.2]]), (0., 1.), (.25, 0., .75, 1.), alpha=1)
    np.testing.assert_allclose(found[:, 10:30].reshape(-1, 3),
                               np.tile(expected_colour(.2), (400, 1)), atol=2)
    grey = (.35 * frame.mean(-1)).round()
    for channel in range(3):
        np.testing.assert_allclose(found[:, :10, channel], grey[:, :10], atol=1)
        np.testing.assert_allclose(found[:, 30:, channel], grey[:, 30:], atol=1)


def test_without_a_mask_the_view_is_untouched():
    frame = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    found = overlay(frame, None, box=(0., .5, 1., 1.))
    np.testing.assert_array_equal(found[4:], frame[4:])
    assert (found[:4] < frame[:4].max()).all()


@pytest.mark.parametrize('alpha', [-.1, 1.1])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match=rf'alpha must lie in \[0, 1\], got {alpha}'):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((1, 1)), alpha=alpha)


# -- ranges ----------------------------------------------------------------------


def test_common_range_covers_all_layers_and_states():
    layers = [layer('a', .2, .4, state='before'), layer('a', .3, .8, state='after'),
              layer('b', .1, .5, state='before'), layer('b', .1, .6, state='after')]
    assert mask_ranges(layers) == {'a': (.1, .8), 'b': (.1, .8)}
    assert mask_ranges(layers, 'layer') == {'a': (.2, .8), 'b': (.1, .6)}
    with pytest.raises(ValueError, match=r"one of \('common', 'layer'\), got 'each'"):
        mask_ranges(layers, 'each')


def test_spread():
    assert spread(32, 8).tolist() == [0, 4, 9, 13, 18, 22, 27, 31]
    assert spread(3, 8).tolist() == [0, 1, 2]
    assert spread(5, 1).tolist() == [0]


# -- grid ------------------------------------------------------------------------


def test_grid_holds_each_frame_and_its_own_mask(frames):
    """At the frames' own size, tiles are the very frames and overlays."""
    layers = [layer('a', 0, .5), layer('b', .2, 1)]
    image = mask_grid(frames, layers, columns=3, side=SIDE, alpha=.5)
    columns = []
    for number in (0, 2, 5):                           # 3 of 6, evenly spread
        (place,) = find(image, frames[number])
        columns.append(place[1])
        rows = [place[0]]
        for one in layers:
            tile = overlay(frames[number], one.masks[number], (0., 1.), alpha=.5)
            (place,) = find(image, tile)
            assert place[1] == columns[-1]
            rows.append(place[0])
        assert rows == sorted(rows)
    assert columns == sorted(columns)
    for number in (1, 3, 4):
        assert not find(image, frames[number])


def test_each_layer_may_have_a_range_of_its_own(frames):
    one = layer('b', .2, .6)
    image = mask_grid(frames, [layer('a', 0, 1), one], columns=1, side=SIDE,
                      ranges='layer')
    assert find(image, overlay(frames[0], one.masks[0], (.2, .6)))
    assert not find(image, overlay(frames[0], one.masks[0], (0., 1.)))


def test_grid_keeps_the_aspect_of_frames_that_differ():
    frames = [np.full((40, 20, 3), 90, np.uint8), np.full((40, 40, 3), 90, np.uint8)]
    image = mask_grid(frames, [layer(frames=2)], side=40)
    grey = (image == 90).all(-1)
    widths = sorted(set(grey.sum(1)) - {0})
    assert widths == [60]  # 20 and 40 beside each other


def test_colour_bar_runs_from_low_to_high(frames):
    image = mask_grid(frames, [layer()], columns=1, side=120)
    top, bottom = (expected_colour(share) for share in (1, 0))
    column = next(x for x in range(image.shape[1] - 1, 0, -1)
                  if (np.abs(image[:, x] - top).max(-1) <= 2).any()
                  and (np.abs(image[:, x] - bottom).max(-1) <= 2).any())
    rows = [np.abs(image[:, column] - end).max(-1).argmin() for end in (top, bottom)]
    assert rows[0] < rows[1]


@pytest.mark.parametrize(('frames', 'layers', 'message'), [
    ([], [layer(frames=0)], 'needs at least one layer and one frame'),
    ([np.zeros((4, 4, 3), np.uint8)], [], 'needs at least one layer and one frame'),
    ([np.zeros((4, 4, 3), np.uint8)], [layer('x', frames=2)],
     'x has 2 masks for 1 frames')])
def test_masks_that_do_not_fit(frames, layers, message):
    for draw in (mask_grid, mask_video):
        with pytest.raises(ValueError, match=message):
            draw(frames, layers)


# -- video -----------------------------------------------------------------------


def test_video_shows_each_frame_beside_its_masks(frames):
    layers = [layer('a', 0, .5, state='before'), layer('a', .2, 1, state='after')]
    pictures = list(mask_video(frames, layers, side=SIDE, numbers=range(10, 16)))
    assert len(pictures) == 6
    assert len({picture.shape for picture in pictures}) == 1
    for number, picture in enumerate(pictures):
        frame_places = find(picture, frames[number])
        places = [find(picture, overlay(frames[number], one.masks[number]))
                  for one in layers]
        assert [len(place) for place in places] == [1, 1]
        # A state has a row of its own, each with the frame at its left.
        assert [place[0] for place in frame_places] == [place[0][0] for place in places]
        assert places[0][0][1] == places[1][0][1] > frame_places[0][1]


def test_pictures_of_a_video_are_not_the_same_array(frames):
    first, second, *_ = mask_video(frames, [layer()], side=SIDE)
    assert not np.array_equal(first, second)


# -- canvas ----------------------------------------------------------------------


def test_fit():
    assert fit_size((64, 32), (100, 100)) == (100, 50)
    assert fit_size((1, 1000), (100, 100)) == (1, 100)
    assert fit_image(np.zeros((64, 32, 3), np.uint8), (100, 50)).shape == (100, 50, 3)


def test_text_that_is_too_wide_is_shortened_in_the_middle():
    text = 'a_very_long_name_of_a_clip.avi'
    assert shorten(text, 1000, 13) == text
    short = shorten(text, 120, 13)
    assert text_width(short, 13) <= 120
    head, tail = short.split('…')
    assert text.startswith(head)
    assert text.endswith(tail)
    assert shorten('line\nline', 1000, 13) == 'line line'
    assert shorten('wide', 1, 13) == '…'


def test_wrap():
    lines = wrap('one two three four five', text_width('three four', 12), 12)
    assert lines == ['one two', 'three four', 'five']
    assert wrap('', 100, 12) == []


def test_names_are_text_whatever_they_hold():
    """Dollars, markup and letters that no font has."""
    canvas = Canvas(40, 300)
    canvas.text(0, 0, '$x$ <b>é 走\u0000')
    assert (canvas.array() < 128).any()
