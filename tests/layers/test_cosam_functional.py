"""The functions behind COSAM against sums written out position by position."""
import pytest
import torch

from cosam_mm.layers.cosam_functional import (
    apply_masks,
    average_positions,
    evenly_spaced_frames,
    evenly_spaced_indices,
    map_real_frames,
    standardize_descriptors,
    summarize_cost_volume,
    summarize_reference_volume,
)

MASK = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]]).bool()


def features(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def explicit_summary(r, voters, weight, bias):
    """Build the cost volume of each position and convolve it.

    ``voters[n]`` are the descriptors (N, D, Q) that frame n is compared with.
    """
    n, d, t, p = r.shape
    out = torch.zeros(n, weight.shape[0], t, p, dtype=r.dtype)
    for frame in range(t):
        for position in range(p):
            volume = torch.cat([
                (r[:, :, frame, position, None] * other).sum(1) / d
                for other in voters[frame]], dim=1)
            out[:, :, frame, position] = volume @ weight.T + bias
    return out


@pytest.mark.parametrize(('n', 'd', 't', 'p', 'k'), [
    (1, 2, 2, 1, 1), (2, 3, 2, 4, 5), (2, 8, 3, 6, 4), (1, 5, 7, 3, 2)])
@pytest.mark.parametrize('frames_first', [False, True])
def test_summary_equals_the_explicit_volume(n, d, t, p, k, frames_first):
    r, weight, bias = features(n, d, t, p), features(k, (t - 1) * p), features(k)
    others = [[r[:, :, m] for m in range(t) if m != frame] for frame in range(t)]
    expected = explicit_summary(r, others, weight, bias)
    if frames_first:
        r = r.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(summarize_cost_volume(r, weight, bias), expected)
    torch.testing.assert_close(
        summarize_cost_volume(r, weight) + bias[:, None, None], expected)


@pytest.mark.parametrize(('t', 'p', 's', 'q'), [
    (1, 1, 1, 1), (3, 4, 2, 4), (2, 6, 3, 2)])
def test_reference_summary_equals_the_explicit_volume(t, p, s, q):
    r, references = features(2, 5, t, p), features(2, 5, s, q, seed=1)
    weight, bias = features(3, s * q), features(3)
    expected = explicit_summary(r, [references.unbind(2)] * t, weight, bias)
    torch.testing.assert_close(
        summarize_reference_volume(r, references, weight, bias), expected)
    torch.testing.assert_close(
        summarize_reference_volume(r, references, weight) + bias[:, None, None],
        expected)


@pytest.mark.parametrize(('function', 'shapes'), [
    (standardize_descriptors, [(2, 4, 2, 3)]),
    (summarize_cost_volume, [(1, 3, 3, 2), (2, 4), (2,)]),
    (summarize_reference_volume, [(1, 3, 2, 2), (1, 3, 2, 3), (2, 6), (2,)]),
    (lambda x: map_real_frames(torch.square, x, MASK)[0], [(3, 1, 4, 2)])])
def test_gradients_in_float64(function, shapes):
    inputs = [features(*shape, seed=i).requires_grad_()
              for i, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


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


@pytest.mark.parametrize('others', [[], [torch.zeros(1, 2, 2, 4)]])
def test_summary_refuses_weights_of_another_size(others):
    summarize = summarize_reference_volume if others else summarize_cost_volume
    with pytest.raises(ValueError, match='hold 9 scores'):
        summarize(torch.zeros(1, 2, 3, 4), *others, torch.zeros(5, 9))


def test_descriptors_without_deviation_are_zero_and_have_the_gradient_of_their_centre():
    """The deviation counts as constant there: ``(g - mean(g)) / eps``."""
    x = torch.full((1, 4, 1, 2), 3., dtype=torch.float64, requires_grad=True)
    g, y = features(1, 4, 1, 2), standardize_descriptors(x, 0.5)
    assert y.abs().max() == 0
    y.backward(g)
    torch.testing.assert_close(x.grad, (g - g.mean(1, keepdim=True)) / 0.5)


def test_low_precision_keeps_statistics_and_sums_of_templates_in_float32():
    x = (100 + features(2, 64, 2, 3)).to(torch.bfloat16)
    expected = standardize_descriptors(x.double())
    assert standardize_descriptors(x).dtype == torch.bfloat16
    torch.testing.assert_close(standardize_descriptors(x).double(), expected,
                               rtol=2**-8, atol=2**-8)
    # 64 frames whose votes cancel: bfloat16 sums would lose their remainder.
    r, weight = features(1, 8, 64, 4), features(3, 63 * 4)
    exact = summarize_cost_volume(r.bfloat16().double(), weight.bfloat16().double())
    low = summarize_cost_volume(r.bfloat16(), weight.bfloat16())
    assert low.dtype == torch.bfloat16
    assert (low.double() - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize('spatial', [True, False])
@pytest.mark.parametrize('channel', [True, False])
def test_apply_masks_follows_the_paper(spatial, channel):
    x, m, c = features(2, 3, 4, 5), features(2, 4, 5), features(2, 3)
    y = m[:, None] * x if spatial else x
    expected = y + c[:, :, None, None] * y if channel else y
    torch.testing.assert_close(
        apply_masks(x, m if spatial else None, c if channel else None), expected)
    torch.testing.assert_close(average_positions(x), torch.einsum('nctp->ntc', x) / 5)


@pytest.mark.parametrize('with_others', [False, True])
def test_functions_see_real_frames_only(with_others):
    clips, others = features(3, 2, 4, 5), features(3, 2, 2, 7, seed=1)
    real = [clips[n, :, t] for n in range(3) for t in range(4) if MASK[n, t]]
    seen = torch.cat([*real, *others.transpose(1, 2).flatten(0, 1)] if with_others
                     else real, 1)                                       # (C, L)
    clips.transpose(1, 2)[~MASK] = float('nan')
    scale = seen.mean(1).view(1, 2, 1, 1)
    out, other = map_real_frames(lambda x: x * x.mean((0, 2, 3), keepdim=True), clips,
                                 MASK, others if with_others else None)
    expected = clips.masked_fill(~MASK[:, None, :, None], 0) * scale
    torch.testing.assert_close(out, expected)
    if with_others:
        torch.testing.assert_close(other, others * scale)


@pytest.mark.parametrize(('frames', 'count', 'expected'), [
    (8, 1, [4]), (8, 2, [2, 6]), (8, 8, [*range(8)]), (9, 3, [1, 4, 7]),
    (1, 3, [0, 0, 0]), (2, 4, [0, 0, 1, 1])])
def test_evenly_spaced(frames, count, expected):
    assert evenly_spaced_indices(frames, count).tolist() == expected
    clips = torch.arange(frames).expand(2, 3, frames)[..., None]
    everywhere = torch.ones(2, frames, dtype=torch.bool)
    for mask in (None, everywhere):
        chosen = evenly_spaced_frames(clips, count, mask)
        assert chosen[1, 2, :, 0].tolist() == expected
    # Among real frames:
    clips = torch.arange(4).expand(3, 2, 4)[..., None]
    chosen = evenly_spaced_frames(clips, 2, MASK)
    assert chosen[:, 0, :, 0].tolist() == [[0, 3], [2, 2], [1, 3]]
