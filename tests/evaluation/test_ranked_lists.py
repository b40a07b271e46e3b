"""Ranked lists and distances of pairs, against sorted lists and all distances."""
import numpy as np
import pytest

from cosam_mm.evaluation.functional.distance import distance_blocks
from cosam_mm.evaluation.functional.ranked_lists import (
    IGNORED,
    RIGHT,
    WRONG,
    PairHistogram,
    coarser,
    extreme_queries,
    review_ranking,
    separation,
)
from cosam_mm.evaluation.functional.ranking import QueryRanks, rank_distances
from tests.evaluation.test_ranking import random_ids


def naive_list(row, pid, camid, g_pids, g_camids):
    """(distance, state, number), as they are listed."""
    def state(number):
        if g_pids[number] != pid:
            return WRONG
        return IGNORED if g_camids[number] == camid else RIGHT
    return sorted((float(value), state(number), number)
                  for number, value in enumerate(row))


@pytest.mark.parametrize('k', [1, 4, 30, 99])
@pytest.mark.parametrize('levels', [1, 3, None])
def test_lists_against_sorted_ones(k, levels):
    """levels: how many different distances there are; 1 is one large tie."""
    rng = np.random.default_rng(k)
    ids = random_ids(rng, 7, 30)
    distances = rng.random((7, 30)) if levels is None else rng.integers(
        levels, size=(7, 30)).astype(np.float32)
    lists = review_ranking(distances, *ids, k).lists
    assert lists.index.shape == (7, min(k, 30))
    for q in range(7):
        expected = naive_list(distances[q], ids[0][q], ids[2][q], ids[1], ids[3])[:k]
        rank, ranks = 0, []
        for _, state, _ in expected:
            rank += state != IGNORED
            ranks.append(0 if state == IGNORED else rank)
        assert list(zip(lists.distance[q], lists.state[q], lists.index[q])) == expected
        assert lists.rank[q].tolist() == ranks


