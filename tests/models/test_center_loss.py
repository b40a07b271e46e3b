"""The center loss against loops, and at its edges."""
import pytest
import torch

from cosam_mm.models.losses.center_formula import center_loss


def naive_loss(features, labels, centers):
    total = 0.0
    for feature, label in zip(features.tolist(), labels.tolist()):
        for x, c in zip(feature, centers[label].tolist()):
            total += 0.5 * (x - c)**2
    return total / len(labels)


def example(seed=0):
    generator = torch.Generator().manual_seed(seed)
    features, centers = (torch.randn(n, 4, dtype=torch.float64, generator=generator)
                         for n in (6, 5))
    return features, torch.tensor([0, 3, 3, 4, 0, 3]), centers


@pytest.mark.parametrize('seed', [0, 1])
def test_loss_equals_loops(seed):
    args = example(seed)
    assert center_loss(*args).item() == pytest.approx(naive_loss(*args))


def test_features_at_their_centers_cost_nothing():
    _, labels, centers = example()
    assert center_loss(centers[labels], labels, centers) == 0


def test_a_step_of_rate_n_moves_a_center_to_the_mean_of_its_features():
    """Of n features of a batch, k of one identity: the gradient is k / n of the way."""
    features, labels, centers = example()
    centers.requires_grad_()
    center_loss(features, labels, centers).backward()
    for k in range(5):
        own = features[labels == k]
        way = (centers[k].detach() - own.mean(0)) * len(own) / len(labels) \
            if len(own) else torch.zeros(4, dtype=torch.float64)
        torch.testing.assert_close(centers.grad[k], way)


def test_gradients_in_float64():
    features, labels, centers = example()
    assert torch.autograd.gradcheck(
        lambda x, c: center_loss(x, labels, c),
        (features.requires_grad_(), centers.requires_grad_()))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    """The square of 400 is beyond the range of float16."""
    loss = center_loss(torch.full((2, 3), 400., dtype=dtype), torch.tensor([0, 0]),
                       torch.zeros(1, 3))
    assert loss.dtype == torch.float32
    assert loss.item() == 3 * 400**2 / 2


@pytest.mark.parametrize(('features', 'labels', 'centers'), [
    ((4, 2, 1), (4,), (3, 2)), ((4, 2), (3,), (3, 2)), ((4, 2), (4,), (3, 1)),
    ((4, 2), (4,), (2,)), ((0, 2), (0,), (3, 2))])
def test_wrong_shapes_are_refused(features, labels, centers):
    with pytest.raises(ValueError, match=(
            r'Features \(N, D\), labels \(N,\) and centers \(K, D\) are needed, N at '
            rf'least 1, got \({features[0]}, .* and \({centers[0]},')):
        center_loss(torch.zeros(features), torch.zeros(labels, dtype=torch.long),
                    torch.zeros(centers))
