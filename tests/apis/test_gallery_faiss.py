"""Search by FAISS against exact search. Skipped but for one test without faiss."""
import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from cosam_mm.apis.gallery_faiss import nearest_by_faiss
from cosam_mm.evaluation.functional.neighbours import nearest

needs_faiss = pytest.mark.skipif(find_spec('faiss') is None, reason='needs faiss')
HNSW = dict(factory='HNSW16')


@pytest.fixture(scope='module')
def features():
    """(queries (20, 16), gallery (1500, 16)), float32, of unequal lengths."""
    rng = np.random.default_rng(0)
    g = rng.normal(size=(1500, 16)).astype(np.float32)
    g *= rng.uniform(.5, 2, (1500, 1)).astype(np.float32)
    g[1] = 0
    return g[::75] + .1 * rng.normal(size=(20, 16)).astype(np.float32), g


def test_not_installed(features, monkeypatch):
    monkeypatch.setitem(sys.modules, 'faiss', None)
    with pytest.raises(ValueError, match='faiss-cpu'):
        nearest_by_faiss(*features, 3)


@needs_faiss
@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
class TestAgainstExactSearch:

    @pytest.mark.parametrize('k', [1, 10, 9999])
    def test_flat_is_exact(self, features, k, distance):
        found = nearest_by_faiss(*features, k, distance)
        expected = nearest(*features, k, distance)
        np.testing.assert_array_equal(found.index, expected.index)
        np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-6)

    @pytest.mark.parametrize(('factory', 'parameters'), [
        ('HNSW16', 'efSearch=256'), ('IVF8,Flat', 'nprobe=8')])
    def test_other_indices(self, features, factory, parameters, distance):
        """Most are found, and each has the distance that exact search gives it."""
        found = nearest_by_faiss(*features, 10, distance, factory, parameters)
        whole = nearest(*features, 1500, distance)
        hits = 0
        for row, values, number, value in zip(*whole[:2], *found[:2]):
            ranks = [row.tolist().index(one) for one in number]
            assert ranks == sorted(ranks)
            np.testing.assert_allclose(value, values[ranks], rtol=1e-6)
            hits += sum(rank < 10 for rank in ranks)
        assert hits > 0.95 * 200


@needs_faiss
def test_index_that_finds_fewer(features):
    found = nearest_by_faiss(*features, 1500, 'euclidean', 'IVF32,Flat')
    assert found.index.shape == (20, 1500)
    missing = found.index < 0
    assert missing.any(axis=1).all()
    assert np.isinf(found.distance[missing]).all()
    assert np.isfinite(found.distance[~missing]).all()


@needs_faiss
@pytest.mark.parametrize(('length', 'factory', 'parameters', 'word'), [
    (16, 'nonsense', '', 'nonsense'), (16, 'IVF4096,Flat', '', '1500'),
    (16, 'Flat', 'nprobe=3', 'nprobe=3'), (8, 'Flat', '', 'agree')])
def test_what_is_refused(features, length, factory, parameters, word):
    q, g = features
    with pytest.raises(ValueError, match=word):
        nearest_by_faiss(q[:, :length], g, 3, 'euclidean', factory, parameters)


@needs_faiss
class TestKeptIndex:

    def test_it_is_built_once(self, features, tmp_path, monkeypatch):
        import faiss
        kept = dict(HNSW, path=str(tmp_path / 'g.npz'), content='a')
        first = nearest_by_faiss(*features, 5, **kept)
        assert os.listdir(tmp_path) == ['g.euclidean.HNSW16.faiss']
        with monkeypatch.context() as patch:
            patch.delattr(faiss, 'index_factory')  # nothing can be built
            again = nearest_by_faiss(*features, 5, **kept)
        np.testing.assert_array_equal(first.index, again.index)
        nearest_by_faiss(*features, 5, 'cosine', 'IVF4,Flat', path=kept['path'])
        assert 'g.cosine.IVF4_Flat.faiss' in os.listdir(tmp_path)

    @pytest.mark.parametrize('spoil', [
        lambda path: path.write_bytes(b''), lambda path: path.write_bytes(b'x' * 500),
        lambda path: path.write_bytes(path.read_bytes()[:-1])])
    def test_file_of_something_else(self, features, tmp_path, spoil):
        q, g = features
        path = tmp_path / 'g.npz'
        nearest_by_faiss(q, -g, 5, **HNSW, path=str(path), content='old')
        expected = nearest_by_faiss(q, g, 5, **HNSW)
        for _ in range(2):
            found = nearest_by_faiss(q, g, 5, **HNSW, path=str(path), content='new')
            np.testing.assert_array_equal(found.index, expected.index)
            spoil(tmp_path / 'g.euclidean.HNSW16.faiss')

    def test_file_that_cannot_be_written(self, features, tmp_path):
        (tmp_path / 'file').touch()
        found = nearest_by_faiss(*features, 5, **HNSW,
                                 path=str(tmp_path / 'file' / 'g.npz'))
        assert found.index.shape == (20, 5)
        assert os.listdir(tmp_path) == ['file']

    @pytest.mark.parametrize('kind', ['cut', 'other length', 'fewer', 'numbers'])
    def test_right_key_and_no_index_of_these_features(self, features, tmp_path, kind):
        """Whoever has the gallery can compute the key."""
        import faiss
        q, g = features
        arguments = dict(factory='IVF4,Flat', parameters='nprobe=4',
                         path=str(tmp_path / 'g.npz'))
        nearest_by_faiss(q, g, 3, **arguments)
        file = tmp_path / 'g.euclidean.IVF4_Flat.faiss'
        key = file.read_bytes()[-64:]
        if kind == 'numbers':
            index = faiss.index_factory(16, 'IVF4,Flat')
            index.train(g)
            index.add_with_ids(g, np.arange(len(g)) + 10**9)
        else:
            index = faiss.index_factory(8 if kind == 'other length' else 16, 'HNSW8')
            index.add(g[:1500 if kind == 'cut' else 9, :index.d].copy())
        faiss.write_index(index, str(file))
        content = file.read_bytes()
        file.write_bytes(content[:len(content) // (2 if kind == 'cut' else 1)] + key)
        found = nearest_by_faiss(q, g, 3, **arguments)
        if kind == 'numbers':  # nothing of this gallery
            assert (found.index == -1).all()
        else:
            assert found.index.tolist() == nearest(q, g, 3).index.tolist()
