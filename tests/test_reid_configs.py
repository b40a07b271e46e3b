"""Every re-ID config: names, sizes of the paper, full-size shapes, a training step."""
import re
import warnings
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from mmengine.structures import BaseDataElement
from torch import nn

import cosam_mm.datasets.reid  # noqa: F401  (what custom_imports of the configs does)
from tests.test_configs import groups_of, step_of_training

CONFIG_DIR = Path(__file__).resolve().parents[1] / 'configs'
REID_DIR = CONFIG_DIR / 'reid'
CONFIGS = sorted(path.stem for path in REID_DIR.glob('*.py'))
CLIP = [name for name in CONFIGS if name.startswith('clip_')]
CNN = [name for name in CONFIGS if name not in CLIP]
STRONG = [name for name in CNN if name.endswith('_strong')]
NAME = re.compile(
    r'(resnet50|se_resnet50|resnet14|resnet50_ibn)(?:_(cosam|nonlocal)(\d+))?_(tp|ta|rnn)_'
    r'(mars|dukemtmc|ilids|prid2011|demo)(?:_(t2|t8|random|spatial|channel|strong))?')
BACKBONES = dict(resnet50=('FrameResNet', 50), se_resnet50=('FrameSEResNet', 50),
                 resnet14=('FrameResNet', 14), resnet50_ibn=('FrameResNet', 50))
AGGREGATIONS = dict(tp='TemporalPoolAggregation', ta='TemporalAttentionAggregation',
                    rnn='TemporalRNNAggregation')
ATTENTION = {'cosam': 'COSAM', 'nonlocal': 'ClipAdapter'}
DATASETS = dict(mars=('MARS', 625), dukemtmc=('DukeMTMCVideoReID', 702),
                ilids=('ILIDSVID', 150), prid2011=('PRID2011', 89),
                demo=('MARS', 60))
# At 150 identities: millions of parameters, billions of operations for 4 frames.
PAPER = {
    'resnet50_cosam45_tp_mars': (26.22, 17.24),
    'se_resnet50_cosam45_tp_mars': (28.76, 16.86),
    'resnet50_nonlocal45_tp_mars': (34.31, 27.11),
    'se_resnet50_nonlocal45_tp_mars': (36.85, 26.74),
}


@cache
def _read(name):
    return Config.fromfile(REID_DIR / f'{name}.py')


def load(name):
    """The config, read once and copied."""
    return Config(_read(name).to_dict())


def needs(name):
    """Skip where the packages are not installed that only some configs need."""
    if 'nonlocal' in name:
        pytest.importorskip('mmcv.cnn')
    if name in CLIP:
        pytest.importorskip('transformers')


def build_hollow(cfg):
    with torch.device('meta'):
        return MODELS.build(cfg.model).to('meta')


def plugins_of(cfg):
    return cfg.model.backbone.get('plugins') or []


def step_of(pipeline, kind):
    (step,) = (step for step in pipeline if step.type == kind)
    return step


def frames_of(cfg):
    return step_of(cfg.train_dataloader.dataset.pipeline,
                   'SampleTrackletFrames').num_frames


# -- names and recipe --------------------------------------------------------


@pytest.mark.parametrize('name', CNN)
def test_name_says_what_is_inside(name):
    cfg = load(name)
    backbone, attention, blocks, kind, data, variant = NAME.fullmatch(name).groups()
    assert (cfg.model.backbone.type, cfg.model.backbone.depth) == BACKBONES[backbone]
    assert cfg.model.backbone.get('ibn') == ('a' if variant == 'strong' else None)
    assert cfg.model.backbone.last_stride == (2 if kind == 'ta' else 1)
    assert [p.position for p in plugins_of(cfg)] == [
        f'after_layer{int(block) - 1}' for block in blocks or '']
    assert all(p.cfg.type == ATTENTION[attention] for p in plugins_of(cfg))
    assert cfg.model.aggregation.type == AGGREGATIONS[kind]
    dataset, num_pids = DATASETS[data]
    assert cfg.model.head.num_pids == num_pids
    test = cfg.test_dataloader.dataset
    for part, subset in ((cfg.train_dataloader.dataset, 'train'),
                         (test.query, 'query'), (test.gallery, 'gallery')):
        assert (part.type, part.subset) == (dataset, subset)
        assert part.data_root == f'data/{"reid_demo" if data == "demo" else data}'
    frames = {'t2': 2, 't8': 8}.get(variant, 4)
    for part in (cfg.train_dataloader.dataset, test.query, test.gallery):
        assert step_of(part.pipeline, 'SampleTrackletFrames').num_frames == frames
    assert all(p.cfg.num_frames == frames for p in plugins_of(cfg))
    mode = step_of(cfg.train_dataloader.dataset.pipeline, 'SampleTrackletFrames').mode
    assert mode == ('random' if variant == 'random' else 'consecutive')
    for mask, off in (('with_channel', 'spatial'), ('with_spatial', 'channel')):
        assert all(p.cfg.get(mask, True) is (variant != off) for p in plugins_of(cfg))


