"""What the command-line tools change in a config, and what they refuse."""
import pytest
from mmengine.config import Config

from cosam_mm.engine.runner.amp_optim_wrapper import CPUAmpOptimWrapper
from cosam_mm.engine.runner.distributed import connect_cpu_processes
from cosam_mm.utils import config as edits

HMDB51 = 'resnext101_cosam_bert_hmdb51.py'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture
def cfg(repo):
    return Config.fromfile(repo / 'configs' / HMDB51)


def datasets(cfg):
    return [cfg[name].dataset for name in LOADERS]


def test_split_and_data_root_reach_every_data_set(cfg):
    edits.set_split(cfg, 3)
    edits.set_data_root(cfg, 'my data')
    assert [(d.split, d.data_root) for d in datasets(cfg)] == [(3, 'my data')] * 3


def test_split_and_data_root_reach_into_wrappers(cfg):
    plain = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2,
        dataset=dict(type='ConcatDataset', datasets=[dict(plain), dict(plain)]))
    edits.set_split(cfg, 2)
    edits.set_data_root(cfg, 'x')
    wrapper = cfg.train_dataloader.dataset
    assert set(wrapper) == {'type', 'times', 'dataset'}
    assert [(d.split, d.data_root) for d in wrapper.dataset.datasets] == [(2, 'x')] * 2


def test_loaders_that_are_not_there_are_passed_over(cfg):
    edits.skip_validation(cfg)
    edits.set_split(cfg, 2)
    assert cfg.test_dataloader.dataset.split == 2


def test_split_of_a_data_set_without_splits():
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='VideoDataset'))))
    with pytest.raises(ValueError, match='--split: no data set of this config'):
        edits.set_split(cfg, 2)


@pytest.mark.parametrize(('own', 'split', 'expected'), [
    (None, None, 'work_dirs/some_config'), (None, 2, 'work_dirs/some_config/split2'),
    ('mine', None, 'mine'), ('mine', 3, 'mine/split3')])
def test_default_work_dir(own, split, expected):
    cfg = Config(dict(work_dir=own) if own else {})
    assert edits.default_work_dir(cfg, 'far/some_config.py', split) == expected


def test_force_reaches_the_guard(cfg):
    assert not cfg.custom_hooks[0].force
    edits.force_test(cfg)
    assert cfg.custom_hooks[0].force
    edits.force_test(Config({}))  # nothing to force


def test_skip_validation(cfg):
    cfg.param_scheduler.append(dict(type='LinearLR'))
    edits.skip_validation(cfg)
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert [scheduler['type'] for scheduler in cfg.param_scheduler] == ['LinearLR']
    assert 'save_best' not in cfg.default_hooks.checkpoint
    assert cfg.default_hooks.checkpoint.interval == 1


@pytest.mark.parametrize(('schedulers', 'expected'), [
    (dict(type='ReduceOnPlateauLR'), []), (dict(type='OneCycleLR'), ['OneCycleLR']),
    (None, [])])
def test_skip_validation_of_a_sparse_config(schedulers, expected):
    cfg = Config(dict(param_scheduler=schedulers))
    edits.skip_validation(cfg)
    assert [scheduler.type for scheduler in cfg.param_scheduler] == expected


def test_scale_learning_rate(cfg, repo):
    assert not cfg.auto_scale_lr.enable
    edits.scale_learning_rate(cfg)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=8)
    demo = Config.fromfile(repo / 'configs' / 'resnext14_cosam_bert_demo.py')
    with pytest.raises(ValueError, match='auto_scale_lr.base_batch_size=NUMBER'):
        edits.scale_learning_rate(demo)


def test_set_randomness_keeps_what_is_not_asked_for():
    cfg = Config(dict(randomness=dict(seed=5, deterministic=True)))
    edits.set_randomness(cfg, seed=None, diff_rank_seed=True, deterministic=False)
    assert cfg.randomness == dict(seed=5, diff_rank_seed=True, deterministic=True)
    edits.set_randomness(cfg, seed=0)
    assert cfg.randomness.seed == 0
    cfg = Config({})
    edits.set_randomness(cfg, seed=None)
    assert cfg.randomness == dict(seed=None)


