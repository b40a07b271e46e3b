"""Figures of a classifier: colours at cells, lengths of bars, and names that bite."""
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from cosam_mm.evaluation.functional.confusion import ClassAccuracy, compare_clips
from cosam_mm.visualization.action_figures import (
    accuracy_figure,
    cell_colours,
    class_gain_figure,
    confusion_figure,
    four_fields_figure,
    shown_name,
)
from cosam_mm.visualization.frame_strips import StripCaption, frame_strip, strips_figure
from cosam_mm.visualization.style import AMBER, BLUE, RED, figure_png, figure_svg

NASTY = ['$x$ and $y$', '<script>"&\'', 'line\nbreak', 'x' * 400, '$', '\\alpha_{',
         'éß 走', '\x1b[31m']


def pixels(figure):
    """(H, W, 3), as it is saved."""
    return np.asarray(Image.open(io.BytesIO(figure_png(figure))).convert('RGB'))


def pixel_at(image, axes, x, y):
    """Colour at a place in data coordinates, in the saved picture of the figure."""
    figure = axes.get_figure()
    across, up = axes.transData.transform((x, y)) / figure.bbox.size
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


class TestNames:

    @pytest.mark.parametrize(('name', 'limit', 'expected'), [
        ('short', 9, 'short'), ('exactly-9', 9, 'exactly-9'),
        ('more than 9', 9, 'more…an 9'), ('a\tb\nc\x00d\udc80', 9, 'a b c d'),
        ('$5', 9, r'\$5'), ('ab', 1, '…')])
    def test_shown_name(self, name, limit, expected):
        assert shown_name(name, limit) == expected

    def test_length_is_counted_before_dollars_are_escaped(self):
        assert shown_name('$' * 9, 9) == r'\$' * 9


class TestConfusion:

    def test_colours(self):
        found = cell_colours([[1, .25], [np.nan, 0]])
        np.testing.assert_allclose(found[0, 0], [*to_rgb(BLUE), 1])
        np.testing.assert_allclose(found[0, 1], [*to_rgb(RED), .5])
        assert found[1, :, 3].tolist() == [0, 0]
        np.testing.assert_allclose(found[1, 1, :3], to_rgb(BLUE))

    @pytest.mark.parametrize('count', [3, 51, 101])
    def test_cells_have_their_colours_in_the_picture(self, count):
        matrix = np.zeros((count, count), int)
        matrix[0, 0], matrix[0, 2], matrix[1, 1] = 3, 1, 5
        names = [f'class number {k}' for k in range(count)]
        figure = confusion_figure(matrix, names)
        axes = figure.axes[0]
        image = pixels(figure)
        # Beside the number in the middle of a cell.
        for row, column, expected in [
                (0, 0, on_white(BLUE, .75**.5)), (0, 2, on_white(RED, .5)),
                (1, 1, on_white(BLUE, 1)), (2, 0, [255] * 3), (1, 0, [255] * 3)]:
            found = pixel_at(image, axes, column - .28, row - .28)
            np.testing.assert_allclose(found, expected, atol=3,
                                       err_msg=f'{row}, {column}')
        assert labels(axes.get_yticklabels()) == names
        assert labels(axes.get_xticklabels()) == names

    def test_order_moves_cells_and_names(self):
        matrix = np.array([[2, 0, 2], [0, 4, 0], [1, 0, 0]])
        axes = confusion_figure(matrix, 'abc', order=[2, 0, 1]).axes[0]
        assert labels(axes.get_yticklabels()) == ['c', 'a', 'b']
        opacity = axes.images[0].get_array()[..., 3]
        np.testing.assert_allclose(opacity**2, [[0, 1, 0], [.5, .5, 0], [0, 0, 1]])

    def test_shares_of_some_classes_are_still_those_of_the_whole_row(self):
        matrix = np.array([[2, 0, 2], [0, 4, 0], [1, 0, 0]])
        axes = confusion_figure(matrix, 'abc', order=[0, 1]).axes[0]
        np.testing.assert_allclose(axes.images[0].get_array()[..., 3]**2,
                                   [[.5, 0], [0, 1]])

    def test_percentages_where_there_is_room(self):
        def numbers(count):
            matrix = np.diag(np.full(count, 999))
            matrix[0, 1] = 1
            texts = confusion_figure(matrix, ['n'] * count).axes[0].texts
            return {(text.get_position(), text.get_text()) for text in texts}

        assert numbers(2) == {((0, 0), '100'), ((1, 0), '<1'), ((1, 1), '100')}
        assert len(numbers(18)) == 19
        assert numbers(51) == set()

    @pytest.mark.parametrize('count', [8, 51, 101])
    def test_names_are_legible_and_apart(self, count):
        figure = confusion_figure(np.eye(count, dtype=int),
                                  [f'FieldHockeyPenalty{k}' for k in range(count)])
        figure.draw_without_rendering()
        ticks = figure.axes[0].get_yticklabels()
        boxes = [tick.get_window_extent() for tick in ticks]
        assert all(upper.y0 >= lower.y1 - 1
                   for upper, lower in zip(boxes, boxes[1:]))
        assert min(tick.get_fontsize() for tick in ticks) >= 6.5
        page = figure.bbox
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.y1 <= page.y1 for box in boxes)
        below = [tick.get_window_extent() for tick in
                 figure.axes[0].get_xticklabels()]
        assert min(box.y0 for box in below) >= 0

    def test_svg_of_101_classes_is_small(self):
        rng = np.random.default_rng(0)
        svg = figure_svg(confusion_figure(rng.integers(0, 9, (101, 101)),
                                          [f'class {k}' for k in range(101)]))
        assert len(svg) < 250_000

    @pytest.mark.parametrize(('names', 'order', 'message'), [
        ('ab', None, '2 names came with a matrix of 3 classes'),
        ('abc', [0, 3], r'classes in \[0, 3\), got \[0, 3\]'),
        ('abc', [], r'got \[\]')])
    def test_what_does_not_fit_is_refused(self, names, order, message):
        with pytest.raises(ValueError, match=message):
            confusion_figure(np.eye(3, dtype=int), names, order)


