"""MARS: the counts of the real index files, and trees in its layout, whole and not."""
import gzip
import logging
import os
from collections import defaultdict

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS
from scipy.io import savemat

from cosam_mm.datasets.reid import MARS, QueryGalleryDataset

# (pid, camera, frames) of the tracklets of a small data set in MARS's layout.
TRAIN = [(3, 1, 3), (3, 2, 2), (8, 1, 4), (11, 4, 2), (11, 4, 2)]
TEST = [(-1, 1, 2), (0, 2, 3), (5, 1, 3), (5, 2, 2), (7, 6, 4), (7, 6, 2), (9, 3, 2)]
QUERY = [3, 5, 7]  # rows of TEST, from 1


def folder_of(pid):
    return '00-1' if pid == -1 else f'{pid:04}'


def write_part(root, part, tracklets, images=True):
    names, rows = [], []
    for number, (pid, camid, frames) in enumerate(tracklets, 1):
        rows.append([len(names) + 1, len(names) + frames, pid, camid])
        names += [f'{folder_of(pid)}C{camid}T{number:04}F{frame:03}.jpg'
                  for frame in range(1, frames + 1)]
    for name in names if images else ():
        path = root / f'bbox_{part}' / name[:4] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 4, 3), 99, np.uint8))
    (root / f'info/{part}_name.txt').write_text('\n'.join(names) + '\n')
    savemat(root / f'info/tracks_{part}_info.mat',
            {f'track_{part}_info': np.array(rows)})
    return names


@pytest.fixture
def root(tmp_path):
    root = tmp_path / 'small'
    (root / 'info').mkdir(parents=True)
    write_part(root, 'train', TRAIN)
    write_part(root, 'test', TEST)
    savemat(root / 'info/query_IDX.mat', {'query_IDX': np.array([QUERY])})
    return root


def build(root, subset='train', **kwargs):
    return MARS(str(root), subset, serialize_data=False,
                **{'expected_counts': None, **kwargs})


def infos(dataset):
    return [dataset.get_data_info(k) for k in range(len(dataset))]


def seen(dataset):
    """(pid, camid, number of images) of every item."""
    return [(info['pid'], info['camid'], len(info['img_paths']))
            for info in infos(dataset)]


@pytest.fixture(scope='module')
def real_datasets(real_data_dir):
    """Each subset of the official index files, read once."""
    arguments = dict(train={}, query={}, gallery={},
                     both=dict(subset='gallery', query_in_gallery=True))
    return {key: DATASETS.build(dict(
        type='MARS', data_root=str(real_data_dir / 'mars'), check_images=False,
        serialize_data=False, **{'subset': key, **kwargs}))
        for key, kwargs in arguments.items()}


@pytest.fixture(scope='module')
def real(real_datasets):
    """Items of each subset."""
    return {key: infos(dataset) for key, dataset in real_datasets.items()}


class TestRealIndex:
    """The counts; no image is needed for them."""

    def test_counts_junk_and_distractors(self, real):
        assert {key: len(items) for key, items in real.items()} == dict(
            train=8298, query=1980, gallery=9330, both=11310)
        assert {info['label'] for info in real['train']} == set(range(625))
        assert len({info['pid'] for info in real['train']}) == 625
        for key in ('query', 'gallery', 'both'):
            assert -1 not in {info['pid'] for info in real[key]}
            assert {info['label'] for info in real[key]} == {-1}
        for key in ('gallery', 'both'):
            assert sum(info['pid'] == 0 for info in real[key]) == 3248

    def test_protocols(self, real, real_datasets):
        """They differ by the queries, and in how many have a positive match."""
        dataset = QueryGalleryDataset(real_datasets['query'], real_datasets['gallery'])
        assert dataset.metainfo == dict(
            dataset='mars', protocol='gallery without queries', split=None,
            num_queries=1980, num_gallery=9330, num_queries_without_truth=140)
        cameras = defaultdict(set)
        for info in real['both']:
            cameras[info['pid']].add(info['camid'])
        assert all(cameras[info['pid']] - {info['camid']} for info in real['query'])
        names = {key: {info['tracklet_id'] for info in items}
                 for key, items in real.items()}
        assert all(len(names[key]) == len(real[key]) for key in real)
        assert names['gallery'] | names['query'] == names['both']
        assert not names['gallery'] & names['query']

    def test_images_tell_the_same_as_the_index(self, real):
        for info in (item for items in real.values() for item in items[::97]):
            names = [os.path.basename(path) for path in info['img_paths']]
            assert names == sorted(names)
            assert {(int(name[:4]), int(name[5])) for name in names} == {
                (info['pid'], info['camid'])}
            assert {name[:11] for name in names} == {info['tracklet_id']}
            assert [int(name[12:15]) for name in names] == list(
                range(1, len(names) + 1))