@pytest.mark.parametrize('name', [
    name for name in CNN if 'demo' not in name and name not in STRONG])
def test_recipe_of_the_paper(name):
    cfg = load(name)
    loader, optimizer = cfg.train_dataloader, cfg.optim_wrapper.optimizer
    assert loader.batch_size == 32
    assert (loader.sampler.num_pids_per_batch, loader.sampler.num_tracklets_per_pid) \
        == (8, 4)
    lr = 1e-4 if '_rnn_' in name else 3e-4
    assert optimizer == dict(type='Adam', lr=lr, weight_decay=5e-4)
    assert cfg.train_cfg.max_epochs == 800
    assert cfg.param_scheduler == [
        dict(type='StepLR', by_epoch=True, step_size=200, gamma=0.1)]
    assert cfg.model.losses == dict(
        id=dict(type='IdentityLoss', label_smoothing=0.1),
        triplet=dict(type='BatchHardTripletLoss', margin=0.3))
    backbone = name.split('_cosam')[0] if '_cosam' in name else name
    weights = 'se_resnet50' if backbone.startswith('se_') else 'resnet50'
    assert cfg.model.backbone.init_cfg.checkpoint == f'imagenet://{weights}'
    train, test = loader.dataset.pipeline, cfg.test_dataloader.dataset.gallery.pipeline
    assert step_of(train, 'RandomTranslation2D').size == (256, 128)
    assert step_of(train, 'RandomFlipFrames').prob == 0.5
    assert step_of(test, 'SampleTrackletFrames').mode == 'all_clips'
    assert cfg.test_evaluator == dict(type='ReIDMetric', distance='euclidean')


@pytest.mark.parametrize('name', STRONG)
def test_recipe_of_the_strong_configs(name):
    """That of Luo et al., CVPRW 2019, on the same data as without it."""
    cfg, plain = load(name), load(
        name.replace('_ibn', '').removesuffix('_strong'))
    model = cfg.model
    assert (model.backbone.last_stride, model.neck.type, model.head.bias) \
        == (1, 'BNNeck', False)
    assert {kind: loss.type for kind, loss in model.losses.items()} == dict(
        id='IdentityLoss', triplet='BatchHardTripletLoss', center='CenterLoss')
    assert (model.losses.id.label_smoothing, model.losses.center.loss_weight) \
        == (0.1, 5e-4)
    steps = cfg.train_dataloader.dataset.pipeline
    erase = step_of(steps, 'RandomErasingFrames')
    assert erase == dict(type='RandomErasingFrames', prob=0.5, per_frame=True)
    plain.train_dataloader.dataset.pipeline.insert(-1, erase)
    assert cfg.train_dataloader == plain.train_dataloader
    assert cfg.test_dataloader == plain.test_dataloader
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator == dict(type='ReIDMetric', distance='cosine')
    if 'demo' in name:
        assert cfg.train_cfg == plain.train_cfg
    else:
        assert model.backbone.init_cfg.checkpoint == 'imagenet://resnet50_ibn_a'


