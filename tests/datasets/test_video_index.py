"""Chosen frames by PyAV: exactly those of decoding in order, whatever the file."""
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest

from cosam_mm.datasets import video_index
from cosam_mm.datasets.video_file import (
    UnreadableVideo,
    frames_with_decord,
    frames_with_opencv,
)
from cosam_mm.datasets.video_index import FrameIndex, FrameIndices, walk_pyav
from cosam_mm.datasets.video_reader import FallbackReader, PyAVReader, forget_files
from tests.video_data import write_video

av = pytest.importorskip('av')

# name -> codec, suffix, (width, height), options
DRAWN = {
    'B frames': ('mpeg4', '.avi', (96, 64), {'bf': '2', 'g': '12'}),
    'one key frame': ('mpeg4', '.mp4', (96, 64), {'bf': '2', 'g': '600'}),
    'no B frames': ('mpeg4', '.avi', (96, 64), {'g': '9'}),
    'odd size': ('mpeg4', '.avi', (97, 63), {'bf': '1', 'g': '12'}),
    'open groups': ('mpeg2video', '.mkv', (96, 64), {'bf': '2', 'g': '12'}),
    'H.264 pyramid': ('libx264', '.mp4', (96, 64), {
        'x264-params': 'bframes=5:b-pyramid=normal:open-gop=1:keyint=20:ref=4'}),
    'still pictures': ('mjpeg', '.avi', (96, 64), {}),
    'full range': ('libx264', '.mp4', (96, 64), {'pix_fmt': 'yuvj420p'}),
    'more colour': ('libx264', '.mp4', (96, 64), {'pix_fmt': 'yuv444p'}),
}


def draw(path, codec, size, options, num_frames=50):
    """A view over noise that moves, at times that are not evenly spaced."""
    options = dict(options)
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8),
                     np.ones((4, 4, 1), np.uint8))
    times = np.cumsum(rng.integers(1, 4, num_frames))
    with av.open(str(path), 'w') as container:
        if codec not in av.codecs_available:
            pytest.skip(f'PyAV was built without {codec}')
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        default = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.pix_fmt = options.pop('pix_fmt', default)
        stream.options = options
        for k in range(num_frames):
            view = ground[k:k + size[1], 2 * k:2 * k + size[0]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view))
            uneven = path.suffix in ('.mp4', '.mkv')
            frame.pts = int(times[k]) if uneven else k
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def assert_same_as_in_order(path, seed=0, draws=20):
    """Single frames, stretches and scattered ones, against a walk in order."""
    expected = [frame.copy() for frame in frames_with_opencv(path)]
    indices = FrameIndices(10_000)
    in_order = [frame.copy()
                for frame in walk_pyav(path, path, range(len(expected)), indices)]
    assert len(in_order) == len(expected)
    for found, frame in zip(in_order, expected):
        assert np.abs(found.astype(int) - frame).max() <= 3
    index = indices.get(path, len(expected) - 1)
    assert index is not None
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        start = int(rng.integers(len(expected)))
        choices = [[start], list(range(start, min(start + 16, len(expected)))),
                   sorted(rng.choice(len(expected), 4, replace=False).tolist())]
        for wanted in choices:
            found = [frame.copy() for frame in walk_pyav(path, path, wanted, indices)]
            assert len(found) == len(wanted), wanted
            for number, frame in zip(wanted, found):
                np.testing.assert_array_equal(frame, in_order[number], str(number))
    return index


