"""Hooks that make training and inference faster."""
import platform
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import HOOKS
from torch import nn

from cosam_mm.engine.hooks import performance_hooks


@pytest.mark.parametrize(('devices', 'is_wrapped', 'changes'), [
    (['cpu'], False, True), (['cuda'], False, False), (['cpu'], True, False)])
def test_channels_last_hook(monkeypatch, devices, is_wrapped, changes):
    """A wrapper has recorded the layout of its weights: it is left alone."""
    monkeypatch.setattr(performance_hooks, 'is_model_wrapper', lambda _: is_wrapped)
    model = nn.Conv3d(4, 4, 3)
    HOOKS.build(dict(type='ChannelsLastHook', devices=devices)).before_train(
        SimpleNamespace(model=model))
    assert model.weight.is_contiguous() is not changes
    assert model.weight.is_contiguous(memory_format=torch.channels_last_3d) is changes


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


def test_hook_says_where_it_can_do_nothing(monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    said = []
    HOOKS.build(dict(type='MallocTuningHook')).before_run(
        SimpleNamespace(logger=SimpleNamespace(warning=said.append)))
    assert ['glibc' in line for line in said] == [True]
