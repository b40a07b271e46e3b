"""Where plugins can stand in the backbone of a config."""
import pytest
from mmengine.config import Config

from cosam_mm.apis.insertion_points import list_insertion_points

BACKBONE = dict(type='FrameResNet', depth=14, base_channels=8)
PLUGGED = dict(type='PluggedBackbone', backbone=BACKBONE, input_shape=(4, 3, 32, 16),
               plugins=[dict(cfg=dict(type='COSAM'), after='layer4')])


def by_name(cfg, shape=None):
    return {point.name: point for point in list_insertion_points(cfg, shape)}


@pytest.mark.parametrize(('backbone', 'shape', 'expected'), [
    (BACKBONE, (4, 3, 64, 32), (4, 128, 4, 2)), (PLUGGED, None, (4, 128, 2, 1))])
def test_points_of_a_backbone(backbone, shape, expected):
    """The shape of a plugged backbone is its own."""
    points = by_name(Config(dict(model=dict(backbone=backbone))), shape)
    assert points['layer3'].shape == expected
    assert points['layer3'].layouts == ('frames', 'frames_last')
    assert (points['layer3'].kind, points['layer3.0'].kind) == ('Sequential',
                                                                'Bottleneck')
    assert points['layer1.0.relu'].reason == 'runs 3 times in a forward pass'
    assert points['layer1.0.relu'].shape is None
    assert 'norm' in points['bn1'].reason
    assert not any(name.startswith('plugins') for name in points)


@pytest.mark.parametrize(('name', 'shape'), [
    ('resnext14_bert_demo', (1, 256, 4, 4, 4)), ('tsn_r50_hmdb51', (8, 256, 2, 2))])
def test_shape_of_the_test_pipeline(repo, name, shape):
    cfg = Config.fromfile(repo / 'configs' / f'{name}.py')
    if name.startswith('tsn'):
        cfg.model.backbone.depth = 18
        next(step for step in cfg.test_dataloader.dataset.pipeline
             if 'crop_size' in step).crop_size = 32
        cfg.default_scope = 'mmaction'
    else:
        cfg.model.backbone.update(base_channels=16)
    point = by_name(cfg)['layer3']
    assert point.shape[0] == shape[0]
    assert point.shape[2:] == shape[2:]


def test_configs_that_do_not_tell(repo):
    with pytest.raises(ValueError, match='backbone'):
        list_insertion_points(Config(dict(model=dict())))
    cfg = Config.fromfile(repo / 'configs/reid/resnet14_tp_demo.py')
    with pytest.raises(ValueError, match='--shape'):
        list_insertion_points(cfg)
