"""Clips out of real video files, whole and broken, by the steps of a pipeline."""
import logging
import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from cosam_mm.datasets import video_decoders
from cosam_mm.datasets.transforms import (
    SafeDecordDecode,
    SafeDecordInit,
    SafeRawFrameDecode,
)
from cosam_mm.datasets.transforms import video_loading as video
from cosam_mm.datasets.video_decoders import DecoderFailed
from tests.video_data import SIZE, make_unreadable, number_of, picture, write_video


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def load(filename, on_unreadable='skip', clip_len=16, num_clips=1, test_mode=True):
    pipeline = Compose([
        dict(type='SafeDecordInit', on_unreadable=on_unreadable),
        dict(type='SampleFrames', clip_len=clip_len, num_clips=num_clips,
             test_mode=test_mode),
        dict(type='SafeDecordDecode')])
    return pipeline(dict(filename=filename, start_index=0, modality='RGB', label=0))


def assert_clip(results, num_frames):
    assert len(results['imgs']) == num_frames
    for image in results['imgs']:
        assert isinstance(image, np.ndarray)
        assert image.dtype == np.uint8
        assert image.shape == (*results['img_shape'], 3)
    assert results['original_shape'] == results['img_shape']
    assert 'video_reader' not in results


class TestGoodFiles:

    @pytest.mark.parametrize('fourcc', ['mp4v', 'MJPG', 'XVID'])
    def test_centre_clip(self, tmp_path, fourcc):
        suffix = '.mp4' if fourcc == 'mp4v' else '.avi'
        path = write_video(tmp_path / f'a{suffix}', 40, fourcc)
        results = load(path)
        assert_clip(results, 16)
        assert [number_of(image) for image in results['imgs']] == list(range(12, 28))
        assert results['avg_fps'] == pytest.approx(25)
        assert 'unreadable' not in results

    def test_video_shorter_than_a_clip_is_looped(self, tmp_path):
        path = write_video(tmp_path / 'short.avi', 5, 'MJPG')
        for test_mode in (True, False):
            results = load(path, clip_len=64, test_mode=test_mode)
            assert_clip(results, 64)
            numbers = [number_of(image) for image in results['imgs']]
            assert numbers == [k % 5 for k in range(64)]

    def test_several_clips(self, good):
        results = load(good, clip_len=8, num_clips=3)
        assert_clip(results, 24)
        numbers = [number_of(image) for image in results['imgs']]
        assert numbers == [*range(8), *range(16, 24), *range(32, 40)]

    def test_name_without_extension_means_mp4(self, tmp_path, good):
        assert_clip(load(str(tmp_path / 'good')), 16)

    @pytest.mark.parametrize(
        'name', ['a b&[c]!;#(d)é.mp4', 'of_%05d.mp4', 'http:x.mp4'])
    def test_odd_names(self, tmp_path, monkeypatch, cut, name):
        monkeypatch.chdir(tmp_path)
        for path in (write_video('plain.mp4', 20), cut):
            os.replace(path, name)
            assert_clip(load(name), 16)

    def test_repr(self):
        assert 'on_unreadable' in repr(SafeDecordInit())
        assert repr(SafeDecordDecode()) == 'SafeDecordDecode()'
        assert 'on_unreadable' in repr(SafeRawFrameDecode())


class TestFreeCore:

    @pytest.mark.parametrize(('cores', 'workers', 'processes', 'expected'), [
        (1, 0, None, False), (2, 0, None, True), (2, 1, None, True),
        (2, 2, None, False), (8, 4, '1', True), (8, 4, '2', False),
        (16, 4, '2', True)])
    def test_each_loading_process_has_two(
            self, monkeypatch, cores, workers, processes, expected):
        worker = SimpleNamespace(num_workers=workers) if workers else None
        monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(cores)),
                            raising=False)
        monkeypatch.setattr(video, 'get_worker_info', lambda: worker)
        monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
        if processes:
            monkeypatch.setenv('LOCAL_WORLD_SIZE', processes)
        assert video.has_free_core() is expected

    def test_frames_are_the_same(self, good, monkeypatch):
        clips = []
        for free in (False, True):
            monkeypatch.setattr(video, 'has_free_core', lambda free=free: free)
            clips.append(load(good)['imgs'])
        np.testing.assert_array_equal(*clips)