@pytest.mark.parametrize('name', DRAWN)
def test_frames_are_those_of_decoding_in_order(tmp_path, name):
    codec, suffix, size, options = DRAWN[name]
    index = assert_same_as_in_order(
        draw(tmp_path / f'a{suffix}', codec, size, options))
    if 'libx264' in codec:
        assert len(index.entries) == 0  # key frames of H.264 are not relied on
    elif 'g' in options:
        assert len(index.entries) == -(-50 // int(options['g']))
    order = index.packets - np.arange(len(index))
    assert order.any() == ('bf' in options or name == 'H.264 pyramid'
                           or 'libx264' in codec)


def test_real_clips(real_data_dir):
    for path in sorted(real_data_dir.glob('*/videos/*/*')):
        assert_same_as_in_order(str(path), draws=2)


class Noting:
    """A stream and its decoder that note what is decoded, and how."""

    def __init__(self, stream):
        self.stream = stream
        self.decoder = stream.codec_context
        self.codec_context = self
        self.decoded = []

    def flush_buffers(self):
        self.decoder.flush_buffers()

    def decode(self, packet):
        self.decoder.skip_frame = self.skip_frame
        self.decoded.append((packet.pts, self.skip_frame))
        return self.decoder.decode(packet)


def test_what_is_decoded_for_a_frame(tmp_path, monkeypatch):
    path = draw(tmp_path / 'a.avi', 'mpeg4', (96, 64), {'bf': '2', 'g': '12'})
    indices = FrameIndices(10_000)
    list(walk_pyav(path, path, [49], indices))
    index = indices.get(path, 49)
    packets = video_index._numbered_packets
    monkeypatch.setattr(video_index, '_numbered_packets',
                        lambda container, noting: packets(container, noting.stream))
    # The group of 12 frames that holds frame 40 starts with frame 36.
    with video_index._open(path) as (container, stream):
        noting = Noting(stream)
        frames = list(video_index._walk_by_index(container, noting, [40], index))
    assert [frame.pts for frame in frames] == [index.packets[40]]
    numbers = [number for number, _ in noting.decoded]
    assert numbers[:2] == [0, index.packets[36]]
    assert numbers[1:] == list(range(numbers[1], numbers[-1] + 1))
    assert len(numbers) <= 9  # 34 .. 41 of 0 .. 50
    assert [number for number, skip in noting.decoded if skip == 'DEFAULT'] == [
        index.packets[40]]
    assert {skip for _, skip in noting.decoded} == {'DEFAULT', 'NONREF'}


class TestAhead:

    def test_same_frames(self, good):
        for wanted in ([3], list(range(40)), [1, 20, 39]):
            plain, threaded = ([frame.copy() for frame in walk_pyav(
                good, good, wanted, FrameIndices(0), ahead)]
                for ahead in (False, True))
            np.testing.assert_array_equal(plain, threaded)

    @pytest.mark.parametrize('taken', [0, 1, 20])
    def test_one_that_is_stopped_leaves_no_thread(self, good, taken):
        before = threading.active_count()
        frames = walk_pyav(good, good, range(40), FrameIndices(0), True)
        for _ in range(taken):
            next(frames)
        frames.close()
        assert threading.active_count() == before

    def test_errors_come_out_of_the_thread(self, zeroed):
        with pytest.raises(UnreadableVideo, match='^PyAV: '):
            list(walk_pyav(zeroed, zeroed, range(40), FrameIndices(0), True))


class TestIndices:

    @staticmethod
    def index(length):
        return FrameIndex(np.arange(length, dtype=np.int32), np.zeros(1, np.int32))

    def test_longer_ones_take_the_place_of_shorter_ones(self):
        indices = FrameIndices(100)
        for length, kept in ((10, 10), (30, 30), (20, 30)):
            indices.add('a', self.index(length))
            assert len(indices.get('a', 0)) == kept
        assert indices.get('a', 29) is not None
        assert indices.get('a', 30) is None
        assert indices.get('b', 0) is None

    def test_no_more_than_fit(self):
        indices = FrameIndices(100)
        for name, length in (('a', 60), ('b', 41), ('c', 40)):
            indices.add(name, self.index(length))
        assert [indices.get(name, 0) is None for name in 'abc'] == [False, True, False]
        indices.clear()
        indices.add('b', self.index(41))
        assert indices.get('b', 40) is not None
        assert indices.get('a', 0) is None

    def test_of_a_file_that_changes(self, tmp_path):
        """What is known of one file is not used for another of that name."""
        forget_files()
        path = tmp_path / 'a.avi'
        for options, num_frames in (({'bf': '2'}, 30), ({'g': '5'}, 40)):
            draw(path, 'mpeg4', (96, 64), options, num_frames)
            expected = list(frames_with_decord(path))
            for _ in range(2):
                found = PyAVReader(path, num_frames).get_batch([4, num_frames - 1])
                difference = np.abs(found.astype(int) - [expected[4], expected[-1]])
                assert difference.max() <= 3


class TestRefused:

    @pytest.mark.parametrize('kind', ['cut', 'zeroed'])
    def test_damage(self, request, kind):
        path = request.getfixturevalue(kind)
        with pytest.raises(UnreadableVideo, match='PyAV'):
            PyAVReader(path, 40).get_batch(range(40))

    def test_no_video(self, tmp_path):
        (tmp_path / 'text.avi').write_text('no video')
        for name in ('text.avi', 'gone.avi'):
            with pytest.raises(UnreadableVideo, match='^PyAV: [A-Z]'):
                PyAVReader(tmp_path / name, 1).get_batch([0])

    def test_sound_alone(self, tmp_path):
        with av.open(str(tmp_path / 'a.wav'), 'w') as container:
            stream = container.add_stream('pcm_s16le', rate=8000)
            sound = av.AudioFrame.from_ndarray(
                np.zeros((1, 800), np.int16), layout='mono')
            sound.rate = 8000
            container.mux(stream.encode(sound))
        with pytest.raises(UnreadableVideo, match='^PyAV: the file has no video'):
            PyAVReader(tmp_path / 'a.wav', 1).get_batch([0])

    def test_without_pyav(self, good, monkeypatch):
        expected = FallbackReader(good).get_batch([7])
        monkeypatch.setitem(sys.modules, 'av', None)
        with pytest.raises(UnreadableVideo, match='^PyAV: ModuleNotFoundError'):
            PyAVReader(good, 40).get_batch([7])
        np.testing.assert_array_equal(FallbackReader(good).get_batch([7]), expected)

    def test_frames_to_be_turned_are_left_to_opencv(self):
        class Turned:
            rotation = 90
        with pytest.raises(UnreadableVideo, match='are to be turned'):
            video_index._converter()(Turned())

    def test_header_that_counts_more_frames(self, tmp_path):
        path = write_video(tmp_path / 'a.avi', 10)
        found = PyAVReader(path, 11).get_batch([9, 10])
        np.testing.assert_array_equal(found[0], found[1])
        with pytest.raises(UnreadableVideo, match='PyAV does not decode frame 10'):
            PyAVReader(path, 12).get_batch([9, 10, 11])
