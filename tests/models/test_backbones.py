"""The four backbones: shapes, plugins, freezing, checkpointing, initial weights."""
from functools import partial

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import save_checkpoint
from torch import nn

from cosam_mm.models.backbones import I3D, FrameResNet, FrameSEResNet, ResNeXt3D
from cosam_mm.models.backbones.i3d import MaxPool3dSame
from tests.frame_models import assert_lacks_plugins_only

small_resnext = partial(ResNeXt3D, depth=14, base_channels=8, groups=4)
KINDS = {
    'resnet': partial(FrameResNet, depth=14, base_channels=8),
    'se_resnet': partial(FrameSEResNet, depth=14, base_channels=8),
    'resnext': small_resnext,
    'i3d': I3D,
}
ALL = pytest.mark.parametrize('kind', KINDS)


def plugin(step, num_frames=2, spatial_size=2, **cfg):
    return dict(cfg=dict(type='COSAM', num_frames=num_frames,
                         spatial_size=spatial_size, **cfg), position=f'after_{step}')


LAYER3 = plugin('layer3')
# Where COSAM stands for two frames or clips of 32 x 32.
PLUGINS = dict.fromkeys(KINDS, LAYER3) | {
    'i3d': plugin('MaxPool3d_5a_2x2', spatial_size=1)}


def plugged(kind, **settings):
    return KINDS[kind](plugins=[PLUGINS[kind]], **settings)


def inputs(kind):
    torch.manual_seed(0)
    return torch.randn((4, 3, 32, 32) if 'res' in kind and kind != 'resnext'
                       else (2, 3, 16, 32, 32))


# -- structure -------------------------------------------------------------------


def meta_shapes(backbone, channels, size):
    """Output shape of every step for one clip, without computing a value."""
    shapes = {}
    for name, module in backbone.named_children():
        module.register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    backbone.to('meta').eval()(torch.empty(1, channels, *size, device='meta'))
    return shapes


@pytest.mark.parametrize(('reduction', 'resnext', 'i3d'), [
    (None, 2048, 1024), ('FRMB', 512, 512), ('FRAB', 512, 512)])
def test_shapes_of_clips(reduction, resnext, i3d):
    with torch.device('meta'):
        nets = ResNeXt3D(101, feature_reduction=reduction), I3D(
            2, feature_reduction=reduction)
    shapes = meta_shapes(nets[0], 3, (64, 112, 112))
    assert [shapes[name] for name in ('conv1', 'layer1', 'layer2', 'layer3')] == [
        (64, 64, 56, 56), (256, 32, 28, 28), (512, 16, 14, 14), (1024, 8, 7, 7)]
    assert list(shapes.values())[-1] == (resnext, 4, 4, 4)
    shapes = meta_shapes(nets[1], 2, (64, 224, 224))
    assert shapes['Conv3d_1a_7x7'] == (64, 32, 112, 112)
    assert shapes['Mixed_3c'] == (480, 32, 28, 28)
    assert shapes['Mixed_4f'] == (832, 16, 14, 14)
    assert shapes['MaxPool3d_5a_2x2'] == (832, 8, 7, 7)
    assert list(shapes.values())[-1] == (i3d, 8, 7, 7)
    assert [net.out_channels for net in nets] == [resnext, i3d]


@pytest.mark.parametrize(('last_stride', 'last'), [(1, (16, 8)), (2, (8, 4))])
@pytest.mark.parametrize('kind', [FrameResNet, FrameSEResNet])
def test_shapes_of_frames(kind, last_stride, last):
    with torch.device('meta'):
        net = kind(last_stride=last_stride)
    shapes = meta_shapes(net, 3, (256, 128))
    assert [shapes[f'layer{i}'] for i in range(1, 5)] == [
        (256, 64, 32), (512, 32, 16), (1024, 16, 8), (2048, *last)]
    assert net.out_channels == 2048


@pytest.mark.parametrize(('depth', 'blocks'), [
    (14, [1, 1, 1, 1]), (50, [3, 4, 6, 3]), (101, [3, 4, 23, 3]), (152, [3, 8, 36, 3])])
@pytest.mark.parametrize('kind', [FrameResNet, FrameSEResNet, ResNeXt3D])
def test_depths_of_the_family(kind, depth, blocks):
    with torch.device('meta'):
        net = kind(depth)
    assert [len(getattr(net, f'layer{i}')) for i in range(1, 5)] == blocks