@pytest.mark.parametrize(('averaged', 'score_type'), [
    (None, 'logit'), ('score', 'logit'), ('prob', 'prob')])
def test_dump_scores(cfg, averaged, score_type):
    if averaged:
        cfg.model.cls_head.average_clips = averaged
    edits.dump_scores(cfg, 'x.npz')
    assert cfg.test_evaluator == [
        dict(type='ActionMetric'),
        dict(type='DumpScores', out_file='x.npz', score_type=score_type)]
    assert cfg.val_evaluator == dict(type='ActionMetric')
    edits.dump_scores(cfg, 'y.npz')
    assert [one.get('out_file') for one in cfg.test_evaluator] == [
        None, 'x.npz', 'y.npz']


@pytest.mark.parametrize(('device', 'expected'), [
    ('cpu', 'CPUAmpOptimWrapper'), ('cuda', 'AmpOptimWrapper')])
def test_use_amp(cfg, monkeypatch, device, expected):
    monkeypatch.setattr(edits, 'get_device', lambda: device)
    edits.use_amp(cfg)
    edits.use_amp(cfg)  # nothing more
    assert cfg.optim_wrapper.type == expected
    assert cfg.optim_wrapper.get('loss_scale') == (
        'dynamic' if device == 'cuda' else None)
    assert cfg.optim_wrapper.accumulative_counts == 16


def test_use_amp_refuses_other_wrappers(cfg):
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(ValueError, match='OptimWrapper, got ApexOptimWrapper'):
        edits.use_amp(cfg)


def test_cpu_amp_computes_in_bfloat16():
    import torch
    model = torch.nn.Linear(3, 2)
    wrapper = CPUAmpOptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2)
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 3))
    assert out.dtype is torch.bfloat16
    wrapper.update_params(out.sum())
    wrapper.update_params(model(torch.ones(1, 3)).sum())
    assert model.weight.dtype is torch.float32
    assert set(wrapper.state_dict()) >= {'state', 'param_groups'}


def test_other_launchers_and_gpus_are_left_alone(cfg, monkeypatch):
    cfg.launcher = 'none'
    connect_cpu_processes(cfg)
    monkeypatch.setattr(
        'cosam_mm.engine.runner.distributed.get_device', lambda: 'cuda')
    cfg.launcher = 'pytorch'
    connect_cpu_processes(cfg)
    assert 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize(('name', 'shape'), [
    (HMDB51, (3, 64, 112, 112)), ('i3d_bert_ucf101_flow.py', (2, 64, 224, 224)),
    ('resnext14_bert_demo.py', (3, 32, 56, 56)),
    ('slowonly_r50_hmdb51.py', (3, 8, 224, 224)),
    ('tsn_r50_hmdb51.py', (3, 8, 224, 224))])
def test_input_shape(repo, name, shape):
    assert edits.input_shape(Config.fromfile(repo / 'configs' / name)) == shape


def test_input_shape_of_an_oblong_crop_and_of_none(cfg):
    pipeline = cfg.test_dataloader.dataset.pipeline
    crop = next(step for step in pipeline if step.type == 'TenCrop')
    crop.crop_size = (96, 48)  # (width, height)
    assert edits.input_shape(cfg) == (3, 64, 48, 96)
    pipeline.remove(crop)
    with pytest.raises(ValueError, match='give --shape C T H W'):
        edits.input_shape(cfg)


# -- the config in a checkpoint ----------------------------------------------


@pytest.mark.parametrize('name', [HMDB51, 'i3d_bert_ucf101_flow.py',
                                  'resnext14_cosam_bert_demo.py'])
def test_shipped_configs_survive(repo, name):
    cfg = Config.fromfile(repo / 'configs' / name)
    assert edits.config_of_checkpoint(cfg.pretty_text).to_dict() == cfg.to_dict()


