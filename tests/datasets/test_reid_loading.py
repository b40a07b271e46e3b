"""Images out of real files, whole and broken, and what stands in for broken ones."""
import logging

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from cosam_mm.datasets.reid import LoadTrackletFrames
from cosam_mm.datasets.reid.tracklet_loading import UnreadableImage, read_image

BROKEN = {
    'missing': None,
    'empty': b'',
    'garbage': bytes(range(256)) * 4,
    'pixel': cv2.imencode('.png', np.zeros((1, 1, 3), np.uint8))[1].tobytes(),
    'line': cv2.imencode('.png', np.zeros((40, 1, 3), np.uint8))[1].tobytes(),
    'head': cv2.imencode('.jpg', np.zeros((64, 32, 3), np.uint8))[1].tobytes()[:100],
}


@pytest.fixture
def paths(tmp_path):
    """Eight frames; frame k is grey 20 * k, and of a size of its own."""
    folder = tmp_path / 'tracklet'
    folder.mkdir()
    paths = []
    for k in range(8):
        paths.append(str(folder / f'{k}.png'))
        cv2.imwrite(paths[-1], np.full((16 + k, 8, 3), 20 * k, np.uint8))
    return paths


def spoil(path, kind='garbage'):
    with open(path, 'wb') as file:
        file.write(BROKEN[kind] or b'')


def load(paths, inds, transform=None, **kwargs):
    transform = transform or LoadTrackletFrames(**kwargs)
    inds = np.array(inds)
    return transform(dict(img_paths=paths, frame_inds=inds, num_clips=len(inds),
                          clip_len=inds.shape[1], tracklet_id='t7'))


def frames_of(results):
    """Which frame each image is, by its grey."""
    assert all(img.dtype == np.uint8 and img.ndim == 3 for img in results['imgs'])
    return [int(img[0, 0, 0]) // 20 for img in results['imgs']]


class TestReadImage:

    @pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp'])
    def test_rgb(self, tmp_path, suffix):
        image = np.zeros((20, 10, 3), np.uint8)
        image[..., 0], image[..., 1] = 250, 100  # blue, green of OpenCV
        path = str(tmp_path / f'a{suffix}')
        cv2.imwrite(path, image)
        read = read_image(path)
        assert read.shape == (20, 10, 3)
        assert read.dtype == np.uint8
        np.testing.assert_allclose(read.mean((0, 1)), [0, 100, 250], atol=3)

    @pytest.mark.parametrize('image', [
        np.full((20, 10), 77, np.uint8), np.full((20, 10, 4), 77, np.uint8),
        np.full((20, 10, 3), 77 * 257, np.uint16)], ids=['grey', 'alpha', '16 bit'])
    def test_other_kinds(self, tmp_path, image):
        path = str(tmp_path / 'a.png')
        cv2.imwrite(path, image)
        read = read_image(path)
        assert read.shape == (20, 10, 3)
        assert read.dtype == np.uint8
        assert (read == 77).all()

    def test_odd_name(self, tmp_path):
        path = str(tmp_path / 'ü %d [a]&b.png')
        (tmp_path / 'ü %d [a]&b.png').write_bytes(
            cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))[1].tobytes())
        assert read_image(path).shape == (4, 4, 3)

    @pytest.mark.parametrize(('kind', 'match'), [
        ('missing', 'No such file'), ('empty', 'the file is empty'),
        ('garbage', 'does not decode'), ('head', 'does not decode'),
        ('pixel', 'it is 1 x 1 pixels'), ('line', 'it is 1 x 40 pixels')])
    def test_broken(self, tmp_path, kind, match):
        path = tmp_path / 'a.png'
        if kind != 'missing':
            spoil(path, kind)
        with pytest.raises(UnreadableImage, match=match):
            read_image(str(path))

    def test_folder(self, tmp_path):
        with pytest.raises(UnreadableImage, match='it is a folder, not a file'):
            read_image(str(tmp_path))


