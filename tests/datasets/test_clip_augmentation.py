"""Operations on whole clips against Pillow's, what is chosen, and mirrored flow."""
import cv2
import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.registry import DefaultScope
from PIL import Image, ImageEnhance, ImageOps

from cosam_mm.datasets.transforms.clip_augmentation import (
    GEOMETRIC,
    OPERATIONS,
    PHOTOMETRIC,
    change_clip,
    mirror_flow,
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
def test_magnitudes(name):
    """0 changes nothing, next to nothing next to nothing; the sign counts for some."""
    clip = clip_of(3, frames=4, size=(20, 33))
    before = clip.copy()
    changed = {by: change_clip(clip, name, by) for by in (-1, 0, 1e-4, 1)}
    assert all(one.shape == clip.shape and one.dtype == np.uint8
               for one in changed.values())
    assert np.array_equal(clip, before), 'the one given stays'
    assert np.array_equal(changed[0], clip)
    assert changed[0] is not clip
    assert np.abs(changed[1e-4].astype(int) - clip)[:, 1:-1, 1:-1].max() <= 1
    assert np.array_equal(changed[-1], changed[1]) is (name not in SIGNED)


@pytest.mark.parametrize('name', OPERATIONS)
def test_clips_of_one_colour(name):
    for level in (0, 77, 255):
        clip = np.full((2, 12, 14, 3), level, np.uint8)
        changed = change_clip(clip, name, 1)
        assert changed.shape == clip.shape
        if name in ('auto_contrast', 'color', 'contrast', 'equalize', 'sharpness'):
            assert np.abs(changed.astype(int) - level).max() <= 1


@pytest.mark.parametrize(('shape', 'kind'), [
    ((4, 8, 8, 2), np.uint8), ((8, 8, 3), np.uint8), ((4, 8, 8, 3), np.float32)])
def test_only_rgb_clips_are_changed(shape, kind):
    with pytest.raises(ValueError, match='T, H, W, 3'):
        change_clip(np.zeros(shape, kind), 'rotate', 0.5)


# The transform.


def build(kind='ClipRandAugment', **settings):
    with DefaultScope.overwrite_default_scope('mmaction'):
        return TRANSFORMS.build(dict(type=kind, **settings))


def augment(step, clip, seed=0, clip_len=None):
    np.random.seed(seed)
    return np.stack(step(dict(imgs=list(clip), clip_len=clip_len or len(clip)))['imgs'])


def test_one_choice_changes_all_frames_of_a_clip_alike():
    """Equal frames stay equal, whatever was chosen; another clip gets another."""
    step = build(num_operations=3, magnitude=0.6, magnitude_std=0.3)
    others = 0
    for seed in range(20):
        clip = np.repeat(clip_of(seed, frames=1), 10, axis=0)
        changed = augment(step, clip, seed, clip_len=5)
        for half in (changed[:5], changed[5:]):
            assert all(np.array_equal(frame, half[0]) for frame in half)
        others += not np.array_equal(changed[0], changed[5])
    assert others > 15


def test_the_same_seed_chooses_the_same():
    step, clip = build(), clip_of(0)
    assert np.array_equal(augment(step, clip, 0), augment(step, clip, 0))
    assert not np.array_equal(augment(step, clip, 0), augment(step, clip, 1))


@pytest.mark.parametrize('settings', [
    dict(magnitude=0.0), dict(num_operations=0, magnitude=1.0)])
def test_nothing_to_do_is_the_identity(settings):
    clip = clip_of(0)
    for seed in range(10):
        assert np.array_equal(augment(build(**settings), clip, seed), clip)


@pytest.mark.parametrize('chosen', [None, ('brightness', 'posterize')])
def test_every_operation_asked_for_is_chosen(chosen):
    step = build(num_operations=1, magnitude=0.5,
                 **(dict(operations=chosen) if chosen else {}))
    clip, found = clip_of(0), set()
    results = {change_clip(clip, name, by).tobytes(): (name, by)
               for name in OPERATIONS for by in (0.5, -0.5)}
    for seed in range(300 if chosen is None else 40):
        found.add(results[augment(step, clip, seed).tobytes()])
    assert {name for name, _ in found} == set(chosen or OPERATIONS)
    assert len(found) == sum(1 + (name in SIGNED) for name in chosen or OPERATIONS)


def test_magnitudes_are_normal_and_cut_off():
    """Grey of level 100 becomes 100 (1 + 0.9 m)."""
    step = build(num_operations=1, magnitude=0.5, magnitude_std=0.5,
                 operations=['brightness'])
    grey = np.full((1, 2, 2, 3), 100, np.uint8)
    np.random.seed(0)
    levels = np.array([int(step(dict(imgs=[*grey], clip_len=1))['imgs'][0][0, 0, 0])
                       for _ in range(2000)])
    magnitudes = np.abs(levels - 100)
    assert (magnitudes.min(), magnitudes.max()) == (0, 90)
    assert 0.13 < (magnitudes == 0).mean() < 0.19  # a sixth lies below one deviation
    assert 0.13 < (magnitudes == 90).mean() < 0.19
    assert 0.45 < (levels > 100).sum() / (levels != 100).sum() < 0.55


def test_an_array_stays_an_array():
    clip = clip_of(0)
    np.random.seed(3)
    changed = build()(dict(imgs=clip, clip_len=len(clip)))['imgs']
    assert isinstance(changed, np.ndarray)
    assert np.array_equal(augment(build(), clip, 3), changed)


@pytest.mark.parametrize(('name', 'value'), [
    ('operations', ('rotate', 'flip')), ('operations', ()), ('operations', 'rotate'),
    ('num_operations', -1), ('num_operations', 1.5), ('magnitude', 1.5),
    ('magnitude_std', float('nan'))])
def test_settings_that_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        build(**{name: value})


def test_it_says_what_it_does():
    text = repr(build(num_operations=1, magnitude=0.5, operations=['rotate']))
    for setting in ('num_operations=1', 'magnitude=0.5', "operations=('rotate',)"):
        assert setting in text


# Optical flow.


def encoded(flow):
    return np.clip(np.round(flow * 255 / 40 + 127.5), 0, 255).astype(np.uint8)


def test_mirrored_flow_is_the_flow_of_the_mirrored_video():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 80), dtype=np.uint8)
    texture = cv2.GaussianBlur(noise, (9, 9), 2)
    moved = np.roll(texture, 3, axis=1)

    def flow(a, b):
        return cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0)

    forward = encoded(flow(texture, moved))
    mirrored = encoded(flow(texture[:, ::-1].copy(), moved[:, ::-1].copy()))
    inner = (slice(16, -16), slice(16, -16))
    assert forward[inner][..., 0].mean() > 140  # it moves right
    difference = mirror_flow(forward)[inner].astype(int) - mirrored[inner]
    assert np.abs(difference).mean() < 2


