"""Operations on whole clips against Pillow's on single images, and what is drawn."""
import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.registry import DefaultScope
from PIL import Image, ImageEnhance, ImageOps

from cosam_mm.datasets.transforms.rand_augment import (
    GEOMETRIC,
    OPERATIONS,
    PHOTOMETRIC,
    ClipRandAugment,
    change_clip,
)

SIGNED = [name for name, (*_, goes_both_ways) in OPERATIONS.items() if goes_both_ways]


def clip_of(seed, frames=3, size=(20, 24), low=40, high=200):
    """Smooth colours, none of them black or white."""
    rng = np.random.default_rng(seed)
    small = rng.integers(low, high, (frames, 5, 6, 3), dtype=np.uint8)
    return np.stack([
        np.asarray(Image.fromarray(frame).resize(size[::-1], Image.BILINEAR))
        for frame in small])


def pillow(image, name, magnitude):
    """The same by Pillow's own operations, (H, W, 3) uint8."""
    image = Image.fromarray(image)
    kind = dict(brightness=ImageEnhance.Brightness, color=ImageEnhance.Color,
                contrast=ImageEnhance.Contrast, sharpness=ImageEnhance.Sharpness)
    if name in kind:
        return np.asarray(kind[name](image).enhance(1 + 0.9 * magnitude))
    other = dict(
        auto_contrast=ImageOps.autocontrast, equalize=ImageOps.equalize,
        posterize=lambda image: ImageOps.posterize(image, 8 - round(4 * magnitude)),
        solarize=lambda image: ImageOps.solarize(image, round(256 * (1 - magnitude))),
    )[name](image)
    return np.asarray(other)


def pillow_cases():
    """Where Pillow does the same: it blends no levels, and some go one way only."""
    for name in PHOTOMETRIC:
        magnitudes = (-1, -0.5, 0.5, 1) if name in SIGNED else (0.5, 1)
        yield from ((name, magnitude) for magnitude in magnitudes
                    if name not in ('auto_contrast', 'equalize') or magnitude == 1)


@pytest.mark.parametrize(('name', 'magnitude'), list(pillow_cases()))
def test_colours_change_as_in_pillow(name, magnitude):
    for seed in range(3):
        clip = clip_of(seed, frames=1)
        changed = change_clip(clip, name, magnitude)[0]
        expected = pillow(clip[0], name, magnitude)
        assert np.abs(changed.astype(int) - expected)[1:-1, 1:-1].max() <= 1
        assert not np.array_equal(changed, clip[0])


@pytest.mark.parametrize('name', ['auto_contrast', 'equalize'])
def test_levels_are_blended_with_those_before(name):
    clip = clip_of(1)
    half, full = (change_clip(clip, name, magnitude).astype(float)
                  for magnitude in (0.5, 1))
    assert np.abs(half - (clip + full) / 2).max() <= 1


@pytest.mark.parametrize('magnitude', [-1, -0.4, 0.4, 1])
def test_places_move_as_in_pillow(magnitude):
    """Pillow maps places of the result to places of the image."""
    clip = clip_of(4, frames=1, size=(40, 40))
    image, middle = Image.fromarray(clip[0]), 19.5 + 0.5

    def affine(a, b, c, d, e, f):
        return image.transform(image.size, Image.AFFINE, (a, b, c, d, e, f),
                               Image.BILINEAR, fillcolor=(128, 128, 128))

    lean, way = 0.3 * magnitude, 0.45 * 40 * magnitude
    expected = {
        'rotate': image.rotate(-30 * magnitude, Image.BILINEAR,
                               fillcolor=(128, 128, 128)),
        'shear_x': affine(1, -lean, lean * middle, 0, 1, 0),
        'shear_y': affine(1, 0, 0, -lean, 1, lean * middle),
        'translate_x': affine(1, 0, -way, 0, 1, 0),
        'translate_y': affine(1, 0, 0, 0, 1, -way),
    }
    assert set(expected) == set(GEOMETRIC)
    for name, other in expected.items():
        difference = np.abs(
            change_clip(clip, name, magnitude)[0].astype(int) - np.asarray(other))
        # Borders are cut in another way, and places are rounded to 1/32 pixel.
        assert np.median(difference) <= 1, name
        assert (difference.max(axis=-1) > 12).mean() < 0.1, name


