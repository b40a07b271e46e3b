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

    def test_one_stream_is_left_as_it_is(self, rng):
        score = rng.normal(size=(3, 4)).astype(np.float32)
        np.testing.assert_array_equal(fuse_scores([score], softmax=False), score)

    def test_default_weights_are_equal(self, rng):
        scores = list(rng.normal(size=(3, 2, 4)))
        np.testing.assert_allclose(
            fuse_scores(scores), fuse_scores(scores, [7, 7, 7]))

    def test_only_the_ratio_of_weights_counts(self, rng):
        scores = list(rng.normal(size=(2, 2, 4)))
        np.testing.assert_allclose(
            fuse_scores(scores, [1, 3]), fuse_scores(scores, [.1, .3]))

    def test_weight_zero_removes_a_stream(self, rng):
        scores = list(rng.normal(size=(2, 2, 4)))
        np.testing.assert_allclose(
            fuse_scores(scores, [1, 0], softmax=False), scores[0])

    def test_softmax_of_large_scores(self):
        np.testing.assert_allclose(
            class_probabilities([1e4, 1e4, -1e4]), [.5, .5, 0])

    @pytest.mark.parametrize(('scores', 'weights', 'message'), [
        ([], None, 'list of scores is empty'),
        ([np.zeros(3)], None, r'array 0 has shape \(3,\)'),
        ([np.zeros((2, 3)), np.zeros((2, 4))], None,
         r'array 1 has shape \(2, 4\), array 0 has \(2, 3\)'),
        ([np.zeros((2, 3)), np.array([[0, 0, 0], [0, np.nan, 0]])], None,
         r'array 1 is not finite in row\(s\) 1'),
        ([np.zeros((2, 3))] * 2, [1], r'2 score arrays need 2 weights, got \[1\]'),
        ([np.zeros((2, 3))] * 2, [1, -1], r'none below zero.*got \[1, -1\]'),
        ([np.zeros((2, 3))] * 2, [0, 0], r'got \[0, 0\]'),
        ([np.zeros((2, 3))] * 2, [1, math.inf], 'must be finite'),
    ])
    def test_bad_input(self, scores, weights, message):
        with pytest.raises(ValueError, match=message):
            fuse_scores(scores, weights)


class TestAlignById:

    def test_puts_streams_into_the_order_of_the_first(self):
        ids = [['c', 'a', 'b'], ['b', 'c', 'a'], ['c', 'a', 'b']]
        labels = [[2, 0, 1], [1, 2, 0], [2, 0, 1]]
        orders = align_by_id(ids, labels)
        for stream, order in zip(ids, orders):
            assert [stream[i] for i in order] == ids[0]

    def test_streams_of_no_clip(self):
        assert [order.tolist() for order in align_by_id([[], []])] == [[], []]

    @pytest.mark.parametrize(('ids', 'labels', 'message'), [
        ([], None, 'no stream came'),
        ([['a', 'b'], ['a']], None, "1 lacks .* stream 0: 'b'"),
        ([['a'], ['a', 'c']], None, "0 lacks .* stream 1: 'c'"),
        ([['a'], ['a', 'a']], None, "twice: 'a'"),
        ([list('abcdefgh'), ['a']], None,
         "lacks 7 .*'b', 'c', 'd', 'e', 'f' and 2 more"),
        ([['a', 'b'], ['b', 'a']], [[0, 1], [0, 1]],
         "label.* 2 .*: 'a', 'b'"),
        ([['a'], ['a']], [[0]], '1 label arrays'),
        ([['a'], ['a']], [[0], [0, 0]], '1 clip names'),
    ])
    def test_bad_input(self, ids, labels, message):
        with pytest.raises(ValueError, match=message):
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

    def test_equal_scores_are_at_chance(self):
        score, label = np.zeros((10, 10)), np.arange(10)
        assert top_k_accuracy(score, label, ks=(1, 3)) == {1: .1, 3: .3}

    def test_agrees_with_argmax(self, rng):
        score, label = rng.integers(0, 2, (50, 4)), rng.integers(0, 4, 50)
        expected = np.mean(np.argmax(score, axis=1) == label)
        assert top_k_accuracy(score, label, ks=(1,))[1] == pytest.approx(expected)

    def test_k_beyond_the_number_of_classes(self):
        assert top_k_accuracy([[0., 1.]], [0], ks=(5,)) == {5: 1.0}

    def test_nan_is_a_miss(self):
        score = [[np.nan, 1., 2.], [0., np.nan, 2.], [0., 1., 2.]]
        found = top_k_accuracy(score, [0, 2, 2], ks=(1, 3, 9))
        assert found == {1: 1 / 3, 3: 1 / 3, 9: 1 / 3}

    @pytest.mark.parametrize(('score', 'label', 'ks', 'message'), [
        ([[0., 1.]], [2], (1,), r'Label 2 in row 0 is outside \[0, 2\)'),
        ([[0., 1.]], [-1], (1,), 'Label -1 in row 0'),
        ([[0., 1.]], [0, 1], (1,), 'do not fit'),
        ([0., 1.], [0, 1], (1,), 'do not fit'),
        ([[0., 1.]], [.5], (1,), 'must be integers, got float64'),
        ([[0., 1.]], [0], (0,), r'at least 1, got \[0\]'),
        (np.zeros((0, 2)), np.zeros(0, int), (1,), 'no sample'),
    ])
    def test_bad_input(self, score, label, ks, message):
        with pytest.raises(ValueError, match=message):
            top_k_accuracy(score, label, ks)