def test_plain_values():
    cfg = edits.config_of_checkpoint(
        "a = -1.5e-3\nb = [True, None, (1, 'x')]\nc = {'type': 'X', 2: dict(d={})}")
    assert cfg.to_dict() == dict(
        a=-1.5e-3, b=[True, None, (1, 'x')], c={'type': 'X', 2: dict(d={})})


def test_no_other_weights_are_fetched():
    cfg = edits.config_of_checkpoint(
        "a = dict(type='mmpretrain.TIMMBackbone', pretrained=True, model_name='x')\n"
        "b = dict(pretrained='http://x', c=dict(pretrained=False), "
        'trust_remote_code=False)')
    assert cfg.a == dict(type='mmpretrain.TIMMBackbone', pretrained=False,
                         model_name='x')
    assert cfg.b == dict(pretrained=None, c=dict(pretrained=False),
                         trust_remote_code=False)


def test_names_in_the_scope_of_other_packages():
    for name in ('mmaction.ResNet3dSlowOnly', 'mmpretrain.TIMMBackbone',
                 'mmcv.cnn.NonLocal3d'):
        config = edits.config_of_checkpoint(f"a = dict(b=dict(type='{name}'))")
        assert config.a.b.type == name


@pytest.mark.parametrize(('text', 'line', 'what'), [
    ("a = 1\nb = print('x')", 2, r'has a call other than dict\(...\)'),
    ('a = dict(b=[dict(c=open)])', 1, 'has no plain value'),
    ('a = dict([(1, 2)])', 1, r'has a call other than dict\(...\)'),
    ('a = dict(**{})', 1, r'has a call other than dict\(...\)'),
    ('a = {**{}}', 1, 'has no plain value'),
    ('a = __import__', 1, 'has no plain value'),
    ('a = [x for x in (1, 2)]', 1, 'has no plain value'),
    ("a = f'{1}'", 1, 'has no plain value'),
    ('a = 1\n\nimport os', 3, 'is no plain setting'),
    ('a = b = 1', 1, 'is no plain setting'),
    ('a.b = 1', 1, 'is no plain setting'),
    ('a: int = 1', 1, 'is no plain setting'),
    ('print(1)', 1, 'is no plain setting'),
    ('a = (', 1, 'is no Python'),
    ("a = dict(type='os.system')", 1, r"asks for 'os.system'"),
    ("a = 1\nb = [{'type': 'os.system'}]", 2, r"asks for 'os.system'"),
    ("a = dict(type=['os.system'])", 1, r"asks for \['os.system'\]"),
    ("a = dict(type='mmaction.mmcv.A.b')", 1, "asks for 'mmaction.mmcv.A.b'"),
    ("a = dict(type='mmaction.mmcv')", 1, "asks for 'mmaction.mmcv'"),
    ("a = dict(type='subprocess.Popen')", 1, "asks for 'subprocess.Popen'"),
    ("a = dict(type='mmcv.cnn.utils.os')", 1, "asks for 'mmcv.cnn.utils.os'"),
    ('a = 1\nb = {[]: 1}', 2, 'has no plain value'),
    ('a = {(1, [2]): 1}', 1, 'has no plain value'),
    ('a = {1, []}', 1, 'has no plain value'),
    ('a = "\0"', 1, 'is no Python'),
    ('a = ' + '[' * 5000 + ']' * 5000, 1, 'is no Python'),
    ('a = ' + '-' * 100_000 + '1', 1, 'begins what is nested too deeply'),
    ('filename = 1', 1,
     'begins a config in which filename is reserved for config file'),
    ("a = 1\nb = dict(type='mmpretrain.AutoModel', trust_remote_code=True)", 2,
     'asks to run the code of a hub'),
])
def test_anything_else_is_refused(text, line, what):
    message = (f"Line {line} of the checkpoint's config {what}, and it is read as data "
               'only: give the config file')
    with pytest.raises(ValueError, match=message):
        edits.config_of_checkpoint(text)
