"""The batch-hard triplet loss against loops, and at its edges."""
import math

import pytest
import torch

from cosam_mm.models.losses.triplet_formula import batch_hard_triplet_loss, mine_hardest


def distance(a, b):
    return math.sqrt(sum((x - y)**2 for x, y in zip(a.tolist(), b.tolist())))


def naive_loss(features, labels, margin):
    """Mean over anchors, each compared with every other feature in turn."""
    terms = []
    for i, anchor in enumerate(features):
        own = [distance(anchor, f) for j, f in enumerate(features)
               if j != i and labels[j] == labels[i]]
        others = [distance(anchor, f) for j, f in enumerate(features)
                  if labels[j] != labels[i]]
        if own and others:
            terms.append(max(0.0, max(own) - min(others) + margin))
    return sum(terms) / len(terms)


@pytest.mark.parametrize('labels', [
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2],
    [3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2],
    [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0],   # 0 is alone with itself
    [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9],   # few have a positive
])
@pytest.mark.parametrize('margin', [0, 0.3, 5.0])
def test_loss_equals_loops(labels, margin):
    generator = torch.Generator().manual_seed(len(set(labels)))
    features = torch.randn(12, 5, dtype=torch.float64, generator=generator)
    loss = batch_hard_triplet_loss(features, torch.tensor(labels), margin)
    assert loss.item() == pytest.approx(naive_loss(features, labels, margin))


def test_an_anchor_is_not_its_own_positive():
    """With itself as positive, the lone feature 3 would be an anchor."""
    anchors, positives, negatives = mine_hardest(
        torch.tensor([[0.], [1.], [10.], [4.]]), torch.tensor([0, 0, 0, 1]))
    assert anchors.tolist() == [0, 1, 2]
    assert positives.tolist() == [2, 2, 0]
    assert negatives.tolist() == [3, 3, 3]


def test_far_negatives_cost_nothing():
    features = torch.tensor([[0., 0.], [0.1, 0.], [9., 0.], [9.1, 0.]])
    labels = torch.tensor([0, 0, 1, 1])
    assert batch_hard_triplet_loss(features, labels, margin=0.3) == 0


def test_order_and_names_of_the_identities_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 3, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    order = torch.randperm(8, generator=generator)
    expected = batch_hard_triplet_loss(features, labels)
    actual = batch_hard_triplet_loss(features[order], 100 - 7 * labels[order])
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize('copies', [2, 4])
def test_identical_features_cost_the_margin_and_have_finite_gradients(copies):
    features = torch.ones(2 * copies, 6, requires_grad=True)
    labels = torch.arange(2).repeat_interleave(copies)
    loss = batch_hard_triplet_loss(features, labels, margin=0.3)
    assert loss.item() == pytest.approx(0.3)
    loss.backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_equal_positives_leave_the_gradient_of_the_negatives():
    features = torch.tensor([[0., 0.], [0., 0.], [0.1, 0.], [0.1, 0.]],
                            requires_grad=True)
    batch_hard_triplet_loss(features, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(features.grad).all()
    assert (features.grad[:2, 0] > 0).all()   # away from the others means down
    assert (features.grad[2:, 0] < 0).all()


def test_near_features_keep_their_distance():
    """Products of large features would round their difference away."""
    features = torch.tensor([[1e4, 0.], [1e4, 0.01], [1e4, 3.], [1e4, 3.02]])
    loss = batch_hard_triplet_loss(features, torch.tensor([0, 0, 1, 1]), margin=5)
    assert loss.item() == pytest.approx(
        5 + (0.01 + 0.01 + 0.02 + 0.02 - 3 - 2.99 - 2.99 - 3.01) / 4, rel=1e-4)


def test_gradients_in_float64():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(6, 4, dtype=torch.float64, generator=generator,
                           requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(
        lambda x: batch_hard_triplet_loss(x, labels, margin=2.0), (features,))


def test_no_gradient_flows_through_the_choice():
    features = torch.randn(4, 2, requires_grad=True)
    for rows in mine_hardest(features, torch.tensor([0, 0, 1, 1])):
        assert not rows.requires_grad


@pytest.mark.parametrize(('labels', 'message'), [
    ([4, 4, 4, 4], 'A batch of 4 features of 1 identities has no triplet'),
    ([0, 1, 2, 3], 'A batch of 4 features of 4 identities has no triplet.*PKSampler'),
])
def test_a_batch_without_triplets_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        batch_hard_triplet_loss(torch.randn(4, 2), torch.tensor(labels))


@pytest.mark.parametrize(('features', 'labels'), [
    ((4, 2, 1), (4,)), ((4, 2), (3,)), ((4, 2), (4, 1))])
def test_wrong_shapes_are_refused(features, labels):
    with pytest.raises(ValueError, match=r'Features \(N, D\) and labels \(N,\)'):
        mine_hardest(torch.zeros(features), torch.zeros(labels, dtype=torch.long))


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match=r'margin must be at least 0, got -0\.1'):
        batch_hard_triplet_loss(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), -0.1)
