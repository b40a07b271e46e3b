"""Lines, colours and marks of the axes, read back from the figure."""
import numpy as np
import pytest
from matplotlib.colors import to_hex

from cosam_mm.visualization.curves import Curve, Panel, draw_curves, save_figure
from cosam_mm.visualization.style import CYCLE, figure_svg

X = np.arange(1., 7)
Y = np.array([3, 2, np.nan, np.inf, 1, 0.5])


def lines_of(figure, number=0):
    return figure.axes[number].get_lines()


def test_raw_line_faint_behind_the_smooth_one():
    smooth = np.linspace(3, 1, 6)
    raw, line = lines_of(draw_curves([Panel('p', [Curve('a', X, Y, smooth, 1)])], 'e'))
    np.testing.assert_array_equal(raw.get_ydata(), np.where(np.isfinite(Y), Y, np.nan))
    np.testing.assert_array_equal(line.get_ydata(), smooth)
    np.testing.assert_array_equal(line.get_xdata(), X)
    assert raw.get_alpha() < 0.5
    assert line.get_alpha() is None
    assert to_hex(raw.get_color()) == to_hex(line.get_color()) == CYCLE[1]
    assert raw.get_zorder() <= line.get_zorder()


def test_colours_and_dashes():
    curves = [Curve('a', X, Y, colour=0), Curve('b', X, Y, colour=1, is_dashed=True),
              Curve('c', X, Y, colour=len(CYCLE))]
    lines = lines_of(draw_curves([Panel('p', curves)], 'epoch'))
    assert [to_hex(line.get_color()) for line in lines] == [*CYCLE[:2], CYCLE[0]]
    assert [line.get_linestyle() for line in lines] == ['-', '--', '-']


def test_best_is_marked():
    figure = draw_curves([Panel('p', [Curve('a', X, X / 10, best=4)], True)], 'epoch')
    line, star = lines_of(figure)
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (5, 0.5)
    assert star.get_marker() == '*'
    axes, = figure.axes
    assert axes.get_ylim()[0] == 0
    assert axes.yaxis.get_major_formatter()(0.5) == '50 %'
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['a']


def test_panels_share_the_range_of_x():
    figure = draw_curves([Panel('p', [Curve('a', X, Y)]),
                          Panel('q', [Curve('a', 10 * X, Y)], from_zero=True),
                          Panel('', [Curve('a', X, Y)])], 'epoch', 'a caption')
    assert len(figure.axes) == 3
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[1] > 60
    assert figure.axes[1].get_ylim()[0] == 0
    assert [axes.get_title(loc='left') for axes in figure.axes] == ['p', 'q', '']
    assert {axes.get_xlabel() for axes in figure.axes} == {'epoch'}


def test_names_are_text():
    figure = draw_curves([Panel('$x$ <b>', [Curve('_a $\\frac$\n"b"', X, Y),
                                            Curve('c & d', X, Y)])], '$', 'e$ $')
    svg = figure_svg(figure)
    assert '$x$ &lt;b&gt;' in svg
    assert '_a $\\frac$ "b"' in svg
    assert 'c &amp; d' in svg
    assert 'e$ $' in svg


@pytest.mark.parametrize('y', [[], [1.0], [np.nan], [np.inf, np.nan]])
def test_hardly_anything_to_draw(y):
    curve = Curve('a', np.arange(len(y), dtype=float), np.array(y))
    assert '<svg' in figure_svg(draw_curves([Panel('p', [curve])], 'epoch'))


def test_nothing_to_draw():
    for panels in ([], [Panel('p', [])]):
        with pytest.raises(ValueError, match=r'There is nothing to draw: each of'):
            draw_curves(panels, 'epoch')


@pytest.mark.parametrize(('suffix', 'begin'), [
    ('.png', b'\x89PNG'), ('.svg', b'<?xml'), ('.pdf', b'%PDF'), ('.PNG', b'\x89PNG')])
def test_files(tmp_path, suffix, begin):
    paths = [tmp_path / name / f'c{suffix}' for name in 'ab']
    for path in paths:
        save_figure(draw_curves([Panel('p', [Curve('a', X, Y)])], 'epoch'), path)
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(begin)
    assert first == second
