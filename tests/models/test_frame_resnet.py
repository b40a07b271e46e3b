"""Backbones of single frames: shapes, names, plugins, initial weights, files."""
import logging
import re
from functools import partial

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import nn

from cosam_mm.models.backbones import FrameResNet, FrameSEResNet
from cosam_mm.models.backbones import imagenet_weights as imagenet
from cosam_mm.models.backbones.frame_resnet import InstanceBatchNorm
from tests.reference import reid_reference_names as names

BOTH = pytest.mark.parametrize('kind', [FrameResNet, FrameSEResNet])
STEPS = ('stem', 'layer1', 'layer2', 'layer3', 'layer4')


def small(kind, **kwargs):
    return kind(depth=14, base_channels=8, **kwargs)


def plugin(step, **cfg):
    return dict(cfg=dict(type='COSAM', num_frames=2, **cfg), position=f'after_{step}')


LAYER3 = plugin('layer3', spatial_size=(4, 2))


def hollow(kind, **kwargs):
    with torch.device('meta'):
        return kind(**kwargs)


# -- structure ---------------------------------------------------------------


@pytest.mark.parametrize(('last_stride', 'last'), [(1, (16, 8)), (2, (8, 4))])
@BOTH
def test_shapes_of_the_paper(kind, last_stride, last):
    net = hollow(kind, depth=50, last_stride=last_stride).eval()
    shapes = {}
    for step in STEPS[1:]:
        getattr(net, step).register_forward_hook(
            lambda _, __, out, step=step: shapes.update({step: tuple(out.shape)}))
    net.layer1.register_forward_pre_hook(
        lambda _, inputs: shapes.update(stem=tuple(inputs[0].shape)))
    out = net(torch.empty(4, 3, 256, 128, device='meta'))
    assert shapes == dict(
        stem=(4, 64, 64, 32), layer1=(4, 256, 64, 32), layer2=(4, 512, 32, 16),
        layer3=(4, 1024, 16, 8), layer4=(4, 2048, *last))
    assert out.shape == (4, 2048, *last)
    assert net.out_channels == 2048


@pytest.mark.parametrize(('kind', 'listing', 'parameters'), [
    (FrameResNet, names.resnet, 23_508_032),
    (FrameSEResNet, names.se_resnet, 26_039_024)])
def test_names_and_sizes_are_the_authors(kind, listing, parameters):
    """torchvision's and Cadene's: those of the reference without its own prefixes."""
    renamed = {'base.0.': 'conv1.', 'base.1.': 'bn1.', 'base.4.': 'layer1.',
               'base.5.': 'layer2.', 'base.6.': 'layer3.', 'base.7.': 'layer4.',
               'base.': ''}
    expected = {}
    for name, shape in listing().items():
        prefix = next(old for old in renamed if name.startswith(old))
        expected[renamed[prefix] + name[len(prefix):]] = shape
    net = hollow(kind)
    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == expected
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize(('depth', 'blocks'), [
    (14, [1, 1, 1, 1]), (50, [3, 4, 6, 3]), (101, [3, 4, 23, 3]), (152, [3, 8, 36, 3])])
@BOTH
def test_depths_of_the_family(kind, depth, blocks):
    net = hollow(kind, depth=depth)
    assert [len(getattr(net, f'layer{i}')) for i in range(1, 5)] == blocks


@pytest.mark.parametrize(('kind', 'strided'), [
    (FrameResNet, 'conv2'), (FrameSEResNet, 'conv1')])
def test_the_stride_is_where_the_authors_have_it(kind, strided):
    block = small(kind).layer2[0]
    assert {name: getattr(block, name).stride for name in ('conv1', 'conv2', 'conv3')
            } == {**dict.fromkeys(('conv1', 'conv2', 'conv3'), (1, 1)), strided: (2, 2)}
    assert block.downsample[0].stride == (2, 2)


