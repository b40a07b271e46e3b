"""Points, bars, colours and marks, read back from the figure."""
import numpy as np
import pytest
from matplotlib.colors import to_hex

from cosam_mm.visualization.curves import save_figure
from cosam_mm.visualization.style import CYCLE, figure_svg
from projects.reproduction.difficulty import DifficultyPanel, draw_difficulty

LEVELS = (0, .5, 1)
PLAIN = np.array([[60., 50., 30.], [64., 52., 28.], [62., np.nan, 29.]])
COSAM = np.array([[65., 60., 50.], [65., 62., 54.]])
PANEL = DifficultyPanel('clutter', LEVELS, {'none': PLAIN, 'COSAM': COSAM})


def drawn(axes):
    """Label -> (line, (L, 2) ends of the bars; NaN where there is none)."""
    found = {}
    for container in axes.containers:
        line, _, (bars,) = container.lines
        found[container.get_label()] = line, np.array([
            segment[:, 1] if len(segment) else (np.nan, np.nan)
            for segment in bars.get_segments()])
    return found


def test_means_and_bars():
    figure = draw_difficulty([PANEL], 'mAP')
    axes, = figure.axes
    lines = drawn(axes)
    assert list(lines) == ['none', 'COSAM']
    line, bars = lines['none']
    np.testing.assert_allclose(line.get_ydata(), [62, 51, 29])
    # By hand: sample deviations of (60, 64, 62), (50, 52), (30, 28, 29).
    deviation = np.array([2, 2**.5, 1])
    np.testing.assert_allclose(bars.T, [line.get_ydata() - deviation,
                                        line.get_ydata() + deviation])
    line, bars = lines['COSAM']
    np.testing.assert_allclose(line.get_ydata(), [65, 61, 52])
    np.testing.assert_allclose(np.ptp(bars, axis=1), [0, 2 * 2**.5, 2 * 8**.5])
    assert axes.get_ylabel() == 'mAP (%)'
    assert [text.get_text() for text in axes.get_xticklabels()] == ['0', '0.5', '1']


def test_lines_stand_beside_one_another():
    axes, = draw_difficulty([PANEL], 'mAP').axes
    first, second = (line.get_xdata() for line, _ in drawn(axes).values())
    np.testing.assert_allclose((first + second) / 2, LEVELS)
    assert (second - first > 0).all()
    assert (second - first < .05).all()


def test_one_model_stands_at_its_levels():
    panel = DifficultyPanel('a', LEVELS, {'x': COSAM})
    axes, = draw_difficulty([panel], 'mAP').axes
    np.testing.assert_array_equal(drawn(axes)['x'][0].get_xdata(), LEVELS)


def test_a_model_has_one_look_in_all_panels_and_one_legend():
    other = DifficultyPanel('occlusion', (1, 2), {'COSAM': COSAM[:, :2],
                                                  '_third$': COSAM[:1, 1:]})
    figure = draw_difficulty([PANEL, other, PANEL], 'R1', 'A caption')
    first, second, third = figure.axes
    looks = [{label: (to_hex(line.get_color()), line.get_marker())
              for label, (line, _) in drawn(axes).items()} for axes in figure.axes]
    assert looks[0] == looks[2]
    assert looks[0]['COSAM'] == looks[1]['COSAM'] == (CYCLE[1], 's')
    assert looks[1][r' _third\$'][0] == CYCLE[2]
    assert [text.get_text() for text in first.get_legend().get_texts()] == [
        'none', 'COSAM', r' _third\$']
    assert second.get_legend() is third.get_legend() is None
    assert first.get_ylim() == second.get_ylim() == third.get_ylim()
    assert [axes.get_title(loc='left') for axes in figure.axes] == [
        'clutter', 'occlusion', 'clutter']
    assert [axes.get_ylabel() for axes in figure.axes] == ['R1 (%)', '', 'R1 (%)']
    assert 'A caption' in figure_svg(figure)


@pytest.mark.parametrize('values', [[[np.nan]], [[5.]], [[5.], [np.nan]]])
def test_hardly_anything_to_draw(values):
    figure = draw_difficulty([DifficultyPanel('p', [0], {'a': values})], 'mAP')
    assert '<svg' in figure_svg(figure)
    line, bars = drawn(figure.axes[0])['a']
    np.testing.assert_array_equal(line.get_ydata(), values[0])
    assert np.isnan(bars).all()


@pytest.mark.parametrize('suffix', ['.svg', '.png'])
def test_same_values_same_file(tmp_path, suffix):
    paths = [tmp_path / f'{name}{suffix}' for name in 'ab']
    for path in paths:
        save_figure(draw_difficulty([PANEL, PANEL], 'mAP'), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(('levels', 'values', 'message'), [
    ((), PLAIN, r"Panel 'p': levels must be finite and ascend, got \[\]."),
    ((0, 0, 1), PLAIN, r'levels must be finite and ascend, got \[0.0, 0.0, 1.0\].'),
    ((0, 1, np.inf), PLAIN, r'levels must be finite and ascend, got \[0.0, 1.0, inf\]'),
    ((0, 1), PLAIN, r"Panel 'p': values of 'a' must be \(S, 2\), one for each seed and "
     r"level, got \(3, 3\)."),
    (LEVELS, PLAIN[0], r'got \(3,\).'), (LEVELS, PLAIN[:0], r'got \(0, 3\).'),
])
def test_values_that_do_not_fit(levels, values, message):
    with pytest.raises(ValueError, match=message):
        DifficultyPanel('p', levels, {'a': values})


@pytest.mark.parametrize(('panels', 'message'), [
    ([], r'There is nothing to draw: each of the panels needs a model, got \[\].'),
    ([PANEL, DifficultyPanel('p', LEVELS, {})], r"got \[\['none', 'COSAM'\], \[\]\].")])
def test_nothing_to_draw(panels, message):
    with pytest.raises(ValueError, match=message):
        draw_difficulty(panels, 'mAP')
