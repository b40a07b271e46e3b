"""Converted checkpoints give the logits and features of the models they come from.

Recorded values of the reference implementations where they are at hand; always,
the reference models computed anew from their own parameter names.
"""
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from cosam_mm.models.converters import convert_state_dict, shipped_config
from tests.models.test_convert_names import assert_loads_strictly, build
from tests.reference import reference_forward as oracle
from tests.reference import reference_names as names


@pytest.fixture
def build_loaded(repo):
    """Converts and loads strictly: into the shipped config where there is one."""

    def load(state_dict):
        converted, model = convert_state_dict(state_dict)
        settings = model.settings
        if shipped_config(model):
            settings = Config.fromfile(repo / shipped_config(model)).model
        network = build(settings)
        assert_loads_strictly(converted, network)
        return network.eval()

    return load


@pytest.fixture
def recorded(golden_dir, reference_fill):
    """What a reference was given, and what it put out."""

    def read(name):
        record = json.loads((golden_dir / f'{name}.json').read_text())
        state = {key: torch.from_numpy(np.asarray(reference_fill.fill(
            key, tuple(shape)))) for key, shape in record['state_dict'].items()}
        clip = torch.from_numpy(reference_fill.clip(
            record['input']['seed'], tuple(record['input']['shape'])))
        return record, state, clip, {key: torch.from_numpy(value) for key, value in
                                     np.load(golden_dir / f'{name}.npz').items()}

    return read


def random_clip(*shape, **settings):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), **settings)


def logits_of(recognizer, clip):
    with torch.no_grad():
        return recognizer.extract_feat(clip[:, None], stage='head')[0]


def assert_close(actual, expected):
    """The largest error beside the largest entry."""
    assert (actual - expected).abs().max() / expected.abs().max() < 1e-4


def assert_norm_close(actual, expected):
    """Relative error as a whole.

    Random weights make a network that amplifies rounding: the largest error of an
    entry of the recorded SE-ResNet feature is 1.07e-4 of the largest entry, seen
    from float64.
    """
    assert (actual - expected).norm() / expected.norm() < 1e-4


# -- actions -------------------------------------------------------------------------


@pytest.mark.parametrize('name', [
    'rgb_resneXt3D64f101_bert10_FRMB', 'rgb_I3D64f_bert2_FRMB'])
def test_recorded_logits(recorded, build_loaded, name):
    _, state, clip, values = recorded(name)
    recognizer = build_loaded(state)
    with torch.no_grad():
        features = recognizer.backbone(clip)
        logits = recognizer.cls_head(features)
    assert_close(features.mean((3, 4)), values['feature_mean'])
    assert_close(logits, values['logits'])


@pytest.mark.parametrize(('backbone', 'head', 'reduction', 'in_channels'), [
    ('resnext', 'plain', None, 3),
    ('resnext', 'lstm', 'FRMB', 3),
    ('resnext', 'bert', 'FRAB', 2),
    ('i3d', 'lstm', 'FRAB', 3),
    ('i3d', 'bert', 'FRMB', 2),
])
def test_late_temporal_logits(build_loaded, backbone, head, reduction, in_channels):
    state = oracle.random_state(
        names.late_temporal(backbone, head, reduction, in_channels))
    clip = random_clip(2, in_channels, 64, 32, 32)
    with torch.no_grad():
        expected = oracle.late_temporal(state, clip)
    assert_close(logits_of(build_loaded(state), clip), expected)


@pytest.mark.parametrize(('source', 'settings', 'in_channels'), [
    ('kenshohara', dict(depth=50, num_classes=400), 3),
    ('piergiaj', dict(in_channels=2), 2)])
def test_logits_of_the_backbones_authors(build_loaded, source, settings, in_channels):
    state = oracle.random_state(getattr(names, source)(**settings))
    clip = random_clip(1, in_channels, 16, 32, 32)
    with torch.no_grad():
        expected = getattr(oracle, source)(state, clip)
    assert_close(logits_of(build_loaded(state), clip), expected)


# -- re-identification ---------------------------------------------------------------


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


@pytest.mark.parametrize(('name', 'entries'), [
    ('resnet50_cosam45_tp', (2, 3)), ('se_resnet50_cosam45_tp', (3, 4))])
def test_recorded_features_and_masks(recorded, repo, name, entries):
    record, state, clip, values = recorded(name)
    converted, _ = convert_state_dict(state)
    config = Config.fromfile(repo / f'configs/reid/{name}_mars.py').model
    config.head.num_pids = record['num_classes']
    model = build(config, 'cpu').eval()
    assert sum(p.numel() for p in model.parameters()) == record['num_params']
    assert_loads_strictly(converted, model)
    masks = record_masks(model.backbone)
    with torch.no_grad():
        feature = model(clip.transpose(1, 2)[:, None])
    assert_norm_close(feature, values['feature'])
    for layer, entry in zip(('layer3', 'layer4'), entries):
        spatial, channel = masks[f'after_{layer}']
        assert_norm_close(spatial, values[f'spatial_{entry}'].view_as(spatial))
        assert_norm_close(channel, values[f'channel_{entry}'])


@pytest.mark.parametrize(('backbone', 'kind', 'stages'), [
    ('resnet50', 'ta', (4, 5)),
    ('se_resnet50', 'rnn', (4, 5)),
    ('resnet50', 'tp', ()),
    ('se_resnet50', 'tp', (1,)),
])
def test_features_of_the_code_written_anew(build_loaded, backbone, kind, stages):
    state = oracle.random_state(names.cosegmentation(
        backbone, kind, stages, num_pids=3, frames=2))
    state = {name: value.double() for name, value in state.items()}
    clips = random_clip(2, 2, 3, 256, 128, dtype=torch.float64)
    with torch.no_grad():
        expected = oracle.feature(state, clips)
        actual = build_loaded(state).extract_feat(clips.transpose(1, 2)[:, None])
    assert_norm_close(actual, expected)
