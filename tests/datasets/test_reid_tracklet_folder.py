"""Your own folders: with and without cameras, with and without subset folders."""
import hashlib
import logging
import os

import pytest
from mmengine.registry import DATASETS

from cosam_mm.datasets.reid import TrackletFolder


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
        assert [len(train), len(query), len(gallery)] == [20, 6, 12]
        pids = [{item[0] for item in seen(part)} for part in (train, query, gallery)]
        assert pids[0] | pids[1] == set(range(8))
        assert not pids[0] & pids[1]
        assert pids[1] == pids[2]
        names = {item[2] for item in seen(gallery)}
        assert all(name in names for _, _, name in seen(query))

    def test_query_is_the_first_tracklet_of_each_camera_with_enough_frames(self, root):
        for pid, camid, name in seen(build(root, 'query')):
            assert name == f'{"abcdefgh"[pid]}/{["door", "till"][camid]}/t9'
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
            dataset='shop', subset='gallery', num_tracklets=12, num_pids=3,
            protocol='gallery with queries (first tracklet of each person and camera)',
            split='hash of names, seed 5, 0.5 of the persons train',
            former_split=('seed 5, 0.5 of the persons train', 'person_split=shuffle'))

    @pytest.mark.parametrize('fraction', [0.1, 0.5, 0.8])
    def test_a_new_person_moves_nobody(self, tmp_path, fraction):
        def parts(names, **kwargs):
            write(tmp_path, *(f'{name}/1/t' for name in names))
            return [{item[2] for item in seen(build(
                tmp_path, subset, train_fraction=fraction, **kwargs))}
                for subset in ('train', 'gallery')]

        names = [f'{number:03}' for number in range(60)]
        before = parts(names)
        assert abs(len(before[0]) / 60 - fraction) < .15
        assert not before[0] & before[1]
        after = parts([*names, '0', '1000', 'ann'])
        for old, new in zip(before, after):
            assert old == {name for name in new if name[:3] in names}
        # The rule, in full, of another implementation.
        chosen = {name for name in names if int(
            hashlib.sha256(f'0/{name}'.encode()).hexdigest()[:16], 16) / 2**64
            < fraction}
        assert {name[:3] for name in before[0]} == chosen

    @pytest.mark.parametrize(('fraction', 'num_train'), [
        (0.1, 1), (0.5, 5), (0.25, 3), (1, 10)])
    def test_the_split_of_version_0_1(self, tmp_path, fraction, num_train):
        write(tmp_path / 'four', *(f'{pid}/1/t' for pid in (9, 4, 1, 7)))
        four = build(tmp_path / 'four', 'train', person_split='shuffle')
        # With any version of numpy.
        assert [item[0] for item in seen(four)] == [7, 9]
        assert four.metainfo['split'] == 'seed 0, 0.5 of the persons train'
        options = dict(train_fraction=fraction, seed=3, person_split='shuffle')
        write(tmp_path / 'ten', *(f'{pid}/1/t' for pid in range(10)))
        train = seen(build(tmp_path / 'ten', 'train', **options))
        assert len(train) == num_train
        if num_train < 10:
            test = seen(build(tmp_path / 'ten', **options))
            assert sorted(item[0] for item in train + test) == list(range(10))

    def test_all_persons_test(self, root):
        assert len(build(root, 'query', train_fraction=0)) == 16
        assert len(build(root, train_fraction=0)) == 32
        with pytest.raises(ValueError, match='train'):
            build(root, 'train', train_fraction=0)
        for wrong in (dict(train_fraction=50), dict(person_split='a'),
                      dict(layout='a')):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                build(root, **wrong)