@pytest.mark.parametrize('name', STRONG)
def test_centers_learn_at_ten_times_the_rate_without_decay(name):
    cfg = load(name) if 'demo' in name else shrink(load(name))
    model = MODELS.build(cfg.model)
    lr = 4e-3 if 'demo' in name else 3.5e-4
    for parameter, group in groups_of(model, cfg.optim_wrapper).items():
        centers = parameter is model.losses['center'].centers
        assert group['lr'] == pytest.approx(10 * lr if centers else lr)
        if parameter.requires_grad:
            assert group.get('weight_decay') == (0 if centers else 5e-4)


@pytest.mark.parametrize(('name', 'expected'), [
    ('resnet50_tp_mars', {0: 3e-4, 199: 3e-4, 200: 3e-5, 400: 3e-6, 799: 3e-7}),
    ('resnet50_ibn_tp_mars_strong', {
        0: 3.5e-5, 20: 1.925e-4, 40: 3.5e-4, 159: 3.5e-4, 160: 3.5e-5, 280: 3.5e-6}),
    ('resnet14_tp_demo_strong', {
        0: 1.6e-4, 45: 4e-3, 97: 2e-3, 149: 0.0})])
def test_the_rate_of_an_epoch(name, expected):
    """At the start of an epoch of 8 steps."""
    cfg = load(name)
    wrapper = build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper)
    schedulers = []
    for settings in cfg.param_scheduler:
        settings = dict(settings, optimizer=wrapper)
        if settings.pop('convert_to_iter_based', False):
            kind = PARAM_SCHEDULERS.get(settings.pop('type'))
            schedulers.append(kind.build_iter_from_epoch(**settings, epoch_length=8))
        else:
            schedulers.append(PARAM_SCHEDULERS.build(settings))
    for epoch in range(max(expected) + 1):
        if epoch in expected:
            assert wrapper.get_lr()['lr'][0] == pytest.approx(
                expected[epoch], rel=0.03, abs=2e-6 if 'strong' in name else 0), epoch
        for step in range(8):
            wrapper.optimizer.step()
            for scheduler in schedulers:
                if not scheduler.by_epoch or step == 7:
                    scheduler.step()


def test_clip_with_cosam_is_clip_and_cosam():
    plain, cosam = (load(f'clip_vitb16{part}_mars') for part in ('', '_cosam'))
    assert plain.model.backbone == dict(type='CLIPVision', init_cfg=dict(
        type='PretrainedCLIP', checkpoint='openai/clip-vit-base-patch16'))
    assert cosam.model.backbone == dict(
        type='PluggedBackbone', backbone=plain.model.backbone,
        input_shape=(4, 3, 256, 128), plugins=[dict(
            cfg=dict(type='COSAM'), after='vision_model.encoder.layers.8',
            layout='frame_tokens', grid=(4, 16, 8), num_prefix_tokens=1)])
    cosam.model.backbone = plain.model.backbone
    assert cosam.to_dict() == plain.to_dict()
    assert (plain.model.aggregation.type, plain.model.head.num_pids) \
        == ('TemporalPoolAggregation', 625)
    as_cnn = load('resnet50_tp_mars')
    for part in ('train_dataloader', 'test_dataloader', 'test_evaluator'):
        assert plain[part] == as_cnn[part]


@pytest.mark.parametrize('name', CLIP)
def test_recipe_of_clip(name):
    """CLIP's encoder at 5e-6, what is new at 1e-4; warm-up, then two falls."""
    needs(name)
    cfg = shrink(load(name))
    model = MODELS.build(cfg.model)
    by_parameter = groups_of(model, cfg.optim_wrapper)
    for parameter_name, parameter in model.named_parameters():
        rate = 5e-6 if '.vision_model.' in parameter_name else 1e-4
        assert by_parameter[parameter]['lr'] == pytest.approx(rate), parameter_name
    assert (cfg.train_cfg.max_epochs, cfg.optim_wrapper.optimizer.weight_decay) \
        == (160, 1e-4)
    warm_up, falls = cfg.param_scheduler
    assert (warm_up.type, warm_up.end, falls.type, falls.milestones) \
        == ('LinearLR', 16, 'MultiStepLR', [80, 130])


# -- sizes -------------------------------------------------------------------


