"""Converted checkpoints give the logits of the models they come from.

Recorded values of the reference implementations where they are at hand; always,
the reference models computed anew from their own parameter names.
"""
import json

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from cosam_mm.models.converters import convert_state_dict, shipped_config
from tests.reference import reference_forward as oracle
from tests.reference import reference_names as names


@pytest.fixture
def build_loaded(repo):
    """Converts and loads strictly: into the shipped config where there is one."""

    def build(state_dict):
        converted, model = convert_state_dict(state_dict)
        settings = dict(
            type='Recognizer3D', backbone=model.backbone, cls_head=model.cls_head)
        if shipped_config(model):
            settings = Config.fromfile(repo / shipped_config(model)).model
        with DefaultScope.overwrite_default_scope('mmaction'), torch.device('meta'):
            recognizer = MODELS.build(settings)
        recognizer.load_state_dict(converted, strict=True, assign=True)
        return recognizer.eval()

    return build


def logits_of(recognizer, clip):
    with torch.no_grad():
        return recognizer.extract_feat(clip[:, None], stage='head')[0]


def assert_close(actual, expected):
    difference = (actual - expected).abs().max() / expected.abs().max()
    assert difference < 1e-4


@pytest.mark.parametrize('name', [
    'rgb_resneXt3D64f101_bert10_FRMB', 'rgb_I3D64f_bert2_FRMB'])
def test_recorded_logits(golden_dir, reference_fill, build_loaded, name):
    record = json.loads((golden_dir / f'{name}.json').read_text())
    values = np.load(golden_dir / f'{name}.npz')
    state = {key: torch.from_numpy(np.asarray(reference_fill.fill(key, tuple(shape))))
             for key, shape in record['state_dict'].items()}
    shape = tuple(record['input']['shape'])
    clip = torch.from_numpy(reference_fill.clip(record['input']['seed'], shape))
    recognizer = build_loaded(state)
    with torch.no_grad():
        features = recognizer.backbone(clip)
        logits = recognizer.cls_head(features)
    assert_close(features.mean((3, 4)), torch.from_numpy(values['feature_mean']))
    assert_close(logits, torch.from_numpy(values['logits']))


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
    clip = torch.randn(2, in_channels, 64, 32, 32,
                       generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = oracle.late_temporal(state, clip)
    assert_close(logits_of(build_loaded(state), clip), expected)


@pytest.mark.parametrize(('source', 'settings', 'in_channels'), [
    ('kenshohara', dict(depth=50, num_classes=400), 3),
    ('piergiaj', dict(in_channels=2), 2)])
def test_logits_of_the_backbones_authors(build_loaded, source, settings, in_channels):
    state = oracle.random_state(getattr(names, source)(**settings))
    clip = torch.randn(1, in_channels, 16, 32, 32,
                       generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = getattr(oracle, source)(state, clip)
    assert_close(logits_of(build_loaded(state), clip), expected)
