"""Numbers in the CMC figure and the histogram of distances."""
import io

import numpy as np
import pytest
from PIL import Image

from cosam_mm.evaluation.functional.ranked_lists import (
    PairHistogram,
    Separation,
    separation,
)
from cosam_mm.visualization.reid_figures import (
    describe_separation,
    draw_cmc,
    draw_distances,
)
from cosam_mm.visualization.style import figure_png, figure_svg

CURVES = {'plain': np.linspace(.5, .975, 20), '$re$<ranked>': np.linspace(.6, 1, 20)}


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_cmc_curves_and_marks():
    figure = draw_cmc(CURVES)
    lines = figure.axes[0].get_lines()
    for line, curve in zip(lines, CURVES.values()):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 21))
        np.testing.assert_allclose(line.get_ydata(), 100 * curve)
        assert line.get_markevery() == [0, 4, 9, 19]
    assert lines[0].get_marker() != lines[1].get_marker()
    assert legend_texts(figure) == [
        'plain:   R1 50.0 %   R5 60.0 %   R10 72.5 %   R20 97.5 %',
        '$re$<ranked>:   R1 60.0 %   R5 68.4 %   R10 78.9 %   R20 100.0 %']
    low, high = figure.axes[0].get_ylim()
    assert low < 50
    assert high > 100


def test_a_gallery_smaller_than_the_marks():
    figure = draw_cmc({'plain': np.array([.25, .5, 1.])})
    assert legend_texts(figure) == ['plain:   R1 25.0 %']
    assert figure.axes[0].get_xticks().tolist() == [1]


def test_names_are_text_in_a_page():
    svg = figure_svg(draw_cmc(CURVES))
    assert '$re$&lt;ranked&gt;' in svg
    assert '<ranked' not in svg


PAIRS = PairHistogram(np.arange(7.), np.array([0, 6, 3, 1, 0, 0]),
                      np.array([0, 0, 10, 20, 60, 10]))


def test_distances_as_shares_of_their_kind():
    figure = draw_distances(PAIRS, separation(PAIRS), 'cosine', num_bins=5)
    axes = figure.axes[0]
    outlines = [patch for patch in axes.patches if not patch.get_fill()]
    for patch, shares in zip(outlines, ([60, 30, 10, 0, 0], [0, 10, 20, 60, 10])):
        values, edges, _ = patch.get_data()
        np.testing.assert_allclose(values, shares)
        np.testing.assert_allclose(edges, [1, 2, 3, 4, 5, 6])
    assert legend_texts(figure) == [
        'one person (10 pairs)', 'two persons (100 pairs)', '3: tells them apart best']
    assert axes.get_lines()[0].get_xdata() == [3, 3]
    assert axes.get_xlabel() == 'cosine distance'


def test_overlap_in_words():
    found = Separation(5.1234, .05, .0642, .1142, .981)
    assert describe_separation(found, 'euclidean') == (
        'At the euclidean distance of 5.12 the two kinds are told apart best: 5.0 % of '
        'the pairs of one person are farther, 6.4 % of the pairs of two persons are '
        'nearer, an overlap of 11.4 %. Of a pair of one person and a pair of two, the '
        'former is the nearer one in 98.1 % of the cases.')
    assert describe_separation(found).startswith('At the distance of 5.12 ')


def test_figures_become_files():
    for figure in (draw_cmc(CURVES), draw_distances(PAIRS, separation(PAIRS))):
        image = Image.open(io.BytesIO(figure_png(figure, dpi=60)))
        assert image.size[0] == 450


def test_nothing_to_draw():
    with pytest.raises(ValueError, match='There is no CMC curve to draw'):
        draw_cmc({})