@pytest.mark.parametrize('name', OPERATIONS)
def test_magnitude_0_changes_nothing(name):
    clip = clip_of(2)
    changed = change_clip(clip, name, 0)
    assert np.array_equal(changed, clip)
    assert changed is not clip


@pytest.mark.parametrize('name', OPERATIONS)
def test_next_to_nothing_changes_next_to_nothing(name):
    clip = clip_of(2)
    changed = change_clip(clip, name, 1e-4).astype(int)
    assert np.abs(changed - clip)[:, 1:-1, 1:-1].max() <= 1


@pytest.mark.parametrize('name', OPERATIONS)
def test_shape_and_type_stay_and_the_clip_given_too(name):
    clip = clip_of(3, frames=4, size=(20, 33))
    before = clip.copy()
    for magnitude in (-1, 0.3, 1):
        changed = change_clip(clip, name, magnitude)
        assert changed.shape == clip.shape
        assert changed.dtype == np.uint8
        assert np.array_equal(clip, before)


@pytest.mark.parametrize('name', OPERATIONS)
def test_the_sign_counts_where_an_operation_goes_both_ways(name):
    clip = clip_of(5)
    up, down = (change_clip(clip, name, magnitude) for magnitude in (0.7, -0.7))
    assert np.array_equal(up, down) is (name not in SIGNED)


@pytest.mark.parametrize('name', OPERATIONS)
def test_what_is_equal_in_two_frames_stays_equal(name):
    """Levels come from the whole clip: half of each frame is the same, half is not."""
    clip = clip_of(6, frames=3, size=(40, 40))
    clip[:, :20] = clip[0, :20]
    changed = change_clip(clip, name, 0.8 if name in PHOTOMETRIC else 0.2)
    inner = changed[:, :8] if name in GEOMETRIC else changed[:, :19]
    if name in ('shear_y', 'rotate'):
        inner = inner[:, :4, 16:24]
    assert all(np.array_equal(frame, inner[0]) for frame in inner)


@pytest.mark.parametrize('name', OPERATIONS)
@pytest.mark.parametrize('level', [0, 77, 255])
def test_clips_of_one_colour(name, level):
    clip = np.full((2, 12, 14, 3), level, np.uint8)
    changed = change_clip(clip, name, 1)
    if name in ('auto_contrast', 'color', 'contrast', 'equalize', 'sharpness'):
        assert np.abs(changed.astype(int) - level).max() <= 1
    assert changed.shape == clip.shape


@pytest.mark.parametrize(('arguments', 'message'), [
    (('flip', 0.5), "no operation 'flip'; allowed: auto_contrast, brightness, color"),
    (('rotate', 1.5), 'magnitude is 1.5; allowed: -1 to 1'),
    (('rotate', float('nan')), 'magnitude is nan; allowed: -1 to 1'),
])
def test_change_clip_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        change_clip(clip_of(0), *arguments)


@pytest.mark.parametrize(('shape', 'kind'), [
    ((4, 8, 8, 2), np.uint8), ((8, 8, 3), np.uint8), ((4, 8, 8, 3), np.float32)])
def test_only_rgb_clips_are_changed(shape, kind):
    with pytest.raises(ValueError, match=r'of shape \(T, H, W, 3\) and uint8, got'):
        change_clip(np.zeros(shape, kind), 'rotate', 0.5)


# The transform.


def build(**settings):
    with DefaultScope.overwrite_default_scope('mmaction'):
        return TRANSFORMS.build(dict(type='ClipRandAugment', **settings))


def results_of(clip, clip_len=None, as_list=True):
    return dict(imgs=list(clip) if as_list else clip, clip_len=clip_len or len(clip),
                num_clips=len(clip) // (clip_len or len(clip)))


def test_one_draw_changes_all_frames_alike():
    """Equal frames stay equal, whatever was drawn."""
    step = build(num_operations=3, magnitude=0.6, magnitude_std=0.3)
    for seed in range(20):
        np.random.seed(seed)
        clip = np.repeat(clip_of(seed, frames=1), 5, axis=0)
        changed = step(results_of(clip))['imgs']
        assert all(np.array_equal(frame, changed[0]) for frame in changed)


def test_the_same_seed_draws_the_same():
    step, clip = build(), clip_of(0)
    outs = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        outs.append(np.stack(step(results_of(clip))['imgs']))
    assert np.array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])


