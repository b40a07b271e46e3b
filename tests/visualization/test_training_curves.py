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


def labels(panels):
    """Title -> labels of the curves."""
    return {panel.title: [curve.label for curve in panel.curves] for panel in panels}


def test_one_run(tmp_path):
    lines = [train_line(e, 10 * e, loss=3 / e, loss_cls=3 / e, loss_aux=0.1 * e,
                        memory=512) for e in range(1, 5)]
    lines += [val_line(4, 0.5, **{'acc/top3': 0.75, 'acc/mean1': 0.5, 'acc/ce': 2.5})]
    panels, x_label, caption = training_curves([log_of(tmp_path, lines)], span=2)
    # No curve covers an equal one; a metric that is no share is left out.
    assert labels(panels) == {
        'Training loss': ['loss', 'loss_aux'],
        'Validation': ['acc/top1: 50.0 % at 4', 'acc/top3: 75.0 % at 4'],
        'Learning rate': ['lr'], 'Time of an iteration, s': ['time', 'data_time'],
        'GPU memory, MB': ['memory']}
    assert [panel.is_share for panel in panels] == [False, True, False, False, False]
    assert [curve.colour for curve in panels[0].curves] == [0, 1]
    assert x_label == 'epoch'
    assert 'over 2 epochs' in caption
    assert [panel.curves[0].smooth is None for panel in panels] == [
        False, True, True, False, True]


def test_several_runs_by_colour_and_name(two):
    panels, _, caption = training_curves(two)
    assert 'over 0.03 epochs' in caption  # 1 % of 3
    assert labels(panels) == {
        'Training loss': ['a', 'b'],
        'Validation: acc/top1': ['a: 3.0 % at 3', 'b: 3.0 % at 3'],
        'Learning rate': ['a', 'b'],
        'Time of an iteration, s': ['a, time', 'a, data_time', 'b, time',
                                    'b, data_time']}
    assert [(curve.colour, curve.is_dashed) for curve in panels[3].curves] == [
        (0, False), (0, True), (1, False), (1, True)]
    assert [curve.best for curve in panels[1].curves] == [2, 2]
    assert panels[0].curves[1].y[0] == 2


def test_chosen_keys_without_smoothing(two):
    panels, _, caption = training_curves(two, ['acc/top1', 'loss'], span=0)
    assert list(labels(panels)) == ['acc/top1', 'loss']
    assert [panel.curves[0].best for panel in panels] == [2, None]
    assert panels[1].curves[0].smooth is None
    assert caption == 'Stars: best validation.'
    with pytest.raises(ValueError, match='mAP.*acc/top1'):
        training_curves(two, ['mAP'])
    for span in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match='span'):
            training_curves(two, span=span)


def test_different_metrics_and_a_run_without_epochs(tmp_path, two):
    other = log_of(tmp_path / 'reid', [
        train_line(None, 20), '{"reid/mAP": 0.4, "step": 20}'])
    panels, x_label, caption = training_curves([two[0], other])
    assert labels(panels)['Validation: reid/mAP'] == ['reid: 40.0 % at 20']
    assert panels[2].curves[0].colour == 1  # its own, though it is alone there
    assert x_label == 'iteration'
    assert panels[0].curves[0].x[-1] == 30
    assert 'over 0.3 iterations' in caption


def test_smallest_loss_is_best_and_what_is_no_number_is_not(tmp_path):
    lines = [line for e, v in ((1, 2.), (2, 1.), (3, math.nan)) for line in (
        train_line(e, e, loss=v), json.dumps({'val/cross_entropy': v, 'step': e}))]
    panels, _, _ = training_curves([log_of(tmp_path / 'a', lines)])
    assert_array_equal(panels[0].curves[0].y, [2, 1, np.nan])
    curve, = panels[1].curves
    assert (curve.label, curve.best) == ('cross_entropy: 1 at 2', 1)
    assert not panels[1].is_share
    panels, _, _ = training_curves([log_of(tmp_path / 'b', [
        train_line(1, 1), val_line(1, math.nan)])])
    assert labels(panels)['Validation'] == ['acc/top1']


# -- smoothing -------------------------------------------------------------------


