"""Mirrored flow must be the flow of the mirrored video."""
import cv2
import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.registry import DefaultScope

from cosam_mm.datasets.transforms.flow_transforms import mirror_flow


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


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


def test_mirroring_twice_is_the_identity():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 2), dtype=np.uint8)
    assert np.array_equal(mirror_flow(mirror_flow(image)), image)


def test_mirror_refuses_rgb():
    with pytest.raises(ValueError, match=r'\(H, W, 2\), got \(4, 5, 3\)'):
        mirror_flow(np.zeros((4, 5, 3), np.uint8))


@pytest.mark.parametrize(('ratio', 'flips'), [(1.0, True), (0.0, False)])
def test_flip_mirrors_every_image_alike(ratio, flips):
    images = list(np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2), np.uint8))
    out = TRANSFORMS.build(dict(type='FlowFlip', flip_ratio=ratio))(dict(
        imgs=[i.copy() for i in images], modality='Flow', img_shape=(4, 5)))
    for before, after in zip(images, out['imgs']):
        assert np.array_equal(after, mirror_flow(before) if flips else before)


def test_ten_crops_come_in_pairs():
    images = list(np.random.default_rng(0).integers(0, 256, (3, 8, 10, 2), np.uint8))
    out = TRANSFORMS.build(dict(type='FlowTenCrop', crop_size=4))(dict(
        imgs=images, modality='Flow', img_shape=(8, 10)))
    crops = np.stack(out['imgs']).reshape(5, 2, 3, 4, 4, 2)
    assert np.array_equal(crops[0, 0], np.stack(images)[:, :4, :4])
    assert np.array_equal(crops[4, 0], np.stack(images)[:, 2:6, 2:6])
    for plain, mirrored in crops:
        for before, after in zip(plain, mirrored):
            assert np.array_equal(after, mirror_flow(before))
