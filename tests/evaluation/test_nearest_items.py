"""The nearest items against a sort of all distances, where float32 cannot tell them."""
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cosam_mm.evaluation.functional import nearest_items as module
from cosam_mm.evaluation.functional.distance import DISTANCES
from cosam_mm.evaluation.functional.nearest_items import nearest_items
from tests.reference.naive_retrieval import naive_distances


def naive_nearest(items, k, distance):
    """The rules from the docstrings, item by item: (lists of numbers, farthest)."""
    table = np.array(naive_distances(items, items, distance))
    norm = [math.fsum(float(x)**2 for x in item) for item in items]
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            share = value if distance == 'cosine' else (
                value**(2 if distance == 'euclidean' else 1))
            total = 1 if distance == 'cosine' else norm[i] + norm[j]
            row[j] = 0 if share < 1e-12 * total else value
    table = table.astype(items.dtype)
    order = [sorted(range(len(items)), key=lambda j: (j != i, row[j], j))
             for i, row in enumerate(table)]
    return [row[:k + 1] for row in order], table.max(axis=1)


def assert_exact(items, k, distance):
    index, farthest = naive_nearest(items, k, distance)
    found = nearest_items(items, k, distance)
    assert found.index.tolist() == index
    assert found.index.dtype == np.int32
    np.testing.assert_allclose(found.farthest, farthest, atol=1e-12,
                               rtol=1.3e-7 if items.dtype == np.float32 else 1e-12)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def redone(monkeypatch):
    """Numbers of the items whose distances were all taken in double precision."""
    numbers, redo = [], module._redo

    def noted(items, rows, *others):
        numbers.extend(rows.tolist())
        return redo(items, rows, *others)

    monkeypatch.setattr(module, '_redo', noted)
    return numbers


# -- the same as a sort --------------------------------------------------------


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('k', [0, 1, 5, 38, 39])
def test_equals_a_sort_of_everything(rng, k, distance, dtype):
    assert_exact(rng.normal(size=(40, 6)).astype(dtype), k, distance)


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('tile_bytes', [1, 300, 2**24])
def test_blocks(rng, monkeypatch, redone, distance, tile_bytes):
    """Items meet the others in parts: blocks as large as bounds are kept, and tiles."""
    items = rng.normal(size=(90, 20))
    monkeypatch.setattr(module, '_BLOCK_BYTES', 1)
    monkeypatch.setattr(module, '_TILE_BYTES', tile_bytes)
    assert_exact(items, 4, distance)
    assert len(redone) < 10


@st.composite
def whole_numbers(draw):
    """Items whose squared distances double precision has exactly.

    Parts of a unit beside offsets of 4,096: most distances tie, are 0, or differ by
    less than float32 tells beside the farthest.
    """
    count, length = draw(st.integers(1, 45)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items = rng.integers(-3, 4, (count, length)) * 2.**draw(st.sampled_from([0, -7]))
    items *= rng.random((count, 1)) < draw(st.sampled_from([.5, 1]))  # some are zero
    offset = draw(st.sampled_from([(0,), (4096,), (0, 4096), (-4096, 4096)]))
    items += rng.choice(offset, (count, 1))
    items = items.astype(draw(st.sampled_from([np.float32, np.float64])))
    return items, draw(st.integers(0, count - 1))


@settings(deadline=None)
@given(whole_numbers(), st.sampled_from(['euclidean', 'squared_euclidean']),
       st.sampled_from([1, 2**24]))
def test_exact_whatever_comes(drawn, distance, block_bytes):
    items, k = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, '_BLOCK_BYTES', block_bytes)
        assert_exact(items, k, distance)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.booleans())
