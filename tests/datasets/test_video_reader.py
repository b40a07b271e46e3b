"""Frames out of real files, by every library: exact, and no file left open."""
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosam_mm.datasets import video_decoders, video_reader
from cosam_mm.datasets.video_decoders import forget_files
from cosam_mm.datasets.video_reader import (
    UnreadableVideo,
    VideoReader,
    read_all_frames,
)
from tests.video_data import SIZE, index_first, make_unreadable, number_of, write_video

av = pytest.importorskip('av')
BACKENDS = ('pyav', 'opencv', 'decord')
# name -> codec, suffix, (width, height), options
SYNTHETIC = {
    'B frames': ('mpeg4', '.avi', (96, 64), {'bf': '2', 'g': '12'}),
    'one key frame': ('mpeg4', '.mp4', (96, 64), {'bf': '2', 'g': '600'}),
    'no B frames': ('mpeg4', '.avi', (96, 64), {'g': '9'}),
    'odd size': ('mpeg4', '.avi', (97, 63), {'bf': '1', 'g': '12'}),
    'open groups': ('mpeg2video', '.mkv', (96, 64), {'bf': '2', 'g': '12'}),
    'H.264 pyramid': ('libx264', '.mp4', (96, 64), {
        'x264-params': 'bframes=5:b-pyramid=normal:open-gop=1:keyint=20:ref=4'}),
    'still images': ('mjpeg', '.avi', (96, 64), {}),
    'full range': ('libx264', '.mp4', (96, 64), {'pix_fmt': 'yuvj420p'}),
    'more colour': ('libx264', '.mp4', (96, 64), {'pix_fmt': 'yuv444p'}),
}


@pytest.fixture
def num_open():
    """Counts the files that this process holds open."""
    if not os.path.isdir('/proc/self/fd'):
        pytest.skip('needs /proc')
    return lambda: len(os.listdir('/proc/self/fd'))


def numbers_of(frames):
    return [number_of(frame) for frame in frames]


def write_synthetic(path, codec, size, options, num_frames=50):
    """A view over noise that moves, at times that are not evenly spaced."""
    options = dict(options)
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8),
                     np.ones((4, 4, 1), np.uint8))
    times = np.cumsum(rng.integers(1, 4, num_frames))
    if codec not in av.codecs_available:
        pytest.skip(f'PyAV was built without {codec}')
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        default = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.pix_fmt = options.pop('pix_fmt', default)
        stream.options = options
        for k in range(num_frames):
            view = ground[k:k + size[1], 2 * k:2 * k + size[0]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view))
            frame.pts = int(times[k]) if path.suffix in ('.mp4', '.mkv') else k
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def assert_same_as_in_order(path, rounds=10):
    """Single frames, stretches and scattered ones, at first and with an index."""
    reader = VideoReader(path, backend='opencv')
    count = len(reader)
    expected = reader.get_batch(range(count))
    forget_files()
    in_order = VideoReader(path, backend='pyav').get_batch(range(count))
    assert np.abs(in_order.astype(int) - expected).max() <= 3
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        start = int(rng.integers(count))
        for wanted in ([start], list(range(start, min(start + 16, count))),
                       rng.choice(count, 4).tolist()):
            found = VideoReader(path, backend='pyav').get_batch(wanted)
            np.testing.assert_array_equal(found, in_order[wanted], str(wanted))