@pytest.mark.parametrize(('kind', 'size'), [(FrameResNet, 15), (FrameSEResNet, 14)])
def test_the_pool_pads_or_rounds_up(kind, size):
    """On 29 positions, (29 + 2 - 3) / 2 + 1 = 15; rounded up, (29 - 3) / 2 + 1 = 14."""
    net = small(kind).eval()
    entered = []
    net.layer1.register_forward_pre_hook(lambda _, x: entered.append(x[0].shape[-1]))
    net(torch.zeros(1, 3, 57, 57))
    assert entered == [size]


def test_a_gate_scales_each_channel_by_what_all_channels_say():
    torch.manual_seed(0)
    gate = small(FrameSEResNet, reduction=4).layer1[0].se_module
    x = torch.randn(2, 32, 4, 2)
    weights = [layer.weight[:, :, 0, 0] for layer in (gate.fc1, gate.fc2)]
    for image, out in zip(x, gate(x)):
        hidden = (weights[0] @ image.flatten(1).mean(1)).clamp(min=0)
        scale = 1 / (1 + torch.exp(-(weights[1] @ hidden)))
        torch.testing.assert_close(out, image * scale[:, None, None])


def test_ibn_has_the_published_names_and_sizes():
    """As ResNet-50, but bn1 of layer1 to layer3 in two halves."""
    expected = {}
    for name, tensor in hollow(FrameResNet).state_dict().items():
        block, _, kind = name.rpartition('.bn1.')
        if not re.match(r'layer[123]\.\d+$', block):
            expected[name] = tuple(tensor.shape)
            continue
        half = tuple(size // 2 for size in tensor.shape)
        expected[f'{block}.bn1.BN.{kind}'] = half
        if kind in ('weight', 'bias'):
            expected[f'{block}.bn1.IN.{kind}'] = half
    net = hollow(FrameResNet, ibn='a')
    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == expected
    assert sum(p.numel() for p in net.parameters()) == 23_508_032


@pytest.mark.parametrize('channels', [8, 7])
def test_ibn_is_an_instance_norm_beside_a_batch_norm(channels):
    generator = torch.Generator().manual_seed(0)
    norm, half = InstanceBatchNorm(channels), channels // 2
    instance, batch = nn.InstanceNorm2d(half, affine=True), nn.BatchNorm2d(
        channels - half)
    for one, other in ((norm.IN, instance), (norm.BN, batch)):
        for parameter in one.parameters():
            nn.init.normal_(parameter, generator=generator)
        other.load_state_dict(one.state_dict())
    x = torch.randn(3, channels, 5, 4, generator=generator)
    for training in (True, False):
        for module in (norm, instance, batch):
            module.train(training)
        out = norm(x)
        torch.testing.assert_close(out[:, :half], instance(x[:, :half]))
        torch.testing.assert_close(out[:, half:], batch(x[:, half:]))
    torch.testing.assert_close(norm.BN.running_mean, batch.running_mean)


def test_norm_eval_and_frozen_stages_reach_ibn():
    net = small(FrameResNet, ibn='a', norm_eval=True, frozen_stages=1).train()
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    frozen = {name.split('.')[0] for name, p in net.named_parameters()
              if not p.requires_grad}
    assert frozen == {'conv1', 'bn1', 'layer1'}


@BOTH
def test_frames_do_not_see_each_other_without_plugins(kind):
    net = small(kind).eval()
    frames = torch.randn(3, 3, 64, 32)
    torch.testing.assert_close(net(frames)[1:2], net(frames[1:2]))


# -- plugins -----------------------------------------------------------------


@pytest.mark.parametrize(('step', 'size', 'channels'), [
    ('stem', (16, 8), 8), ('layer1', (16, 8), 32), ('layer2', (8, 4), 64),
    ('layer3', (4, 2), 128), ('layer4', (4, 2), 256)])
@BOTH
def test_plugins_after_any_step(kind, step, size, channels):
    torch.manual_seed(0)
    net = small(kind, plugins=[plugin(step, spatial_size=size)]).eval()
    cosam = net.plugins[f'after_{step}'][0]
    assert cosam.in_channels == channels
    seen = {}
    cosam.register_forward_hook(
        lambda _, inputs, out: seen.update(before=inputs[0], after=out))
    frames = torch.randn(4, 3, 64, 32)
    out = net(frames)
    assert seen['before'].shape == (4, channels, *size)
    expected = seen['after']
    for later in STEPS[STEPS.index(step) + 1:]:
        expected = getattr(net, later)(expected)
    torch.testing.assert_close(out, expected)
    # The two clips of two frames keep to themselves.
    torch.testing.assert_close(net(frames[2:]), out[2:], rtol=1e-4, atol=1e-5)


@BOTH
def test_plugins_leave_the_backbones_names_alone(kind):
    bare, plugged = small(kind), small(kind, plugins=[LAYER3])
    added = [name for name in plugged.state_dict() if name not in bare.state_dict()]
    assert set(bare.state_dict()) <= set(plugged.state_dict())
    assert all(name.startswith('plugins.after_layer3.0.') for name in added)
    assert added


@BOTH
def test_plugins_initialise_their_own_weights(kind):
    """Kaiming by outputs would give the last layer, 64 to 1, a deviation of 1.4."""
    net = small(kind, plugins=[LAYER3])
    net.init_weights()
    last = net.plugins['after_layer3'][0].summary[3]
    assert last.weight.abs().max() <= 64**-0.5
    assert last.bias.abs().max() > 0


def test_a_fresh_non_local_block_changes_nothing():
    pytest.importorskip('mmcv.cnn')
    block = dict(type='ClipAdapter', num_frames=2, module=dict(
        type='mmcv.cnn.NonLocal3d', norm_cfg=dict(type='BN3d')))
    net = small(FrameResNet, plugins=[dict(cfg=block, position='after_layer3')])
    net.init_weights()
    seen = {}
    net.plugins['after_layer3'].register_forward_hook(
        lambda _, inputs, out: seen.update(before=inputs[0], after=out))
    net.eval()(torch.randn(4, 3, 64, 32))
    assert torch.equal(seen['after'], seen['before'])


# -- training ----------------------------------------------------------------


@pytest.mark.parametrize('stage', [-1, 0, 2, 4])
@BOTH
def test_frozen_stages(kind, stage):
    net = small(kind, frozen_stages=stage, plugins=[LAYER3]).train()
    frozen = {name.split('.')[0] for name, p in net.named_parameters()
              if not p.requires_grad}
    stem = {'layer0'} if kind is FrameSEResNet else {'conv1', 'bn1'}
    layers = {f'layer{i}' for i in range(1, stage + 1)}
    assert frozen == ((stem | layers) if stage >= 0 else set())


@BOTH
def test_checkpointing_gives_the_same_gradients(kind):
    x = torch.randn(4, 3, 64, 32)
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        net = small(kind, with_cp=with_cp, plugins=[LAYER3]).train()
        net(x.clone().requires_grad_()).square().mean().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    assert net.layer1[0].with_cp
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-6)