class TestBars:

    def test_accuracy(self):
        accuracy = ClassAccuracy(np.array([1, 4, 0, 2, 0]), np.array([4, 4, 0, 4, 2]))
        figure = accuracy_figure(accuracy, 'abcde')
        (axes,) = figure.axes
        assert labels(axes.get_yticklabels()) == ['b', 'd', 'a', 'e']
        assert [bar[:3] for bar in bars(axes)] == [
            (0, 0, 1), (1, 0, .5), (2, 0, .25), (3, 0, 0)]
        assert [text.get_text() for text in axes.texts] == ['4/4', '2/4', '1/4', '0/2']
        # (1 + 1/2 + 1/4 + 0) / 4, of the classes that have clips.
        assert axes.lines[0].get_xdata()[0] == .4375
        assert 'mean of the classes 43.8%' in shown_texts(figure)

    @pytest.mark.parametrize(('count', 'columns'), [(8, 1), (51, 1), (101, 2)])
    def test_accuracy_of_many_classes(self, count, columns):
        right = np.arange(count)
        figure = accuracy_figure(ClassAccuracy(right, np.full(count, count)),
                                 [f'c{k}' for k in range(count)])
        assert len(figure.axes) == columns
        found = [name for axes in figure.axes
                 for name in labels(axes.get_yticklabels())]
        assert found == [f'c{k}' for k in reversed(range(count))]
        assert figure.get_size_inches()[1] < 12

    def test_gain(self):
        gain = np.array([[0, 3, 0, 1], [2, 1, 0, 1]])
        figure = class_gain_figure(gain, np.array([4, 10, 5, 8]), 'abcd')
        (axes,) = figure.axes
        assert labels(axes.get_yticklabels()) == ['b', 'd', 'a']
        blue, amber = to_rgb(BLUE), to_rgb(AMBER)
        assert bars(axes) == [(0, 0, 3, blue), (1, 0, 1, blue), (2, 0, 0, blue),
                              (0, 0, -1, amber), (1, 0, -1, amber), (2, 0, -2, amber)]
        assert [text.get_text() for text in axes.texts] == [
            '+20.0', '0', '\N{MINUS SIGN}50.0']

    def test_gain_of_equal_models(self):
        figure = class_gain_figure(np.zeros((2, 3), int), np.ones(3), 'abc')
        assert 'In no class does anything change.' in shown_texts(figure)
        assert bars(figure.axes[0]) == []


