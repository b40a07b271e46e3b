"""Plugins after any submodule of MMAction2's convolutional backbones and of ours."""
import copy
import pickle
import subprocess
import sys
import warnings
from collections import namedtuple

import mmaction.models  # noqa: F401  (registers its backbones)
import pytest
import torch
from mmengine.model import BaseModule, ExponentialMovingAverage, revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cosam_mm.layers import COSAM
from cosam_mm.models.backbones.library_models import LibraryFeatures
from cosam_mm.models.backbones.plugged_backbone import plug_into
from tests.frame_models import assert_lacks_plugins_only

SIZE = 32
CLIP = (1, 3, 8, SIZE, SIZE)
FRAMES = (8, 3, SIZE, SIZE)
SLOWONLY = dict(
    type='mmaction.ResNet3dSlowOnly', depth=18, base_channels=8, pretrained=None,
    lateral=False, conv1_kernel=(1, 7, 7), conv1_stride_t=1, pool1_stride_t=1,
    inflate=(0, 0, 1, 1), norm_eval=False)
I3D_R50 = dict(
    type='mmaction.ResNet3d', depth=50, base_channels=8, pretrained=None,
    conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2, norm_eval=False,
    inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)),
    zero_init_residual=False)
R2PLUS1D = dict(
    type='mmaction.ResNet2Plus1d', depth=18, base_channels=8, pretrained=None,
    pretrained2d=False, norm_eval=False, conv_cfg=dict(type='Conv2plus1d'),
    norm_cfg=dict(type='BN3d', requires_grad=True), conv1_kernel=(3, 7, 7),
    conv1_stride_t=1, pool1_stride_t=1, inflate=(1, 1, 1, 1),
    temporal_strides=(1, 2, 2, 2), zero_init_residual=False)
TSN = dict(type='mmaction.ResNet', depth=18, pretrained=None, norm_eval=False)
TSM = dict(type='mmaction.ResNetTSM', depth=18, num_segments=8, shift_div=8,
           pretrained=None, pretrained2d=False, norm_eval=False)
OURS = dict(type='FrameResNet', depth=14, base_channels=8)

# Backbone, input, and (C, T, H, W) after layer3.
BACKBONES = {
    'slowonly': (SLOWONLY, CLIP, (32, 8, 2, 2)),
    'i3d_r50': (I3D_R50, (1, 3, 16, SIZE, SIZE), (128, 2, 2, 2)),
    'r2plus1d': (R2PLUS1D, CLIP, (32, 2, 2, 2)),
    'tsn': (TSN, FRAMES, (256, 8, 2, 2)),
    'tsm': (TSM, FRAMES, (256, 8, 2, 2)),
    'ours': (OURS, FRAMES, (128, 8, 2, 2)),
}
ALL = pytest.mark.parametrize('name', BACKBONES)
COSAM_3 = [dict(cfg=dict(type='COSAM'), after='layer3')]
NORMED = [dict(cfg=dict(type='test_plugged.Normed'), after='layer3')]


@pytest.fixture(autouse=True)
def _fixed_seed_and_scope():
    torch.manual_seed(0)
    # R(2+1)D's convolutions have names that are known in this scope only.
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


@MODELS.register_module(name='test_plugged.Affine')
class Affine(BaseModule):
    """x -> scale * x + shift, so that the order of two of them shows."""

    def __init__(self, scale=1.0, shift=0.0, init_cfg=None):
        super().__init__(init_cfg)
        self.scale, self.shift = scale, nn.Parameter(torch.tensor(float(shift)))

    def forward(self, x):
        return self.scale * x + self.shift


@MODELS.register_module(name='test_plugged.Normed')
class Normed(nn.Module):
    """A plugin with a batch norm of each kind of input."""

    def __init__(self, in_channels):
        super().__init__()
        self.norm2d, self.norm3d = (nn.BatchNorm2d(in_channels),
                                    nn.BatchNorm3d(in_channels))

    def forward(self, x):
        return self.norm2d(x) if x.dim() == 4 else self.norm3d(x)


@MODELS.register_module(name='test_plugged.Halved')
class Halved(nn.Module):
    """No plugin: it changes the shape."""

    def forward(self, x):
        return x[..., ::2]


