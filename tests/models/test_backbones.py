"""Backbones: shapes, plugins, reductions, freezing, checkpointing, names."""
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import save_checkpoint
from torch import nn

from cosam_mm.models.backbones import I3D, ResNeXt3D
from cosam_mm.models.backbones.i3d import Conv3dSame, MaxPool3dSame, same_padding


def small_resnext(**kwargs):
    return ResNeXt3D(depth=14, base_channels=8, groups=4, **kwargs)


def plugin(step, **cfg):
    return dict(cfg=dict(type='COSAM', **cfg), position=f'after_{step}')


LAYER3 = plugin('layer3', num_frames=2, spatial_size=2)


def meta_shapes(backbone, channels, size):
    """Output shape of every step for one clip, without computing a value."""
    shapes = {}
    for name, module in backbone.named_children():
        module.register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    backbone.to('meta').eval()(torch.empty(1, channels, *size, device='meta'))
    return shapes


@pytest.mark.parametrize(('reduction', 'last'), [
    (None, 2048), ('FRMB', 512), ('FRAB', 512)])
def test_resnext101_shapes(reduction, last):
    shapes = meta_shapes(ResNeXt3D(101, feature_reduction=reduction), 3, (64, 112, 112))
    assert shapes['conv1'] == (64, 64, 56, 56)
    assert shapes['layer1'] == (256, 32, 28, 28)
    assert shapes['layer2'] == (512, 16, 14, 14)
    assert shapes['layer3'] == (1024, 8, 7, 7)
    assert list(shapes.values())[-1] == (last, 4, 4, 4)


@pytest.mark.parametrize(('reduction', 'last'), [
    (None, 1024), ('FRMB', 512), ('FRAB', 512)])
def test_i3d_shapes(reduction, last):
    shapes = meta_shapes(I3D(2, feature_reduction=reduction), 2, (64, 224, 224))
    assert shapes['Conv3d_1a_7x7'] == (64, 32, 112, 112)
    assert shapes['Mixed_3c'] == (480, 32, 28, 28)
    assert shapes['Mixed_4f'] == (832, 16, 14, 14)
    assert shapes['MaxPool3d_5a_2x2'] == (832, 8, 7, 7)
    assert list(shapes.values())[-1] == (last, 8, 7, 7)


@pytest.mark.parametrize(('depth', 'blocks'), [
    (14, [1, 1, 1, 1]), (50, [3, 4, 6, 3]), (101, [3, 4, 23, 3]), (152, [3, 8, 36, 3])])
def test_depths_of_the_family(depth, blocks):
    with torch.device('meta'):
        net = ResNeXt3D(depth, base_channels=8, groups=4)
    assert [len(getattr(net, f'layer{i}')) for i in range(1, 5)] == blocks


def test_one_block_a_layer_can_be_reduced():
    """FRMB on a layer of one block has to keep that block's stride."""
    x = torch.zeros(1, 3, 16, 32, 32)
    plain = small_resnext().eval()
    reduced = small_resnext(feature_reduction='FRMB', reduced_channels=64).eval()
    assert reduced(x).shape == (1, 64, *plain(x).shape[2:])
    assert reduced.out_channels == 64


@pytest.mark.parametrize(('length', 'kernel', 'stride'), [
    (7, 3, 2), (8, 3, 2), (5, 7, 2), (1, 3, 1), (4, 2, 2), (5, 2, 2), (3, 1, 2)])
def test_same_padding_covers_and_centres(length, kernel, stride):
    before, after = same_padding((length,), (kernel,), (stride,))
    assert after - before in (0, 1)
    outputs = (length + before + after - kernel) // stride + 1
    assert outputs == -(-length // stride)
    # One less would lose an output, unless nothing was padded.
    if before + after:
        assert (length + before + after - 1 - kernel) // stride + 1 < outputs


def test_same_pool_pads_zeros_not_minus_infinity():
    x = -torch.ones(1, 1, 3, 3, 3)
    out = MaxPool3dSame((3, 3, 3), (2, 2, 2))(x)
    assert out.max() == 0


def test_same_convolution_equals_explicit_padding():
    torch.manual_seed(0)
    conv = Conv3dSame(2, 3, 3, 2).eval()
    x = torch.randn(1, 2, 4, 5, 6)
    padded = torch.zeros(1, 2, 5, 7, 7)
    padded[:, :, 0:4, 1:6, 0:6] = x
    expected = torch.relu(conv.bn(nn.functional.conv3d(
        padded, conv.conv3d.weight, stride=2)))
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize('build', [
    lambda plugins: small_resnext(plugins=plugins),
    lambda plugins: I3D(plugins=plugins and [plugin(
        'MaxPool3d_5a_2x2', num_frames=2, spatial_size=1)])])
def test_plugins_leave_the_backbones_names_alone(build, tmp_path):
    bare, plugged = build(None), build([LAYER3])
    bare_names = list(bare.state_dict())
    plugged_names = list(plugged.state_dict())
    assert [name for name in plugged_names if not name.startswith('plugins.')] == \
        bare_names
    assert len(plugged_names) > len(bare_names)
    result = plugged.load_state_dict(bare.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(key.startswith('plugins.') for key in result.missing_keys)


def test_plugin_runs_at_its_place():
    torch.manual_seed(0)
    net = small_resnext(plugins=[LAYER3]).eval()
    x = torch.randn(1, 3, 16, 32, 32)
    seen = {}
    net.layer3.register_forward_hook(lambda m, i, o: seen.update(features=o))
    net.layer4.register_forward_hook(lambda m, i, o: seen.update(entered=i[0]))
    net(x)
    torch.testing.assert_close(seen['entered'],
                               net.plugins['after_layer3'](seen['features']))
    assert not torch.equal(seen['entered'], seen['features'])


def test_several_plugins_at_several_places_and_any_registered_module():
    @MODELS.register_module(name='TimesTwoForTest', force=True)
    class TimesTwo(nn.Module):

        def __init__(self, in_channels):
            super().__init__()
            self.in_channels = in_channels

        def forward(self, x):
            return 2 * x

    net = small_resnext(plugins=[
        LAYER3, dict(cfg=dict(type='TimesTwoForTest'), position='after_layer3'),
        plugin('stem', num_frames=8, spatial_size=8)]).eval()
    assert len(net.plugins['after_layer3']) == 2
    assert net.plugins['after_layer3'][1].in_channels == 128
    assert net(torch.zeros(1, 3, 16, 32, 32)).shape[1] == 256


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(plugins=[plugin('layer9', num_frames=2, spatial_size=2)]), 'after_layer9'),
    (dict(plugins=[dict(cfg=dict(type='COSAM'))]), 'position'),
    (dict(plugins=[dict(LAYER3, stages=(1,))]), 'position'),
    (dict(frozen_stages=5), 'between'),
    (dict(feature_reduction='frmb'), 'FRMB'),
    (dict(depth=18), 'depth'),
])
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ResNeXt3D(**{**dict(depth=14, base_channels=8, groups=4), **settings})


