"""Two models clip by clip, against loops, and McNemar's test against SciPy's."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cosam_mm.evaluation.functional.paired_outcome import compare_clips, mcnemar_p_value


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 2)),
                min_size=1))
def test_each_clip_is_in_its_field(clips):
    first, second, label = map(np.array, zip(*clips))
    found = compare_clips(first, second)
    for field, wanted in (('both', (True, True)), ('only_first', (True, False)),
                          ('only_second', (False, True)), ('neither', (False, False))):
        expected = [i for i, clip in enumerate(clips) if clip[:2] == wanted]
        assert getattr(found, field).tolist() == expected
    gain = found.class_gain(label, 4)
    for k in range(4):
        assert gain[0, k] == sum(c == (False, True, k) for c in clips)
        assert gain[1, k] == sum(c == (True, False, k) for c in clips)
    # The gain over all classes is what the accuracies differ by.
    assert gain[0].sum() - gain[1].sum() == second.sum() - first.sum()
    assert found.p_value == mcnemar_p_value(gain[1].sum(), gain[0].sum())


@pytest.mark.parametrize(('first', 'second'), [
    (0, 1), (1, 0), (3, 3), (0, 12), (7, 2), (10, 11), (2, 30), (150, 203)])
def test_p_value_is_that_of_the_binomial_test(first, second):
    expected = binomtest(first, first + second).pvalue
    assert mcnemar_p_value(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p_value(second, first) == mcnemar_p_value(first, second)


def test_p_value_by_hand():
    """One of six falls on one side: 2 * (1 + 6) of 64 ways are as uneven."""
    assert mcnemar_p_value(1, 5) == 14 / 64
    assert mcnemar_p_value(0, 0) == 1
    assert mcnemar_p_value(4, 4) == 1


def test_p_value_of_more_clips_than_a_float_can_count():
    assert mcnemar_p_value(0, 3783) == 0
    assert mcnemar_p_value(1891, 1892) == 1


def test_models_must_have_rated_the_same_clips():
    with pytest.raises(ValueError, match=r'first model has \(2,\) results, the second '
                       r'\(3,\): clips must be matched'):
        compare_clips(np.ones(2, bool), np.ones(3, bool))
