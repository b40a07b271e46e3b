"""CMC, AP and INP against walks along ranked lists, ties and edge cases included."""
import numpy as np
import pytest
import torch

from cosam_mm.evaluation.functional.distance import distance_blocks
from cosam_mm.evaluation.functional.ranking import rank_distances, retrieval_metrics
from tests.reference.naive_retrieval import naive_distances, naive_retrieval


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_ids(rng, num_query, num_gallery, num_pids=5, num_cameras=3):
    sizes = (num_query, num_gallery)
    pids = [rng.integers(num_pids, size=size) for size in sizes]
    camids = [rng.integers(num_cameras, size=size) for size in sizes]
    return (*pids, *camids)


def assert_equals_naive(ranks, distances, ids, max_rank=20):
    queries, cmc, mean_ap, mean_inp = naive_retrieval(
        np.asarray(distances).tolist(), *ids, max_rank)
    for i, query in enumerate(queries):
        assert ranks.valid[i] == (query is not None)
        if query is None:
            assert not any(ranks[column][i] for column in range(3))
            assert np.isnan(ranks.average_precision[i])
            assert np.isnan(ranks.inverse_negative_penalty[i])
            continue
        assert ranks.num_matches[i] == query['num_true']
        assert ranks.first_rank[i] == query['first_rank']
        assert ranks.last_rank[i] == query['last_rank']
        assert ranks.average_precision[i] == pytest.approx(query['ap'])
        assert ranks.inverse_negative_penalty[i] == pytest.approx(query['inp'])
    metrics = retrieval_metrics(ranks, max_rank)
    np.testing.assert_allclose(metrics.cmc, cmc)
    assert metrics.mean_ap == pytest.approx(mean_ap)
    assert metrics.mean_inp == pytest.approx(mean_inp)
    assert metrics.num_valid == sum(query is not None for query in queries)
    assert metrics.num_without_match == sum(query is None for query in queries)


class TestAgainstOracle:

    @pytest.mark.parametrize('seed', range(8))
    @pytest.mark.parametrize('levels', [1, 2, 5, None])
    def test_random_distances(self, seed, levels):
        """levels: how many different distances there are; 1 is one large tie."""
        rng = np.random.default_rng(seed)
        ids = random_ids(rng, 12, 30, num_pids=4 + seed)
        distances = (rng.normal(size=(12, 30)) if levels is None
                     else rng.integers(levels, size=(12, 30)).astype(float))
        assert_equals_naive(rank_distances(distances, *ids), distances, ids)

    @pytest.mark.parametrize('dtype', [np.float16, np.float32, np.int16])
    def test_types_and_negative_distances(self, rng, dtype):
        ids = random_ids(rng, 6, 20)
        distances = (10 * rng.random((6, 20)) - 4).astype(dtype)
        before = distances.copy()
        assert_equals_naive(rank_distances(distances, *ids), distances, ids)
        np.testing.assert_array_equal(distances, before)

    @pytest.mark.parametrize('distance', ['euclidean', 'squared_euclidean', 'cosine'])
    @pytest.mark.parametrize('block_bytes', [1, 300, 2**20])
    def test_features_in_blocks(self, rng, distance, block_bytes):
        # Few values of few coordinates: distances come in large exact ties.
        q, g = (rng.integers(1, 3, size=(n, 3)).astype(float) for n in (9, 25))
        ids = random_ids(rng, 9, 25)
        distances = naive_distances(q, g, 'squared_euclidean')
        if distance == 'cosine':
            distances = np.round(naive_distances(q, g, 'cosine'), 9)
            q, g = q.astype(np.float32), g.astype(np.float32)
        blocks = distance_blocks(torch.from_numpy(q), g, distance, block_bytes)
        ranks = rank_distances(blocks, *ids)
        assert_equals_naive(ranks, distances, ids)
        assert_equals_naive(rank_distances(distances, *ids), distances, ids)

    def test_real_mars_index(self, rng, real_data_dir):
        """The real persons and cameras of both protocols, against the oracle."""
        loadmat = pytest.importorskip('scipy.io').loadmat
        info = real_data_dir / 'mars' / 'info'
        if not info.is_dir():
            pytest.skip('the MARS index is not at hand')
        tracks = loadmat(info / 'tracks_test_info.mat')['track_test_info'].astype(int)
        query = loadmat(info / 'query_IDX.mat')['query_IDX'].ravel().astype(int) - 1
        kept = tracks[:, 2] >= 0
        for gallery, num_without in ((np.flatnonzero(kept), 0),
                                     (np.setdiff1d(np.flatnonzero(kept), query), 140)):
            pids, camids = tracks[:, 2], tracks[:, 3]
            ids = (pids[query], pids[gallery], camids[query], camids[gallery])
            distances = rng.random((len(query), len(gallery)), dtype=np.float32)
            metrics = retrieval_metrics(rank_distances(distances, *ids))
            assert metrics.num_without_match == num_without
            assert metrics.num_valid == 1980 - num_without
            some = np.arange(0, 1980, 200)
            part = (ids[0][some], ids[1], ids[2][some], ids[3])
            assert_equals_naive(rank_distances(distances[some], *part),
                                distances[some], part)


