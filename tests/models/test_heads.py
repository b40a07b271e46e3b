"""Heads inside MMAction2's recogniser: losses, predictions, clip averaging."""
import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.registry import DefaultScope
from torch.nn import functional as F

HEADS = {
    'MeanHead': {},
    'LSTMHead': dict(hidden_channels=12),
    'BERTHead': dict(num_tokens=2, temporal=dict(num_heads=4, ffn_channels=32)),
}


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def build_head(name, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type=name, num_classes=5, in_channels=16,
                             **{**HEADS[name], **kwargs}))


def naive_loss(scores, labels, smoothing):
    total = 0
    for row, label in zip(scores.double(), labels.double()):
        target = (1 - smoothing) * label + smoothing / 5
        total -= (target * (row - row.exp().sum().log())).sum()
    return (total / len(scores)).float()


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
@pytest.mark.parametrize('num_clips', [1, 5])
def test_loss_of_blended_and_smoothed_labels(name, smoothing, num_clips):
    """As MMAction2's Mixup and CutMix hand them on, and of single classes."""
    head = build_head(name, label_smooth_eps=smoothing).eval()
    features = torch.randn(num_clips, 16, 2, 3, 3)
    blends, classes = torch.rand(num_clips, 5).softmax(dim=1), [4, 0, 2, 3, 1]
    for labels, target, keys in (
            (blends, blends, {'loss_cls'}),  # a blend has no class to be right about
            (classes[:num_clips], torch.eye(5)[classes[:num_clips]],
             {'loss_cls', 'top1_acc', 'top3_acc'})):
        found = head.loss(features, samples(labels))
        assert set(found) == keys
        torch.testing.assert_close(
            found['loss_cls'], naive_loss(head(features), target, smoothing))


def samples(labels):
    return [ActionDataSample().set_gt_label(label) for label in labels]


def recognizer(head, **kwargs):
    return MODELS.build(dict(
        type='Recognizer3D',
        backbone=dict(type='ResNeXt3D', depth=14, base_channels=8, groups=4,
                      feature_reduction='FRMB', reduced_channels=16),
        cls_head=dict(type=head, num_classes=5, in_channels=16, **HEADS[head]),
        data_preprocessor=dict(type='ActionDataPreprocessor', mean=[110, 110, 110],
                               std=[1, 1, 1], format_shape='NCTHW'), **kwargs))


@pytest.mark.parametrize('name', HEADS)
def test_head_trains_in_a_recognizer(name):
    torch.manual_seed(0)
    model = recognizer(name)
    model.init_weights()
    data = dict(inputs=list(torch.randint(0, 255, (2, 1, 3, 32, 64, 64))),
                data_samples=samples([1, 4]))
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    assert set(losses) == {'loss_cls', 'top1_acc', 'top3_acc'}
    losses['loss_cls'].backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert missing == []


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('views', [1, 10])
def test_scores_of_all_views_are_averaged(name, views):
    torch.manual_seed(0)
    model = recognizer(name).eval()
    data = dict(inputs=list(torch.randint(0, 255, (2, views, 3, 32, 64, 64))),
                data_samples=samples([1, 4]))
    batch = model.data_preprocessor(data, False)
    out = model(**batch, mode='predict')
    views_apart = model.cls_head(model.backbone(batch['inputs'].flatten(0, 1)))
    for index, sample in enumerate(out):
        expected = views_apart.unflatten(0, (2, views))[index].mean(0)
        torch.testing.assert_close(sample.pred_score, expected)
        assert sample.pred_label == expected.argmax()


def test_probabilities_can_be_averaged_instead():
    head = build_head('MeanHead', average_clips='prob').eval()
    x = torch.randn(4, 16, 2, 3, 3)
    out = head.predict(x, samples([0]))
    torch.testing.assert_close(out[0].pred_score,
                               F.softmax(head(x), 1).mean(0))


def test_mean_head_is_the_average_over_time_and_space():
    head = build_head('MeanHead').eval()
    x = torch.randn(2, 16, 2, 3, 3)
    torch.testing.assert_close(head(x), head.fc_cls(x.flatten(2).mean(2)))


def test_classifier_starts_as_the_paper_says():
    head = build_head('BERTHead')
    head.init_weights()
    bound = (6 / (16 + 5))**0.5
    assert head.fc_cls.bias.abs().max() == 0
    assert 0.8 * bound < head.fc_cls.weight.abs().max() <= bound
    assert head.dropout.p == 0.8


@pytest.mark.parametrize('shape', [(1, 8, 2, 3, 3), (1, 16, 3, 3)])
def test_wrong_features_say_what_to_change(shape):
    with pytest.raises(ValueError, match='feature_reduction'):
        build_head('MeanHead')(torch.zeros(shape))
