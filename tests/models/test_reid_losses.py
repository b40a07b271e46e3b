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
from cosam_mm.models.losses.reid_losses import gather_batch

LABEL_SETS = [
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2],
    [3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2],
    [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0],   # 0 is alone with itself
    [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9],   # few have a positive
]
LABEL = torch.tensor([0, 0, 2, 2])


def batch_hard_triplet_loss(features, labels, margin=0.3):
    return BatchHardTripletLoss(margin)(features, None, labels)


def circle_loss(features, labels, margin=0.25, scale=64.):
    return CircleLoss(margin, scale)(features, None, labels)


def example(labels=(0, 0, 1, 1, 2, 2), length=5):
    """Features in double precision, which learn, and their labels."""
    generator = torch.Generator().manual_seed(len(set(labels)))
    features = torch.randn(len(labels), length, dtype=torch.float64,
                           generator=generator)
    return features.requires_grad_(), torch.tensor(labels)


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
    features, label = example(labels)
    loss = batch_hard_triplet_loss(features, label, margin)
    assert loss.item() == pytest.approx(naive_triplet(features, labels, margin))
    assert torch.autograd.gradcheck(
        lambda x: batch_hard_triplet_loss(x, label, margin), features)


def test_identical_features_cost_the_margin_and_have_finite_gradients():
    features = torch.ones(4, 6, requires_grad=True)
    loss = batch_hard_triplet_loss(features, torch.tensor([0, 0, 1, 1]), margin=0.3)
    assert loss.item() == pytest.approx(0.3)
    loss.backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_near_features_keep_their_distance():
    """Products of large features would round their difference away."""
    features = torch.tensor([[1e4, 0.], [1e4, 0.01], [1e4, 3.], [1e4, 3.02]])
    loss = batch_hard_triplet_loss(features, torch.tensor([0, 0, 1, 1]), margin=5)
    assert loss.item() == pytest.approx(
        5 + (0.01 + 0.01 + 0.02 + 0.02 - 3 - 2.99 - 2.99 - 3.01) / 4, rel=1e-4)


# -- center loss -----------------------------------------------------------------


def test_center_loss_in_loops_and_its_gradient():
    """A step of rate n moves a center to the mean of its k of n features by k / n."""
    features, labels = example((0, 3, 3, 4, 0, 3))
    loss = CenterLoss(in_channels=5, num_pids=5, loss_weight=1.).double()
    (centers,) = loss.parameters()
    value = loss(features, None, labels)
    expected = sum(0.5 * (x - c)**2 / 6 for feature, label in zip(features, labels)
                   for x, c in zip(feature.tolist(), centers[label].tolist()))
    assert value.item() == pytest.approx(expected)
    value.backward()
    for k in range(5):
        own = features[labels == k].detach()
        way = (centers[k].detach() - own.mean(0)) * len(own) / 6 \
            if len(own) else torch.zeros(5, dtype=torch.float64)
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


@pytest.mark.parametrize('labels', LABEL_SETS)
@pytest.mark.parametrize(('margin', 'scale'), [(0.25, 64), (0.4, 2.5), (0.1, 1)])
def test_circle_equals_loops(labels, margin, scale):
    features, labels = example(labels)
    loss = circle_loss(features, labels, margin, scale)
    assert loss.item() == pytest.approx(
        naive_circle(features, labels.tolist(), margin, scale))
    loss.backward()
    assert torch.isfinite(features.grad).all()


def test_circle_gradients_in_float64():
    """Sun et al., section 3.3: the slope of the value with weights held still."""
    features, labels = example()
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


# -- refusals --------------------------------------------------------------------


@pytest.mark.parametrize('loss', [batch_hard_triplet_loss, circle_loss])
@pytest.mark.parametrize('labels', [[4, 4, 4, 4], [0, 1, 2, 3]])
def test_a_batch_without_pairs_is_refused(loss, labels):
    with pytest.raises(ValueError, match='PKSampler'):
        loss(torch.randn(4, 2), torch.tensor(labels))


@pytest.mark.parametrize('shapes', [
    ((4, 2, 1), (4,)), ((4, 2), (3,)), ((4, 2), (4, 1))])
def test_wrong_shapes_are_refused(shapes):
    features, labels = (torch.zeros(shape) for shape in shapes)
    for loss in (BatchHardTripletLoss(), CircleLoss(), CenterLoss(2, 3)):
        with pytest.raises(ValueError, match=r'\(N, D\)'):
            loss(features, None, labels.long())


@pytest.mark.parametrize(('kind', 'settings'), [
    (BatchHardTripletLoss, dict(margin=-0.1)), (CircleLoss, dict(margin=0)),
    (CircleLoss, dict(margin=1.0)), (CircleLoss, dict(scale=0)),
    (IdentityLoss, dict(label_smoothing=-0.1)),
    (IdentityLoss, dict(label_smoothing=1.5)),
    (CenterLoss, dict(in_channels=0, num_pids=3)),
    (CenterLoss, dict(in_channels=5, num_pids=0))])
def test_settings_out_of_range_are_refused(kind, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)


@pytest.mark.parametrize(('features', 'message'), [
    (torch.zeros(0, 2), 'least'), (torch.zeros(4, 3), 'D=2')])
def test_features_without_a_center_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        CenterLoss(2, 3)(features, None, torch.zeros(len(features)).long())


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
    loss = batch_hard_triplet_loss(feature, label)
    loss.backward()
    dist.all_reduce(weight.grad)
    feature = feature.detach()  # validation may ask for losses, too
    features, labels = gather_batch(feature, label)
    alone = BatchHardTripletLoss(across_processes=False)(feature, None, label)
    return features, labels, loss.detach(), weight.grad / 2, alone


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
    for rank, part in enumerate(parts):
        for got, expected in zip(part, whole):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
        # Unless it is told not to gather:
        own = slice(4 * rank, 4 * rank + 4)
        alone = batch_hard_triplet_loss(whole[0][own], LABELS[own])
        torch.testing.assert_close(part[4], alone)
        assert abs(alone - whole[2]) > 1e-2


def test_one_process_gathers_nothing():
    feature = torch.zeros(2, 3, requires_grad=True)
    label = torch.tensor([0, 1])
    assert all(a is b for a, b in zip(gather_batch(feature, label), (feature, label)))