class TestDefinitions:

    def test_by_hand(self):
        # Ranked: true, wrong, true; the nearest of all is of the same camera.
        ranks = rank_distances([[0., .1, .2, .3]], [1], [1, 1, 2, 1], [1], [1, 2, 1, 3])
        assert ranks.num_matches.tolist() == [2]
        assert (ranks.first_rank[0], ranks.last_rank[0]) == (1, 3)
        assert ranks.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)
        assert ranks.inverse_negative_penalty[0] == pytest.approx(2 / 3)

    def test_selection(self, rng):
        ids = random_ids(rng, 12, 30)
        distances = rng.random((12, 30))
        ranks = rank_distances(distances, *ids)
        selection = np.zeros(12, bool)
        selection[[1, 4, 5]] = True
        part = (ids[0][selection], ids[1], ids[2][selection], ids[3])
        expected = retrieval_metrics(rank_distances(distances[selection], *part))
        found = retrieval_metrics(ranks, selection=selection)
        np.testing.assert_array_equal(found.cmc, expected.cmc)
        assert found[1:] == expected[1:]


class TestMistakes:

    @pytest.mark.parametrize(('ids', 'word'), [
        (([], [1], [], [1]), 'q_pids'), (([1], [], [1], []), 'g_pids'),
        (([1], [1], [1, 2], [1]), 'q_camids'), (([1], [1], [1], [1, 2]), 'g_camids'),
        (([1.5], [1], [1], [1]), 'float64'), (([1], [[1]], [1], [1]), '1, 1')])
    def test_ids(self, ids, word):
        with pytest.raises(ValueError, match=word):
            rank_distances(np.zeros((len(ids[0]), len(ids[1]))), *ids)

    @pytest.mark.parametrize(('distances', 'word'), [
        *((np.zeros(shape), 'queries') for shape in ((2, 2), (4, 2), (3, 1), (6,))),
        *((np.array([[0, 0], [0, value], [0, 0]]), 'query 1')
          for value in (np.nan, np.inf, -np.inf)),
        (np.ones((3, 2), bool), 'bool'),
        *((iter([(rows, np.zeros(shape))]), word) for rows, shape, word in (
            (slice(1, 2), (1, 2), 'queries 1'), (slice(0, 2), (2, 3), '2, 3'),
            (slice(0, 4), (4, 2), 'of 3'), (slice(0, 1), (1, 2), '1 queries')))])
    def test_distances(self, distances, word):
        with pytest.raises(ValueError, match=word):
            rank_distances(distances, [1] * 3, [1] * 2, [1] * 3, [2] * 2)

    @pytest.mark.parametrize(('camera', 'options', 'word'), [
        (2, dict(max_rank=0), 'max_rank'), (2, dict(max_rank=1.5), 'max_rank'),
        (2, dict(selection=[1]), 'selection'),
        (2, dict(selection=[True] * 2), 'selection'), (1, {}, 'another camera')])
    def test_options(self, camera, options, word):
        ranks = rank_distances([[.5]], [1], [1], [1], [camera])
        with pytest.raises(ValueError, match=word):
            retrieval_metrics(ranks, **options)
