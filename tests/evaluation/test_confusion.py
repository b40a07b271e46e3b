"""Confused classes and compared models, against loops over plain numbers."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosam_mm.evaluation.functional.confusion import (
    class_accuracy,
    compare_clips,
    confused_order,
    confusion_matrix,
    most_confused_classes,
    most_confused_pairs,
    true_class_losses,
)

# (label, prediction) of clips of four classes; -1 is no prediction.
CLIPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1,
                 max_size=30)


def columns(clips):
    return np.array(clips).T


class TestOneClip:

    def test_losses_by_plain_numbers(self):
        rng = np.random.default_rng(0)
        score, label = rng.normal(size=(7, 5)), rng.integers(0, 5, 7)
        expected = [-math.log(math.exp(row[own]) / sum(map(math.exp, row)))
                    for row, own in zip(score.tolist(), label)]
        np.testing.assert_allclose(true_class_losses(score, label), expected)

    def test_losses_of_special_scores(self):
        losses = true_class_losses([[0., 5000.], [0., 4000.]], [0, 0])
        assert losses.tolist() == [5000, 4000]  # where the probability is no float
        np.testing.assert_allclose(
            true_class_losses([[.25, .75], [0, 1]], [0, 0], 'prob'),
            [math.log(4), -math.log(1e-12)])


class TestMatrix:

    @given(CLIPS)
    def test_counts(self, clips):
        expected = [[clips.count((true, other)) for other in range(4)]
                    for true in range(4)]
        assert confusion_matrix(*columns(clips), 4).tolist() == expected

    @given(CLIPS)
    def test_accuracy(self, clips):
        found = class_accuracy(*columns(clips), 4)
        for k in range(4):
            own = [predicted == k for true, predicted in clips if true == k]
            assert (found.num_right[k], found.num_clips[k]) == (sum(own), len(own))
            if own:
                assert found.share[k] == sum(own) / len(own)
            else:
                assert math.isnan(found.share[k])

    @pytest.mark.parametrize(('label', 'predicted', 'word'), [
        (3, 0, 'label'), (-1, 0, 'label'), (0, 3, 'prediction'), (0, -1, 'prediction')])
    def test_unknown_classes_are_refused(self, label, predicted, word):
        with pytest.raises(ValueError, match=word):
            confusion_matrix([label], [predicted], 3)


class TestPairs:

    @given(CLIPS)
    def test_all_pairs(self, clips):
        found = most_confused_pairs(*columns(clips), topk=100)
        assert most_confused_pairs(*columns(clips), topk=2) == found[:2]
        wrong = {(t, p) for t, p in clips if t != p}
        assert {pair[:2] for pair in found} == wrong
        for pair in found:
            rows = [i for i, clip in enumerate(clips) if clip == pair[:2]]
            own = sum(true == pair.true for true, _ in clips)
            assert list(pair.rows) == rows
            assert pair.share == len(rows) / own
        keys = [(-len(p.rows), -p.share, p.true, p.predicted) for p in found]
        assert keys == sorted(keys)

    def test_share_then_class_number_decides_between_equal_counts(self):
        label = [0, 0, 1, 2, 2, 3]
        predicted = [1, 0, 0, 1, 3, 2]
        found = [pair[:3] for pair in most_confused_pairs(label, predicted)]
        assert found == [(1, 0, 1), (3, 2, 1), (0, 1, .5), (2, 1, .5), (2, 3, .5)]

class TestOrder:

    @pytest.mark.parametrize('count', [1, 2, 3, 9])
    def test_is_a_permutation(self, count):
        matrix = np.random.default_rng(count).integers(0, 9, (count, count))
        assert sorted(confused_order(matrix)) == list(range(count))
        assert sorted(confused_order(0 * matrix)) == list(range(count))  # without clips

    def test_groups_stand_together(self):
        """Classes 0, 3, 5 are mixed up with one another, and so are 1, 2, 4."""
        groups = ({0, 3, 5}, {1, 2, 4})
        matrix = np.array([[4 if {i, j} <= group else 0 for j in range(6)]
                           for i in range(6) for group in groups if i in group])
        order = confused_order(matrix).tolist()
        assert set(order[:3]) in groups
        assert set(order[3:]) in groups

    def test_most_confused_classes(self):
        matrix = [[5, 0, 0, 3], [0, 9, 0, 0], [1, 0, 9, 0], [0, 0, 0, 9]]
        # Mistakes: 4 with class 0, none with 1, one with 2, three with 3.
        assert most_confused_classes(matrix, 2).tolist() == [0, 3]
        assert most_confused_classes(matrix, 3).tolist() == [0, 2, 3]
        assert most_confused_classes(np.eye(3), 2).tolist() == [0, 1]
        assert most_confused_classes(matrix, 9).tolist() == [0, 1, 2, 3]


class TestTwoModels:

    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
    def test_each_clip_is_in_its_field(self, clips):
        first, second = map(np.array, zip(*clips))
        found = compare_clips(first, second)
        for field, wanted in (
                ('both', (True, True)), ('only_first', (True, False)),
                ('only_second', (False, True)), ('neither', (False, False))):
            expected = [i for i, clip in enumerate(clips) if clip == wanted]
            assert getattr(found, field).tolist() == expected

    @pytest.mark.parametrize(('only_first', 'only_second', 'expected'), [
        (1, 5, 14 / 64), (5, 1, 14 / 64), (0, 0, 1), (4, 4, 1), (0, 3783, 0)])
    def test_p_value(self, only_first, only_second, expected):
        """One of six falls on one side: 2 * (1 + 6) of 64 ways are as uneven."""
        first = np.repeat([True, False, True], [only_first, only_second, 3])
        second = np.repeat([False, True, True], [only_first, only_second, 3])
        assert compare_clips(first, second).p_value == pytest.approx(expected)
