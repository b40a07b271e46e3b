"""Every shipped config: names, sizes of the papers, and a step of training."""
import re
from pathlib import Path

import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope

from cosam_mm.engine.complexity import measure_complexity
from cosam_mm.engine.config import input_shape, set_data_root
from tests.action_data import write_data_root

CONFIG_DIR = Path(__file__).resolve().parents[1] / 'configs'
CONFIGS = sorted(path.name for path in CONFIG_DIR.glob('*.py'))
CLIP_LEN, SIZE = 32, 64

# Single-stream RGB rows of the paper, 101 classes: millions of parameters,
# billions of multiply-adds for a clip.
PAPER = {
    'resnext101_lstm_ucf101': (47.60, 38.64),
    'resnext101_cosam_lstm_ucf101': (48.41, 38.77),
    'resnext101_bert_ucf101': (47.40, 38.37),
    'resnext101_cosam_bert_ucf101': (48.21, 38.49),
    'i3d_bert_ucf101': (13.57, 110.6),
    'i3d_cosam_bert_ucf101': (14.23, 110.7),
}


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


@pytest.fixture(scope='module')
def data_roots(tmp_path_factory):
    base = tmp_path_factory.mktemp('data')
    return {name: write_data_root(base / name, name, classes, num_clips=2, frames=True)
            for name, classes in (('hmdb51', 51), ('ucf101', 101), ('demo', 8))}


def shrink(cfg):
    """The same config with narrow layers and small clips."""
    backbone, head = cfg.model.backbone, cfg.model.cls_head
    frames, size = (4, 4) if backbone.type == 'ResNeXt3D' else (4, 2)
    if backbone.type == 'ResNeXt3D':
        backbone.update(depth=14, base_channels=8, groups=4, reduced_channels=32)
        head.in_channels = 32 if backbone.feature_reduction else 256
    if head.type == 'BERTHead':
        head.num_tokens = 2 if backbone.type == 'ResNeXt3D' else 4
        head.temporal = dict(head.get('temporal', {}), num_heads=4, ffn_channels=64)
    for plugin in backbone.get('plugins', ()):
        plugin.cfg.update(num_frames=frames, spatial_size=(size, size))
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        for step in loader.dataset.pipeline:
            if 'clip_len' in step:
                step.clip_len = CLIP_LEN
            for key in ('crop_size', 'input_size', 'size'):
                if key in step:
                    step[key] = SIZE
            if step.type == 'Resize':
                square = step.scale[0] == step.scale[1]
                step.scale = (SIZE, SIZE) if square else (86, 68)
    return cfg


def test_there_is_a_config_for_every_combination():
    expected = {f'{backbone}{head}_{data}.py'
                for backbone in ('resnext101', 'i3d') for data in ('hmdb51', 'ucf101')
                for head in ('', '_lstm', '_bert', '_cosam_lstm', '_cosam_bert')}
    expected |= {f'{backbone}{head}_{data}_flow.py'
                 for backbone in ('resnext101', 'i3d') for data in ('hmdb51', 'ucf101')
                 for head in ('', '_bert')}
    assert expected <= set(CONFIGS)
    assert len(expected) == 28


@pytest.mark.parametrize('name', CONFIGS)
def test_name_says_what_is_inside(name):
    cfg = Config.fromfile(CONFIG_DIR / name)
    match = re.fullmatch(
        r'(resnext14|resnext101|i3d)(_cosam)?(_lstm|_bert)?_(hmdb51|ucf101|demo)'
        r'(_flow)?\.py', name)
    backbone, cosam, head, data, flow = match.groups()
    assert cfg.model.backbone.type == ('I3D' if backbone == 'i3d' else 'ResNeXt3D')
    assert cfg.model.backbone.get('depth') == {'resnext101': 101, 'resnext14': 14,
                                               'i3d': None}[backbone]
    assert bool(cfg.model.backbone.get('plugins')) is bool(cosam)
    assert cfg.model.cls_head.type == {None: 'MeanHead', '_lstm': 'LSTMHead',
                                       '_bert': 'BERTHead'}[head]
    classes = {'hmdb51': 51, 'ucf101': 101, 'demo': 8}[data]
    assert cfg.model.cls_head.num_classes == classes
    assert cfg.model.backbone.get('in_channels', 3) == (2 if flow else 3)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.num_classes == classes
        assert loader.dataset.name == data
        assert ('flow' in loader.dataset.get('filename_tmpl', '')) is bool(flow)
    assert len((CONFIG_DIR / name).read_text().splitlines()) <= 15


