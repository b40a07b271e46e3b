"""Which curves are drawn of which logs."""
import json
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cosam_mm.visualization.smoothing import exponential_mean
from cosam_mm.visualization.training_curves import training_curves
from cosam_mm.visualization.training_log import find_runs, read_training_log
from tests.training_logs import epochs, train_line, val_line, write_log


def log_of(folder, lines):
    write_log(folder, '20260101_000000', lines)
    run, = find_runs(folder)
    return read_training_log(run.files, run.name)


@pytest.fixture
def two(tmp_path):
    return [log_of(tmp_path / name, epochs(1, 3, loss=loss))
            for name, loss in (('a', 1.0), ('b', 2.0))]


def labels(panel):
    return [curve.label for curve in panel.curves]


def test_one_run(tmp_path):
    lines = [train_line(e, 10 * e, loss=3 / e, loss_cls=3 / e, loss_aux=0.1 * e,
                        memory=512) for e in range(1, 5)]
    lines += [val_line(4, 0.5, **{'acc/top3': 0.75, 'acc/mean1': 0.5, 'acc/ce': 2.5})]
    panels, x_label, caption = training_curves([log_of(tmp_path, lines)], span=2)
    assert [panel.title for panel in panels] == [
        'Training loss', 'Validation', 'Learning rate', 'Time of an iteration, s',
        'GPU memory, MB']
    # What equals an earlier curve is not drawn over it; what is no share, not beside.
    assert [labels(panel) for panel in panels] == [
        ['loss', 'loss_aux'], ['acc/top1: 50.0 % at 4', 'acc/top3: 75.0 % at 4'],
        ['lr'], ['time', 'data_time'], ['memory']]
    assert [panel.is_share for panel in panels] == [False, True, False, False, False]
    assert [curve.colour for curve in panels[0].curves] == [0, 1]
    assert x_label == 'epoch'
    assert 'exponentially with 2 epochs' in caption
    loss = panels[0].curves[0]
    assert_allclose(loss.smooth, exponential_mean(loss.x, loss.y, 2))
    assert panels[1].curves[0].smooth is None
    assert panels[2].curves[0].smooth is None


def test_several_runs_by_colour_and_name(two):
    panels, _, _ = training_curves(two)
    assert [panel.title for panel in panels] == [
        'Training loss', 'Validation: acc/top1', 'Learning rate',
        'Time of an iteration, s']
    assert labels(panels[0]) == ['a', 'b']
    assert labels(panels[1]) == ['a: 3.0 % at 3', 'b: 3.0 % at 3']
    assert labels(panels[3]) == ['a, time', 'a, data_time', 'b, time', 'b, data_time']
    assert [curve.colour for curve in panels[3].curves] == [0, 0, 1, 1]
    assert [curve.is_dashed for curve in panels[3].curves] == [0, 1, 0, 1]
    assert [curve.best for curve in panels[1].curves] == [2, 2]
    assert panels[0].curves[1].y[0] == 2


def test_smoothing_default_and_none(two):
    _, _, caption = training_curves(two)
    assert 'with 0.03 epochs' in caption  # 1 % of 3
    panels, _, caption = training_curves(two, span=0)
    assert panels[0].curves[0].smooth is None
    assert caption == 'Stars: best validation.'


def test_keys(two):
    panels, _, _ = training_curves(two, ['acc/top1', 'loss'])
    assert [panel.title for panel in panels] == ['acc/top1', 'loss']
    assert panels[0].curves[0].best == 2
    assert panels[1].curves[0].best is None
    with pytest.raises(ValueError, match=r"No training logs 'mAP'; logged are lr, "
                       r'data_time, loss, time, acc/top1\.'):
        training_curves(two, ['mAP'])


def test_different_metrics_and_a_run_without_epochs(tmp_path, two):
    other = log_of(tmp_path / 'reid', [
        train_line(None, 20), '{"reid/mAP": 0.4, "step": 20}'])
    panels, x_label, caption = training_curves([two[0], other])
    assert [panel.title for panel in panels][1:3] == [
        'Validation: acc/top1', 'Validation: reid/mAP']
    assert labels(panels[2]) == ['reid: 40.0 % at 20']
    assert panels[2].curves[0].colour == 1  # its own, though it is alone there
    assert x_label == 'iteration'
    assert panels[0].curves[0].x[-1] == 30
    assert 'with 0.3 iterations' in caption


def test_smallest_is_best_where_it_is_a_loss(tmp_path):
    lines = [line for e, v in ((1, 2.), (2, 1.), (3, 1.5)) for line in (
        train_line(e, e), json.dumps({'val/cross_entropy': v, 'step': e}))]
    panels, _, _ = training_curves([log_of(tmp_path, lines)])
    curve, = panels[1].curves
    assert (curve.label, curve.best) == ('cross_entropy: 1 at 2', 1)
    assert not panels[1].is_share


def test_diverged_training(tmp_path):
    lines = [train_line(1, 1), train_line(2, 2, loss=math.nan), val_line(2, math.nan)]
    panels, _, _ = training_curves([log_of(tmp_path, lines)])
    assert_array_equal(panels[0].curves[0].y, [1, np.nan])
    assert labels(panels[1]) == ['acc/top1']
    assert panels[1].curves[0].best is None


def test_refused(two):
    with pytest.raises(ValueError, match='There is no training to draw'):
        training_curves([])
    with pytest.raises(ValueError, match='span must be finite .*, got -1'):
        training_curves(two, span=-1)