class TestFramesByNumber:

    @pytest.mark.parametrize('ahead', [False, True])
    @pytest.mark.parametrize('backend', [None, *BACKENDS])
    def test_any_order_and_past_the_end(self, good, backend, ahead):
        reader = VideoReader(good, ahead=ahead, backend=backend)
        assert len(reader) == 40
        assert reader.get_avg_fps() == pytest.approx(25)
        for wanted in ([39, 3, 3, 0, 17], [5], [38, 39, 40, 10_000]):
            frames = reader.get_batch(wanted)
            assert (frames.shape, frames.dtype) == ((len(wanted), *SIZE, 3), np.uint8)
            assert numbers_of(frames) == [min(number, 39) for number in wanted]
        red, green, blue = frames[0, 32, 8].astype(int)
        assert red > 200 > 60 > max(green, blue)

    @pytest.mark.parametrize('backend', [None, *BACKENDS])
    def test_what_is_prepared(self, good, backend):
        sizes = []

        def part(frame):
            sizes.append(frame.shape)
            return frame[1:33, :24]

        reader = VideoReader(good, backend=backend)
        frames = reader.get_batch([3, 7, 30], part)
        assert np.moveaxis(frames, -1, 0).flags.c_contiguous
        plain = reader.get_batch([3, 7, 30])
        assert plain.flags.c_contiguous
        np.testing.assert_array_equal(frames, plain[:, 1:33, :24])
        assert reader.get_batch([7, 3, 7, 39], part).shape == (4, 32, 24, 3)
        assert sizes == [(*SIZE, 3)] * 6, 'each frame once'

    @pytest.mark.parametrize('name', SYNTHETIC)
    def test_frames_are_those_of_decoding_in_order(self, tmp_path, name):
        codec, suffix, size, options = SYNTHETIC[name]
        assert_same_as_in_order(
            write_synthetic(tmp_path / f'a{suffix}', codec, size, options))

    def test_real_clips(self, real_data_dir):
        """decord's own seeking is up to 87 frames off in these files."""
        for path in sorted(real_data_dir.glob('*/videos/*/*'))[::3]:
            assert_same_as_in_order(str(path), rounds=1)

    @pytest.mark.parametrize('size', [(30, 34), (48, 32), (100, 18), (340, 256)])
    def test_any_width(self, tmp_path, size):
        """Of rows of 48 pixels decord mistakes the padding for a channel."""
        path = str(tmp_path / 'a.avi')
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), 25, size)
        for image in np.random.default_rng(0).integers(0, 255, (9, 3, 3), np.uint8):
            writer.write(cv2.resize(image[:, None], size))
        writer.release()
        found, expected = (
            VideoReader(path, backend=backend).get_batch([0, 1]).astype(int)
            for backend in (None, 'opencv'))
        assert found.shape == (2, *size[::-1], 3)
        assert np.abs(found - expected).max() <= 3

    def test_threads(self, good):
        frames = VideoReader(good, num_threads=2).get_batch(range(40))
        np.testing.assert_array_equal(
            frames, VideoReader(good, backend='opencv').get_batch(range(40)))

    def test_refused(self, good):
        with pytest.raises(IndexError, match='-1'):
            VideoReader(good).get_batch([3, -1])
        with pytest.raises(ValueError, match="'ffmpeg'"):
            VideoReader(good, backend='ffmpeg')
        for limit in (0, -1, float('nan'), '60', None):
            with pytest.raises(ValueError, match='time_limit'):
                VideoReader(good, time_limit=limit)


class TestWhatIsRemembered:

    @pytest.mark.parametrize('backend', [None, 'pyav'])
    def test_a_file_that_changes_is_read_anew(self, tmp_path, backend):
        path = tmp_path / 'a.avi'
        for options, num_frames in (({'bf': '2'}, 30), ({'g': '5'}, 40)):
            write_synthetic(path, 'mpeg4', (96, 64), options, num_frames)
            expected = VideoReader(path, backend='decord').get_batch(
                [4, num_frames - 1]).astype(int)
            for _ in range(2):
                reader = VideoReader(path, backend=backend)
                assert len(reader) == num_frames
                found = reader.get_batch([4, num_frames - 1])
                assert np.abs(found - expected).max() <= 3

    def test_memory_is_bounded(self, tmp_path, monkeypatch):
        forget_files()
        monkeypatch.setattr(video_decoders, 'MOST_INDEXED_FRAMES', 50)
        paths = [write_video(tmp_path / f'{k}.avi', 20) for k in range(4)]
        for path in paths * 2:
            assert numbers_of(VideoReader(path).get_batch([19])) == [19]
            kept = [len(one.packets) for one in video_decoders.frame_indices.values()]
            assert sum(kept) <= 50
        assert kept == [20, 20]

    @pytest.mark.parametrize('backend', BACKENDS)
    def test_no_handle_stays_open(self, good, num_open, backend):
        VideoReader(good, backend=backend).get_batch([0])  # what stays open once
        before = num_open()
        reader = VideoReader(good, backend=backend)
        for wanted in ([1], [39]):
            reader.get_batch(wanted)
            assert num_open() == before