class TestWhole:

    def test_frames_in_order(self, paths):
        results = load(paths, [[3, 1], [1, 7], [0, 0]])
        assert frames_of(results) == [3, 1, 1, 7, 0, 0]
        assert [img.shape for img in results['imgs'][:2]] == [(19, 8, 3), (17, 8, 3)]
        assert results['num_replaced'] == 0
        assert 'unreadable' not in results

    def test_a_frame_is_read_once(self, paths, monkeypatch):
        from cosam_mm.datasets.reid import tracklet_loading as loading
        read = []
        monkeypatch.setattr(
            loading, 'read_image', lambda path: read.append(path) or read_image(path))
        load(paths, [[2, 5, 2, 5]])
        assert read == [paths[2], paths[5]]

    def test_order_of_transforms(self, paths):
        with pytest.raises(ValueError, match='Put SampleTrackletFrames before '):
            LoadTrackletFrames()(dict(img_paths=paths))


class TestBroken:

    @pytest.mark.parametrize(('broken', 'wanted', 'expected'), [
        ([3], 3, 2), ([0], 0, 1), ([7], 7, 6), ([2, 3, 4], 3, 1), ([2, 3], 3, 4),
        ([0, 1, 2, 3], 0, 4), (range(7), 1, 7)])
    def test_nearest_readable_frame(self, paths, broken, wanted, expected):
        for k in broken:
            spoil(paths[k])
        results = load(paths, [[wanted]])
        assert frames_of(results) == [expected]
        assert results['num_replaced'] == 1

    @pytest.mark.parametrize('kind', BROKEN)
    def test_every_kind(self, paths, kind):
        spoil(paths[5], kind)
        results = load(paths, [[4, 5, 6, 5]])
        assert frames_of(results) == [4, 4, 6, 4]
        assert results['num_replaced'] == 2

    def test_reported_once_with_name_and_count(self, paths, log):
        transform = LoadTrackletFrames()
        for k in (2, 5):
            spoil(paths[k])
        for _ in range(3):
            load(paths, [[2, 5, 2, 5]], transform)
        first, second = log(logging.WARNING)
        assert (f'Unreadable image 1: {paths[2]} (it does not decode); {paths[1]} and '
                'others near it stand in for it.') in first
        assert f'Unreadable image 2: {paths[5]} ' in second
        assert transform.num_unreadable == 2

    def test_whole_tracklets_are_not_reported(self, paths, log):
        load(paths, [[0, 1, 2, 3]])
        assert not log(logging.WARNING)


class TestNoFrame:

    @pytest.fixture
    def lost(self, paths):
        for path in paths:
            spoil(path)
        return paths

    def test_skip(self, lost, log):
        transform = LoadTrackletFrames()
        assert load(lost, [[0, 1, 2, 3]], transform) is None
        assert load(lost, [[4, 5, 6, 7]], transform) is None
        line, = log(logging.WARNING)
        assert (f'Unreadable image 1: {lost[0]} (it does not decode), like all 8 '
                'frames of its tracklet; the tracklet is passed over.') in line
        assert transform.num_unreadable == 8

    def test_blank(self, lost, log):
        results = load(lost, [[0, 1], [2, 3]], on_unreadable='blank', blank_size=(6, 4))
        assert results['unreadable']
        assert results['num_replaced'] == 4
        assert [img.shape for img in results['imgs']] == [(6, 4, 3)] * 4
        assert not np.any(results['imgs'])
        assert 'black frames stand in and are left out' in log(logging.WARNING)[0]


def test_arguments():
    with pytest.raises(ValueError, match=r"on_unreadable must be one of \('skip', '"):
        LoadTrackletFrames(on_unreadable='ignore')
    transform = TRANSFORMS.build(dict(type='LoadTrackletFrames', on_unreadable='blank'))
    assert repr(transform) == (
        "LoadTrackletFrames(on_unreadable='blank', blank_size=(256, 128))")
