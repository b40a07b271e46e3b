"""What the benchmark of COSAM measures: a step, its floor, time by operation."""
import pytest
import torch
from torch import nn

from benchmarks.profiling import time_by_operation
from benchmarks.suite.cosam import floor_step, growth_exponent, training_step
from projects.attention_study.measurement import peak_extra_bytes


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


def test_growth_exponent_of_powers():
    sizes = [1, 2, 4, 8]
    costs = [[3 * s**1.5, 5 * s**2] for s in sizes]
    found = growth_exponent(sizes, costs)
    assert found.count == 2
    assert found.median == pytest.approx(1.75)
    assert found.lower == pytest.approx(1.625)
    with pytest.raises(ValueError, match='two sizes'):
        growth_exponent([4, 4], [[1], [1]])