class TestNumbers:

    @pytest.mark.parametrize(('names', 'numbers'), [
        (['0012', '7'], [12, 7]), (['b', 'a10', 'a9'], [2, 1, 0]),
        (['7', '07'], [1, 0]), (['7', 'x'], [0, 1]), (['-1', '5', '6'], [-1, 5, 6])])
    def test_names_and_junk(self, tmp_path, names, numbers):
        write(tmp_path, *(f'{name}/{name}/t' for name in names))
        assert set(seen(build(tmp_path, train_fraction=0))) == {
            (number, number, f'{name}/{name}/t')
            for name, number in zip(names, numbers) if number >= 0}

    def test_same_in_every_subset(self, tmp_path, log):
        write(tmp_path, 'train/zoe/north/t', 'query/ann/south/t', 'query/bob/east/t',
              'gallery/bob/north/t', 'gallery/zoe/south/t')
        for subset in ('train', 'query', 'gallery'):
            with pytest.raises(ValueError, match='1 persons.*zoe.*--force'):
                build(tmp_path, subset)
        # ann, bob, zoe; east, north, south
        assert seen(build(tmp_path, 'train', force=True)) == [
            (2, 1, 'train/zoe/north/t')]
        assert 'zoe' in log(logging.WARNING)[0]
        assert seen(build(tmp_path, 'query', force=True)) == [
            (0, 2, 'query/ann/south/t'), (1, 0, 'query/bob/east/t')]
        gallery = build(tmp_path, 'gallery', force=True)
        assert seen(gallery) == [
            (1, 1, 'gallery/bob/north/t'), (2, 2, 'gallery/zoe/south/t')]
        assert gallery.metainfo['split'] is None
        assert gallery.metainfo['protocol'] == 'query and gallery folders'


def test_cameras_are_unknown_where_there_is_no_level_of_them(tmp_path, log):
    write(tmp_path, *(f'{pid}/t{number}' for pid in (1, 2, 3) for number in range(3)))
    gallery = build(tmp_path, train_fraction=0)
    assert {item[1] for item in seen(gallery)} == {-1}
    line = log(logging.INFO)[-1]
    assert '9 tracklets (18 images) of 3 pids in unknown cameras; 0 pids' in line
    assert seen(build(tmp_path, 'query', train_fraction=0)) == [
        (pid, -1, f'{pid}/t0') for pid in (1, 2, 3)]


def test_junk_may_be_in_every_subset_but_007_is_7(tmp_path):
    write(tmp_path / 'a', 'train/-1/t', 'train/7/t', 'query/8/t', 'gallery/-1/t')
    assert len(build(tmp_path / 'a', 'train')) == 1
    write(tmp_path / 'b', 'train/007/t', 'query/7/t', 'gallery/7/t')
    with pytest.raises(ValueError, match='1 persons.*7'):
        build(tmp_path / 'b', 'train')


class TestCameraFirst:

    @pytest.mark.parametrize('cameras', [
        ('cam_a', 'cam_b'), ('cam1', 'cam2'), ('Camera 1', 'Camera 2'), ('CAM-3', 'c'),
        ('C1', 'C12'), ('north', 'south')])
    @pytest.mark.parametrize('below', ['', '/t1'])
    def test_recognised_by_names(self, tmp_path, log, cameras, below):
        write(tmp_path, *(f'{camera}/person_{pid:04}{below}' for camera in cameras
                          for pid in (1, 2, 7)))
        found = seen(build(tmp_path, train_fraction=0))
        order = sorted(cameras)
        assert sorted(found) == sorted(
            (number, order.index(camera), f'{camera}/person_{pid:04}{below}')
            for number, pid in enumerate((1, 2, 7)) for camera in cameras)
        assert any('are cameras' in line for line in log(logging.INFO))

    def test_in_the_folders_of_subsets(self, tmp_path):
        write(tmp_path, *(f'{subset}/cam{camera}/{pid}' for subset, camera, pid in (
            ('train', 1, 5), ('train', 2, 5), ('query', 1, 9), ('gallery', 2, 9))))
        assert seen(build(tmp_path, 'query')) == [(9, 0, 'query/cam1/9')]
        assert [item[:2] for item in seen(build(tmp_path, 'train'))] == [(5, 0), (5, 1)]

    def test_said_by_the_user(self, tmp_path):
        write(tmp_path, '1/10', '1/11', '2/10')
        options = dict(train_fraction=0, layout='camera_first')
        assert [item[:2] for item in seen(build(tmp_path, **options))] == [
            (10, 1), (11, 1), (10, 2)]
        write(tmp_path / 'x', 'cam1/t', 'cam2/t')
        persons = build(tmp_path / 'x', train_fraction=0, layout='person_first')
        assert [item[:2] for item in seen(persons)] == [(0, -1), (1, -1)]

    def test_cameras_beside_others_are_refused(self, tmp_path):
        write(tmp_path, 'cam_a/1/t', 'cam_b/1/t', 'extra/1/t')
        with pytest.raises(ValueError, match='extra.*layout'):
            build(tmp_path, train_fraction=0)
        assert len(build(tmp_path, train_fraction=0, layout='person_first')) == 3

    def test_more_cameras_than_persons_are_said(self, tmp_path, log):
        write(tmp_path, *(f'{upper}/{lower}/t' for upper in (1, 2) for lower in '567'))
        build(tmp_path, train_fraction=0)
        line, = log(logging.WARNING)
        assert 'camera_first' in line

    @pytest.mark.parametrize('folders', [
        ('cameron/t', 'camilla/t'), ('c0001/cam1/t', 'c0002/cam1/t'),
        ('person_1/cam1/t', 'person_2/cam1/t'), ('1/id5', 'id2/id5')])
    def test_others_are_persons(self, tmp_path, folders):
        write(tmp_path, *folders)
        assert len({item[0] for item in seen(build(tmp_path, train_fraction=0))}) == 2


