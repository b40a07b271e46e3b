"""Every shipped config: names, sizes of the papers, and a step of training."""
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope

from cosam_mm.apis.complexity import measure_complexity
from cosam_mm.datasets.transforms.clip_augmentation import GEOMETRIC
from cosam_mm.utils.config import input_shape, set_data_root
from tests.action_data import flat_pipeline, write_data_root

CONFIG_DIR = Path(__file__).resolve().parents[1] / 'configs'
CONFIGS = sorted(path.name for path in CONFIG_DIR.glob('*.py'))
# Models of the papers, in this package's backbones and heads.
OURS = [name for name in CONFIGS
        if re.match(r'(resnext14|resnext101|i3d)_(?!r50)', name)]
STRONG = [name for name in CONFIGS if name.endswith('_strong.py')]
CLIP_LEN, SIZE = 32, 64

# MMAction2's backbones: name -> type, head, (T, size) of a clip, narrow settings,
# channels that these put out.
MMACTION = {
    'r2plus1d34': ('ResNet2Plus1d', 'BERTHead', (32, 112),
                   dict(depth=18, base_channels=8), 64),
    'slowonly_r50': ('ResNet3dSlowOnly', 'I3DHead', (8, 224),
                     dict(base_channels=8, zero_init_residual=False), 256),
    'i3d_r50': ('ResNet3d', 'I3DHead', (32, 224), dict(base_channels=8), 256),
    'tsn_r50': ('ResNet', 'TSNHead', (8, 224), dict(depth=18), 512),
    'tsm_r50': ('ResNetTSM', 'TSMHead', (8, 224), dict(depth=18), 512),
    'videomae_base': ('VisionTransformer', 'TimeSformerHead', (16, 224), dict(
        img_size=SIZE, embed_dims=16, depth=9, num_heads=2, drop_path_rate=0.), 16),
    'swin_tiny': ('SwinTransformer3D', 'I3DHead', (32, 224), dict(
        arch=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2]),
        drop_path_rate=0.), 64),
}
# Where COSAM stands, where it is not after layer3: for a clip of full size.
TOKENS = {
    'videomae_base': dict(after='blocks.8', layout='clip_tokens', grid=(8, 14, 14)),
    'swin_tiny': dict(after='layers.2', layout='clip_last'),
}
PLUGGED = [f'{backbone}{cosam}{"_bert" if head == "BERTHead" else ""}_hmdb51.py'
           for backbone, (_, head, *_) in MMACTION.items() for cosam in ('', '_cosam')]

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


@cache
def _read(name):
    return Config.fromfile(CONFIG_DIR / name)


def load(name):
    """The config, read once and copied."""
    return Config(_read(name).to_dict())


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


@pytest.fixture(scope='module')
def data_roots(tmp_path_factory):
    base = tmp_path_factory.mktemp('data')
    return {name: write_data_root(base / name, name, classes, num_clips=2, frames=True)
            for name, classes in (
                ('hmdb51', 51), ('ucf101', 101), ('demo', 8), ('own', 8))}


def shrink(cfg):
    """The same config with narrow layers, or I3D as wide as it is, and small clips."""
    size = SIZE // 2 if cfg.model.backbone.type == 'I3D' else SIZE
    if cfg.model.backbone.type in ('I3D', 'ResNeXt3D'):
        shrink_ours(cfg.model)
    else:
        shrink_mmaction(cfg.model)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        for step in flat_pipeline(loader):
            if 'clip_len' in step:
                step.clip_len = min(step.clip_len, CLIP_LEN)
            for key in ('crop_size', 'input_size', 'size'):
                if key in step:
                    step[key] = size
            if step.type == 'Resize':
                square = step.scale[0] == step.scale[1]
                step.scale = (size, size) if square else (size + 22, size + 4)
    return cfg


def groups_of(model, wrapper):
    """Parameter -> its group in the optimiser."""
    groups = build_optim_wrapper(model, wrapper).param_groups
    return {parameter: group for group in groups for parameter in group['params']}