@pytest.mark.parametrize('name', [n for n in CONFIGS if 'demo' not in n])
def test_recipe_of_the_paper(name):
    cfg = Config.fromfile(CONFIG_DIR / name)
    loader, wrapper = cfg.train_dataloader, cfg.optim_wrapper
    assert loader.batch_size * wrapper.accumulative_counts == 128
    assert wrapper.optimizer == dict(type='AdamW', lr=1e-5, weight_decay=1e-3)
    assert cfg.train_cfg.max_epochs == 200
    (scheduler,) = cfg.param_scheduler
    assert (scheduler.type, scheduler.monitor, scheduler.patience,
            scheduler.factor) == ('ReduceOnPlateauLR', 'acc/cross_entropy', 5, 0.1)
    size = 224 if name.startswith('i3d') else 112
    channels = 2 if 'flow' in name else 3
    assert input_shape(cfg) == (channels, 64, size, size)
    assert cfg.test_dataloader.dataset.pipeline[-3].type.endswith('TenCrop')
    flip = next(s for s in loader.dataset.pipeline if 'Flip' in s.type)
    assert flip == dict(type='FlowFlip' if 'flow' in name else 'Flip', flip_ratio=0.5)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_trains_and_predicts(name, data_roots):
    torch.manual_seed(0)
    cfg = shrink(Config.fromfile(CONFIG_DIR / name))
    set_data_root(cfg, data_roots[cfg.train_dataloader.dataset.name])
    init_default_scope('mmaction')
    model = MODELS.build(cfg.model)
    model.init_weights()

    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    # Batch norms see one place of two clips at the end, so the two must differ.
    batch = pseudo_collate([dataset[0], dataset[1]])
    before = {k: v.clone() for k, v in model.named_parameters()}
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper,
                                              accumulative_counts=1))
    losses = model.train().train_step(batch, wrapper)
    assert torch.isfinite(losses['loss'])
    changed = [k for k, v in model.named_parameters() if not torch.equal(v, before[k])]
    # Keys' biases move a softmax by nothing.
    still = {k for k in before if k not in changed and 'key.bias' not in k}
    assert not still

    sample = DATASETS.build(cfg.test_dataloader.dataset)[1]
    views = 1 if 'demo' in name else 10
    assert sample['inputs'].shape[0] == views
    with torch.no_grad():
        (result,) = model.eval().test_step(pseudo_collate([sample]))
    assert result.pred_score.shape == (cfg.model.cls_head.num_classes,)
    assert torch.isfinite(result.pred_score).all()
    assert result.sample_id == 'class 1/clip (a&b) 1'


@pytest.mark.parametrize('name', PAPER)
def test_parameters_and_flops_of_the_paper(name):
    cfg = Config.fromfile(CONFIG_DIR / f'{name}.py')
    millions, billions = PAPER[name]
    init_default_scope('mmaction')
    cost = measure_complexity(MODELS.build(cfg.model), input_shape(cfg))
    assert round(cost.parameters / 1e6, 2) == millions
    assert cost.multiply_adds / 1e9 == pytest.approx(billions, rel=0.01)


def test_class_count_does_not_change_the_recipe():
    """The data sets' configs differ in nothing but names and classes."""
    hmdb51, ucf101 = ((CONFIG_DIR / f'resnext101_cosam_bert_{data}.py').read_text()
                      for data in ('hmdb51', 'ucf101'))
    assert hmdb51.replace('hmdb51', 'ucf101').replace('=51', '=101') == ucf101
