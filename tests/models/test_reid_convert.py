"""Checkpoints of the co-segmentation re-ID code: names, features, refusals."""
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from cosam_mm.models.converters import ReferenceReID, convert_state_dict, shipped_config
from tests.reference import reid_reference_forward as oracle
from tests.reference import reid_reference_names as names
from tests.reference.reference_forward import random_state

BACKBONES = {'resnet50': 'FrameResNet', 'se_resnet50': 'FrameSEResNet'}
AGGREGATIONS = {'tp': 'TemporalPoolAggregation', 'ta': 'TemporalAttentionAggregation',
                'rnn': 'TemporalRNNAggregation'}


def hollow(listing):
    """A state dict of these shapes that holds one number each."""
    return {name: torch.zeros(()).expand(shape) for name, shape in listing.items()}


def build_hollow(settings):
    with torch.device('meta'):
        return MODELS.build(dict(dict(type='VideoReID'), **settings))


def assert_loads_strictly(state_dict, model):
    assert set(state_dict) == set(model.state_dict())
    model.load_state_dict(state_dict, strict=True, assign=True)


def assert_close(actual, expected):
    """Relative error as a whole.

    Random weights make a network that amplifies rounding: the largest error of an
    entry of the recorded SE-ResNet feature is 1.07e-4 of the largest entry, seen
    from float64.
    """
    assert (actual - expected).norm() / expected.norm() < 1e-4


def record_masks(backbone):
    """Position -> (spatial mask, channel mask), filled while the backbone runs."""
    masks = {}

    def record(position):
        def hook(cosam, inputs, _):
            masks[position] = cosam.forward(inputs[0], return_masks=True)[1:]
        return hook

    for position, plugins in backbone.plugins.items():
        plugins[0].register_forward_hook(record(position))
    return masks


# -- the same features -------------------------------------------------------


@pytest.mark.parametrize(('name', 'entries'), [
    ('resnet50_cosam45_tp', (2, 3)), ('se_resnet50_cosam45_tp', (3, 4))])
def test_recorded_features_and_masks(golden_dir, reference_fill, repo, name, entries):
    record = json.loads((golden_dir / f'{name}.json').read_text())
    values = {key: torch.from_numpy(value) for key, value in
              np.load(golden_dir / f'{name}.npz').items()}
    state = {key: torch.from_numpy(np.asarray(reference_fill.fill(key, tuple(shape))))
             for key, shape in record['state_dict'].items()}
    clip = torch.from_numpy(reference_fill.clip(
        record['input']['seed'], tuple(record['input']['shape'])))
    converted, _ = convert_state_dict(state)
    config = Config.fromfile(repo / f'configs/reid/{name}_mars.py').model
    config.head.num_pids = record['num_classes']
    model = MODELS.build(config).eval()
    assert sum(p.numel() for p in model.parameters()) == record['num_params']
    assert_loads_strictly(converted, model)
    masks = record_masks(model.backbone)
    with torch.no_grad():
        feature = model(clip.transpose(1, 2)[:, None])
    assert_close(feature, values['feature'])
    for layer, entry in zip(('layer3', 'layer4'), entries):
        spatial, channel = masks[f'after_{layer}']
        assert_close(spatial, values[f'spatial_{entry}'].view_as(spatial))
        assert_close(channel, values[f'channel_{entry}'])


