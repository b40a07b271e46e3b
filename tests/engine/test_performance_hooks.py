"""Hooks that make training and inference faster."""
import platform
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import HOOKS
from torch import nn

from cosam_mm.engine.hooks import performance_hooks


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


# -- memory -----------------------------------------------------------------------

# Page faults of ten blocks of 64 MiB, each written to and freed; after one for warm-up.
COUNT = """
import resource, sys
import torch
from cosam_mm.engine.hooks.performance_hooks import keep_freed_memory
if sys.argv[1] == 'kept':
    assert keep_freed_memory()
torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_pages_are_found_once(nest, tmp_path):
    script = tmp_path / 'count.py'
    script.write_text(COUNT)
    kept, given_back = (int(nest.run(script, how, cwd=tmp_path).stdout)
                        for how in ('kept', 'given back'))
    # Where the heap is in the way, one of ten blocks may lie elsewhere.
    assert kept < given_back / 5


def test_other_allocators_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    assert performance_hooks.keep_freed_memory() is False


@pytest.mark.parametrize('can', [True, False])
def test_hook_says_where_it_can_do_nothing(monkeypatch, can):
    monkeypatch.setattr(
        'cosam_mm.engine.hooks.performance_hooks.keep_freed_memory', lambda: can)
    said = []
    HOOKS.build(dict(type='MallocTuningHook')).before_run(
        SimpleNamespace(logger=SimpleNamespace(warning=said.append)))
    assert ['glibc' in line for line in said] == [True] * (not can)
