"""Distances against sums over coordinates, and where single precision would fail."""
import numpy as np
import pytest
import torch

from cosam_mm.evaluation.functional.distance import (
    DISTANCES,
    check_items,
    chosen_distances,
    cosine_distance,
    distance_blocks,
    euclidean_distance,
    feature_array,
    resolution,
    squared_euclidean_distance,
)
from tests.reference.naive_retrieval import naive_distances

FUNCTIONS = dict(euclidean=euclidean_distance, cosine=cosine_distance,
                 squared_euclidean=squared_euclidean_distance)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize('distance', DISTANCES)
class TestAllDistances:

    @pytest.mark.parametrize(('dtype', 'tolerance'), [
        (np.float64, 1e-13), (np.float32, 1e-6), (np.float16, 1e-6)])
    def test_equals_sum_over_coordinates(self, rng, distance, dtype, tolerance):
        q, g = (rng.normal(size=(n, 17)).astype(dtype) for n in (5, 9))
        found = FUNCTIONS[distance](q, g)
        assert found.dtype == (np.float64 if dtype == np.float64 else np.float32)
        np.testing.assert_allclose(
            found, naive_distances(q, g, distance), rtol=tolerance)

    def test_equal_vectors_have_distance_zero(self, rng, distance):
        # A large common offset, as features after a ReLU have it.
        x = (rng.normal(size=(40, 2048)) + 30).astype(np.float32)
        found = FUNCTIONS[distance](x, x)
        assert (np.diag(found) == 0).all()
        assert (found[~np.eye(40, dtype=bool)] > 0).all()

    def test_small_differences_beside_large_norms(self, rng, distance):
        # |q| is about 1800, |q - g| about 0.05: float32 products would give noise.
        g = (rng.normal(size=(6, 1024)) + 40).astype(np.float32)
        q = (g + .001 * rng.normal(size=g.shape)).astype(np.float32)
        np.testing.assert_allclose(FUNCTIONS[distance](q, g),
                                   naive_distances(q, g, distance), rtol=2e-3)
        np.testing.assert_allclose(
            FUNCTIONS[distance](q.astype(float), g.astype(float)),
            naive_distances(q, g, distance), rtol=2e-3)

    def test_scale(self, rng, distance):
        q, g = (rng.normal(size=(n, 4)).astype(np.float32) for n in (3, 5))
        for scale in (1e-12, 1e12):
            power = dict(euclidean=1, squared_euclidean=2, cosine=0)[distance]
            np.testing.assert_allclose(
                FUNCTIONS[distance](q * np.float32(scale), g * np.float32(scale)),
                FUNCTIONS[distance](q, g) * scale**power, rtol=1e-5)

    def test_blocks_are_the_rows(self, rng, distance):
        q, g = rng.normal(size=(11, 3)), rng.normal(size=(7, 3))
        whole = FUNCTIONS[distance](q, g)
        for size, max_block_bytes in ((1, 1), (3, 3 * 7 * 8), (11, 2**20)):
            blocks = list(distance_blocks(q, g, distance, max_block_bytes))
            assert [rows.start for rows, _ in blocks] == list(range(0, 11, size))
            assert blocks[-1][0].stop == 11
            np.testing.assert_allclose(
                np.concatenate([block for _, block in blocks]), whole, rtol=1e-12)

    def test_many_gallery_columns(self, rng, distance):
        # More columns than one product takes at a time.
        q, g = rng.normal(size=(70, 900)), rng.normal(size=(2500, 900))
        found = FUNCTIONS[distance](q, g)
        for row, column in ((0, 0), (69, 2499), (13, 2330), (5, 1165)):
            expected = naive_distances(q[[row]], g[[column]], distance)
            assert found[row, column] == pytest.approx(expected[0][0], rel=1e-12)

    def test_torch_is_numpy(self, rng, distance):
        q, g = rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
        q_tensor = torch.from_numpy(q).requires_grad_()
        found = FUNCTIONS[distance](q_tensor, torch.from_numpy(g))
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, FUNCTIONS[distance](q, g))

    def test_never_below_zero(self, rng, distance):
        x = np.repeat(rng.normal(size=(3, 257)) * 1e3, 50, axis=0)
        x *= 1 + 1e-15 * rng.normal(size=(150, 1))
        assert FUNCTIONS[distance](x, x).min() == 0

    def test_empty_gallery_is_an_empty_matrix(self, distance):
        assert FUNCTIONS[distance](np.ones((2, 3)), np.ones((0, 3))).shape == (2, 0)
        blocks = list(distance_blocks(np.ones((2, 3)), np.ones((0, 3)), distance))
        assert [block.shape for _, block in blocks] == [(2, 0)]

    @pytest.mark.parametrize(('q', 'g', 'message'), [
        (np.ones(3), np.ones((2, 3)), r'Query features have shape \(3,\)'),
        (np.ones((2, 3)), np.ones((2, 3, 1)), r'Gallery .* have shape \(2, 3, 1\)'),
        (np.ones((2, 0)), np.ones((2, 0)), r'Query features have shape \(2, 0\)'),
        (np.ones((2, 3)), np.ones((5, 4)), r'\(2, 3\), gallery features \(5, 4\)'),
        (np.ones((2, 3)), np.full((9, 3), np.nan), r'Gallery .*row\(s\) 0, 1, 2, 3, 4 '
         'and 4 more of 9'),
        (np.array([[1.], [np.inf]]), np.ones((1, 1)), r'Query .*row\(s\) 1 of 2'),
        (np.array([[1e200]]), np.ones((1, 1)), 'too large to square'),
        (np.array([['a']]), np.ones((1, 1)), 'must be real numbers, got <U1'),
        (np.ones((1, 1)), np.array([[1j]]), 'must be real numbers, got complex128'),
    ])
    def test_bad_features(self, distance, q, g, message):
        with pytest.raises(ValueError, match=message):
            FUNCTIONS[distance](q, g)
        with pytest.raises(ValueError, match=message):
            distance_blocks(q, g, distance)  # before anything is iterated


