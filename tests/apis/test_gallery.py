"""A gallery from real image files: folders, features, index, search."""
import os
import pathlib
import shutil

import numpy as np
import pytest

from cosam_mm import TrackletEncoder
from cosam_mm.apis.gallery import (
    check_fit,
    find_tracklets,
    index_folder,
    query_tracklet,
    read_gallery,
    search_gallery,
    write_gallery,
)
from tests.gallery_data import (
    reid_config,
    write_checkpoint,
    write_folder,
    write_tracklet,
)
from tests.reference.naive_retrieval import naive_distances


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp('model') / 'm.pth', reid_config())


@pytest.fixture(scope='module')
def encoder(checkpoint):
    return TrackletEncoder(checkpoint)


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / 'tracklets')


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'out' / 'gallery.npz')


def folders_of(tracklets):
    return [tracklet.folder for tracklet in tracklets]


def spoil(*parts):
    pathlib.Path(*parts).write_bytes(b'no picture')


class CountedRuns:
    """Counts tracklets that go through a model; can stop in the middle."""

    def __init__(self, encoder, stop_at=None, error=KeyboardInterrupt):
        self.encoder, self.stop_at, self.error = encoder, stop_at, error
        self.count = 0

    def look(self, module, inputs, output):
        if self.count == self.stop_at:
            raise self.error
        self.count += 1

    def __enter__(self):
        self.handle = self.encoder.model.register_forward_hook(self.look)
        return self

    def __exit__(self, *error):
        self.handle.remove()


