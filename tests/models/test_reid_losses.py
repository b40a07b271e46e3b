"""Losses of re-identification against loops, at their edges, in two processes."""
import math
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import MODELS

from cosam_mm.models.losses import (
    BatchHardTripletLoss,
    CenterLoss,
    CircleLoss,
    IdentityLoss,
)
from cosam_mm.models.losses.center_loss import center_loss
from cosam_mm.models.losses.circle_loss import circle_loss
from cosam_mm.models.losses.reid_losses import (
    batch_hard_triplet_loss,
    gather_batch,
)

LABEL_SETS = [
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2],
    [3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2],
    [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0],   # 0 is alone with itself
    [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9],   # few have a positive
]
LABEL = torch.tensor([0, 0, 2, 2])


# -- triplet loss ----------------------------------------------------------------


def distance(a, b):
    return math.sqrt(sum((x - y)**2 for x, y in zip(a.tolist(), b.tolist())))


def naive_triplet(features, labels, margin):
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


@pytest.mark.parametrize('labels', LABEL_SETS)
@pytest.mark.parametrize('margin', [0, 0.3, 5.0])
def test_triplet_equals_loops(labels, margin):
    generator = torch.Generator().manual_seed(len(set(labels)))
    features = torch.randn(12, 5, dtype=torch.float64, generator=generator)
    loss = batch_hard_triplet_loss(features, torch.tensor(labels), margin)
    assert loss.item() == pytest.approx(naive_triplet(features, labels, margin))


def test_an_anchor_is_not_its_own_positive():
    """With itself as positive, the lone feature 3 would be an anchor."""
    features = torch.tensor([[0.], [1.], [10.], [4.]])
    loss = batch_hard_triplet_loss(features, torch.tensor([0, 0, 0, 1]), margin=9)
    assert loss == pytest.approx(((10 - 4) + (9 - 3) + (10 - 6)) / 3 + 9)


def test_far_negatives_cost_nothing():
    features = torch.tensor([[0., 0.], [0.1, 0.], [9., 0.], [9.1, 0.]])
    labels = torch.tensor([0, 0, 1, 1])
    assert batch_hard_triplet_loss(features, labels, margin=0.3) == 0


def test_identical_features_cost_the_margin_and_have_finite_gradients():
    features = torch.ones(4, 6, requires_grad=True)
    loss = batch_hard_triplet_loss(features, torch.tensor([0, 0, 1, 1]), margin=0.3)
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