class TestItems:

    def test_train(self, root):
        dataset = build(root)
        assert seen(dataset) == TRAIN
        assert [info['label'] for info in infos(dataset)] == [0, 0, 1, 2, 2]
        info = dataset.get_data_info(1)
        assert info['img_paths'] == [
            str(root / 'bbox_train/0003' / name)
            for name in ('0003C2T0002F001.jpg', '0003C2T0002F002.jpg')]
        assert all(os.path.isfile(path) for path in info['img_paths'])
        assert info['tracklet_id'] == '0003C2T0002'
        assert (info['subset'], info['dataset']) == ('train', 'mars')

    def test_subsets_of_the_test(self, root):
        assert seen(build(root, 'query')) == [(5, 1, 3), (7, 6, 4), (9, 3, 2)]
        assert seen(build(root, 'gallery')) == [(0, 2, 3), (5, 2, 2), (7, 6, 2)]
        assert seen(build(root, 'gallery', query_in_gallery=True)) == TEST[1:]
        assert [build(root, subset).test_mode
                for subset in ('train', 'query', 'gallery')] == [False, True, True]
        assert not build(root, 'query', test_mode=False).test_mode

    def test_metainfo(self, root):
        assert build(root).metainfo == dict(
            dataset='mars', subset='train', protocol='gallery without queries',
            split=None, num_tracklets=5, num_pids=3)
        dataset = build(root, 'gallery', query_in_gallery=True, name='mine')
        assert dataset.metainfo == dict(
            dataset='mine', subset='gallery', protocol='gallery with queries',
            split=None, num_tracklets=6, num_pids=4)
        assert dataset.get_data_info(0)['dataset'] == 'mine'

    def test_gzipped_list_with_dos_lines(self, root):
        path = root / 'info/train_name.txt'
        path.write_bytes(path.read_bytes().replace(b'\n', b'\r\n'))
        assert seen(build(root)) == TRAIN
        (root / 'info/train_name.txt.gz').write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        assert seen(build(root)) == TRAIN

class TestImageCheck:

    @pytest.fixture
    def gaps(self, root):
        """Missing: the first image of a tracklet, and one in the middle of another."""
        for name in ('0003/0003C1T0001F001.jpg', '0008/0008C1T0003F002.jpg'):
            (root / 'bbox_train' / name).unlink()
        return root

    @pytest.mark.parametrize(('check_images', 'expected'), [
        ('sample', '1 of 10'), (True, '2 of 13')])
    def test_missing_images_are_counted_and_named(
            self, gaps, log, check_images, expected):
        assert len(build(gaps, check_images=check_images)) == 5
        line, = log(logging.WARNING)
        assert f'mars train: {expected}' in line
        assert '0003C1T0001F001.jpg' in line
        assert ('0008C1T0003F002.jpg' in line) == (check_images is True)

    @pytest.mark.parametrize('options', [{}, dict(check_images=True)])
    def test_no_image_or_no_folder(self, root, options):
        """Images are looked for unless told otherwise."""
        for path in root.glob('bbox_train/*/*.jpg'):
            path.unlink()
        with pytest.raises(FileNotFoundError, match='None of 1[03]'):
            build(root, **options)
        (root / 'bbox_train/0008').rmdir()
        with pytest.raises(FileNotFoundError, match='1 of 3 folders.*0008'):
            build(root, **options)

    @pytest.mark.parametrize('check_images', ['all', None, 1])
    def test_other_modes(self, root, check_images):
        with pytest.raises(ValueError, match='check_images'):
            build(root, check_images=check_images)