def contents(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_same_gallery(one, other):
    one, other = contents(one), contents(other)
    assert set(one) == set(other)
    for name, value in one.items():
        if name == 'feature':
            np.testing.assert_allclose(value, other[name], rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_array_equal(value, other[name])


class TestFolders:

    def test_every_folder_of_images_in_natural_order(self, tmp_path):
        for name in ('p10/a', 'p2/b', 'p2/a/x', 'p2/a', 'p2/.hidden'):
            write_tracklet(tmp_path / name, 1, 0)
        (tmp_path / 'empty').mkdir()
        (tmp_path / 'text').mkdir()
        (tmp_path / 'text' / 'a.txt').write_text('a')
        (tmp_path / '0.PNG').write_bytes(b'')
        found = find_tracklets(str(tmp_path))
        assert [one.tracklet_id for one in found] == ['p2/a', 'p2/a/x', 'p2/b', 'p10/a']
        assert found[0].folder == str(tmp_path / 'p2' / 'a')

    def test_links_are_followed_but_not_in_circles(self, tmp_path):
        write_tracklet(tmp_path / 'far' / 't', 1, 0)
        (tmp_path / 'root' / 'p').mkdir(parents=True)
        (tmp_path / 'root' / 'p' / 'far').symlink_to(tmp_path / 'far')
        (tmp_path / 'far' / 'circle').symlink_to(tmp_path / 'root')
        found = find_tracklets(str(tmp_path / 'root'))
        assert [one.tracklet_id for one in found] == ['p/far/t']

    def test_state_changes_with_the_images(self, tmp_path):
        folder = tmp_path / 'root' / 't'

        def state():
            return find_tracklets(str(tmp_path / 'root'))[0].state

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

    def test_names_that_are_no_text(self, encoder, tmp_path):
        name = os.fsdecode(b'caf\xe9')
        write_tracklet(tmp_path / 'root' / name, 2, 0)
        path = str(tmp_path / 'g.npz')
        index_folder(encoder, str(tmp_path / 'root'), path)
        assert read_gallery(path).tracklet_id.tolist() == [name]
        assert len(read_gallery(path).content_sha256) == 64

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='There is no folder .*nowhere'):
            find_tracklets(str(tmp_path / 'nowhere'))
        (tmp_path / 'a').mkdir()
        with pytest.raises(ValueError, match=r'No folder below .* holds images: the '):
            find_tracklets(str(tmp_path))
        write_tracklet(tmp_path, 1, 0)
        with pytest.raises(ValueError, match='only that folder itself: the images of'):
            find_tracklets(str(tmp_path))

    def test_query(self, tmp_path):
        folder = write_tracklet(tmp_path / 'p' / 't', 1, 0)
        assert query_tracklet(folder).tracklet_id == folder
        with pytest.raises(FileNotFoundError, match='There is no query folder .*no'):
            query_tracklet(str(tmp_path / 'no'))
        with pytest.raises(FileNotFoundError, match='There is no query folder .*0.jpg'):
            query_tracklet(f'{folder}/0.jpg')
        with pytest.raises(ValueError, match=r'holds no images, only folders \(t, ...'):
            query_tracklet(str(tmp_path / 'p'))
        (tmp_path / 'empty').mkdir()
        with pytest.raises(ValueError, match=r'empty holds no images\.$'):
            query_tracklet(str(tmp_path / 'empty'))


class TestIndex:

    def test_fresh(self, encoder, folder, path):
        report = index_folder(encoder, folder, path, batch_size=4)
        assert report == (6, 0, 0, [])
        assert os.listdir(os.path.dirname(path)) == ['gallery.npz']
        arrays = contents(path)
        tracklets = find_tracklets(folder)
        assert arrays['feature'].dtype == np.float32
        np.testing.assert_allclose(arrays['feature'], np.stack(
            list(encoder.encode_each(folders_of(tracklets)))), rtol=1e-4, atol=1e-6)
        assert arrays['tracklet_id'].tolist() == [
            f'p{k}/c{k % 2}/t' for k in range(6)]
        assert arrays['distance'] == 'euclidean'
        assert arrays['checkpoint'] == 'm.pth'
        assert arrays['weights_sha256'] == encoder.weights
        assert arrays['num_waiting'] == 0

    def test_again_computes_only_what_is_new(self, encoder, folder, path, tmp_path):
        index_folder(encoder, folder, path)
        before = os.stat(path).st_mtime_ns
        with CountedRuns(encoder) as runs:
            assert index_folder(encoder, folder, path) == (6, 6, 0, [])
            assert (runs.count, os.stat(path).st_mtime_ns) == (0, before)

            write_tracklet(f'{folder}/p00/new', 3, 77)          # goes to the front
            write_tracklet(f'{folder}/p3/c1/t', 2, 88)          # fewer new frames
            shutil.rmtree(f'{folder}/p4')
            spoil(folder, 'p0/c0/t/0.jpg')
            report = index_folder(encoder, folder, path, batch_size=1)
            assert runs.count == 2
        assert report == (5, 3, 2, ['p0/c0/t'])
        index_folder(encoder, folder, str(tmp_path / 'fresh.npz'))
        assert_same_gallery(path, tmp_path / 'fresh.npz')

    def test_tracklets_that_are_gone_leave(self, encoder, folder, path):
        index_folder(encoder, folder, path)
        shutil.rmtree(f'{folder}/p2')
        with CountedRuns(encoder) as runs:
            assert index_folder(encoder, folder, path) == (5, 5, 1, [])
        assert runs.count == 0
        assert 'p2/c0/t' not in read_gallery(path).tracklet_id

    @pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError('a bug')])
    def test_what_is_done_survives(self, encoder, folder, path, tmp_path, error):
        with CountedRuns(encoder, 3, error), \
                pytest.raises(type(error) if isinstance(error, Exception) else error):
            index_folder(encoder, folder, path, batch_size=1)
        gallery = read_gallery(path)
        assert (len(gallery), gallery.num_waiting) == (3, 3)
        with pytest.raises(ValueError, match='not finished: 3 of 6 tracklets are stil'):
            search_gallery(gallery, gallery.feature[:1])
        with CountedRuns(encoder) as runs:
            assert index_folder(encoder, folder, path, batch_size=1) == (6, 3, 0, [])
        assert runs.count == 3
        index_folder(encoder, folder, str(tmp_path / 'fresh.npz'), batch_size=1)
        assert_same_gallery(path, tmp_path / 'fresh.npz')

    def test_saved_from_time_to_time(self, encoder, folder, path):
        seen = []

        def look(module, inputs, output):
            if os.path.exists(path):
                gallery = read_gallery(path)
                seen.append((len(gallery), gallery.num_waiting))

        handle = encoder.model.register_forward_hook(look)
        index_folder(encoder, folder, path, batch_size=1, save_every=0)
        handle.remove()
        assert seen[0] == (1, 5)
        assert read_gallery(path).num_waiting == 0

    def test_stopped_before_anything_is_done(self, encoder, folder, path):
        with CountedRuns(encoder, 0), pytest.raises(KeyboardInterrupt):
            index_folder(encoder, folder, path)
        assert not os.path.exists(path)

    def test_all_unreadable(self, encoder, tmp_path, path):
        write_tracklet(tmp_path / 'root' / 't', 1, 0)
        spoil(tmp_path, 'root/t/0.jpg')
        with pytest.raises(ValueError, match='None of 1 tracklets below .* has a read'):
            index_folder(encoder, str(tmp_path / 'root'), path)
        assert not os.path.exists(path)

    def test_other_weights(self, encoder, folder, path, tmp_path):
        index_folder(encoder, folder, path)
        other = TrackletEncoder(
            write_checkpoint(tmp_path / 'other.pth', reid_config(), seed=1))
        message = ('was indexed with other weights .m.pth, sha256 '
                   f'{encoder.weights[:12]}. than .*other.pth has .sha256 '
                   f'{other.weights[:12]}')
        with pytest.raises(ValueError, match=message):
            index_folder(other, folder, path)
        with pytest.raises(ValueError, match=message):
            check_fit(read_gallery(path), other, path)
        assert index_folder(other, folder, path, overwrite=True) == (6, 0, 0, [])
        check_fit(read_gallery(path), other, path)

    def test_same_weights_in_other_settings(self, encoder, folder, path, tmp_path):
        index_folder(encoder, folder, path)
        config = reid_config(last_stride=2)
        config.test_dataloader.dataset.gallery.pipeline[0].num_frames = 2
        other = TrackletEncoder(write_checkpoint(tmp_path / 'other.pth', config))
        assert other.weights == encoder.weights
        with pytest.raises(ValueError, match='same weights in other settings: '
                           'model.backbone.last_stride 1 there, 2 here; '
                           r'pipeline\[0\].num_frames 4 there, 2 here\. Search with'):
            index_folder(other, folder, path)

    def test_settings_that_do_not_matter(self, encoder, tmp_path):
        config = reid_config(with_cp=True, init_cfg=dict(type='Pretrained'))
        config.model.max_clips_per_forward = 1
        config.test_dataloader.dataset.gallery.pipeline[1] = dict(
            type='LoadTrackletFrames', on_unreadable='blank', blank_size=(9, 9))
        other = TrackletEncoder(write_checkpoint(tmp_path / 'other.pth', config))
        assert other.recipe == encoder.recipe

    def test_destination(self, encoder, folder, tmp_path):
        (tmp_path / 'a.npz').mkdir()
        spoil(tmp_path, 'file')
        with CountedRuns(encoder) as runs:
            for name, message in (
                    ('g.txt', r'must end in .npz, got .*g.txt'),
                    ('a.npz', 'a.npz is a folder: name a file'),
                    ('file/g.npz', r'The folder .*file cannot be made: ')):
                with pytest.raises(ValueError, match=message):
                    index_folder(encoder, folder, str(tmp_path / name))
            spoil(tmp_path, 'other.npz')
            with pytest.raises(ValueError, match='other.npz is not a gallery'):
                index_folder(encoder, folder, str(tmp_path / 'other.npz'))
        assert runs.count == 0
        assert (tmp_path / 'other.npz').read_bytes() == b'no picture'