@pytest.mark.parametrize('settings', [
    dict(magnitude=0.0), dict(num_operations=0, magnitude=1.0)])
def test_nothing_to_do_is_the_identity(settings):
    step, clip = build(**settings), clip_of(0)
    for seed in range(10):
        np.random.seed(seed)
        assert np.array_equal(np.stack(step(results_of(clip))['imgs']), clip)


@pytest.mark.parametrize('seed', range(3))
def test_two_operations_follow_on_each_other(seed):
    clip = clip_of(7)
    np.random.seed(seed)
    changed = np.stack(
        build(num_operations=2, magnitude=0.5)(results_of(clip))['imgs'])
    single = [(name, magnitude) for name in OPERATIONS for magnitude in (0.5, -0.5)]
    assert any(
        np.array_equal(changed, change_clip(once, *second))
        for once in (change_clip(clip, *first) for first in single)
        for second in single)


def test_every_operation_and_both_directions_are_drawn():
    step = ClipRandAugment(num_operations=1, magnitude=0.5)
    np.random.seed(0)
    draws = [step._draw() for _ in range(600)]
    assert {name for name, _ in draws} == set(OPERATIONS)
    assert {magnitude for _, magnitude in draws} == {-0.5, 0.5}
    assert 0.4 < np.mean([magnitude > 0 for _, magnitude in draws]) < 0.6


def test_magnitudes_are_normal_and_cut_off():
    step = ClipRandAugment(magnitude=0.5, magnitude_std=0.5)
    np.random.seed(0)
    drawn = np.abs([step._draw()[1] for _ in range(2000)])
    assert drawn.min() == 0
    assert drawn.max() == 1
    assert 0.13 < (drawn == 0).mean() < 0.19  # a sixth lies below one deviation
    assert 0.13 < (drawn == 1).mean() < 0.19


def test_only_the_operations_asked_for_are_drawn():
    step = build(operations=('brightness', 'posterize'), magnitude=1.0)
    np.random.seed(0)
    assert {step._draw()[0] for _ in range(100)} == {'brightness', 'posterize'}


def test_clips_of_a_video_get_draws_of_their_own():
    np.random.seed(0)
    clip = np.repeat(clip_of(0, frames=1), 12, axis=0)
    out = build(magnitude=0.9)(results_of(clip, clip_len=4))['imgs']
    clips = [np.stack(out[start:start + 4]) for start in (0, 4, 8)]
    for one in clips:
        assert all(np.array_equal(frame, one[0]) for frame in one)
    assert not np.array_equal(clips[0], clips[1])


def test_an_array_stays_an_array():
    clip = clip_of(0)
    np.random.seed(3)
    as_list = build()(results_of(clip))['imgs']
    np.random.seed(3)
    as_array = build()(results_of(clip, as_list=False))['imgs']
    assert isinstance(as_list, list)
    assert isinstance(as_array, np.ndarray)
    assert np.array_equal(np.stack(as_list), as_array)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(operations=('rotate', 'flip')), r"operations is \('rotate', 'flip'\); allow"),
    (dict(operations=()), r'operations is \(\); allowed: one or more of auto_contrast'),
    (dict(operations='rotate'), "operations is 'rotate'; allowed: one or more of"),
    (dict(num_operations=-1), 'num_operations is -1; allowed: 0, 1, 2'),
    (dict(num_operations=1.5), 'num_operations is 1.5; allowed: 0, 1, 2'),
    (dict(magnitude=1.5), 'magnitude is 1.5; allowed: 0 to 1'),
    (dict(magnitude_std=float('nan')), 'magnitude_std is nan; allowed: 0 to 1'),
])
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ClipRandAugment(**settings)


def test_it_says_what_it_does():
    assert repr(ClipRandAugment(1, 0.5, operations=['rotate'])) == (
        "ClipRandAugment(num_operations=1, magnitude=0.5, magnitude_std=0.0, "
        "operations=('rotate',))")
