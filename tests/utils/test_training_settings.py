"""Settings of a training that are said once and reach every place."""
import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import ReduceOnPlateauLR
from mmengine.registry import PARAM_SCHEDULERS

from cosam_mm.engine.runner.amp_optim_wrapper import CPUAmpOptimWrapper
from cosam_mm.utils import training_settings as settings
from cosam_mm.utils.config import check_classes

HMDB51 = 'resnext101_cosam_bert_hmdb51.py'
MARS = 'reid/se_resnet50_cosam45_tp_mars.py'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
BATCHES = 10  # of an epoch


# -- how long ------------------------------------------------------------------


def learning_rates(cfg):
    """Learning rate of each iteration, as mmengine's own schedules set it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))],
                                lr=cfg.optim_wrapper.optimizer.lr)
    schedules = []
    for each in copy.deepcopy(cfg.param_scheduler):
        kind = PARAM_SCHEDULERS.get(each.pop('type'))
        is_converted = each.pop('convert_to_iter_based', False)
        schedules.append(kind.build_iter_from_epoch(
            optimizer=optimizer, epoch_length=BATCHES, **each) if is_converted
            else kind(optimizer, **each))
    rates = []
    for step in range(1, cfg.train_cfg.max_epochs * BATCHES + 1):
        optimizer.step()
        rates.append(optimizer.param_groups[0]['lr'])
        for schedule in schedules:
            if not schedule.by_epoch or step % BATCHES == 0:
                schedule.step()
    return torch.tensor(rates, dtype=torch.double)


@pytest.mark.parametrize(('name', 'times'), [
    ('demo', 0.2), ('demo_strong', 1 / 3), ('reid', 0.2), ('reid_clip', 2),
    ('reid_demo', 2), ('reid_demo_strong', 0.2), ('reid_strong', 0.2), ('strong', 0.2),
    ('strong', 2), ('video_transformer', 2)])
def test_schedule_keeps_its_shape(read, name, times):
    cfg = read(f'_base_/schedules/{name}.py')
    before = learning_rates(cfg)
    epochs = round(cfg.train_cfg.max_epochs * times)
    settings.set_epochs(cfg, epochs)
    assert cfg.train_cfg.max_epochs == epochs
    assert settings.check_schedule(cfg) is None
    after = learning_rates(cfg)
    assert len(after) == epochs * BATCHES
    # At the same part of the training, but for a step of a coarser grid.
    place = ((torch.arange(len(after)) + 0.5) / times).long()
    assert (after / before[place] - 1).abs().median() < 0.05
    torch.testing.assert_close(after[-1], before[-1], rtol=1, atol=3e-3 * before.max())


def test_plateau_and_validation_follow(cfg):
    settings.set_epochs(cfg, 40)
    assert cfg.param_scheduler[0].patience == 1
    settings.set_epochs(cfg, 400)
    assert cfg.param_scheduler[0].patience == 1
    cfg.train_cfg.val_interval = 50
    settings.set_epochs(cfg, 3)
    assert cfg.train_cfg.val_interval == 3
    kind = dict(cfg.param_scheduler[0])
    assert kind.pop('type') == ReduceOnPlateauLR.__name__


def test_warm_up_that_is_rounded_to_nothing_is_left_out(read):
    cfg = read('_base_/schedules/strong.py')
    settings.set_epochs(cfg, 2)
    assert [one.type for one in cfg.param_scheduler] == ['CosineAnnealingLR']
    assert len(learning_rates(cfg)) == 2 * BATCHES


@pytest.mark.parametrize(('schedule', 'epochs', 'word'), [
    ('demo', 2, 'stays high'), ('demo_strong', 20, 'stays high'), ('demo', 30, None),
    ('reid', 20, None)])
def test_training_of_another_length_than_its_schedule(read, schedule, epochs, word):
    cfg = read(f'_base_/schedules/{schedule}.py')
    cfg.train_cfg.max_epochs = epochs
    problem = settings.check_schedule(cfg)
    assert (word in problem) if word else problem is None
    settings.set_epochs(cfg, epochs)  # as is advised
    assert settings.check_schedule(cfg) is None
    rates = learning_rates(cfg)
    assert word is None or rates[-1] < 0.05 * rates.max()


def test_training_longer_than_one_cycle_is_refused(read):
    cfg = read('_base_/schedules/demo.py')
    cfg.train_cfg.max_epochs = 31
    with pytest.raises(ValueError, match='--epochs 31'):
        settings.check_schedule(cfg)


@pytest.mark.parametrize(('loop', 'epochs'), [
    (dict(max_iters=100), 2), (dict(max_epochs=9), 0), (dict(max_epochs=9), '3')])
def test_number_of_epochs_that_there_is_not(loop, epochs):
    with pytest.raises(ValueError, match='epochs|max_iters'):
        settings.set_epochs(Config(dict(train_cfg=loop)), epochs)


def test_learning_rate_moves_the_peak_of_the_schedule(read):
    cfg = read('_base_/schedules/demo.py')
    before = learning_rates(cfg)
    settings.set_learning_rate(cfg, cfg.optim_wrapper.optimizer.lr / 4)
    torch.testing.assert_close(learning_rates(cfg), before / 4)
    with pytest.raises(ValueError, match='--lr'):
        settings.set_learning_rate(Config(dict(optim_wrapper=dict(
            constructor='x'))), 0.1)


# -- batches and workers -------------------------------------------------------


def test_batch_size(read):
    cfg = read(HMDB51)
    settings.set_batch_size(cfg, 3)
    assert [cfg[name].batch_size for name in LOADERS] == [3, 4, 1]
    cfg = read(MARS)
    settings.set_batch_size(cfg, 12)
    assert cfg.train_dataloader.batch_size == 12
    assert cfg.train_dataloader.sampler.num_pids_per_batch == 3
    with pytest.raises(ValueError, match=' 12 works'):
        settings.set_batch_size(cfg, 14)


def test_no_workers(cfg):
    cfg.train_dataloader.prefetch_factor = 4
    settings.set_workers(cfg, 0)
    settings.fit_workers(cfg)
    for name in LOADERS:
        loader = dict(cfg[name], dataset=[1, 2])
        del loader['sampler']
        assert list(torch.utils.data.DataLoader(**loader))


# -- classes, frames, weights --------------------------------------------------


def test_number_of_classes_reaches_every_place(read):
    cfg = read('resnext101_cosam_bert_hmdb51_strong.py')
    settings.set_num_classes(cfg, 7)
    check_classes(cfg, 'train', 'val', 'test')
    assert cfg.model.cls_head.num_classes == 7
    with pytest.raises(ValueError, match='num_pids'):
        settings.set_num_classes(read(MARS), 7)


@pytest.mark.parametrize(('name', 'frames', 'clip', 'inside'), [
    (HMDB51, 32, 'clip_len', dict(num_frames=4, num_tokens=2)),
    (MARS, 8, 'num_frames', dict(num_frames=8)),
    ('tsm_r50_cosam_hmdb51.py', 16, 'num_clips', dict(num_segments=16)),
    ('slowonly_r50_cosam_hmdb51.py', 16, 'clip_len', dict(input_shape=16))])
def test_frames_reach_every_place(read, name, frames, clip, inside):
    cfg = read(name)
    settings.set_frames(cfg, frames)
    text = cfg.pretty_text
    for loader in LOADERS:
        dataset = cfg[loader].dataset
        for part in (dataset.get('query', dataset), dataset.get('gallery', dataset)):
            sampling = next(step for step in part.pipeline if clip in step)
            assert sampling[clip] == frames
    for key, value in inside.items():
        if key == 'input_shape':
            assert cfg.model.backbone.input_shape[2] == value
        else:
            assert f'{key}={value}' in text.split('model = ')[1]


def test_frames_that_do_not_come_out_even(cfg):
    before = cfg.to_dict()
    with pytest.raises(ValueError, match='num_frames.*num_tokens.* 128'):
        settings.set_frames(cfg, 40 + 2)
    assert cfg.to_dict() == before


def test_frozen_stages(read):
    for name in (HMDB51, 'tsn_r50_cosam_hmdb51.py', MARS):
        cfg = read(name)
        settings.freeze_stages(cfg, 2)
        assert 'frozen_stages=2' in cfg.pretty_text
    cfg = read('examples/timm_regnety_cosam_hmdb51.py')
    with pytest.raises(ValueError, match='frozen_stages'):
        settings.freeze_stages(cfg, 2)


# -- the rest of a command line ------------------------------------------------


def test_skip_validation(cfg):
    cfg.param_scheduler.append(dict(type='LinearLR'))
    settings.skip_validation(cfg)
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert [scheduler['type'] for scheduler in cfg.param_scheduler] == ['LinearLR']
    assert 'save_best' not in cfg.default_hooks.checkpoint
    assert cfg.default_hooks.checkpoint.interval == 1


@pytest.mark.parametrize(('schedulers', 'expected'), [
    (dict(type='ReduceOnPlateauLR'), []), (dict(type='OneCycleLR'), ['OneCycleLR']),
    (None, [])])
def test_skip_validation_of_a_sparse_config(schedulers, expected):
    cfg = Config(dict(param_scheduler=schedulers))
    settings.skip_validation(cfg)
    assert [scheduler.type for scheduler in cfg.param_scheduler] == expected


def test_scale_learning_rate(cfg):
    assert not cfg.auto_scale_lr.enable
    settings.scale_learning_rate(cfg)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=8)
    with pytest.raises(ValueError, match='base_batch_size'):
        settings.scale_learning_rate(Config({}))


def test_set_randomness_keeps_what_is_not_asked_for():
    cfg = Config(dict(randomness=dict(seed=5, deterministic=True)))
    settings.set_randomness(cfg, seed=None, diff_rank_seed=True, deterministic=False)
    assert cfg.randomness == dict(seed=5, diff_rank_seed=True, deterministic=True)
    settings.set_randomness(cfg, seed=0)
    assert cfg.randomness.seed == 0
    cfg = Config({})
    settings.set_randomness(cfg, seed=None)
    assert cfg.randomness == dict(seed=None)


@pytest.mark.parametrize(('device', 'expected'), [
    ('cpu', 'CPUAmpOptimWrapper'), ('cuda', 'AmpOptimWrapper')])
def test_use_amp(cfg, monkeypatch, device, expected):
    monkeypatch.setattr(settings, 'get_device', lambda: device)
    settings.use_amp(cfg)
    settings.use_amp(cfg)  # nothing more
    assert cfg.optim_wrapper.type == expected
    assert cfg.optim_wrapper.get('loss_scale') == (
        'dynamic' if device == 'cuda' else None)
    assert cfg.optim_wrapper.accumulative_counts == 16
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(ValueError, match='ApexOptimWrapper'):
        settings.use_amp(cfg)


def test_cpu_amp_computes_in_bfloat16():
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
