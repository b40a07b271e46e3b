"""Means over processes, for the log. Real processes: test_distributed_tools.py."""
import pytest
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.registry import HOOKS
from mmengine.runner.priority import get_priority

from cosam_mm.engine.hooks import MeanLossHook
from cosam_mm.engine.hooks import mean_loss_hook as mean_loss


@pytest.fixture
def hook():
    return HOOKS.build(dict(type='MeanLossHook'))


def after_iter(hook, outputs):
    hook.after_train_iter(None, 0, None, outputs)
    return outputs


def test_one_process_keeps_its_losses(hook):
    loss = torch.tensor(3.)
    outputs = after_iter(hook, dict(loss=loss, note='x'))
    assert outputs['loss'] is loss
    assert after_iter(hook, None) is None


def test_tensors_become_means_in_one_order(hook, monkeypatch):
    """The other process names its losses in another order."""
    def all_reduce(data, op):
        assert op == 'mean'
        data.copy_((data + torch.tensor([10., 20.])) / 2)

    monkeypatch.setattr(mean_loss, 'get_world_size', lambda: 2)
    monkeypatch.setattr(mean_loss, 'all_reduce', all_reduce)
    outputs = after_iter(hook, dict(
        loss_b=torch.tensor([4.], requires_grad=True), step=7,
        loss_a=torch.tensor(2, dtype=torch.int64)))
    assert {name: float(value) for name, value in outputs.items()} == dict(
        loss_a=6, loss_b=12, step=7)
    assert not outputs['loss_b'].requires_grad
    assert after_iter(hook, dict(step=7)) == dict(step=7)


def test_it_comes_before_the_log_is_fed():
    assert get_priority(MeanLossHook.priority) < get_priority(RuntimeInfoHook.priority)
