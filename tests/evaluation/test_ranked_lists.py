"""Ranked lists against sorted lists of Python, and against the figures they explain."""
import numpy as np
import pytest

from cosam_mm.evaluation.functional import ranked_lists as module
from cosam_mm.evaluation.functional.distance import distance_blocks
from cosam_mm.evaluation.functional.ranked_lists import (
    IGNORED,
    RIGHT,
    WRONG,
    extreme_queries,
    ranked_lists,
    review_blocks,
)
from cosam_mm.evaluation.functional.retrieval import QueryRanks, rank_distances
from tests.evaluation.test_retrieval import random_ids
from tests.reference.naive_retrieval import naive_query


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
    lists = ranked_lists(distances, *ids, k)
    assert lists.index.shape == (7, min(k, 30))
    for q in range(7):
        expected = naive_list(distances[q], ids[0][q], ids[2][q], ids[1], ids[3])[:k]
        rank, ranks = 0, []
        for _, state, _ in expected:
            rank += state != IGNORED
            ranks.append(0 if state == IGNORED else rank)
        assert list(zip(lists.distance[q], lists.state[q], lists.index[q])) == expected
        assert lists.rank[q].tolist() == ranks


def test_whole_list_explains_the_figures():
    """AP and first rank follow from the ranks that a list shows, ties included."""
    rng = np.random.default_rng(3)
    ids = random_ids(rng, 12, 40)
    distances = rng.integers(6, size=(12, 40)).astype(float)
    lists, ranks = ranked_lists(distances, *ids, 40), rank_distances(distances, *ids)
    for q in range(12):
        right = lists.rank[q][lists.state[q] == RIGHT]
        naive = naive_query(distances[q], ids[0][q], ids[2][q], ids[1], ids[3])
        if naive is None:
            assert not len(right)
            assert not ranks.valid[q]
            continue
        precision = np.mean(np.arange(1, len(right) + 1) / right)
        assert precision == pytest.approx(ranks.average_precision[q])
        assert precision == pytest.approx(naive['ap'])
        assert right[0] == ranks.first_rank[q] == naive['first_rank']


def test_the_query_in_its_own_gallery_has_no_rank():
    lists = ranked_lists([[0., 1.]], [7], [7, 8], [1], [1, 1], 2)
    assert lists.state.tolist() == [[IGNORED, WRONG]]
    assert lists.rank.tolist() == [[0, 1]]


@pytest.mark.parametrize('block_bytes', [1, 400, 2**20])
def test_review_in_blocks(block_bytes):
    rng = np.random.default_rng(1)
    ids = random_ids(rng, 9, 25)
    q, g = rng.normal(size=(9, 3)), rng.normal(size=(25, 3))
    whole = np.concatenate([block for _, block in distance_blocks(q, g)])
    review = review_blocks(distance_blocks(q, g, 'euclidean', block_bytes), *ids, 5)
    expected = *ranked_lists(whole, *ids, 5), *rank_distances(whole, *ids)
    for found, wanted in zip((*review.lists, *review.ranks), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
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


def test_refusals():
    with pytest.raises(ValueError, match='k must be an integer of at least 1, got 0'):
        ranked_lists([[1.]], [1], [1], [1], [2], 0)
    with pytest.raises(ValueError, match=r'shape \(1, 1\).*\(1,\), \(2,\), .* not fit'):
        ranked_lists([[1.]], [1], [1, 2], [1], [2, 2])
    with pytest.raises(ValueError, match='k must be an integer of at least 1, got 1.5'):
        review_blocks([], [1], [1], [1], [2], 1.5)
    with pytest.raises(ValueError, match=r'must not be negative, got -1\.0'):
        review_blocks([(slice(0, 1), [[-1.]])], [1], [1], [1], [2])
    with pytest.raises(ValueError, match='hold NaN or infinity'):
        review_blocks([(slice(0, 1), [[np.nan]])], [1], [1], [1], [2])


def test_states_are_listed_in_their_order():
    assert (module.WRONG, module.RIGHT, module.IGNORED) == (0, 1, 2)
