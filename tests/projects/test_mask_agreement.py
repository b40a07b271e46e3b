"""Metrics of masks against silhouettes, by their definitions pixel by pixel."""
import math

import numpy as np
import pytest

from projects.attention_study.mask_agreement import (
    AgreementPoint,
    frame_metrics,
    mask_agreement,
    plot_agreement,
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


NAIVE = (naive_auc, naive_best_iou, naive_share_iou)


def frames(levels, seed=0, count=20, pixels=30):
    """Random frames of so many levels; silhouettes of 1 to P - 1 pixels."""
    rng = np.random.default_rng(seed)
    values = rng.integers(levels, size=(count, pixels)) / levels
    sizes = rng.integers(1, pixels, count)
    silhouette = np.stack([rng.permutation(pixels) < size for size in sizes])
    return values, silhouette


@pytest.mark.parametrize('levels', [1, 2, 5, 10**6], ids='{} levels'.format)
def test_metrics_are_those_of_the_definition(levels):
    values, silhouette = frames(levels)
    for found, naive in zip(frame_metrics(values, silhouette), NAIVE):
        np.testing.assert_allclose(
            found, [naive(v.tolist(), s.tolist()) for v, s in zip(values, silhouette)],
            rtol=1e-12)


def test_frames_without_two_sides_are_left_out_and_counted():
    values, silhouette = frames(9, seed=4, count=5)
    some = mask_agreement(values[:3], silhouette[:3])
    silhouette[3], silhouette[4] = False, True
    found = mask_agreement(values, silhouette)
    assert found == some._replace(num_left_out=2)
    assert found.num_frames == 3
    assert found[:3] == pytest.approx([
        np.mean([naive(v, s) for v, s in zip(values[:3], silhouette[:3])])
        for naive in NAIVE])
    assert found.share == pytest.approx(silhouette[:3].mean())


def test_nothing_left():
    found = mask_agreement(np.zeros((2, 3)), np.array([[True] * 3, [False] * 3]))
    assert all(math.isnan(value) for value in found[:4])
    assert found[4:] == (0, 2)


@pytest.mark.parametrize(('values', 'silhouette', 'word'), [
    (np.zeros((1, 3)), np.array([[True, False]]), r'\(1, 3\)'),
    (np.zeros((1, 1, 2)), np.array([[[True, False]]]), r'\(1, 1, 2\)'),
    (np.zeros((1, 2)), np.array([[1, 0]]), 'bool'),
    (np.array([[0, np.nan]]), np.array([[True, False]]), 'not a number')])
def test_wrong_arrays(values, silhouette, word):
    with pytest.raises(ValueError, match=word):
        mask_agreement(values, silhouette)


# -- plot --------------------------------------------------------------------------


POINTS = [AgreementPoint(kind, layer, epoch, auc + epoch / 100, .05)
          for epoch in (20, 0, 10)
          for kind, layer, auc in (('cosam', 'after_layer3', .5),
                                   ('cosam', 'after_$4$', .6), ('centre', '', .7))]


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_over_epochs_and_layers():
    figure = plot_agreement(POINTS)
    epochs, layers = figure.axes
    lines = {line.get_label(): line for line in epochs.get_lines()}
    for name, auc in (('cosam, after_layer3', .5), (r'cosam, after_\$4\$', .6),
                      ('centre', .7)):
        assert lines[name].get_xdata().tolist() == [0, 10, 20]
        assert lines[name].get_ydata() == pytest.approx([auc, auc + .1, auc + .2])
    assert labels(figure) == ['cosam, after_layer3', r'cosam, after_\$4\$', 'centre']
    cosam, centre = (container.lines[0] for container in layers.containers)
    assert cosam.get_ydata() == pytest.approx([.7, .8])
    assert cosam.get_xdata() == pytest.approx([-.2, .8])
    assert (centre.get_xdata(), centre.get_ydata()) == (
        pytest.approx([2.2]), pytest.approx([.9]))
    low, high = layers.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((.65, .75))
    assert [tick.get_text() for tick in layers.get_xticklabels()] == [
        'after_layer3', r'after_\$4\$', 'no layer']
    assert layers.get_title(loc='left') == 'by layer, epoch 20'
    assert cosam.get_color() == lines['cosam, after_layer3'].get_color()


def test_one_epoch_has_no_curve():
    figure = plot_agreement(POINTS[:2])
    axes, = figure.axes
    assert len(axes.containers) == 1
    assert labels(figure) == ['cosam']
    assert axes.get_ylabel() == 'AUC (0.5 is chance)'


def test_nothing_to_draw():
    with pytest.raises(ValueError, match='no map'):
        plot_agreement([])
