"""The grouped 3-D convolution against torch's, and when it takes its other form."""
import copy

import pytest
import torch
from torch import nn

from cosam_mm.functional.grouped_convolution import GroupedConvolution
from cosam_mm.layers.grouped_convolution import GroupedConv3d


def pair(last=True, channels=16, groups=4, **settings):
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    settings = dict(padding=1, bias=False, **settings)
    ours = GroupedConv3d(channels, channels, 3, groups=groups, **settings)
    plain = nn.Conv3d(channels, channels, 3, groups=groups, **settings)
    plain.load_state_dict(ours.state_dict())
    if last:
        for module in (ours, plain):
            nn.utils.convert_conv3d_weight_memory_format(module, torch.channels_last_3d)
    return ours, plain


@pytest.fixture
def taken(monkeypatch):
    """The calls of the form with gradients of its own."""
    calls = []
    apply = GroupedConvolution.apply
    monkeypatch.setattr(GroupedConvolution, 'apply',
                        lambda *args: calls.append(args) or apply(*args))
    return calls


def step(module, x):
    x = x.clone().requires_grad_()
    out = module(x)
    out.backward(out.detach().cos())
    return out, x.grad, module.weight.grad


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('autocast', [True, False])
def test_step_in_bfloat16_is_that_of_torch(taken, autocast, stride):
    dtype = torch.float32 if autocast else torch.bfloat16
    x = torch.rand(2, 16, 3, 5, 4, dtype=dtype)
    pairs = [module.to(dtype) for module in pair(stride=stride)]
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        ours, plain = (step(module, x) for module in pairs)
    for a, b in zip(ours, plain):
        assert a.dtype == b.dtype
        assert a.stride() == b.stride()
        torch.testing.assert_close(a, b, rtol=2**-6, atol=2**-6 * b.abs().max().item())
    assert ours[0].dtype == torch.bfloat16
    assert len(taken) == 1


def test_autocast_leaves_float64_alone():
    x = torch.rand(1, 16, 2, 2, 2, dtype=torch.float64)
    ours, plain = (module.double() for module in pair())
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(ours(x), plain(x))


@pytest.mark.parametrize('settings', [
    dict(last=False), dict(channels=32), dict(groups=1), dict(padding_mode='circular')])
def test_otherwise_it_is_torchs(taken, settings):
    x = torch.rand(1, settings.get('channels', 16), 3, 3, 3, dtype=torch.bfloat16)
    ours, plain = (module.bfloat16() for module in pair(**settings))
    for a, b in zip(step(ours, x), step(plain, x)):
        assert torch.equal(a, b)
    assert not taken


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_in_full_precision_it_is_torchs(taken, dtype):
    x = torch.rand(1, 16, 3, 3, 3, dtype=dtype)
    ours, plain = (module.to(dtype) for module in pair())
    for a, b in zip(step(ours, x), step(plain, x)):
        assert torch.equal(a, b)
    assert not taken


def test_what_torch_takes_it_takes(taken):
    """A bias, padding by name, a clip without a batch."""
    for settings, shape in ((dict(bias=True, padding=1), (1, 16, 3, 3, 3)),
                            (dict(bias=False, padding='same'), (1, 16, 3, 3, 3)),
                            (dict(bias=False, padding=1), (16, 3, 3, 3))):
        module = GroupedConv3d(16, 16, 3, groups=4, **settings)
        nn.utils.convert_conv3d_weight_memory_format(module, torch.channels_last_3d)
        module.bfloat16()(torch.rand(shape).bfloat16()).sum().backward()
    assert not taken


def test_no_gradients_no_other_form(taken):
    ours, plain = (module.bfloat16() for module in pair())
    x = torch.rand(1, 16, 3, 3, 3).bfloat16()
    with torch.no_grad():
        assert torch.equal(ours(x), plain(x))
    traced = torch.jit.trace(ours, x)
    assert 'PythonOp' not in str(traced.inlined_graph)
    assert not taken


def test_copies_keep_their_class_and_checkpoints_are_torchs():
    ours, plain = pair()
    other = copy.deepcopy(ours)
    assert type(other) is GroupedConv3d
    assert list(other.state_dict()) == list(plain.state_dict()) == ['weight']
