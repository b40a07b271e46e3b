"""Gradients that wait: what of each process is kept, and which ones are given back."""
import pytest
import torch

from cosam_mm.engine.hooks import checkpoint_content
from cosam_mm.engine.hooks.checkpoint_content import take_gradients
from tests.tool_process import run_pair

UNEVEN = """
from types import SimpleNamespace
import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapper
from cosam_mm.engine.hooks.checkpoint_content import pending_gradients

dist.init_process_group('gloo')
rank = dist.get_rank()
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.PReLU(), torch.nn.PReLU())
model[0].weight.grad = torch.arange(6.).reshape(2, 3).t() + 10 * rank
if rank == 1:
    model[1].weight.grad = torch.tensor([7.])
wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), .1), accumulative_counts=2)
runner = SimpleNamespace(model=model, optim_wrapper=wrapper)
wrapper._inner_count = 1
kept = pending_gradients(runner)
if kept:
    model[0].weight.grad.zero_()
print([{name: gradient.tolist() for name, gradient in one.items()} for one in kept])
wrapper._inner_count = 2
assert pending_gradients(runner) == []
dist.destroy_process_group()
"""


def test_each_process_keeps_what_it_has(tmp_path):
    """A layer that one process has not used has no gradient there, and none waits."""
    main, other = run_pair(UNEVEN, tmp_path)
    assert (main.returncode, other.returncode) == (0, 0), main.stderr + other.stderr
    assert main.stdout == (
        "[{'0.weight': [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]}, "
        "{'0.weight': [[10.0, 13.0], [11.0, 14.0], [12.0, 15.0]], "
        "'1.weight': [7.0]}]\n")
    assert other.stdout == '[]\n'


OF_ALL = [dict(a=torch.tensor([1., 2.])), dict(a=torch.tensor([2., 4.])),
          dict(a=torch.tensor([6., 6.]), b=torch.tensor([3.]))]


@pytest.mark.parametrize(('content', 'num_processes', 'rank', 'expected'), [
    ({}, 1, 0, {}),
    (dict(gradients_of_processes=OF_ALL), 3, 1, dict(a=[2., 4.])),
    (dict(gradients_of_processes=OF_ALL), 3, 2, dict(a=[6., 6.], b=[3.])),
    (dict(gradients_of_processes=OF_ALL), 2, 1, dict(a=[3., 4.], b=[1.])),  # the mean
    (dict(gradients_of_processes=OF_ALL[:1]), 2, 1, dict(a=[1., 2.])),
    # As written by versions that kept nothing but the mean.
    (dict(gradients=OF_ALL[0]), 1, 0, dict(a=[1., 2.])),
    (dict(gradients=OF_ALL[0]), 2, 1, dict(a=[1., 2.])),
])
def test_each_process_gets_its_own(monkeypatch, content, num_processes, rank, expected):
    monkeypatch.setattr(checkpoint_content, 'get_world_size', lambda: num_processes)
    monkeypatch.setattr(checkpoint_content, 'get_rank', lambda: rank)
    checkpoint = dict(content, state_dict={})
    found = take_gradients(checkpoint)
    assert {name: gradient.tolist() for name, gradient in found.items()} == expected
    assert checkpoint == dict(state_dict={})