class TestDamagedFiles:

    @pytest.mark.parametrize('kind', ['cut', 'zeroed'])
    def test_the_frames_that_are_there(self, request, kind, log):
        path = request.getfixturevalue(kind)
        results = load(path)
        count = results['total_frames']
        assert 20 < count < 32
        assert_clip(results, 16)
        assert [number_of(image) for image in results['imgs']] == list(
            range((count - 16) // 2, (count - 16) // 2 + 16))
        assert results['avg_fps'] == pytest.approx(25)
        assert 'unreadable' not in results
        ((outcome, name, reason),) = results['unreadable_samples']
        assert (outcome, name) == ('cut off', path)
        assert '1.60 s' in reason
        (line,) = log(logging.INFO) + log(logging.WARNING)
        assert reason in line

    def test_nothing_of_a_failed_attempt_stays(self, good, monkeypatch, log):
        """Its frames had another size, from which a crop was chosen."""
        def fails(path, wanted, num_threads):
            yield np.zeros((90, 200, 3), np.uint8)
            raise DecoderFailed('PyAV: out of order')
        steps = [dict(type='Resize', scale=(-1, 50)), dict(type='CenterCrop',
                                                           crop_size=48)]

        def decode():
            results = SafeDecordInit()(dict(filename=good))
            results['frame_inds'] = np.arange(4)
            return SafeDecordDecode(steps)(results)
        expected = decode()
        monkeypatch.setitem(video_decoders.DECODERS, 'pyav', fails)
        found = decode()
        assert np.abs(found['imgs'].astype(int) - expected['imgs']).max() <= 3
        for key in ('original_shape', 'img_shape', 'crop_bbox', 'scale_factor'):
            np.testing.assert_array_equal(found[key], expected[key])
        (line,) = log(logging.INFO)
        assert 'OpenCV' in line

    def test_decord_by_name(self, good, zeroed):
        for path, is_read in ((good, True), (zeroed, False)):
            results = SafeDecordInit(backend='decord')(dict(filename=path))
            assert results['total_frames'] == 40
            results['frame_inds'] = np.arange(40)
            assert (SafeDecordDecode()(results) is not None) is is_read

    def test_real_file_with_an_absurd_header(self, real_data_dir):
        path = str(real_data_dir / 'broken/v_Basketball_g01_c02.mp4')
        results = load(path, clip_len=64)
        assert results['total_frames'] == 180
        assert_clip(results, 64)
        assert results['img_shape'] == (256, 340)
        assert len({image.tobytes() for image in results['imgs']}) > 32


KINDS = ['empty', 'text', 'folder', 'headless', 'missing']


class TestUnreadable:

    @pytest.mark.parametrize('kind', KINDS)
    def test_skipped_or_blank(self, tmp_path, log, kind):
        path = make_unreadable(tmp_path, kind)
        assert load(path) is None
        assert load(path) is None
        (line,) = log(logging.WARNING)
        assert path in line
        results = load(path, 'blank', clip_len=64)
        assert results['unreadable'] is True
        assert results['img_shape'] == (240, 320)
        assert_clip(results, 64)
        assert not np.any(results['imgs'])

    def test_decoding_that_fails_late(self, good, log):
        """The file goes away between opening and decoding."""
        for policy in ('skip', 'blank'):
            init = SafeDecordInit(on_unreadable=policy, blank_size=(48, 64))
            results = init(dict(filename=good))
            results['video_reader'].get_batch([0])  # the next batch opens it again
            results['frame_inds'] = np.arange(4)
            os.rename(good, good + '.gone')
            results = SafeDecordDecode()(results)
            os.rename(good + '.gone', good)
            if policy == 'skip':
                assert results is None
            else:
                assert results['unreadable'] is True
                assert results['img_shape'] == (48, 64)
                assert_clip(results, 4)
        assert len(log(logging.WARNING)) == 2

    def test_blank_clip_goes_through_a_test_pipeline(self, tmp_path):
        steps = Compose([
            dict(type='Resize', scale=(170, 128), keep_ratio=False),
            dict(type='TenCrop', crop_size=112),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs',
                 meta_keys=('img_shape', 'sample_id', 'unreadable'))])
        results = load(make_unreadable(tmp_path, 'text'), 'blank')
        results['sample_id'] = 'text (1)'
        packed = steps(results)
        assert packed['inputs'].shape == (10, 3, 16, 112, 112)
        sample = packed['data_samples'].to_dict()
        assert sample['unreadable'] is True
        assert sample['sample_id'] == 'text (1)'

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match='ignore'):
            SafeDecordInit(on_unreadable='ignore')
        with pytest.raises(ValueError, match='blank_size'):
            SafeDecordInit(blank_size=(0, 3))
        with pytest.raises(TypeError, match='io_backend'):
            TRANSFORMS.build(dict(type='SafeDecordInit', io_backend='disk'))


