"""VideoReID: features, modes, training, other packages' backbones, mistakes."""
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn

from cosam_mm.models.losses import BatchHardTripletLoss
from cosam_mm.models.reid import IdentityHead, VideoReID

SIZE = (64, 32)
COSAM = dict(cfg=dict(type='COSAM', num_frames=2, spatial_size=(4, 2)),
             position='after_layer3')


def settings(**changes):
    return {**dict(
        backbone=dict(type='FrameResNet', depth=14, base_channels=8, plugins=[COSAM]),
        aggregation=dict(type='TemporalPoolAggregation'),
        head=dict(type='IdentityHead', num_pids=3)), **changes}


def build(**changes):
    torch.manual_seed(0)
    return VideoReID(**settings(**changes))


def floats(*counts, num_frames=2, seed=0):
    """Tracklets of so many clips, as the preprocessor hands them on."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 3, num_frames, *SIZE, generator=generator)
            for count in counts]


def sample(label=0, **metainfo):
    return BaseDataElement(metainfo=dict(label=label, pid=10 + label, **metainfo))


def batch(*labels):
    """What a loader gives: uint8 tracklets of one clip with their samples."""
    generator = torch.Generator().manual_seed(0)
    return pseudo_collate([
        dict(inputs=torch.randint(0, 256, (1, 3, 2, *SIZE), dtype=torch.uint8,
                                  generator=generator),
             data_samples=sample(label, tracklet_id=f't{i}'))
        for i, label in enumerate(labels)])


# -- features ----------------------------------------------------------------


def test_a_feature_is_the_mean_of_the_features_of_the_clips():
    model = build().eval()
    (tracklet,) = floats(3)
    with torch.no_grad():
        clips = [model.aggregation(
            model.backbone(clip.transpose(0, 1)).transpose(0, 1)[None])
            for clip in tracklet]
        torch.testing.assert_close(model.extract_feat([tracklet]), sum(clips) / 3)


@pytest.mark.parametrize('as_tensor', [True, False])
@pytest.mark.parametrize(('most', 'portions'), [(1, [1] * 6), (4, [4, 2]), (16, [6])])
def test_clips_go_through_in_portions_but_for_training(most, portions, as_tensor):
    model = build(max_clips_per_forward=most).eval()
    tracklets = floats(3, 3)
    seen = []
    model.aggregation.register_forward_hook(lambda _, x, __: seen.append(len(x[0])))
    with torch.no_grad():
        features = model(torch.stack(tracklets) if as_tensor else tracklets)
        torch.testing.assert_close(features, build().eval()(tracklets))
        model.train()(torch.stack(tracklets))
    assert seen == [*portions, 6]


@pytest.mark.parametrize('kind', ['TemporalPoolAggregation', 'TemporalRNNAggregation'])
def test_widths_are_handed_up(kind):
    model = build(aggregation=dict(type=kind))
    feature = model.eval()(floats(1))
    assert feature.shape == (1, model.aggregation.out_channels)
    assert model.head.classifier.weight.shape == (3, feature.shape[1])


# -- training ----------------------------------------------------------------


def test_losses_are_those_of_features_and_scores():
    model = build().eval()  # fixed batch norms: the same features twice
    inputs, labels = torch.stack(floats(1, 1, 1, 1)), torch.tensor([0, 0, 2, 2])
    losses = model(inputs, [sample(label) for label in labels.tolist()], 'loss')
    feature = model.extract_feat(inputs)
    score = feature @ model.head.classifier.weight.T + model.head.classifier.bias
    assert set(losses) == {'loss_id', 'loss_triplet', 'top1_acc'}
    torch.testing.assert_close(losses['loss_id'], nn.functional.cross_entropy(
        score, labels, label_smoothing=0.1))
    torch.testing.assert_close(losses['loss_triplet'],
                               BatchHardTripletLoss(0.3)(feature, None, labels))
    assert losses['top1_acc'] == (score.argmax(1) == labels).float().mean()


def test_a_step_moves_every_parameter_and_steps_learn_three_people():
    model = build().train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-3))
    data = batch(0, 0, 1, 1, 2, 2)
    losses = model.train_step(data, wrapper)
    torch.testing.assert_close(losses['loss'], losses['loss_id']
                               + losses['loss_triplet'])
    still = [name for name, p in model.named_parameters()
             if torch.equal(p, before[name])]
    # Batch norms follow these and take any constant away.
    assert all(name.endswith(('reduction.0.bias', 'summary.0.bias')) for name in still)
    later = [model.train_step(data, wrapper) for _ in range(14)][-1]
    assert later['loss'] < 0.7 * losses['loss']
    assert later['top1_acc'] == 1


def test_mixed_precision():
    model = build().train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        data = model.data_preprocessor(batch(0, 0, 1, 1), training=True)
        losses = model(**data, mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())
    (losses['loss_id'] + losses['loss_triplet']).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


# -- prediction --------------------------------------------------------------


def test_predictions_carry_their_feature():
    model = build().eval()
    data = pseudo_collate([
        dict(inputs=torch.zeros(count, 3, 2, *SIZE, dtype=torch.uint8),
             data_samples=sample(-1, tracklet_id=f't{count}')) for count in (1, 3)])
    with torch.no_grad():
        results = model.test_step(data)
    assert [result.tracklet_id for result in results] == ['t1', 't3']
    assert all(result.feature.shape == (256,) for result in results)
    # Equal clips, so equal means.
    torch.testing.assert_close(results[0].feature, results[1].feature)
    # Neither samples nor a head are needed.
    model = build(head=None).eval()
    assert not any(name.startswith('head') for name in model.state_dict())
    with torch.no_grad():
        expected = torch.cat([model([clips]) for clips in floats(1, 2)])
        results = model(floats(1, 2), mode='predict')
    torch.testing.assert_close(torch.stack([r.feature for r in results]), expected)


# -- backbones of clips and of other packages --------------------------------


@pytest.mark.parametrize(('backbone', 'frame_wise'), [
    (dict(type='mmaction.ResNet', depth=18), True),
    (dict(type='mmaction.ResNet3dSlowOnly', depth=18, pretrained=None,
          conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1), out_indices=(2, 3)), False),
], ids=['frames', 'clips-tuple'])
def test_backbones_of_mmaction(backbone, frame_wise):
    pytest.importorskip('mmaction.models')
    with pytest.raises(ValueError, match='in_channels'):  # which it does not tell
        build(backbone=backbone)
    torch.manual_seed(0)
    model = MODELS.build(dict(type='VideoReID', **settings(
        backbone=backbone, frame_wise=frame_wise,
        aggregation=dict(type='TemporalPoolAggregation', in_channels=512))))
    model.init_weights()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    losses = model.train().train_step(batch(0, 0, 1, 1), wrapper)
    assert torch.isfinite(losses['loss'])
    with torch.no_grad():
        (result,) = model.eval().test_step(batch(0))
    assert result.feature.shape == (512,)


@pytest.mark.parametrize('frame_wise', [True, False])
def test_outputs_of_the_wrong_kind_are_refused(frame_wise):
    class TakesAnything(nn.Module):
        out_channels = 8

        def forward(self, x):
            return x.flatten(1)[:, :8]

    model = build(backbone=dict(type=TakesAnything), frame_wise=frame_wise).eval()
    with pytest.raises(ValueError, match=f'frame_wise={not frame_wise}'):
        model(floats(2))


# -- mistakes ----------------------------------------------------------------


@pytest.mark.parametrize(('labels', 'changes', 'message'), [
    ([0, -1], {}, 'Label -1 of t1'), ([0, 3], {}, 'Label 3 of t1.*num_pids'),
    ([1, 1], {}, 'identities'), (None, {}, 'None'), ([0], {}, '1'),
    ([0, 1], dict(head=None), 'head')])
def test_batches_that_cannot_be_trained_on_are_refused(labels, changes, message):
    samples = labels and [sample(label, tracklet_id=f't{i}')
                          for i, label in enumerate(labels)]
    with pytest.raises(ValueError, match=message):
        build(**changes)(torch.stack(floats(1, 1)), samples, 'loss')


@pytest.mark.parametrize(('inputs', 'message'), [
    (torch.zeros(2, 3, 2, 64, 32), 'tracklet'),
    (torch.zeros(0, 1, 3, 2, 64, 32), 'tracklet'),
    ([torch.zeros(3, 2, 64, 32)], 'tracklet'),
    ([torch.zeros(0, 3, 2, 64, 32)], 'tracklet'),
    ([], 'tracklet'),
    ([torch.zeros(1, 3, 2, 64, 32), torch.zeros(1, 3, 2, 32, 32)], 'batch_size=1'),
])
def test_unfit_inputs_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        build().extract_feat(inputs)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match='predict'):
        build()(floats(1), mode='test')
    with pytest.raises(ValueError, match='tensor'):
        build()(floats(1, 1), [sample(0), sample(1)], 'loss')
    with pytest.raises(ValueError, match='max_clips_per_forward'):
        build(max_clips_per_forward=0)
    with pytest.raises(ValueError, match='num_pids'):
        IdentityHead(8, 1)


def of_frames(frames, **cosam):
    cosam = dict(type='COSAM', num_frames=frames, spatial_size=(4, 2), **cosam)
    return build(head=None, backbone=dict(
        type='FrameResNet', depth=14, base_channels=8,
        plugins=[dict(cfg=cosam, position='after_layer3')])).eval()


@pytest.mark.parametrize('num_frames', [2, 8])
def test_clips_of_another_length_than_cosam_was_built_for(num_frames):
    """4 divides the frames of both batches: COSAM alone would notice nothing.

    One of any size is as a model built for that length, whose weights are resampled.
    """
    clips = torch.rand(2, 1, 3, num_frames, 64, 32)
    model = of_frames(4)
    with pytest.raises(ValueError, match=f'after_layer3.*num_frames={num_frames}'):
        model.extract_feat(clips)
    assert model.extract_feat(torch.zeros(2, 1, 3, 4, 64, 32)).shape == (2, 256)

    model, built_so = of_frames(4, any_size=True), of_frames(num_frames)
    built_so.load_state_dict(model.state_dict())
    torch.testing.assert_close(model.extract_feat(clips), built_so.extract_feat(clips))
    assert model.backbone.plugins['after_layer3'][0].num_frames == num_frames


def test_num_frames_of_modules_that_declare_nothing_is_not_read_or_set():
    """It may mean anything there: in a module of another package, say."""
    model = build().eval()
    model.backbone.layer1.num_frames, model.backbone.layer1.any_size = 7, True
    assert model.extract_feat(floats(1)[0][None]).shape == (1, 256)
    assert model.backbone.layer1.num_frames == 7