@pytest.mark.parametrize('span', [0.01, 5, 1e6])
def test_smoothing_is_the_exponentially_weighted_mean(tmp_path, span):
    """Of every point with every other; from both sides, so that nothing lags."""
    y = np.random.default_rng(0).normal(size=80)
    y[[0, 20, 21, 79]] = np.nan, np.inf, -np.inf, np.nan
    expected = np.full(80, np.nan)
    for own in np.flatnonzero(np.isfinite(y)):
        pairs = [(math.exp(-abs(own - other) / span), value)
                 for other, value in enumerate(y) if math.isfinite(value)]
        expected[own] = sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
    log = log_of(tmp_path, [train_line(None, 3 + step, loss=value)
                            for step, value in enumerate(y)])
    panels, _, _ = training_curves([log], ['loss'], span)
    assert_allclose(panels[0].curves[0].smooth, expected, rtol=1e-9)


# -- plots -----------------------------------------------------------------------


def lines_of(*curves, **settings):
    axes, = plot_curves([Panel('p', curves, **settings)], 'epoch').axes
    return axes, axes.get_lines()


def test_raw_line_faint_behind_the_smooth_one():
    smooth = np.linspace(3, 1, 6)
    _, (raw, line) = lines_of(Curve('a', X, Y, smooth, 1))
    assert_array_equal(raw.get_ydata(), np.where(np.isfinite(Y), Y, np.nan))
    assert_array_equal(line.get_ydata(), smooth)
    assert_array_equal(line.get_xdata(), X)
    assert raw.get_alpha() < 0.5
    assert line.get_alpha() is None
    assert to_hex(raw.get_color()) == to_hex(line.get_color()) == CYCLE[1]
    assert raw.get_zorder() <= line.get_zorder()


def test_colours_dashes_and_the_best():
    _, lines = lines_of(Curve('a', X, Y), Curve('b', X, Y, colour=1, is_dashed=True),
                        Curve('c', X, Y, colour=len(CYCLE)))
    assert [to_hex(line.get_color()) for line in lines] == [*CYCLE[:2], CYCLE[0]]
    assert [line.get_linestyle() for line in lines] == ['-', '--', '-']
    axes, (_, star) = lines_of(Curve('a', X, X / 10, best=4), is_share=True)
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (5, 0.5)
    assert star.get_marker() == '*'
    assert axes.get_ylim()[0] == 0
    assert axes.yaxis.get_major_formatter()(0.5) == '50 %'
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['a']


def test_panels_share_the_range_of_x():
    figure = plot_curves([Panel('p', [Curve('a', X, Y)]),
                          Panel('q', [Curve('a', 10 * X, Y)], from_zero=True),
                          Panel('', [Curve('a', X, Y)])], 'epoch', 'a caption')
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[1] > 60
    assert figure.axes[1].get_ylim()[0] == 0
    assert [axes.get_title(loc='left') for axes in figure.axes] == ['p', 'q', '']
    assert {axes.get_xlabel() for axes in figure.axes} == {'epoch'}


def test_names_are_text_and_curves_may_be_empty():
    panels = [Panel('$x$ <b>', [Curve('_a $\\frac$\n"b"', X, Y),
                                Curve('c & d', X, Y)])]
    panels += [Panel('p', [Curve('a', np.arange(len(y), dtype=float), np.array(y))])
               for y in ([], [1.0], [np.nan], [np.inf, np.nan])]
    svg = figure_svg(plot_curves(panels, '$', 'e$ $'))
    for text in ('$x$ &lt;b&gt;', '_a $\\frac$ "b"', 'c &amp; d', 'e$ $'):
        assert text in svg
    with pytest.raises(ValueError, match='nothing'):
        plot_curves([], 'epoch')


@pytest.mark.parametrize(('suffix', 'begin'), [
    ('.svg', b'<?xml'), ('.pdf', b'%PDF'), ('.PNG', b'\x89PNG')])
def test_equal_plots_give_equal_files(tmp_path, suffix, begin):
    paths = [tmp_path / name / f'c{suffix}' for name in 'ab']
    for path in paths:
        save_figure(plot_curves([Panel('p', [Curve('a', X, X)])], 'epoch'), path)
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(begin)
    assert first == second
