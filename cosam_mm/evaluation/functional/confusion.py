"""Which classes a classifier confuses, clip by clip, and two classifiers compared.

The rules are those of :mod:`.score_fusion`: of classes with equal scores the lower one
is predicted, and scores are finite. ``rows`` are numbers of clips, from 0.
"""
from collections import defaultdict
from typing import NamedTuple

import numpy as np

__all__ = ['ClassAccuracy', 'ConfusedPair', 'PairedOutcome', 'class_accuracy',
           'compare_clips', 'confused_order', 'confusion_matrix',
           'most_confused_classes', 'most_confused_pairs', 'true_class_losses']

_LEAST_PROBABILITY = 1e-12


def true_class_losses(score: np.ndarray, label: np.ndarray,
                      score_type: str = 'logit') -> np.ndarray:
    """-log p(label) of every clip, exact where p itself is too small for a float.

    Args:
        score: (N, K).
        label: (N,) integers in [0, K).
        score_type: 'logit' or 'prob'; a probability of 0 counts as 1e-12.

    Returns:
        (N,) float64 in nats.
    """
    score = np.asarray(score, dtype=np.float64)
    own = np.take_along_axis(score, np.asarray(label)[:, None], axis=1)[:, 0]
    if score_type == 'prob':
        return -np.log(np.maximum(own, _LEAST_PROBABILITY))
    peak = score.max(axis=1)
    return np.log(np.exp(score - peak[:, None]).sum(axis=1)) + peak - own


# -- one result ------------------------------------------------------------------


def confusion_matrix(label: np.ndarray, predicted: np.ndarray,
                     num_classes: int) -> np.ndarray:
    """How many clips of each class are taken for which.

    Args:
        label: (N,) integers in [0, num_classes).
        predicted: (N,) of the same.
        num_classes: K.

    Returns:
        (K, K) int64: clips of class ``row`` taken for class ``column``.

    Raises:
        ValueError: A class is outside of its range.
    """
    label, predicted = np.asarray(label), np.asarray(predicted)
    for what, values in (('label', label), ('prediction', predicted)):
        wrong = values[(values < 0) | (values >= num_classes)]
        if len(wrong):
            raise ValueError(f'A {what} of {wrong[0]} is outside [0, {num_classes}).')
    return np.bincount(label * num_classes + predicted,
                       minlength=num_classes**2).reshape(num_classes, -1)


class ClassAccuracy(NamedTuple):
    """How many clips of each of K classes are right."""
    num_right: np.ndarray  # (K,) int64
    num_clips: np.ndarray  # (K,) int64

    @property
    def share(self) -> np.ndarray:
        """(K,) float64 in [0, 1], NaN for a class without clips."""
        clips = np.where(self.num_clips, self.num_clips, 1)
        return np.where(self.num_clips, self.num_right / clips, np.nan)


def class_accuracy(label: np.ndarray, predicted: np.ndarray,
                   num_classes: int) -> ClassAccuracy:
    """Right clips and all clips of each class; arguments of :func:`confusion_matrix`.
    """
    label, predicted = np.asarray(label), np.asarray(predicted)
    return ClassAccuracy(
        np.bincount(label[label == predicted], minlength=num_classes),
        np.bincount(label, minlength=num_classes))


class ConfusedPair(NamedTuple):
    """Clips of one class that are all taken for one other."""
    true: int  # their class
    predicted: int  # what they are taken for
    share: float  # of the clips of their class, in (0, 1]
    rows: tuple[int, ...]  # which clips, in rising order


def most_confused_pairs(label: np.ndarray, predicted: np.ndarray,
                        topk: int = 10) -> list[ConfusedPair]:
    """The topk pairs of classes by falling number of clips taken for the other.

    Among pairs of as many clips, the larger share of its class comes first, then the
    lower class numbers. 'a taken for b' and 'b taken for a' are two pairs.

    Args:
        label: (N,) integers >= 0.
        predicted: (N,) of the same.
        topk: At most so many pairs.
    """
    label, predicted = np.asarray(label), np.asarray(predicted)
    rows_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in np.flatnonzero(label != predicted):
        rows_of[int(label[row]), int(predicted[row])].append(int(row))
    pairs = [ConfusedPair(*pair, len(rows) / int((label == pair[0]).sum()), tuple(rows))
             for pair, rows in rows_of.items()]
    return sorted(pairs, key=lambda pair: (
        -len(pair.rows), -pair.share, pair.true, pair.predicted))[:topk]


def most_confused_classes(matrix: np.ndarray, topk: int) -> np.ndarray:
    """The topk classes that take part in most mistakes, in rising order.

    A mistake counts for the class of the clip and for the one it is taken for; among
    equals the lower class is chosen. ``matrix`` is a :func:`confusion_matrix`.
    """
    matrix = np.asarray(matrix)
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    return np.sort(np.argsort(-wrong, kind='stable')[:topk])


def confused_order(matrix: np.ndarray) -> np.ndarray:
    """An order (K,) of the classes that puts confused ones next to one another.

    Classes are joined from the most to the least confused pair (mean linkage of the
    shares confused in either direction), and the branches turned so that neighbours
    are alike. ``matrix`` is a :func:`confusion_matrix`.

    Raises:
        ImportError: SciPy, which the extras ``action`` and ``reid`` bring, is absent.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    matrix = np.asarray(matrix, dtype=np.float64)
    if len(matrix) < 3:
        return np.arange(len(matrix))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0)
    joined = linkage(squareform(distance, checks=False), 'average',
                     optimal_ordering=True)
    return leaves_list(joined).astype(np.int64)


# -- two results -------------------------------------------------------------


class PairedOutcome(NamedTuple):
    """The clips of a test by which of two models gets them right: rows, rising."""
    both: np.ndarray
    only_first: np.ndarray
    only_second: np.ndarray
    neither: np.ndarray

    @property
    def p_value(self) -> float:
        """How often chance divides the clips that one model gets right so unevenly.

        The exact two-sided test of McNemar (*Note on the sampling error of the
        difference between correlated proportions or percentages*, Psychometrika 1947):
        each of these clips is a fair coin. Small values speak for a real difference on
        clips like these, not for one between other training runs. 1 without such clips.
        """
        from scipy.stats import binomtest
        count = len(self.only_first) + len(self.only_second)
        return float(binomtest(len(self.only_first), count).pvalue) if count else 1.


def compare_clips(first: np.ndarray, second: np.ndarray) -> PairedOutcome:
    """Divide N clips by which of two models gets them right, (N,) bool each."""
    return PairedOutcome(*(np.flatnonzero(clips) for clips in (
        first & second, first & ~second, ~first & second, ~first & ~second)))
