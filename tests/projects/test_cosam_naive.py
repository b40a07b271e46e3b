"""The baseline with the cost volume against the oracle in loops."""
import pytest
import torch
from mmengine.registry import MODELS

from cosam_mm.layers import COSAM
from projects.attention_study.cosam_naive import NaiveCOSAM
from tests.reference.naive_cosam import naive_cosam

SIZES = {'in_channels': 12, 'num_frames': 3, 'spatial_size': (4, 2),
         'reduction_channels': 6, 'summary_channels': 5}


@pytest.mark.parametrize('masks', [
    {}, {'with_spatial': False}, {'with_channel': False}])
@pytest.mark.parametrize('train', [True, False])
def test_equals_the_oracle(masks, train):
    torch.manual_seed(0)
    naive = NaiveCOSAM(**SIZES, **masks).double().train(train)
    x = torch.randn(2, 12, 3, 4, 2, dtype=torch.float64)
    expected = naive_cosam(naive, x)[0]
    assert torch.allclose(naive(x), expected, rtol=1e-10, atol=1e-12)
    frames = x.transpose(1, 2).flatten(0, 1)
    assert torch.allclose(naive(frames), expected.transpose(1, 2).flatten(0, 1),
                          rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_cosam():
    torch.manual_seed(0)
    naive, cosam = NaiveCOSAM(**SIZES).double(), COSAM(**SIZES).double()
    naive.load_state_dict(cosam.state_dict())
    x = torch.randn(2, 12, 3, 4, 2, dtype=torch.float64)
    gradients = []
    for module in (naive, cosam):
        own = x.clone().requires_grad_()
        module(own).square().sum().backward()
        gradients.append([own.grad, *(p.grad for p in module.parameters())])
    for ours, theirs in zip(*gradients):
        assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-10)


def test_is_registered():
    module = MODELS.build(dict(type='NaiveCOSAM', **SIZES))
    assert isinstance(module, NaiveCOSAM)
    assert list(module.state_dict()) == list(COSAM(**SIZES).state_dict())
    with pytest.raises(ValueError, match='any_size'):
        NaiveCOSAM(**SIZES, any_size=True)


@pytest.mark.parametrize('shape', [(2, 12, 4, 4, 2), (2, 11, 3, 4, 2), (4, 12, 4, 2),
                                   (2, 12, 3, 2, 4), (12, 4, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match='COSAM|num_frames'):
        NaiveCOSAM(**SIZES)(torch.zeros(shape))