@example(0, 3, True)
def test_cosine_whatever_comes(seed, k, with_zeros):
    """Directions of whole numbers: cosines tie but for the rounding of a root."""
    rng = np.random.default_rng(seed)
    items = rng.integers(0 if with_zeros else 1, 4, (40, 3)).astype(np.float32)
    items *= 2.**rng.integers(-20, 20, (40, 1))
    table = np.array(naive_distances(items, items, 'cosine'))
    found = nearest_items(items, k, 'cosine')
    np.testing.assert_allclose(found.farthest, table.max(axis=1), rtol=1e-6)
    assert found.index[:, 0].tolist() == list(range(40))
    np.fill_diagonal(table, -1)
    np.testing.assert_allclose(np.take_along_axis(table, found.index, axis=1),
                               np.sort(table, axis=1)[:, :k + 1], atol=1e-12)


# -- where single precision does not do ------------------------------------------


def test_ordinary_features_are_settled_at_once(rng, redone):
    """Long rectified features around centres, as networks give them."""
    centres = rng.normal(size=(60, 512))
    items = np.maximum(np.repeat(centres, 8, 0) + rng.normal(size=(480, 512)), 0)
    nearest_items(items.astype(np.float32), 20)
    assert redone == []


@pytest.mark.parametrize('distance', ['euclidean', 'squared_euclidean'])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_differences_below_single_precision(rng, redone, distance, dtype):
    """Two tight groups far apart: single precision sees two points."""
    items = 2.**-16 * rng.integers(1, 1000, (60, 4)).astype(dtype)
    items[::2, 0] += 100
    items[1::2, 1] += 100
    assert_exact(items, 3, distance)
    assert sorted(redone) == list(range(60))
    assert_exact(items[::2], 3, distance)  # one group: the mean is taken away
    assert len(redone) < 90


def test_only_what_is_not_settled_is_done_again(rng, redone):
    items = rng.normal(size=(300, 32)).astype(np.float32)
    items[200:230] = items[200] + 1e-4 * rng.normal(size=(30, 32))
    assert_exact(items, 4, 'squared_euclidean')
    assert set(range(200, 230)) <= set(redone)
    assert len(redone) < 45


def test_the_farthest_below_single_precision(rng, redone):
    """Many items about equally far away; one of them is the farthest of all others."""
    items = np.zeros((60, 300))
    items[20:, 0] = 1 + 1e-9 * rng.random(40)
    items[51, 0] = 1 + 2e-9
    items[:20, 1:3] = .1 * rng.normal(size=(20, 2))
    assert_exact(items, 3, 'euclidean')
    assert set(redone) >= set(range(20))


@pytest.mark.parametrize('distance', DISTANCES)
def test_more_duplicates_than_are_kept(redone, distance):
    items = np.repeat([[1., 0], [0, 1]], 50, axis=0)
    found = nearest_items(items, 3, distance)
    assert found.index[:50].tolist() == [
        [i, *[j for j in range(4) if j != i][:3]] for i in range(50)]
    assert len(redone) == 100


def test_a_common_offset_does_not_matter(rng, redone):
    items = rng.normal(size=(200, 64))
    plain = nearest_items(items, 5, 'squared_euclidean')
    moved = nearest_items(items + 1e3, 5, 'squared_euclidean')
    np.testing.assert_array_equal(moved.index, plain.index)
    assert redone == []


@pytest.mark.parametrize('scale', [1e-40, 1e-25, 1e12, 1e18])
def test_scale(rng, redone, scale):
    items = rng.normal(size=(60, 16)).astype(np.float32)
    found = nearest_items((items * scale).astype(np.float32), 3)
    index, farthest = naive_nearest((items * scale).astype(np.float32), 3, 'euclidean')
    assert found.index.tolist() == index
    np.testing.assert_allclose(found.farthest, farthest, rtol=1e-6)
    assert redone == []


def test_differences_that_overflow_single_precision(redone):
    items = np.full((30, 1), -3e38, np.float32)
    items[0] = 3e38
    items[1:10] = 0
    with np.errstate(over='ignore'):  # 6e38 is infinite in float32
        index = nearest_items(items, 2).index
    assert index[[0, 1, 29]].tolist() == [[0, 1, 2], [1, 2, 3], [29, 10, 11]]
    assert len(redone) == 30


