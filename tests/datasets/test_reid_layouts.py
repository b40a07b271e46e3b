"""DukeMTMC-VideoReID and iLIDS-VID: small trees in their layouts, whole and not."""
import os
import shutil
from functools import partial

import numpy as np
import pytest
from mmengine.registry import DATASETS
from scipy.io import savemat

from cosam_mm.datasets.reid import ILIDSVID, DukeMTMCVideoReID


def touch(folder, *names):
    """Empty files: the images are only listed here."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def build(kind, root, subset='train', **kwargs):
    return DATASETS.build(dict(
        type=kind, data_root=str(root), subset=subset, serialize_data=False,
        **{'expected_counts': None, **kwargs}))


def infos(dataset):
    return [dataset.get_data_info(k) for k in range(len(dataset))]


def seen(dataset):
    return [(info['pid'], info['camid'], info['tracklet_id'])
            for info in infos(dataset)]


class TestDuke:

    build = staticmethod(partial(build, 'DukeMTMCVideoReID'))

    @pytest.fixture
    def root(self, tmp_path):
        for subset, pid, tracklet, camid in (
                ('train', '0002', '0010', 6), ('train', '0002', '0009', 2),
                ('train', '0014', '0009', 1), ('query', '0003', '0001', 5),
                ('gallery', '0003', '0002', 12), ('gallery', '0100', '0001', 2)):
            touch(tmp_path / 'duke' / subset / pid / tracklet,
                  *(f'{pid}_C{camid}_F{frame:04}_X{29 * frame}.jpg'
                    for frame in (1, 2, 11)))
        return tmp_path / 'duke'

    def test_items(self, root):
        train = self.build(root)
        assert isinstance(train, DukeMTMCVideoReID)
        assert seen(train) == [
            (2, 2, 'train/0002/0009'), (2, 6, 'train/0002/0010'),
            (14, 1, 'train/0014/0009')]
        assert [info['label'] for info in infos(train)] == [0, 0, 1]
        assert train.get_data_info(1)['img_paths'] == [
            str(root / 'train/0002/0010' / f'0002_C6_F{frame:04}_X{29 * frame}.jpg')
            for frame in (1, 2, 11)]
        assert seen(self.build(root, 'query')) == [(3, 5, 'query/0003/0001')]
        assert seen(self.build(root, 'gallery')) == [
            (3, 12, 'gallery/0003/0002'), (100, 2, 'gallery/0100/0001')]
        assert train.metainfo['dataset'] == 'dukemtmc'
        assert train.metainfo['protocol'] == 'published query and gallery'

    @pytest.mark.parametrize(('subset', 'match'), [
        ('train', 'expected 2,196; .* expected 702'),
        ('query', 'expected 702'),
        ('gallery', 'expected 2,636')])
    def test_official_counts(self, root, subset, match):
        with pytest.raises(ValueError, match=match):
            self.build(root, subset, expected_counts='official')

    def test_missing_and_empty_folders(self, root):
        for subset in ('query', 'gallery'):
            shutil.rmtree(root / subset)
        (root / 'gallery').mkdir()
        with pytest.raises(FileNotFoundError, match='query'):
            self.build(root, 'query')
        with pytest.raises(ValueError, match='gallery'):
            self.build(root, 'gallery')
        (root / 'train/0014/0011').mkdir()  # a tracklet without images leaves
        assert len(self.build(root)) == 3

    @pytest.mark.parametrize(('name', 'camid'), [
        ('0001_C6_F0001_X30823.jpg', 6), ('C12_x.png', 12), ('0001C3T0001F001.jpg', 3),
        ('0001_c6.jpg', None), ('DISC2_a.jpg', None), ('0001_C.jpg', None)])
    def test_camera_in_a_name(self, root, name, camid):
        touch(root / 'train/0002/0011', name)
        if camid is None:
            with pytest.raises(ValueError, match=name):
                self.build(root)
        else:
            assert seen(self.build(root))[2] == (2, camid, 'train/0002/0011')

    @pytest.mark.parametrize(('folder', 'name', 'match'), [
        ('train/0002/0009', '0002_C7_F0012_X1.jpg', r'\[2, 7\]'),
        ('train/backup', 'a.jpg', 'backup')])
    def test_odd_folders(self, root, folder, name, match):
        touch(root / folder, name)
        with pytest.raises(ValueError, match=match):
            self.build(root)


# Not in order, and with gaps, as the persons of iLIDS-VID.
PERSONS = [2, 7, 10, 11, 101, 319]
SPLITS = np.array([[6, 1, 3, 2, 4, 5], [1, 2, 3, 4, 5, 6]])


class TestILIDS:

    build = staticmethod(partial(build, 'ILIDSVID'))

    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / 'ilids'
        for camid in (1, 2):
            for pid in PERSONS:
                touch(root / f'i-LIDS-VID/sequences/cam{camid}/person{pid:03}',
                      *(f'cam{camid}_person{pid:03}_{frame:05}.png'
                        for frame in (100, 20, 3)))
        self.write_splits(root, SPLITS)
        return root

    @staticmethod
    def write_splits(root, splits):
        folder = root / 'train-test people splits'
        folder.mkdir(exist_ok=True)
        savemat(folder / 'train_test_splits_ilidsvid.mat', {'ls_set': splits})

    @pytest.mark.parametrize(('split', 'train', 'test'), [
        (1, [2, 10, 319], [7, 11, 101]), (2, [2, 7, 10], [11, 101, 319])])
    def test_splits(self, root, split, train, test):
        assert [item[:2] for item in seen(self.build(root, split=split))] == [
            (pid, camid) for pid in train for camid in (1, 2)]
        query = self.build(root, 'query', split=split)
        assert seen(query) == [(pid, 1, f'cam1/person{pid:03}') for pid in test]
        gallery = self.build(root, 'gallery', split=split)
        assert seen(gallery) == [(pid, 2, f'cam2/person{pid:03}') for pid in test]
        assert query.metainfo == dict(
            dataset='ilids', subset='query', protocol='camera 1 against camera 2',
            split=split, num_tracklets=3, num_pids=3)
        train = self.build(root)
        assert isinstance(train, ILIDSVID)
        assert [info['label'] for info in infos(train)] == [0, 0, 1, 1, 2, 2]
        assert [os.path.basename(path) for path in
                train.get_data_info(2)['img_paths']] == [
            f'cam1_person010_{frame:05}.png' for frame in (3, 20, 100)]

    @pytest.mark.parametrize(('options', 'match'), [
        (dict(expected_counts='official'), 'expected 300; .* expected 150'),
        *((dict(split=split), 'split') for split in (0, -1, 'a', 1.0, 3))])
    def test_other_counts_and_splits(self, root, options, match):
        with pytest.raises(ValueError, match=match):
            self.build(root, **options)

    @pytest.mark.parametrize('row', [
        [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 5], [0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7]])
    def test_row_does_not_fit_the_persons(self, root, row):
        self.write_splits(root, np.array([row]))
        with pytest.raises(ValueError, match='row 1 must hold each of 1 to 6'):
            self.build(root)

    @pytest.mark.parametrize(('missing', 'error', 'match'), [
        ('i-LIDS-VID/sequences/cam2/person011', ValueError, 'person011'),
        ('i-LIDS-VID/sequences/cam2', FileNotFoundError, 'cam2'),
        ('train-test people splits', FileNotFoundError, 'ilidsvid.mat')])
    def test_missing(self, root, missing, error, match):
        shutil.rmtree(root / missing)
        with pytest.raises(error, match=match):
            self.build(root)