def test_four_fields():
    outcome = compare_clips(np.array([1, 1, 1, 0, 0, 0, 0, 1], bool),
                            np.array([1, 1, 0, 1, 1, 1, 0, 1], bool))
    axes = four_fields_figure(outcome, 'plain', 'cosam').axes[0]
    found = {text.get_position(): text.get_text() for text in axes.texts}
    # Columns: the second right, wrong; rows: the first right, wrong.
    assert found[.5, .42] == '3'
    assert found[.5, .74] == 'both right · 37.5%'
    assert found[1.5, .42] == '1'
    assert found[1.5, .74] == 'only the first · 12.5%'
    assert found[.5, 1.42] == '3'
    assert found[.5, 1.74] == 'only the second · 37.5%'
    assert found[1.5, 1.42] == '1'
    assert found[1.5, 1.74] == 'both wrong · 12.5%'
    assert axes.get_xlabel() == 'second: cosam'
    assert axes.get_ylabel() == 'first: plain'


def test_names_are_shown_as_they_are():
    """In an SVG that is sound, and without their dollars being read as maths."""
    count = len(NASTY)
    outcome = compare_clips(np.array([True, False]), np.array([False, True]))
    strip = np.zeros((8, 16, 3), np.uint8)
    figures = [
        confusion_figure(np.eye(count, dtype=int), NASTY, title=shown_name(NASTY[0])),
        accuracy_figure(ClassAccuracy(np.arange(count), np.full(count, 9)), NASTY),
        class_gain_figure(np.ones((2, count), int), np.full(count, 9), NASTY)]
    for figure in figures:
        texts = shown_texts(figure)
        assert {'$x$ and $y$', '<script>"&\'', 'line break', '$', '\\alpha_{',
                'éß 走'} <= set(texts)
        assert max(map(len, texts)) < 80
    for figure in (four_fields_figure(outcome, NASTY[0], NASTY[1]),
                   strips_figure([strip], [StripCaption(NASTY[0], *NASTY[1:3])])):
        assert any('$x$ and $y$' in text for text in shown_texts(figure))
        assert any('<script>' in text for text in shown_texts(figure))


class TestStrips:

    def test_frames_stand_in_a_row(self):
        frames = np.zeros((3, 20, 30, 3), np.uint8)
        frames[0, ..., 0], frames[1, ..., 1], frames[2, ..., 2] = 200, 150, 100
        strip = frame_strip(frames, height=10, gap=2)
        assert strip.shape == (10, 3 * 15 + 2 * 2, 3)
        assert strip.dtype == np.uint8
        assert (strip[:, :15] == [200, 0, 0]).all()
        assert (strip[:, 17:32] == [0, 150, 0]).all()
        assert (strip[:, 34:] == [0, 0, 100]).all()
        assert strip[:, 15:17].max() < 60

    def test_of_its_own_height_a_frame_stays_as_it_is(self):
        frame = np.random.default_rng(0).integers(0, 256, (1, 9, 7, 3), dtype=np.uint8)
        np.testing.assert_array_equal(frame_strip(frame, height=9), frame[0])

    @pytest.mark.parametrize('frames', [
        np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 3)),
        np.zeros((0, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 4), np.uint8)])
    def test_other_arrays_are_refused(self, frames):
        with pytest.raises(ValueError, match=r'\(T, H, W, 3\) uint8, got'):
            frame_strip(frames)

    def test_figure_shows_each_with_its_caption(self):
        strips = [np.full((10, width, 3), width, np.uint8) for width in (40, 20, 30)]
        captions = [StripCaption(f'heading {k}', f'text {k}', f'clip {k}')
                    for k in range(3)]
        figure = strips_figure(strips, captions, 'All')
        shown = [axes for axes in figure.axes if axes.images]
        for axes, strip in zip(shown, strips):
            np.testing.assert_array_equal(axes.images[0].get_array(), strip)
        texts = shown_texts(figure)
        assert {'All', *(f'heading {k}' for k in range(3))} <= set(texts)
        image = pixels(figure)
        for axes, strip in zip(shown, strips):
            colour = pixel_at(image, axes, strip.shape[1] / 2, 5)
            assert abs(int(colour[0]) - strip.shape[1]) <= 1
        assert image.shape[1] == 1125

    @pytest.mark.parametrize('count', [0, 2])
    def test_captions_must_fit(self, count):
        with pytest.raises(ValueError, match=f'1 captions came with {count} strips'):
            strips_figure([np.zeros((4, 4, 3), np.uint8)] * count,
                          [StripCaption('', '', '')])