def test_one_block_a_layer_can_be_reduced():
    """FRMB on a layer of one block has to keep that block's stride."""
    x = torch.zeros(1, 3, 16, 32, 32)
    reduced = small_resnext(feature_reduction='FRMB', reduced_channels=64).eval()
    assert reduced(x).shape == (1, 64, *small_resnext().eval()(x).shape[2:])


@pytest.mark.parametrize(('length', 'kernel', 'stride'), [
    (7, 3, 2), (8, 3, 2), (5, 7, 2), (1, 3, 1), (4, 2, 2), (5, 2, 2), (3, 1, 2)])
def test_same_pool_is_that_of_tensorflow(length, kernel, stride):
    """As many outputs as strides begin; an odd zero of the padding is at the end."""
    values = [-1. - k for k in range(length)]
    x = torch.tensor(values).expand(1, 1, length, length, length)
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + kernel - length, 0)
    padded = [0.] * (total // 2) + values + [0.] * (total - total // 2)
    expected = [max(padded[k * stride:k * stride + kernel]) for k in range(outputs)]
    out = MaxPool3dSame((1, 1, kernel), (1, 1, stride))(x)
    assert out[0, 0, 0, 0].tolist() == expected


# -- plugins ---------------------------------------------------------------------


@ALL
def test_plugins_leave_the_backbones_names_alone(kind):
    net = plugged(kind)
    assert not assert_lacks_plugins_only(net, KINDS[kind]().state_dict())
    position = PLUGINS[kind]['position']
    assert f'plugins.{position}.0.reduction.0.weight' in net.state_dict()


@pytest.mark.parametrize(('kind', 'step', 'num_frames', 'size', 'channels'), [
    ('resnet', 'stem', 2, 8, 8), ('resnet', 'layer4', 2, 2, 256),
    ('se_resnet', 'stem', 2, 8, 8), ('se_resnet', 'layer2', 2, 4, 64),
    ('resnext', 'layer1', 8, 8, 32), ('resnext', 'layer3', 2, 2, 128),
    ('i3d', 'MaxPool3d_5a_2x2', 2, 1, 832)])
def test_plugins_after_any_step(kind, step, num_frames, size, channels):
    net = KINDS[kind](plugins=[plugin(step, num_frames, size)]).eval()
    (cosam,) = net.plugins[f'after_{step}']
    assert cosam.in_channels == channels
    seen = {}
    cosam.register_forward_hook(lambda _, inputs, out: seen.update(after=out))
    x = inputs(kind)
    out = net(x)
    expected, steps = seen['after'], net.steps
    for later in steps[steps.index(step) + 1:]:
        expected = getattr(net, later)(expected)
    torch.testing.assert_close(out, expected)
    # The two clips keep to themselves.
    half = len(x) // 2
    torch.testing.assert_close(net(x[half:]), out[half:], rtol=2e-3, atol=1e-4)


def test_several_plugins_at_several_positions_and_any_registered_module():
    class TimesTwo(nn.Module):

        def __init__(self, in_channels):
            super().__init__()
            self.in_channels = in_channels

        def forward(self, x):
            return 2 * x

    net = small_resnext(plugins=[
        LAYER3, dict(cfg=dict(type=TimesTwo), position='after_layer3'),
        plugin('stem', num_frames=8, spatial_size=8)]).eval()
    assert [len(plugins) for plugins in net.plugins.values()] == [2, 1]
    assert net.plugins['after_layer3'][1].in_channels == 128
    assert net(torch.zeros(1, 3, 16, 32, 32)).shape[1] == 256


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(plugins=[plugin('layer9')]), 'after_layer9'),
    (dict(plugins=[dict(cfg=dict(type='COSAM'))]), 'position'),
    (dict(plugins=[dict(LAYER3, stages=(1,))]), 'position'),
    (dict(frozen_stages=5), 'between'),
    (dict(depth=18), 'depth'), (dict(last_stride=3), 'last_stride'),
    (dict(feature_reduction='frmb'), 'FRMB')])
@pytest.mark.parametrize('kind', ['resnet', 'se_resnet', 'resnext'])
def test_wrong_settings_are_refused(kind, settings, message):
    of_clips, of_frames = kind == 'resnext', kind != 'resnext'
    if ('last_stride' in settings and of_clips) or (
            'feature_reduction' in settings and of_frames):
        with pytest.raises(TypeError, match=next(iter(settings))):
            KINDS[kind](**settings)
        return
    with pytest.raises(ValueError, match=message):
        KINDS[kind](**settings)