Pair = namedtuple('Pair', 'feature extra')


@MODELS.register_module(name='test_plugged.Forked')
class Forked(nn.Module):
    """Submodules that put out, and are used, in every way there is."""

    class Gives(nn.Module):
        def __init__(self, form):
            super().__init__()
            self.form = form

        def forward(self, x):
            return self.form(x)

    def __init__(self):
        super().__init__()
        self.tuple = self.Gives(lambda x: (x, 'rest'))
        self.list = self.Gives(lambda x: [x, 'rest'])
        self.named = self.Gives(lambda x: Pair(x, 'rest'))
        self.dict = self.Gives(lambda x: {'x': x})
        self.flat = nn.Flatten(0)
        self.twice = nn.Identity()
        self.never = nn.Identity()

    def forward(self, x):
        outputs = {name: getattr(self, name)(x) for name in ('tuple', 'list', 'named')}
        self.dict(x), self.flat(x), self.twice(self.twice(x))
        return outputs['tuple'], outputs['list'], outputs['named']


def bare(name, **settings):
    return MODELS.build({**BACKBONES[name][0], **settings})


def plugged(name, plugins=COSAM_3, **settings):
    backbone, shape, _ = BACKBONES[name]
    return MODELS.build(dict(type='PluggedBackbone', backbone={**backbone, **settings},
                             input_shape=shape, plugins=plugins))


def batch(name, clips=2):
    """Two clips; frames of clips are the batch of a backbone of frames."""
    shape = BACKBONES[name][1]
    return torch.rand(shape[0] * clips, *shape[1:])


def affine(after, **cfg):
    return dict(cfg=dict(type='test_plugged.Affine', **cfg), after=after)


def by_hand(net, x, plugin):
    """Forward passes of the six, written out, with a plugin after layer3."""
    if hasattr(net, 'bn1'):                                   # ours
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    else:
        x = net.maxpool(net.conv1(x))
    x = net.layer1(x)
    if getattr(net, 'with_pool2', False) and 'Plus' not in type(net).__name__:
        x = net.pool2(x)
    return net.layer4(plugin(net.layer3(net.layer2(x))))


# -- what comes out ------------------------------------------------------------------


@ALL
def test_plugin_runs_after_its_submodule(name):
    net = plugged(name).eval()
    (cosam,) = net.plugins['layer3']
    assert isinstance(cosam, COSAM)
    assert (cosam.in_channels, cosam.num_frames, *cosam.spatial_size) \
        == BACKBONES[name][2]
    alone = bare(name)
    alone.eval()
    assert isinstance(net, type(alone))
    assert type(net).__name__ == type(alone).__name__
    assert_lacks_plugins_only(net, alone.state_dict())
    x = batch(name)
    expected = by_hand(alone, x, cosam)
    assert torch.equal(net(x), expected)
    assert not torch.allclose(alone(x), expected)


def test_what_the_cfg_says_is_not_filled_in():
    cfg = dict(type='COSAM', num_frames=4, reduction_channels=16)
    (cosam,) = plugged('tsn', [dict(cfg=cfg, after='layer3')]).plugins['layer3']
    assert (cosam.num_frames, cosam.reduction_channels) == (4, 16)
    assert cfg == dict(type='COSAM', num_frames=4, reduction_channels=16)


@pytest.mark.parametrize('name', ['slowonly', 'tsn'])
def test_modules_of_others(name):
    """mmcv's non-local block, as it is on clips and in an adapter on frames."""
    cfg = dict(type='mmcv.cnn.NonLocal3d')
    if name == 'tsn':
        cfg = dict(type='ClipAdapter', module=cfg)
    net = plugged(name, [dict(cfg=cfg, after='layer3')]).eval()
    (block,) = net.plugins['layer3']
    x = batch(name)
    assert getattr(block, 'module', block).in_channels == BACKBONES[name][2][0]
    assert torch.equal(net(x), by_hand(net, x, nn.Identity()))