@pytest.mark.parametrize(('dtype', 'expected'), [
    (torch.bfloat16, np.float32), (torch.float16, np.float32),
    (torch.float32, np.float32), (torch.float64, np.float64),
    (torch.int32, np.float64)])
def test_types(dtype, expected):
    array = feature_array(torch.tensor([[1, 2]], dtype=dtype))
    assert array.dtype == expected
    assert array.tolist() == [[1, 2]]


def test_lists():
    assert euclidean_distance([[0, 0]], [[3, 4]]).tolist() == [[5.]]


def test_the_wider_type_wins():
    single, double = np.ones((1, 2), np.float32), np.ones((1, 2))
    assert euclidean_distance(single, double).dtype == np.float64


def test_squares_that_overflow():
    x = np.array([[1e25, 0.], [0., 1.]], np.float32)
    with pytest.raises(ValueError, match=r'norm 1e\+25 .*float32 cannot hold'):
        squared_euclidean_distance(x, x)
    assert euclidean_distance(x, x)[0, 1] == np.float32(1e25)


def test_cosine_of_special_vectors():
    x = np.array([[1., 1.], [2., 2.], [-3., -3.], [0., 0.]])
    np.testing.assert_array_equal(
        cosine_distance(x, x),
        [[0, 0, 2, 1], [0, 0, 2, 1], [2, 2, 0, 1], [1, 1, 1, 1]])
    assert chosen_distances(x[3:], [0, 1], [0], 'cosine') == 1


def test_unknown_distance():
    with pytest.raises(ValueError, match="'euclidean', 'squared_euclidean', 'cosine'.*"
                                         "got 'manhattan'"):
        distance_blocks(np.ones((1, 1)), np.ones((1, 1)), 'manhattan')
    with pytest.raises(ValueError, match="got 'l2'"):
        chosen_distances(np.ones((1, 1)), [0, 1], [0], 'l2')


class TestChosenDistances:

    @pytest.mark.parametrize('distance', DISTANCES)
    @pytest.mark.parametrize('length', [1, 127, 128, 300])
    def test_equals_sum_over_coordinates(self, rng, distance, length):
        x = rng.normal(size=(9, length)).astype(np.float32)
        x[4] = 0
        x[6] = x[2]
        chosen = rng.random((9, 9)) < .5
        chosen[3] = False  # an item without pairs
        chosen[6, 2] = chosen[8, 8] = True
        indptr = np.concatenate([[0], chosen.sum(axis=1).cumsum()])
        found = chosen_distances(x, indptr, np.nonzero(chosen)[1], distance)
        assert found.dtype == np.float64
        expected = np.array(naive_distances(x, x, distance))
        np.testing.assert_allclose(found, expected[chosen], rtol=1e-12, atol=1e-15)

    def test_counts_as_zero_what_a_block_does(self, rng):
        x = np.repeat(rng.normal(size=(3, 700)) + 30, 20, axis=0)
        x *= 1 + 1e-13 * rng.normal(size=(60, 1))
        found = chosen_distances(x, np.arange(61) * 60, np.tile(np.arange(60), 60))
        block = euclidean_distance(x, x)
        np.testing.assert_array_equal(found.reshape(60, 60) == 0, block == 0)
        assert (block == 0).sum() == 3 * 20**2

    def test_no_pairs(self):
        assert chosen_distances(np.ones((2, 3)), [0, 0, 0], []).shape == (0,)

    @pytest.mark.parametrize(('indptr', 'columns', 'message'), [
        ([0, 1], [0], r'Shapes \(2,\) of indptr and \(1,\) of columns: 2 items need 3'),
        ([0, 1, 3], [0, 1], '2 items need 3 numbers that ascend from 0'),
        ([1, 1, 2], [0, 1], '2 items need 3 numbers that ascend from 0'),
        ([0, 3, 2], [0, 1], '2 items need 3 numbers that ascend from 0'),
        ([0, 1, 2], [[0, 1]], r'\(1, 2\) of columns'),
        ([0, 1, 2], [1, 2], r'Item 1 is paired with item 2: .* \[0, 2\)'),
        ([0, 1, 2], [-1, 0], 'Item 0 is paired with item -1'),
        ([0, 2, 2], [1, 0], 'Item 0 is paired with item 0: .* ascend'),
        ([0, 2, 2], [1, 1], 'Item 0 is paired with item 1: .* ascend'),
    ])
    def test_refuses_other_pairs(self, indptr, columns, message):
        with pytest.raises(ValueError, match=message):
            chosen_distances(np.ones((2, 3)), indptr, columns)

    def test_refuses_bad_items(self):
        with pytest.raises(ValueError, match=r'Item features .* row\(s\) 1 of 2'):
            chosen_distances(np.array([[0.], [np.nan]]), [0, 0, 0], [])


def test_check_items():
    items = check_items(torch.tensor([[3, 4]], dtype=torch.half), 'squared_euclidean')
    assert items.values.dtype == np.float32
    assert items.squared_norm.tolist() == [25]
    with pytest.raises(ValueError, match="got 'l2'"):
        check_items([[1.]], 'l2')
    with pytest.raises(ValueError, match='float32 cannot hold'):
        check_items(np.full((1, 1), 1e25, np.float32), 'squared_euclidean')


def test_resolution_grows_with_long_features():
    assert resolution(2048) == 1e-12
    assert resolution(10**5) == pytest.approx(10**5 * 2.**-52)
