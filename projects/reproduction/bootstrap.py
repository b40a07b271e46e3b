"""How far a difference of two models could be chance: bootstrap over seeds and items.

Efron (*Bootstrap methods: another look at the jackknife*, Annals of Statistics 1979)
draws a sample again from itself, and takes from many such draws between what bounds
the statistic lies. Here a model was trained with S seeds and rated on Q test items, and
both could have been others. So each resample draws S of the seeds with replacement,
then Q of the items, one draw of items for all seeds (what makes a query hard makes it
hard for each of them), and the very same draw for both models.

Few seeds tell little of how seeds spread: intervals of a percentile bootstrap over 3
to 5 of them are too narrow, by a factor of about sqrt((S - 1) / S) at the least.
"""
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ['Interval', 'mean_interval', 'paired_difference']

# Numbers that are drawn at a time.
_BLOCK = 1 << 21


class Interval(NamedTuple):
    """A mean, and the bounds that resampling gives it.

    Attributes:
        mean: Of all that was measured.
        low: Lower bound.
        high: Upper bound.
        deviation: Sample standard deviation (n - 1) over the seeds; NaN for one seed.
        num_seeds: S.
    """
    mean: float
    low: float
    high: float
    deviation: float
    num_seeds: int

    @property
    def is_clear(self) -> bool:
        """Whether 0 is beyond the bounds."""
        return self.low > 0 or self.high < 0


def mean_interval(values: np.ndarray, level: float = 0.95, num_resamples: int = 2000,
                  seed: int = 0) -> Interval:
    """The mean over seeds, their standard deviation, and bounds of the mean.

    Args:
        values: (S,) finite; a metric by seed.
        level: Share of the resamples' means within the bounds, in (0, 1).
        num_resamples: Draws of S seeds.
        seed: Of the draws.

    Returns:
        In the unit of the values. Bounds and deviation of a single one are NaN: it
        does not tell how far another one could be.

    Raises:
        ValueError: There are no values or one is not finite, or an option is out of
            its range.

    Example:
        >>> mean_interval([50., 52., 54.])[:3]
        (52.0, 50.0, 54.0)
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError('values must be at least one finite number, (S,), got '
                         f'{values.tolist()}.')
    _check_options(level, num_resamples)
    rng = np.random.default_rng(seed)
    means = _draw_counts(rng, len(values), num_resamples) @ values / len(values)
    return _interval(values, means, level, can_tell=len(values) > 1)


def paired_difference(ours: np.ndarray, theirs: np.ndarray, level: float = 0.95,
                      num_resamples: int = 2000, seed: int = 0,
                      resample_items: bool = True) -> Interval:
    """How much better one model is than another, seed by seed and item by item.

    Args:
        ours: (S, Q) scores in [0, 1], such as the average precision of each query or
            0/1 for each clip; NaN where an item is not rated.
        theirs: (S, Q), the same seeds and items, the same ones rated.
        level: Share of the resamples' differences within the bounds, in (0, 1).
        num_resamples: Draws.
        seed: Of the draws.
        resample_items: Whether items are drawn, too. Without it the bounds tell of
            other seeds on these very items.

    Returns:
        Mean of ours - theirs in percentage points, with its bounds. With one seed the
        bounds tell of other items only, and are NaN where no items are drawn.

    Raises:
        ValueError: Shapes differ, an item is rated for some only or none is at all, or
            an option is out of its range.

    Example:
        >>> ours, theirs = [[.5, 1.], [.5, .5]], [[.5, .5], [.5, .5]]
        >>> paired_difference(ours, theirs)[:3]
        (12.5, 0.0, 50.0)
    """
    difference = 100 * _paired_scores(ours, theirs)
    _check_options(level, num_resamples)
    num_seeds, num_items = difference.shape
    rng = np.random.default_rng(seed)
    of_seeds = _draw_counts(rng, num_seeds, num_resamples)
    if resample_items:
        means = np.concatenate([
            (chosen @ difference * _draw_counts(rng, num_items, len(chosen))).sum(1)
            for chosen in _blocks(of_seeds, num_items)]) / difference.size
    else:
        means = of_seeds @ difference.mean(axis=1) / num_seeds
    return _interval(difference.mean(axis=1), means, level,
                     can_tell=resample_items or num_seeds > 1)


def _paired_scores(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(S, rated items) ours - theirs."""
    ours, theirs = (np.asarray(scores, dtype=float) for scores in (ours, theirs))
    if ours.ndim != 2 or ours.shape != theirs.shape or not len(ours):
        raise ValueError('Scores must be (S, Q) for the same seeds and items, got '
                         f'{ours.shape} and {theirs.shape}.')
    scores = np.concatenate([ours, theirs])
    if np.isinf(scores).any():
        raise ValueError('Scores must be numbers, or NaN where an item is not rated, '
                         'got infinity.')
    is_rated = ~np.isnan(scores)
    rated = is_rated.all(axis=0)
    partly = np.flatnonzero(rated != is_rated.any(axis=0))
    if len(partly):
        raise ValueError('An item must be rated for all seeds of both or for none of '
                         f'them, but {len(partly)} are for some, {partly[0]} for one.')
    if not rated.any():
        raise ValueError(f'None of the {ours.shape[1]} items is rated.')
    return ours[:, rated] - theirs[:, rated]


def _check_options(level: float, num_resamples: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f'level must be in (0, 1), got {level}.')
    if num_resamples < 1:
        raise ValueError(f'num_resamples must be at least 1, got {num_resamples}.')


def _draw_counts(rng: np.random.Generator, num: int, num_resamples: int) -> np.ndarray:
    """(B, num) how often each of ``num`` is among as many draws with replacement."""
    return rng.multinomial(num, np.full(num, 1 / num), num_resamples).astype(float)


def _blocks(of_seeds: np.ndarray, num_items: int) -> Iterator[np.ndarray]:
    """Resamples in parts that fit the memory; the draws are the same in any parts."""
    step = max(_BLOCK // num_items, 1)
    for start in range(0, len(of_seeds), step):
        yield of_seeds[start:start + step]


def _interval(by_seed: np.ndarray, means: np.ndarray, level: float,
              can_tell: bool) -> Interval:
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail]) if can_tell else (np.nan, np.nan)
    deviation = np.std(by_seed, ddof=1) if len(by_seed) > 1 else np.nan
    return Interval(float(by_seed.mean()), float(low), float(high), float(deviation),
                    len(by_seed))
