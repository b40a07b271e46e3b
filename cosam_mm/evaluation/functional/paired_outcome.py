"""Two models on the same clips: which clips one gets right and the other not.

McNemar (*Note on the sampling error of the difference between correlated proportions
or percentages*, Psychometrika 1947) asks how often chance alone would divide those
clips so unevenly. Clips that both get right, or both wrong, tell no difference.
"""
from typing import NamedTuple

import numpy as np

__all__ = ['PairedOutcome', 'compare_clips', 'mcnemar_p_value']



class PairedOutcome(NamedTuple):
    """The clips of a test by which of two models gets them right.

    Attributes:
        both: Rows that both get right.
        only_first: Rows that the first alone gets right.
        only_second: Rows that the second alone gets right.
        neither: Rows that both get wrong.
    """
    both: np.ndarray
    only_first: np.ndarray
    only_second: np.ndarray
    neither: np.ndarray

    @property
    def p_value(self) -> float:
        """McNemar's, exact; see :func:`mcnemar_p_value`."""
        return mcnemar_p_value(len(self.only_first), len(self.only_second))

    def class_gain(self, label: np.ndarray, num_classes: int) -> np.ndarray:
        """What the second model has over the first, in clips of each class.

        Args:
            label: (N,) integers in [0, num_classes).
            num_classes: K.

        Returns:
            (2, K) int64: clips won, clips lost.
        """
        label = np.asarray(label)
        return np.stack([np.bincount(label[rows], minlength=num_classes)
                         for rows in (self.only_second, self.only_first)])


def compare_clips(first_is_right: np.ndarray,
                  second_is_right: np.ndarray) -> PairedOutcome:
    """Divide clips by which of two models gets them right.

    Args:
        first_is_right: (N,) bool.
        second_is_right: (N,) bool, the same clips in the same order; see
            :func:`~cosam_mm.evaluation.functional.score_fusion.align_by_id`.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> compare_clips([True, True, False], [True, False, True]).only_second
        array([2])
    """
    first, second = np.asarray(first_is_right), np.asarray(second_is_right)
    if first.shape != second.shape:
        raise ValueError(f'The first model has {first.shape} results, the second '
                         f'{second.shape}: clips must be matched first.')
    return PairedOutcome(*(np.flatnonzero(fields) for fields in (
        first & second, first & ~second, ~first & second, ~first & ~second)))


def mcnemar_p_value(num_only_first: int, num_only_second: int) -> float:
    """How often chance divides the clips that one model gets right so unevenly.

    The exact two-sided test: each of these clips is a fair coin. Small values speak
    for a real difference on clips like these. They say nothing of what another
    training run of either model would do.

    Returns:
        In (0, 1]; 1 where there is no such clip.

    Example:
        >>> mcnemar_p_value(0, 5)
        0.0625
    """
    count = num_only_first + num_only_second
    # Whole numbers: half of 2 ** 1100 is no float.
    ways, tail = 1, 0
    for heads in range(min(num_only_first, num_only_second) + 1):
        tail += ways
        ways = ways * (count - heads) // (heads + 1)
    return min(1.0, 2 * tail / 2**count)
