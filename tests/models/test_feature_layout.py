"""Layouts of features: places where they belong, exact round trips, refusals."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosam_mm.models.backbones.feature_layout import (
    FEATURE_LAYOUTS,
    TOKEN_LAYOUTS,
    clip_from_feature,
    feature_from_clip,
    find_grid,
)

N, C, T, H, W = 2, 5, 3, 4, 2
GRID = (T, H, W)
ALL = pytest.mark.parametrize('layout', FEATURE_LAYOUTS)


def naive_feature(clip, layout, prefix=0):
    """Place every value of a clip (N, C, T, H, W) by its indices."""
    n, c, t, h, w = clip.shape
    shape = {'clip': (n, c, t, h, w), 'frames': (n * t, c, h, w),
             'clip_last': (n, t, h, w, c), 'frames_last': (n * t, h, w, c),
             'clip_tokens': (n, prefix + t * h * w, c),
             'frame_tokens': (n * t, prefix + h * w, c)}[layout]
    feature = torch.full(shape, -1.0)
    for i, j, k, y, x in torch.cartesian_prod(*map(torch.arange, clip.shape)).tolist():
        index = {'clip': (i, j, k, y, x), 'frames': (i * t + k, j, y, x),
                 'clip_last': (i, k, y, x, j), 'frames_last': (i * t + k, y, x, j),
                 'clip_tokens': (i, prefix + (k * h + y) * w + x, j),
                 'frame_tokens': (i * t + k, prefix + y * w + x, j)}[layout]
        feature[index] = clip[i, j, k, y, x]
    return feature


@ALL
@pytest.mark.parametrize('prefix', [0, 2])
def test_every_value_is_where_it_belongs(layout, prefix):
    if prefix and layout not in TOKEN_LAYOUTS:
        return
    clip = torch.rand(N, C, T, H, W)
    feature = naive_feature(clip, layout, prefix)
    seen = clip_from_feature(feature, layout, GRID, prefix)
    assert torch.equal(seen, clip)
    assert seen.untyped_storage().data_ptr() == feature.untyped_storage().data_ptr()
    back = feature_from_clip(seen * 2, feature, layout, prefix)
    assert torch.equal(back, torch.where(feature < 0, feature, feature * 2))


SIZES = st.integers(1, 4)


@given(n=SIZES, c=SIZES, grid=st.tuples(SIZES, SIZES, SIZES),
       prefix=st.integers(0, 2), layout=st.sampled_from(list(FEATURE_LAYOUTS)))
def test_round_trip_of_any_size(n, c, grid, prefix, layout):
    prefix = prefix if layout in TOKEN_LAYOUTS else 0
    feature = naive_feature(torch.rand(n, c, *grid), layout, prefix)
    clip = clip_from_feature(feature, layout, grid, prefix)
    assert clip.shape == (n, c, *grid)
    assert torch.equal(feature_from_clip(clip, feature, layout, prefix), feature)


def test_gradients_pass_prefix_and_map():
    tokens = torch.rand(T, 1 + H * W, C, requires_grad=True)
    clip = clip_from_feature(tokens, 'frame_tokens', GRID, 1)
    feature_from_clip(3 * clip, tokens, 'frame_tokens', 1).sum().backward()
    assert (tokens.grad[:, 0] == 1).all()
    assert (tokens.grad[:, 1:] == 3).all()


@ALL
def test_grid_of_one_clip(layout):
    shape = naive_feature(torch.rand(1, C, T, H, W), layout).shape
    if layout in TOKEN_LAYOUTS:
        assert find_grid(shape, layout, GRID) == GRID
    else:
        assert find_grid(shape, layout) == GRID


def test_square_grid_of_frame_tokens():
    assert find_grid((8, 197, 768), 'frame_tokens', num_prefix_tokens=1) == (8, 14, 14)
    assert find_grid((8, 196, 768), 'frame_tokens') == (8, 14, 14)


@pytest.mark.parametrize(('shape', 'layout', 'grid', 'prefix', 'message'), [
    ((1, 2, 3), 'tokens', None, 0,
     "layout must be one of clip, frames, clip_last, frames_last, clip_tokens, "
     "frame_tokens; got 'tokens'"),
    ((4, 2, 3), 'clip', None, 0,
     r"'clip' has 5 dimensions, the feature here has the shape \(4, 2, 3\): set layout "
     "to 'clip_tokens' or 'frame_tokens'"),
    ((4, 2), 'frames', None, 0, 'choose a place with features of 3, 4 or 5'),
    ((4, 2, 3, 3), 'frames', (4, 3, 3), 0, "'frames' tells its own size: leave them"),
    ((4, 2, 3, 3), 'frames', None, 1, 'grid and num_prefix_tokens are for the layouts '
     'clip_tokens and frame_tokens'),
    ((4, 9, 3), 'frame_tokens', None, -1, 'num_prefix_tokens must be at least 0'),
    ((4, 8, 3), 'frame_tokens', None, 0, r'set grid=\(T, H, W\), and num_prefix'),
    ((4, 1, 3), 'frame_tokens', None, 1, r'set grid=\(T, H, W\)'),
    ((1, 36, 3), 'clip_tokens', None, 0, r'set grid=\(T, H, W\)'),
    ((4, 8, 3), 'frame_tokens', (4, 2), 0, r'grid must be \(T, H, W\) of at least 1'),
    ((4, 8, 3), 'frame_tokens', (4, 0, 2), 0, r'grid must be \(T, H, W\) of at least'),
    ((4, 8, 3), 'frame_tokens', (2, 4, 2), 0, r'set grid=\(4, 4, 2\)'),
    ((4, 8, 3), 'frame_tokens', (4, 3, 2), 0, 'The grid has 6 places and '
     r'num_prefix_tokens is 0, 6 tokens in all; the feature of shape \(4, 8, 3\) has'),
    ((1, 25, 3), 'clip_tokens', GRID, 0, '24 tokens in all'),
])
def test_shapes_that_do_not_fit(shape, layout, grid, prefix, message):
    with pytest.raises(ValueError, match=message):
        find_grid(shape, layout, grid, prefix)


def test_features_that_do_not_fit():
    with pytest.raises(ValueError, match='4 frames in a feature of shape .* make up no '
                                         'whole clips of 3'):
        clip_from_feature(torch.rand(4, C, H, W), 'frames', GRID)
    with pytest.raises(ValueError, match='24 tokens in all'):
        clip_from_feature(torch.rand(1, 30, C), 'clip_tokens', GRID)
    with pytest.raises(ValueError, match="'clip_last' has 5 dimensions"):
        feature_from_clip(torch.rand(N, C, T, H, W), torch.rand(4, C), 'clip_last')
