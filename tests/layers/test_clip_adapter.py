"""Frames shown as clips: mmcv's non-local block among them."""
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from cosam_mm.layers import ClipAdapter


@MODELS.register_module(name='FrameDifferenceForTest', force=True)
class FrameDifference(nn.Module):
    """Each frame less the clip's first: tells where clips begin."""

    def __init__(self, in_channels=None):
        super().__init__()
        self.in_channels = in_channels

    def forward(self, x):
        return x - x[:, :, :1]


def test_frames_become_clips_and_frames_again_and_clips_stay_clips():
    adapter = ClipAdapter(dict(type='FrameDifferenceForTest'), num_frames=3)
    frames = torch.randn(6, 2, 4, 5)
    expected = torch.stack([frames[i] - frames[i // 3 * 3] for i in range(6)])
    torch.testing.assert_close(adapter(frames), expected)
    clips = torch.randn(2, 2, 3, 4, 5)
    torch.testing.assert_close(adapter(clips), clips - clips[:, :, :1])


@pytest.mark.parametrize(('cfg', 'channels'), [
    (dict(), 8), (dict(in_channels=5), 5)])
def test_channels_are_handed_on_unless_named(cfg, channels):
    cfg = dict(type='FrameDifferenceForTest', **cfg)
    assert ClipAdapter(cfg, 3, in_channels=8).module.in_channels == channels
    assert ClipAdapter(cfg, 3).module.in_channels == cfg.get('in_channels')


def test_a_non_local_block_compares_frames_of_a_clip():
    pytest.importorskip('mmcv.cnn')
    torch.manual_seed(0)
    adapter = ClipAdapter(
        dict(type='mmcv.cnn.NonLocal3d', norm_cfg=dict(type='BN3d'),
             zeros_init=False), 2,
        in_channels=8).eval()
    frames = torch.randn(4, 8, 4, 2)
    out = adapter(frames)
    assert out.shape == frames.shape
    clip = adapter.module(frames[2:].transpose(0, 1)[None])[0].transpose(0, 1)
    torch.testing.assert_close(out[2:], clip)
    # What happens in the second clip does not reach the first.
    other = torch.cat([frames[:2], torch.randn(2, 8, 4, 2)])
    torch.testing.assert_close(adapter(other)[:2], out[:2])
    changed = torch.cat([frames[:1], torch.randn(3, 8, 4, 2)])
    assert not torch.allclose(adapter(changed)[0], out[0])


@pytest.mark.parametrize('shape', [(4, 2, 4, 5), (3, 2, 4), (2, 3)])
def test_no_whole_clips_are_refused(shape):
    adapter = ClipAdapter(dict(type='FrameDifferenceForTest'), num_frames=3)
    with pytest.raises(ValueError, match='num_frames'):
        adapter(torch.zeros(shape))
    with pytest.raises(ValueError, match='num_frames'):
        ClipAdapter(dict(type='FrameDifferenceForTest'), num_frames=0)
