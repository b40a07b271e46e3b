"""The registered losses: values, weights, dtypes."""
import math

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from cosam_mm.models.losses import (
    BatchHardTripletLoss,
    CenterLoss,
    CircleLoss,
    IdentityLoss,
)
from cosam_mm.models.losses.center_formula import center_loss
from cosam_mm.models.losses.circle_formula import circle_loss
from cosam_mm.models.losses.triplet_formula import batch_hard_triplet_loss

LABEL = torch.tensor([0, 0, 2, 2])


@pytest.fixture
def feature():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def score():
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 1.0])
def test_smoothed_cross_entropy_written_out(feature, score, smoothing):
    loss = IdentityLoss(smoothing)(feature, score, LABEL).item()
    expected = 0
    for row, label in zip(score.tolist(), LABEL.tolist()):
        total = sum(math.exp(value) for value in row)
        for k, value in enumerate(row):
            target = smoothing / 3 + (1 - smoothing) * (k == label)
            expected -= target * math.log(math.exp(value) / total) / 4
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_default_is_the_papers():
    assert IdentityLoss().label_smoothing == 0.1
    assert BatchHardTripletLoss().margin == 0.3


def test_triplet_is_the_functional(feature, score):
    expected = batch_hard_triplet_loss(feature, LABEL, 0.5)
    assert BatchHardTripletLoss(0.5)(feature, score, LABEL) == expected


def test_circle_is_the_functional(feature, score):
    expected = circle_loss(feature, LABEL, 0.4, 16)
    assert CircleLoss(0.4, 16)(feature, score, LABEL) == expected


def test_center_is_the_functional_with_centers_that_learn(feature, score):
    torch.manual_seed(0)
    loss = CenterLoss(in_channels=5, num_pids=3, loss_weight=1)
    (centers,) = loss.parameters()
    assert centers.shape == (3, 5)
    value = loss(feature, score, LABEL)
    assert value == center_loss(feature, LABEL, centers)
    value.backward()
    assert [bool(row.any()) for row in centers.grad] == [True, False, True]


def test_centers_have_their_own_rate_by_the_optimizers_config():
    model = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), losses=nn.ModuleDict(
        dict(center=CenterLoss(2, 3)))))
    wrapper = build_optim_wrapper(model, dict(
        optimizer=dict(type='Adam', lr=0.1, weight_decay=0.5),
        paramwise_cfg=dict(custom_keys={
            'losses.center.centers': dict(lr_mult=10., decay_mult=0.)})))
    settings = {id(p): (group['lr'], group['weight_decay'])
                for group in wrapper.param_groups for p in group['params']}
    assert settings[id(model['losses']['center'].centers)] == (1.0, 0)
    assert settings[id(model['backbone'].weight)] == (0.1, 0.5)


@pytest.mark.parametrize('sizes', [(0, 3), (5, 0)])
def test_no_centers_are_refused(sizes):
    with pytest.raises(ValueError, match=(
            f'in_channels and num_pids must be at least 1, got {sizes[0]} and '
            f'{sizes[1]}')):
        CenterLoss(*sizes)


@pytest.mark.parametrize('kind', ['IdentityLoss', 'BatchHardTripletLoss', 'CircleLoss'])
def test_weights_scale_the_loss(kind, feature, score):
    one, three = (MODELS.build(dict(type=kind, loss_weight=weight))
                  for weight in (1, 3))
    torch.testing.assert_close(three(feature, score, LABEL),
                               3 * one(feature, score, LABEL))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('kind', [IdentityLoss, BatchHardTripletLoss, CircleLoss])
def test_half_precision_is_summed_in_single(kind, dtype, feature, score):
    """Squares of these features are beyond the range of float16."""
    feature = (400 * feature).to(dtype)
    loss = kind()(feature, score.to(dtype), LABEL)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


@pytest.mark.parametrize('smoothing', [-0.1, 1.5])
def test_impossible_smoothing_is_refused(smoothing):
    with pytest.raises(ValueError, match=f'between 0 and 1, got {smoothing}'):
        IdentityLoss(smoothing)