@pytest.mark.parametrize('block_bytes', [1, 400, 2**20])
def test_review_in_blocks(block_bytes):
    rng = np.random.default_rng(1)
    ids = random_ids(rng, 9, 25)
    q, g = rng.normal(size=(9, 3)), rng.normal(size=(25, 3))
    whole = np.concatenate([block for _, block in distance_blocks(q, g)])
    review = review_ranking(distance_blocks(q, g, 'euclidean', block_bytes), *ids, 5)
    expected = *review_ranking(whole, *ids, 5).lists, *rank_distances(whole, *ids)
    for found, wanted in zip((*review.lists, *review.ranks), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    # A second column that never agrees changes nothing.
    two = [np.stack([camids, other + np.arange(len(camids))], axis=1)
           for camids, other in ((ids[2], 0), (ids[3], 100))]
    for found, wanted in zip(review_ranking(whole, *ids[:2], *two, 5).lists, expected):
        np.testing.assert_array_equal(found, wanted)
    same_pid = ids[0][:, None] == ids[1]
    same_camera = ids[2][:, None] == ids[3]
    assert review.pairs.same.sum() == (same_pid & ~same_camera).sum()
    assert review.pairs.different.sum() == (~same_pid).sum()


def ranks_of(precisions, num_true):
    precisions, num_true = np.array(precisions), np.array(num_true)
    return QueryRanks(num_true, num_true, num_true, precisions)


def test_best_and_worst():
    ranks = ranks_of([.5, np.nan, 1, .2, 1, .2, .7], [1, 0, 1, 3, 2, 1, 1])
    best, worst = extreme_queries(ranks, 2)
    assert best.tolist() == [4, 2]  # of equals, the one with more to find
    assert worst.tolist() == [3, 5]


@pytest.mark.parametrize(('precisions', 'best', 'worst'), [
    ([np.nan], [], []), ([.3], [0], []), ([.3, .2, .9], [2, 0], [1]),
    ([1, 1, 1, 1], [0, 1], [2, 3]), ([.1, .2, .3, .4, .5], [4, 3, 2], [0, 1])])
def test_no_query_is_both(precisions, best, worst):
    found = extreme_queries(ranks_of(precisions, np.isfinite(precisions) * 1), 3)
    assert [numbers.tolist() for numbers in found] == [best, worst]


@pytest.mark.parametrize(('distance', 'g_pids', 'k', 'word'), [
    (1, [1], 0, 'k must'), (1, [1], 1.5, 'k must'), (1, [1, 2], 1, 'g_pids'),
    (-1, [1], 1, 'negative'), (np.nan, [1], 1, 'NaN')])
def test_what_cannot_be_reviewed(distance, g_pids, k, word):
    with pytest.raises(ValueError, match=word):
        review_ranking(np.array([[distance]]), [1], g_pids, [1], [2], k)


# -- distances of pairs --------------------------------------------------------


def pairs_of(parts):
    """Histogram of (distances (b, G), positive matches (b, G)) blocks."""
    # A query for each distance, so that any pattern of matches is one of persons.
    blocks, pids = [], []
    for distances, same in parts:
        rows = slice(len(pids), len(pids) + distances.size)
        blocks.append((rows, distances.reshape(-1, 1)))
        pids.extend(same.ravel().astype(int))
    camids = [1] * len(pids)
    return review_ranking(iter(blocks), pids, [1], camids, [2], 1).pairs


@pytest.mark.parametrize('scales', [(1, 1, 1), (1e-6, 1, 1e4), (5, .1, 7), (0, 0, 3)])
def test_no_pair_is_lost_when_bins_grow(scales):
    rng = np.random.default_rng(0)
    parts = [(scale * rng.random((6, 20)), rng.random((6, 20)) < .3)
             for scale in scales]
    found = pairs_of(parts)
    distances, same = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    for counts, mask in ((found.same, same), (found.different, ~same)):
        expected, _ = np.histogram(distances[mask], found.edges)
        # Rounding may move what lies on an edge.
        assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 1
        assert counts.sum() == mask.sum()
    assert found.edges[-1] >= distances.max() > found.edges[-1] * .49


def test_pairs_at_distance_zero_and_ignored_ones():
    found = pairs_of([(np.zeros((2, 3)), np.eye(2, 3) > 0)])
    assert [counts[0] for counts in found[1:]] == [2, 4]
    found = review_ranking([[1., 1e9]], [1], [1, 1], [1], [2, 1]).pairs
    assert (found.same.sum(), found.different.sum(), found.edges[-1]) == (1, 0, 1)


@pytest.mark.parametrize('num_bins', [1, 7, 60, 1000])
def test_coarser_keeps_all(num_bins):
    rng = np.random.default_rng(2)
    fine = pairs_of([(3 + rng.random((9, 50)), rng.random((9, 50)) < .5)])
    coarse = coarser(fine, num_bins)
    assert len(coarse.same) <= num_bins
    assert len(coarse.edges) == len(coarse.same) + 1
    assert (coarse.same.sum(), coarse.different.sum()) == (
        fine.same.sum(), fine.different.sum())
    assert coarse.edges[0] > 2.9
    widths = np.diff(coarse.edges)
    np.testing.assert_allclose(widths, widths[0])
    inner = np.flatnonzero(np.isin(fine.edges, coarse.edges[1:-1]))
    np.testing.assert_array_equal(
        np.cumsum(fine.same)[inner - 1], np.cumsum(coarse.same)[:-1])


def test_separation_against_all_pairs():
    rng = np.random.default_rng(4)
    same, different = rng.normal(4, 1, 300), rng.normal(7, 1, 900)
    distances = np.concatenate([same, different])[None].clip(0)
    found = separation(pairs_of([(distances, np.arange(1200)[None] < 300)]))
    overlaps = [(same > t).mean() + (different <= t).mean()
                for t in np.sort(distances[0])]
    assert found.overlap == pytest.approx(min(overlaps), abs=.01)
    assert found.same_beyond == pytest.approx((same > found.threshold).mean(), abs=.01)
    assert found.different_within == pytest.approx(
        (different < found.threshold).mean(), abs=.01)
    nearer = (same[:, None] < different).mean()
    assert found.nearer == pytest.approx(nearer, abs=.002)


@pytest.mark.parametrize(('same', 'different', 'expected'), [
    # Between heaps that do not touch, the middle of the gap tells best.
    ([2, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 5], dict(
        threshold=3, same_beyond=0, different_within=0, overlap=0, nearer=1)),
    ([3, 4, 5], [3, 4, 5], dict(overlap=1, nearer=.5)),
    ([0, 1], [1, 0], dict(overlap=1, nearer=0))])
def test_separation_of_few_bins(same, different, expected):
    found = separation(PairHistogram(
        np.arange(len(same) + 1.), np.array(same), np.array(different)))
    assert {key: getattr(found, key) for key in expected} == pytest.approx(expected)


def test_histogram_without_pairs():
    nothing = PairHistogram(np.arange(5.), *np.zeros((2, 4), int))
    assert coarser(nothing, 3).same.tolist() == [0]
    with pytest.raises(ValueError, match='both'):
        separation(nothing._replace(different=np.ones(4, int)))
