"""mmpretrain's backbones with COSAM, in its own models, MMAction2's and ours."""
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from cosam_mm.layers import COSAM
from tests.frame_data import write_frames
from tests.frame_models import (
    FRAMES,
    SIZE,
    assert_lacks_plugins_only,
    assert_moves,
    assert_step_moves,
    clips,
    plugged,
    recogniser,
    reid_model,
    tracklets,
)

pytest.importorskip('mmpretrain')

# Backbone, where COSAM stands, (H, W) there, channels at the end.
BACKBONES = {
    'ResNet': (dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
               'layer3', (4, 4), 64),
    'SEResNet': (dict(type='SEResNet', depth=50, stem_channels=8, base_channels=8),
                 'layer3', (4, 4), 256),
    'ConvNeXt': (dict(type='ConvNeXt', gap_before_final_norm=False,
                      arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32])),
                 'stages.2', (4, 4), 32),
}
@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope='module')
def frames_dir(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp('frames'), num_clips=4,
                        clip_len=FRAMES, size=SIZE)


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
    loaded = model.backbone.state_dict()
    assert all(torch.equal(loaded[key], value)
               for key, value in bare.backbone.state_dict().items())
    assert_moves(model, runner.train)
    assert runner.iter == 4
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert all(loss == loss and 0 < loss < 10 for loss in losses)


# -- mmpretrain's backbones elsewhere --------------------------------------------


@pytest.mark.parametrize(('model', 'name', 'naming'), [
    ('VideoReID', 'ResNet', dict(_scope_='mmpretrain')),
    ('VideoReID', 'SEResNet', dict(type='mmpretrain.SEResNet')),
    ('Recognizer2D', 'ConvNeXt', dict(type='mmpretrain.ConvNeXt'))])
def test_backbone_of_a_model_of_others(model, name, naming):
    """Named in the ways in which configs name what another project has registered."""
    pytest.importorskip('mmaction')
    backbone, after, _, channels = BACKBONES[name]
    backbone = {**backbone, **naming}
    bare = MODELS.build(backbone).state_dict()
    assert not assert_lacks_plugins_only(MODELS.build(plugged(backbone, after)), bare)
    if model == 'VideoReID':
        built, data = reid_model(plugged(backbone, after), channels), tracklets()
    else:
        built, data = recogniser(plugged(backbone, after, out_index=-1),
                                 channels), clips()
    assert_step_moves(built, data)
    with torch.no_grad():
        results = built.eval().test_step(data)
    kind, size = (('feature', channels) if model == 'VideoReID' else ('pred_score', 2))
    assert all(result.get(kind).shape == (size,) for result in results)