def test_plugins_run_in_order_and_later_ones_see_earlier_ones():
    plugins = [affine('layer2', scale=2.0), affine('layer2', shift=1.0),
               affine('layer1.1', scale=0.0)]
    net = plugged('slowonly', plugins).eval()
    assert [*net.plugins] == ['layer2', 'layer1_1']
    seen = []
    net.layer3.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net(batch('slowonly'))
    zeros = torch.zeros(2, 8, 8, SIZE // 4, SIZE // 4)
    assert torch.equal(seen[0], 2 * net.layer2[1](net.layer2[0](zeros)) + 1)
    net = plugged('slowonly', [])
    x = batch('slowonly')
    assert list(net.state_dict()) == list(bare('slowonly').state_dict())
    assert torch.equal(net.eval()(x), by_hand(net, x, nn.Identity()))


def test_a_backbone_that_has_plugins_of_its_own():
    own = dict(cfg=dict(type='COSAM', num_frames=8, spatial_size=(4, 4)),
               position='after_layer2')
    net = plug_into(dict(OURS, plugins=[own]), FRAMES, COSAM_3)
    assert [*net.plugins] == ['after_layer2', 'layer3']
    again = MODELS.build(dict(
        type='PluggedBackbone', input_shape=CLIP, plugins=[affine('layer4')],
        backbone=dict(type='PluggedBackbone', backbone=SLOWONLY, input_shape=CLIP,
                      plugins=COSAM_3)))
    assert [*again.plugins] == ['layer3', 'layer4']
    assert again(batch('slowonly')).shape == (2, 64, 8, 1, 1)


@pytest.mark.parametrize('index', [0, 1, 2])
def test_outputs_of_several_parts_keep_their_form(index):
    point = ('tuple', 'list', 'named')[index]
    net = plug_into(dict(type='test_plugged.Forked'), FRAMES,
                    [affine(point, scale=3.0)])
    x = torch.rand(FRAMES)
    outputs = net(x)
    for other, output in enumerate(outputs):
        assert type(output) is (tuple, list, Pair)[other]
        assert torch.equal(output[0], 3 * x if other == index else x)
        assert output[1] == 'rest'


def test_one_of_several_outputs():
    """And levels in front of COSAM are those of the bare backbone."""
    backbone = dict(SLOWONLY, out_indices=(1, 3))
    alone, both, one, single = bare('slowonly', out_indices=(1, 3)), *(
        plug_into(cfg, CLIP, COSAM_3, out_index=index) for cfg, index in (
            (backbone, None), (backbone, -1), (SLOWONLY, -1)))
    for net in (alone, both, one, single):
        net.eval()
        net.load_state_dict(both.state_dict(), strict=net is not alone)
    x = batch('slowonly')
    first, last = both(x)
    assert [torch.equal(*pair) for pair in zip(alone(x), (first, last))] \
        == [True, False]
    assert torch.equal(one(x), last)
    # A backbone of one output gives it, whatever is asked for.
    assert torch.equal(single(x), last)


def test_images_of_any_size():
    """As in mmdetection's multi-scale training, with a module that takes any."""
    net = plug_into(dict(TSN, out_indices=(2, 3)), FRAMES, [
        dict(cfg=dict(type='COSAM', any_size=True), after=point)
        for point in ('layer3', 'layer4')]).eval()
    assert [(cosam.in_channels, cosam.spatial_size) for (cosam,) in
            net.plugins.values()] == [(256, (2, 2)), (512, (1, 1))]
    for height, width in ((96, 64), (64, 160)):
        levels = net(torch.rand(8, 3, height, width))
        assert [tuple(level.shape[-2:]) for level in levels] == [
            (height // stride, width // stride) for stride in (16, 32)]


# -- building leaves no trace --------------------------------------------------------


def test_the_dry_run_changes_nothing():
    """Same weights, statistics, modes and random numbers as the bare backbone."""
    torch.manual_seed(3)
    alone = bare('slowonly', frozen_stages=1)
    after_alone = torch.rand(3)
    torch.manual_seed(3)
    net = plugged('slowonly', NORMED, frozen_stages=1)
    assert torch.equal(torch.rand(3), after_alone)
    for key, value in alone.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key
    modes = {name: module.training for name, module in alone.named_modules()}
    assert modes.items() <= {
        name: module.training for name, module in net.named_modules()}.items()
    (normed,) = net.plugins['layer3']
    assert normed.norm3d.training
    assert normed.norm3d.num_batches_tracked == 0


# -- training ------------------------------------------------------------------------


@pytest.mark.parametrize(('name', 'settings'), [
    ('slowonly', dict(norm_eval=True)), ('slowonly', dict(frozen_stages=4)),
    ('r2plus1d', dict(norm_eval=True, frozen_stages=4)),
    ('tsn', dict(norm_eval=True)), ('tsm', dict(partial_bn=True)),
    ('tsn', dict(frozen_stages=4)), ('ours', dict(norm_eval=True))])
def test_plugins_learn_where_the_backbone_is_fixed(name, settings):
    net = plugged(name, NORMED, **settings)
    assert net.train() is net
    (normed,) = net.plugins['layer3']
    norms = [m for n, m in net.named_modules()
             if isinstance(m, _BatchNorm) and not n.startswith('plugins')]
    assert not norms[-1].training
    assert all(module.training for module in net.plugins.modules())
    assert all(p.requires_grad for p in net.plugins.parameters())
    fixed = [p for n, p in net.named_parameters() if not p.requires_grad]
    assert bool(fixed) is (settings != dict(norm_eval=True))

    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.plugins.requires_grad_(False)  # what the user freezes stays frozen
    assert not any(p.requires_grad for p in net.train().plugins.parameters())


def test_checkpointing_of_the_backbone():
    """Gradients are those without, in the plugin as well."""
    inside = [*COSAM_3, dict(cfg=dict(type='COSAM'), after='layer2.0')]
    plain = plugged('slowonly', inside).eval()
    saving = plugged('slowonly', inside, with_cp=True).eval()
    saving.load_state_dict(plain.state_dict())
    x = batch('slowonly')
    for net in (plain, saving):
        net(x).square().mean().backward()
    for (key, one), other in zip(plain.named_parameters(), saving.parameters()):
        torch.testing.assert_close(one.grad, other.grad, msg=key)
    assert all(p.grad.abs().max() > 0 for n, p in plain.plugins.named_parameters()
               if n.endswith('weight'))


def test_compile():
    """One graph of everything, plugin included, and the same result."""
    net, x = plugged('tsm').eval(), batch('tsm')
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(str(graph.code))
        return graph.forward

    torch._dynamo.reset()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the compiler's, about itself
        compiled = torch.compile(net, backend=backend, fullgraph=True)(x)
        torch.testing.assert_close(compiled, net(x))
    (code,) = graphs
    assert 'summary' in code


DDP = """
import sys, torch
from torch import distributed, nn
from mmengine.registry import MODELS
import cosam_mm
rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group(
    'gloo', init_method='file://' + store, rank=rank, world_size=2)
torch.manual_seed(0)
net = MODELS.build(dict(
    type='PluggedBackbone', input_shape=(4, 3, 32, 32),
    backbone=dict(type='FrameResNet', depth=14, base_channels=8),
    plugins=[dict(cfg=dict(type='COSAM'), after='layer3')])).eval()
x = torch.rand(2, 4, 3, 32, 32)
model = nn.parallel.DistributedDataParallel(net)
for step in range(2):  # the second finds out if a parameter was not used in the first
    model.zero_grad()
    with torch.autocast('cpu', torch.bfloat16, enabled=step == 0):
        model(x[rank]).float().square().mean().backward()
gradients = {name: p.grad.clone() for name, p in net.named_parameters()}
net.zero_grad()
net(x.flatten(0, 1)).square().mean().backward()
for name, p in net.named_parameters():
    torch.testing.assert_close(gradients[name], p.grad, msg=name)
assert all(gradients[n].abs().max() > 0 for n in gradients if n.endswith('.weight'))
distributed.barrier()
distributed.destroy_process_group()
"""


def test_two_processes_have_the_gradients_of_both_clips(tmp_path):
    runs = [subprocess.Popen([sys.executable, '-c', DDP, str(rank), tmp_path / 'store'],
                             stderr=subprocess.PIPE, text=True) for rank in range(2)]
    errors = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], '\n'.join(errors)


def test_autocast():
    net, x = plugged('slowonly').eval(), batch('slowonly')
    with torch.no_grad():
        full = net(x)
        with torch.autocast('cpu', torch.bfloat16):
            half = net(x)
    assert half.dtype == torch.bfloat16
    assert (half - full).norm() < 0.05 * full.norm()


# -- copies --------------------------------------------------------------------------


@pytest.mark.parametrize('remake', [
    copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)),
    lambda net: ExponentialMovingAverage(net, momentum=0.5).module])
