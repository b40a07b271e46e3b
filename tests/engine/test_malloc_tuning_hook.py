"""Memory that is kept is found again without the system's help."""
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
from mmengine.registry import HOOKS

from cosam_mm.engine.hooks import performance_hooks

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


def faults(how):
    done = subprocess.run([sys.executable, '-c', COUNT, how], capture_output=True,
                          text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_pages_are_found_once():
    # Where the heap is in the way, one of ten blocks may lie elsewhere.
    assert faults('kept') < faults('given back') / 5


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
