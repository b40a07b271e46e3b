"""COSAM in transformers: the tokens of a block as maps (C, T, H, W), and back.

Each backbone gets clips of 8 frames (CLIP: 4) of 64 x 32 and has 4 x 4 x 2 tokens
where the plugin stands.
"""
from importlib.metadata import version

import mmaction.models  # noqa: F401  (registers VideoMAE's and Swin's transformers)
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from tests.frame_models import assert_lacks_plugins_only

GRID = (4, 4, 2)
CHANNELS = 16
BACKBONES = {
    'videomae': dict(
        backbone=dict(type='mmaction.VisionTransformer', img_size=64, patch_size=16,
                      embed_dims=CHANNELS, depth=2, num_heads=2, num_frames=8,
                      return_feat_map=True),
        input_shape=(1, 3, 8, 64, 32),
        point=dict(after='blocks.0', layout='clip_tokens', grid=GRID)),
    'swin': dict(
        backbone=dict(type='mmaction.SwinTransformer3D', pretrained2d=False,
                      arch=dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2]),
                      patch_size=(2, 8, 8), window_size=(2, 2, 2), out_indices=(1,)),
        input_shape=(1, 3, 8, 64, 32),
        point=dict(after='layers.1', layout='clip_last')),
    'clip': dict(
        backbone=dict(type='CLIPVision', hidden_channels=CHANNELS, num_layers=2,
                      num_heads=2, ffn_channels=32, pretrain_size=48),
        input_shape=(4, 3, 64, 32),
        point=dict(after='vision_model.encoder.layers.0', layout='frame_tokens',
                   grid=GRID, num_prefix_tokens=1)),
}
ALL = pytest.mark.parametrize('kind', BACKBONES)
POSITIONS = [(0, 0, 0), (2, 3, 1)]


class Probe(nn.Module):
    """Remembers the clip that it was shown, and may darken one position of it."""

    def __init__(self, in_channels, num_frames, spatial_size):
        super().__init__()
        self.built_for = (in_channels, num_frames, *spatial_size)
        self.seen = self.dark = None

    def forward(self, x):
        self.seen = x.detach().clone()
        if self.dark is None:
            return x
        mask = torch.ones(len(x), 1, *x.shape[2:])
        mask[(self.dark[0], 0, *self.dark[1:])] = 0
        return x * mask


@pytest.fixture(autouse=True)
def _transformers(kind):
    if kind == 'clip':
        pytest.importorskip('transformers')


def plugged(kind, plugin, **settings):
    """The backbone with one plugin, initialised, in evaluation mode."""
    torch.manual_seed(0)
    spec = BACKBONES[kind]
    net = MODELS.build(dict(
        type='PluggedBackbone', backbone={**spec['backbone'], **settings},
        input_shape=spec['input_shape'], plugins=[dict(cfg=plugin, **spec['point'])]))
    net.init_weights()
    return net.eval()


def bare(kind, **settings):
    return MODELS.build({**BACKBONES[kind]['backbone'], **settings})


def plugin_of(net):
    ((plugin,),) = net.plugins.values()
    return plugin


def clips_for(kind, num_clips=2):
    shape = BACKBONES[kind]['input_shape']
    return torch.randn(num_clips * shape[0], *shape[1:])


def as_maps(kind, out):
    """The backbone's output as (N, C, T, H, W)."""
    if kind != 'clip':
        return out
    return out.unflatten(0, (-1, 4)).transpose(1, 2)


def patch_of(kind, clips, clip, position):
    """The pixels of the clips that make up one token, as a view.

    Swin has merged its patches of 8 x 8 two by two.
    """
    frame, row, column = position
    rows, columns = slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)
    if kind == 'clip':
        return clips[4 * clip + frame, :, rows, columns]
    return clips[clip, :, 2 * frame:2 * frame + 2, rows, columns]


