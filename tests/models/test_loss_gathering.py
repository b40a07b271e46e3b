"""Two real processes with a part of a batch each, beside one with the whole."""
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cosam_mm.models.losses import BatchHardTripletLoss
from cosam_mm.models.losses.batch_gathering import gather_batch
from cosam_mm.models.losses.triplet_formula import batch_hard_triplet_loss

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


def run_rank(rank, group_file, results=None):
    dist.init_process_group(
        'gloo', init_method=f'file://{group_file}', rank=rank, world_size=2,
        timeout=timedelta(seconds=120))
    try:
        got = part_of(rank)
        dist.barrier()
    finally:
        dist.destroy_process_group()
    if results is None:
        return got
    torch.save(got, results)
    return None


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    """What each of two processes got."""
    folder = tmp_path_factory.mktemp('group')
    other = mp.get_context('spawn').Process(
        target=run_rank, args=(1, folder / 'group', folder / 'results'))
    other.start()
    first = run_rank(0, folder / 'group')
    other.join(timeout=60)
    assert other.exitcode == 0
    return first, torch.load(folder / 'results', weights_only=True)


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
