"""Layouts of features: every value at its position, round trips, refusals."""
import pytest
import torch

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
    """Put every value of a clip (N, C, T, H, W) by its indices."""
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
@pytest.mark.parametrize('size', [(N, C, *GRID), (1, 1, 1, 1, 1), (3, 2, 4, 1, 5)])
def test_every_value_is_where_it_belongs(layout, prefix, size):
    if prefix and layout not in TOKEN_LAYOUTS:
        return
    clip = torch.rand(size)
    feature = naive_feature(clip, layout, prefix)
    seen = clip_from_feature(feature, layout, size[2:], prefix)
    assert torch.equal(seen, clip)
    assert seen.untyped_storage().data_ptr() == feature.untyped_storage().data_ptr()
    back = feature_from_clip(seen * 2, feature, layout, prefix)
    assert torch.equal(back, torch.where(feature < 0, feature, feature * 2))


@ALL
def test_grid_of_one_clip(layout):
    shape = naive_feature(torch.rand(1, C, T, H, W), layout).shape
    if layout in TOKEN_LAYOUTS:
        assert find_grid(shape, layout, GRID) == GRID
    else:
        assert find_grid(shape, layout) == GRID
    assert find_grid((8, 197, 768), 'frame_tokens', num_prefix_tokens=1) == (8, 14, 14)


@pytest.mark.parametrize(('shape', 'layout', 'grid', 'prefix', 'message'), [
    ((1, 2, 3), 'tokens', None, 0, 'frame_tokens'),
    ((4, 2, 3), 'clip', None, 0, 'frame_tokens'),
    ((4, 2), 'frames', None, 0, 'features'),
    ((4, 2, 3, 3), 'frames', (4, 3, 3), 0, 'frames'),
    ((4, 2, 3, 3), 'frames', None, 1, 'num_prefix_tokens'),
    ((4, 9, 3), 'frame_tokens', None, -1, 'num_prefix_tokens'),
    ((4, 8, 3), 'frame_tokens', None, 0, 'num_prefix'),
    ((4, 1, 3), 'frame_tokens', None, 1, 'grid'),
    ((1, 36, 3), 'clip_tokens', None, 0, 'grid'),
    ((4, 8, 3), 'frame_tokens', (4, 2), 0, 'least'),
    ((4, 8, 3), 'frame_tokens', (4, 0, 2), 0, 'least'),
    ((4, 8, 3), 'frame_tokens', (2, 4, 2), 0, 'grid'),
    ((4, 8, 3), 'frame_tokens', (4, 3, 2), 0, 'num_prefix_tokens'),
    ((1, 25, 3), 'clip_tokens', GRID, 0, 'tokens'),
])
def test_shapes_that_do_not_fit(shape, layout, grid, prefix, message):
    with pytest.raises(ValueError, match=message):
        find_grid(shape, layout, grid, prefix)


def test_features_that_do_not_fit():
    with pytest.raises(ValueError, match='feature'):
        clip_from_feature(torch.rand(4, C, H, W), 'frames', GRID)
    with pytest.raises(ValueError, match='tokens'):
        clip_from_feature(torch.rand(1, 30, C), 'clip_tokens', GRID)
    with pytest.raises(ValueError, match='clip_last'):
        feature_from_clip(torch.rand(N, C, T, H, W), torch.rand(4, C), 'clip_last')