@pytest.mark.parametrize(('subset', 'kwargs', 'match'), [
    ('train', {}, 'expected 8,298; .* expected 625'),
    ('query', {}, 'expected 1,980; .* expected 626'),
    ('gallery', {}, 'is 3, expected 9,330'),
    ('gallery', dict(query_in_gallery=True), 'is 6, expected 11,310'),
    ('train', dict(expected_counts=dict(num_tracklets=5, num_pids=4)), 'expected 4')])
def test_counts_that_differ_are_refused(root, subset, kwargs, match):
    with pytest.raises(ValueError, match=f'{match}.*expected_counts=None'):
        MARS(str(root), subset, **kwargs)


class TestBrokenIndex:

    def test_missing_root(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='absent'):
            build(tmp_path / 'absent')

    @pytest.mark.parametrize(('name', 'subset'), [
        ('train_name.txt', 'train'), ('tracks_train_info.mat', 'train'),
        ('test_name.txt', 'query'), ('tracks_test_info.mat', 'gallery'),
        ('query_IDX.mat', 'gallery')])
    def test_missing_file(self, root, name, subset):
        (root / 'info' / name).unlink()
        with pytest.raises(FileNotFoundError, match=name):
            build(root, subset)
        if name == 'query_IDX.mat':  # which the rest does not need
            assert len(build(root)) == 5
            assert len(build(root, 'gallery', query_in_gallery=True)) == 6

    @pytest.mark.parametrize(('rows', 'match'), [
        ([[1, 99, 3, 1]], 'row 1: images 1 to 99'), ([[0, 3, 3, 1]], '0 to 3'),
        ([[3, 2, 3, 1]], '3 to 2'), ([[1, 2, 3]], '1 x 3'),
        ([[1, 3, 4, 1]], r'row 1: .*0003C1T0001F003\.jpg .*pid 4'),
        ([[1, 4, 3, 1]], 'not one tracklet'),
        ([[1, 3, 3, 1], [4, 5, 3, 7]], 'row 2: .*camera 2, not 7'),
        ([[1, 2, 3, 1], [3, 3, 3, 1]], 'row 2: .*row 1')])
    def test_rows_against_names(self, root, rows, match):
        savemat(root / 'info/tracks_train_info.mat', {'track_train_info': rows})
        with pytest.raises(ValueError, match=f'tracks_train_info.mat.*{match}'):
            build(root)

    @pytest.mark.parametrize('rows', [[0, 1], [3, 3], [8], [-1]])
    def test_query_rows(self, root, rows):
        savemat(root / 'info/query_IDX.mat', {'query_IDX': [rows]})
        with pytest.raises(ValueError, match='query_IDX.mat.*1 to 7'):
            build(root, 'query')

    @pytest.mark.parametrize(('name', 'content', 'match'), [
        ('train_name.txt', b'', 'empty'),
        ('train_name.txt', b'../../x.jpg\n', r'\.\./\.\./x\.jpg'),
        ('train_name.txt', b'a.jpg\n..\n', r"'\.\.'"),
        ('train_name.txt', b'\xff\xfe\n', 'UTF-8'),
        ('train_name.txt', b'a.jpg\nb.jpg\na.jpg\n', 'twice: a.jpg'),
        ('train_name.txt.gz', b'no gzip', 'BadGzipFile'),
        ('train_name.txt.gz', gzip.compress(b'a.jpg\n' * 99)[:-12], 'EOFError'),
        ('train_name.txt.gz', b'\x1f\x8b\x08\x00' + bytes(99), 'error')],
        ids=['empty', 'path', 'parent', 'binary', 'twice', 'none', 'cut', 'damaged'])
    def test_names(self, root, name, content, match):
        (root / 'info/train_name.txt').unlink()
        (root / 'info' / name).write_bytes(content)
        with pytest.raises(ValueError, match=f'{name}.*{match}'):
            build(root)
