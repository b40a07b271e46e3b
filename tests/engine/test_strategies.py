"""Strategy files: they go with every schedule, and build."""
import pytest
from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS, RUNNERS, STRATEGIES
from torch.distributed.fsdp import StateDictType

from cosam_mm.engine.runner.strategies import (
    build_runner,
    fit_to_strategy,
    use_strategy,
)
from tests.tool_process import REPO

CONFIGS = ('resnext101_cosam_bert_hmdb51', 'reid/se_resnet50_cosam45_tp_mars',
           'resnext14_bert_demo')


def with_strategy(config, strategy, launcher='pytorch'):
    cfg = Config.fromfile(REPO / 'configs' / f'{config}.py')
    cfg.launcher = launcher
    use_strategy(cfg, REPO / 'configs' / '_base_' / 'strategies' / f'{strategy}.py')
    return cfg


@pytest.mark.parametrize('config', CONFIGS[:2])
def test_fsdp_builds(config, tmp_path):
    cfg = with_strategy(config, 'fsdp')
    before = cfg.optim_wrapper.to_dict()
    fit_to_strategy(cfg)
    assert cfg.optim_wrapper.to_dict() == before
    assert cfg.runner_type == 'FlexibleRunner'
    assert RUNNERS.get(cfg.runner_type) is not None
    strategy = STRATEGIES.build(dict(
        cfg.strategy, work_dir=str(tmp_path), env_kwargs=dict(launcher='none')))
    assert isinstance(strategy, FSDPStrategy)
    assert strategy.state_dict_type is StateDictType.FULL_STATE_DICT
    # On a CPU torch frees what it has "moved" there, and reads it after that.
    assert not strategy.state_dict_config.offload_to_cpu


@pytest.mark.parametrize(('config', 'moved'), [
    (CONFIGS[0], dict(gradient_accumulation_steps=16)),
    (CONFIGS[1], dict(gradient_accumulation_steps=1)),
    (CONFIGS[2], dict(gradient_accumulation_steps=1, gradient_clipping=5))])
def test_deepspeed_takes_over_what_the_wrapper_did(config, moved):
    cfg = with_strategy(config, 'deepspeed')
    optimizer = cfg.optim_wrapper.optimizer.to_dict()
    fit_to_strategy(cfg)
    assert cfg.optim_wrapper.to_dict() == dict(
        type='DeepSpeedOptimWrapper', optimizer=optimizer)
    assert cfg.strategy.to_dict() == dict(
        type='DeepSpeedStrategy', zero_optimization=dict(stage=1), **moved)
    assert cfg.strategy.type in STRATEGIES.module_dict
    assert cfg.optim_wrapper.type in OPTIM_WRAPPERS.module_dict


@pytest.mark.parametrize(('strategy', 'changes', 'message'), [
    ('deepspeed', {'optim_wrapper.clip_grad': dict(type='value', clip_value=2)},
     'max_norm'),
    ('fsdp', {}, 'clip_grad=None'),
    *((strategy, {'optim_wrapper.clip_grad': None, **change}, message)
      for strategy in ('fsdp', 'deepspeed') for change, message in (
          ({'launcher': 'none'}, 'dist_train'), ({'resume': True}, 'resume')))])
def test_what_a_strategy_cannot_do(strategy, changes, message):
    cfg = with_strategy(CONFIGS[2], strategy)
    for name, value in changes.items():
        owner, _, key = name.rpartition('.')
        (cfg[owner] if owner else cfg)[key] = value
    with pytest.raises(ValueError, match=message):
        fit_to_strategy(cfg)


def test_other_configs_and_files(tmp_path):
    cfg = Config.fromfile(REPO / 'configs' / f'{CONFIGS[2]}.py')
    for strategy in ({}, dict(strategy=dict(type='DDPStrategy'))):
        cfg.merge_from_dict(strategy)
        before = cfg.to_dict()
        fit_to_strategy(cfg)
        assert cfg.to_dict() == before
    (tmp_path / 'other.py').write_text("strategy = dict(type='FSDPStrategy')")
    with pytest.raises(ValueError, match='strategy'):
        use_strategy(Config(), tmp_path / 'other.py')


def test_the_text_of_a_config_is_laid_out_once(monkeypatch, tmp_path):
    """yapf takes up to a second, and mmengine asks several times a checkpoint."""
    from yapf.yapflib import reformatter
    calls, lay_out = [], reformatter.Reformat
    monkeypatch.setattr(reformatter, 'Reformat',
                        lambda *args, **rest: calls.append(1) or lay_out(*args, **rest))
    model = dict(type='COSAM', in_channels=8, num_frames=2, spatial_size=2)
    cfg = Config(dict(model=model, default_scope='mmengine', log_level='ERROR',
                      work_dir=str(tmp_path), experiment_name='text'))
    runner = build_runner(cfg)
    expected = cfg.pretty_text
    calls.clear()
    assert runner.cfg.pretty_text == expected
    assert not calls  # the log has it already
    runner.cfg.model.num_frames = 3
    assert 'num_frames=3' in runner.cfg.pretty_text
    assert len(calls) == 1
