"""Search by FAISS against exact search. Skipped but for one test without faiss."""
import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from cosam_mm.apis.gallery import Gallery
from cosam_mm.apis.gallery_faiss import KeptIndex, index_beside, nearest_by_faiss
from cosam_mm.evaluation.functional.neighbours import nearest

needs_faiss = pytest.mark.skipif(find_spec('faiss') is None, reason='needs faiss')


@pytest.fixture
def features():
    """(queries (20, 16), gallery (1500, 16)), float32, of unequal lengths."""
    rng = np.random.default_rng(0)
    g = rng.normal(size=(1500, 16)).astype(np.float32)
    g *= rng.uniform(.5, 2, (1500, 1)).astype(np.float32)
    return g[::75] + .1 * rng.normal(size=(20, 16)).astype(np.float32), g


def make_gallery(feature, **changes):
    values = dict(
        feature=feature, tracklet_id=np.arange(len(feature)).astype(str),
        state=np.zeros(len(feature), np.uint64), weights_sha256='a', recipe='{}',
        checkpoint='m.pth', distance='euclidean')
    return Gallery(**{**values, **changes})


def recall(found, expected):
    return np.mean([len(set(a) & set(b)) / len(b)
                    for a, b in zip(found.index.tolist(), expected.index.tolist())])


def test_not_installed(features, monkeypatch):
    monkeypatch.setitem(sys.modules, 'faiss', None)
    with pytest.raises(ValueError, match='faiss-cpu'):
        nearest_by_faiss(*features, 3)


def test_where_an_index_is_kept():
    assert index_beside('g.npz', 'a', 'cosine', 'Flat') is None
    assert index_beside(None, 'a', 'cosine', 'HNSW8') is None
    one = index_beside('a/g.npz', 'a', 'cosine', 'IVF4,Flat')
    assert one.file == 'a/g.cosine.IVF4_Flat.faiss'
    others = [index_beside('a/g.npz', 'b', 'cosine', 'IVF4,Flat'),
              index_beside('a/g.npz', 'a', 'cosine', 'IVF4_Flat')]
    assert len({one.key, *(other.key for other in others)}) == 3