def shrink_ours(model):
    backbone, head = model.backbone, model.cls_head
    frames, size = (4, 4) if backbone.type == 'ResNeXt3D' else (4, 1)
    if backbone.type == 'ResNeXt3D':
        backbone.update(depth=14, base_channels=8, groups=4, reduced_channels=32)
        head.in_channels = 32 if backbone.feature_reduction else 256
    if head.type == 'BERTHead':
        head.num_tokens = 2 if backbone.type == 'ResNeXt3D' else 4
        head.temporal = dict(head.get('temporal', {}), num_heads=4, ffn_channels=64)
    for plugin in backbone.get('plugins', ()):
        plugin.cfg.update(num_frames=frames, spatial_size=(size, size))


def step_of_training(model, batch, wrapper):
    """Losses of a step, and the names of the parameters that it has not moved."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = model.train().train_step(batch, build_optim_wrapper(model, wrapper))
    return losses, [name for name, p in model.named_parameters()
                    if torch.equal(p, before[name])]


def plain_type(cfg):
    return cfg.type.split('.')[-1]


def shrink_mmaction(model):
    backbone, head = model.backbone, model.cls_head
    if backbone.type == 'PluggedBackbone':
        backbone.input_shape = (*backbone.input_shape[:-2], SIZE, SIZE)
        for plugin in backbone.plugins:
            if 'grid' in plugin:
                plugin.grid = (plugin.grid[0], SIZE // 16, SIZE // 16)
        backbone = backbone.backbone
    narrow, head.in_channels = next(
        (settings, channels) for kind, _, _, settings, channels in MMACTION.values()
        if plain_type(backbone) == kind)
    backbone.update(narrow)
    if head.type == 'BERTHead':
        head.temporal = dict(num_heads=4, ffn_channels=64)


@pytest.mark.parametrize('name', OURS)
def test_name_says_what_is_inside(name):
    cfg = load(name)
    match = re.fullmatch(
        r'(resnext14|resnext101|i3d)(_cosam)?(_lstm|_bert)?_(hmdb51|ucf101|demo|own)'
        r'(_flow)?(_strong)?\.py', name)
    backbone, cosam, head, data, flow, strong = match.groups()
    assert cfg.model.backbone.type == ('I3D' if backbone == 'i3d' else 'ResNeXt3D')
    assert cfg.model.backbone.get('depth') == {'resnext101': 101, 'resnext14': 14,
                                               'i3d': None}[backbone]
    assert bool(cfg.model.backbone.get('plugins')) is bool(cosam)
    assert cfg.model.cls_head.type == {None: 'MeanHead', '_lstm': 'LSTMHead',
                                       '_bert': 'BERTHead'}[head]
    classes = {'hmdb51': 51, 'ucf101': 101}.get(data, 8)
    assert cfg.model.cls_head.num_classes == classes
    assert cfg.model.backbone.get('in_channels', 3) == (2 if flow else 3)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.num_classes == classes
        assert loader.dataset.name == data
        assert ('flow' in loader.dataset.get('filename_tmpl', '')) is bool(flow)
    assert ('blending' in cfg.model.data_preprocessor) is bool(strong)


@pytest.mark.parametrize('path', [*CONFIG_DIR.glob('*.py'),
                                  *CONFIG_DIR.glob('reid/*.py')],
                         ids=lambda path: path.stem)
def test_leaves_are_short_and_bases_few(path):

    def levels(path):
        bases = Config._get_base_files(str(path))
        return 1 + max((levels(path.parent / base) for base in bases), default=-1)

    assert len(path.read_text().splitlines()) <= 15
    assert 1 <= levels(path) <= 3


@pytest.mark.parametrize('name', PLUGGED)
def test_plugged_config_is_its_twin_and_cosam(name):
    cfg = load(name)
    backbone = re.match('|'.join(MMACTION), name).group()
    kind, head, (frames, size), *_ = MMACTION[backbone]
    assert input_shape(cfg) == (3, frames, size, size)
    assert cfg.model.cls_head.type == head
    assert cfg.model.cls_head.num_classes == 51
    plugged = cfg.model.backbone
    if '_cosam' not in name:
        assert plain_type(plugged) == kind
        return
    twin = load(name.replace('_cosam', ''))
    assert plugged == dict(
        type='PluggedBackbone', backbone=twin.model.backbone,
        input_shape=((frames, 3, size, size) if cfg.model.type == 'Recognizer2D'
                     else (1, 3, frames, size, size)),
        plugins=[dict(cfg=dict(type='COSAM'),
                      **TOKENS.get(backbone, dict(after='layer3')))])
    cfg.model.backbone = twin.model.backbone
    assert cfg.to_dict() == twin.to_dict()


@pytest.mark.parametrize('name', [
    n for n in [*OURS, *PLUGGED] if 'resnext14' not in n and n not in STRONG
    and not n.startswith(tuple(TOKENS))])
def test_recipe_of_the_paper(name):
    cfg = load(name)
    loader, wrapper = cfg.train_dataloader, cfg.optim_wrapper
    assert loader.batch_size * wrapper.accumulative_counts == 128
    assert wrapper.optimizer == dict(type='AdamW', lr=1e-5, weight_decay=1e-3)
    assert cfg.train_cfg.max_epochs == 200
    (scheduler,) = cfg.param_scheduler
    assert (scheduler.type, scheduler.monitor, scheduler.patience,
            scheduler.factor) == ('ReduceOnPlateauLR', 'acc/cross_entropy', 5, 0.1)
    if name in OURS:
        size = 224 if name.startswith('i3d') else 112
        assert input_shape(cfg) == (2 if 'flow' in name else 3, 64, size, size)
    assert cfg.test_dataloader.dataset.pipeline[-3].type.endswith('TenCrop')
    flip = next(step for step in flat_pipeline(loader) if 'Flip' in step.type)
    assert flip == dict(type='FlowFlip' if 'flow' in name else 'Flip', flip_ratio=0.5)


def test_every_config_is_trained_below():
    assert sorted([*OURS, *PLUGGED]) == CONFIGS


@pytest.mark.parametrize('name', [*OURS, *PLUGGED])
def test_config_trains_and_predicts(name, data_roots):
    torch.manual_seed(0)
    cfg = shrink(load(name))
    set_data_root(cfg, data_roots[cfg.train_dataloader.dataset.name])
    init_default_scope('mmaction')
    model = MODELS.build(cfg.model)
    model.init_weights()

    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    # Batch norms see one position of two clips at the end, so the two must differ.
    batch = pseudo_collate([dataset[0], dataset[1]])
    losses, still = step_of_training(model, batch, dict(cfg.optim_wrapper,
                                                        accumulative_counts=1))
    assert torch.isfinite(losses['loss'])
    # Keys' biases move a softmax by nothing.
    assert all('key.bias' in name for name in still)

    if 'ucf101' in name:  # which differs in nothing but names and classes
        return
    sample = DATASETS.build(cfg.test_dataloader.dataset)[1]
    views = 1 if 'resnext14' in name else 10
    segments = 8 if cfg.model.type == 'Recognizer2D' else 1
    assert sample['inputs'].shape[0] == views * segments
    with torch.no_grad():
        (result,) = model.eval().test_step(pseudo_collate([sample]))
    assert result.pred_score.shape == (cfg.model.cls_head.num_classes,)
    assert torch.isfinite(result.pred_score).all()
    assert result.sample_id == 'class 1/clip (a&b) 1'


@pytest.mark.parametrize('name', PAPER)
def test_parameters_and_flops_of_the_paper(name):
    cfg = load(f'{name}.py')
    millions, billions = PAPER[name]
    init_default_scope('mmaction')
    cost = measure_complexity(MODELS.build(cfg.model), input_shape(cfg))
    assert round(cost.parameters / 1e6, 2) == millions
    assert cost.multiply_adds / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize('name', [n for n in PLUGGED if n.startswith(tuple(TOKENS))])
def test_recipe_of_transformers(name):
    """A tenth of the rate for what comes with weights; no decay of norms, biases."""
    cfg = shrink(load(name))
    loader, wrapper = cfg.train_dataloader, cfg.optim_wrapper
    assert loader.batch_size * wrapper.accumulative_counts == 64
    assert cfg.train_cfg.max_epochs == 50
    assert [(s.type, s.begin, s.end) for s in cfg.param_scheduler] == [
        ('LinearLR', 0, 5), ('CosineAnnealingLR', 5, 50)]
    assert cfg.param_scheduler[1].T_max == 45
    model = MODELS.build(cfg.model)
    by_parameter = groups_of(model, wrapper)
    for parameter_name, parameter in model.named_parameters():
        group = by_parameter[parameter]
        theirs = parameter_name.startswith('backbone.') and 'plugins' not in \
            parameter_name
        assert group['lr'] == pytest.approx(1e-4 if theirs else 1e-3), parameter_name
        decays = not ('norm' in parameter_name or 'bias' in parameter_name)
        assert group['weight_decay'] == (0.05 if decays else 0), parameter_name


@pytest.mark.parametrize('name', STRONG)
def test_strong_recipe(name):
    """A warm-up, a cosine, an average of the weights, blended and changed clips."""
    cfg = shrink(load(name))
    warmup, cosine = cfg.param_scheduler
    epochs = cfg.train_cfg.max_epochs
    assert (warmup.type, warmup.begin) == ('LinearLR', 0)
    assert (cosine.type, cosine.begin, cosine.end, cosine.T_max) == (
        'CosineAnnealingLR', warmup.end, epochs, epochs - warmup.end)
    assert warmup.convert_to_iter_based
    assert cosine.convert_to_iter_based
    assert 'EMAHook' in [hook.type for hook in cfg.custom_hooks]
    assert cfg.model.cls_head.label_smooth_eps == 0.1
    assert [(blend.type, blend.num_classes)
            for blend in cfg.model.data_preprocessor.blending.augments] == [
        (kind, cfg.model.cls_head.num_classes)
        for kind in ('MixupBlending', 'CutmixBlending')]
    steps = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert steps[-3:] == ['ClipRandAugment', 'FormatShape', 'PackActionInputs']

    model = MODELS.build(cfg.model)
    by_parameter = groups_of(model, cfg.optim_wrapper)
    for module_name, module in model.named_modules():
        is_norm = 'Norm' in type(module).__name__
        for key, parameter in module.named_parameters(recurse=False):
            decay = by_parameter[parameter]['weight_decay']
            expected = 0 if is_norm or key == 'bias' else 0.05
            assert decay == expected, (module_name, key)


@pytest.mark.parametrize('name', STRONG)
def test_strong_config_differs_from_its_twin_in_the_recipe_alone(name):
    cfg = load(name)
    twin = load(name.replace('_strong', ''))
    (average,) = [hook for hook in cfg.custom_hooks if hook not in twin.custom_hooks]
    assert average.type == 'EMAHook'
    assert all(hook in cfg.custom_hooks for hook in twin.custom_hooks)
    (rand_augment,) = [step for step in cfg.train_dataloader.dataset.pipeline
                       if step.type == 'ClipRandAugment']
    cfg.train_dataloader.dataset.pipeline.remove(rand_augment)
    del cfg.model.data_preprocessor['blending']
    del cfg.model.cls_head['label_smooth_eps']
    for key in ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader',
                'val_evaluator', 'test_evaluator', 'default_hooks', 'env_cfg'):
        assert cfg[key] == twin[key], key
    if 'demo' in name:
        assert cfg.train_cfg == twin.train_cfg
        assert not set(rand_augment.operations) & set(GEOMETRIC)
    else:
        assert 'operations' not in rand_augment


@pytest.mark.parametrize('name', [n for n in OURS if 'ucf101' in n])
def test_ucf101_differs_from_hmdb51_in_names_and_classes(name):
    hmdb51, ucf101 = ((CONFIG_DIR / n).read_text()
                      for n in (name.replace('ucf101', 'hmdb51'), name))
    for old, new in (('hmdb51', 'ucf101'), ('HMDB51', 'UCF101'), ('=51', '=101')):
        hmdb51 = hmdb51.replace(old, new)
    assert hmdb51 == ucf101