@BOTH
def test_default_initialisation_is_kaiming(kind):
    torch.manual_seed(0)
    net = kind(depth=14, base_channels=32)
    net.init_weights()
    weight = net.layer4[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9))**0.5, rel=0.02)
    assert net.layer4[0].bn3.weight.min() == 1


def test_another_initialisation_can_be_configured():
    net = small(FrameResNet, init_cfg=dict(type='Constant', layer='Conv2d', val=0.5))
    net.init_weights()
    assert (net.layer1[0].conv1.weight == 0.5).all()


# -- files of ImageNet weights -----------------------------------------------


@pytest.mark.parametrize(('kind', 'classifier'), [
    (FrameResNet, 'fc'), (FrameSEResNet, 'last_linear'),
    (partial(FrameResNet, ibn='a'), 'fc')])
def test_published_files_load_but_for_the_classifier(kind, classifier, tmp_path,
                                                     caplog):
    torch.manual_seed(0)
    published = small(kind).state_dict()
    published = {name: value for name, value in published.items()
                 if not name.endswith('num_batches_tracked')}  # as old files are
    published[f'{classifier}.weight'] = torch.zeros(1000, 256)
    published[f'{classifier}.bias'] = torch.zeros(1000)
    torch.save(published, tmp_path / 'imagenet.pth')
    net = small(kind, plugins=[LAYER3], init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'imagenet.pth')))
    attention = {k: v.clone() for k, v in net.plugins.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        net.init_weights()
    for name, value in net.state_dict().items():
        if name in published:
            assert torch.equal(value, published[name]), name
    for name, value in net.plugins.state_dict().items():
        assert torch.equal(value, attention[name]), name


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server of one file, and an empty cache; returns how to serve bytes."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))

    def serve(data, checksum=None):
        import hashlib
        checksum = checksum or hashlib.sha256(data).hexdigest()[:8]
        path = tmp_path / f'resnet50-{checksum}.pth'
        path.write_bytes(data)
        monkeypatch.setitem(imagenet.IMAGENET_WEIGHTS, 'resnet50', path.as_uri())
        return path

    return serve


def saved(content, tmp_path):
    torch.save(content, tmp_path / 'content')
    return (tmp_path / 'content').read_bytes()


def test_weights_by_name_are_downloaded_once(served, tmp_path):
    torch.manual_seed(0)
    expected = small(FrameResNet).state_dict()
    path = served(saved(dict(expected, **{'fc.bias': torch.zeros(1000)}), tmp_path))
    for _ in range(2):
        net = MODELS.build(dict(
            type='FrameResNet', depth=14, base_channels=8,
            init_cfg=dict(type='Pretrained', checkpoint='imagenet://resnet50')))
        net.init_weights()
        for name, value in net.state_dict().items():
            assert torch.equal(value, expected[name])
        path.unlink(missing_ok=True)  # the second time the cache has it
    assert (tmp_path / 'cache' / 'checkpoints' / path.name).is_file()


def test_changed_weights_are_refused(served, tmp_path):
    served(saved({}, tmp_path), checksum='0676ba61')
    with pytest.raises(OSError, match='init_cfg=None'):
        CheckpointLoader.load_checkpoint('imagenet://resnet50')
    assert not list((tmp_path / 'cache').rglob('*.pth'))


def test_weights_that_cannot_be_reached(served, tmp_path):
    served(b'').unlink()
    with pytest.raises(OSError, match='Download'):
        CheckpointLoader.load_checkpoint('imagenet://resnet50')


def test_no_code_of_a_weight_file_runs(served, tmp_path):
    served(saved(torch.nn.Linear(1, 1), tmp_path))
    with pytest.raises(Exception, match='weights_only'):
        CheckpointLoader.load_checkpoint('imagenet://resnet50')


def test_unknown_weights_are_named():
    with pytest.raises(ValueError, match='se_resnet50'):
        CheckpointLoader.load_checkpoint('imagenet://resnet18')


# -- mistakes ----------------------------------------------------------------


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(depth=18), 'depth'),
    (dict(last_stride=3), 'last_stride'),
    (dict(frozen_stages=5), 'between'),
    (dict(plugins=[plugin('layer5', spatial_size=2)]), 'after_layer5'),
])
@BOTH
def test_wrong_settings_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**{**dict(depth=14, base_channels=8), **settings})


def test_another_ibn_is_refused():
    with pytest.raises(ValueError, match='None'):
        small(FrameResNet, ibn='b')
    with pytest.raises(ValueError, match='channels'):
        InstanceBatchNorm(1)


@pytest.mark.parametrize('reduction', [0, 33])
def test_a_gate_without_hidden_channels_is_refused(reduction):
    with pytest.raises(ValueError, match=(
            rf'reduction must be between 1 and 4 \* base_channels = 32, got '
            rf'{reduction}')):
        small(FrameSEResNet, reduction=reduction)
