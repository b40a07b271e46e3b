"""Plots of a classifier: colours of cells, lengths of bars, and hostile names."""
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from cosam_mm.visualization.action_results import ActionResults, compare_results
from cosam_mm.visualization.confusion_plots import (
    comparison_plots,
    result_plots,
    shown_name,
)
from cosam_mm.visualization.style import AMBER, BLUE, RED, figure_png, figure_svg

HOSTILE = ['$x$ and $y$', '<script>"&\'', 'line\nbreak', 'x' * 400, '$', '\\alpha_{',
           'éß 走', '\x1b[31m']


def results_of(matrix):
    """A test with this confusion matrix."""
    matrix = np.asarray(matrix)
    label, predicted = np.repeat(np.argwhere(matrix + 1), matrix.ravel(), axis=0).T
    names = np.array([f'clip {k}' for k in range(len(label))])
    return ActionResults('s.npz', '', 0, 'prob', names, label,
                         np.eye(len(matrix))[predicted])


def plots_of(matrix, names):
    return {plot.key: plot.figure for plot in result_plots(results_of(matrix), names)}


def gains_of(first, second, names):
    """Plots of two models; each model by its predicted class of each clip, by class."""
    label = np.repeat(np.arange(len(first)), [len(own) for own in first])
    ids = np.array([f'clip {k}' for k in range(len(label))])
    sides = [ActionResults('s.npz', '', 0, 'prob', ids, label,
                           np.eye(len(first))[np.concatenate(side)])
             for side in (first, second)]
    return {plot.key: plot.figure for plot in comparison_plots(
        compare_results(*sides), names, names[0], names[1])}


def pixel_at(image, axes, x, y):
    """Colour at a position in data coordinates, in the saved image of the plot."""
    across, up = axes.transData.transform((x, y)) / axes.get_figure().bbox.size
    return image[int((1 - up) * image.shape[0]), int(across * image.shape[1])]


def on_white(colour, alpha):
    return 255 * (alpha * np.array(to_rgb(colour)) + 1 - alpha)


def shown_texts(figure):
    """Texts of the SVG as a reader has them."""
    root = ElementTree.fromstring(figure_svg(figure))
    return [''.join(node.itertext()).strip() for node in root.iter()
            if node.tag.endswith('}text')]


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def bars(axes):
    """(row, from, to, colour) of the bars."""
    return [(round(bar.get_y() + bar.get_height() / 2), bar.get_x(),
             bar.get_x() + bar.get_width(), bar.get_facecolor()[:3])
            for bar in axes.patches]


@pytest.mark.parametrize(('name', 'limit', 'expected'), [
    ('short', 9, 'short'), ('exactly-9', 9, 'exactly-9'),
    ('more than 9', 9, 'more…an 9'), ('a\tb\nc\x00d\udc80', 9, 'a b c d'),
    ('$5', 9, r'\$5'), ('ab', 1, '…'),
    ('$' * 9, 9, r'\$' * 9)])
def test_shown_name(name, limit, expected):
    assert shown_name(name, limit) == expected


# -- confusion -------------------------------------------------------------------


@pytest.mark.parametrize('count', [3, 101])
def test_matrix_in_the_image(count):
    """Colours of cells; names are legible and apart; the SVG is small."""
    matrix = np.zeros((count, count), int)
    matrix[0, 0], matrix[0, 2], matrix[1, 1] = 3, 1, 5
    matrix[3:] = np.random.default_rng(0).integers(0, 9, (count - 3, count))
    names = [f'FieldHockeyPenalty{k}' for k in range(count)]
    figure = plots_of(matrix, names)['confusion']
    axes = figure.axes[0]
    image = np.asarray(Image.open(io.BytesIO(figure_png(figure, 90))).convert('RGB'))
    # Beside the number in the middle of a cell.
    for row, column, expected in [
            (0, 0, on_white(BLUE, .75**.5)), (0, 2, on_white(RED, .5)),
            (1, 1, on_white(BLUE, 1)), (2, 0, [255] * 3), (1, 0, [255] * 3)]:
        colour = pixel_at(image, axes, column - .28, row - .28)
        np.testing.assert_allclose(colour, expected, atol=3, err_msg=f'{row}, {column}')
    assert labels(axes.get_yticklabels()) == labels(axes.get_xticklabels()) == names
    boxes = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in zip(boxes, boxes[1:]))
    assert min(box.x0 for box in boxes) >= 0
    figure.set_layout_engine('none')
    assert len(figure_svg(figure)) < 250_000


def test_classes_are_grouped_if_there_are_many():
    """Classes 0 and 11 are taken for each other."""
    matrix = np.diag(np.full(12, 8))
    matrix[0, 11] = matrix[11, 0] = 4
    plots = plots_of(matrix, list('abcdefghijkl'))
    order = labels(plots['confusion_grouped'].axes[0].get_yticklabels())
    assert abs(order.index('a') - order.index('l')) == 1
    assert sorted(order) == list('abcdefghijkl')
    opacity = plots['confusion_grouped'].axes[0].images[0].get_array()[..., 3]
    row, column = order.index('a'), order.index('l')
    np.testing.assert_allclose(opacity[row, [row, column]]**2, [2 / 3, 1 / 3])
    assert 'confusion_grouped' not in plots_of(matrix[:3, :3], 'abc')


