"""The nearest entries against a sort of every distance, where float32 cannot tell."""
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cosam_mm.evaluation.functional import neighbours
from cosam_mm.evaluation.functional.distance import DISTANCES
from cosam_mm.evaluation.functional.neighbours import nearest, nearest_among
from tests.reference.naive_retrieval import naive_distances


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def assert_exact(q, g, k, distance='euclidean'):
    """Numbers, distances and the farthest are those of all distances, sorted.

    A squared distance below 1e-12 of |q|^2 + |g|^2 counts as 0.
    """
    found = nearest(q, g, k, distance)
    dtype = np.result_type(q, g)
    table = np.array(naive_distances(q, g, distance))
    norms = [(x.astype(float)**2).sum(axis=1) for x in (q, g)]
    total = 1 if distance == 'cosine' else norms[0][:, None] + norms[1]
    table[(table**2 if distance == 'euclidean' else table) < 1e-12 * total] = 0
    table = table.astype(dtype)
    index = np.argsort(table, axis=1, kind='stable')[:, :k]
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, np.take_along_axis(table, index, axis=1),
                               rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.farthest, table.max(axis=1), rtol=1e-6, atol=1e-44)
    assert found.index.dtype == np.int64
    assert found.distance.dtype == dtype


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('k', [1, 3, 19, 40, 99])
def test_equals_a_sort_of_everything(rng, k, distance, dtype):
    q, g = (rng.normal(size=(n, 6)).astype(dtype) for n in (4, 40))
    assert_exact(q, g, k, distance)
    assert_exact(g, g, k, distance)


@st.composite
def whole_numbers(draw):
    """Items whose squared distances double precision has exactly.

    Parts of a unit beside offsets of 4,096: most distances tie, are 0, or differ by
    less than float32 tells beside the farthest.
    """
    count, length = draw(st.integers(2, 45)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items = rng.integers(-3, 4, (count, length)) * 2.**draw(st.sampled_from([0, -7]))
    items *= rng.random((count, 1)) < draw(st.sampled_from([.5, 1]))  # some are zero
    offset = draw(st.sampled_from([(0,), (4096,), (0, 4096), (-4096, 4096)]))
    items += rng.choice(offset, (count, 1))
    items = items.astype(draw(st.sampled_from([np.float32, np.float64])))
    return items, draw(st.integers(1, count - 1))


@settings(deadline=None, max_examples=60)
@given(whole_numbers(), st.sampled_from(['euclidean', 'squared_euclidean']),
       st.sampled_from([8, 11, 2048]))
def test_ties_and_differences_below_single_precision(numbers, distance, tile):
    items, k = numbers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, '_TILE', tile)
        assert_exact(items, items, k, distance)
        assert_exact(items[:k], items, k, distance)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.booleans())
def test_cosines_of_whole_numbers(seed, k, with_zeros):
    """Cosines tie but for the rounding of a root."""
    rng = np.random.default_rng(seed)
    items = rng.integers(0 if with_zeros else 1, 4, (40, 3)).astype(np.float32)
    items *= 2.**rng.integers(-20, 20, (40, 1))
    table = np.array(naive_distances(items, items, 'cosine'))
    found = nearest(items, items, k, 'cosine')
    np.testing.assert_allclose(found.farthest, table.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(table, found.index, axis=1),
                               np.sort(table, axis=1)[:, :k], atol=1e-7)


@pytest.mark.parametrize('distance', DISTANCES)
def test_more_duplicates_than_are_proposed(distance):
    items = np.repeat([[1., 0], [0, 1]], 50, axis=0)
    found = nearest(items, items, 3, distance)
    assert found.index[:50].tolist() == [[0, 1, 2]] * 50
    assert found.index[50:].tolist() == [[50, 51, 52]] * 50
    assert (found.distance == 0).all()


@pytest.mark.parametrize('scale', [1e-40, 1e-25, 1e12, 1e18])
def test_scale(rng, scale):
    items = (rng.normal(size=(60, 16)) * scale).astype(np.float32)
    assert_exact(items[:20], items, 3)


def test_torch_and_read_only_memory(rng):
    items = rng.normal(size=(30, 3)).astype(np.float32)
    before, expected = items.copy(), nearest(items, items, 2)
    items.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = nearest(items, torch.from_numpy(before), 2)
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(items, before)


def test_autocast_rounds_no_product(rng):
    items = rng.normal(size=(200, 64)).astype(np.float32)
    expected = nearest(items, items, 5)
    with torch.autocast('cpu', torch.bfloat16):
        found = nearest(items, items, 5)
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.farthest, expected.farthest)


@pytest.mark.parametrize('tile', [16, 2048])
def test_every_query_is_reported(rng, monkeypatch, tile):
    monkeypatch.setattr(neighbours, '_TILE', tile)
    steps = []
    nearest(rng.normal(size=(70, 3)), rng.normal(size=(9, 3)), 2, report=steps.append)
    assert sum(steps) == 70


def test_no_query():
    found = nearest(np.zeros((0, 3)), np.zeros((5, 3)), 2)
    assert found.index.shape == found.distance.shape == (0, 2)
    found = nearest_among(np.zeros((0, 3)), np.zeros((5, 3)), np.zeros((0, 4), int), 2)
    assert found.index.shape == found.distance.shape == (0, 2)


@pytest.mark.parametrize('distance', DISTANCES)
def test_nearest_of_candidates(rng, distance):
    q, g = rng.normal(size=(4, 5)), rng.normal(size=(20, 5))
    candidates = np.stack([rng.permutation(20) for _ in q])
    found, expected = (nearest_among(q, g, candidates, 6, distance),
                       nearest(q, g, 6, distance))
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-12)


def test_missing_candidates():
    q, g = np.zeros((3, 1)), np.array([[5.], [-2.], [2.], [1.], [7.]])
    candidates = [[4, 2, 1], [-1, 0, -1], [-1, -1, -1]]
    found = nearest_among(q, g, candidates, 2)
    assert found.index.tolist() == [[1, 2], [0, -1], [-1, -1]]
    assert found.distance.tolist() == [[2, 2], [5, np.inf], [np.inf, np.inf]]
    assert nearest_among(q, g, candidates, 9).index.shape == (3, 3)


@pytest.mark.parametrize(('q', 'g', 'options', 'word'), [
    *(([[0.]], [[0.]], dict(k=k), 'at least 1') for k in (0, -1, 1.5, None)),
    (np.zeros((1, 3)), np.zeros((0, 3)), {}, 'empty'),
    (np.zeros((1, 3)), np.zeros((2, 4)), {}, 'agree'),
    (np.zeros((1, 3)), np.zeros((2, 3)), dict(distance='manhattan'), 'manhattan'),
    ([[0.]], [[0.], [np.nan]], {}, 'NaN')])
def test_mistakes(q, g, options, word):
    for candidates in ([0, 1], [[0], [1]]):  # of another shape, or beyond the gallery
        with pytest.raises(ValueError, match='candidates'):
            nearest_among(np.zeros((1, 3)), np.zeros((2, 3)), candidates, 1)
    with pytest.raises(IndexError):
        nearest_among(np.zeros((1, 3)), np.zeros((2, 3)), [[1, 2]], 1)
    options = dict(dict(k=1), **options)
    with pytest.raises(ValueError, match=word):
        nearest(q, g, **options)
    if word != 'empty':
        with pytest.raises(ValueError, match=word):
            nearest_among(q, g, [[0]], **options)