@pytest.mark.parametrize('stage', [-1, 0, 2, 4])
def test_frozen_stages(stage):
    net = small_resnext(frozen_stages=stage, plugins=[
        LAYER3, plugin('layer1', num_frames=8, spatial_size=8)]).train()
    frozen = {name.split('.')[0] for name, p in net.named_parameters()
              if not p.requires_grad}
    expected = set()
    if stage >= 0:
        expected = {'conv1', 'bn1', *(f'layer{i}' for i in range(1, stage + 1))}
    assert frozen == expected
    assert net.bn1.training is (stage < 0)
    assert net.layer1[0].bn1.training is (stage < 1)
    assert net.plugins['after_layer1'][0].reduction[1].training


def test_i3d_frozen_stages_follow_resolution():
    with torch.device('meta'):
        net = I3D(frozen_stages=2)
    frozen = {n.split('.')[0] for n, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {'Conv3d_1a_7x7', 'Conv3d_2b_1x1', 'Conv3d_2c_3x3',
                      'Mixed_3b', 'Mixed_3c'}


def test_norm_eval_spares_plugins():
    net = small_resnext(norm_eval=True, plugins=[LAYER3]).train()
    assert not net.bn1.training
    assert not net.layer4[0].bn3.training
    assert net.plugins['after_layer3'][0].summary[1].training
    assert net.layer4.training


@pytest.mark.parametrize('build', [
    lambda with_cp: small_resnext(with_cp=with_cp, plugins=[LAYER3]),
    lambda with_cp: I3D(with_cp=with_cp)])
def test_checkpointing_gives_the_same_gradients(build):
    x = torch.randn(2, 3, 16, 32, 32)
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        net = build(with_cp).train()
        net(x.clone().requires_grad_()).square().mean().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-6,
                                   msg=lambda text, name=name: f'{name}: {text}')


def test_checkpointing_keeps_fewer_activations():
    sizes = []
    x = torch.randn(1, 3, 16, 32, 32, requires_grad=True)
    for with_cp in (False, True):
        net, kept = small_resnext(with_cp=with_cp, norm_eval=True).train(), []
        with torch.autograd.graph.saved_tensors_hooks(
                lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            net(x)
        sizes.append(sum(kept))
    assert sizes[1] < 0.6 * sizes[0]


def test_pretrained_init_loads_a_bare_backbone(tmp_path):
    torch.manual_seed(0)
    bare = small_resnext()
    save_checkpoint(dict(state_dict={f'backbone.{k}': v
                                     for k, v in bare.state_dict().items()}),
                    str(tmp_path / 'bare.pth'))
    net = MODELS.build(dict(
        type='ResNeXt3D', depth=14, base_channels=8, groups=4, plugins=[LAYER3],
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'bare.pth'),
                      prefix='backbone.')))
    net.init_weights()
    for name, value in bare.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_two_channels_for_flow():
    net = small_resnext(in_channels=2).eval()
    assert net(torch.zeros(1, 2, 16, 32, 32)).shape[1] == 256


def test_pretrained_init_leaves_new_layers_with_the_default(tmp_path):
    """A reduction that the checkpoint does not hold is drawn as if without it."""
    save_checkpoint(dict(state_dict=small_resnext().state_dict()),
                    str(tmp_path / 'bare.pth'))
    net = small_resnext(feature_reduction='FRAB', reduced_channels=64,
                        init_cfg=dict(type='Pretrained',
                                      checkpoint=str(tmp_path / 'bare.pth')))
    net.init_weights()
    weight = net.reduction.conv3.weight
    fan_out = weight.shape[0]
    assert weight.std().item() == pytest.approx((2 / fan_out)**0.5, rel=0.1)
    assert net.reduction.bn3.weight.min() == 1


@pytest.mark.parametrize('build', [
    lambda: small_resnext(plugins=[LAYER3]),
    lambda: I3D(plugins=[plugin('MaxPool3d_5a_2x2', num_frames=2, spatial_size=1)])])
def test_initialisation_leaves_plugins_to_themselves(build):
    torch.manual_seed(0)
    net = build()
    before = {k: v.clone() for k, v in net.plugins.state_dict().items()}
    net.init_weights()
    for name, value in net.plugins.state_dict().items():
        assert torch.equal(value, before[name]), name
    last = next(m for m in net.plugins.modules()
                if isinstance(m, nn.Conv2d) and m.out_channels == 1)
    assert last.weight.abs().max() <= last.in_channels**-0.5  # torch's own bound