@needs_faiss
class TestFaiss:

    @pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
    @pytest.mark.parametrize('k', [1, 10, 1500, 9999])
    def test_flat_is_exact(self, features, k, distance):
        found = nearest_by_faiss(*features, k, distance)
        expected = nearest(*features, k, distance)
        np.testing.assert_array_equal(found.index, expected.index)
        np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-6)

    @pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
    def test_zero_and_equal_features(self, distance):
        g = np.zeros((8, 4), np.float32)
        g[4:, 0] = [1, 1, -1, 2]
        q = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
        for one, other in zip(nearest_by_faiss(q, g, 5, distance),
                              nearest(q, g, 5, distance)):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
    @pytest.mark.parametrize(('factory', 'parameters'), [
        ('HNSW16', 'efSearch=256'), ('IVF8,Flat', 'nprobe=8')])
    def test_other_indices(self, features, factory, parameters, distance):
        found = nearest_by_faiss(*features, 10, distance, factory, parameters)
        assert recall(found, nearest(*features, 10, distance)) > 0.95
        # Whatever it finds has the distance that exact search gives it.
        whole = nearest(*features, 1500, distance)
        for row, values, number, value in zip(*whole, *found):
            places = [row.tolist().index(one) for one in number]
            assert places == sorted(places)
            np.testing.assert_allclose(value, values[places], rtol=1e-6)

    def test_index_that_finds_fewer(self, features):
        found = nearest_by_faiss(*features, 1500, 'euclidean', 'IVF32,Flat')
        assert found.index.shape == (20, 1500)
        missing = found.index < 0
        assert missing.any(axis=1).all()
        assert np.isinf(found.distance[missing]).all()
        assert np.isfinite(found.distance[~missing]).all()

    def test_index_is_kept(self, features, tmp_path, monkeypatch):
        import faiss
        q, g = features
        kept = KeptIndex(str(tmp_path / 'g.faiss'), 'a' * 64)
        first = nearest_by_faiss(q, g, 5, factory='HNSW16', kept=kept)
        assert os.listdir(tmp_path) == ['g.faiss']
        with monkeypatch.context() as patch:
            patch.delattr(faiss, 'index_factory')  # nothing can be built
            again = nearest_by_faiss(q, g, 5, factory='HNSW16', kept=kept)
        np.testing.assert_array_equal(first.index, again.index)

    @pytest.mark.parametrize('spoil', [
        lambda path: path.write_bytes(b''), lambda path: path.write_bytes(b'x' * 500),
        lambda path: path.write_bytes(path.read_bytes()[:-1])])
    def test_file_of_something_else(self, features, tmp_path, spoil):
        q, g = features
        path = tmp_path / 'g.faiss'
        old = KeptIndex(str(path), 'old')
        nearest_by_faiss(q, -g, 5, factory='HNSW16', kept=old)
        new = KeptIndex(str(path), 'new')
        expected = nearest_by_faiss(q, g, 5, factory='HNSW16')
        for _ in range(2):
            found = nearest_by_faiss(q, g, 5, factory='HNSW16', kept=new)
            np.testing.assert_array_equal(found.index, expected.index)
            spoil(path)

    def test_file_that_cannot_be_written(self, features, tmp_path):
        (tmp_path / 'file').touch()
        kept = KeptIndex(str(tmp_path / 'file' / 'g.faiss'), 'key')
        found = nearest_by_faiss(*features, 5, factory='HNSW16', kept=kept)
        assert found.index.shape == (20, 5)
        assert os.listdir(tmp_path) == ['file']

    @pytest.mark.parametrize(('factory', 'parameters', 'message'), [
        ('nonsense', '', "'nonsense' of 1500 features of length 16"),
        ('IVF4096,Flat', '', r'\(1500\)'),
        ('Flat', 'nprobe=3', 'nprobe=3'),
        ('Flat', 'nprobe', 'nprobe'),
    ])
    def test_what_faiss_refuses(self, features, factory, parameters, message):
        with pytest.raises(ValueError, match=message):
            nearest_by_faiss(*features, 3, 'euclidean', factory, parameters)

    def test_lengths_that_differ(self, features):
        with pytest.raises(ValueError, match='the second numbers must agree'):
            nearest_by_faiss(features[0][:, :8], features[1], 3)

    def test_engine_of_a_gallery(self, features):
        q, g = features
        gallery = make_gallery(g, distance='cosine')
        found = gallery.search(q, 4, engine='faiss')
        np.testing.assert_array_equal(found.index, nearest(q, g, 4, 'cosine').index)


@needs_faiss
@pytest.mark.parametrize('kind', ['cut', 'text', 'other length', 'fewer', 'numbers'])
def test_a_kept_file_that_is_no_index_of_these_features(features, tmp_path, kind):
    """With the right key: whoever has the gallery can compute it."""
    import faiss
    q, g = features
    kept = KeptIndex(str(tmp_path / 'g.faiss'), 'the key')
    if kind == 'numbers':
        index = faiss.index_factory(16, 'IVF4,Flat')
        index.train(g)
        index.add_with_ids(g, np.arange(len(g)) + 10**9)
    else:
        index = faiss.index_factory(8 if kind == 'other length' else 16, 'HNSW8')
        index.add(g[:1500 if kind == 'cut' else 9, :index.d].copy())
    faiss.write_index(index, kept.file)
    with open(kept.file, 'rb') as file:
        content = file.read()
    content = dict(cut=content[:len(content) // 2], text=b'no index').get(kind, content)
    with open(kept.file, 'wb') as file:
        file.write(content + kept.key.encode())
    found = nearest_by_faiss(q, g, 3, factory='IVF4,Flat', parameters='nprobe=4',
                             kept=kept)
    if kind == 'numbers':  # nothing of this gallery
        assert (found.index == -1).all()
    else:
        assert found.index.tolist() == nearest(q, g, 3).index.tolist()
