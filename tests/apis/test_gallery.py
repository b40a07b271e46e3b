"""A gallery from real image files: folders, features, index, search.

tests/tools/test_search_gallery_tool.py has what a user sees: other weights, Ctrl-C,
names that are no text.
"""
import contextlib
import dataclasses
import os
import pathlib
import shutil

import numpy as np
import pytest

from cosam_mm import TrackletEncoder
from cosam_mm.apis.gallery import (
    Gallery,
    find_tracklet_folders,
    index_folder,
    remove_tracklets,
)
from tests.gallery_data import (
    reid_config,
    write_checkpoint,
    write_folder,
    write_tracklet,
)
from tests.reference.naive_retrieval import naive_distances


@pytest.fixture(scope='module')
def encoder(tmp_path_factory):
    return TrackletEncoder(write_checkpoint(
        tmp_path_factory.mktemp('model') / 'm.pth', reid_config()))


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / 'tracklets')


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'out' / 'gallery.npz')


@pytest.fixture(scope='module')
def indexed(encoder, tmp_path_factory):
    """A gallery file that is only read, and its folder."""
    root = tmp_path_factory.mktemp('indexed')
    folder, path = write_folder(root / 'tracklets'), str(root / 'gallery.npz')
    index_folder(encoder, folder, path)
    return path, folder


def spoil(*parts):
    pathlib.Path(*parts).write_bytes(b'no image')


@contextlib.contextmanager
def counted_runs(encoder, stop_at=None):
    """A list that grows by each tracklet in the model; can stop in the middle."""
    runs = []

    def look(module, inputs, output):
        if len(runs) == stop_at:
            raise KeyboardInterrupt
        runs.append(output)

    handle = encoder.model.register_forward_hook(look)
    try:
        yield runs
    finally:
        handle.remove()


def contents(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_same_gallery(one, other):
    one, other = contents(one), contents(other)
    assert set(one) == set(other)
    np.testing.assert_allclose(one.pop('feature'), other.pop('feature'), rtol=1e-4,
                               atol=1e-6)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])


