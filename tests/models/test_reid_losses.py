"""The registered losses: values, weights, dtypes."""
import math

import pytest
import torch
from mmengine.registry import MODELS

from cosam_mm.functional.triplet import batch_hard_triplet_loss
from cosam_mm.models.losses import BatchHardTripletLoss, IdentityLoss

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


@pytest.mark.parametrize('kind', ['IdentityLoss', 'BatchHardTripletLoss'])
def test_weights_scale_the_loss(kind, feature, score):
    one, three = (MODELS.build(dict(type=kind, loss_weight=weight))
                  for weight in (1, 3))
    torch.testing.assert_close(three(feature, score, LABEL),
                               3 * one(feature, score, LABEL))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('kind', [IdentityLoss, BatchHardTripletLoss])
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
