"""Figures of masks against silhouettes, beside their definitions pixel by pixel."""
import math

import numpy as np
import pytest

from projects.attention_study.mask_agreement import (
    best_iou,
    mask_agreement,
    roc_auc,
    share_iou,
)


def naive_auc(values, silhouette):
    """Every pixel inside against every one outside."""
    inside = [v for v, s in zip(values, silhouette) if s]
    outside = [v for v, s in zip(values, silhouette) if not s]
    won = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
    return won / (len(inside) * len(outside))


def iou_above(values, silhouette, threshold):
    marked = {k for k, value in enumerate(values) if value >= threshold}
    true = {k for k, is_inside in enumerate(silhouette) if is_inside}
    return len(marked & true) / len(marked | true)


def naive_best_iou(values, silhouette):
    return max(iou_above(values, silhouette, threshold) for threshold in values)


def naive_share_iou(values, silhouette):
    threshold = sorted(values, reverse=True)[sum(silhouette) - 1]
    return iou_above(values, silhouette, threshold)


PAIRS = [(roc_auc, naive_auc), (best_iou, naive_best_iou), (share_iou, naive_share_iou)]


def frames(levels, seed=0, count=20, pixels=30):
    """Random frames of so many levels; silhouettes of 1 to P - 1 pixels."""
    rng = np.random.default_rng(seed)
    values = rng.integers(levels, size=(count, pixels)) / levels
    sizes = rng.integers(1, pixels, count)
    silhouette = np.stack([rng.permutation(pixels) < size for size in sizes])
    return values, silhouette


@pytest.mark.parametrize('levels', [1, 2, 5, 10**6], ids='{} levels'.format)
@pytest.mark.parametrize(('figure', 'naive'), PAIRS, ids=lambda f: f.__name__)
def test_figures_are_those_of_the_definition(figure, naive, levels):
    values, silhouette = frames(levels)
    expected = [naive(v.tolist(), s.tolist()) for v, s in zip(values, silhouette)]
    np.testing.assert_allclose(figure(values, silhouette), expected, rtol=1e-12)


def test_single_precision_ranks_alike():
    values, silhouette = frames(7, seed=1)
    for figure, _ in PAIRS:
        np.testing.assert_array_equal(
            figure(values.astype(np.float32), silhouette), figure(values, silhouette))


def test_identities():
    _, silhouette = frames(5, seed=2)
    perfect = silhouette.astype(float)
    for figure, _ in PAIRS:
        np.testing.assert_array_equal(figure(perfect, silhouette), 1)
    np.testing.assert_array_equal(roc_auc(-perfect, silhouette), 0)
    # A mask that is the same everywhere tells nothing and marks everything.
    flat = np.full(silhouette.shape, 0.3)
    np.testing.assert_array_equal(roc_auc(flat, silhouette), 0.5)
    for figure in (best_iou, share_iou):
        np.testing.assert_allclose(figure(flat, silhouette), silhouette.mean(1))


def test_only_the_order_counts():
    values, silhouette = frames(10**6, seed=3)
    for figure, _ in PAIRS:
        np.testing.assert_array_equal(
            figure(np.exp(3 * values) - 7, silhouette), figure(values, silhouette))
    np.testing.assert_allclose(roc_auc(-values, silhouette),
                               1 - roc_auc(values, silhouette))


def test_frames_without_two_sides_are_left_out_and_counted():
    values, silhouette = frames(9, seed=4, count=5)
    some = mask_agreement(values[:3], silhouette[:3])
    silhouette[3], silhouette[4] = False, True
    found = mask_agreement(values, silhouette)
    assert found == some._replace(num_left_out=2)
    assert found.num_frames == 3
    assert found.auc == pytest.approx(np.mean(
        [naive_auc(v, s) for v, s in zip(values[:3], silhouette[:3])]))
    assert found.best_iou == pytest.approx(np.mean(
        [naive_best_iou(v, s) for v, s in zip(values[:3], silhouette[:3])]))
    assert found.share_iou == pytest.approx(np.mean(
        [naive_share_iou(v, s) for v, s in zip(values[:3], silhouette[:3])]))
    assert found.share == pytest.approx(silhouette[:3].mean())


def test_nothing_left():
    found = mask_agreement(np.zeros((2, 3)), np.array([[True] * 3, [False] * 3]))
    assert all(math.isnan(value) for value in found[:4])
    assert found[4:] == (0, 2)


@pytest.mark.parametrize('figure', [roc_auc, best_iou, share_iou])
def test_one_sided_silhouettes_are_refused(figure):
    silhouette = np.array([[True, False], [True, True]])
    with pytest.raises(ValueError, match='^1 of the 2 silhouettes are empty or full: '
                                         'leave these frames out'):
        figure(np.zeros((2, 2)), silhouette)


@pytest.mark.parametrize('figure', [roc_auc, best_iou, share_iou, mask_agreement])
def test_wrong_arrays(figure):
    silhouette = np.array([[True, False]])
    with pytest.raises(ValueError, match=r'\(frames, pixels\), got \(1, 3\) and '
                                         r'\(1, 2\)'):
        figure(np.zeros((1, 3)), silhouette)
    with pytest.raises(ValueError, match=r'got \(1, 1, 2\) and \(1, 1, 2\)'):
        figure(np.zeros((1, 1, 2)), silhouette[None])
    with pytest.raises(ValueError, match='must be of bool, got int64'):
        figure(np.zeros((1, 2)), silhouette.astype(np.int64))
    with pytest.raises(ValueError, match='^1 of the 2 values of the mask are not'):
        figure(np.array([[0, np.nan]]), silhouette)
