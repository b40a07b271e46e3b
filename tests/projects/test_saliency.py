"""Maps of where a network looks, beside loops over their definitions."""
import itertools
import math

import torch

from projects.attention_study.saliency import (
    attention_received,
    centre_prior,
    feature_energy,
    grad_cam,
)


def test_energy():
    features = torch.randn(2, 5, 3, 4, 2)
    found = feature_energy(features)
    for m, t, y, x in itertools.product(*map(range, found.shape)):
        place = features[m, :, t, y, x].tolist()
        assert math.isclose(found[m, t, y, x], sum(v * v for v in place) / 5,
                            rel_tol=1e-5)


def test_grad_cam_by_its_equations():
    features, gradients = torch.randn(2, 2, 5, 3, 4, 2, dtype=torch.float64)
    found = grad_cam(features, gradients)
    for m in range(2):
        alpha = [gradients[m, k].sum() / (3 * 4 * 2) for k in range(5)]
        combined = sum(a * features[m, k] for k, a in enumerate(alpha))
        torch.testing.assert_close(found[m], combined.clamp(min=0))


def test_grad_cam_of_a_pooled_linear_score_is_its_class_activation_map():
    """Selvaraju et al., section 3.1: there alpha is the class's weight, over Z."""
    features = torch.randn(1, 6, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, dtype=torch.float64)
    score = features.mean((2, 3, 4))[0] @ weight
    gradients, = torch.autograd.grad(score, features)
    cam = torch.einsum('k,mkthw->mthw', weight, features) / (2 * 3 * 4)
    torch.testing.assert_close(grad_cam(features, gradients), cam.relu())


def test_attention_received():
    weights = torch.rand(2, 7, 12)
    found = attention_received(weights, (3, 2, 2))
    assert found.shape == (2, 3, 2, 2)
    for n, t, y, x in itertools.product(*map(range, found.shape)):
        listened = sum(weights[n, q, 4 * t + 2 * y + x].item() for q in range(7))
        assert math.isclose(found[n, t, y, x], listened, rel_tol=1e-5)


def test_centre():
    found = centre_prior(9, 5)
    assert found[4, 2] == found.max() == 1
    torch.testing.assert_close(found, found.flip(0, 1))
    # A standard deviation from the middle: a quarter of each side.
    height, width = centre_prior(8, 1), centre_prior(1, 4)
    expected = torch.tensor(math.exp(-0.5 * (0.5 / 4 / 0.25)**2))
    torch.testing.assert_close(width[0, 1], expected)
    torch.testing.assert_close(height[2:6, 0].max() / height[2, 0],
                               torch.tensor(math.exp(0.5 * ((1.5**2 - 0.5**2) / 4))))