class TestFile:

    @pytest.fixture
    def arrays(self, encoder, folder, path):
        index_folder(encoder, folder, path)
        return contents(path)

    def test_round_trip(self, arrays, path, tmp_path):
        write_gallery(tmp_path / 'copy.npz', read_gallery(path))
        assert_same_gallery(path, tmp_path / 'copy.npz')

    @pytest.mark.parametrize(('changes', 'message'), [
        (dict(recipe=None, state=None), r"it lacks \['state', 'recipe'\]"),
        (dict(state=np.zeros(5, np.uint64)), r"'state' is uint64 of shape \(5,\)"),
        (dict(tracklet_id=np.zeros(6)), r"'tracklet_id' is float64 of shape \(6,\)"),
        (dict(num_waiting=np.zeros(6, int)), r"'num_waiting' is int64 of shape"),
        (dict(distance=np.array('manhattan')), "'distance' must be one of .*manhattan"),
        (dict(feature=np.zeros((0, 8)), state=np.zeros(0, np.uint64),
              tracklet_id=np.zeros(0, '<U1')), r'it is empty: .*\(0, 8\)'),
    ])
    def test_other_contents(self, arrays, tmp_path, changes, message):
        arrays = {name: value for name, value in dict(arrays, **changes).items()
                  if value is not None}
        np.savez(tmp_path / 'x.npz', **arrays)
        with pytest.raises(ValueError, match=f'x.npz is not a gallery that.*{message}'):
            read_gallery(str(tmp_path / 'x.npz'))

    def test_pickles_are_refused(self, arrays, tmp_path):
        arrays['recipe'] = np.array([{}], object)
        np.savez(tmp_path / 'x.npz', **arrays)
        with pytest.raises(ValueError, match='x.npz is not a gallery: Object arrays'):
            read_gallery(str(tmp_path / 'x.npz'))

    def test_no_file(self):
        with pytest.raises(FileNotFoundError, match=r'no gallery no.npz. Make one'):
            read_gallery('no.npz')

    def test_fingerprint_of_the_content(self, arrays, path):
        def fingerprint(**changes):
            gallery = read_gallery(path)
            for name, value in changes.items():
                setattr(gallery, name, value)
            return gallery.content_sha256

        names = arrays['tracklet_id'].copy()
        names[0] = 'x'
        states = arrays['state'] + np.uint64(1)
        different = [{}, dict(weights_sha256='a'), dict(recipe='{}'),
                     dict(state=states), dict(tracklet_id=names)]
        assert len({fingerprint(**changes) for changes in different}) == 5
        assert fingerprint(distance='cosine') == fingerprint()


