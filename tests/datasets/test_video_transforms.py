"""Decoding of real video files, whole and broken.

The files are written here with OpenCV's encoder: frame k of a video is red at the left
and shows k in binary, as six bright or dark bars, so a decoded frame tells its number.
"""
import logging
import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from cosam_mm.datasets.transforms import (
    SafeDecordDecode,
    SafeDecordInit,
    SafeRawFrameDecode,
)
from cosam_mm.datasets.transforms.video_reader import (
    DecordReader,
    FallbackReader,
    OpenCVReader,
    UnreadableVideo,
)

SIZE = (64, 96)  # height, width


def picture(number):
    image = np.zeros((*SIZE, 3), np.uint8)
    for bit in range(6):
        if number >> bit & 1:
            image[:, 32 + 10 * bit:42 + 10 * bit] = 220
    image[:, :24] = (0, 0, 255)  # red, as OpenCV orders channels
    return image


def number_of(frame):
    """The number that the upper half of a frame shows."""
    bars = frame[:32, 32:92].astype(float).mean(axis=(0, 2)).reshape(6, 10).mean(1)
    return sum(1 << bit for bit in range(6) if bars[bit] > 110)


def write_video(path, num_frames, fourcc='mp4v'):
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*fourcc), 25, SIZE[::-1])
    assert writer.isOpened()
    for number in range(num_frames):
        writer.write(picture(number))
    writer.release()
    return str(path)


def boxes(data, start, end):
    while start < end:
        size, kind = struct.unpack('>I4s', data[start:start + 8])
        if size == 1:  # a 64-bit size follows
            size, = struct.unpack('>Q', data[start + 8:start + 16])
        yield kind, start, start + size
        start += size


def index_first(data):
    """An mp4 with its index before the frames, so that a cut leaves the index."""
    parts = {kind: data[a:b] for kind, a, b in boxes(data, 0, len(data))}
    index = bytearray(parts.pop(b'moov'))

    def move_offsets(start, end):
        for kind, a, b in boxes(bytes(index), start, end):
            if kind in (b'moov', b'trak', b'mdia', b'minf', b'stbl'):
                move_offsets(a + 8, b)
            elif kind == b'stco':
                count, = struct.unpack('>I', index[a + 12:a + 16])
                offsets = struct.unpack(f'>{count}I', index[a + 16:a + 16 + 4 * count])
                index[a + 16:a + 16 + 4 * count] = struct.pack(
                    f'>{count}I', *(offset + len(index) for offset in offsets))

    move_offsets(0, len(index))
    return parts.pop(b'ftyp') + bytes(index) + b''.join(parts.values())


@pytest.fixture
def good(tmp_path):
    return write_video(tmp_path / 'good.mp4', 40)