def test_copies_run_their_own_plugins(remake):
    net = plugged('slowonly', [affine('layer4', scale=2.0)]).eval()
    other = remake(net)
    assert type(other) is type(net)
    x = batch('slowonly')
    before = net(x)
    assert torch.equal(other(x), before)
    nn.init.constant_(other.plugins['layer4'][0].shift, 5.0)
    torch.testing.assert_close(other(x), before + 5)
    assert torch.equal(net(x), before)
    assert other.train().plugins.training


def test_norms_that_are_exchanged_are_met():
    """As ``sync_bn`` does, here back from synchronised norms."""
    net = plugged('slowonly', NORMED)
    net.plugins['layer3'][0].norm3d = nn.SyncBatchNorm(32)
    net = revert_sync_batchnorm(net).eval()
    norm = net.plugins['layer3'][0].norm3d
    assert not isinstance(norm, nn.SyncBatchNorm)
    nn.init.zeros_(norm.weight)
    nn.init.constant_(norm.bias, 7.0)
    seen = []
    net.layer4.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net(batch('slowonly'))
    assert (seen[0] == 7).all()


# -- initialisation ------------------------------------------------------------------


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) for name in one)


@ALL
def test_initialisation_leaves_plugins_alone(name):
    net = plugged(name)
    plugins, backbone = weights(net.plugins), weights(net)
    order = list(net.state_dict())
    net.init_weights()
    assert same(weights(net.plugins), plugins)
    assert list(net.state_dict()) == order
    if name != 'ours':                     # which draws its weights when it is built
        assert not same(weights(net), backbone)
    # Unless their own cfg says how.
    init = dict(type='Constant', layer='Linear', val=0.5)
    net = plugged(name, [dict(cfg=dict(type='COSAM', init_cfg=init), after='layer3')])
    net.init_weights()
    assert (net.plugins['layer3'][0].channel_attention[0].weight == 0.5).all()


