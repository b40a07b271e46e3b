"""The benchmark of COSAM runs, and its file has the keys that the README documents."""
import json
import sys

import pytest
import torch
from torch import nn

from benchmarks.profiling import time_by_operation
from benchmarks.suite.cosam import PARTS, floor_step, training_step
from projects.attention_study.measurement import peak_extra_bytes
from tests.tool_process import run_fresh

KEYS = {'part', 'name', 'unit', 'summary', 'target', 'details', 'note', 'verdict'}


def test_step_leaves_no_gradients():
    module, x = nn.Linear(3, 2), torch.rand(4, 3, requires_grad=True)
    step = training_step(module, x)
    seen = []
    module.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    step()
    assert len(seen) == 2
    assert x.grad is None
    assert module.weight.grad is None


def test_floor_is_the_step_and_passes_in_memory_that_is_there(monkeypatch):
    convolution = nn.Conv2d(3, 2, 1)
    x = torch.rand(4, 3, 8, 8, requires_grad=True)
    floor, written = floor_step(convolution, x), []
    multiply = torch.mul
    monkeypatch.setattr(torch, 'mul', lambda a, b, out: written.append(
        (a, multiply(a, b, out=out).data_ptr())))
    seen = []
    x.register_post_accumulate_grad_hook(lambda p: seen.append(len(written)))
    floor()
    assert seen == [1]  # one pass before the gradient of x is there
    (first, memory), (second, again) = written
    assert torch.equal(first, x)
    assert second.shape == x.shape
    assert memory == again != x.data_ptr()
    assert x.grad is None
    monkeypatch.undo()
    step = training_step(convolution, x)
    assert peak_extra_bytes(floor) == peak_extra_bytes(step)


def test_time_by_operation_splits_the_passes():
    x = torch.rand(64, 64, requires_grad=True)

    def step():
        (x.exp() @ x).sum().backward()
        x.grad = None

    shares = time_by_operation(step, steps=2)
    assert sum(shares.values()) == pytest.approx(1)
    assert ('forward', 'aten::exp') in shares
    assert ('backward', 'aten::mm') in shares
    assert ('backward', 'aten::exp') not in shares
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_quick_run(repo, tmp_path):
    path = tmp_path / 'cosam.json'
    parts = [part for part in PARTS if part != 'formats']
    done = run_fresh(sys.executable, '-m', 'benchmarks', 'cosam', '--quick',
                     '--parts', *parts, '--json', path, cwd=repo)
    assert done.returncode == 0, done.stderr
    assert '--quick: shapes are shrunk' in done.stdout
    written = json.loads(path.read_text())
    assert set(written) == {'benchmark', 'quick', 'environment', 'metrics'}
    assert written['quick'] is True
    assert {one['part'] for one in written['metrics']} == set(parts)
    compared = {one['name'].split(', ')[0]
                for one in written['metrics'] if one['part'] == 'limit'}
    assert compared == {'COSAM / its 1x1 convolution', 'floor / its 1x1 convolution',
                        'COSAM / floor'}
    for one in written['metrics']:
        assert set(one) == KEYS
        assert one['verdict'] == 'no target'
        assert set(one['summary']) == {'median', 'lower', 'upper', 'count'}


@pytest.mark.slow
def test_quick_run_of_formats(repo, tmp_path):
    """Compiles, which takes a minute."""
    path = tmp_path / 'cosam.json'
    done = run_fresh(sys.executable, '-m', 'benchmarks', 'cosam', '--quick', '--parts',
                     'formats', '--json', path, cwd=repo)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(path.read_text())['metrics']
    assert {one['unit'] for one in metrics} == {'times', 'error'}
