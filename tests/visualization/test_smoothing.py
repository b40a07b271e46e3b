"""Means along a curve, against the sums they stand for."""
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cosam_mm.visualization.smoothing import exponential_mean


def naive(x, y, span):
    """Every point with every other."""
    result = []
    for place, own in zip(x, y):
        pairs = [(np.exp(-abs(place - other) / span), value)
                 for other, value in zip(x, y) if np.isfinite(value)]
        result.append(sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
                      if np.isfinite(own) else np.nan)
    return np.array(result)


@pytest.mark.parametrize('span', [0.01, 0.7, 5, 1e6])
def test_equals_the_sums(span):
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 30, 80))
    x[10:13] = x[10]
    y = rng.normal(size=80)
    y[[0, 20, 21, 79]] = np.nan, np.inf, -np.inf, np.nan
    assert_allclose(exponential_mean(x, y, span), naive(x, y, span), rtol=1e-9)


def test_identities():
    x = np.arange(5.)
    y = np.array([3., 1., 4., 1., 5.])
    assert_array_equal(exponential_mean(x, y, 0), y)
    assert_allclose(exponential_mean(x, y, 1e-3), y)
    assert_allclose(exponential_mean(x, y, 1e9), np.full(5, y.mean()))
    assert_allclose(exponential_mean(x, np.full(5, 7.), 2), 7)
    assert_allclose(exponential_mean(-x[::-1], y[::-1], 2),
                    exponential_mean(x, y, 2)[::-1])
    assert exponential_mean([], [], 1).shape == (0,)
    assert np.isnan(exponential_mean(x, x * np.nan, 1)).all()


def test_does_not_lag():
    x = np.arange(200.)
    assert_allclose(exponential_mean(x, 3 * x, 4)[60:140], 3 * x[60:140], rtol=1e-4)


@pytest.mark.parametrize(('x', 'y', 'span', 'message'), [
    ([0, 1], [0], 1, r'must be \(N,\) both, got \(2,\) and \(1,\)'),
    ([1, 0], [0, 0], 1, 'x must not descend'),
    ([0, 1], [0, 0], -1, 'span must be finite and not negative, got -1'),
    ([0, 1], [0, 0], float('nan'), 'got nan'),
])
def test_refused(x, y, span, message):
    with pytest.raises(ValueError, match=message):
        exponential_mean(x, y, span)
