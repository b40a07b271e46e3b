"""Maps of models and features, against their definitions in loops."""
import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from cosam_mm.layers.mask_recording import record_masks
from projects.attention_study.attention_maps import (
    AttentionMap,
    attention_modules,
    centre_prior,
    decision_score,
    offered_maps,
    record_attention,
)

COSAMS = ['backbone.plugins.after_layer3.0', 'backbone.plugins.after_layer4.0']


def non_local(mode, sub_sample=False):
    return dict(type='ClipAdapter', num_frames=4, module=dict(
        type='mmcv.cnn.NonLocal3d', mode=mode, sub_sample=sub_sample))


def reid_model(*plugins, **settings):
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='VideoReID',
        backbone=dict(type='FrameResNet', depth=14, base_channels=8, last_stride=1,
                      plugins=[dict(cfg=cfg, position=f'after_layer{3 + k}')
                               for k, cfg in enumerate(plugins)]),
        aggregation=dict(type='TemporalPoolAggregation'), **settings)).eval()


def cosam_model(**settings):
    cosam = dict(type='COSAM', num_frames=4, spatial_size=(4, 2))
    return reid_model(cosam, cosam, **settings)


@pytest.fixture(scope='module')
def action_model(repo):
    config = Config.fromfile(repo / 'configs/resnext14_cosam_bert_demo.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(config.model).eval()
        # The preprocessor finds its base in that scope, too.
        yield model


@pytest.fixture(scope='module')
def tracklet():
    """A batch of one tracklet of 3 clips."""
    torch.manual_seed(0)
    clips = torch.randint(0, 256, (3, 3, 4, 64, 32), dtype=torch.uint8)
    return dict(inputs=[clips], data_samples=[_Sample()])


class _Sample:
    """Takes what a prediction sets."""


def features_before(model, name, inputs):
    """Inputs of a module in one plain pass over tensors that ask for gradients."""
    seen = []
    module = dict(model.named_modules())[name]
    handle = module.register_forward_pre_hook(
        lambda _, args: seen.append(args[0]) or (args[0] + 0,))
    score = model.extract_feat(inputs).pow(2).sum()
    handle.remove()
    return seen, torch.autograd.grad(score, seen)


# -- maps of a re-identification model -------------------------------------------


@pytest.mark.parametrize('portion', [16, 2])
def test_maps_of_a_tracklet(tracklet, portion):
    model = cosam_model(max_clips_per_forward=portion)
    kinds = ['cosam', 'grad_cam', 'feature_energy', 'centre']
    found = record_attention(model, tracklet, 3, kinds)
    assert list(found) == [
        *(AttentionMap(kind, name) for kind in kinds[:3] for name in COSAMS),
        AttentionMap('centre', '')]
    inputs = model.data_preprocessor(tracklet)['inputs']
    with record_masks(model) as record:
        model.extract_feat(inputs)
    for name in COSAMS:
        torch.testing.assert_close(found['cosam', name], record.masks()[name].spatial)
        passes, gradients = features_before(model, name, inputs)
        x = torch.cat(passes).detach().view(3, 4, -1, 4, 2)         # (M, T, C, h, w)
        g = torch.cat(gradients).view(x.shape)
        torch.testing.assert_close(found['feature_energy', name], x.pow(2).mean(2))
        alpha = g.mean((1, 3, 4))                                    # (M, C)
        cam = torch.einsum('mc,mtchw->mthw', alpha, x).clamp(min=0)
        assert cam.max() > 0
        torch.testing.assert_close(found['grad_cam', name], cam)
    centre = found['centre', '']
    assert centre.shape == (3, 1, 64, 32)
    assert torch.equal(centre[2, 0], centre_prior(64, 32))
    assert not any(values.requires_grad for values in found.values())


def test_model_is_left_as_it_was(tracklet):
    model = cosam_model()
    before = model.extract_feat(model.data_preprocessor(tracklet)['inputs'])
    first = record_attention(model, tracklet, 3, offered_maps(model))
    again = record_attention(model, tracklet, 3, offered_maps(model))
    assert all(torch.equal(first[key], again[key]) for key in first)
    alone = record_attention(model, tracklet, 3, ['cosam'])  # without gradients
    assert all(torch.equal(alone[key], first[key]) for key in alone)
    after = model.extract_feat(model.data_preprocessor(tracklet)['inputs'])
    assert torch.equal(before, after)
    assert not any(module._forward_hooks or module._forward_pre_hooks
                   for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_output_of_a_named_layer(tracklet):
    model = reid_model()
    assert offered_maps(model) == ['centre']
    assert offered_maps(model, ['backbone.layer3']) == [
        'grad_cam', 'feature_energy', 'centre']
    found = record_attention(model, tracklet, 3, ['feature_energy', 'grad_cam'],
                             ['backbone.layer3'])
    seen = []
    model.backbone.layer3.register_forward_hook(lambda _, args, out: seen.append(out))
    model.extract_feat(model.data_preprocessor(tracklet)['inputs'])
    torch.testing.assert_close(found['feature_energy', 'backbone.layer3'],
                               seen[0].pow(2).mean(1).detach().view(3, 4, 4, 2))


# -- non-local blocks ------------------------------------------------------------


@pytest.mark.parametrize('sub_sample', [False, True])
@pytest.mark.parametrize('mode', ['embedded_gaussian', 'dot_product'])
def test_attention_received_in_a_non_local_block(tracklet, mode, sub_sample):
    model = reid_model(non_local(mode, sub_sample))
    block = dict(model.named_modules())['backbone.plugins.after_layer3.0.module']
    for layer in (block.theta, block.phi):
        nn.init.normal_((layer[0] if isinstance(layer, nn.Sequential) else layer)
                        .conv.weight, std=0.5)
    name, = attention_modules(model)
    assert name == 'backbone.plugins.after_layer3.0.module'
    assert offered_maps(model) == ['nonlocal', 'grad_cam', 'feature_energy', 'centre']
    seen = []
    handle = block.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    found = record_attention(model, tracklet, 3, offered_maps(model))
    handle.remove()
    x = seen[0].detach().double()                                    # (M, C, T, h, w)
    block = block.double()
    queries, keys = (layer(x).detach() for layer in (block.theta, block.phi))
    grid = (4, 2, 1) if sub_sample else (4, 4, 2)
    assert keys.shape[2:] == grid
    sums = np.zeros((3, int(np.prod(grid))))
    for m, (q, k) in enumerate(zip(queries.flatten(2), keys.flatten(2))):
        for query in q.T:                                            # one position each
            votes = np.array([float(query @ key) for key in k.T])
            if mode == 'embedded_gaussian':
                votes = np.exp(votes / len(query)**0.5)
                sums[m] += votes / votes.sum()
            else:
                sums[m] += votes / len(votes)
    np.testing.assert_allclose(found['nonlocal', name].flatten(1), sums, rtol=1e-3,
                               atol=1e-4)
    assert found['nonlocal', name].shape == (3, *grid)
    assert found['grad_cam', name].shape == (3, 4, 4, 2)


def test_non_local_block_of_single_frames(tracklet):
    model = reid_model(dict(type='mmcv.cnn.NonLocal2d'))
    found = record_attention(model, tracklet, 3, ['nonlocal'])
    values = found['nonlocal', 'backbone.plugins.after_layer3.0']
    assert values.shape == (3, 4, 4, 2)
    # Each of a frame's 8 positions gives away an attention of 1.
    torch.testing.assert_close(values.sum((2, 3)), torch.full((3, 4), 8.))


def test_other_modes_of_non_local_blocks(tracklet):
    with pytest.raises(ValueError, match="after_layer3.*'gaussian'"):
        record_attention(reid_model(non_local('gaussian')), tracklet, 3, ['nonlocal'])


# -- action recognition ----------------------------------------------------------


def test_maps_of_a_recogniser(action_model):
    name = 'backbone.plugins.after_layer3.0'
    clip = torch.randint(0, 256, (1, 3, 32, 64, 64), dtype=torch.uint8)
    kinds = offered_maps(action_model)
    assert kinds == ['cosam', 'grad_cam', 'feature_energy', 'centre']
    batch = dict(inputs=[clip], data_samples=[_Sample()])
    found = record_attention(action_model, batch, 1, kinds)
    assert {key.kind: tuple(values.shape) for key, values in found.items()} == dict(
        cosam=(1, 4, 4, 4), grad_cam=(1, 4, 4, 4), feature_energy=(1, 4, 4, 4),
        centre=(1, 1, 64, 64))
    inputs = action_model.data_preprocessor(batch)['inputs']
    score = action_model(inputs, mode='tensor', stage='head')
    assert decision_score(action_model, inputs) == score.max()
    # The decision goes where its gradient says, through the map's own channels.
    seen = []
    module = dict(action_model.named_modules())[name]
    handle = module.register_forward_pre_hook(
        lambda _, args: seen.append(args[0]) or (args[0] + 0,))
    score = action_model(inputs, mode='tensor', stage='head').max()
    handle.remove()
    gradient, = torch.autograd.grad(score, seen)
    cam = torch.einsum('c,cthw->thw', gradient[0].mean((1, 2, 3)), seen[0][0])
    torch.testing.assert_close(found['grad_cam', name][0], cam.clamp(min=0).detach())


# -- mistakes --------------------------------------------------------------------


class _Undecided(BaseModel):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise AssertionError('not to be run')


class _Scoreless(_Undecided):
    cls_head = nn.Identity()

    def forward(self, inputs, mode='tensor', stage='head'):
        return [inputs]


def test_decisions_that_nobody_knows():
    with pytest.raises(ValueError, match='_Undecided'):
        decision_score(_Undecided(), torch.zeros(1))
    with pytest.raises(ValueError, match='Identity'):
        decision_score(_Scoreless(), torch.zeros(1))


@pytest.mark.parametrize(('with_cosam', 'arguments', 'word'), [
    (False, (['cosam'],), 'COSAM'), (True, (['nonlocal'],), 'NonLocal'),
    (False, (['grad_cam'],), 'layers'), (True, (['mask'],), "'mask'"),
    (True, (['centre'], ['layer3']), "'layer3'"),
    (True, (['feature_energy'], ['aggregation']), 'aggregation')])
def test_maps_that_are_not_there(tracklet, with_cosam, arguments, word):
    model = cosam_model() if with_cosam else reid_model()
    with pytest.raises(ValueError, match=word):
        record_attention(model, tracklet, 3, *arguments)


def test_a_layer_that_decides_nothing(tracklet):
    model = cosam_model()
    model.aggregation.register_forward_hook(lambda _, args, out: out.detach())
    model.aggregation.register_forward_hook(
        lambda _, args, out: out * torch.ones(1, requires_grad=True))
    with pytest.raises(ValueError, match=COSAMS[0]):
        record_attention(model, tracklet, 3, ['grad_cam'])


# -- maps of features --------------------------------------------------------------


def test_centre():
    found = centre_prior(9, 5)
    assert found[4, 2] == found.max() == 1
    torch.testing.assert_close(found, found.flip(0, 1))
    # A standard deviation from the middle: a quarter of each side.
    height, width = centre_prior(8, 1), centre_prior(1, 4)
    expected = torch.tensor(math.exp(-0.5 * (0.5 / 4 / 0.25)**2))
    torch.testing.assert_close(width[0, 1], expected)
    torch.testing.assert_close(height[2:6, 0].max() / height[2, 0],
                               torch.tensor(math.exp(0.5 * ((1.5**2 - 0.5**2) / 4))))
