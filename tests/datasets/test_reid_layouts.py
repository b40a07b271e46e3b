"""DukeMTMC-VideoReID, iLIDS-VID, PRID2011: small trees in their layouts."""
import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS
from scipy.io import savemat

from cosam_mm.datasets.reid import ILIDSVID, PRID2011, DukeMTMCVideoReID


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

    @pytest.mark.parametrize(('split', 'test', 'train'), [
        (1, [2, 10, 319], [7, 11, 101]), (2, [2, 7, 10], [11, 101, 319])])
    def test_the_first_half_of_a_row_tests(self, root, split, train, test):
        """Wang et al., ECCV 2014, in torchreid's and the COSAM authors' code."""
        assert [item[:2] for item in seen(self.build(root, split=split))] == [
            (pid, camid) for pid in train for camid in (1, 2)]
        other = self.build(root, split=split, split_convention='first_half_trains')
        assert [item[:2] for item in seen(other)] == [
            (pid, camid) for pid in test for camid in (1, 2)]
        assert other.metainfo['split'] == split  # as checkpoints of before have it
        query = self.build(root, 'query', split=split)
        assert seen(query) == [(pid, 1, f'cam1/person{pid:03}') for pid in test]
        gallery = self.build(root, 'gallery', split=split)
        assert seen(gallery) == [(pid, 2, f'cam2/person{pid:03}') for pid in test]
        assert query.metainfo == dict(
            dataset='ilids', subset='query', protocol='camera 1 against camera 2',
            split=f'{split} (first half tests)', num_tracklets=3, num_pids=3,
            former_split=(split, 'split_convention=first_half_trains'))
        train = self.build(root)
        assert isinstance(train, ILIDSVID)
        assert [info['label'] for info in infos(train)] == [0, 0, 1, 1, 2, 2]
        assert [os.path.basename(path) for path in
                train.get_data_info(2)['img_paths']] == [
            f'cam1_person011_{frame:05}.png' for frame in (3, 20, 100)]

    @pytest.mark.parametrize(('options', 'match'), [
        (dict(expected_counts='official'), 'expected 300; .* expected 150'),
        (dict(split_convention='half'), 'first_half_trains'),
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


REAL_SPLITS = Path(__file__).parents[3] / 'shared/data/prid2011/splits' / (
    'splits_prid2011.json')


class TestPRID2011:

    build = staticmethod(partial(build, 'PRID2011'))

    @pytest.fixture
    def root(self, tmp_path):
        """Persons 1 to 6 in both cameras, 7 and 8 in one."""
        root = tmp_path / 'prid2011'
        for camera, pids in (('a', range(1, 8)), ('b', [*range(1, 7), 8])):
            for pid in pids:
                touch(root / f'prid_2011/multi_shot/cam_{camera}/person_{pid:04}',
                      *(f'{frame:04}.png' for frame in range(1, 28)))
        self.write_splits(root, [[[1, 4], [2, 6]], [[6, 2], [5, 3]]])
        return root

    @staticmethod
    def write_splits(root, splits):
        (root / 'splits_prid2011.json').write_text(json.dumps([
            {key: [f'person_{pid:04}' for pid in pids]
             for key, pids in zip(('train', 'test'), split)} for split in splits]))

    def test_splits(self, root):
        train = self.build(root)
        assert isinstance(train, PRID2011)
        assert seen(train) == [
            (pid, camid, f'cam_{"ab"[camid - 1]}/person_{pid:04}')
            for pid in (1, 4) for camid in (1, 2)]
        assert len(train.get_data_info(0)['img_paths']) == 27
        query, gallery = (self.build(root, subset, split=2)
                          for subset in ('query', 'gallery'))
        assert seen(query) == [(5, 1, 'cam_a/person_0005'), (3, 1, 'cam_a/person_0003')]
        assert [item[:2] for item in seen(gallery)] == [(5, 2), (3, 2)]
        assert query.metainfo == dict(
            dataset='prid2011', subset='query', split=2, num_tracklets=2, num_pids=2,
            protocol='camera a against camera b')

    def test_without_the_outer_folder_and_with_a_file_elsewhere(self, root):
        (root / 'prid_2011/multi_shot').rename(root / 'multi_shot')
        (root / 'splits_prid2011.json').rename(root / 'mine.json')
        assert len(self.build(root, split_file=str(root / 'mine.json'))) == 4

    @pytest.mark.parametrize(('content', 'match'), [
        ('{', 'split'), ('[]', 'split 1'), ('[{"train": ["person_0001"]}]', 'test'),
        ('[{"train": ["person_0001"], "test": ["../x"]}]', r'\.\./x'),
        ('[{"train": ["person_0001"], "test": ["person_0001"]}]', 'twice'),
        ('[{"train": ["person_0001"], "test": ["person_0007"]}]', 'person_0007')])
    def test_split_files_that_do_not_fit(self, root, content, match):
        (root / 'splits_prid2011.json').write_text(content)
        with pytest.raises(ValueError, match=match):
            self.build(root)

    @pytest.mark.parametrize('missing', [
        'prid_2011/multi_shot/cam_b', 'splits_prid2011.json'])
    def test_missing(self, root, missing):
        (root / missing).rename(root / 'gone')
        with pytest.raises(FileNotFoundError, match=os.path.basename(missing)):
            self.build(root)

    @pytest.mark.skipif(not REAL_SPLITS.is_file(), reason='no split file of PRID2011')
    def test_real_splits(self, tmp_path):
        splits = json.loads(REAL_SPLITS.read_text())
        persons = {name for split in splits for part in split.values() for name in part}
        assert (len(splits), len(persons)) == (10, 178)
        for camera, more in (('a', 'person_0300'), ('b', 'person_0700')):
            for name in persons | {more}:
                touch(tmp_path / f'multi_shot/cam_{camera}' / name, '1.png')
        for number, split in enumerate(splits, start=1):
            train, query, gallery = (
                self.build(tmp_path, subset, split=number, split_file=str(REAL_SPLITS),
                           expected_counts='official')
                for subset in ('train', 'query', 'gallery'))
            pids = [int(name[-4:]) for name in split['test']]
            assert [item[0] for item in seen(query)] == pids
            assert [item[0] for item in seen(gallery)] == pids
            assert not {item[0] for item in seen(train)} & set(pids)
            assert len(train) == 2 * len(pids) == 178
