"""Folders of one's own: with and without cameras, with and without subset folders."""
import logging
import os

import pytest
from mmengine.registry import DATASETS

from cosam_mm.datasets.reid import TrackletFolder
from cosam_mm.datasets.reid.tracklet_folder import number_names, split_pids


def write(root, *folders, count=2):
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for frame in range(count):
            (root / folder / f'{frame}.JPG').touch()


def build(root, subset='gallery', **kwargs):
    return DATASETS.build(dict(
        type='TrackletFolder', data_root=str(root), subset=subset,
        serialize_data=False, **kwargs))


def seen(dataset):
    return [(info['pid'], info['camid'], info['tracklet_id'])
            for info in map(dataset.get_data_info, range(len(dataset)))]


@pytest.fixture
def root(tmp_path):
    """Persons a, b, … of two cameras with two tracklets in each."""
    root = tmp_path / 'shop'
    write(root, *(f'{person}/{camera}/t{number}' for person in 'abcdefgh'
                  for camera in ('door', 'till') for number in (9, 10)))
    return root


class TestSplit:

    def test_subsets(self, root):
        train, query, gallery = (
            build(root, subset) for subset in ('train', 'query', 'gallery'))
        assert isinstance(train, TrackletFolder)
        assert [len(train), len(query), len(gallery)] == [16, 8, 16]
        pids = [{item[0] for item in seen(part)} for part in (train, query, gallery)]
        assert pids[0] | pids[1] == set(range(8))
        assert not pids[0] & pids[1]
        assert pids[1] == pids[2]
        names = {item[2] for item in seen(gallery)}
        assert all(name in names for _, _, name in seen(query))

    def test_query_is_the_first_tracklet_of_each_camera(self, root):
        for pid, camid, name in seen(build(root, 'query')):
            person = 'abcdefgh'[pid]
            assert name == f'{person}/{["door", "till"][camid]}/t9'

    def test_query_has_enough_frames(self, root):
        for path in root.glob('*/door/t9/0.JPG'):
            path.unlink()
        names = [name for _, _, name in seen(build(root, 'query', min_frames=2))]
        assert {name[1:] for name in names} == {'/door/t10', '/till/t9'}

    def test_seed_makes_the_split(self, root):
        splits = [frozenset(pid for pid, _, _ in seen(build(root, 'train', seed=k)))
                  for k in (0, 0, 1, 2, 3)]
        assert splits[0] == splits[1]
        assert len(set(splits)) > 1
        assert build(root, seed=5).metainfo == dict(
            dataset='shop', subset='gallery', split='seed 5, 0.5 of the persons train',
            protocol='gallery with queries (first tracklet of each person and camera)',
            num_tracklets=16, num_pids=4)

    def test_split_is_the_same_everywhere(self):
        assert split_pids([9, 4, 4, 1, 7], 0.5, 0) == ({7, 9}, {1, 4})

    @pytest.mark.parametrize(('fraction', 'num_train'), [
        (0, 0), (0.1, 1), (0.5, 5), (0.25, 3), (1, 10)])
    def test_fractions(self, fraction, num_train):
        train, test = split_pids(range(10), fraction, 3)
        assert len(train) == num_train
        assert train | test == set(range(10))
        assert not train & test

    def test_all_persons_test(self, root):
        assert len(build(root, train_fraction=0)) == 32
        with pytest.raises(ValueError, match='shop train .* holds no tracklet'):
            build(root, 'train', train_fraction=0)
        with pytest.raises(ValueError, match=r'train_fraction must lie in \[0, 1\]'):
            build(root, train_fraction=50)

    def test_one_tracklet_a_person_and_camera(self, tmp_path):
        write(tmp_path, 'a/1/t', 'a/2/t', 'b/1/t')
        assert len(build(tmp_path, 'query', train_fraction=0)) == 3
        assert len(build(tmp_path, 'gallery', train_fraction=0)) == 3