def test_a_zero_vector_under_the_cosine():
    """At right angles to all: it is the farthest where no angle is obtuse."""
    items = np.random.default_rng(1).random((50, 4))
    items[7] = 0
    found = nearest_items(items, 3, 'cosine')
    assert (found.farthest == 1).all()
    assert found.index[7].tolist() == [7, 0, 1, 2]
    assert 7 not in np.delete(found.index, 7, axis=0)


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('kind', ['rectified', 'signs', 'growing', 'far apart'])
def test_bounds_hold(rng, distance, kind):
    """Closeness is never below minus half the squared distance, nor far above."""
    items = np.abs(rng.normal(size=(24, 3000)))
    if kind == 'signs':
        items = np.sign(rng.normal(size=(24, 3000))) * (1 + 2.**-23)
    if kind == 'growing':
        items = np.sort(items, axis=1)**6
    if kind == 'far apart':
        items *= 10.**np.arange(-12, 12)[:, None]
    items = items.astype(np.float32)
    checked = module.check_items(items, distance)
    points = module._Points(checked, distance)
    (_, _, block), = module._closeness(points, 24)
    if distance == 'cosine':
        squared = 2 * np.array(naive_distances(items, items, 'cosine'))
        norm = np.ones(24)
    else:
        items = items.astype(float) * float(points._scale[0])
        squared = np.array(naive_distances(items, items, 'squared_euclidean'))
        norm = points.squared_norm
    gap = block.double().numpy() + squared / 2
    assert gap.min() >= 0
    limit = points.error() * (norm[:, None] + norm) * (1 + 1e-3) + module._UNDERFLOW
    assert (gap <= limit).all()


# -- what comes in, and what it costs ----------------------------------------------


def test_torch_and_read_only(rng):
    items = rng.normal(size=(30, 3)).astype(np.float32)
    expected = nearest_items(items, 2)
    items.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = nearest_items(items, 2)
        assert (found.index == expected.index).all()
        found = nearest_items(torch.from_numpy(items.copy()).bfloat16(), 2)
    assert found.farthest == pytest.approx(expected.farthest, rel=.02)


def test_torch_may_round_its_products(rng):
    items = rng.normal(size=(200, 64)).astype(np.float32)
    expected = nearest_items(items, 5)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision('medium')
        with torch.autocast('cpu', torch.bfloat16):
            found = nearest_items(items, 5)
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.farthest, expected.farthest)


def test_features_are_left_alone(rng):
    items = rng.normal(size=(30, 3)).astype(np.float32)
    before = items.copy()
    nearest_items(items, 2)
    np.testing.assert_array_equal(items, before)


@pytest.mark.parametrize('block_bytes', [1, 2**24])
def test_every_item_is_reported(rng, monkeypatch, block_bytes):
    monkeypatch.setattr(module, '_BLOCK_BYTES', block_bytes)
    steps = []
    nearest_items(rng.normal(size=(70, 3)), 2, report=steps.append)
    assert sum(steps) == 70


@pytest.mark.parametrize(('items', 'k', 'distance', 'message'), [
    (np.ones((3, 2)), 3, 'cosine', r'k must lie in \[0, 3\) for 3 items, got 3'),
    (np.ones((3, 2)), -1, 'cosine', r'k must lie in \[0, 3\) for 3 items, got -1'),
    (np.ones((0, 2)), 0, 'cosine', r'k must lie in \[0, 0\) for 0 items, got 0'),
    (np.ones((3, 2)), 1, 'l1', "distance must be one of .* got 'l1'"),
    (np.array([[0.], [np.nan]]), 1, 'cosine', r'Item features .* row\(s\) 1 of 2'),
    (np.full((2, 1), 1e25, np.float32), 1, 'squared_euclidean', 'float32 cannot hold'),
])
def test_mistakes(items, k, distance, message):
    with pytest.raises(ValueError, match=message):
        nearest_items(items, k, distance)