def test_only_classes_with_most_mistakes_of_very_many():
    matrix = np.diag(np.full(130, 2))
    matrix[7, 8] = 2
    plot = result_plots(results_of(matrix), [f'c{k}' for k in range(130)])[0]
    axes = plot.figure.axes[0]
    names = labels(axes.get_yticklabels())
    assert len(names) == 120
    # Shares are still those of the whole row.
    opacity = axes.images[0].get_array()[names.index('c7'), names.index('c8'), 3]
    assert opacity**2 == pytest.approx(.5)
    assert '120' in plot.caption


def test_percentages_if_there_is_room():
    def numbers(count):
        matrix = np.diag(np.full(count, 999))
        matrix[0, 1] = 1
        texts = plots_of(matrix, ['n'] * count)['confusion'].axes[0].texts
        return {(text.get_position(), text.get_text()) for text in texts}

    assert numbers(2) == {((0, 0), '100'), ((1, 0), '<1'), ((1, 1), '100')}
    assert len(numbers(18)) == 19
    assert numbers(51) == set()


# -- class by class --------------------------------------------------------------


def test_class_accuracy():
    matrix = np.zeros((5, 5), int)
    matrix[0, :2], matrix[1, 1], matrix[4, 0] = (1, 3), 4, 2
    matrix[3, :4] = 2, 0, 0, 2
    (axes,) = (figure := plots_of(matrix, 'abcde')['class_accuracy']).axes
    assert labels(axes.get_yticklabels()) == ['b', 'd', 'a', 'e']
    assert [bar[:3] for bar in bars(axes)] == [
        (0, 0, 1), (1, 0, .5), (2, 0, .25), (3, 0, 0)]
    assert labels(axes.texts) == ['4/4', '2/4', '1/4', '0/2']
    # (1 + 1/2 + 1/4 + 0) / 4, of the classes that have clips.
    assert axes.lines[0].get_xdata()[0] == .4375
    assert 'mean of the classes 43.8%' in shown_texts(figure)


@pytest.mark.parametrize(('count', 'columns'), [(60, 1), (61, 2)])
def test_accuracy_of_many_classes(count, columns):
    """Class k has k right clips and one wrong."""
    matrix = np.diag(np.arange(count))
    matrix[:, 0] += 1
    matrix[0, :2] = 0, 1
    figure = plots_of(matrix, [f'c{k}' for k in range(count)])['class_accuracy']
    assert len(figure.axes) == columns
    shown = [name for axes in figure.axes for name in labels(axes.get_yticklabels())]
    assert shown == [f'c{k}' for k in reversed(range(count))]
    assert figure.get_size_inches()[1] < 12


# -- two models ------------------------------------------------------------------


def test_outcome_and_gain_of_two_models():
    plots = gains_of([[0, 0, 1, 1], [1, 0, 0, 0, 0], [2], [3, 0, 3]],
                     [[2, 2, 1, 1], [0, 1, 1, 1, 0], [2], [0, 3, 3]],
                     ['a', 'b', 'c', 'd'])
    axes = plots['comparison'].axes[0]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    # Columns: the second right, wrong; rows: the first right, wrong.
    assert (texts[.5, .42], texts[.5, .74]) == ('2', 'both right · 15.4%')
    assert (texts[1.5, .42], texts[1.5, .74]) == ('4', 'only the first · 30.8%')
    assert (texts[.5, 1.42], texts[.5, 1.74]) == ('4', 'only the second · 30.8%')
    assert (texts[1.5, 1.42], texts[1.5, 1.74]) == ('3', 'both wrong · 23.1%')
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('second: b', 'first: a')
    (axes,) = plots['class_gain'].axes
    assert labels(axes.get_yticklabels()) == ['b', 'd', 'a']
    blue, amber = to_rgb(BLUE), to_rgb(AMBER)
    assert bars(axes) == [(0, 0, 3, blue), (1, 0, 1, blue), (2, 0, 0, blue),
                          (0, 0, -1, amber), (1, 0, -1, amber), (2, 0, -2, amber)]
    assert labels(axes.texts) == ['+40.0', '0', '\N{MINUS SIGN}50.0']


def test_gain_of_equal_models():
    (axes,) = gains_of([[0], [1]], [[0], [1]], 'ab')['class_gain'].axes
    assert len(axes.texts) == 1
    assert bars(axes) == []


def test_names_are_shown_literally():
    """In a valid SVG, and without their dollars being read as mathematics."""
    count = len(HOSTILE)
    wrong = [[(k + 1) % count] for k in range(count)]
    right = [[k] for k in range(count)]
    plots = {**plots_of(np.eye(count, dtype=int), HOSTILE),
             **gains_of(wrong, right, HOSTILE)}
    for key in ('confusion', 'class_accuracy', 'class_gain'):
        texts = shown_texts(plots[key])
        assert {'$x$ and $y$', '<script>"&\'', 'line break', '$', '\\alpha_{',
                'éß 走'} <= set(texts)
        assert max(map(len, texts)) < 80
    texts = shown_texts(plots['comparison'])
    assert {'first: $x$ and $y$', 'second: <script>"&\''} <= set(texts)
