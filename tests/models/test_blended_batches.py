"""Mixup, CutMix and smoothed labels, from the preprocessor to the loss of heads."""
import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.registry import DefaultScope

NUM_CLASSES = 5
MEAN, STD = 110.0, 50.0
BLENDS = {
    'mixup': dict(type='MixupBlending', alpha=0.4, num_classes=NUM_CLASSES),
    'cutmix': dict(type='CutmixBlending', alpha=1.0, num_classes=NUM_CLASSES),
}
HEADS = {
    'MeanHead': {},
    'LSTMHead': dict(hidden_channels=12),
    'BERTHead': dict(num_tokens=2, temporal=dict(num_heads=4, ffn_channels=32)),
}


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def preprocessor(*augments):
    return MODELS.build(dict(
        type='ActionDataPreprocessor', mean=[MEAN] * 3, std=[STD] * 3,
        format_shape='NCTHW',
        blending=dict(type='RandomBatchAugment', augments=list(augments))))


def batch(labels, size=(4, 12, 14)):
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (len(labels), 1, 3, *size), dtype=np.uint8)
    return dict(inputs=[torch.from_numpy(clip) for clip in clips],
                data_samples=[ActionDataSample().set_gt_label(k) for k in labels])


def plain(data):
    """(inputs, one-hot labels) without any blending."""
    inputs = torch.stack([(clip.float() - MEAN) / STD for clip in data['inputs']])
    return inputs, torch.eye(NUM_CLASSES)[
        [int(sample.gt_label) for sample in data['data_samples']]]


@pytest.mark.parametrize('seed', range(2))
def test_mixup_is_the_same_mean_of_clips_and_labels(seed):
    data = batch([0, 1, 2, 3])
    inputs, one_hot = plain(data)
    torch.manual_seed(seed)
    out = preprocessor(BLENDS['mixup'])(data, training=True)
    labels = torch.stack([sample.gt_label for sample in out['data_samples']])
    # The labels tell how much of which clip there must be.
    weights = labels @ one_hot.T
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    expected = torch.einsum('ij,jncthw->incthw', weights, inputs)
    torch.testing.assert_close(out['inputs'], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('seed', range(2))
def test_cutmix_puts_one_box_of_another_clip_into_all_frames(seed):
    data = batch([0, 1, 2, 3])
    inputs, one_hot = plain(data)
    torch.manual_seed(seed)
    out = preprocessor(BLENDS['cutmix'])(data, training=True)
    labels = torch.stack([sample.gt_label for sample in out['data_samples']])
    for clip, label, own in zip(out['inputs'], labels, range(4)):
        other = next((k for k in range(4) if k != own and label[k] > 0), own)
        is_other = (clip != inputs[own]).any(dim=(0, 1, 2))  # (H, W), some frame
        outside = ~is_other
        assert torch.equal(clip[..., outside], inputs[own][..., outside])
        assert torch.equal(clip[..., is_other], inputs[other][..., is_other])
        rows, columns = is_other.any(dim=1), is_other.any(dim=0)
        assert torch.equal(is_other, rows[:, None] & columns)  # a box
        share = is_other.float().mean()
        torch.testing.assert_close(label, (1 - share) * one_hot[own]
                                   + share * one_hot[other])


def test_each_batch_is_mixed_in_one_of_both_ways_or_the_other():
    step = preprocessor(*BLENDS.values())
    kinds = set()
    for seed in range(20):
        data = batch([0, 1, 2, 3])
        inputs, _ = plain(data)
        torch.manual_seed(seed)
        np.random.seed(seed)
        clips = step(data, training=True)['inputs']
        same = (clips == inputs).float().mean()
        kinds.add('cutmix' if same > 0.02 else 'mixup')
    assert kinds == {'cutmix', 'mixup'}


@pytest.mark.parametrize('blend', BLENDS)
def test_nothing_is_mixed_outside_of_training(blend):
    data = batch([0, 1, 2])
    inputs, _ = plain(data)
    out = preprocessor(BLENDS[blend])(data, training=False)
    torch.testing.assert_close(out['inputs'], inputs)
    assert [int(sample.gt_label) for sample in out['data_samples']] == [0, 1, 2]


def naive_loss(scores, labels, smoothing):
    total = 0
    for row, label in zip(scores.double(), labels.double()):
        target = (1 - smoothing) * label + smoothing / NUM_CLASSES
        total -= (target * (row - row.exp().sum().log())).sum()
    return (total / len(scores)).float()


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
@pytest.mark.parametrize('num_clips', [1, 3, NUM_CLASSES])
def test_loss_of_blended_labels(head, smoothing, num_clips):
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type=head, num_classes=NUM_CLASSES, in_channels=16,
        label_smooth_eps=smoothing, **HEADS[head])).eval()
    features = torch.randn(num_clips, 16, 2, 3, 3)
    labels = torch.rand(num_clips, NUM_CLASSES).softmax(dim=1)
    found = model.loss(features, [ActionDataSample().set_gt_label(label)
                                  for label in labels])
    assert set(found) == {'loss_cls'}  # a blend has no class to be right about
    torch.testing.assert_close(
        found['loss_cls'], naive_loss(model(features), labels, smoothing))


@pytest.mark.parametrize('head', HEADS)
def test_smoothed_hard_labels_are_smoothed_one_hot_ones(head):
    torch.manual_seed(0)
    model = MODELS.build(dict(type=head, num_classes=NUM_CLASSES, in_channels=16,
                              label_smooth_eps=0.1, **HEADS[head])).eval()
    features, classes = torch.randn(3, 16, 2, 3, 3), [4, 0, 4]
    found = model.loss(features, [ActionDataSample().set_gt_label(k) for k in classes])
    torch.testing.assert_close(found['loss_cls'], naive_loss(
        model(features), torch.eye(NUM_CLASSES)[classes], 0.1))
    assert set(found) == {'loss_cls', 'top1_acc', 'top3_acc'}