class TestNumbers:

    @pytest.mark.parametrize(('names', 'numbers'), [
        (['0012', '7', '-1'], [12, 7, -1]),
        (['b', 'a10', 'a9'], [2, 1, 0]),
        (['7', '07'], [1, 0]),
        (['7', 'x'], [0, 1])])
    def test_names(self, names, numbers):
        assert number_names(names) == dict(zip(names, numbers))

    def test_junk_leaves(self, tmp_path):
        write(tmp_path, '-1/3/t', '5/3/t', '6/4/t')
        assert seen(build(tmp_path, train_fraction=0)) == [
            (5, 3, '5/3/t'), (6, 4, '6/4/t')]

    def test_same_in_every_subset(self, tmp_path):
        write(tmp_path, 'train/zoe/north/t', 'query/ann/south/t', 'query/bob/east/t',
              'gallery/bob/north/t', 'gallery/zoe/south/t')
        # ann, bob, zoe; east, north, south
        assert seen(build(tmp_path, 'train')) == [(2, 1, 'train/zoe/north/t')]
        assert seen(build(tmp_path, 'query')) == [
            (0, 2, 'query/ann/south/t'), (1, 0, 'query/bob/east/t')]
        gallery = build(tmp_path, 'gallery')
        assert seen(gallery) == [
            (1, 1, 'gallery/bob/north/t'), (2, 2, 'gallery/zoe/south/t')]
        assert gallery.metainfo['split'] is None
        assert gallery.metainfo['protocol'] == 'query and gallery folders'


class TestWithoutCameras:

    @pytest.fixture
    def flat(self, tmp_path):
        root = tmp_path / 'flat'
        write(root, *(f'{pid}/t{number}' for pid in (1, 2, 3) for number in range(3)))
        return root

    def test_cameras_are_unknown(self, flat, log):
        gallery = build(flat, train_fraction=0)
        assert {item[1] for item in seen(gallery)} == {-1}
        line = log(logging.INFO)[-1]
        assert '9 tracklets (18 images) of 3 pids in unknown cameras; 0 pids' in line
        assert seen(build(flat, 'query', train_fraction=0)) == [
            (pid, -1, f'{pid}/t0') for pid in (1, 2, 3)]

    def test_some_with_and_some_without(self, flat):
        write(flat, '4/cam/t')
        with pytest.raises(ValueError, match=(
                r"1/t0' is <pid>/<tracklet> and '.*4/cam/t' is <pid>/<camid>/<trackl")):
            build(flat)

    def test_mixed_between_subsets(self, tmp_path):
        write(tmp_path, 'query/1/cam/t', 'gallery/1/t')
        with pytest.raises(ValueError, match='must have a camera, or none'):
            build(tmp_path)


class TestOddFolders:

    def test_images_of_a_person_without_tracklet(self, root):
        (root / 'a/x.png').touch()
        with pytest.raises(ValueError, match=r"a' is a person and holds images\. Put"):
            build(root)

    def test_images_beside_folders(self, root):
        (root / 'a/door/x.png').touch()
        with pytest.raises(ValueError, match=r"a/door' holds images and folders: it "):
            build(root)

    def test_empty_folders_leave_with_their_names(self, root, log):
        (root / 'a/door/t11').mkdir()
        (root / 'b/roof').mkdir()
        (root / '.cache').mkdir()
        (root / 'notes.txt').touch()
        assert len(build(root, train_fraction=0)) == 32
        line, = log(logging.WARNING)
        assert 'shop gallery: 2 folders without an image are left out: ' in line
        assert f'{root}/a/door/t11, {root}/b/roof.' in line.replace(os.sep, '/')

    def test_missing_subset(self, tmp_path):
        write(tmp_path, 'query/1/2/3')
        with pytest.raises(FileNotFoundError, match=(
                r"has folders of \['query'\], but none of 'gallery'\. It must hold")):
            build(tmp_path, 'gallery')

    def test_nothing_there(self, tmp_path):
        with pytest.raises(ValueError, match=r'gallery .* holds no tracklet .*<pid>'):
            build(tmp_path)
        with pytest.raises(FileNotFoundError, match='data root .* of nowhere does not'):
            build(tmp_path / 'nowhere')
