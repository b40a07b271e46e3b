"""The functions behind COSAM against sums written out place by place."""
import pytest
import torch

from cosam_mm.layers.cosam_functional import (
    apply_masks,
    masked_average_pool,
    standardize_descriptors,
    summarize_cost_volume,
    summarize_reference_volume,
)


def explicit_summary(r, weight, bias):
    """Build the cost volume of each place and convolve it."""
    n, d, t, p = r.shape
    out = torch.zeros(n, weight.shape[0], t, p, dtype=r.dtype)
    for frame in range(t):
        others = [m for m in range(t) if m != frame]
        for place in range(p):
            volume = torch.cat([
                (r[:, :, frame, place, None] * r[:, :, m]).sum(1) / d
                for m in others], dim=1)                        # (N, (T-1)*P)
            out[:, :, frame, place] = volume @ weight.T + bias
    return out


@pytest.mark.parametrize(('n', 'd', 't', 'p', 'k'), [
    (1, 2, 2, 1, 1), (2, 3, 2, 4, 5), (2, 8, 3, 6, 4), (1, 5, 7, 3, 2)])
def test_summary_equals_the_explicit_volume(n, d, t, p, k):
    torch.manual_seed(0)
    r = torch.randn(n, d, t, p, dtype=torch.float64)
    weight = torch.randn(k, (t - 1) * p, dtype=torch.float64)
    bias = torch.randn(k, dtype=torch.float64)
    torch.testing.assert_close(summarize_cost_volume(r, weight, bias),
                               explicit_summary(r, weight, bias))


def test_summary_without_bias_is_linear_in_the_weights():
    torch.manual_seed(0)
    r = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    a, b = torch.randn(2, 3, 10, dtype=torch.float64)
    torch.testing.assert_close(
        summarize_cost_volume(r, a + 2 * b),
        summarize_cost_volume(r, a) + 2 * summarize_cost_volume(r, b))


def test_summary_gradients_in_float64():
    torch.manual_seed(0)
    r = torch.randn(1, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(summarize_cost_volume, (r, weight, bias))


def test_summary_never_holds_the_volume():
    """No tensor saved for the backward pass grows with T^2 * P^2."""
    t, p, d, k = 8, 256, 16, 4
    sizes = []
    r = torch.randn(1, d, t, p, requires_grad=True)
    weight = torch.randn(k, (t - 1) * p, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.numel()) or tensor, lambda x: x):
        summarize_cost_volume(r, weight)
    assert max(sizes) <= t * p * max(d, k)
    assert t * (t - 1) * p * p > 100 * max(sizes)


def test_summary_refuses_weights_of_another_shape():
    with pytest.raises(ValueError, match=r'hold 12 scores .* 3 frames of 4 places '
                                         r'give \(T - 1\) \* P = 8'):
        summarize_cost_volume(torch.zeros(1, 2, 3, 4), torch.zeros(5, 12))


@pytest.mark.parametrize(('t', 'p', 's', 'q'), [
    (1, 1, 1, 1), (3, 4, 2, 4), (2, 6, 3, 2)])
def test_reference_summary_equals_the_explicit_volume(t, p, s, q):
    torch.manual_seed(0)
    r = torch.randn(2, 5, t, p, dtype=torch.float64)
    references = torch.randn(2, 5, s, q, dtype=torch.float64)
    weight = torch.randn(3, s * q, dtype=torch.float64)
    bias = torch.randn(3, dtype=torch.float64)
    expected = torch.zeros(2, 3, t, p, dtype=torch.float64)
    for frame in range(t):
        for place in range(p):
            volume = torch.cat([
                (r[:, :, frame, place, None] * references[:, :, m]).sum(1) / 5
                for m in range(s)], dim=1)                      # (N, S*Q)
            expected[:, :, frame, place] = volume @ weight.T + bias
    torch.testing.assert_close(
        summarize_reference_volume(r, references, weight, bias), expected)
    torch.testing.assert_close(
        summarize_reference_volume(r, references, weight) + bias[:, None, None],
        expected)


def test_reference_summary_refuses_weights_of_another_shape():
    with pytest.raises(ValueError, match=r'hold 9 scores .* 2 reference frames of 4 '
                                         r'places give 8'):
        summarize_reference_volume(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 2, 4),
                                   torch.zeros(5, 9))


def test_descriptors_correlate_to_one_with_themselves():
    torch.manual_seed(0)
    r = standardize_descriptors(torch.randn(2, 64, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(r.mean(1), torch.zeros_like(r[:, 0]))
    # The unbiased deviation leaves (D - 1) / D, eps a little less.
    torch.testing.assert_close((r * r).sum(1) / 64,
                               torch.full_like(r[:, 0], 63 / 64), rtol=1e-3, atol=0)


def test_constant_descriptors_are_zero():
    assert standardize_descriptors(torch.full((1, 4, 2, 2), 3.)).abs().max() == 0


@pytest.mark.parametrize('with_mask', [True, False])
def test_masked_pool_equals_pooling_masked_features(with_mask):
    torch.manual_seed(0)
    x, mask = torch.rand(2, 3, 4, 5), torch.rand(2, 4, 5) if with_mask else None
    y = x * mask[:, None] if with_mask else x
    torch.testing.assert_close(masked_average_pool(x, mask),
                               y.mean(3).transpose(1, 2))


@pytest.mark.parametrize('spatial', [True, False])
@pytest.mark.parametrize('channel', [True, False])
def test_apply_masks_follows_the_paper(spatial, channel):
    torch.manual_seed(0)
    x, m, c = torch.rand(2, 3, 4, 5), torch.rand(2, 4, 5), torch.rand(2, 3)
    y = m[:, None] * x if spatial else x
    expected = y + c[:, :, None, None] * y if channel else y
    torch.testing.assert_close(
        apply_masks(x, m if spatial else None, c if channel else None), expected)