class TestSearch:

    @pytest.fixture
    def gallery(self, encoder, folder, path):
        index_folder(encoder, folder, path)
        return read_gallery(path)

    def test_a_tracklet_of_the_gallery_finds_itself(self, encoder, gallery, folder):
        queries = [query_tracklet(f'{folder}/p{k}/c{k % 2}/t') for k in (4, 0, 5)]
        features = encoder.encode_batch(folders_of(queries))
        for distance in ('euclidean', 'cosine'):
            found = search_gallery(gallery, features, topk=2, distance=distance)
            assert found.index[:, 0].tolist() == [4, 0, 5]
            assert found.distance[:, 0].max() < 1e-4
            assert found.distance[:, 1].min() > 1e-3

    @pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
    def test_equals_a_sort_of_everything(self, gallery, distance):
        rng = np.random.default_rng(0)
        features = rng.random((3, gallery.feature.shape[1]), np.float32)
        found = search_gallery(gallery, features, 99, distance, engine='auto')
        expected = np.array(naive_distances(features, gallery.feature, distance))
        np.testing.assert_array_equal(found.index, expected.argsort(axis=1))
        np.testing.assert_allclose(found.distance, np.sort(expected), rtol=1e-5)

    def test_distance_of_the_gallery_is_the_default(self, gallery):
        features = gallery.feature[:2] * 2
        assert search_gallery(gallery, features).distance[0, 0] > 0.1
        gallery.distance = 'cosine'
        assert search_gallery(gallery, features).distance[0, 0] < 1e-6

    @pytest.mark.parametrize(('arguments', 'message'), [
        (dict(topk=0), 'topk must be an integer of at least 1, got 0'),
        (dict(distance='squared_euclidean'), r"distance must be one of \('euclidean',"),
        (dict(engine='magic'), r"engine must be one of .*, got 'magic'"),
    ])
    def test_wrong_arguments(self, gallery, arguments, message):
        with pytest.raises(ValueError, match=message):
            search_gallery(gallery, gallery.feature[:1], **arguments)