class TestFrames:

    @pytest.fixture
    def folder(self, tmp_path):
        for number in range(1, 9):
            cv2.imwrite(str(tmp_path / f'img_{number:05}.jpg'), picture(number))
            for axis, offset in (('x', 0), ('y', 100)):
                plane = np.full(SIZE, 4 * number + offset, np.uint8)
                cv2.imwrite(str(tmp_path / f'flow_{axis}_{number:05}.jpg'), plane)
        return tmp_path

    def read(self, folder, modality='RGB', **kwargs):
        templates = {'RGB': 'img_{:05}.jpg', 'Flow': 'flow_{}_{:05}.jpg'}
        results = dict(
            frame_dir=str(folder), filename_tmpl=templates[modality],
            modality=modality, frame_inds=np.arange(1, 9))
        return TRANSFORMS.build(dict(type='SafeRawFrameDecode', **kwargs))(results)

    def test_rgb(self, folder):
        images = self.read(folder)['imgs']
        assert [number_of(image) for image in images] == list(range(1, 9))
        red, green, blue = images[0][32, 8].astype(int)
        assert red > 200 > 60 > max(green, blue)

    def test_flow(self, folder):
        images = self.read(folder, 'Flow')['imgs']
        assert images[2].shape == (*SIZE, 2)
        assert images[2].reshape(-1, 2).mean(0) == pytest.approx((12, 112), abs=1)

    @pytest.mark.parametrize(('modality', 'names'), [
        ('RGB', ['img_00005.jpg']), ('RGB', ['img_00001.jpg']),
        ('Flow', ['flow_x_00005.jpg', 'flow_y_00005.jpg']),
        ('Flow', ['flow_y_00001.jpg'])])
    @pytest.mark.parametrize('damage', ['missing', 'empty', 'text', 'other size'])
    def test_broken_frame(self, folder, log, modality, names, damage):
        for name in names:
            path = folder / name
            path.unlink()
            if damage == 'empty':
                path.touch()
            elif damage == 'text':
                path.write_text('no image')
            elif damage == 'other size':
                cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
        assert self.read(folder, modality) is None
        assert any(str(folder) in line for line in log(logging.WARNING))
        results = self.read(
            folder, modality, on_unreadable='blank', blank_size=(6, 5))
        assert results['unreadable'] is True
        assert results['img_shape'] == (6, 5)
        channels = 3 if modality == 'RGB' else 2
        assert [image.shape for image in results['imgs']] == [(6, 5, channels)] * 8
