"""Whatever a clip shows, outputs and gradients are finite.

Black clips, identical frames, features without any deviation, values of any size that
16 bits hold, clips of two frames; in single, double and 16-bit precision.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cosam_mm.layers import COSAM
from cosam_mm.layers.aggregation import (
    TemporalAttentionAggregation,
    TemporalPoolAggregation,
    TemporalRNNAggregation,
)
from cosam_mm.layers.cosam_functional import standardize_descriptors
from cosam_mm.layers.temporal import TemporalBERT, TemporalLSTM, TemporalMean
from cosam_mm.models.losses import BatchHardTripletLoss, IdentityLoss
from cosam_mm.models.reid import IdentityHead

C, SIZE = 8, (3, 2)
CONTENTS = ('random', 'black', 'one value', 'identical frames', 'flat channels',
            'one bright place', 'one other frame')
PRECISIONS = ('float32', 'float64', 'bfloat16', 'autocast')
CASES = settings(max_examples=60, deadline=None, derandomize=True)
SCALES = st.sampled_from([1e-38, 1e-20, 1e-6, 1., 300., 6e4])


def clip(content, n, t, scale):
    """Feature maps (N, C, T, H, W), as after a ReLU."""
    x = torch.rand(n, C, t, *SIZE, generator=torch.Generator().manual_seed(0))
    one = torch.zeros_like(x)
    one[0, 0, 0, 0, 0] = 1
    return scale * {
        'random': x, 'black': 0 * x, 'one value': x**0, 'one bright place': one,
        'identical frames': x[:, :, :1].expand_as(x),
        'flat channels': x[:, :1].expand_as(x),  # descriptors of deviation 0
        'one other frame': torch.cat([x[:, :, :1], x[:, :, -1:].expand(
            -1, -1, t - 1, -1, -1)], 2)}[content]


def assert_finite(module, x, precision):
    """Forward and backward, in training and in evaluation."""
    module = module.double() if precision == 'float64' else (
        module.bfloat16() if precision == 'bfloat16' else module.float())
    x = x.to(dict(float64=torch.float64, bfloat16=torch.bfloat16).get(
        precision, torch.float32))
    for train in (True, False):
        module.train(train)
        module.zero_grad()
        x = x.detach().requires_grad_()
        with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'autocast'):
            out = module(x)
        assert torch.isfinite(out).all()
        out.float().square().mean().backward()
        for name, parameter in (('input', x), *module.named_parameters()):
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), name
    for name, buffer in module.named_buffers():
        assert not buffer.isnan().any(), name


@CASES
@given(content=st.sampled_from(CONTENTS), t=st.integers(2, 5), n=st.integers(1, 3),
       scale=SCALES, precision=st.sampled_from(PRECISIONS), flat=st.booleans(),
       masks=st.sampled_from([(True, True), (True, False), (False, True)]))
def test_cosam(content, t, n, scale, precision, flat, masks):
    torch.manual_seed(0)
    cosam = COSAM(C, t, SIZE, reduction_channels=4, summary_channels=3,
                  with_spatial=masks[0], with_channel=masks[1])
    x = clip(content, n, t, scale)
    if flat:
        x = x.transpose(1, 2).flatten(0, 1)
    assert_finite(cosam, x, precision)


@CASES
@given(content=st.sampled_from(CONTENTS), scale=SCALES,
       eps=st.sampled_from([1e-4, 1e-8]), dtype=st.sampled_from(
           [torch.float32, torch.float64, torch.bfloat16, torch.float16]))
def test_descriptors(content, scale, eps, dtype):
    """Their length is at most that of unit deviation, and so is what it grows by."""
    x = clip(content, 2, 2, scale).to(dtype).flatten(3).requires_grad_()
    y = standardize_descriptors(x, eps)
    assert torch.isfinite(y).all()
    assert (y.float().square().sum(1) <= (C - 1) * 1.05).all()
    y.backward(torch.ones_like(y))
    assert torch.isfinite(x.grad).all()


AGGREGATIONS = {
    'pool': lambda t: TemporalPoolAggregation(C),
    'attention': lambda t: TemporalAttentionAggregation(C, SIZE, middle_channels=4),
    'recurrent': lambda t: TemporalRNNAggregation(C, hidden_channels=5),
    'pool and head': lambda t: nn.Sequential(TemporalPoolAggregation(C),
                                             IdentityHead(C, 3))}
ENCODERS = {
    'mean': lambda t: TemporalMean(C),
    'lstm': lambda t: TemporalLSTM(C, hidden_channels=5),
    'bert': lambda t: TemporalBERT(C, t, num_heads=2, ffn_channels=8),
    'bert of normalised tokens': lambda t: TemporalBERT(
        C, t, num_heads=2, ffn_channels=8, normalize_tokens=True)}


@CASES
@given(kind=st.sampled_from([*AGGREGATIONS, *ENCODERS]), scale=SCALES,
       content=st.sampled_from(CONTENTS), t=st.integers(1, 4),
       precision=st.sampled_from(PRECISIONS))
def test_aggregations_and_encoders(kind, content, t, scale, precision):
    torch.manual_seed(0)
    x = clip(content, 2, t, scale)
    if kind in ENCODERS:
        x = x.mean((3, 4)).transpose(1, 2)  # tokens (N, T, C)
    assert_finite({**AGGREGATIONS, **ENCODERS}[kind](t), x, precision)


@CASES
@given(same=st.integers(1, 4), scale=SCALES, margin=st.sampled_from([0., .3]),
       dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16,
                              torch.float16]))
def test_triplet_loss(same, scale, margin, dtype):
    """``same`` of four features are equal: distances of 0 and ties."""
    features = torch.rand(4, 6, generator=torch.Generator().manual_seed(same))
    features[:same] = features[0].clone()
    features = (features * scale).to(dtype).requires_grad_()
    loss = BatchHardTripletLoss(margin)(features, None, torch.tensor([0, 0, 1, 1]))
    assert torch.isfinite(loss)
    loss.backward()
    assert torch.isfinite(features.grad).all()


@CASES
@given(scale=st.sampled_from([0., 1e-30, 1., 300., 6e4]), smoothing=st.sampled_from(
    [0., .1, .9]), right=st.booleans(), dtype=st.sampled_from(
        [torch.float32, torch.float64, torch.bfloat16]))
def test_classification_loss(scale, smoothing, right, dtype):
    """Scores of any size, for the right class or for another."""
    score = torch.zeros(2, 3)
    score[:, 0 if right else 1] = scale
    score = score.to(dtype).requires_grad_()
    loss = IdentityLoss(smoothing)(None, score, torch.zeros(2, dtype=torch.long))
    assert torch.isfinite(loss)
    assert loss >= 0
    loss.backward()
    assert torch.isfinite(score.grad).all()
