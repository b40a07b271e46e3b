"""The nearest entries against a sort of every distance, ties included."""
import numpy as np
import pytest
import torch

from cosam_mm.evaluation.functional import neighbours
from cosam_mm.evaluation.functional.distance import DISTANCES
from cosam_mm.evaluation.functional.neighbours import nearest, nearest_among
from tests.reference.naive_retrieval import naive_distances


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def naive_nearest(q, g, k, distance):
    """Numbers and distances of the first k of all entries, sorted one by one."""
    rows = [sorted((value, number) for number, value in enumerate(row))[:k]
            for row in naive_distances(q, g, distance)]
    return ([[number for _, number in row] for row in rows],
            [[value for value, _ in row] for row in rows])


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('k', [1, 3, 19, 20, 99])
def test_equals_a_sort_of_everything(rng, k, distance):
    q, g = rng.normal(size=(4, 5)), rng.normal(size=(20, 5))
    found = nearest(q, g, k, distance)
    index, expected = naive_nearest(q, g, k, distance)
    assert found.index.dtype == np.int64
    assert found.index.tolist() == index
    np.testing.assert_allclose(found.distance, expected, rtol=1e-12)


@pytest.mark.parametrize('k', range(1, 13))
def test_ties_come_in_the_order_of_the_gallery(rng, k):
    q = rng.integers(-1, 2, (30, 2)).astype(np.float32)
    g = rng.integers(-1, 2, (12, 2)).astype(np.float32)
    assert nearest(q, g, k).index.tolist() == naive_nearest(q, g, k, 'euclidean')[0]


def test_all_entries_alike():
    found = nearest(np.ones((2, 3)), np.ones((1000, 3)), 4)
    assert found.index.tolist() == [[0, 1, 2, 3]] * 2
    assert (found.distance == 0).all()


def test_the_answer_does_not_depend_on_blocks(rng, monkeypatch):
    q, g = (rng.normal(size=(n, 8)).astype(np.float32) for n in (11, 37))
    whole = nearest(q, g, 5)
    monkeypatch.setattr(neighbours, '_BLOCK_BYTES', 1)
    rows = nearest(q, g, 5)
    np.testing.assert_array_equal(rows.index, whole.index)
    np.testing.assert_allclose(rows.distance, whole.distance, rtol=1e-6)


def test_a_row_is_its_own_nearest(rng):
    g = (rng.normal(size=(50, 2048)) + 30).astype(np.float32)
    found = nearest(torch.from_numpy(g), g, 1)
    assert found.index[:, 0].tolist() == list(range(50))
    assert (found.distance == 0).all()
    assert found.distance.dtype == np.float32


def test_no_query():
    found = nearest(np.zeros((0, 3)), np.zeros((5, 3)), 2)
    assert found.index.shape == found.distance.shape == (0, 2)
    found = nearest_among(np.zeros((0, 3)), np.zeros((5, 3)), np.zeros((0, 4), int), 2)
    assert found.index.shape == found.distance.shape == (0, 2)


@pytest.mark.parametrize('distance', DISTANCES)
def test_among_all_is_the_same_as_nearest(rng, distance):
    q, g = rng.normal(size=(4, 5)), rng.normal(size=(20, 5))
    candidates = np.stack([rng.permutation(20) for _ in q])
    found, expected = (nearest_among(q, g, candidates, 6, distance),
                       nearest(q, g, 6, distance))
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-12)


def test_among_some(rng):
    q, g = np.zeros((3, 1)), np.array([[5.], [-2.], [2.], [1.], [7.]])
    candidates = [[4, 2, 1], [-1, 0, -1], [-1, -1, -1]]
    index, distance = nearest_among(q, g, candidates, 2)
    assert index.tolist() == [[1, 2], [0, -1], [-1, -1]]
    assert distance.tolist() == [[2, 2], [5, np.inf], [np.inf, np.inf]]
    assert nearest_among(q, g, candidates, 9).index.shape == (3, 3)


@pytest.mark.parametrize('k', [0, -1, 1.5, None])
def test_wrong_k(k):
    for search in (lambda: nearest([[0.]], [[0.]], k),
                   lambda: nearest_among([[0.]], [[0.]], [[0]], k)):
        with pytest.raises(ValueError, match='k must be an integer of at least 1, got'):
            search()


def test_what_does_not_fit():
    with pytest.raises(ValueError, match='The gallery is empty'):
        nearest(np.zeros((1, 3)), np.zeros((0, 3)), 1)
    with pytest.raises(ValueError, match='the second numbers must agree'):
        nearest(np.zeros((1, 3)), np.zeros((2, 4)), 1)
    with pytest.raises(ValueError, match='distance must be one of'):
        nearest(np.zeros((1, 3)), np.zeros((2, 3)), 1, 'manhattan')
    for candidates in ([0, 1], [[0], [1]]):
        with pytest.raises(ValueError, match=r'1 queries need \(1, number of cand'):
            nearest_among(np.zeros((1, 3)), np.zeros((2, 3)), candidates, 1)
