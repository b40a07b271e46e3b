"""mmpretrain's backbones with COSAM, in its own models, MMAction2's and ours."""
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_checkpoint
from mmengine.structures import BaseDataElement

from cosam_mm.layers import COSAM
from tests.frame_data import write_frames

pytest.importorskip('mmpretrain')

FRAMES, SIZE = 4, 64

# Backbone, where COSAM stands, (H, W) there, channels at the end.
BACKBONES = {
    'ResNet': (dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
               'layer3', (4, 4), 64),
    'SEResNet': (dict(type='SEResNet', depth=50, stem_channels=8, base_channels=8),
                 'layer3', (4, 4), 256),
    'ConvNeXt': (dict(type='ConvNeXt', gap_before_final_norm=False,
                      arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32])),
                 'stages.2', (4, 4), 32),
    'ConvNeXt-conv': (dict(type='ConvNeXt', gap_before_final_norm=False,
                           linear_pw_conv=False, use_grn=True,
                           arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32])),
                      'stages.2.1', (4, 4), 32),
}
# The ways in which configs name what another project has registered.
NAMINGS = {
    'scope in front': lambda cfg: {**cfg, 'type': f'mmpretrain.{cfg["type"]}'},
    'scope beside': lambda cfg: {**cfg, '_scope_': 'mmpretrain'},
}


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope='module')
def frames_dir(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp('frames'), num_clips=4,
                        clip_len=FRAMES, size=SIZE)


def plugged(backbone, after, **kwargs):
    return dict(type='PluggedBackbone', backbone=backbone,
                input_shape=(FRAMES, 3, SIZE, SIZE),
                plugins=[dict(cfg=dict(type='COSAM'), after=after)], **kwargs)


def classifier(backbone, channels):
    """mmpretrain's model for classes of single images."""
    return dict(
        type='ImageClassifier', backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=channels,
                  loss=dict(type='CrossEntropyLoss', loss_weight=1.0)),
        data_preprocessor=dict(mean=[127.5] * 3, std=[60.0] * 3, to_rgb=True,
                               num_classes=2))


def runner_config(model, frames_dir, work_dir):
    """A complete config as from a file: the frames of 2 clips make a batch."""
    config = Config(dict(
        default_scope='mmpretrain',
        custom_imports=dict(imports=['cosam_mm'],
                            allow_failed_imports=False),
        model=model,
        train_dataloader=dict(
            batch_size=2 * FRAMES, num_workers=0,
            sampler=dict(type='ClipSampler', clip_len=FRAMES),
            dataset=dict(type='CustomDataset', data_root=str(frames_dir),
                         ann_file='frames.txt', classes=['blue', 'red'],
                         pipeline=[dict(type='LoadImageFromFile'),
                                   dict(type='PackInputs')])),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-3)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        randomness=dict(seed=0), work_dir=str(work_dir)))
    return Config.fromstring(config.pretty_text, '.py')


def copy_parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def unmoved(model, before):
    """Names of parameters that training left as they were."""
    return {name for name, p in model.named_parameters()
            if torch.equal(p, before[name])}


def moved_by_nothing(name):
    """Biases in front of a batch norm, which takes any constant away."""
    return name.endswith(('reduction.0.bias', 'summary.0.bias'))