class TestFolders:

    def test_every_folder_of_images_in_natural_order(self, tmp_path):
        for name in ('p10/a', 'p2/b', 'p2/a/x', 'p2/a', 'p2/.hidden'):
            write_tracklet(tmp_path / name, 1, 0)
        (tmp_path / 'empty').mkdir()
        (tmp_path / 'text').mkdir()
        (tmp_path / 'text' / 'a.txt').write_text('a')
        (tmp_path / '0.PNG').write_bytes(b'')
        found = find_tracklet_folders(str(tmp_path))
        assert [one.tracklet_id for one in found] == ['p2/a', 'p2/a/x', 'p2/b', 'p10/a']
        assert found[0].folder == str(tmp_path / 'p2' / 'a')

    def test_links_are_followed_but_not_in_circles(self, tmp_path):
        write_tracklet(tmp_path / 'far' / 't', 1, 0)
        (tmp_path / 'root' / 'p').mkdir(parents=True)
        (tmp_path / 'root' / 'p' / 'far').symlink_to(tmp_path / 'far')
        (tmp_path / 'far' / 'circle').symlink_to(tmp_path / 'root')
        found = find_tracklet_folders(str(tmp_path / 'root'))
        assert [one.tracklet_id for one in found] == ['p/far/t']

    def test_state_changes_with_the_images(self, tmp_path):
        folder = tmp_path / 'root' / 't'

        def state():
            return find_tracklet_folders(str(tmp_path / 'root'))[0].state

        write_tracklet(folder, 3, 0)
        states = [state()]
        assert state() == states[0]
        (folder / 'notes.txt').write_text('no image')
        assert state() == states[0]
        info = os.stat(folder / '1.jpg')
        for change in (
                lambda: os.utime(folder / '1.jpg', ns=(0, info.st_mtime_ns + 1000)),
                lambda: (folder / '1.jpg').write_bytes(b'shorter'),
                lambda: (folder / '1.jpg').rename(folder / '01.jpg'),
                lambda: write_tracklet(folder, 4, 0)):
            change()
            states.append(state())
        assert len(set(states)) == 5

    def test_folders_without_tracklets(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere'):
            find_tracklet_folders(str(tmp_path / 'nowhere'))
        (tmp_path / 'a').mkdir()
        with pytest.raises(ValueError, match='holds images'):
            find_tracklet_folders(str(tmp_path))
        write_tracklet(tmp_path, 1, 0)
        with pytest.raises(ValueError, match='only that folder itself'):
            find_tracklet_folders(str(tmp_path))


class TestOtherFolders:

    @pytest.fixture
    def other(self, tmp_path):
        for name in ('q1/t', 'q2/t'):
            write_tracklet(tmp_path / 'other' / name, 2, 7)
        return str(tmp_path / 'other')

    @staticmethod
    def copy(indexed, path):
        os.makedirs(os.path.dirname(path))
        shutil.copy(indexed[0], path)

    def test_a_gallery_is_not_thrown_away(self, encoder, indexed, other, path):
        self.copy(indexed, path)
        before = contents(path)
        with pytest.raises(ValueError, match='6 would leave.*--add.*--mirror'):
            index_folder(encoder, other, path)
        write_tracklet(f'{other}/p0/c0/t', 3, 99)  # a name in common, other images
        with pytest.raises(ValueError, match='5 would leave'):
            index_folder(encoder, other, path)
        with pytest.raises(ValueError, match='p0/c0/t'):
            index_folder(encoder, other, path, mode='add')
        np.testing.assert_equal(contents(path), before)
        assert index_folder(encoder, other, path, mode='mirror').num_removed == 5
        assert sorted(contents(path)['tracklet_id']) == ['p0/c0/t', 'q1/t', 'q2/t']
        with pytest.raises(ValueError, match='mode'):
            index_folder(encoder, other, path, mode='replace')

    def test_add(self, encoder, indexed, other, path):
        self.copy(indexed, path)
        with counted_runs(encoder) as runs:
            report = index_folder(encoder, other, path, mode='add')
        assert (len(runs), report.num_tracklets, report.num_removed) == (1, 8, 0)
        old, new = contents(indexed[0]), contents(path)
        for name, row in zip(old['tracklet_id'], old['feature']):
            np.testing.assert_array_equal(
                new['feature'][new['tracklet_id'] == name][0], row)
        with counted_runs(encoder) as runs:  # again, of the first folder
            index_folder(encoder, indexed[1], path, mode='add')
        assert not runs
        assert len(contents(path)['tracklet_id']) == 8
        with pytest.raises(ValueError, match='6 would leave.*--add'):
            index_folder(encoder, other, path)  # as it was, but less than the others

    def test_remove(self, encoder, indexed, path):
        self.copy(indexed, path)
        before = contents(path)
        for names, match in ((['p1', 'p'], "'p'"), (['p0/c0/t', 'x'], "'x'"),
                             ([f'p{k}' for k in range(6)], 'empty')):
            with pytest.raises(ValueError, match=match):
                remove_tracklets(path, names)
        np.testing.assert_equal(contents(path), before)
        assert remove_tracklets(path, ['p1/', 'p2/c0/t']) == 4
        after = contents(path)
        assert after['tracklet_id'].tolist() == [
            'p0/c0/t', 'p3/c1/t', 'p4/c0/t', 'p5/c1/t']
        np.testing.assert_array_equal(after['feature'], before['feature'][[0, 3, 4, 5]])


class TestIndex:

    def test_fresh(self, encoder, folder, path):
        assert index_folder(encoder, folder, path, batch_size=4) == (6, 0, 0, [])
        assert os.listdir(os.path.dirname(path)) == ['gallery.npz']
        arrays = contents(path)
        folders = [one.folder for one in find_tracklet_folders(folder)]
        assert arrays['feature'].dtype == np.float32
        np.testing.assert_allclose(arrays['feature'], encoder.encode_batch(folders),
                                   rtol=1e-4, atol=1e-6)
        assert arrays['tracklet_id'].tolist() == [
            f'p{k}/c{k % 2}/t' for k in range(6)]
        assert arrays['distance'] == 'euclidean'
        assert arrays['checkpoint'] == 'm.pth'
        assert arrays['weights_sha256'] == encoder.weights
        assert arrays['num_waiting'] == arrays['num_unreadable'] == 0

    def test_again_computes_only_what_is_new(self, encoder, folder, path, tmp_path):
        index_folder(encoder, folder, path)
        before = os.stat(path).st_mtime_ns
        with counted_runs(encoder) as runs:
            assert index_folder(encoder, folder, path) == (6, 6, 0, [])
            assert (len(runs), os.stat(path).st_mtime_ns) == (0, before)

            write_tracklet(f'{folder}/p00/new', 3, 77)          # goes to the front
            write_tracklet(f'{folder}/p3/c1/t', 2, 88)          # fewer new frames
            shutil.rmtree(f'{folder}/p4')
            spoil(folder, 'p0/c0/t/0.jpg')
            report = index_folder(encoder, folder, path, batch_size=1)
            assert len(runs) == 2
        assert report == (5, 3, 2, ['p0/c0/t'])
        assert contents(path)['num_unreadable'] == 1
        index_folder(encoder, folder, str(tmp_path / 'fresh.npz'))
        assert_same_gallery(path, tmp_path / 'fresh.npz')

    def test_interrupted(self, encoder, folder, path, tmp_path):
        with counted_runs(encoder, 3), pytest.raises(KeyboardInterrupt):
            index_folder(encoder, folder, path, batch_size=1)
        gallery = Gallery.read(path)
        assert (len(gallery), gallery.num_waiting) == (3, 3)
        with pytest.raises(ValueError, match='3 of 6'):
            gallery.search(gallery.feature[:1])
        with counted_runs(encoder) as runs:
            assert index_folder(encoder, folder, path, batch_size=1) == (6, 3, 0, [])
        assert len(runs) == 3
        index_folder(encoder, folder, str(tmp_path / 'fresh.npz'), batch_size=1)
        assert_same_gallery(path, tmp_path / 'fresh.npz')

    def test_saved_from_time_to_time(self, encoder, folder, path, monkeypatch):
        saved, write = [], Gallery.write
        monkeypatch.setattr(Gallery, 'write', lambda self, path: (
            saved.append(self.num_waiting), write(self, path)))
        index_folder(encoder, folder, path, batch_size=1, save_every=0)
        assert (saved[0], saved[-1], Gallery.read(path).num_waiting) == (5, 0, 0)

    def test_without_results_nothing_is_written(self, encoder, path, tmp_path):
        write_tracklet(tmp_path / 'root' / 't', 1, 0)
        with counted_runs(encoder, 0), pytest.raises(KeyboardInterrupt):
            index_folder(encoder, str(tmp_path / 'root'), path)
        spoil(tmp_path, 'root/t/0.jpg')
        with pytest.raises(ValueError, match='readable'):
            index_folder(encoder, str(tmp_path / 'root'), path)
        assert not os.path.exists(path)

    def test_same_weights_in_other_settings(self, encoder, indexed, tmp_path):
        config = reid_config(last_stride=2)
        config.test_dataloader.dataset.gallery.pipeline[0].num_frames = 2
        other = TrackletEncoder(write_checkpoint(tmp_path / 'other.pth', config))
        assert other.weights == encoder.weights
        with pytest.raises(ValueError, match=(
                r'model.backbone.last_stride 1 .*2.*; pipeline.0.num_frames 4 .*2')):
            Gallery.read(indexed[0]).check_fit(other, 'g.npz')

    def test_settings_that_features_do_not_depend_on(self, encoder, tmp_path):
        config = reid_config(with_cp=True, init_cfg=dict(type='Pretrained'))
        config.model.max_clips_per_forward = 1
        config.test_dataloader.dataset.gallery.pipeline[1] = dict(
            type='LoadTrackletFrames', on_unreadable='blank', blank_size=(9, 9))
        other = TrackletEncoder(write_checkpoint(tmp_path / 'other.pth', config))
        assert other.recipe == encoder.recipe

    @pytest.mark.parametrize(('name', 'word'), [
        ('g.txt', 'npz'), ('a.npz', 'folder'), ('file/g.npz', 'cannot be written'),
        ('other.npz', 'gallery')])
    def test_destination(self, encoder, folder, tmp_path, name, word):
        (tmp_path / 'a.npz').mkdir()
        spoil(tmp_path, 'file')
        spoil(tmp_path, 'other.npz')
        with counted_runs(encoder) as runs, \
                pytest.raises((ValueError, FileExistsError), match=word):
            index_folder(encoder, folder, str(tmp_path / name))
        assert len(runs) == 0
        assert (tmp_path / 'other.npz').read_bytes() == b'no image'


class TestFile:

    @pytest.mark.parametrize(('changes', 'word'), [
        (dict(recipe=None, state=None), r"\['state', 'recipe'\]"),
        (dict(state=np.zeros(5, np.uint64)), r"'state' .*\(5,\)"),
        (dict(tracklet_id=np.zeros(6)), "'tracklet_id' .*float64"),
        (dict(distance=np.array('manhattan')), 'manhattan'),
        (dict(recipe=np.array([{}], object)), 'Object arrays'),
        (dict(feature=np.zeros((0, 8)), state=np.zeros(0, np.uint64),
              tracklet_id=np.zeros(0, '<U1')), 'empty')])
    def test_other_contents(self, indexed, tmp_path, changes, word):
        arrays = {name: value for name, value in
                  dict(contents(indexed[0]), **changes).items() if value is not None}
        np.savez(tmp_path / 'x.npz', **arrays)
        with pytest.raises(ValueError, match=f'x.npz.*{word}'):
            Gallery.read(str(tmp_path / 'x.npz'))
        with pytest.raises(FileNotFoundError, match='no.npz'):
            Gallery.read('no.npz')

    def test_recipe_without_end(self, indexed, encoder):
        gallery = dataclasses.replace(Gallery.read(indexed[0]), recipe='[' * 100_000)
        with pytest.raises(ValueError, match='x.npz.*recipe'):
            gallery.check_fit(encoder, 'x.npz')

    def test_sha256_changes_with_the_images(self, indexed):
        gallery = Gallery.read(indexed[0])
        other = dataclasses.replace(gallery, state=gallery.state + np.uint64(1))
        assert gallery.content_sha256 != other.content_sha256


class TestSearch:

    @pytest.fixture
    def gallery(self, indexed):
        return Gallery.read(indexed[0])

    @pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
    def test_equals_a_sort_of_everything(self, gallery, distance):
        rng = np.random.default_rng(0)
        features = rng.random((3, gallery.feature.shape[1]), np.float32)
        found = gallery.search(features, 99, distance, engine='auto')
        expected = np.array(naive_distances(features, gallery.feature, distance))
        np.testing.assert_array_equal(found.index, expected.argsort(axis=1))
        np.testing.assert_allclose(found.distance, np.sort(expected), rtol=1e-5)
        itself = gallery.search(gallery.feature[[4, 0]], 1, distance)
        assert itself.index.ravel().tolist() == [4, 0]
        assert itself.distance.max() < 1e-4

    def test_distance_of_the_gallery_is_the_default(self, gallery):
        for distance in ('euclidean', 'cosine'):
            gallery.distance = distance
            nearest = gallery.search(gallery.feature[:2] * 2).distance[0, 0]
            assert (nearest < 1e-6) == (distance == 'cosine')

    @pytest.mark.parametrize(('arguments', 'word'), [
        (dict(topk=0), 'topk'), (dict(distance='squared_euclidean'), 'distance'),
        (dict(engine='magic'), 'magic')])
    def test_wrong_arguments(self, gallery, arguments, word):
        with pytest.raises(ValueError, match=word):
            gallery.search(gallery.feature[:1], **arguments)
