"""The config in a checkpoint is data, and builds only what is listed."""
import re
from contextlib import suppress
from importlib import import_module

import mmengine.registry
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, TRANSFORMS

from cosam_mm.utils.buildable_types import UnlistedType
from cosam_mm.utils.config_of_checkpoint import config_of_checkpoint


def unlisted(node):
    """Types inside of a config that are not built."""
    found = [node] if isinstance(node, UnlistedType) else []
    for inner in (node.values() if isinstance(node, dict) else
                  node if isinstance(node, (list, tuple)) else ()):
        found += unlisted(inner)
    return found


# -- data ----------------------------------------------------------------------


def test_every_shipped_config_survives(repo):
    files = sorted((repo / 'configs').glob('[!_]*.py')) + sorted(
        path for folder in ('reid', 'examples')
        for path in (repo / 'configs' / folder).glob('*.py'))
    assert len(files) > 120
    for file in files:
        cfg = Config.fromfile(file, format_python_code=False)  # as fast as can be
        text = cfg.pretty_text
        if 'timm' in text:
            cfg.model.backbone.backbone.pretrained = False  # no other weights
        found = config_of_checkpoint(text)
        assert found.to_dict() == cfg.to_dict()
        assert not unlisted(found.model)
        if file.parent.name != 'examples':  # their data sets are other packages'
            assert not unlisted(found.test_dataloader.dataset)


@pytest.mark.parametrize('value', [
    {'x.y': 1, 'class': [dict(b={'c d': dict(e=())})]}, {'1': 1, 2: None}, {'n/m': {}},
    [{'k.k': dict(z=1)}, {'type': 'timm.regnety_016'}], float('inf'), -float('inf'),
    (1,), {1, 2}, set(), b'x', 'a\n"\'\\b', [np.float64(1.5), np.int64(3)], 1j,
    range(3), [frozenset({1})], dict(type='torchvision.resnet18')])
def test_whatever_mmengine_can_write_survives(value):
    cfg = Config(dict(a=1, b=value, c=dict(d=value)))
    assert config_of_checkpoint(cfg.pretty_text).to_dict() == cfg.to_dict()


def test_a_single_name_with_a_dot():
    text = Config({'x.y': [1]}).pretty_text
    assert config_of_checkpoint(text).to_dict() == {'x.y': [1]}


@pytest.mark.parametrize(('kind', 'expected'), [
    ('mmaction.models.heads.i3d_head.I3DHead', 'mmaction.I3DHead'),
    ('torch.optim.adamw.AdamW', 'AdamW'), ('mmengine.dataset.DefaultSampler',
                                           'DefaultSampler')])
def test_classes_of_new_style_configs_become_registered_names(kind, expected):
    assert config_of_checkpoint(f'a = dict(type={kind!r})').a.type == expected


def test_plain_values_and_names_in_other_scopes():
    cfg = config_of_checkpoint(
        "a = -1.5e-3\nb = [True, None, (1, 'x')]\nc = {'type': 'X', 2: dict(d={})}\n"
        "d = [dict(type='mmaction.ResNet3dSlowOnly'), dict(type='mmcv.cnn.NonLocal3d')]"
    )
    assert cfg.to_dict() == dict(
        a=-1.5e-3, b=[True, None, (1, 'x')], c={'type': 'X', 2: dict(d={})},
        d=[dict(type='mmaction.ResNet3dSlowOnly'), dict(type='mmcv.cnn.NonLocal3d')])


def test_no_other_weights_are_fetched():
    cfg = config_of_checkpoint(
        "a = dict(type='mmpretrain.TIMMBackbone', pretrained=True, model_name='x')\n"
        "b = dict(pretrained='http://x', c=dict(pretrained=False), "
        'trust_remote_code=False)')
    assert cfg.a == dict(type='mmpretrain.TIMMBackbone', pretrained=False,
                         model_name='x')
    assert cfg.b == dict(pretrained=None, c=dict(pretrained=False),
                         trust_remote_code=False)


@pytest.mark.parametrize(('text', 'line', 'what'), [
    ("a = 1\nb = print('x')", 2, 'call'), ('a = dict(b=[dict(c=open)])', 1, 'value'),
    ('a = dict([(1, 2)])', 1, 'call'), ('a = range("x")', 1, 'value'),
    ("a = np.load('x')", 1, 'call'),
    ('a = dict(**{})', 1, 'call'),
    ('a = {**{}}', 1, 'value'), ('a = [x for x in (1, 2)]', 1, 'value'),
    ("a = f'{1}'", 1, 'value'), ('a = 1\n\nimport os', 3, 'setting'),
    ('a = b = 1', 1, 'setting'), ('a.b = 1', 1, 'setting'),
    ('a: int = 1', 1, 'setting'), ('print(1)', 1, 'setting'), ('a = (', 1, 'Python'),
    ('a = 1\nb = {[]: 1}', 2, 'value'), ('a = {(1, [2]): 1}', 1, 'value'),
    ('a = {1, []}', 1, 'value'), ('a = "\0"', 1, 'Python'),
    ('a = ' + '[' * 5000 + ']' * 5000, 1, 'Python'),
    ('a = ' + '-' * 100_000 + '1', 1, 'nested'), ('filename = 1', 1, 'filename'),
    ("a = 1\nb = dict(type='mmpretrain.AutoModel', trust_remote_code=True)", 2, 'hub'),
])
def test_anything_else_is_refused(text, line, what):
    with pytest.raises(ValueError, match=f'Line {line} .*{what}'):
        config_of_checkpoint(text)


