"""Hooks that make training and inference faster."""
from types import SimpleNamespace

import torch
from mmengine.registry import HOOKS
from torch import nn


def test_channels_last_hook():
    hook = HOOKS.build(dict(type='ChannelsLastHook'))
    model = nn.Sequential(nn.Conv3d(4, 4, 3))
    HOOKS.build(dict(type='ChannelsLastHook', devices=['cuda'])).before_train(
        SimpleNamespace(model=model))
    assert model[0].weight.is_contiguous()
    hook.before_train(SimpleNamespace(model=model))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not model[0].weight.is_contiguous()


def test_channels_last_hook_leaves_a_wrapped_model_alone(monkeypatch):
    """The wrapper has recorded the layout of its weights."""
    monkeypatch.setattr(
        'cosam_mm.engine.hooks.performance_hooks.is_model_wrapper', lambda _: True)
    model = nn.Sequential(nn.Conv3d(4, 4, 3))
    HOOKS.build(dict(type='ChannelsLastHook')).before_train(
        SimpleNamespace(model=model))
    assert model[0].weight.is_contiguous()
