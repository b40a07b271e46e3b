"""k-reciprocal re-ranking against the paper's equations, densely, in loops."""
import builtins
import importlib
import tracemalloc

import numpy as np
import pytest
import torch

from cosam_mm.evaluation.functional import neighbours, reranking
from cosam_mm.evaluation.functional.reranking import rerank_blocks
from projects.attention_study.measurement import peak_extra_bytes
from tests.reference.naive_retrieval import naive_rerank


def rerank_distance(*arguments, **options):
    """The whole matrix (Q, G)."""
    return np.concatenate([block for _, block in rerank_blocks(*arguments, **options)])


def clustered(seed, num_query, num_gallery, length=5, num_pids=6, spread=.4):
    """Features around one centre a person, and the persons."""
    rng = np.random.default_rng(seed)
    pids = rng.integers(num_pids, size=num_query + num_gallery)
    centres = rng.normal(size=(num_pids, length))
    features = centres[pids] + spread * rng.normal(size=(len(pids), length))
    return (features[:num_query], features[num_query:], pids[:num_query],
            pids[num_query:])


class TestAgainstOracle:

    @pytest.mark.parametrize(('k1', 'k2', 'lambda_value'), [
        (20, 6, .3), (5, 2, .3), (4, 1, 0.), (1, 1, .5), (2, 3, .3), (7, 12, .1),
        (6, 3, 1.)])
    @pytest.mark.parametrize('seed', [0, 1])
    def test_options(self, seed, k1, k2, lambda_value):
        q, g, *_ = clustered(seed, 8, 28)
        found = rerank_distance(q, g, k1, k2, lambda_value)
        expected = naive_rerank(q, g, k1, k2, lambda_value)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
    def test_distances_zero_vectors_and_one_point(self, distance):
        q, g, *_ = clustered(2, 6, 20)
        q[0] = g[3] = 0
        for case in ((q, g, 5, 3, .3, distance),
                     (np.ones((3, 2)), np.ones((9, 2)), 4, 2, .3)):
            np.testing.assert_allclose(rerank_distance(*case), naive_rerank(*case),
                                       rtol=0, atol=1e-12)

    @pytest.mark.parametrize('spread', [.05, 5.])
    def test_single_precision(self, spread):
        q, g, *_ = clustered(3, 10, 40, length=64, spread=spread)
        q, g = q.astype(np.float32), g.astype(np.float32)
        found = rerank_distance(torch.from_numpy(q), torch.from_numpy(g))
        assert found.dtype == np.float32
        np.testing.assert_allclose(
            found, naive_rerank(q, g, 20, 6, .3), rtol=0, atol=1e-5)

    @pytest.mark.parametrize(('num_query', 'num_gallery'), [(1, 1), (1, 4), (5, 1)])
    @pytest.mark.parametrize(('k1', 'k2'), [(20, 6), (1, 1), (3, 50)])
    def test_small_sets(self, num_query, num_gallery, k1, k2):
        """k1 and k2 beyond the number of items take all of them."""
        q, g, *_ = clustered(4, num_query, num_gallery)
        np.testing.assert_allclose(
            rerank_distance(q, g, k1, k2), naive_rerank(q, g, k1, k2, .3), atol=1e-12)

    @pytest.mark.parametrize('tile', [9, 2048])
    @pytest.mark.parametrize('k1', [3, 8])
    @pytest.mark.parametrize('seed', range(4))
    def test_ties_go_by_number(self, monkeypatch, seed, k1, tile):
        # Whole numbers: distances are exact, and most of them tie.
        monkeypatch.setattr(neighbours, '_TILE', tile)
        items = np.random.default_rng(seed).integers(3, size=(40, 3)).astype(float)
        np.testing.assert_allclose(
            rerank_distance(items[:7], items[7:], k1, 4),
            naive_rerank(items[:7], items[7:], k1, 4, .3), rtol=0, atol=1e-12)


def test_memory_stays_below_a_matrix_of_all_items(monkeypatch):
    """No (Q + G, Q + G) array of float32 is ever held, let alone several."""
    q, g, *_ = clustered(9, 200, 2800, length=8, num_pids=150)
    monkeypatch.setattr(neighbours, '_TILE', 256)

    def rerank():
        for _ in rerank_blocks(q.astype(np.float32), g.astype(np.float32)):
            pass

    tracemalloc.start()  # numpy's part
    try:
        torch_peak = peak_extra_bytes(rerank)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert torch_peak > 2**18
    assert peak + torch_peak < 3000**2 * 4


class TestMistakes:

    @pytest.mark.parametrize(('options', 'word'), [
        (dict(k1=0), 'k1'), (dict(k2=1.5), 'k2'), (dict(lambda_value=-.1), 'lambda'),
        (dict(lambda_value=2), 'lambda'), (dict(distance='l1'), 'l1'),
        (dict(q_features=np.ones((0, 2))), '0, 2'),
        (dict(g_features=np.ones((0, 2))), '0, 2'),
        (dict(g_features=np.ones((2, 3))), '2, 3'),
        (dict(g_features=np.full((2, 2), np.nan)), 'Gallery')])
    def test_arguments(self, options, word):
        features = dict(q_features=np.ones((1, 2)), g_features=np.ones((3, 2)))
        with pytest.raises(ValueError, match=word):
            rerank_blocks(**{**features, **options})

    def test_without_scipy(self, monkeypatch):
        real_import = builtins.__import__

        def refuse(name, *args, **kwargs):
            if name.startswith('scipy'):
                raise ImportError(name)
            return real_import(name, *args, **kwargs)

        monkeypatch.setattr(builtins, '__import__', refuse)
        importlib.reload(reranking)
        with pytest.raises(ImportError, match='scipy'):
            rerank_blocks(np.ones((1, 2)), np.ones((3, 2)))


def test_every_step_is_reported():
    q, g, *_ = clustered(10, 3, 9)
    steps = []
    blocks = list(rerank_blocks(q, g, 3, 2, report=steps.append))
    assert sum(steps) == 2 * len(q) + len(g)
    whole = np.concatenate([block for _, block in blocks])
    np.testing.assert_array_equal(whole, rerank_distance(q, g, 3, 2))
    assert 0 <= whole.min() <= whole.max() <= 1