# -- training --------------------------------------------------------------------


def frozen_parts(net):
    return {name.split('.')[0] for name, p in net.named_parameters()
            if not p.requires_grad}


@pytest.mark.parametrize('stage', [-1, 0, 2, 4])
@pytest.mark.parametrize('kind', ['resnet', 'se_resnet', 'resnext'])
def test_frozen_stages(kind, stage):
    net = plugged(kind, frozen_stages=stage).train()
    stem = {'layer0'} if kind == 'se_resnet' else {'conv1', 'bn1'}
    layers = {f'layer{i}' for i in range(1, stage + 1)}
    assert frozen_parts(net) == ((stem | layers) if stage >= 0 else set())
    assert getattr(net, min(stem)).training is (stage < 0)
    assert net.layer1[0].bn1.training is (stage < 1)
    assert all(module.training for module in net.plugins.modules())


def test_i3d_frozen_stages_follow_resolution():
    with torch.device('meta'):
        net = I3D(frozen_stages=2)
    assert frozen_parts(net) == {'Conv3d_1a_7x7', 'Conv3d_2b_1x1', 'Conv3d_2c_3x3',
                                 'Mixed_3b', 'Mixed_3c'}


@ALL
def test_norm_eval_spares_plugins(kind):
    net = plugged(kind, norm_eval=True).train()
    for name, module in net.named_modules():
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        assert module.training is (name.startswith('plugins') or not is_norm), name


@ALL
def test_checkpointing_gives_the_same_gradients_and_keeps_less(kind):
    grads, sizes = [], []
    for with_cp in (False, True):
        x, kept = inputs(kind).requires_grad_(), []
        torch.manual_seed(0)
        net = plugged(kind, with_cp=with_cp).train()
        with torch.autograd.graph.saved_tensors_hooks(
                lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            out = net(x)
        sizes.append(sum(kept))
        out.square().mean().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    assert sizes[1] < 0.8 * sizes[0]
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-6,
                                   msg=lambda text, name=name: f'{name}: {text}')


# -- initial weights -------------------------------------------------------------


@ALL
def test_initialisation_is_kaiming_and_leaves_plugins_to_themselves(kind):
    torch.manual_seed(0)
    net = plugged(kind)
    before = {k: v.clone() for k, v in net.plugins.state_dict().items()}
    net.init_weights()
    for name, value in net.plugins.state_dict().items():
        assert torch.equal(value, before[name]), name
    last = next(m for m in net.plugins.modules()
                if isinstance(m, nn.Conv2d) and m.out_channels == 1)
    assert last.weight.abs().max() <= last.in_channels**-0.5  # torch's own bound
    for name, module in net.named_modules():
        weight = getattr(module, 'weight', None)
        if name.startswith('plugins') or weight is None:
            continue
        if weight.dim() == 1:
            assert (weight == 1).all(), name
        elif weight.numel() > 4000 and getattr(module, 'groups', 1) == 1:
            fan_out = len(weight) * weight[0, 0].numel()
            assert weight.std().item() == pytest.approx((2 / fan_out)**0.5, rel=0.1)


def test_another_initialisation_can_be_configured():
    net = KINDS['resnet'](init_cfg=dict(type='Constant', layer='Conv2d', val=0.5))
    net.init_weights()
    assert (net.layer1[0].conv1.weight == 0.5).all()


def test_pretrained_init_loads_a_bare_backbone(tmp_path):
    """A reduction that the checkpoint does not hold is initialised as if without it."""
    torch.manual_seed(0)
    bare, path = small_resnext(), str(tmp_path / 'bare.pth')
    save_checkpoint(dict(state_dict={f'backbone.{k}': v
                                     for k, v in bare.state_dict().items()}), path)
    net = MODELS.build(dict(
        type='ResNeXt3D', depth=14, base_channels=8, groups=4, plugins=[LAYER3],
        feature_reduction='FRAB', reduced_channels=64,
        init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.')))
    net.init_weights()
    for name, value in bare.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    weight = net.reduction.conv3.weight
    assert weight.std().item() == pytest.approx((2 / len(weight))**0.5, rel=0.1)
    assert net.reduction.bn3.weight.min() == 1