def disturb(model):
    """Weights as after training: layer scales start so small that all is constant."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith('gamma'):
                parameter.fill_(0.5)


def assert_frames_of_a_clip_and_no_others_matter(run, frames):
    """``run`` gives a row per frame, for 2 clips of ``FRAMES`` frames."""
    with torch.no_grad():
        whole = run(frames)
        torch.testing.assert_close(run(frames[:FRAMES]), whole[:FRAMES],
                                   rtol=1e-4, atol=1e-5)
        changed = frames.clone()
        changed[FRAMES - 1] = changed[FRAMES - 1].flip(-1) * 0.5
        after = run(changed)
    torch.testing.assert_close(after[FRAMES:], whole[FRAMES:], rtol=1e-4, atol=1e-5)
    first = (after[0] - whole[0]).abs().max()
    assert first > 1e-6, 'frame 0 does not see the last frame of its clip'


# -- in a project of mmpretrain --------------------------------------------------


@pytest.mark.parametrize('name', BACKBONES)
def test_classifier_trains_with_the_weights_of_the_bare_backbone(
        name, frames_dir, tmp_path):
    backbone, after, size, channels = BACKBONES[name]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        bare = MODELS.build(classifier(backbone, channels))
        bare.init_weights()
    torch.save(dict(state_dict=bare.state_dict()), tmp_path / 'bare.pth')

    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'bare.pth'),
                prefix='backbone.')
    model = classifier(plugged({**backbone, 'init_cfg': init}, after), channels)
    runner = Runner.from_cfg(runner_config(model, frames_dir, tmp_path / 'work'))
    model = runner.model
    (cosam,) = (m for m in model.modules() if isinstance(m, COSAM))
    assert (cosam.num_frames, cosam.spatial_size) == (FRAMES, size)

    model.init_weights()
    loaded, wanted = model.backbone.state_dict(), bare.backbone.state_dict()
    added = set(loaded) - set(wanted)
    assert added
    assert all(key.startswith('plugins.') for key in added)
    for key, value in wanted.items():
        assert torch.equal(loaded[key], value), key

    before = copy_parameters(model)
    runner.train()
    still = unmoved(model, before)
    assert all(map(moved_by_nothing, still)), still
    assert runner.iter == 4
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert all(loss == loss and 0 < loss < 10 for loss in losses)


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('naming', NAMINGS)
def test_bare_checkpoint_lacks_plugins_only(name, naming):
    backbone, after, _, _ = BACKBONES[name]
    named = NAMINGS[naming](backbone)
    bare = MODELS.build(named)
    ours = MODELS.build(plugged(named, after))
    assert isinstance(ours, type(bare))
    missing, unexpected = ours.load_state_dict(bare.state_dict(), strict=False)
    assert missing
    assert all(key.startswith('plugins.') for key in missing)
    assert not unexpected
    parameters = dict(ours.named_parameters())
    assert [n for n in parameters if not n.startswith('plugins.')] \
        == [n for n, _ in bare.named_parameters()]


def test_checkpoint_of_a_bare_classifier_loads_as_load_from_does(tmp_path):
    backbone, after, _, channels = BACKBONES['ResNet']
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        bare = MODELS.build(classifier(backbone, channels))
        ours = MODELS.build(classifier(plugged(backbone, after), channels))
    torch.save(dict(state_dict=bare.state_dict()), tmp_path / 'bare.pth')
    load_checkpoint(ours, str(tmp_path / 'bare.pth'), map_location='cpu')
    held = ours.state_dict()
    for key, value in bare.state_dict().items():
        assert torch.equal(held[key], value), key


@pytest.mark.parametrize('name', BACKBONES)
def test_frames_meet_within_their_clip_only(name):
    backbone, after, _, channels = BACKBONES[name]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(classifier(backbone, channels))
        model.backbone = MODELS.build(plugged(backbone, after))
    disturb(model)
    model.eval()
    assert_frames_of_a_clip_and_no_others_matter(
        lambda frames: model.extract_feat(frames)[-1],
        torch.rand(2 * FRAMES, 3, SIZE, SIZE))


def test_frozen_stages_leave_cosam_learning(frames_dir, tmp_path):
    backbone, after, _, channels = BACKBONES['ResNet']
    frozen = {**backbone, 'frozen_stages': 4, 'norm_eval': True}
    runner = Runner.from_cfg(runner_config(
        classifier(plugged(frozen, after), channels), frames_dir, tmp_path))
    runner.model.init_weights()
    before = copy_parameters(runner.model)
    runner.train()
    moved = set(before) - unmoved(runner.model, before)
    assert {name.split('.')[1] for name in moved} == {'plugins', 'fc'}, moved


# -- mmpretrain's backbones elsewhere --------------------------------------------


@pytest.mark.parametrize('name', ['ResNet', 'SEResNet', 'ConvNeXt'])
def test_backbone_of_a_reid_model(name):
    backbone, after, _, channels = BACKBONES[name]
    model = MODELS.build(dict(
        type='VideoReID', backbone=plugged(NAMINGS['scope in front'](backbone), after),
        aggregation=dict(type='TemporalPoolAggregation', in_channels=channels),
        head=dict(type='IdentityHead', num_pids=3)))
    before = copy_parameters(model)
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='Adam', lr=1e-3)))
    tracklets = torch.randint(256, (6, 1, 3, FRAMES, SIZE, SIZE), dtype=torch.uint8)
    samples = [BaseDataElement(label=k // 2) for k in range(6)]
    losses = model.train().train_step(
        dict(inputs=list(tracklets), data_samples=samples), wrapper)
    assert torch.isfinite(losses['loss'])
    still = unmoved(model, before)
    assert all(map(moved_by_nothing, still)), still
    assert model.eval().extract_feat(tracklets.float()).shape == (6, channels)


@pytest.mark.parametrize('name', ['ResNet', 'SEResNet', 'ConvNeXt'])
def test_backbone_of_a_recogniser_of_mmaction(name):
    pytest.importorskip('mmaction')
    from mmaction.registry import MODELS as RECOGNIZERS
    from mmaction.structures import ActionDataSample
    backbone, after, _, channels = BACKBONES[name]
    cfg = dict(
        type='Recognizer2D',
        backbone=plugged(NAMINGS['scope in front'](backbone), after, out_index=-1),
        cls_head=dict(type='TSNHead', num_classes=2, in_channels=channels,
                      consensus=dict(type='AvgConsensus', dim=1), average_clips='prob'),
        data_preprocessor=dict(type='ActionDataPreprocessor', mean=[127.5] * 3,
                               std=[60.0] * 3, format_shape='NCHW'))
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = RECOGNIZERS.build(cfg)
    before = copy_parameters(model)
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='Adam', lr=1e-3)))
    data = dict(inputs=list(torch.randint(256, (2, FRAMES, 3, SIZE, SIZE))),
                data_samples=[ActionDataSample().set_gt_label(k) for k in range(2)])
    losses = model.train().train_step(data, wrapper)
    assert torch.isfinite(losses['loss'])
    still = unmoved(model, before)
    assert all(map(moved_by_nothing, still)), still
    with torch.no_grad():
        (first, second) = model.eval().test_step(data)
    assert first.pred_score.shape == (2,)
    torch.testing.assert_close(first.pred_score.sum(), torch.tensor(1.))
