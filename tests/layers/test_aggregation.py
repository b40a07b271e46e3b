"""Temporal aggregations against the paper's sums written out."""
import math

import pytest
import torch
from mmengine.registry import MODELS

from cosam_mm.layers import (
    TemporalAttentionAggregation,
    TemporalPoolAggregation,
    TemporalRNNAggregation,
)

SHAPE = (2, 6, 3, 4, 2)   # (N, C, T, H, W)


@pytest.fixture
def maps():
    return torch.randn(SHAPE, dtype=torch.float64,
                       generator=torch.Generator().manual_seed(0))


def pooled(maps, clip, frame):
    return maps[clip, :, frame].reshape(maps.shape[1], -1).mean(1)


def test_pool_is_the_mean_over_frames(maps):
    aggregation = TemporalPoolAggregation(6)
    expected = torch.stack([
        sum(pooled(maps, clip, frame) for frame in range(3)) / 3 for clip in range(2)])
    torch.testing.assert_close(aggregation(maps), expected)
    assert aggregation.out_channels == 6
    assert not list(aggregation.parameters())


def test_attention_weighs_the_frames(maps):
    torch.manual_seed(0)
    aggregation = TemporalAttentionAggregation(6, (4, 2), middle_channels=5).double()
    weights = aggregation.frame_weights(maps)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, dtype=torch.float64))
    spatial, temporal = aggregation.spatial_conv, aggregation.temporal_conv
    for clip, feature in enumerate(aggregation(maps)):
        middle = [(spatial.weight * maps[clip, :, frame]).sum((1, 2, 3)) + spatial.bias
                  for frame in range(3)]
        middle = [torch.zeros(5), *(m.clamp(min=0) for m in middle), torch.zeros(5)]
        scores = [max(0.0, (temporal.bias + sum(
            (temporal.weight[0, :, k] * middle[frame + k]).sum() for k in range(3))
            ).item()) for frame in range(3)]
        total = sum(math.exp(score) for score in scores)
        expected = sum(math.exp(scores[frame]) / total * pooled(maps, clip, frame)
                       for frame in range(3))
        torch.testing.assert_close(feature, expected)


@pytest.mark.parametrize('settings', [
    dict(type='TemporalPoolAggregation'),
    dict(type='TemporalAttentionAggregation', spatial_size=(4, 2)),
    dict(type='TemporalRNNAggregation'),
])
@pytest.mark.parametrize('frames', [1, 8])
def test_any_number_of_frames_and_whatever_the_memory_order(settings, frames):
    torch.manual_seed(0)
    aggregation = MODELS.build(dict(settings, in_channels=6)).eval()
    by_frame = torch.randn(2, frames, 6, 4, 2)
    maps = by_frame.transpose(1, 2)     # as it comes from a backbone of frames
    out = aggregation(maps)
    assert out.shape == (2, aggregation.out_channels)
    torch.testing.assert_close(out, aggregation(maps.contiguous()))
    torch.testing.assert_close(out[:1], aggregation(maps[:1]))
    if 'RNN' not in settings['type']:  # identical frames leave the frame
        frame = maps[:, :, :1]
        torch.testing.assert_close(aggregation(frame.expand(-1, -1, 4, -1, -1)),
                                   frame.mean((2, 3, 4)))


def test_sizes_of_the_paper():
    with torch.device('meta'):
        attention = TemporalAttentionAggregation(2048)
        recurrent = TemporalRNNAggregation(2048)
    assert attention.spatial_conv.weight.shape == (256, 2048, 8, 4)
    assert attention.temporal_conv.weight.shape == (1, 256, 3)
    assert attention.out_channels == 2048
    assert recurrent.lstm.weight_hh_l0.shape == (2048, 512)
    assert recurrent.out_channels == 512
    recurrent, maps = TemporalRNNAggregation(6, hidden_channels=4), torch.rand(SHAPE)
    outputs, _ = recurrent.lstm(maps.mean((3, 4)).transpose(1, 2))
    torch.testing.assert_close(recurrent(maps), sum(outputs.unbind(1)) / 3)


@pytest.mark.parametrize(('build', 'shape', 'match'), [
    (TemporalPoolAggregation, (2, 5, 3, 8, 4), 'in_channels'),
    (TemporalAttentionAggregation, (6, 6, 8, 4), 'in_channels'),
    (TemporalRNNAggregation, (2, 5, 3, 8, 4), 'in_channels'),
    (TemporalAttentionAggregation, (1, 6, 2, 16, 8), r'spatial_size=\(16, 8\)')])
def test_other_maps_are_refused(build, shape, match):
    with pytest.raises(ValueError, match=match):
        build(6)(torch.zeros(shape))
