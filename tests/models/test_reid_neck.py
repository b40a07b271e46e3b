"""BNNeck: who sees which side of it, what it learns, and that all features agree."""
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from cosam_mm.apis.inference_optimization import make_fast
from cosam_mm.models.losses import CenterLoss
from cosam_mm.models.reid import BNNeck
from tests.models import test_reid_model as plain
from tests.models.test_reid_model import batch, floats, sample


def build(**changes):
    model = plain.build(**{**dict(
        backbone=dict(type='FrameResNet', depth=14, base_channels=8, ibn='a'),
        neck=dict(type='BNNeck'),
        head=dict(type='IdentityHead', num_pids=3, bias=False)), **changes})
    # Statistics and scales that nothing else has by chance.
    nn.init.uniform_(model.neck.norm.weight, 0.5, 2)
    model.neck.norm.running_mean.uniform_(-1, 1)
    model.neck.norm.running_var.uniform_(0.5, 2)
    return model


# -- the norm ----------------------------------------------------------------


def test_it_is_a_batch_norm_without_a_shift():
    neck, generator = BNNeck(5), torch.Generator().manual_seed(0)
    nn.init.normal_(neck.norm.weight, generator=generator)
    x = 3 + 2 * torch.randn(8, 5, generator=generator)
    expected = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(neck(x), expected * neck.norm.weight)
    torch.testing.assert_close(neck.norm.running_mean, 0.1 * x.mean(0))
    neck.eval()
    spread = (0.9 + 0.1 * x.var(0) + 1e-5).sqrt()
    torch.testing.assert_close(
        neck(x), (x - 0.1 * x.mean(0)) / spread * neck.norm.weight)


# -- its two sides -----------------------------------------------------------


def test_losses_see_what_enters_it_and_scores_come_of_what_leaves_it():
    model, seen = build().train(), {}
    model.neck.register_forward_hook(
        lambda _, inputs, out: seen.update(before=inputs[0], after=out))
    model.losses['triplet'].register_forward_pre_hook(
        lambda _, args: seen.update(feature=args[0], score=args[1]))
    model(torch.stack(floats(2, 2, 2, 2)), [sample(k // 2) for k in range(4)], 'loss')
    assert seen['feature'] is seen['before']
    assert seen['before'].shape == (4, 256)
    torch.testing.assert_close(seen['score'],
                               seen['after'] @ model.head.classifier.weight.T)


def test_every_feature_of_retrieval_is_behind_it():
    """Of tracklets, of single clips, and predicted; with and without a head."""
    model = build().eval()
    given = floats(1, 3)
    with torch.no_grad():
        before = torch.stack([
            model.backbone(clips.transpose(1, 2).flatten(0, 1)).mean((0, 2, 3))
            for clips in given])
        norm = model.neck.norm
        expected = (before - norm.running_mean) / (
            norm.running_var + norm.eps).sqrt() * norm.weight
        torch.testing.assert_close(model(given), expected)
        for sample, feature in zip(model(given, mode='predict'), expected):
            torch.testing.assert_close(sample.feature, feature)
        torch.testing.assert_close(model.clip_features(given[1]).mean(0), expected[1])
        model.head = model.losses = None
        torch.testing.assert_close(model.extract_feat(given), expected)


def test_fast_inference_gives_the_same():
    """Norms of IBN and of the neck stand behind no convolution, and stay."""
    model = build().eval()
    model.backbone.layer1[0].bn1.IN.weight.data.uniform_(0.5, 2)
    difference = make_fast(model, batch(0, 0, 1, 1), bfloat16=False)
    assert difference.error < 1e-4
    assert isinstance(model.neck.norm, nn.BatchNorm1d)
    assert isinstance(model.backbone.layer1[0].bn1.BN, nn.BatchNorm2d)
    assert isinstance(model.backbone.layer1[0].bn2, nn.Identity)


# -- training ----------------------------------------------------------------


def test_a_step_moves_all_but_its_bias_and_the_scores_have_none():
    model = build(losses=dict(
        id=dict(type='IdentityLoss'), triplet=dict(type='BatchHardTripletLoss'),
        center=dict(type='CenterLoss'), circle=dict(type='CircleLoss')))
    assert model.losses['center'].centers.shape == (3, 256)
    before = {k: v.clone() for k, v in model.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    losses = model.train().train_step(batch(0, 0, 1, 1), wrapper)
    assert set(losses) == {'loss', 'loss_id', 'loss_triplet', 'loss_center',
                           'loss_circle', 'top1_acc'}
    still = {k for k, v in model.named_parameters() if torch.equal(v, before[k])}
    assert still == {'neck.norm.bias'}
    assert 'head.classifier.bias' not in before


def test_sizes_of_a_loss_may_be_named():
    model = build(losses=dict(center=dict(type=CenterLoss, num_pids=7)))
    assert model.losses['center'].centers.shape == (7, 256)