@pytest.mark.parametrize('name', [
    name for name in CONFIGS
    if not any(data in name for data in ('dukemtmc', 'ilids', 'prid2011'))])
def test_the_full_size_model_takes_the_clips_of_its_pipeline(name):
    """Those of the other data sets have the same models."""
    needs(name)
    cfg = load(name)
    size = step_of(cfg.train_dataloader.dataset.pipeline, 'RandomTranslation2D').size
    model = build_hollow(cfg).eval()
    clips = torch.empty(1, 1, 3, frames_of(cfg), *size, device='meta')
    assert model(clips).shape == (1, model.aggregation.out_channels)


def count_operations(model, clips):
    """Multiply-adds of the layers in the backbone and in its plugins.

    Convolutions and linear layers, and batch norms at two an entry. COSAM's first
    summary convolution runs in another form here; it is counted as a convolution.
    """
    counts = dict(backbone=0, plugins=0)

    def count(part):
        def hook(layer, inputs, out):
            if isinstance(layer, nn.BatchNorm2d):
                counts[part] += 2 * out.numel()
            elif hasattr(layer, 'weight') and layer.weight.dim() >= 2:
                size = out.shape[1] if layer.weight.dim() > 2 else out.shape[-1]
                counts[part] += out.numel() // size * layer.weight.numel()
        return hook

    def whole(cosam, inputs, _):
        positions = inputs[0].shape[0] * inputs[0][0, 0].numel()
        counts['plugins'] += cosam.summary[0].weight.numel() * positions

    for name, layer in model.backbone.named_modules():
        part = 'plugins' if name.startswith('plugins.') else 'backbone'
        if not (part == 'plugins' and isinstance(layer, nn.BatchNorm2d)):
            layer.register_forward_hook(count(part))
        if type(layer).__name__ == 'COSAM':
            layer.register_forward_hook(whole)
    model.eval()(clips)
    return counts


def parameters_in_millions(name):
    cfg = load(name)
    cfg.model.head.num_pids = 150
    return sum(p.numel() for p in build_hollow(cfg).parameters()) / 1e6


@pytest.mark.filterwarnings('ignore:COSAM uses the weights:UserWarning')
@pytest.mark.parametrize('name', PAPER)
def test_parameters_and_operations_of_the_paper(name):
    """The paper counts one a multiply-add in the backbone and two in the attention.

    To a hundredth of a million: the paper cuts 26.2295 to 26.22. mmcv gives no biases
    to convolutions before batch norms; the paper's non-local blocks have these 3,072.
    """
    needs(name)
    assert parameters_in_millions(name) == pytest.approx(PAPER[name][0], abs=0.01)
    counts = count_operations(build_hollow(load(name)),
                              torch.empty(1, 1, 3, 4, 256, 128, device='meta'))
    total = counts['backbone'] + 2 * counts['plugins']
    assert total / 1e9 == pytest.approx(PAPER[name][1], rel=0.01)


# -- one step of each --------------------------------------------------------


