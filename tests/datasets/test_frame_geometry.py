"""Resizes, crops and flips while decoding: the same choices and values as after it."""
import logging
import random

import cv2
import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from cosam_mm.datasets.transforms import SafeDecordDecode
from cosam_mm.datasets.transforms.frame_geometry import resize_region
from cosam_mm.datasets.video_reader import VideoReader
from tests.test_layers import REPO
from tests.video_data import make_unreadable, number_of, write_video

GEOMETRIES = {
    'random crop, vertical flip': [
        dict(type='RandomCrop', size=40),
        dict(type='Flip', flip_ratio=1, direction='vertical')],
    'resized crop': [
        dict(type='RandomResizedCrop'),
        dict(type='Resize', scale=(32, 32), keep_ratio=False)],
    'centre': [
        dict(type='Resize', scale=(-1, 50)), dict(type='CenterCrop', crop_size=48)],
    'nearest': [
        dict(type='Resize', scale=(70, 50), keep_ratio=False, interpolation='nearest'),
        dict(type='CenterCrop', crop_size=48)],
    'none': [],
}


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


@pytest.fixture
def noise(tmp_path):
    """40 frames in which every pixel differs from its neighbours."""
    path = str(tmp_path / 'noise.avi')
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'XVID'), 25, (320, 240))
    rng = np.random.default_rng(0)
    for _ in range(40):
        small = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
        writer.write(cv2.resize(small, (320, 240)))
    writer.release()
    return path


def run(steps, filename, seed):
    np.random.seed(seed)
    random.seed(seed)
    return Compose(steps)(
        dict(filename=filename, start_index=0, modality='RGB', label=0))


def decode_with_decord(results):
    """Frames in order by decord alone, at full size."""
    reader = VideoReader(results['filename'], backend='decord')
    imgs = reader.get_batch(results['frame_inds'])
    results.update(imgs=list(imgs), img_shape=imgs.shape[1:3],
                   original_shape=imgs.shape[1:3])
    del results['video_reader']
    return results


def both(geometry, filename, seed, policy='skip', clip_len=16):
    """Results of the geometry while decoding, and after decord has decoded."""
    first = [dict(type='SafeDecordInit', on_unreadable=policy),
             dict(type='SampleFrames', clip_len=clip_len)]
    last = [dict(type='FormatShape', input_format='NCTHW')]
    inside = [dict(type='SafeDecordDecode', transforms=geometry)]
    return (run([*first, *inside, *last], filename, seed),
            run([*first, decode_with_decord, *geometry, *last], filename, seed))


def assert_same(found, expected, levels):
    assert set(found) == set(expected)
    for key in set(found) - {'imgs'}:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
    difference = np.abs(found['imgs'].astype(int) - expected['imgs'])
    assert difference.max() <= levels


def shipped(size):
    return Config.fromfile(
        REPO / f'configs/_base_/datasets/rgb_{size}.py').train_pipeline


class TestSameAsAfterDecoding:

    @pytest.mark.parametrize('size', [112, 224])
    @pytest.mark.parametrize('seed', range(6))
    def test_shipped_training_pipelines(self, noise, size, seed):
        geometry = list(shipped(size)[2]['transforms'])
        found, expected = both(geometry, noise, seed)
        assert found['imgs'].shape == (1, 3, 16, size, size)
        assert_same(found, expected, 3)

    def test_seeds_differ(self, noise):
        geometry = list(shipped(112)[2]['transforms'])
        choices = {(run['frame_inds'][0], *run['crop_bbox'], run['flip']) for run in (
            both(geometry, noise, seed)[0] for seed in range(6))}
        assert len(choices) == 6
        assert {choice[-1] for choice in choices} == {True, False}

    @pytest.mark.parametrize('name', GEOMETRIES)
    def test_other_geometries(self, noise, name):
        for seed in range(3):
            assert_same(*both(GEOMETRIES[name], noise, seed), 3)

    def test_looped_video(self, tmp_path):
        path = write_video(tmp_path / 'short.avi', 5, 'MJPG')
        geometry = [dict(type='Flip', flip_ratio=0)]
        found, expected = both(geometry, path, 0, clip_len=64)
        assert_same(found, expected, 3)
        images = found['imgs'][0].transpose(1, 2, 3, 0)
        assert [number_of(image) for image in images] == [k % 5 for k in range(64)]

    def test_real_clips(self, real_data_dir):
        paths = [*real_data_dir.glob('hmdb51/videos/*/*')][:3]
        geometry = list(shipped(112)[2]['transforms'])
        for seed, path in enumerate(paths):
            assert_same(*both(geometry, str(path), seed, clip_len=64), 3)


class TestResizeRegion:

    @pytest.mark.parametrize(('size_in', 'size_out'), [
        ((240, 320), (128, 170)), ((240, 320), (256, 340)), ((240, 432), (128, 170)),
        ((256, 340), (128, 170)), ((256, 340), (256, 340)), ((47, 61), (128, 170)),
        ((480, 640), (240, 320)), ((97, 101), (13, 17))])
    def test_equals_a_crop_of_the_whole(self, size_in, size_out):
        rng = np.random.default_rng(0)
        frame = rng.integers(0, 256, (*size_in, 3), dtype=np.uint8)
        whole = cv2.resize(frame, size_out[::-1], interpolation=cv2.INTER_LINEAR)
        for _ in range(20):
            top, bottom = np.sort(rng.choice(size_out[0] + 1, 2, replace=False))
            left, right = np.sort(rng.choice(size_out[1] + 1, 2, replace=False))
            crop = resize_region(size_in, size_out, (left, top, right, bottom))
            expected = whole[top:bottom, left:right]
            assert crop(frame).shape == expected.shape
            assert np.abs(crop(frame).astype(int) - expected).max() <= 1


class TestBrokenFiles:

    GEOMETRY = [dict(type='Resize', scale=(60, 50), keep_ratio=False),
                dict(type='CenterCrop', crop_size=40)]

    def load(self, path, policy):
        return run([dict(type='SafeDecordInit', on_unreadable=policy),
                    dict(type='SampleFrames', clip_len=40),
                    dict(type='SafeDecordDecode', transforms=self.GEOMETRY)], path, 0)

    def test_unreadable(self, tmp_path, log):
        path = make_unreadable(tmp_path, 'text')
        assert self.load(path, 'skip') is None
        results = self.load(path, 'blank')
        assert results['unreadable'] is True
        assert results['imgs'].shape == (40, 40, 40, 3)
        assert not results['imgs'].any()
        assert results['original_shape'] == (240, 320)
        assert results['img_shape'] == (40, 40)
        assert len(log(logging.WARNING)) == 2

    @pytest.mark.parametrize('step', [
        dict(type='ColorJitter'), dict(type='TenCrop', crop_size=8),
        dict(type='Flip', lazy=True)])
    def test_other_transforms_are_refused(self, step):
        with pytest.raises(ValueError, match=step['type']):
            SafeDecordDecode(transforms=[step])

    def test_repr_names_the_transforms(self):
        assert 'CenterCrop(' in repr(TRANSFORMS.build(
            dict(type='SafeDecordDecode', transforms=self.GEOMETRY)))
