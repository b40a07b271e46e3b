"""timm's and torchvision's models with COSAM: in MMAction2, in mmpretrain, in ours."""
import pytest
import torch
from mmengine.registry import MODELS

from tests.frame_models import (
    FRAMES,
    SIZE,
    assert_lacks_plugins_only,
    assert_step_moves,
    clips,
    plugged,
    recogniser,
)

# Model, where COSAM stands, plugin keys, channels at the end.
TIMM = {
    'resnet': ('resnet10t', 'layer3', {}, 512),
    'regnet': ('regnety_002', 's3', {}, 368),
    'convnext': ('convnext_atto', 'stages.2', {}, 320),
    'vit': ('vit_tiny_patch16_224', 'blocks.5',
            dict(layout='frame_tokens', num_prefix_tokens=1), 192),
    'swin': ('swin_tiny_patch4_window7_224', 'layers.1', dict(layout='frames_last'),
             768),
}
# What a model needs to take small images.
SETTINGS = {'vit': dict(img_size=SIZE), 'swin': dict(
    img_size=SIZE, window_size=2, depths=(1, 1, 1, 1), embed_dim=32,
    num_heads=(1, 2, 4, 8), feature_shape='NHWC')}
CHANNELS = {'swin': 256}


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope='module', autouse=True)
def timm():
    return pytest.importorskip('timm')


def backbone_of(name):
    model, after, keys, channels = TIMM[name]
    return plugged(dict(type=f'timm.{model}', **SETTINGS.get(name, {})), after,
                   **keys), CHANNELS.get(name, channels)


@pytest.mark.parametrize('name', TIMM)
def test_recogniser_of_mmaction_trains_and_predicts(name):
    model = recogniser(*backbone_of(name))
    model.init_weights()
    data = clips()
    assert_step_moves(model, data, '.plugins.')
    with torch.no_grad():
        results = model.eval().test_step(data)
    assert all(torch.isfinite(result.pred_score).all() for result in results)


@pytest.mark.parametrize('name', TIMM)
def test_features_without_plugins_are_those_of_mmaction_s_own_wrapper(name, timm):
    """The same weights through MMAction2's ``timm.`` backbone and through ours."""
    cfg, channels = backbone_of(name)
    ours = recogniser({**cfg, 'plugins': []}, channels).eval()
    theirs = recogniser(dict(cfg['backbone']), channels).eval()
    theirs.load_state_dict(ours.state_dict())
    frames = torch.rand(2, FRAMES, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(ours(frames, stage='head', mode='tensor'),
                                   theirs(frames, stage='head', mode='tensor'))


@pytest.mark.parametrize('name', TIMM)
def test_checkpoint_of_timm_lacks_plugins_only(name, timm):
    cfg, _ = backbone_of(name)
    settings = dict(cfg['backbone'], num_classes=10)
    settings.pop('feature_shape', None)
    bare = timm.create_model(settings.pop('type')[5:], **settings)
    unexpected = assert_lacks_plugins_only(MODELS.build(cfg), bare.state_dict())
    # The classifier, which a backbone does without.
    assert {bare.get_submodule(key.rpartition('.')[0]) for key in unexpected} \
        == {bare.get_classifier()}


@pytest.mark.parametrize('features_only', [True, False])
def test_mmpretrain_s_wrapper_of_timm(features_only, timm):
    pytest.importorskip('mmpretrain')
    wrapper = dict(type='mmpretrain.TIMMBackbone', model_name='resnet10t',
                   features_only=features_only)
    ours = MODELS.build(plugged(wrapper, 'timm_model.layer3'))
    bare = MODELS.build(wrapper)
    assert not assert_lacks_plugins_only(ours, bare.state_dict())
    assert list(ours.plugins) == ['timm_model_layer3']
    ours.eval(), bare.eval()
    frames = torch.rand(FRAMES, 3, SIZE, SIZE)
    with torch.no_grad():
        after, before = ours(frames), bare(frames)
    same = [torch.equal(a, b) for a, b in zip(after, before)]
    # What is taken out before layer3 is what it was.
    assert same == ([True, True, True, False, False] if features_only else [False])


def test_torchvision_model_in_a_recogniser():
    pytest.importorskip('torchvision')
    model = recogniser(plugged(dict(type='torchvision.resnet18'), 'layer3'), 512)
    model.init_weights()
    assert_step_moves(model, clips(), '.plugins.')
    import torchvision
    assert assert_lacks_plugins_only(
        model.backbone, torchvision.models.resnet18().state_dict()) \
        == ['fc.weight', 'fc.bias']


@pytest.mark.parametrize('name', ['resnet10', 'no_such_model'])
def test_unknown_models_are_refused(name):
    with pytest.raises(ValueError, match='list_models'):
        MODELS.build(plugged(dict(type=f'timm.{name}'), 'layer3'))
