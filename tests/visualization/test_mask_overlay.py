"""Masks over frames: colours and positions of pixels, common ranges, sizes, labels."""
import matplotlib
import numpy as np
import pytest

from cosam_mm.visualization.mask_maps import BEFORE, ClipMasks, MaskedClip
from cosam_mm.visualization.mask_overlay import (
    choose_layers,
    layer_titles,
    mask_grid,
    mask_layers,
    mask_video,
    overlay,
)

SIDE = 40


def expected_colour(share):
    return (np.array(matplotlib.colormaps['magma'](float(share))[:3]) * 255).round()


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (6, 30, SIDE, 3), dtype=np.uint8))


def values(low=0., high=1., frames=6):
    return np.linspace(low, high, frames * 4).reshape(frames, 2, 2)


def clip_of(frames, states, first=0):
    """A clip by state -> name -> masks."""
    masks = {state: {name: ClipMasks(one, None) for name, one in own.items()}
             for state, own in states.items()}
    return MaskedClip('clip', frames, np.arange(len(frames)) + first, masks)


def find(image, part):
    """(row, column) of every position at which an image contains another one."""
    height, width = part.shape[:2]
    starts = np.argwhere((image[:-height, :-width] == part[0, 0]).all(-1))
    return [(row, column) for row, column in starts if (
        image[row:row + height, column:column + width] == part).all()]


# -- one frame -------------------------------------------------------------------


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
    for value, limits, share in ((.3, (.2, .6), .25), (1., (.2, .6), 1),
                                 (.5, (.5, .5), .5)):
        image = overlay(frame, np.array([[value]]), limits, alpha=1)
        np.testing.assert_allclose(image[0, 0], expected_colour(share), atol=2)


def test_overlay_of_a_crop_dims_the_rest():
    frame = np.random.default_rng(0).integers(50, 256, (20, 40, 3), dtype=np.uint8)
    box = (.25, 0., .75, 1.)
    image = overlay(frame, np.array([[.2]]), (0., 1.), box, alpha=1)
    np.testing.assert_allclose(image[:, 10:30].reshape(-1, 3),
                               np.tile(expected_colour(.2), (400, 1)), atol=2)
    grey = (.35 * frame.mean(-1, keepdims=True)).round()
    for part in (slice(10), slice(30, None)):
        np.testing.assert_allclose(image[:, part], grey[:, part].repeat(3, 2), atol=1)
    np.testing.assert_array_equal(overlay(frame, None, box=box)[:, 10:30],
                                  frame[:, 10:30])


# -- layers ----------------------------------------------------------------------


def test_layers_by_word_and_title():
    names = [f'backbone.plugins.after_layer{k}' for k in ('3.0', '4.0', '4.1')]
    names.append('neck.own')
    assert choose_layers(names) == names
    assert choose_layers(names, ['layer4']) == names[1:3]
    assert choose_layers(names, ['own', 'layer3']) == [names[0], names[3]]
    with pytest.raises(ValueError, match='layer5'):
        choose_layers(names, ['layer5'])
    assert list(layer_titles(names).values()) == [
        'after_layer3', 'after_layer4', 'after_layer4.1', 'neck.own']
    same = ['a.plugins.x.0', 'b.plugins.x.0']
    assert list(layer_titles(same).values()) == same


# -- grid ------------------------------------------------------------------------


def test_grid_contains_each_frame_and_its_own_masks(frames):
    """At the frames' own size, tiles are the very frames and overlays."""
    clip = clip_of(frames, {'': dict(a=values(0, .5), b=values(.2, 1))})
    image = mask_grid(clip, columns=3, side=SIDE, alpha=.5)
    columns = []
    for number in (0, 2, 5):                           # 3 of 6, evenly spread
        (first,) = find(image, frames[number])
        columns.append(first[1])
        rows = [first[0]]
        for layer in mask_layers(clip):
            tile = overlay(frames[number], layer.masks[number], (0., 1.), alpha=.5)
            ((row, column),) = find(image, tile)
            assert column == columns[-1]
            rows.append(row)
        assert rows == sorted(rows)
    assert columns == sorted(columns)
    assert not any(find(image, frames[number]) for number in (1, 3, 4))


