"""What users hand over as a video, right and wrong."""
import pathlib

import cv2
import numpy as np
import pytest
from PIL import Image

from cosam_mm.apis.video_input import MemoryReader, describe, open_video, read_frames
from tests.video_data import make_unreadable, number_of, write_video

RGB = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)


def write_images(folder, frames=RGB):
    """Named 9, 10, 11: their order is natural."""
    paths = [str(folder / f'{9 + number}.png') for number in range(len(frames))]
    for path, frame in zip(paths, frames):
        cv2.imwrite(path, frame[..., ::-1])
    return paths


def assert_same(frames, expected=RGB):
    np.testing.assert_array_equal(np.stack(frames), expected)


class TestFrames:

    def test_every_kind(self, tmp_path):
        paths = write_images(tmp_path)
        for video in (RGB, list(RGB), tuple(RGB), list(map(Image.fromarray, RGB)),
                      paths, list(map(pathlib.Path, paths)), tmp_path, str(tmp_path),
                      [paths[0], Image.fromarray(RGB[1]), RGB[2]]):
            assert_same(read_frames(video))

    def test_grey_becomes_rgb(self, tmp_path):
        """Of files, and of PIL images of 8 bits."""
        cv2.imwrite(str(tmp_path / 'a.png'), RGB[0, ..., 0])
        grey = Image.fromarray(RGB[0, ..., 0])
        for video in (tmp_path, [grey], [grey.convert('LA')], [grey.convert('RGBA')]):
            assert_same(read_frames(video), RGB[:1, ..., :1].repeat(3, axis=3))
        assert read_frames([grey.convert('P')])[0].shape == (6, 8, 3)

    def test_order_of_channels_is_said_of_arrays(self, tmp_path):
        paths, images = write_images(tmp_path), list(map(Image.fromarray, RGB))
        bgr = RGB[..., ::-1]
        for video in (bgr, list(bgr), paths, images, [bgr[0], paths[1], images[2]]):
            assert_same(read_frames(video, channel_order='bgr'))
        reader = open_video(bgr, channel_order='bgr')
        assert_same(reader.get_batch(range(3)))
        flow = RGB[..., :2]
        assert_same(read_frames(flow, 2, channel_order='bgr'), flow)

    def test_flow(self):
        flow = RGB[..., :2]
        assert_same(read_frames(flow, channels=2), flow)
        assert_same(read_frames(list(flow), channels=2), flow)
        for wrong, message in (
                (RGB, r'\(T, H, W, 2\)'), (['a.jpg'], 'str'),
                ([Image.fromarray(RGB[0])], 'Image')):
            with pytest.raises(ValueError, match=message):
                read_frames(wrong, channels=2)

    @pytest.mark.parametrize(('video', 'word'), [
        (RGB / 255, 'float64'), (RGB.astype(int), 'int64'),
        (RGB[0], r'\(6, 8, 3\)'), (RGB[None], r'\(1, 3, 6, 8, 3\)'),
        (RGB[..., 0], r'\(3, 6, 8\)'),
        # What probably went wrong is named with its remedy.
        (RGB / 255, '255'), (RGB[..., :1], 'repeat'),
        (np.zeros((9, 6, 8), np.uint8), 'np.stack'),
        (np.zeros((3, 6, 8, 4), np.uint8), r'\[..., :3\]'),
        (np.moveaxis(RGB, 3, 1), 'moveaxis'),
        (RGB[:0], 'empty'), (RGB[:, :0], 'empty'),
        ([RGB[0], RGB[1] / 255], 'Frame 1'), ([RGB[0], RGB[1, ..., 0]], 'Frame 1'),
        ([RGB, RGB], 'predict_batch'), ([RGB[0], 3], 'Frame 1'),
        ([Image.fromarray(RGB[0, ..., 0].astype(np.float32))], "'F'"),
        ([], 'empty'), (None, 'NoneType'), ((frame for frame in RGB), 'generator'),
        (['nowhere.png'], 'nowhere.png')])
    def test_wrong_input(self, video, word):
        with pytest.raises(ValueError, match=word):
            read_frames(video)

    def test_broken_image_and_empty_folder(self, tmp_path):
        with pytest.raises(ValueError, match='holds no images'):
            read_frames(tmp_path)
        paths = write_images(tmp_path)
        pathlib.Path(paths[1]).write_bytes(b'no image')
        with pytest.raises(ValueError, match='10.png'):
            read_frames(tmp_path)
        with pytest.raises(FileNotFoundError, match='none'):
            read_frames(tmp_path / 'none')


class TestReader:

    def test_frames_in_memory(self):
        frames = RGB.copy()
        reader = MemoryReader(list(frames))
        assert (len(reader), reader.get_avg_fps()) == (3, 0)
        found = reader.get_batch(np.array([2, 0, 0]))
        assert_same(found, RGB[[2, 0, 0]])
        found[:] = 0  # a copy
        assert_same(frames)
        with pytest.raises(IndexError):
            reader.get_batch([3])
        with pytest.raises(ValueError, match='one size'):
            MemoryReader([RGB[0], RGB[1, :, :7]])

    def test_video_file(self, tmp_path):
        reader = open_video(write_video(tmp_path / 'v.mp4', 12))
        assert len(reader) == 12
        assert [*map(number_of, reader.get_batch([3, 11, 3]))] == [3, 11, 3]
        assert reader.get_avg_fps() == 25

    @pytest.mark.parametrize('kind', ['empty', 'headless'])
    def test_broken_video(self, tmp_path, kind):
        path = make_unreadable(tmp_path, kind)
        with pytest.raises(ValueError, match=r'\(1\).mp4'):
            open_video(path)
        with pytest.raises(FileNotFoundError, match='nowhere.mp4'):
            open_video('nowhere.mp4')

    def test_names_for_messages(self):
        names = [describe(video) for video in (
            pathlib.Path('a/b.mp4'), RGB, ['a.jpg', 'b.jpg'], list(RGB), [])]
        assert names == ['a/b.mp4', 'the array of shape (3, 6, 8, 3)',
                         'the images a.jpg, ...', 'the frames', 'the frames']
