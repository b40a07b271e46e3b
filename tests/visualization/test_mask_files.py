"""Files of masks: bars of channel masks, names of files, kinds of videos."""
import numpy as np
import pytest
from matplotlib.patches import Rectangle, StepPatch

from cosam_mm.visualization.mask_files import (
    output_names,
    plot_channel_masks,
    write_masks,
)
from cosam_mm.visualization.mask_maps import AFTER, BEFORE, ClipMasks, MaskedClip
from cosam_mm.visualization.style import figure_svg


def clip_of(*states, name='clip', spatial=None):
    """A clip of 2 frames by state; each state is name -> channel mask."""
    states = dict(zip([''] if len(states) == 1 else [BEFORE, AFTER], states))
    return MaskedClip(name, list(np.zeros((2, 8, 8, 3), np.uint8)), np.arange(2), {
        state: {key: ClipMasks(spatial, mask) for key, mask in masks.items()}
        for state, masks in states.items()})


@pytest.fixture
def masks():
    rng = np.random.default_rng(0)
    return {'layer3': rng.random(20), 'layer4': rng.random(6)}


def steps(axes):
    return [patch.get_data().values for patch in axes.patches
            if isinstance(patch, StepPatch)]


def test_all_channels_by_falling_value_and_the_highest_by_number(masks):
    """Values before training are marked at the same channels."""
    before = {name: 1 - mask for name, mask in masks.items()}
    figure = plot_channel_masks(clip_of(before, masks), num_named=7)
    assert len(figure.axes) == 4
    for left, right, (name, mask) in zip(figure.axes[::2], figure.axes[1::2],
                                         masks.items()):
        for values, expected in zip(steps(left), (mask, before[name])):
            np.testing.assert_array_equal(values, sorted(expected)[::-1])
        assert left.get_title(loc='left') == name
        named = [int(label.get_text()) for label in right.get_yticklabels()]
        assert named == sorted(range(len(mask)), key=lambda k: -mask[k])[:7]
        widths = [bar.get_width() for bar in right.patches
                  if isinstance(bar, Rectangle)]
        np.testing.assert_array_equal(widths, mask[named])
        np.testing.assert_array_equal(right.lines[0].get_xdata(), before[name][named])
        assert right.yaxis_inverted()  # the first one above


def test_names_are_text(masks):
    svg = figure_svg(plot_channel_masks(clip_of(
        {'$x': masks['layer3'], 'a$y$': masks['layer4']}, name='a $b$ <c>')))
    assert 'a $b$ &lt;c&gt;' in svg
    assert '$x' in svg


def test_names_of_files(tmp_path):
    for folder in ('a/x', 'b/x'):
        (tmp_path / folder).mkdir(parents=True)
    folders = [str(tmp_path / 'a' / 'x'), str(tmp_path / 'b' / 'x')]
    assert output_names(folders) == ['a_x', 'b_x']
    assert output_names(['v/walk.mp4', 'v/run.avi']) == ['walk', 'run']
    assert output_names(['v/walk.mp4', 'v/walk.avi']) == ['walk_1', 'walk_2']
    assert output_names(['v/walk.mp4']) == ['walk']


@pytest.mark.parametrize(('spatial', 'channel', 'expected'), [
    (None, np.ones(4), ['x_channels.png']),
    (np.zeros((2, 2, 2)), None, ['x_masks.png', 'x_masks.mp4', 'x_masks.gif'])],
    ids=['channel mask only', 'spatial mask only'])
def test_files_of_the_masks_that_a_model_makes(tmp_path, spatial, channel, expected):
    pytest.importorskip('av')
    clip = clip_of(dict(a=channel), spatial=spatial)
    with pytest.raises(ValueError, match='avi'):
        write_masks(clip, tmp_path, 'x', 'avi')
    files = write_masks(clip, tmp_path / 'new', 'x', 'both')
    assert [path.name for path in files] == expected
    assert all(path.stat().st_size for path in files)


def test_name_that_is_no_text(masks):
    figure_svg(plot_channel_masks(clip_of(masks, name='a\udcff.avi')))