@pytest.mark.parametrize(('ranges', 'limits'), [
    ('common', {'a': (.1, .8), 'b': (.1, .8)}),
    ('layer', {'a': (.2, .8), 'b': (.1, .6)})])
def test_colours_cover_all_layers_or_the_states_of_one(frames, ranges, limits):
    clip = clip_of(frames, {'before': dict(a=values(.2, .4), b=values(.1, .5)),
                            'after': dict(a=values(.3, .8), b=values(.1, .6))})
    image = mask_grid(clip, columns=1, side=SIDE, ranges=ranges)
    for layer in mask_layers(clip):
        tile = overlay(frames[0], layer.masks[0], limits[layer.title])
        assert len(find(image, tile)) == 1


def test_frames_keep_their_aspect_and_the_view_is_outlined():
    frames = [np.full((40, 20, 3), 90, np.uint8), np.full((40, 40, 3), 90, np.uint8)]
    image = mask_grid(clip_of(frames, {'': dict(a=values(frames=2))}), side=40)
    grey = (image == 90).all(-1)
    assert sorted(set(grey.sum(1)) - {0}) == [60]  # 20 and 40 side by side
    clip = MaskedClip('', frames[1:], np.arange(1), {'': {'a': ClipMasks(
        values(frames=1), None)}}, (.25, 0., .75, 1.))
    image = mask_grid(clip, side=40)
    ((row, column),) = find(image, np.full((38, 18, 3), 90, np.uint8))
    for y, x in ((row - 1, column), (row + 38, column), (row, column - 1),
                 (row, column + 18)):
        assert image[y, x].tolist() == [0xe8, 0xea, 0xef]


FRAME = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(('frames', 'masks', 'settings', 'word'), [
    ([], values(frames=0), {}, 'frame'), ([FRAME], None, {}, 'mask'),
    ([FRAME], values(frames=2), {}, '2 masks'),
    ([FRAME], values(frames=1), dict(ranges='each'), 'ranges'),
    ([FRAME], values(frames=1), dict(alpha=1.1), 'alpha')])
def test_masks_that_do_not_fit_are_refused(frames, masks, settings, word):
    for draw in (mask_grid, mask_video):
        with pytest.raises(ValueError, match=word):
            next(iter(draw(clip_of(frames, {'': dict(x=masks)}), **settings)))


# -- video -----------------------------------------------------------------------


def test_video_shows_each_frame_beside_its_masks(frames):
    clip = clip_of(frames, {BEFORE: dict(a=values(0, .5)), 'after': dict(
        a=values(.2, 1))}, first=10)
    images = list(mask_video(clip, side=SIDE))
    assert len(images) == 6
    assert len({image.shape for image in images}) == 1
    for number, image in enumerate(images):
        beside = find(image, frames[number])
        masked = [find(image, overlay(frames[number], layer.masks[number]))
                  for layer in mask_layers(clip)]
        assert [len(positions) for positions in masked] == [1, 1]
        # Each state has a row of its own, with the frame at its left.
        assert [row for row, _ in beside] == [positions[0][0] for positions in masked]
        assert masked[0][0][1] == masked[1][0][1] > beside[0][1]
    other = clip_of(frames, {'': dict(a=values(), b=values())})
    assert next(mask_video(other, ['a'], side=160)).shape[1] < \
        next(mask_video(other, side=160)).shape[1]


# -- text ------------------------------------------------------------------------


def test_any_name_is_shown_literally_in_one_line(frames):
    """Dollars, markup, line ends, letters that no font has, no end."""
    names = ['clip', '$x$ <b>é 走\u0000', 'a\nb', 'x' * 500]
    masks = {'': {'y' * 500: ClipMasks(values(), None)}}
    for draw in (mask_grid, lambda clip: next(mask_video(clip))):
        images = [draw(MaskedClip(name, frames, np.arange(6), masks)) for name in names]
        assert len({image.shape for image in images}) == 1
        assert not np.array_equal(images[0], images[1])
