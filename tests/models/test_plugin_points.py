"""What submodules put out, found by running a network that then is as before."""
import pytest
import torch
from torch import nn

from cosam_mm.models.backbones.plugin_points import (
    trace_outputs,
    why_no_plugin,
    zeros_for,
)


class Net(nn.Module):
    """Runs one part twice and one never, and acts otherwise in training."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.relu = nn.ReLU()
        self.pair = nn.LSTM(8, 4)
        self.unused = nn.Identity()
        self.modes = []

    def train(self, mode=True):
        self.modes.append(mode)
        return super().train(mode)

    def forward(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        x = self.relu(self.drop(self.relu(self.norm(self.conv(x)))))
        return self.pair(x.mean(3).transpose(1, 2))


def test_outputs_in_running_order():
    outputs = trace_outputs(Net(), (4, 3, 6, 10))
    assert list(outputs) == ['conv', 'norm', 'relu', 'drop', 'pair', 'unused']
    assert outputs['conv'] == outputs['norm'] == [(4, 8, 3, 5)]
    assert outputs['relu'] == [(4, 8, 3, 5)] * 2
    assert outputs['pair'] == [(4, 3, 4)]
    assert outputs['unused'] == []
    assert trace_outputs(Net(), (4, 3, 6, 10), ['drop']) == {'drop': [(4, 8, 3, 5)]}


def test_nothing_is_changed():
    """Not by an error either; the rest is with the dry run of whole backbones."""
    net = Net()
    net.norm.eval()
    with pytest.raises(RuntimeError, match='channels'):
        trace_outputs(net, (4, 5, 6, 10))
    assert [name for name, m in net.named_modules() if not m.training] == ['norm']
    assert net.modes == []
    assert not any(module._forward_hooks for module in net.modules())


def test_input_is_of_the_kind_of_the_parameters():
    assert zeros_for(nn.Linear(2, 2).bfloat16(), (1, 2)).dtype == torch.bfloat16
    assert zeros_for(nn.Linear(2, 2, device='meta'), (1, 2)).is_meta
    assert zeros_for(nn.ReLU(), (1, 2)).dtype == torch.float32


def test_why_no_plugin_can_stand_there():
    net = Net()
    calls = trace_outputs(net, (4, 3, 6, 10))
    reasons = {name: why_no_plugin(net.get_submodule(name), calls[name])
               for name in calls}
    assert [name for name in reasons if not reasons[name]] == ['conv', 'drop', 'pair']
    for name, word in dict(norm='norm', relu='2 times', unused='0 times').items():
        assert word in reasons[name]
    assert 'dict' in why_no_plugin(nn.ReLU(), [dict])
    assert '2 dimensions' in why_no_plugin(nn.ReLU(), [(2, 3)])