class TestBrokenFiles:

    def test_opencv_counts_what_decodes(self, cut):
        reader = VideoReader(cut, backend='opencv')
        assert 20 < len(reader) < 32
        last, past = reader.get_batch([len(reader) - 1, 39])
        np.testing.assert_array_equal(last, past)
        # Of the packet that was cut through, not every part decodes.
        assert number_of(last) in (len(reader) - 1, len(reader) - 2)

    def test_count_is_bounded(self, good, monkeypatch):
        monkeypatch.setattr(video_decoders, 'MAX_FRAMES', 7)
        assert len(VideoReader(good, backend='opencv')) == 7

    def test_file_that_shrinks_after_it_was_counted(self, good, cut):
        readers = [VideoReader(good, backend=backend) for backend in BACKENDS]
        os.replace(cut, good)
        for reader in readers:
            with pytest.raises(UnreadableVideo, match='PyAV|OpenCV|decord'):
                reader.get_batch([39])

    @pytest.mark.parametrize('ahead', [False, True])
    @pytest.mark.parametrize('backend', ['pyav', 'decord'])
    def test_zeroed_within(self, zeroed, backend, ahead):
        before = threading.active_count()
        with pytest.raises(UnreadableVideo, match='^(PyAV|decord): '):
            VideoReader(zeroed, ahead=ahead, backend=backend).get_batch(range(40))
        assert threading.active_count() == before

    @pytest.mark.parametrize('backend', [None, 'pyav'])
    def test_header_that_counts_too_many(self, good, monkeypatch, backend):
        """decord counts as the header does and repeats the last frame; one may lack."""
        monkeypatch.setattr(video_reader, 'count_with_decord', lambda path: (41, 25.))
        reader = VideoReader(good, backend=backend)
        assert numbers_of(reader.get_batch([38, 39, 40])) == [38, 39, 39]
        monkeypatch.setattr(video_reader, 'count_with_decord', lambda path: (42, 25.))
        with pytest.raises(UnreadableVideo, match='40'):
            VideoReader(good, backend='pyav').get_batch([39, 40, 41])

    def test_real_header_that_counts_one_frame_too_many(self, real_data_dir):
        path = real_data_dir / ('hmdb51/videos/brush_hair/April_09_brush_hair_u_nm_np1_'
                                'ba_goo_0.avi')
        for backend, count in ((None, 409), ('opencv', 408)):
            reader = VideoReader(path, backend=backend)
            assert len(reader) == count
            np.testing.assert_array_equal(*reader.get_batch([407, 408]))

    @pytest.mark.parametrize(('kind', 'reason'), [
        ('empty', 'empty'), ('missing', 'no such file'),
        ('text', 'decord: .*; OpenCV: ')])
    def test_reason(self, tmp_path, kind, reason):
        with pytest.raises(UnreadableVideo, match=reason) as info:
            VideoReader(make_unreadable(tmp_path, kind))
        assert '\n' not in str(info.value)

    def test_sound_alone(self, tmp_path):
        with av.open(str(tmp_path / 'a.wav'), 'w') as container:
            stream = container.add_stream('pcm_s16le', rate=8000)
            sound = av.AudioFrame.from_ndarray(
                np.zeros((1, 800), np.int16), layout='mono')
            sound.rate = 8000
            container.mux(stream.encode(sound))
        with pytest.raises(UnreadableVideo, match='OpenCV'):
            VideoReader(tmp_path / 'a.wav')
        with pytest.raises(UnreadableVideo, match='no video'):
            list(video_decoders.decode_with_pyav(tmp_path / 'a.wav', [0]))

    def test_without_pyav(self, good, monkeypatch):
        expected = VideoReader(good).get_batch([7])
        monkeypatch.setitem(sys.modules, 'av', None)
        assert np.abs(VideoReader(good).get_batch([7]).astype(int) - expected).max() < 4
        with pytest.raises(UnreadableVideo, match='PyAV'):
            VideoReader(good, backend='pyav').get_batch([7])

    def test_without_decord(self, good, monkeypatch):
        """Extraction goes on with OpenCV; training asks for the package."""
        forget_files()
        monkeypatch.setitem(sys.modules, 'decord', None)
        assert read_all_frames(good, lambda frames: len(list(frames))) == 40
        with pytest.raises(ImportError, match='decord'):
            VideoReader(good)

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
                for position in rng.integers(0, len(data), 40):
                    data[position] = rng.integers(256)
            (folder / f'{k}{os.path.splitext(source)[1]}').write_bytes(data)
        code = (
            'import os, sys, cosam_mm, numpy as np\n'
            'from cosam_mm.datasets.video_reader import UnreadableVideo, VideoReader\n'
            'for name in sorted(os.listdir(sys.argv[1])):\n'
            '    try:\n'
            '        reader = VideoReader(os.path.join(sys.argv[1], name))\n'
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


class TestAllFrames:

    @pytest.mark.parametrize('name', ['a.avi', 'b (1)&;!#+@- %02d.avi', 'c:d.avi'])
    def test_in_rgb_and_in_order(self, tmp_path, monkeypatch, name):
        os.rename(write_video(tmp_path / 'plain.avi', 40, 'MJPG'), tmp_path / name)
        monkeypatch.chdir(tmp_path)
        frames = read_all_frames(name, lambda frames: [f.copy() for f in frames])
        assert {(frame.shape, frame.dtype.name) for frame in frames} == {
            ((*SIZE, 3), 'uint8')}
        assert numbers_of(frames) == list(range(40))
        red, green, blue = frames[0][32, 8].astype(int)
        assert red > 200 > 60 > max(green, blue)

    @pytest.mark.parametrize('num_taken', [0, 1, 33, 40])
    def test_what_is_stopped_closes_its_file(self, good, num_open, num_taken):
        def take(frames):
            return [number_of(frame) for frame, _ in zip(frames, range(num_taken))]
        read_all_frames(good, lambda frames: len(list(frames)))
        before = num_open()
        assert read_all_frames(good, take) == list(range(num_taken))
        assert num_open() == before

    @pytest.mark.parametrize('kind', ['cut', 'zeroed'])
    def test_opencv_takes_over_from_the_start(self, request, kind):
        attempts = []

        def use(frames):
            attempts.append([])
            for frame in frames:
                attempts[-1].append(number_of(frame))

        read_all_frames(request.getfixturevalue(kind), use)
        assert len(attempts) == 2
        assert 20 < len(set(attempts[1])) < 32
        assert attempts[1][:20] == list(range(20))

    def test_no_video(self, tmp_path):
        path = tmp_path / 'noise.avi'
        path.write_bytes(np.random.default_rng(0).bytes(5000))
        with pytest.raises(UnreadableVideo, match='decord: .*; OpenCV: ') as info:
            read_all_frames(path, list)
        assert '\n' not in str(info.value)
        with pytest.raises(UnreadableVideo, match='no such file'):
            read_all_frames(tmp_path / 'gone.avi', list)
