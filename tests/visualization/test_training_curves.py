"""Which curves are plotted of which logs, and how."""
import json
import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

from cosam_mm.visualization.style import CYCLE, figure_svg, save_figure
from cosam_mm.visualization.training_curves import (
    Curve,
    Panel,
    plot_curves,
    training_curves,
)
from cosam_mm.visualization.training_log import find_runs, read_training_log
from tests.training_logs import epochs, train_line, val_line, write_log

X = np.arange(1., 7)
Y = np.array([3, 2, np.nan, np.inf, 1, 0.5])


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
    # No curve covers an equal one; a metric that is no share is left out.
    assert [labels(panel) for panel in panels] == [
        ['loss', 'loss_aux'], ['acc/top1: 50.0 % at 4', 'acc/top3: 75.0 % at 4'],
        ['lr'], ['time', 'data_time'], ['memory']]
    assert [panel.is_share for panel in panels] == [False, True, False, False, False]
    assert [curve.colour for curve in panels[0].curves] == [0, 1]
    assert x_label == 'epoch'
    assert 'over 2 epochs' in caption
    loss = panels[0].curves[0]
    assert_allclose(loss.smooth, naive_mean(loss.x, loss.y, 2))
    assert panels[1].curves[0].smooth is None
    assert panels[2].curves[0].smooth is None


def test_several_runs_by_colour_and_name(two):
    panels, _, caption = training_curves(two)
    assert 'over 0.03 epochs' in caption  # 1 % of 3
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


def test_chosen_keys_without_smoothing(two):
    panels, _, caption = training_curves(two, ['acc/top1', 'loss'], span=0)
    assert [panel.title for panel in panels] == ['acc/top1', 'loss']
    assert panels[0].curves[0].best == 2
    assert panels[1].curves[0].best is None
    assert panels[1].curves[0].smooth is None
    assert caption == 'Stars: best validation.'


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
    assert 'over 0.3 iterations' in caption


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


def test_unknown_keys_and_invalid_spans_are_refused(two):
    with pytest.raises(ValueError, match='mAP.*acc/top1'):
        training_curves(two, ['mAP'])
    for span in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match='span'):
            training_curves(two, span=span)


# -- smoothing -------------------------------------------------------------------


def naive_mean(x, y, span):
    """Every point with every other."""
    result = []
    for own_x, own_y in zip(x, y):
        pairs = [(np.exp(-abs(own_x - other) / span), value)
                 for other, value in zip(x, y) if np.isfinite(value)]
        result.append(sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
                      if np.isfinite(own_y) else np.nan)
    return np.array(result)


def smoothed(folder, y, span):
    """The smoothed loss of a run that logs these values at 3, 4, 5, ... iterations."""
    lines = [train_line(None, 3 + step, loss=value) for step, value in enumerate(y)]
    panels, _, _ = training_curves([log_of(folder, lines)], ['loss'], span)
    return panels[0].curves[0].smooth


@pytest.mark.parametrize('span', [0.01, 5, 1e6])
def test_smoothing_is_the_exponentially_weighted_mean(tmp_path, span):
    y = np.random.default_rng(0).normal(size=80)
    y[[0, 20, 21, 79]] = np.nan, np.inf, -np.inf, np.nan
    assert_allclose(smoothed(tmp_path, y, span), naive_mean(np.arange(80.), y, span),
                    rtol=1e-9)


def test_smoothing_does_not_lag_nor_invent_values(tmp_path):
    x = np.arange(200.)
    smooth = smoothed(tmp_path / 'a', 3 * x, 4)
    assert_allclose(smooth[60:140], 3 * x[60:140], rtol=1e-4)
    assert np.isnan(smoothed(tmp_path / 'b', x * np.nan, 1)).all()


# -- plots -----------------------------------------------------------------------


def lines_of(figure, number=0):
    return figure.axes[number].get_lines()


def test_raw_line_faint_behind_the_smooth_one():
    smooth = np.linspace(3, 1, 6)
    raw, line = lines_of(plot_curves([Panel('p', [Curve('a', X, Y, smooth, 1)])], 'e'))
    np.testing.assert_array_equal(raw.get_ydata(), np.where(np.isfinite(Y), Y, np.nan))
    np.testing.assert_array_equal(line.get_ydata(), smooth)
    np.testing.assert_array_equal(line.get_xdata(), X)
    assert raw.get_alpha() < 0.5
    assert line.get_alpha() is None
    assert to_hex(raw.get_color()) == to_hex(line.get_color()) == CYCLE[1]
    assert raw.get_zorder() <= line.get_zorder()


def test_colours_dashes_and_the_best():
    curves = [Curve('a', X, Y, colour=0), Curve('b', X, Y, colour=1, is_dashed=True),
              Curve('c', X, Y, colour=len(CYCLE))]
    lines = lines_of(plot_curves([Panel('p', curves)], 'epoch'))
    assert [to_hex(line.get_color()) for line in lines] == [*CYCLE[:2], CYCLE[0]]
    assert [line.get_linestyle() for line in lines] == ['-', '--', '-']
    figure = plot_curves([Panel('p', [Curve('a', X, X / 10, best=4)], True)], 'epoch')
    line, star = lines_of(figure)
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (5, 0.5)
    assert star.get_marker() == '*'
    axes, = figure.axes
    assert axes.get_ylim()[0] == 0
    assert axes.yaxis.get_major_formatter()(0.5) == '50 %'
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['a']


def test_panels_share_the_range_of_x():
    figure = plot_curves([Panel('p', [Curve('a', X, Y)]),
                          Panel('q', [Curve('a', 10 * X, Y)], from_zero=True),
                          Panel('', [Curve('a', X, Y)])], 'epoch', 'a caption')
    assert len(figure.axes) == 3
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[1] > 60
    assert figure.axes[1].get_ylim()[0] == 0
    assert [axes.get_title(loc='left') for axes in figure.axes] == ['p', 'q', '']
    assert {axes.get_xlabel() for axes in figure.axes} == {'epoch'}


def test_names_are_text():
    figure = plot_curves([Panel('$x$ <b>', [Curve('_a $\\frac$\n"b"', X, Y),
                                            Curve('c & d', X, Y)])], '$', 'e$ $')
    svg = figure_svg(figure)
    assert '$x$ &lt;b&gt;' in svg
    assert '_a $\\frac$ "b"' in svg
    assert 'c &amp; d' in svg
    assert 'e$ $' in svg


def test_curves_of_few_or_no_finite_values():
    panels = [Panel('p', [Curve('a', np.arange(len(y), dtype=float), np.array(y))])
              for y in ([], [1.0], [np.nan], [np.inf, np.nan])]
    assert '<svg' in figure_svg(plot_curves(panels, 'epoch'))
    with pytest.raises(ValueError, match='nothing'):
        plot_curves([], 'epoch')


@pytest.mark.parametrize(('suffix', 'begin'), [
    ('.svg', b'<?xml'), ('.pdf', b'%PDF'), ('.PNG', b'\x89PNG')])
def test_files(tmp_path, suffix, begin):
    paths = [tmp_path / name / f'c{suffix}' for name in 'ab']
    for path in paths:
        save_figure(plot_curves([Panel('p', [Curve('a', X, X)])], 'epoch'), path)
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(begin)
    assert first == second
