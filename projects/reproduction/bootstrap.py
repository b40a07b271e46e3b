"""How far a difference of two models could be chance: bootstrap over seeds and items.

Percentile bootstrap (Efron, Annals of Statistics 1979). A model was trained with S
seeds and tested on Q items, and both could have been others. So each resample takes S
of the seeds with replacement, then Q of the items, the same items for all seeds (a
query that is hard is hard for each of them) and for both models.

Intervals over 3 to 5 seeds are too narrow, by a factor of about sqrt((S - 1) / S) at
least.
"""
from typing import NamedTuple

import numpy as np

_BLOCK = 1 << 21  # random numbers at a time


class Interval(NamedTuple):
    """A mean, and the bounds that resampling gives it."""
    mean: float
    low: float
    high: float


def paired_difference(ours: np.ndarray, theirs: np.ndarray, level: float = 0.95,
                      num_resamples: int = 2000, seed: int = 0) -> Interval:
    """How much better one model is than another, seed by seed and item by item.

    Args:
        ours: (S, Q) scores in [0, 1], such as the average precision of each query or
            0/1 for each clip; NaN where an item is not evaluated.
        theirs: (S, Q), of the same seeds and items.
        level: Share of the resamples' differences within the bounds, in (0, 1).
        num_resamples, seed: Of the bootstrap.

    Returns:
        Mean of ours - theirs in percentage points, with its bounds. With one seed the
        bounds tell of other items only.

    Raises:
        ValueError: Shapes differ, or an item is evaluated for some only or none is at
            all.

    Example:
        >>> ours, theirs = [[.5, 1.], [.5, .5]], [[.5, .5], [.5, .5]]
        >>> paired_difference(ours, theirs)
        Interval(mean=12.5, low=0.0, high=50.0)
    """
    ours, theirs = (np.asarray(scores, dtype=float) for scores in (ours, theirs))
    if ours.ndim != 2 or ours.shape != theirs.shape or not len(ours):
        raise ValueError('Scores must be (S, Q) for the same seeds and items, got '
                         f'{ours.shape} and {theirs.shape}.')
    is_number = np.isfinite([ours, theirs])
    used = is_number.all(axis=(0, 1))
    if not used.any() or (used != is_number.any(axis=(0, 1))).any():
        raise ValueError('Some item must be evaluated, and each for all seeds of both '
                         'models or for none of them.')
    difference = 100 * (ours - theirs)[:, used]
    num_seeds, num_items = difference.shape
    rng = np.random.default_rng(seed)

    def counts(num: int, num_resamples: int) -> np.ndarray:
        """(B, num) how often each of ``num`` is among as many taken anew."""
        return rng.multinomial(num, np.full(num, 1 / num), num_resamples).astype(float)

    of_seeds = counts(num_seeds, num_resamples)
    step = max(_BLOCK // num_items, 1)
    means = np.concatenate([
        (chosen @ difference * counts(num_items, len(chosen))).sum(axis=1)
        for chosen in (of_seeds[start:start + step]
                       for start in range(0, num_resamples, step))]) / difference.size
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference.mean(axis=1).mean()), float(low), float(high))