class TestOddFolders:

    def test_other_files_are_counted_and_named(self, root, log):
        (root / 'a/door/t9/clip.heic').touch()
        (root / 'b/till/t10/Thumbs.db').touch()
        assert len(build(root, train_fraction=0)) == 32
        line, = log(logging.WARNING)
        assert all(part in line for part in ('2 files', 'clip.heic', 'Thumbs.db'))

    def test_nobody_comes_into_a_subset(self, tmp_path):
        write(tmp_path, 'ann/t')
        assert len(build(tmp_path, 'gallery')) == 1
        with pytest.raises(ValueError, match='seed'):
            build(tmp_path, 'train')

    @pytest.mark.parametrize(('folders', 'match'), [
        (('1/t', '4/cam/t'), 'camera'),
        (('query/1/cam/t', 'gallery/1/t'), 'camera'),
        (('a', 'a/door/t'), 'a'), (('a/door', 'a/door/t'), 'a/door')])
    def test_images_on_two_levels(self, tmp_path, folders, match):
        write(tmp_path, *folders)
        with pytest.raises(ValueError, match=match):
            build(tmp_path)

    def test_empty_folders_leave_with_their_names(self, root, log):
        (root / 'a/door/t11').mkdir()
        (root / 'b/roof').mkdir()
        (root / '.cache').mkdir()
        (root / 'notes.txt').touch()
        assert len(build(root, train_fraction=0)) == 32
        line, = log(logging.WARNING)
        assert 'shop gallery: 2 folders' in line
        assert f'{root}/a/door/t11, {root}/b/roof.' in line.replace(os.sep, '/')

    @pytest.mark.parametrize(('folder', 'error', 'match'), [
        ('', FileNotFoundError, 'gallery'), ('empty', ValueError, 'no tracklet'),
        ('nowhere', FileNotFoundError, 'nowhere')])
    def test_nothing_there(self, tmp_path, folder, error, match):
        write(tmp_path, 'query/1/2/3')
        (tmp_path / 'empty').mkdir()
        with pytest.raises(error, match=match):
            build(tmp_path / folder)


def test_balanced_seed_halves_a_few_persons(tmp_path):
    write(tmp_path, *(f'{person}/cam1/1' for person in range(-1, 6)))  # -1 is junk
    seed = build(tmp_path, lazy_init=True).balanced_seed()
    sides = [{pid for pid, _, _ in seen(build(tmp_path, subset, seed=seed))}
             for subset in ('train', 'gallery')]
    assert [len(side) for side in sides] == [3, 3]
    write(tmp_path, 'train/1/cam1/1')
    assert build(tmp_path, lazy_init=True).balanced_seed() == 0