@pytest.mark.parametrize(('name', 'how'), [
    ('slowonly', 'pretrained'), ('tsn', 'init_cfg')])
def test_checkpoint_of_the_bare_backbone(name, how, tmp_path):
    alone = bare(name)
    alone.init_weights()
    path = str(tmp_path / 'bare.pth')
    save_checkpoint(dict(state_dict=alone.state_dict()), path)
    settings = dict(init_cfg=dict(type='Pretrained', checkpoint=path))
    if how == 'pretrained':
        flag = 'pretrained2d' if name == 'slowonly' else 'torchvision_pretrain'
        settings = {'pretrained': path, flag: False}
    net = plugged(name, **settings)
    plugins = weights(net.plugins)
    net.init_weights()
    assert same(weights(net.plugins), plugins)
    assert all(torch.equal(net.state_dict()[key], value)
               for key, value in alone.state_dict().items())


def test_a_pretrained_checkpoint_with_plugins_brings_them(tmp_path):
    net = plugged('tsn')
    path = str(tmp_path / 'plugged.pth')
    save_checkpoint(dict(state_dict={f'backbone.{key}': value for key, value
                                     in net.state_dict().items()}), path)
    other = plugged('tsn', init_cfg=dict(type='Pretrained', checkpoint=path,
                                         prefix='backbone.'))
    assert not same(weights(net.plugins), weights(other.plugins))
    other.init_weights()
    assert same(weights(net), weights(other))


# -- mistakes ------------------------------------------------------------------------


@MODELS.register_module(name='test_plugged.Lifted')
class Lifted(nn.Module):
    """Frames in, a clip inside."""

    class Lift(nn.Module):
        def forward(self, x):
            return x.transpose(0, 1)[None]

    def __init__(self):
        super().__init__()
        self.layer3 = self.Lift()

    def forward(self, x):
        return self.layer3(x)