def test_mirror_refuses_rgb():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 2), dtype=np.uint8)
    assert np.array_equal(mirror_flow(mirror_flow(image)), image)
    with pytest.raises(ValueError, match='H, W, 2'):
        mirror_flow(np.zeros((4, 5, 3), np.uint8))


@pytest.mark.parametrize(('ratio', 'flips'), [(1.0, True), (0.0, False)])
def test_flip_mirrors_every_image_alike(ratio, flips):
    images = list(np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2), np.uint8))
    out = build('FlowFlip', flip_ratio=ratio)(dict(
        imgs=[i.copy() for i in images], modality='Flow', img_shape=(4, 5)))
    for before, after in zip(images, out['imgs']):
        assert np.array_equal(after, mirror_flow(before) if flips else before)


def test_ten_crops_come_in_pairs():
    images = list(np.random.default_rng(0).integers(0, 256, (3, 8, 10, 2), np.uint8))
    out = build('FlowTenCrop', crop_size=4)(dict(
        imgs=images, modality='Flow', img_shape=(8, 10)))
    crops = np.stack(out['imgs']).reshape(5, 2, 3, 4, 4, 2)
    assert np.array_equal(crops[0, 0], np.stack(images)[:, :4, :4])
    assert np.array_equal(crops[4, 0], np.stack(images)[:, 2:6, 2:6])
    for plain, mirrored in crops:
        for before, after in zip(plain, mirrored):
            assert np.array_equal(after, mirror_flow(before))
