"""Distances against sums over coordinates, and where single precision would fail."""
import numpy as np
import pytest
import torch

from cosam_mm.evaluation.functional.distance import (
    DISTANCES,
    distance_blocks,
    pairwise_distances,
)
from tests.reference.naive_retrieval import naive_distances


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize('distance', DISTANCES)
class TestAllDistances:

    @pytest.mark.parametrize(('dtype', 'tolerance'), [
        (np.float64, 1e-13), (np.float32, 1e-6), (np.float16, 1e-6)])
    def test_equals_sum_over_coordinates(self, rng, distance, dtype, tolerance):
        q, g = (rng.normal(size=(n, 17)).astype(dtype) for n in (5, 9))
        found = pairwise_distances(q, g, distance)
        assert found.dtype == (np.float64 if dtype == np.float64 else np.float32)
        expected = naive_distances(q, g, distance)
        np.testing.assert_allclose(found, expected, rtol=tolerance)
        tensors = torch.from_numpy(q).requires_grad_(), torch.from_numpy(g)
        np.testing.assert_array_equal(pairwise_distances(*tensors, distance), found)

    def test_small_differences_beside_large_norms(self, rng, distance):
        # |q| is about 1800, |q - g| about 0.05: float32 products would give noise.
        g = (rng.normal(size=(6, 1024)) + 40).astype(np.float32)
        q = (g + .001 * rng.normal(size=g.shape)).astype(np.float32)
        expected = naive_distances(q, g, distance)
        for dtype in (np.float32, np.float64):
            np.testing.assert_allclose(
                pairwise_distances(q.astype(dtype), g.astype(dtype), distance),
                expected, rtol=2e-3)

    def test_blocks_are_the_rows(self, rng, distance):
        q, g = rng.normal(size=(11, 3)), rng.normal(size=(7, 3))
        whole = pairwise_distances(q, g, distance)
        for size, max_block_bytes in ((1, 1), (3, 3 * 7 * 8), (11, 2**20)):
            blocks = list(distance_blocks(q, g, distance, max_block_bytes))
            assert [rows.start for rows, _ in blocks] == list(range(0, 11, size))
            assert blocks[-1][0].stop == 11
            np.testing.assert_allclose(
                np.concatenate([block for _, block in blocks]), whole, rtol=1e-12)

    def test_many_gallery_columns(self, rng, distance):
        # More columns than one product takes at a time.
        q, g = rng.normal(size=(70, 900)), rng.normal(size=(2500, 900))
        found = pairwise_distances(q, g, distance)
        for row, column in ((0, 0), (69, 2499), (13, 2330), (5, 1165)):
            expected = naive_distances(q[[row]], g[[column]], distance)
            assert found[row, column] == pytest.approx(expected[0][0], rel=1e-12)

    def test_empty_gallery_is_an_empty_matrix(self, distance):
        assert pairwise_distances(
            np.ones((2, 3)), np.ones((0, 3)), distance).shape == (2, 0)
        blocks = list(distance_blocks(np.ones((2, 3)), np.ones((0, 3)), distance))
        assert [block.shape for _, block in blocks] == [(2, 0)]

    @pytest.mark.parametrize(('q', 'g', 'word'), [
        (np.ones(3), np.ones((2, 3)), 'Query'),
        (np.ones((2, 3)), np.ones((2, 3, 1)), 'Gallery'),
        (np.ones((2, 0)), np.ones((2, 0)), 'Query'),
        (np.ones((2, 3)), np.ones((5, 4)), 'agree'),
        (np.ones((2, 3)), np.full((9, 3), np.nan), '4 more'),
        (np.array([[1.], [np.inf]]), np.ones((1, 1)), 'infinity'),
        (np.array([[1e200]]), np.ones((1, 1)), 'square'),
        (np.array([['a']]), np.ones((1, 1)), '<U1'),
        (np.ones((1, 1)), np.array([[1j]]), 'complex128')])
    def test_bad_features(self, distance, q, g, word):
        for call in (pairwise_distances, distance_blocks):  # before it is iterated
            with pytest.raises(ValueError, match=word):
                call(q, g, distance)


@pytest.mark.parametrize(('dtype', 'expected'), [
    (torch.bfloat16, np.float32), (torch.float16, np.float32),
    (torch.float32, np.float32), (torch.float64, np.float64),
    (torch.int32, np.float64)])
def test_type_of_a_distance(dtype, expected):
    points = torch.tensor([[0, 0], [3, 4]], dtype=dtype)
    found = pairwise_distances(points[:1], points)
    assert (found.dtype, found.tolist()) == (expected, [[0, 5]])
    assert pairwise_distances(points.double(), points).dtype == np.float64


def test_squares_that_overflow():
    x = np.array([[1e25, 0.], [0., 1.]], np.float32)
    with pytest.raises(ValueError, match='float32'):
        pairwise_distances(x, x, 'squared_euclidean')
    assert pairwise_distances(x, x)[0, 1] == np.float32(1e25)


def test_cosine_of_special_vectors():
    x = np.array([[1., 1.], [2., 2.], [-3., -3.], [0., 0.]])
    np.testing.assert_array_equal(
        pairwise_distances(x, x, 'cosine'),
        [[0, 0, 2, 1], [0, 0, 2, 1], [2, 2, 0, 1], [1, 1, 1, 1]])
