"""The steps with gradients of their own against automatic differentiation."""
import pytest
import torch

from cosam_mm.layers import cosam_gradients
from cosam_mm.layers.cosam import COSAM
from cosam_mm.layers.cosam_functional import (
    attend,
    project,
    standardize_descriptors,
    summarize_cost_volume,
)


def features(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator,
                       dtype=torch.float64).requires_grad_()


def channel_mask(pooled):
    return torch.sigmoid(2 * pooled).mean(1)


def attended(x, m):
    return attend(x, m, channel_mask)


def plainly_attended(x, m):
    y = x * m[:, None]
    c = channel_mask(y.mean(3).transpose(1, 2))
    return y * (1 + c)[:, :, None, None], c


def test_gradients_of_descriptors():
    x = features(2, 4, 2, 3)
    assert torch.autograd.gradcheck(standardize_descriptors, (x,))
    assert torch.autograd.gradgradcheck(standardize_descriptors, (x,))


def test_descriptors_without_deviation_have_the_gradient_of_their_centre():
    """As the deviation counts as constant there: ``(g - mean(g)) / eps``."""
    x = torch.full((1, 4, 1, 2), 3., dtype=torch.float64, requires_grad=True)
    g = features(1, 4, 1, 2).detach()
    standardize_descriptors(x, 0.5).backward(g)
    torch.testing.assert_close(x.grad, (g - g.mean(1, keepdim=True)) / 0.5)


@pytest.mark.parametrize('block', [1, 20, 2**20])
def test_gradients_of_attention(monkeypatch, block):
    monkeypatch.setattr(cosam_gradients, 'BLOCK', block)
    x, m = features(3, 2, 3, 2), features(3, 3, 2, seed=1)
    assert torch.autograd.gradcheck(attended, (x, m))
    assert torch.autograd.gradgradcheck(attended, (x, m))


@pytest.mark.parametrize('order', [(0, 1, 2, 3), (0, 2, 1, 3), (0, 2, 3, 1)])
@pytest.mark.parametrize('block', [1, 20, 2**20])
def test_any_memory_layout(monkeypatch, order, block):
    monkeypatch.setattr(cosam_gradients, 'BLOCK', block)
    back = [order.index(i) for i in range(4)]
    x = features(3, 2, 3, 2).detach().permute(order).contiguous().permute(back)
    m, g = features(3, 3, 2, seed=1).detach(), features(3, 2, 3, 2, seed=2).detach()
    results = []
    for function in (attended, plainly_attended):
        inputs = [x.detach().requires_grad_(), m.clone().requires_grad_()]
        out, c = function(*inputs)
        out.backward(g)
        results.append([out, c, *(v.grad for v in inputs)])
    for ours, plain in zip(*results):
        torch.testing.assert_close(ours, plain)


def test_inputs_stay_as_they_are():
    x, m = features(1, 2, 3, 2), features(1, 3, 2, seed=1)
    g = torch.ones(1, 2, 3, 2, dtype=torch.float64)
    before = x.detach().clone(), m.detach().clone()
    out, _ = attended(x, m)
    out.backward(g, retain_graph=True)
    once = x.grad.clone()
    out.backward(g)
    torch.testing.assert_close(x.grad, 2 * once)
    assert torch.equal(x, before[0])
    assert torch.equal(m, before[1])
    assert torch.equal(g, torch.ones_like(g))


@pytest.mark.parametrize(('features_in', 'mask', 'out'), [
    (torch.float32, torch.bfloat16, torch.float32),
    (torch.bfloat16, torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32, torch.float32)])
def test_precision_is_the_higher_one(features_in, mask, out):
    x = features(2, 3, 2, 4).detach().to(features_in).requires_grad_()
    m = features(2, 2, 4, seed=1).detach().to(mask).requires_grad_()
    y, _ = attended(x, m)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype, m.grad.dtype) == (out, features_in, mask)


def test_low_precision_keeps_statistics_in_float32():
    x = (100 + features(2, 64, 2, 3).detach()).to(torch.bfloat16)
    expected = standardize_descriptors(x.double())
    assert standardize_descriptors(x).dtype == torch.bfloat16
    torch.testing.assert_close(standardize_descriptors(x).double(), expected,
                               rtol=2**-8, atol=2**-8)


# -- projection ------------------------------------------------------------------


def projected(x, weight, bias):
    """Something of a projection and of the features behind it."""
    described, kept = project(x, weight, bias)
    return described.square(), kept * 3


def plainly_projected(x, weight, bias):
    described = torch.nn.functional.conv2d(x, weight, bias)
    return described.square(), x * 3