def silence_attention(net):
    """Without what attention puts out, no token hears of another."""
    for name, module in net.named_modules():
        if name.endswith(('attn.proj', 'attn.out_proj')):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def make_identity(cosam):
    """Masks of 1 in space and 0 for the channels: what comes in goes out."""
    for layer, bias in ((cosam.summary[-1], 40.), (cosam.channel_attention[2], -200.)):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, bias)


# -- what the plugin sees --------------------------------------------------------


@ALL
@pytest.mark.parametrize('position', POSITIONS)
def test_a_patch_is_seen_and_changed_at_its_position_only(kind, position):
    net = plugged(kind, dict(type=Probe))
    probe = plugin_of(net)
    assert probe.built_for == (CHANNELS, *GRID)
    silence_attention(net)
    clips = clips_for(kind)
    with torch.no_grad():
        net(clips)
        before = probe.seen
        patch_of(kind, clips, 1, position).add_(1)
        net(clips)
        seen = probe.seen
        out = net(clips)
        probe.dark = (1, *position)
        dark = net(clips)
    assert before.shape == (2, CHANNELS, *GRID)
    for one, other in ((seen, before), (as_maps(kind, dark), as_maps(kind, out))):
        assert (one != other).any(1).nonzero().tolist() == [[1, *position]]


@pytest.mark.parametrize('kind', ['clip'])
def test_the_class_token_passes_the_plugin_by(kind):
    net = plugged(kind, dict(type=Probe), out_type='cls_token', num_layers=1)
    clips = clips_for(kind)
    with torch.no_grad():
        before = net(clips)
        plugin_of(net).dark = (1, 2, 3, 0)
        assert torch.equal(net(clips), before)
        assert before.shape == (8, CHANNELS, 1, 1)


# -- the wrapped backbone --------------------------------------------------------


@ALL
def test_cosam_that_masks_nothing_changes_nothing(kind):
    net, without = plugged(kind, dict(type='COSAM')), bare(kind)
    without.eval()  # Swin's does not return itself
    assert not assert_lacks_plugins_only(net, without.state_dict())
    clips = clips_for(kind)
    with torch.no_grad():
        expected = without(clips)
        assert not torch.allclose(net(clips), expected, rtol=1e-3, atol=1e-3)
        make_identity(plugin_of(net))
        torch.testing.assert_close(net(clips), expected, rtol=1e-5, atol=1e-5)


@ALL
def test_clips_keep_to_themselves_and_mixed_precision_is_close(kind):
    net, clips = plugged(kind, dict(type='COSAM')), clips_for(kind)
    frames = BACKBONES[kind]['input_shape'][0]
    with torch.no_grad():
        exact = net(clips)
        torch.testing.assert_close(net(clips[frames:]), exact[frames:],
                                   rtol=1e-4, atol=1e-5)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            half = net(clips).float()
    assert not torch.equal(half, exact)
    scale = exact.abs().max()
    torch.testing.assert_close(half / scale, exact / scale, rtol=0, atol=0.05)


def gradients(net, clips):
    """By name, of a sum that weighs every value of the output."""
    out = net.train()(clips)
    weight = torch.linspace(-1, 1, out.numel()).view(out.shape)
    net.zero_grad()
    (out * weight).sum().backward()
    return {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize('kind', ['swin', 'clip'])
def test_checkpointing_changes_no_gradient_and_runs_cosam_once(kind):
    drop = dict(drop_path_rate=0.) if kind == 'swin' else {}
    plain = plugged(kind, dict(type='COSAM'), **drop)
    saving = plugged(kind, dict(type='COSAM'), with_cp=True, **drop)
    saving.load_state_dict(plain.state_dict())
    clips = clips_for(kind).requires_grad_()
    expected, found = gradients(plain, clips), gradients(saving, clips)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)
    if kind == 'clip' and version('transformers') < '5':
        return  # it computes the hooks of a layer again, too
    for net in (plain, saving):
        assert plugin_of(net).reduction[1].num_batches_tracked == 1