def shrink(cfg):
    """The same model, narrow and for images of a quarter the side."""
    cfg.model.head.num_pids = 3
    if 'CLIP' in str(cfg.model.backbone):
        return shrink_clip(cfg)
    cfg.model.backbone.update(depth=14, base_channels=8, init_cfg=None)
    for plugin in plugins_of(cfg):
        if 'spatial_size' in plugin.cfg:
            plugin.cfg.spatial_size = [side // 4 for side in plugin.cfg.spatial_size]
    if 'spatial_size' in cfg.model.aggregation:
        cfg.model.aggregation.spatial_size = (2, 1)
    if 'hidden_channels' in cfg.model.aggregation:
        cfg.model.aggregation.hidden_channels = 16
    return cfg


def shrink_clip(cfg):
    backbone = cfg.model.backbone
    for plugin in plugins_of(cfg):
        plugin.grid = (4, 4, 2)
        backbone.input_shape = (4, 3, 64, 32)
        backbone = backbone.backbone
    backbone.update(hidden_channels=16, num_layers=9, num_heads=2, ffn_channels=32,
                    init_cfg=None)
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_config_trains_and_predicts(name):
    needs(name)
    torch.manual_seed(0)
    cfg = load(name)
    if 'demo' not in name:
        cfg = shrink(cfg)
    model = MODELS.build(cfg.model)
    model.init_weights()
    images = torch.randint(0, 256, (4, 1, 3, frames_of(cfg), 64, 32), dtype=torch.uint8)
    samples = [BaseDataElement(metainfo=dict(label=label)) for label in (0, 0, 1, 1)]
    losses, still = step_of_training(
        model, dict(inputs=list(images), data_samples=samples), cfg.optim_wrapper)
    assert set(losses) == {'loss', 'loss_id', 'loss_triplet', 'top1_acc'} | (
        {'loss_center'} if name in STRONG else set())
    assert torch.isfinite(losses['loss'])
    # A non-local block starts as nothing but a zero scale after it; biases of keys
    # move a softmax by nothing; a neck has no shift.
    assert all('.module.' in k or 'k_proj.bias' in k or k == 'neck.norm.bias'
               for k in still)
    with torch.no_grad():
        results = model.eval().test_step(dict(
            inputs=[images[0].expand(3, -1, -1, -1, -1), images[1]],
            data_samples=samples[:2]))
    assert [r.feature.shape for r in results] == 2 * [
        (model.aggregation.out_channels,)]
    assert all(torch.isfinite(r.feature).all() for r in results)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A tracklet of ten photographs, in pixels smaller than any config's."""
    folder = tmp_path_factory.mktemp('tracklet')
    rng = np.random.default_rng(0)
    paths = [str(folder / f'{k}.jpg') for k in range(10)]
    for path in paths:
        cv2.imwrite(path, rng.integers(0, 256, (40, 20, 3), dtype=np.uint8))
    return paths


def with_different_pipelines():
    """One config of each pair of pipelines."""
    names = {}
    for name in CONFIGS:
        cfg = _read(name)
        names.setdefault(str((cfg.train_dataloader.dataset.pipeline,
                              cfg.test_dataloader.dataset.query.pipeline)), name)
    return list(names.values())


@pytest.mark.parametrize('name', with_different_pipelines())
def test_pipelines_make_the_clips(name, images):
    cfg = load(name)
    frames = frames_of(cfg)
    size = (64, 32) if 'demo' in name else (256, 128)
    for part in (cfg.train_dataloader.dataset, cfg.test_dataloader.dataset.query):
        item = Compose([dict(step) for step in part.pipeline])(dict(
            img_paths=images, pid=1, label=0, camid=1, tracklet_id='a', dataset='x',
            subset=part.subset))
        num_clips = 1 if part.subset == 'train' else -(-10 // frames)
        assert item['inputs'].shape == (num_clips, 3, frames, *size)
        assert item['inputs'].dtype == torch.uint8
        assert item['data_samples'].label == 0


# -- numbers of the README ---------------------------------------------------


def readme_rows():
    """Config to millions of parameters and billions of multiply-adds."""
    text = (REID_DIR / 'README.md').read_text()
    rows = re.findall(r'\| `(\w+)` \| ([\d.]+) M \| ([\d.]+) G \|', text)
    return {f'{name}_mars' + ('_strong' if '_ibn' in name else ''):
            (float(m), float(g)) for name, m, g in rows}


@pytest.mark.parametrize('name', readme_rows())
def test_parameters_of_the_readme(name):
    needs(name)
    assert round(parameters_in_millions(name), 2) == readme_rows()[name][0]


def count_attention(inputs, outputs):
    """Each query meets each key, and each value: (M, heads, tokens, C / heads)."""
    frames, heads, tokens, channels = inputs[0].type().sizes()
    return 2 * frames * heads * tokens**2 * channels


@pytest.mark.slow
@pytest.mark.parametrize('name', readme_rows())
def test_multiply_adds_of_the_readme(name):
    needs(name)
    model = MODELS.build(load(name).model).eval()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the tracer's, about Python numbers
        flops = FlopAnalyzer(model, (torch.zeros(1, 1, 3, 4, 256, 128),))
        flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        flops.set_op_handle('aten::scaled_dot_product_attention', count_attention)
        assert round(flops.total() / 1e9, 2) == readme_rows()[name][1]
