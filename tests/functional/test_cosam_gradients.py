"""The steps with gradients of their own against automatic differentiation."""
import pytest
import torch

from cosam_mm.functional import cosam_gradients
from cosam_mm.functional.cosam import attend, standardize_descriptors


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


@pytest.mark.parametrize('block', [1, 20, 2**18])
def test_gradients_of_attention(monkeypatch, block):
    monkeypatch.setattr(cosam_gradients, 'BLOCK', block)
    x, m = features(3, 2, 3, 2), features(3, 3, 2, seed=1)
    assert torch.autograd.gradcheck(attended, (x, m))
    assert torch.autograd.gradgradcheck(attended, (x, m))


@pytest.mark.parametrize('order', [(0, 1, 2, 3), (0, 2, 1, 3), (0, 2, 3, 1)])
@pytest.mark.parametrize('block', [1, 20, 2**18])
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