@pytest.fixture
def cut(tmp_path, good):
    """decord does not open it; OpenCV reads about two thirds of 40 frames."""
    data = index_first(Path(good).read_bytes())
    path = tmp_path / 'cut.mp4'
    path.write_bytes(data[:len(data) * 2 // 3])
    return str(path)


@pytest.fixture
def zeroed(tmp_path, good):
    """decord opens it, counts 40 frames and fails in the later ones."""
    data = index_first(Path(good).read_bytes())
    path = tmp_path / 'zeroed.mp4'
    half = len(data) * 2 // 3
    path.write_bytes(data[:half] + bytes(len(data) - half))
    return str(path)


@pytest.fixture
def log(tmp_path):
    """The lines of the log file so far, without their head."""
    name = f'test {tmp_path}'
    logger = MMLogger.get_instance(name, log_file=str(tmp_path / 'run.log'))

    def lines(level):
        return [line for line in (tmp_path / 'run.log').read_text().splitlines()
                if f' {logging.getLevelName(level)} ' in line]

    yield lines
    for handler in logger.handlers:
        handler.close()
    MMLogger._instance_dict.pop(name)


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


class TestOpenCVReader:

    def test_frames_by_number(self, good):
        reader = OpenCVReader(good)
        assert len(reader) == 40
        wanted = [39, 3, 3, 0, 17]
        frames = reader.get_batch(wanted)
        assert frames.shape == (5, *SIZE, 3)
        assert frames.dtype == np.uint8
        assert [number_of(frame) for frame in frames] == wanted

    def test_colours_are_rgb(self, good):
        red, green, blue = OpenCVReader(good).get_batch([20])[0, 32, 8].astype(int)
        assert red > 200 > 60 > max(green, blue)

    def test_past_the_end_comes_the_last_frame(self, good):
        frames = OpenCVReader(good).get_batch([39, 40, 10_000])
        assert [number_of(frame) for frame in frames] == [39, 39, 39]

    def test_counts_what_decodes(self, cut):
        header = cv2.VideoCapture(cut, cv2.CAP_FFMPEG)
        assert header.get(cv2.CAP_PROP_FRAME_COUNT) == 40
        header.release()
        reader = OpenCVReader(cut)
        assert 20 < len(reader) < 32
        last, past = reader.get_batch([len(reader) - 1, 39])
        np.testing.assert_array_equal(last, past)
        # Of the packet that was cut through, not every part decodes.
        assert number_of(last) in (len(reader) - 1, len(reader) - 2)

    def test_count_is_bounded(self, good, monkeypatch):
        module = sys.modules[OpenCVReader.__module__]
        monkeypatch.setattr(module, 'MAX_FRAMES', 7)
        assert len(OpenCVReader(good)) == 7

    def test_negative_number(self, good):
        with pytest.raises(IndexError, match='start at 0, got -1'):
            OpenCVReader(good).get_batch([3, -1])

    def test_file_that_shrinks_after_it_was_counted(self, good, cut):
        reader = OpenCVReader(good)
        os.replace(cut, good)
        with pytest.raises(UnreadableVideo, match='does not decode frame 39'):
            reader.get_batch([39])

    @pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs /proc')
    def test_leaves_no_handle_open(self, good, tmp_path):
        before = os.listdir('/proc/self/fd')
        reader = OpenCVReader(good)
        reader.get_batch([1])
        (tmp_path / 'text.avi').write_text('no video')
        with pytest.raises(UnreadableVideo, match='decodes no frame'):
            OpenCVReader(tmp_path / 'text.avi')
        assert len(os.listdir('/proc/self/fd')) == len(before)


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

    def test_colours_are_rgb(self, good):
        red, green, blue = load(good)['imgs'][0][32, 8].astype(int)
        assert red > 200 > 60 > max(green, blue)

    def test_both_readers_agree(self, good):
        wanted = np.arange(0, 40, 3)
        first = DecordReader(good).get_batch(wanted)
        second = OpenCVReader(good).get_batch(wanted)
        assert np.abs(first.astype(int) - second).max() <= 3

    @pytest.mark.parametrize('size', [(30, 34), (48, 32), (100, 18), (340, 256)])
    def test_any_width(self, tmp_path, size):
        path = str(tmp_path / 'a.avi')
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), 25, size)
        noise = np.random.default_rng(0).integers(0, 255, (9, 3, 3), dtype=np.uint8)
        for image in noise:
            writer.write(cv2.resize(image[:, None], size))
        writer.release()
        # Of rows of 48 pixels decord mistakes the padding for a channel and fails.
        found = FallbackReader(path).get_batch([0, 1]).astype(int)
        assert found.shape == (2, *size[::-1], 3)
        expected = OpenCVReader(path).get_batch([0, 1])
        assert np.abs(found - expected).max() <= 3

    def test_a_reader_can_be_asked_again(self, good):
        reader = DecordReader(good)
        for wanted in ([5, 30], [4], [39, 38, 38]):
            frames = reader.get_batch(wanted)
            assert [number_of(frame) for frame in frames] == wanted

    def test_video_shorter_than_a_clip_is_looped(self, tmp_path):
        path = write_video(tmp_path / 'short.avi', 5, 'MJPG')
        for test_mode in (True, False):
            results = load(path, clip_len=64, test_mode=test_mode)
            assert_clip(results, 64)
            numbers = [number_of(image) for image in results['imgs']]
            assert numbers == [k % 5 for k in range(64)]

    def test_one_frame(self, tmp_path):
        results = load(write_video(tmp_path / 'one.avi', 1, 'MJPG'), clip_len=64)
        assert_clip(results, 64)

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