def test_triplet_gradients_in_float64():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(6, 4, dtype=torch.float64, generator=generator,
                           requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(
        lambda x: batch_hard_triplet_loss(x, labels, margin=2.0), (features,))


# -- center loss -----------------------------------------------------------------


def naive_center(features, labels, centers):
    total = 0.0
    for feature, label in zip(features.tolist(), labels.tolist()):
        for x, c in zip(feature, centers[label].tolist()):
            total += 0.5 * (x - c)**2
    return total / len(labels)


def center_example(seed=0):
    generator = torch.Generator().manual_seed(seed)
    features, centers = (torch.randn(n, 4, dtype=torch.float64, generator=generator)
                         for n in (6, 5))
    return features, torch.tensor([0, 3, 3, 4, 0, 3]), centers


@pytest.mark.parametrize('seed', [0, 1])
def test_center_equals_loops(seed):
    args = center_example(seed)
    assert center_loss(*args).item() == pytest.approx(naive_center(*args))


def test_a_step_of_rate_n_moves_a_center_to_the_mean_of_its_features():
    """Of n features of a batch, k of one identity: the gradient is k / n of the way."""
    features, labels, centers = center_example()
    centers.requires_grad_()
    center_loss(features, labels, centers).backward()
    for k in range(5):
        own = features[labels == k]
        way = (centers[k].detach() - own.mean(0)) * len(own) / len(labels) \
            if len(own) else torch.zeros(4, dtype=torch.float64)
        torch.testing.assert_close(centers.grad[k], way)


# -- circle loss -----------------------------------------------------------------


def cosine(a, b):
    a, b = a.tolist(), b.tolist()
    product = sum(x * y for x, y in zip(a, b))
    return product / math.hypot(*a) / math.hypot(*b)


def naive_circle(features, labels, margin, scale):
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


def circle_example(labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(labels), 5, dtype=torch.float64, generator=generator)
    return features, torch.tensor(labels)


@pytest.mark.parametrize('labels', LABEL_SETS)
@pytest.mark.parametrize(('margin', 'scale'), [(0.25, 64), (0.4, 2.5), (0.1, 1)])
def test_circle_equals_loops(labels, margin, scale):
    features, labels = circle_example(labels, seed=len(set(labels)))
    loss = circle_loss(features, labels, margin, scale)
    assert loss.item() == pytest.approx(
        naive_circle(features, labels.tolist(), margin, scale))


def test_lengths_of_the_features_do_not_matter():
    features, labels = circle_example([0, 0, 1, 1])
    lengths = torch.tensor([[1.], [7.], [0.1], [30.]], dtype=torch.float64)
    torch.testing.assert_close(circle_loss(lengths * features, labels),
                               circle_loss(features, labels))


def test_well_parted_features_cost_next_to_nothing():
    features = torch.eye(2).repeat_interleave(2, 0)
    features[2:] -= torch.tensor([1., 0.])                # cosine of -0.7 to the first
    assert circle_loss(features, torch.tensor([0, 0, 1, 1]), scale=1000) < 1e-6


def test_circle_gradients_in_float64():
    """Sun et al., section 3.3: the slope of the value with weights held still."""
    features, labels = circle_example([0, 0, 1, 1, 2, 2])
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
    features, labels = circle_example([0, 0, 1])
    features.requires_grad_()
    circle_loss(features, labels).backward()
    assert torch.isfinite(features.grad).all()


# -- refusals --------------------------------------------------------------------


@pytest.mark.parametrize('loss', [batch_hard_triplet_loss, circle_loss])
@pytest.mark.parametrize('labels', [[4, 4, 4, 4], [0, 1, 2, 3]])
def test_a_batch_without_pairs_is_refused(loss, labels):
    with pytest.raises(ValueError, match='PKSampler'):
        loss(torch.randn(4, 2), torch.tensor(labels))


@pytest.mark.parametrize('shapes', [
    ((4, 2, 1), (4,)), ((4, 2), (3,)), ((4, 2), (4, 1)), ((4, 2, 1), (4,), (3, 2)),
    ((4, 2), (3,), (3, 2)), ((4, 2), (4,), (3, 1)), ((4, 2), (4,), (2,)),
    ((0, 2), (0,), (3, 2))])
def test_wrong_shapes_are_refused(shapes):
    features, labels, *centers = (torch.zeros(shape) for shape in shapes)
    losses = [center_loss] if centers else [batch_hard_triplet_loss, circle_loss]
    for loss in losses:
        with pytest.raises(ValueError, match=r'\(N, D\)'):
            loss(features, labels.long(), *centers)


@pytest.mark.parametrize(('loss', 'setting'), [
    (batch_hard_triplet_loss, dict(margin=-0.1)), (circle_loss, dict(margin=0)),
    (circle_loss, dict(margin=1.0)), (circle_loss, dict(scale=0))])
def test_settings_out_of_range_are_refused(loss, setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        loss(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), **setting)


@pytest.mark.parametrize(('kind', 'settings'), [
    (IdentityLoss, dict(label_smoothing=-0.1)),
    (IdentityLoss, dict(label_smoothing=1.5)),
    (CenterLoss, dict(in_channels=0, num_pids=3)),
    (CenterLoss, dict(in_channels=5, num_pids=0))])
def test_settings_of_modules_out_of_range_are_refused(kind, settings):
    with pytest.raises(ValueError, match='must be'):
        kind(**settings)


# -- registered losses -----------------------------------------------------------


GENERATOR = torch.Generator().manual_seed(0)
FEATURE, SCORE = torch.randn(4, 5, generator=GENERATOR), torch.randn(
    4, 3, generator=GENERATOR)


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 1.0])
def test_smoothed_cross_entropy_written_out(smoothing):
    loss = IdentityLoss(smoothing)(FEATURE, SCORE, LABEL).item()
    expected = 0
    for row, label in zip(SCORE.tolist(), LABEL.tolist()):
        total = sum(math.exp(value) for value in row)
        for k, value in enumerate(row):
            target = smoothing / 3 + (1 - smoothing) * (k == label)
            expected -= target * math.log(math.exp(value) / total) / 4
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_default_is_the_papers():
    assert IdentityLoss().label_smoothing == 0.1
    assert BatchHardTripletLoss().margin == 0.3


