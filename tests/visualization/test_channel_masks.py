"""Channel masks as bars: values, order and names."""
import numpy as np
import pytest
from matplotlib.patches import Rectangle, StepPatch

from cosam_mm.visualization.channel_masks import channel_figure
from cosam_mm.visualization.style import figure_svg


@pytest.fixture
def masks():
    rng = np.random.default_rng(0)
    return {'layer3': rng.random(20), 'layer4': rng.random(6)}


def steps(axes):
    return [patch for patch in axes.patches if isinstance(patch, StepPatch)]


def bars(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_all_channels_by_falling_value(masks):
    figure = channel_figure(masks)
    assert len(figure.axes) == 4
    for axes, (name, mask) in zip(figure.axes[::2], masks.items()):
        (found,) = steps(axes)
        np.testing.assert_array_equal(found.get_data().values, sorted(mask)[::-1])
        assert axes.get_title(loc='left') == name


def test_most_agreed_channels_by_number(masks):
    figure = channel_figure(masks, num_named=4)
    for axes, mask in zip(figure.axes[1::2], masks.values()):
        named = [int(label.get_text()) for label in axes.get_yticklabels()]
        assert named == sorted(range(len(mask)), key=lambda k: -mask[k])[:4]
        widths = [bar.get_width() for bar in bars(axes)]
        np.testing.assert_array_equal(widths, mask[named])
        assert axes.yaxis_inverted()  # the first one above


def test_few_channels_are_all_named(masks):
    labels = channel_figure(masks).axes[3].get_yticklabels()
    assert len(labels) == 6


def test_before_training_is_marked_at_the_same_channels(masks):
    before = {name: 1 - mask for name, mask in masks.items()}
    figure = channel_figure(masks, before, num_named=3)
    for (left, right), name in zip(zip(figure.axes[::2], figure.axes[1::2]), masks):
        np.testing.assert_array_equal(steps(left)[1].get_data().values,
                                      sorted(before[name])[::-1])
        best = np.argsort(-masks[name])[:3]
        np.testing.assert_array_equal(right.lines[0].get_xdata(), before[name][best])


def test_names_are_text(masks):
    figure = channel_figure({'$x': masks['layer3'], 'a$y$': masks['layer4']},
                            title='a $b$ <c>')
    svg = figure_svg(figure)
    assert 'a $b$ &lt;c&gt;' in svg
    assert '$x' in svg


def test_there_must_be_a_layer():
    with pytest.raises(ValueError, match='at least one layer'):
        channel_figure({})
