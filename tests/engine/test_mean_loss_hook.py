"""Means over processes, for the log. Real processes: test_distributed_tools.py."""
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.runner.priority import get_priority

from cosam_mm.engine.hooks import MeanLossHook
from cosam_mm.engine.hooks import mean_loss_hook as mean_loss


def after_iter(outputs):
    MeanLossHook().after_train_iter(None, 0, None, outputs)
    return outputs


def test_tensors_become_means(monkeypatch):
    """With another process of losses 10 and 20; one alone keeps its own."""
    def all_reduce_dict(losses, op):
        assert op == 'mean'
        losses.update({name: (losses[name] + other) / 2 for name, other in
                       (('loss_a', 10.), ('loss_b', 20.))})

    loss = torch.tensor([4.], requires_grad=True)
    assert after_iter(dict(loss=loss))['loss'] is loss
    monkeypatch.setattr(mean_loss, 'get_world_size', lambda: 2)
    monkeypatch.setattr(mean_loss, 'all_reduce_dict', all_reduce_dict)
    outputs = after_iter(dict(loss_b=loss, step=7,
                              loss_a=torch.tensor(2, dtype=torch.int64)))
    assert {name: float(value) for name, value in outputs.items()} == dict(
        loss_a=6, loss_b=12, step=7)
    assert not outputs['loss_b'].requires_grad
    assert after_iter(dict(step=7)) == dict(step=7)
    # Before the log is fed.
    assert get_priority(MeanLossHook.priority) < get_priority(RuntimeInfoHook.priority)