@MODELS.register_module(name='test_plugged.WithList')
class WithList(nn.Module):
    """A backbone that uses a setting named plugins in its own way."""

    def __init__(self, plugins):
        super().__init__()
        self.plugins, self.layer3 = plugins, nn.Identity()

    def forward(self, x):
        return self.layer3(x)


FORKED = dict(backbone=dict(type='test_plugged.Forked'), shape=FRAMES)


@pytest.mark.parametrize(('plugin', 'settings', 'message'), [
    # insertion points that there are not, and what there is
    (dict(after='layr3'), {}, "'layr3'.*'layer3'.*conv1, maxpool"),
    (dict(after='xyz'), {}, "'xyz'"), (dict(after='plugins'), {}, "'plugins'"),
    # submodules that do not run once, put out no map, or are norms
    (dict(after='twice'), FORKED, '2 times.*tuple, list, named'),
    (dict(after='never'), FORKED, '0 times'),
    (dict(after='layer1.0.relu'), dict(backbone=OURS, shape=FRAMES), '3 times'),
    (dict(after='dict'), FORKED, 'dict.*tuple, list, named'),
    (dict(after='flat'), FORKED, '1 dimensions'),
    (dict(after='conv1.bn'), {}, 'norm'),
    # layouts that do not fit
    ({}, dict(backbone=dict(type='test_plugged.Lifted'), shape=FRAMES), 'clip_last'),
    (dict(layout='frame_tokens', grid=(8, 2, 2)), {}, 'frame_tokens'),
    (dict(layout='tokens'), {}, 'clip_last'), (dict(grid=(8, 2, 2)), {}, 'grid'),
    # inputs that are no clip, that the backbone does not take, or of one frame
    ({}, dict(shape=(3, 8, 32)), 'input_shape'),
    ({}, dict(shape=(2, 3, 8, 32, 32)), 'input_shape'),
    ({}, dict(shape=(1, 4, 8, 32, 32)), r'input_shape=\(1, 4, 8, 32, 32\)'),
    ({}, dict(shape=(1, 3, 1, SIZE, SIZE)), 'num_frames'),
    # plugins that are none
    (dict(position='after_layer3'), {}, 'position'), (dict(after=None), {}, 'after'),
    (dict(cfg=dict(type='test_plugged.Halved')), {}, 'Halved'),
    (dict(cfg=dict(type='COSAM', frames=8)), {}, 'frames'),
    # names that are taken
    ({}, dict(backbone=dict(type='PluggedBackbone', backbone=SLOWONLY,
                            input_shape=CLIP, plugins=COSAM_3)), 'plugins.layer3'),
    ({}, dict(backbone=dict(type='test_plugged.WithList', plugins=[1])), 'WithList'),
    ({}, dict(backbone=dict(type='timm.resnet18', feature_shape='NHW')),
     'feature_shape'),
])
def test_mistakes_are_refused(plugin, settings, message):
    plugin = {'cfg': dict(type='COSAM'), 'after': 'layer3', **plugin}
    plugin = {key: value for key, value in plugin.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        plug_into(settings.get('backbone', SLOWONLY), settings.get('shape', CLIP),
                  [plugin])


# -- models of libraries, as far as this needs none of them --------------------------


@pytest.mark.parametrize(('made', 'feature_shape', 'expected'), [
    ((2, 5, 4, 3), None, (2, 5, 4, 3)), ((2, 4, 3, 5), 'NHWC', (2, 5, 4, 3)),
    ((2, 12, 5), None, (2, 5, 1, 1)), ((2, 5), None, (2, 5, 1, 1))])
@pytest.mark.parametrize('method', ['forward_features', 'features', 'forward'])
def test_library_features_are_maps(made, feature_shape, expected, method):
    model = type('Model', (nn.Module,), {method: lambda self, x: torch.ones(made)})
    net = type('Features', (LibraryFeatures, model), {})()
    net.feature_shape = feature_shape
    assert net(torch.rand(2, 3, 8, 8)).shape == expected
    assert net.init_weights() is None
    setattr(model, method, lambda self, x: [x, x])
    assert isinstance(net(torch.rand(1, 3, 2, 2)), list)