@pytest.mark.parametrize(('backbone', 'kind', 'stages'), [
    ('resnet50', 'ta', (4, 5)),
    ('se_resnet50', 'rnn', (4, 5)),
    ('resnet50', 'tp', ()),
    ('se_resnet50', 'tp', (1,)),
])
def test_features_of_the_code_written_anew(backbone, kind, stages):
    state = random_state(names.cosegmentation(backbone, kind, stages, num_pids=3,
                                              frames=2))
    state = {name: value.double() for name, value in state.items()}
    clips = torch.randn(2, 2, 3, 256, 128, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = oracle.feature(state, clips)
        converted, reference = convert_state_dict(state)
        model = build_hollow(reference.settings).eval()
        assert_loads_strictly(converted, model)
        actual = model.extract_feat(clips.transpose(1, 2)[:, None])
    assert_close(actual, expected)


# -- names -------------------------------------------------------------------


def assert_converts(state):
    """The model of which the converted state is every parameter, counters included."""
    converted, model = convert_state_dict(state)
    assert isinstance(model, ReferenceReID)
    assert_loads_strictly(converted, build_hollow(model.settings))
    return model


@pytest.mark.parametrize('stages', [(), (2, 3, 4, 5)])
@pytest.mark.parametrize('kind', AGGREGATIONS)
@pytest.mark.parametrize('backbone', BACKBONES)
def test_every_model_is_recognised_whole(backbone, kind, stages):
    state = hollow(names.cosegmentation(backbone, kind, stages, num_pids=7))
    model = assert_converts(state)
    assert model.source.repository == 'InnovArul/vidreid_cosegmentation'
    assert model.backbone['type'] == BACKBONES[backbone]
    assert model.backbone['depth'] == 50
    assert model.backbone['last_stride'] == (2 if kind == 'ta' else 1)
    assert model.attention == tuple(f'layer{stage - 1}' for stage in stages)
    assert model.aggregation['type'] == AGGREGATIONS[kind]
    assert model.head['num_pids'] == 7
    assert model.modality == 'rgb'


@pytest.mark.parametrize(('kind', 'frames'), [('tp', 2), ('ta', 8)])
def test_the_clip_length_is_told(kind, frames):
    state = hollow(names.cosegmentation('resnet50', kind, (2, 3, 4, 5), frames=frames))
    _, model = convert_state_dict(state)
    assert [p['cfg']['num_frames'] for p in model.backbone['plugins']] == 4 * [frames]


def test_attention_after_the_stem_is_known_of_the_se_resnet_only():
    model = assert_converts(hollow(names.cosegmentation('se_resnet50', 'tp', (1, 5))))
    assert model.attention == ('stem', 'layer4')


def test_a_deeper_backbone():
    listing = names.cosegmentation('se_resnet50', 'tp', depth=101)
    model = assert_converts(hollow(listing))
    assert model.backbone['depth'] == 101
    assert shipped_config(model) is None


def test_files_without_classifier_and_counters():
    model = assert_converts({
        name: value for name, value in hollow(
            names.cosegmentation('resnet50', 'tp')).items()
        if not name.startswith('classifier')
        and not name.endswith('num_batches_tracked')})
    assert model.head is None
    assert shipped_config(model) is None


# -- shipped configs ---------------------------------------------------------


@pytest.mark.parametrize('stages', [(), (4, 5)])
@pytest.mark.parametrize('kind', AGGREGATIONS)
@pytest.mark.parametrize('backbone', BACKBONES)
def test_the_named_config_takes_the_checkpoint(repo, backbone, kind, stages):
    for dataset, num_pids in (('mars', 625), ('dukemtmc', 702), ('ilids', 150)):
        state = hollow(names.cosegmentation(backbone, kind, stages, num_pids))
        converted, model = convert_state_dict(state)
        cosam = '_cosam45' if stages else ''
        name = f'configs/reid/{backbone}{cosam}_{kind}_{dataset}.py'
        assert shipped_config(model) == name
        if dataset == 'mars':
            config = Config.fromfile(repo / name).model
            assert_loads_strictly(converted, build_hollow(config))


@pytest.mark.parametrize('settings', [
    dict(num_pids=10), dict(frames=8), dict(stages=(3, 4))])
def test_other_models_have_no_config(settings):
    state = hollow(names.cosegmentation('resnet50', 'tp', **settings))
    assert shipped_config(convert_state_dict(state)[1]) is None


# -- refusals ----------------------------------------------------------------


@pytest.mark.parametrize(('change', 'message'), [
    (lambda n: n.pop('base.5.2.bn1.weight'), r'Missing.*base\.5\.2\.bn1\.weight'),
    (lambda n: n.pop(f'{oracle.ATTENTION}.3.dim_reduction.0.bias'), r'Missing.*\.3\.'),
    (lambda n: n.update({f'{oracle.ATTENTION}.4.dim_reduction.0.bias': (256,)}),
     r'Unexpected.*\.4\.dim'),
    # The code that this one is built upon has the attention outside.
    (lambda n: n.update({'attention_conv.weight': (256, 2048, 8, 4)}),
     'Unexpected.*attention_conv'),
    (lambda n: n.update({'classifier.weight': (625, 512)}), r'not \(625, 2048\)'),
    # 400 correlations are no multiple of 16 x 8 positions.
    (lambda n: n.update({f'{oracle.ATTENTION}.2.spatial_mask_summary.0.weight':
                         (64, 400, 1, 1)}), r'not \(64, 384, 1, 1\)'),
])
def test_files_that_do_not_fit_are_refused(change, message):
    listing = names.cosegmentation('resnet50', 'tp')
    change(listing)
    with pytest.raises(ValueError, match=f'FrameResNet of InnovArul.*{message}'):
        convert_state_dict(hollow(listing))