# -- types ---------------------------------------------------------------------
# Each name was read, with its arguments: nothing opens what an argument names.

LISTED = set(re.findall(r'\w+', """
COSAM PluggedBackbone ClipAdapter FrameResNet FrameSEResNet I3D ResNeXt3D CLIPVision
BERTHead LSTMHead MeanHead VideoReID TrackletPreprocessor TemporalAttentionAggregation
TemporalPoolAggregation TemporalRNNAggregation BNNeck IdentityHead BatchHardTripletLoss
CircleLoss CenterLoss IdentityLoss Recognizer2D Recognizer3D ActionDataPreprocessor
ClsDataPreprocessor DetDataPreprocessor ResNet SEResNet ResNetTSM ResNet3d
ResNet3dSlowOnly ResNet2Plus1d SwinTransformer3D VisionTransformer I3DHead TSNHead
TimeSformerHead TSMHead AvgConsensus GlobalAveragePooling ImageClassifier LinearClsHead
FCOS FPN FCOSHead CrossEntropyLoss MixupBlending CutmixBlending RandomBatchAugment BN
BN1d BN2d BN3d SyncBN GN LN ReLU GELU LeakyReLU Conv1d Conv2d Conv3d Conv2plus1d
NonLocal3d Constant Normal TruncNormal Xavier Kaiming Pretrained PretrainedCLIP
ActionVideoDataset ActionFrameDataset VideoDataset RawframeDataset MARS
DukeMTMCVideoReID ILIDSVID PRID2011 TrackletFolder QueryGalleryDataset SafeDecordInit
SafeDecordDecode SafeRawFrameDecode LoadTrackletFrames SampleFrames UniformSample
SampleTrackletFrames Resize ResizeFrames CenterCrop TenCrop ThreeCrop FlowTenCrop
RandomCrop MultiScaleCrop RandomResizedCrop Flip FlowFlip RandomFlipFrames
RandomTranslation2D RandomErasingFrames ClipRandAugment ColorJitter FormatShape
PackActionInputs PackTrackletInputs"""))


def registries(root):
    yield root
    for child in root.children.values():
        yield from registries(child)


def test_no_other_registered_class_is_built():
    """Of all installed OpenMMLab packages, by every name that it has."""
    for module in ('mmaction', 'mmpretrain', 'mmcv', 'cosam_mm'):
        for room in ('models', 'datasets', 'evaluation', 'engine', 'visualization',
                     'transforms', 'cnn'):
            with suppress(ModuleNotFoundError):
                import_module(f'{module}.{room}')
    tried = 0
    for root in vars(mmengine.registry).values():
        if not isinstance(root, mmengine.registry.Registry):
            continue
        for registry in registries(root.root):
            for name in set(registry.module_dict) - LISTED:
                for kind in (name, f'{registry.scope}.{name}'):
                    if not re.fullmatch(r'[\w.]+', kind):
                        continue
                    try:
                        cfg = config_of_checkpoint(f'a = dict(type={kind!r})')
                    except ValueError:
                        continue  # refused as it is read
                    tried += 1
                    with pytest.raises(ValueError, match='out of a file'):
                        mmengine.registry.build_from_cfg(cfg.a, registry)
    assert tried > 1000


@pytest.mark.parametrize('text', [
    "type='os.system'", "type=['os.system']", "type='mmaction.mmcv.A.b'",
    "type='mmaction.mmcv'", "type='mmcv.cnn.utils.os'", "type='timm.create_model'",
    "type='evilmod'", "type='mmdet.X'", "type='mmpose.ResNet'",
    "type='ResNet', depth=50, _scope_='mmaction'", "type='CrossEntropyLoss', "
    "class_weight='pkl'", "type='ResNet', depth='a.pkl'", "type='timm.resnet18', "
    "checkpoint_path='a'", "type='torchvision.get_model', name='resnet18'",
    "type='COSAM', init_cfg='/etc/passwd'", "type='VideoDataset', ann_file='http://x'",
    "type='MARS', data_root='s3://x'", "type='Pretrained', checkpoint='x.pth'",
    "type='PretrainedCLIP', checkpoint='some/model'", "type='FormatShape', "
    "input_format=b'NCHW'", "type='Recognizer3D', train_cfg=dict(a=[dict(b='x/y')])",
    "type='DumpScores', out_file='a.npz'", "type='Resize', scale=1, backend='cv2'"])
def test_types_with_arguments_are_refused(text):
    cfg = config_of_checkpoint(f'a = dict({text})').a
    for registry in (MODELS, DATASETS, TRANSFORMS):
        with pytest.raises(ValueError, match='out of a file'):
            registry.build(cfg)
    assert cfg.type == str(cfg.type)  # for all that only looks


def test_no_module_stands_in_for_a_class_that_is_not_there(tmp_path, monkeypatch):
    """mmengine imports what has the name of no class, from this folder as well."""
    for name in ('FCOS', 'COSAM'):  # of MMDetection, and of this package
        (tmp_path / f'{name}.py').write_text('raise SystemExit("it ran")')
    (tmp_path / 'MARS').mkdir()  # data, not a module
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit):
        MODELS.get('FCOS')
    cfg = config_of_checkpoint("a = dict(type='FCOS')\nb = dict(type='COSAM')\n"
                               "c = dict(type='MARS')")
    with pytest.raises(ValueError, match='module'):
        MODELS.build(cfg.a)
    assert not unlisted([cfg.b, cfg.c])
