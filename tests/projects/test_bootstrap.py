"""Bootstrap against loops over the same draws, identities, and its coverage."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import projects.reproduction.bootstrap as bootstrap
from projects.reproduction.bootstrap import Interval, mean_interval, paired_difference


def draws(rng, num):
    """Which of ``num`` are drawn: what numpy's counts say, written out."""
    counts = rng.multinomial(num, np.full(num, 1 / num))
    return [index for index in range(num) for _ in range(counts[index])]


def naive_quantile(values, share):
    """Between the order statistics, as a line."""
    values = sorted(values)
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def naive_difference(ours, theirs, level, num_resamples, seed, resample_items):
    rated = [q for q in range(ours.shape[1]) if not np.isnan(ours[0, q])]
    rng = np.random.default_rng(seed)
    of_seeds = [draws(rng, len(ours)) for _ in range(num_resamples)]
    means = []
    for chosen in of_seeds:
        items = [rated[i] for i in draws(rng, len(rated))] if resample_items else rated
        means.append([100 * sum(scores[s, q] for s in chosen for q in items)
                      / (len(chosen) * len(items)) for scores in (ours, theirs)])
    differences = [a - b for a, b in means]
    by_seed = [100 * sum(ours[s, q] - theirs[s, q] for q in rated) / len(rated)
               for s in range(len(ours))]
    mean = sum(by_seed) / len(by_seed)
    return (mean, *(naive_quantile(differences, share)
                    for share in ((1 - level) / 2, (1 + level) / 2)),
            (sum((x - mean)**2 for x in by_seed) / (len(by_seed) - 1))**.5,
            len(by_seed))


def scores(num_seeds, num_items, seed=0):
    ours, theirs = np.random.default_rng(seed).uniform(size=(2, num_seeds, num_items))
    ours[:, 1::7] = theirs[:, 1::7] = np.nan
    return ours, theirs


@pytest.mark.parametrize('resample_items', [True, False])
@pytest.mark.parametrize(('num_seeds', 'num_items'), [(2, 3), (3, 20), (5, 9)])
@pytest.mark.parametrize('level', [.5, .95])
def test_difference_is_that_of_loops(num_seeds, num_items, level, resample_items,
                                     monkeypatch):
    monkeypatch.setattr(bootstrap, '_BLOCK', 100)  # blocks of 5 to 50 resamples
    ours, theirs = scores(num_seeds, num_items)
    options = dict(level=level, num_resamples=103, seed=4,
                   resample_items=resample_items)
    np.testing.assert_allclose(paired_difference(ours, theirs, **options),
                               naive_difference(ours, theirs, **options), rtol=1e-12)


def test_mean_is_that_of_loops():
    values = np.array([3., 1., 7., 7.5])
    rng = np.random.default_rng(9)
    means = [values[draws(rng, 4)].mean() for _ in range(57)]
    expected = (values.mean(), naive_quantile(means, .1), naive_quantile(means, .9),
                values.std(ddof=1), 4)
    np.testing.assert_allclose(mean_interval(values, .8, 57, 9), expected)


@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 99))
def test_a_model_does_not_differ_from_itself(num_seeds, num_items, seed):
    ours, _ = scores(num_seeds, num_items, seed)
    found = paired_difference(ours, ours, num_resamples=20)
    assert found[:3] == (0, 0, 0)
    assert not found.is_clear


def test_exchange_turns_the_sign():
    ours, theirs = scores(3, 30)
    one, other = paired_difference(ours, theirs), paired_difference(theirs, ours)
    np.testing.assert_allclose((one.mean, one.low, one.high, one.deviation),
                               (-other.mean, -other.high, -other.low, other.deviation))


def test_a_shift_of_all_is_sure():
    _, theirs = scores(4, 30)
    found = paired_difference(theirs + .25, theirs)
    np.testing.assert_allclose(found[:3], 25)
    assert found.deviation < 1e-9
    assert found.is_clear
    assert paired_difference(theirs, theirs + .25).is_clear


def test_items_not_rated_do_not_count():
    ours, theirs = scores(3, 30)
    rated = ~np.isnan(ours[0])
    assert paired_difference(ours, theirs) == paired_difference(ours[:, rated],
                                                                theirs[:, rated])


def test_one_seed():
    nan = np.nan
    np.testing.assert_equal(mean_interval([3.]), Interval(3., nan, nan, nan, 1))
    ours, theirs = scores(1, 50)
    found = paired_difference(ours, theirs)
    assert found.low < found.mean < found.high
    assert np.isnan(found.deviation)
    found = paired_difference(ours, theirs, resample_items=False)
    assert np.isnan([found.low, found.high]).all()
    assert not found.is_clear


def test_draws_follow_from_the_seed():
    ours, theirs = scores(3, 30)
    assert paired_difference(ours, theirs) == paired_difference(ours, theirs)
    assert paired_difference(ours, theirs) != paired_difference(ours, theirs, seed=1)


def test_bounds_hold_the_truth_about_as_often_as_they_say():
    """Seeds and items of one model have effects of their own, and 2 points it gains."""
    rng = np.random.default_rng(0)
    held = 0
    for number in range(200):
        of_seeds = rng.normal(0, .02, (12, 1))
        of_items = rng.normal(0, .1, (1, 60))
        theirs = rng.uniform(.2, .8, (1, 60)) + np.zeros((12, 1))
        ours = theirs + .02 + of_seeds + of_items + rng.normal(0, .05, (12, 60))
        found = paired_difference(ours, theirs, .9, 300, number)
        held += found.low <= 2 <= found.high
    assert .84 <= held / 200 <= .96


@pytest.mark.parametrize(('ours', 'theirs', 'message'), [
    (np.zeros((2, 3)), np.zeros((2, 4)), r'seeds and items, got \(2, 3\) and \(2, 4\)'),
    (np.zeros(3), np.zeros(3), r'Scores must be \(S, Q\) .*, got \(3,\) and \(3,\).'),
    (np.zeros((0, 3)), np.zeros((0, 3)), r'got \(0, 3\) and \(0, 3\).'),
    ([[np.inf]], [[0]], 'Scores must be numbers, or NaN .*, got infinity.'),
    ([[0, np.nan]], [[0, 0]], 'for none of them, but 1 are for some, 1 for one.'),
    ([[0, np.nan], [0, 0]], [[0, np.nan], [0, 0]], 'but 1 are for some, 1 for one.'),
    ([[np.nan] * 2], [[np.nan] * 2], 'None of the 2 items is rated.'),
    (np.zeros((2, 0)), np.zeros((2, 0)), 'None of the 0 items is rated.'),
])
def test_scores_that_are_no_pairs(ours, theirs, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(ours, theirs)


@pytest.mark.parametrize('values', [[], [1, np.nan], [[1.]]])
def test_values_that_have_no_mean(values):
    with pytest.raises(ValueError, match=r'values must be at least one finite number'):
        mean_interval(values)


@pytest.mark.parametrize(('options', 'message'), [
    (dict(level=1), r'level must be in \(0, 1\), got 1.'),
    (dict(level=0), r'level must be in \(0, 1\), got 0.'),
    (dict(num_resamples=0), 'num_resamples must be at least 1, got 0.')])
def test_options(options, message):
    for call in (lambda: mean_interval([1], **options),
                 lambda: paired_difference([[1]], [[1]], **options)):
        with pytest.raises(ValueError, match=message):
            call()
