"""The circle loss against loops, and at its edges."""
import math

import pytest
import torch

from cosam_mm.models.losses.circle_formula import circle_loss


def cosine(a, b):
    a, b = a.tolist(), b.tolist()
    product = sum(x * y for x, y in zip(a, b))
    return product / math.hypot(*a) / math.hypot(*b)


def naive_loss(features, labels, margin, scale):
    """Every pair of a positive and a negative in turn: the paper's double sum."""
    terms = []
    for i, anchor in enumerate(features):
        own = [cosine(anchor, f) for j, f in enumerate(features)
               if j != i and labels[j] == labels[i]]
        others = [cosine(anchor, f) for j, f in enumerate(features)
                  if labels[j] != labels[i]]
        if not own or not others:
            continue
        total = 1.0
        for s_n in others:
            for s_p in own:
                a_n, a_p = max(0, s_n + margin), max(0, 1 + margin - s_p)
                total += math.exp(scale * (a_n * (s_n - margin)
                                           - a_p * (s_p - (1 - margin))))
        terms.append(math.log(total))
    return sum(terms) / len(terms)


def example(labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(labels), 5, dtype=torch.float64, generator=generator)
    return features, torch.tensor(labels)


@pytest.mark.parametrize('labels', [
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2],
    [3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2],
    [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0],   # 0 is alone with itself
    [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9],   # few have a positive
])
@pytest.mark.parametrize(('margin', 'scale'), [(0.25, 64), (0.4, 2.5), (0.1, 1)])
def test_loss_equals_loops(labels, margin, scale):
    features, labels = example(labels, seed=len(set(labels)))
    loss = circle_loss(features, labels, margin, scale)
    assert loss.item() == pytest.approx(
        naive_loss(features, labels.tolist(), margin, scale))


def test_lengths_of_the_features_do_not_matter():
    features, labels = example([0, 0, 1, 1])
    lengths = torch.tensor([[1.], [7.], [0.1], [30.]], dtype=torch.float64)
    torch.testing.assert_close(circle_loss(lengths * features, labels),
                               circle_loss(features, labels))


def test_well_parted_features_cost_next_to_nothing():
    features = torch.eye(2).repeat_interleave(2, 0)
    features[2:] -= torch.tensor([1., 0.])                # cosine of -0.7 to the first
    assert circle_loss(features, torch.tensor([0, 0, 1, 1]), scale=1000) < 1e-6


def test_gradient_is_that_of_constant_weights():
    """Sun et al., section 3.3: of one pair each, Z g a_n for s_n, -Z g a_p for s_p."""
    margin, scale = 0.25, 8.0
    angles = torch.tensor([0.0, 0.5, 1.3], dtype=torch.float64, requires_grad=True)
    features = torch.stack([angles.cos(), angles.sin()], 1)
    circle_loss(features, torch.tensor([0, 0, 1]), margin, scale).backward()
    expected, a = [0.0] * 3, angles.tolist()
    for anchor, own in ((0, 1), (1, 0)):
        s_p, s_n = (math.cos(a[anchor] - a[k]) for k in (own, 2))
        a_p, a_n = 1 + margin - s_p, s_n + margin
        z = 1 / (1 + math.exp(-scale * (a_n * (s_n - margin)
                                        - a_p * (s_p - 1 + margin))))
        for k, slope in ((own, -z * scale * a_p), (2, z * scale * a_n)):
            turn = slope * math.sin(a[k] - a[anchor]) / 2  # two anchors
            expected[anchor] += turn
            expected[k] -= turn
    assert angles.grad.tolist() == pytest.approx(expected)


def test_gradients_in_float64():
    """The value with weights held still, whose slope the gradient is."""
    features, labels = example([0, 0, 1, 1, 2, 2])
    features.requires_grad_()
    (grad,) = torch.autograd.grad(circle_loss(features, labels, 0.25, 4), features)
    unit = torch.nn.functional.normalize(features.detach())
    still = unit @ unit.T

    def held(x):
        unit = torch.nn.functional.normalize(x)
        s, same = unit @ unit.T, labels[:, None] == labels[None]
        p = torch.exp(-4 * (1.25 - still).relu() * (s - 0.75))
        n = torch.exp(4 * (still + 0.25).relu() * (s - 0.25))
        p = (p * (same & ~torch.eye(6, dtype=torch.bool))).sum(1)
        return torch.log(1 + p * (n * ~same).sum(1)).mean()

    assert torch.autograd.gradcheck(held, (features,))
    torch.testing.assert_close(grad, torch.autograd.grad(held(features), features)[0])


def test_a_feature_without_a_positive_has_a_finite_gradient():
    features, labels = example([0, 0, 1])
    features.requires_grad_()
    circle_loss(features, labels).backward()
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    features, labels = example([0, 0, 1, 1])
    loss = circle_loss((4e3 * features).to(dtype), labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        circle_loss(features, labels).item(), rel=0.05)


@pytest.mark.parametrize(('labels', 'message'), [
    ([4, 4, 4, 4], 'A batch of 4 features of 1 identities has no pair to compare'),
    ([0, 1, 2, 3], 'A batch of 4 features of 4 identities has no pair.*PKSampler')])
def test_a_batch_without_pairs_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        circle_loss(torch.randn(4, 2), torch.tensor(labels))


@pytest.mark.parametrize(('features', 'labels'), [
    ((4, 2, 1), (4,)), ((4, 2), (3,)), ((4, 2), (4, 1))])
def test_wrong_shapes_are_refused(features, labels):
    with pytest.raises(ValueError, match=r'Features \(N, D\) and labels \(N,\)'):
        circle_loss(torch.zeros(features), torch.zeros(labels, dtype=torch.long))


@pytest.mark.parametrize(('setting', 'message'), [
    (dict(margin=0), 'margin must be between 0 and 1, got 0'),
    (dict(margin=1.0), r'margin must be between 0 and 1, got 1\.0'),
    (dict(scale=0), 'scale must be above 0, got 0')])
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        circle_loss(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), **setting)