class TestFallback:

    def test_file_that_decord_does_not_open(self, cut, log):
        for _ in range(2):
            results = load(cut)
            assert 20 < results['total_frames'] < 32
            assert_clip(results, 16)
            first = (results['total_frames'] - 16) // 2
            assert [number_of(image) for image in results['imgs']] == list(
                range(first, first + 16))
            assert results['avg_fps'] == pytest.approx(25)
            assert 'unreadable' not in results
        lines = log(logging.INFO)
        assert len(lines) == 1
        assert cut in lines[0]
        assert 'read with OpenCV' in lines[0]
        assert 'av_read_frame failed' in lines[0]
        assert not log(logging.WARNING)

    def test_file_that_decord_does_not_decode(self, zeroed, log):
        results = load(zeroed, clip_len=40)
        assert results['total_frames'] == 40
        assert_clip(results, 40)
        numbers = [number_of(image) for image in results['imgs']]
        last = max(numbers)
        assert 20 < last < 32
        assert numbers == [min(k, last) for k in range(40)]
        assert len(log(logging.INFO)) == 1

    def test_real_file_with_an_absurd_header(self, real_data_dir):
        path = str(real_data_dir / 'broken/v_Basketball_g01_c02.mp4')
        results = load(path, clip_len=64)
        assert results['total_frames'] == 180
        assert_clip(results, 64)
        assert results['img_shape'] == (256, 340)
        assert len({image.tobytes() for image in results['imgs']}) > 32

    def test_header_of_hmdb51_counts_one_frame_too_many(self, real_data_dir):
        folder = real_data_dir / 'hmdb51/videos/brush_hair'
        path = str(folder / 'April_09_brush_hair_u_nm_np1_ba_goo_0.avi')
        reader, opencv = FallbackReader(path), OpenCVReader(path)
        assert (len(reader), len(opencv)) == (409, 408)
        for one in (reader, opencv):
            last, past = one.get_batch([407, 408])
            np.testing.assert_array_equal(last, past)

    def test_real_clips_give_the_frames_asked_for(self, real_data_dir):
        """decord's own seeking is up to 87 frames off in these files."""
        paths = [*real_data_dir.glob('hmdb51/videos/*/*'),
                 *real_data_dir.glob('ucf101/videos/*/*_g01_c01.avi')]
        for path in paths:
            reader = FallbackReader(str(path))
            for wanted in ([len(reader) // 2, 5], [len(reader) - 1]):
                found = reader.get_batch(wanted).astype(int)
                expected = OpenCVReader(path).get_batch(wanted)
                assert np.abs(found - expected).max() <= 2, path


def make_unreadable(folder, kind):
    path = folder / f'{kind} (1).mp4'
    if kind == 'empty':
        path.touch()
    elif kind == 'text':
        path.write_text('not a video\n' * 100)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'headless':
        data = Path(write_video(folder / 'whole.mp4', 40)).read_bytes()
        path.write_bytes(data[:len(data) // 2])
    return str(path)


KINDS = ['empty', 'text', 'folder', 'headless', 'missing']


class TestUnreadable:

    @pytest.mark.parametrize('kind', KINDS)
    def test_skip(self, tmp_path, log, kind):
        path = make_unreadable(tmp_path, kind)
        assert load(path) is None
        assert load(path) is None
        lines = log(logging.WARNING)
        assert len(lines) == 1
        assert f'Unreadable: {path} (' in lines[0]
        assert 'another sample takes its place' in lines[0]

    @pytest.mark.parametrize('kind', KINDS)
    def test_blank(self, tmp_path, log, kind):
        path = make_unreadable(tmp_path, kind)
        results = load(path, 'blank', clip_len=64)
        assert results['unreadable'] is True
        assert results['img_shape'] == (240, 320)
        assert_clip(results, 64)
        assert not np.any(results['imgs'])
        assert path in log(logging.WARNING)[0]

    @pytest.mark.parametrize(('kind', 'reason'), [
        ('empty', 'the file is empty'), ('missing', 'there is no such file'),
        ('text', 'decord: .*; OpenCV decodes no frame')])
    def test_reason(self, tmp_path, kind, reason):
        with pytest.raises(UnreadableVideo, match=reason):
            FallbackReader(make_unreadable(tmp_path, kind))

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
        assert len(log(logging.WARNING)) == 1

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
        with pytest.raises(ValueError, match=r"'skip', 'blank'.*got 'ignore'"):
            SafeDecordInit(on_unreadable='ignore')
        with pytest.raises(ValueError, match=r'\(height, width\).*got \(0, 3\)'):
            SafeDecordInit(blank_size=(0, 3))
        with pytest.raises(TypeError, match='io_backend'):
            TRANSFORMS.build(dict(type='SafeDecordInit', io_backend='disk'))

    def test_damaged_files_take_no_time(self, tmp_path):
        """A process of its own, so that a decoder that hangs fails this test."""
        sources = [write_video(tmp_path / 'a.mp4', 40),
                   write_video(tmp_path / 'b.avi', 40, 'XVID'),
                   write_video(tmp_path / 'c.avi', 40, 'MJPG')]
        folder = tmp_path / 'damaged'
        folder.mkdir()
        for k in range(30):
            rng = np.random.default_rng(k)
            source = sources[k % 3]
            data = Path(source).read_bytes()
            data = bytearray(index_first(data) if source.endswith('4') else data)
            start = int(rng.integers(100, len(data)))
            if k < 10:
                data = data[:start]
            elif k < 20:
                data[start:start + 2000] = rng.bytes(len(data[start:start + 2000]))
            else:
                for place in rng.integers(0, len(data), 40):
                    data[place] = rng.integers(256)
            (folder / f'{k}{os.path.splitext(source)[1]}').write_bytes(data)
        code = (
            'import os, sys, cosam_mm, numpy as np\n'
            'from cosam_mm.datasets.transforms.video_reader import *\n'
            'for name in sorted(os.listdir(sys.argv[1])):\n'
            '    try:\n'
            '        reader = FallbackReader(os.path.join(sys.argv[1], name))\n'
            '        shape = reader.get_batch(np.arange(64) % len(reader)).shape\n'
            '        print(shape[0], shape[3])\n'
            '    except UnreadableVideo:\n'
            '        print("unreadable")\n')
        done = subprocess.run(
            [sys.executable, '-c', code, str(folder)], timeout=120,
            capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if ' - mmengine' not in line]
        assert len(lines) == 30
        assert set(lines) <= {'64 3', 'unreadable'}
        assert lines.count('64 3') > 15


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

    @pytest.mark.parametrize('modality', ['RGB', 'Flow'])
    @pytest.mark.parametrize('damage', ['missing', 'empty', 'text', 'other size'])
    def test_broken_frame(self, folder, log, modality, damage):
        names = ['img_00005.jpg'] if modality == 'RGB' else [
            'flow_x_00005.jpg', 'flow_y_00005.jpg']
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
        lines = [line for line in log(logging.WARNING) if 'Unreadable' in line]
        assert len(lines) == 1
        assert f'Unreadable: {folder} (' in lines[0]
        results = self.read(
            folder, modality, on_unreadable='blank', blank_size=(6, 5))
        assert results['unreadable'] is True
        assert results['img_shape'] == (6, 5)
        channels = 3 if modality == 'RGB' else 2
        assert [image.shape for image in results['imgs']] == [(6, 5, channels)] * 8

    def test_one_broken_flow_component(self, folder):
        (folder / 'flow_y_00001.jpg').write_text('no image')
        assert self.read(folder, 'Flow') is None

    def test_first_frame_broken(self, folder):
        (folder / 'img_00001.jpg').write_text('no image')
        assert self.read(folder) is None
