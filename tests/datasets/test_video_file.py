"""Frames out of real files: all or chosen ones, exact, and no file left open."""
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosam_mm.datasets import video_reader
from cosam_mm.datasets.video_file import (
    UnreadableVideo,
    frames_with_decord,
    frames_with_opencv,
)
from cosam_mm.datasets.video_reader import DecordReader, FallbackReader, OpenCVReader
from tests.video_data import SIZE, index_first, make_unreadable, number_of, write_video

STREAMS = (frames_with_decord, frames_with_opencv)


@pytest.fixture
def num_open():
    """Counts the files that this process holds open."""
    if not os.path.isdir('/proc/self/fd'):
        pytest.skip('needs /proc')
    return lambda: len(os.listdir('/proc/self/fd'))


@pytest.mark.parametrize('stream', STREAMS)
class TestStreams:

    @pytest.mark.parametrize('name', ['a.avi', 'b (1)&;!#+@- %02d.avi', 'c:d.avi'])
    def test_all_frames_in_rgb_and_in_order(self, tmp_path, monkeypatch, stream, name):
        os.rename(write_video(tmp_path / 'plain.avi', 40, 'MJPG'), tmp_path / name)
        monkeypatch.chdir(tmp_path)
        frames = list(stream(name))
        assert {(frame.shape, frame.dtype.name) for frame in frames} == {
            ((*SIZE, 3), 'uint8')}
        assert [number_of(frame) for frame in frames] == list(range(40))
        for frame in frames:
            red, green, blue = frame[32, 8].astype(int)
            assert red > 200 > 60 > max(green, blue)

    def test_refuses_what_is_no_video(self, tmp_path, stream):
        path = tmp_path / 'noise.avi'
        path.write_bytes(np.random.default_rng(0).bytes(5000))
        with pytest.raises(UnreadableVideo, match='^(decord|OpenCV): .') as info:
            list(stream(path))
        assert '\n' not in str(info.value)
        with pytest.raises(UnreadableVideo, match='there is no such file'):
            list(stream(tmp_path / 'gone.avi'))

    @pytest.mark.parametrize('num_taken', [1, 33, 40])
    def test_one_that_is_stopped_closes_its_file(
            self, good, num_open, stream, num_taken):
        list(stream(good))  # what decoders open once and for all is open now
        before = num_open()
        frames = stream(good)
        taken = [number_of(next(frames)) for _ in range(num_taken)]
        assert num_open() > before
        frames.close()
        assert num_open() == before
        assert taken == list(range(num_taken))

    def test_a_finished_one_closes_its_file(self, good, num_open, stream):
        list(stream(good))
        before = num_open()
        frames = stream(good)
        assert len(list(frames)) == 40
        assert num_open() == before


class TestStreamsOfBrokenFiles:

    @pytest.mark.parametrize('kind', ['cut', 'zeroed'])
    def test_decord_says_that_it_stops(self, request, kind):
        with pytest.raises(UnreadableVideo, match=r'^decord: DECORDError: .*failed'):
            list(frames_with_decord(request.getfixturevalue(kind)))

    @pytest.mark.parametrize('kind', ['cut', 'zeroed'])
    def test_opencv_gives_what_decodes(self, request, kind):
        path = request.getfixturevalue(kind)
        numbers = [number_of(frame) for frame in frames_with_opencv(path)]
        assert len(numbers) == len(OpenCVReader(path))
        assert 20 < len(set(numbers)) < 32
        assert numbers[:20] == list(range(20))

    def test_without_decord(self, good, monkeypatch):
        """Extraction goes on with OpenCV; training asks for the package."""
        monkeypatch.setitem(sys.modules, 'decord', None)
        with pytest.raises(UnreadableVideo, match='^decord: ModuleNotFoundError: '):
            list(frames_with_decord(good))
        with pytest.raises(ImportError, match='decord'):
            FallbackReader(good)


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
        monkeypatch.setattr(video_reader, 'MAX_FRAMES', 7)
        assert len(OpenCVReader(good)) == 7

    def test_negative_number(self, good):
        with pytest.raises(IndexError, match='start at 0, got -1'):
            OpenCVReader(good).get_batch([3, -1])

    def test_file_that_shrinks_after_it_was_counted(self, good, cut):
        reader = OpenCVReader(good)
        os.replace(cut, good)
        with pytest.raises(UnreadableVideo, match='does not decode frame 39'):
            reader.get_batch([39])

    def test_leaves_no_handle_open(self, good, tmp_path, num_open):
        before = num_open()
        reader = OpenCVReader(good)
        assert num_open() == before
        reader.get_batch([1])
        (tmp_path / 'text.avi').write_text('no video')
        with pytest.raises(UnreadableVideo, match='^OpenCV: no frame can be read'):
            OpenCVReader(tmp_path / 'text.avi')
        assert num_open() == before


class TestDecordReader:

    def test_both_readers_agree(self, good):
        wanted = np.arange(0, 40, 3)
        first = DecordReader(good).get_batch(wanted)
        second = OpenCVReader(good).get_batch(wanted)
        assert np.abs(first.astype(int) - second).max() <= 3

    def test_a_reader_can_be_asked_again(self, good):
        reader = DecordReader(good)
        for wanted in ([5, 30], [4], [39, 38, 38]):
            frames = reader.get_batch(wanted)
            assert [number_of(frame) for frame in frames] == wanted

    def test_leaves_no_handle_open_once_asked(self, good, num_open):
        DecordReader(good).get_batch([0])
        before = num_open()
        reader = DecordReader(good)
        for wanted in ([1], [39]):
            reader.get_batch(wanted)
            assert num_open() == before


class TestFallbackReader:

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

    @pytest.mark.parametrize(('kind', 'reason'), [
        ('empty', 'the file is empty'), ('missing', 'there is no such file'),
        ('text', 'decord: .*; OpenCV: no frame can be read')])
    def test_reason(self, tmp_path, kind, reason):
        with pytest.raises(UnreadableVideo, match=reason):
            FallbackReader(make_unreadable(tmp_path, kind))

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
            'from cosam_mm.datasets.video_file import UnreadableVideo\n'
            'from cosam_mm.datasets.video_reader import FallbackReader\n'
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
