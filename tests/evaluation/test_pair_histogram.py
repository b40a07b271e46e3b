"""Counted distances against all distances at hand; separation against all pairs."""
import numpy as np
import pytest

from cosam_mm.evaluation.functional.pair_histogram import (
    PairCounter,
    PairHistogram,
    coarser,
    separation,
)


def count(parts, num_bins=64):
    """Histogram of (distances, same) blocks; what is not same is different."""
    counter = PairCounter(num_bins)
    for distances, same in parts:
        counter.add(distances, same, ~same)
    return counter.histogram()


@pytest.mark.parametrize('scales', [(1, 1, 1), (1e-6, 1, 1e4), (5, .1, 7), (0, 0, 3)])
def test_no_pair_is_lost_when_bins_grow(scales):
    rng = np.random.default_rng(0)
    parts = [(scale * rng.random((6, 20)), rng.random((6, 20)) < .3)
             for scale in scales]
    found = count(parts)
    distances, same = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    assert len(found.edges) == 65
    for counts, mask in ((found.same, same), (found.different, ~same)):
        expected, _ = np.histogram(distances[mask], found.edges)
        # Rounding may move what lies on an edge.
        assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 1
        assert counts.sum() == mask.sum()
    assert found.edges[-1] >= distances.max() > found.edges[-1] / 2 * (31 / 32)


def test_all_distances_zero():
    found = count([(np.zeros((2, 3)), np.eye(2, 3) > 0)], 4)
    assert found.same.tolist() == [2, 0, 0, 0]
    assert found.different.tolist() == [4, 0, 0, 0]
    assert (np.diff(found.edges) > 0).all()


def test_what_neither_mask_picks_is_not_counted():
    counter = PairCounter(8)
    nothing = np.zeros((1, 2), bool)
    counter.add(np.array([[1., 1e9]]), np.array([[True, False]]), nothing)
    found = counter.histogram()
    assert (found.same.sum(), found.different.sum()) == (1, 0)
    assert found.edges[-1] == 1


@pytest.mark.parametrize('num_bins', [1, 7, 60, 1000])
def test_coarser_keeps_all(num_bins):
    rng = np.random.default_rng(2)
    fine = count([(3 + rng.random((9, 50)), rng.random((9, 50)) < .5)], 512)
    coarse = coarser(fine, num_bins)
    assert len(coarse.same) <= num_bins
    assert len(coarse.edges) == len(coarse.same) + 1
    assert (coarse.same.sum(), coarse.different.sum()) == (
        fine.same.sum(), fine.different.sum())
    assert coarse.edges[0] > 2.9  # where nothing is, nothing is drawn
    widths = np.diff(coarse.edges)
    np.testing.assert_allclose(widths, widths[0])
    inner = np.flatnonzero(np.isin(fine.edges, coarse.edges[1:-1]))
    np.testing.assert_array_equal(
        np.cumsum(fine.same)[inner - 1], np.cumsum(coarse.same)[:-1])


def test_coarser_of_nothing():
    coarse = coarser(PairHistogram(np.arange(5.), *np.zeros((2, 4), int)), 3)
    assert coarse.same.tolist() == [0]


def test_separation_against_all_pairs():
    rng = np.random.default_rng(4)
    same, different = rng.normal(4, 1, 300), rng.normal(7, 1, 900)
    distances = np.concatenate([same, different])[None].clip(0)
    found = separation(count([(distances, np.arange(1200)[None] < 300)], 4096))
    overlaps = [(same > t).mean() + (different <= t).mean()
                for t in np.sort(distances[0])]
    assert found.overlap == pytest.approx(min(overlaps), abs=.01)
    assert found.same_beyond == pytest.approx((same > found.threshold).mean(), abs=.01)
    assert found.different_within == pytest.approx(
        (different < found.threshold).mean(), abs=.01)
    nearer = (same[:, None] < different).mean()
    assert found.nearer == pytest.approx(nearer, abs=.002)


def test_told_apart():
    """Between heaps that do not touch, the middle of the gap tells best."""
    found = separation(PairHistogram(
        np.arange(8.), np.array([2, 0, 0, 0, 0, 0, 0]), np.array([0] * 6 + [5])))
    assert found == (3., 0, 0, 0, 1)


def test_not_told_apart():
    counts = np.array([3, 4, 5])
    found = separation(PairHistogram(np.arange(4.), counts, counts))
    assert found.overlap == pytest.approx(1)
    assert found.nearer == pytest.approx(.5)


def test_wrong_way_round():
    found = separation(PairHistogram(np.arange(3.), np.array([0, 1]), np.array([1, 0])))
    assert found.overlap == 1
    assert found.nearer == 0


def test_refusals():
    with pytest.raises(ValueError, match=r'0 pairs of one person and 2 of two: .*both'):
        separation(PairHistogram(np.arange(2.), np.array([0]), np.array([2])))
    with pytest.raises(ValueError, match=r'must not be negative, got -0\.5'):
        count([(np.array([[-.5]]), np.array([[True]]))])