def test_modules_are_their_functions():
    assert BatchHardTripletLoss(0.5)(FEATURE, SCORE, LABEL) == \
        batch_hard_triplet_loss(FEATURE, LABEL, 0.5)
    assert CircleLoss(0.4, 16)(FEATURE, SCORE, LABEL) == \
        circle_loss(FEATURE, LABEL, 0.4, 16)


def test_center_is_the_functional_with_centers_that_learn():
    torch.manual_seed(0)
    loss = CenterLoss(in_channels=5, num_pids=3, loss_weight=1)
    (centers,) = loss.parameters()
    assert centers.shape == (3, 5)
    value = loss(FEATURE, SCORE, LABEL)
    assert value == center_loss(FEATURE, LABEL, centers)
    value.backward()
    assert [bool(row.any()) for row in centers.grad] == [True, False, True]


@pytest.mark.parametrize('kind', ['IdentityLoss', 'BatchHardTripletLoss', 'CircleLoss'])
def test_weights_scale_the_loss(kind):
    one, three = (MODELS.build(dict(type=kind, loss_weight=weight))
                  for weight in (1, 3))
    torch.testing.assert_close(three(FEATURE, SCORE, LABEL),
                               3 * one(FEATURE, SCORE, LABEL))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('kind', [IdentityLoss, BatchHardTripletLoss, CircleLoss])
def test_half_precision_is_summed_in_single(kind, dtype):
    """Squares of these features are beyond the range of float16."""
    loss = kind()((400 * FEATURE).to(dtype), SCORE.to(dtype), LABEL)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


# -- two processes with a part of a batch each, beside one with the whole --------


LABELS = torch.tensor([7, 7, 3, 3, 5, 5, 4, 4])


def make_batch():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return inputs, weight.requires_grad_()


def part_of(rank):
    """Loss and mean gradient of two processes, and what each gathered."""
    inputs, weight = make_batch()
    own = slice(4 * rank, 4 * rank + 4)
    feature, label = inputs[own] @ weight, LABELS[own]
    features, labels = gather_batch(feature, label)
    loss = batch_hard_triplet_loss(features, labels)
    loss.backward()
    dist.all_reduce(weight.grad)
    with torch.no_grad():  # validation may ask for losses, too
        score, feature = torch.zeros(4, 2), feature.detach()
        modules = [BatchHardTripletLoss(across_processes=across)(feature, score, label)
                   for across in (True, False)]
    return (features.detach(), labels, loss.detach(), weight.grad / 2, *modules)


def run_rank(rank, folder):
    dist.init_process_group(
        'gloo', init_method=f'file://{folder / "group"}', rank=rank, world_size=2,
        timeout=timedelta(seconds=120))
    try:
        torch.save(part_of(rank), folder / f'{rank}')
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    """What each of two processes got."""
    folder = tmp_path_factory.mktemp('group')
    other = mp.get_context('spawn').Process(
        target=run_rank, args=(1, folder))
    other.start()
    run_rank(0, folder)
    other.join(timeout=60)
    assert other.exitcode == 0
    return [torch.load(folder / rank, weights_only=True) for rank in '01']


@pytest.fixture(scope='module')
def whole():
    inputs, weight = make_batch()
    feature = inputs @ weight
    loss = batch_hard_triplet_loss(feature, LABELS)
    loss.backward()
    return feature.detach(), LABELS, loss.detach(), weight.grad


def test_loss_and_gradient_are_those_of_the_whole_batch(parts, whole):
    assert whole[2] > 0
    assert whole[3].abs().max() > 1e-2
    for part in parts:
        for got, expected in zip(part, whole):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_the_registered_loss_gathers_unless_told_not_to(parts, whole):
    feature, labels, loss = whole[:3]
    for rank, part in enumerate(parts):
        own = slice(4 * rank, 4 * rank + 4)
        alone = batch_hard_triplet_loss(feature[own].float(), labels[own])
        torch.testing.assert_close(part[4], loss.float())
        torch.testing.assert_close(part[5], alone)
        assert abs(alone - loss) > 1e-2


def test_one_process_gathers_nothing():
    feature = torch.zeros(2, 3, requires_grad=True)
    label = torch.tensor([0, 1])
    assert all(a is b for a, b in zip(gather_batch(feature, label), (feature, label)))
