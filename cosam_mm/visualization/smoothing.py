"""Means of what lies around, along a curve."""
import numpy as np

__all__ = ['exponential_mean']


def exponential_mean(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    """At each point the mean of all points, the farther away the less weight.

    A point at distance d to either side weighs exp(-d / span). So the result does not
    depend on how often something was logged, and does not lag behind, as the means of
    what came before do.

    Args:
        x: (N,), not descending.
        y: (N,). What is not finite has no weight, and gives NaN at its own place.
        span: In units of x; 0 gives y.

    Returns:
        (N,), float64.

    Raises:
        ValueError: Lengths differ, x descends, or the span is negative or not finite.

    Example:
        >>> exponential_mean([0., 1e9], [1., 5.], 1.).tolist()
        [1.0, 5.0]
        >>> exponential_mean([0., 0.], [1., 5.], 1.).tolist()
        [3.0, 3.0]
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f'x and y must be (N,) both, got {x.shape} and {y.shape}.')
    if not (span >= 0 and np.isfinite(span)):
        raise ValueError(f'span must be finite and not negative, got {span!r}.')
    if np.any(np.diff(x) < 0):
        raise ValueError('x must not descend.')
    known = np.isfinite(y)
    result = np.full(y.shape, np.nan)
    if span == 0 or not known.any():
        result[known] = y[known]
        return result
    x, y = x[known], y[known]
    total, weight = _sums_from_left(x, y, span)
    right = _sums_from_left(-x[::-1], y[::-1], span)
    # The point itself is in the sums of both sides.
    result[known] = (total + right[0][::-1] - y) / (weight + right[1][::-1] - 1)
    return result


def _sums_from_left(x: np.ndarray, y: np.ndarray, span: float
                    ) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of each point and those before it, and sums of the weights."""
    totals, weights = np.empty_like(y), np.empty_like(y)
    total = weight = 0.0
    decays = np.exp(-np.diff(x, prepend=x[0]) / span)
    for number, decay in enumerate(decays):
        total, weight = total * decay + y[number], weight * decay + 1
        totals[number], weights[number] = total, weight
    return totals, weights
