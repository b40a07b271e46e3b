"""The textbook forms give what the package gives, so that a ratio compares equals."""
import sys

import numpy as np
import pytest

from benchmarks.reid_baselines import (
    dense_rerank,
    loop_evaluation,
    loop_over_distances,
)
from benchmarks.suite import start_up
from benchmarks.suite.reid_evaluation import (
    cost_alone,
    make_features,
    matrix_then_loop,
    rank_features,
    rank_in_blocks,
)
from cosam_mm.evaluation.functional.ranking import retrieval_metrics
from cosam_mm.evaluation.functional.reranking import rerank_blocks


def rerank_distance(*arguments):
    """The whole matrix (Q, G)."""
    return np.concatenate([block for _, block in rerank_blocks(*arguments)])


def assert_same_metrics(found, data):
    cmc, mean_ap = found
    ours = retrieval_metrics(rank_features(*data), len(cmc))
    np.testing.assert_allclose(cmc, ours.cmc, rtol=0, atol=1e-12)
    assert mean_ap == pytest.approx(ours.mean_ap, abs=1e-6)
    assert 0.2 < mean_ap < 1  # neither hopeless nor without a mistake


@pytest.mark.parametrize('seed', [0, 1])
def test_loops(seed):
    data = make_features((60, 400, 512), seed)
    assert_same_metrics(loop_evaluation(*data), data)
    assert_same_metrics(matrix_then_loop(*data), data)


def test_a_query_without_positive_match_is_in_no_mean():
    """By hand: positive matches at ranks 2 and 3; the own camera's is left out."""
    rows = np.array([[.1, .5, .2, .6], [.1, .2, .3, .4]])
    cmc, mean_ap = loop_over_distances(
        rows, np.array([7, 3]), np.array([7, 7, 8, 7]), np.array([1, 1]),
        np.array([1, 2, 1, 2]), max_rank=3)
    assert cmc.tolist() == [0, 1, 1]
    assert mean_ap == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(('k1', 'k2', 'lambda_value'), [(20, 6, .3), (5, 1, 0.)])
def test_dense_rerank(k1, k2, lambda_value):
    q, g, *_ = make_features((40, 300, 32), 0)
    np.testing.assert_allclose(
        dense_rerank(q.astype(float), g.astype(float), k1, k2, lambda_value),
        rerank_distance(q.astype(float), g.astype(float), k1, k2, lambda_value),
        rtol=0, atol=1e-12)
    np.testing.assert_allclose(dense_rerank(q, g, k1, k2, lambda_value),
                               rerank_distance(q, g, k1, k2, lambda_value),
                               rtol=0, atol=1e-5)


def test_features():
    q, g, q_pids, g_pids, q_camids, g_camids = make_features((50, 5000, 32), 0)
    assert (q.shape, g.shape, q.dtype) == ((50, 32), (5000, 32), np.float32)
    assert set(q_pids) == set(range(50))
    assert set(g_pids) == {-1, *range(50)}
    assert 0.2 < (g_pids == -1).mean() < 0.35
    assert set(q_camids) == set(g_camids) == set(range(6))
    again = make_features((50, 5000, 32), 0)
    assert all((a == b).all() for a, b in zip((q, g, q_pids), again))
    # A person's gallery lies around the query, in every part of the gallery.
    for part in (slice(2500), slice(2500, None)):
        distances, pids = np.linalg.norm(g[part] - q[0], axis=1), g_pids[part]
        assert distances[pids == 0].mean() < distances[pids == -1].mean()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_cost_alone_counts_memory():
    seconds, extra = cost_alone(rank_in_blocks, (256, 60_000, 4), 0)
    assert seconds > 0
    # A block of float32 distances fills 2**26 bytes, or all 256 rows of it.
    assert 2**25 < extra < 2**30


def test_a_failing_import_is_reported():
    with pytest.raises(RuntimeError, match='no_such'):
        start_up.import_seconds('import no_such')
