"""Late fusion against loops over plain numbers."""
import math

import numpy as np
import pytest

from cosam_mm.evaluation.functional.score_fusion import (
    align_by_id,
    class_probabilities,
    fuse_scores,
    top_k_accuracy,
)


def slow_softmax(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def slow_top_k(score, label, k):
    """Sort classes by falling score, then by number; look for the label."""
    hits = 0
    for row, own in zip(score, label):
        order = sorted(range(len(row)), key=lambda c, row=row: (-row[c], c))
        hits += own in order[:k]
    return hits / len(label)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class TestFuseScores:

    @pytest.mark.parametrize('softmax', [True, False])
    def test_weighted_mean(self, rng, softmax):
        first, second = rng.normal(size=(2, 5, 4))
        fused = fuse_scores([first, second], [3, 1], softmax)
        for i in range(5):
            a, b = first[i].tolist(), second[i].tolist()
            if softmax:
                a, b = slow_softmax(a), slow_softmax(b)
            expected = [0.75 * x + 0.25 * y for x, y in zip(a, b)]
            np.testing.assert_allclose(fused[i], expected, rtol=1e-12)

    def test_only_the_ratio_of_weights_counts_and_large_scores_do_no_harm(self, rng):
        scores = list(rng.normal(size=(2, 2, 4)))
        for weights, expected in ((None, sum(scores) / 2), ([2, 0], scores[0]),
                                  ([.1, .3], scores[0] / 4 + scores[1] * .75)):
            np.testing.assert_allclose(
                fuse_scores(scores, weights, softmax=False), expected)
        np.testing.assert_allclose(class_probabilities([1e4, 1e4, -1e4]), [.5, .5, 0])

    @pytest.mark.parametrize(('scores', 'weights', 'word'), [
        ([], None, 'empty'), ([np.zeros(3)], None, 'array 0'),
        ([np.zeros((2, 3)), np.zeros((2, 4))], None, 'array 1'),
        ([np.zeros((2, 3)), np.array([[0, 0, 0], [0, np.nan, 0]])], None, 'row 1'),
        ([np.zeros((2, 3))] * 2, [1], '2 weights'),
        ([np.zeros((2, 3))] * 2, [1, -1], '-1'), ([np.zeros((2, 3))] * 2, [0, 0], '0'),
        ([np.zeros((2, 3))] * 2, [1, math.inf], 'finite')])
    def test_bad_input(self, scores, weights, word):
        with pytest.raises(ValueError, match=word):
            fuse_scores(scores, weights)


class TestAlignById:

    def test_puts_streams_into_the_order_of_the_first(self):
        ids = [['c', 'a', 'b'], ['b', 'c', 'a'], ['c', 'a', 'b']]
        labels = [[2, 0, 1], [1, 2, 0], [2, 0, 1]]
        orders = align_by_id(ids, labels)
        for stream, order in zip(ids, orders):
            assert [stream[i] for i in order] == ids[0]

    @pytest.mark.parametrize(('ids', 'labels', 'word'), [
        ([], None, 'stream'), ([['a', 'b'], ['a']], None, "'b'"),
        ([['a'], ['a', 'c']], None, "'c'"), ([['a'], ['a', 'a']], None, 'twice'),
        ([list('abcdefgh'), ['a']], None, '2 more'),
        ([['a', 'b'], ['b', 'a']], [[0, 1], [0, 1]], "'a', 'b'"),
        ([['a'], ['a']], [[0]], 'labels'), ([['a'], ['a']], [[0], [0, 0]], 'labels')])
    def test_bad_input(self, ids, labels, word):
        with pytest.raises(ValueError, match=word):
            align_by_id(ids, labels)


class TestTopKAccuracy:

    @pytest.mark.parametrize('with_ties', [True, False])
    def test_equals_sorting(self, rng, with_ties):
        score = rng.normal(size=(200, 7))
        if with_ties:
            score = np.round(score)
        label = rng.integers(0, 7, 200)
        found = top_k_accuracy(score, label, ks=(1, 2, 3, 7))
        for k, accuracy in found.items():
            assert accuracy == pytest.approx(slow_top_k(score, label, k))

    @pytest.mark.parametrize(('score', 'label', 'ks', 'word'), [
        ([[0., 1.]], [2], (1,), 'Label 2'), ([[0., 1.]], [-1], (1,), 'Label -1'),
        ([[0., 1.]], [0, 1], (1,), 'shape'), ([0., 1.], [0, 1], (1,), 'shape'),
        ([[0., 1.]], [.5], (1,), 'float64'), ([[0., 1.]], [0], (0,), 'at least 1'),
        (np.zeros((0, 2)), np.zeros(0, int), (1,), 'no sample'),
        *(([[0., 1.], [0., bad]], [0, 0], (1,), 'row 1')
          for bad in (np.nan, np.inf, -np.inf))])
    def test_bad_input(self, score, label, ks, word):
        with pytest.raises(ValueError, match=word):
            top_k_accuracy(score, label, ks)