def projection(order=(0, 1, 2, 3)):
    back = [order.index(i) for i in range(4)]
    x = features(2, 3, 2, 4).detach().permute(order).contiguous().permute(back)
    return (x.requires_grad_(), features(5, 3, 1, 1, seed=1), features(5, seed=2))


@pytest.mark.parametrize('least_places', [1, 128])
def test_gradients_of_a_projection(monkeypatch, least_places):
    monkeypatch.setattr(cosam_gradients, 'LEAST_PLACES', least_places)
    monkeypatch.setattr(cosam_gradients, 'MOST_REUSED', least_places // 2)
    assert torch.autograd.gradcheck(projected, projection())
    assert torch.autograd.gradgradcheck(projected, projection())


@pytest.mark.parametrize('least_places', [1, 128])
@pytest.mark.parametrize('order', [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_projection_in_any_memory_layout(monkeypatch, order, least_places):
    monkeypatch.setattr(cosam_gradients, 'LEAST_PLACES', least_places)
    monkeypatch.setattr(cosam_gradients, 'MOST_REUSED', least_places // 2)
    results = []
    for function in (projected, plainly_projected):
        inputs = projection(order)
        out = function(*inputs)
        torch.autograd.backward(out, [torch.ones_like(o) for o in out])
        results.append([*out, *(v.grad for v in inputs)])
    for ours, plain in zip(*results):
        torch.testing.assert_close(ours, plain)


def test_a_projection_whose_features_go_nowhere_else():
    ours, plain = projection(), projection()
    project(*ours)[0].sum().backward()
    torch.nn.functional.conv2d(*plain).sum().backward()
    for a, b in zip(ours, plain):
        torch.testing.assert_close(a.grad, b.grad)


def test_features_that_need_no_gradient_get_none():
    x, weight, bias = projection()
    described, kept = project(x.detach(), weight, bias)
    assert kept.requires_grad is False
    assert described.requires_grad


def test_devices_without_autocast():
    """Shapes are found out on torch's meta device."""
    x, weight, bias = (v.detach().to('meta') for v in projection())
    described, _ = project(x.requires_grad_(), weight, bias)
    assert described.shape == (2, 5, 2, 4)
    descriptors, weight = (v.detach().to('meta') for v in volume())
    assert summarize_cost_volume(descriptors, weight).shape == (2, 2, 4, 2)


@pytest.mark.parametrize('watched', ['reduction', 'reduction.0'])
@pytest.mark.parametrize('shape', [(2, 6, 3, 2, 2), (6, 6, 2, 2)])
def test_hooks_on_the_reduction_are_called(watched, shape):
    """Whoever hooks the convolution, or the layers around it, still sees them run."""
    torch.manual_seed(0)
    cosam = COSAM(6, 3, (2, 2), reduction_channels=4).double()
    x = features(*shape)
    unwatched = cosam.eval()(x)
    seen = []
    cosam.get_submodule(watched).register_forward_hook(
        lambda module, args, output: seen.append(output.shape))
    torch.testing.assert_close(cosam(x), unwatched)
    assert len(seen) == 1


# -- summary maps ----------------------------------------------------------------


def volume(n=2, d=3, t=4, p=2, k=2):
    return features(n, d, t, p), features(k, (t - 1) * p, seed=1)


def test_gradients_of_summary_maps():
    assert torch.autograd.gradcheck(summarize_cost_volume, volume())
    assert torch.autograd.gradgradcheck(summarize_cost_volume, volume())


@pytest.mark.parametrize('size', [{}, {'t': 2}, {'n': 1, 'p': 1}, {'t': 7, 'k': 1}])
@pytest.mark.parametrize('frames_first', [False, True])
def test_summary_in_turn_is_the_summary_at_once(size, frames_first):
    results = []
    for function in (cosam_gradients.SummarizeInTurn.apply,
                     cosam_gradients.summarize_at_once):
        descriptors, weight = volume(**size)
        given = descriptors
        if frames_first:
            given = given.transpose(1, 2).contiguous().transpose(1, 2)
        maps = function(given, weight)
        maps.square().sum().backward()
        results.append([maps, descriptors.grad, weight.grad])
    for ours, plain in zip(*results):
        torch.testing.assert_close(ours, plain)


def test_summary_keeps_its_inputs_and_can_be_taken_back_twice():
    descriptors, weight = volume()
    before = descriptors.detach().clone(), weight.detach().clone()
    maps = summarize_cost_volume(descriptors, weight)
    maps.sum().backward(retain_graph=True)
    once = descriptors.grad.clone()
    maps.sum().backward()
    torch.testing.assert_close(descriptors.grad, 2 * once)
    assert torch.equal(descriptors, before[0])
    assert torch.equal(weight, before[1])
