"""Trainings that count iterations draw the same after they were stopped."""
import os
import signal

import pytest
import torch
from mmengine.runner import Runner

from cosam_mm.engine.runner.stop_signals import TrainingStopped
from tests.engine.test_checkpoint_hook import COUNTER, Do, Model, Noise, load


class Numbered(Noise):
    """A sample's index beside what it draws."""

    def __getitem__(self, index):
        return dict(inputs=index + torch.rand(4))


def make_runner(work_dir, sampler, workers=0, resume=False, hooks=()):
    return Runner(
        model=Model(), work_dir=str(work_dir), resume=resume, cfg=dict(),
        train_dataloader=dict(
            batch_size=2, num_workers=workers, persistent_workers=workers > 0,
            dataset=Numbered(), sampler=dict(type=sampler),
            collate_fn=dict(type='pseudo_collate')),
        train_cfg=dict(by_epoch=False, max_iters=8), randomness=dict(seed=1),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=.1), accumulative_counts=3),
        default_hooks=dict(
            checkpoint=dict(type='SafeCheckpointHook', interval=3, by_epoch=False),
            sampler_seed=dict(type='SeededSamplingHook')),
        visualizer=dict(type='Visualizer', name=f'safe {next(COUNTER)}',
                        vis_backends=[dict(type='FaultTolerantVisBackend')]),
        custom_hooks=list(hooks), experiment_name=f'safe {next(COUNTER)}',
        default_scope='mmengine')


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch):
    """mmengine sleeps for two seconds between two rounds through the data."""
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)


def batches_of(work_dir, *args, **kwargs):
    """Train; what each iteration has got."""
    seen = []
    look = Do('before_train_iter', lambda runner: None)
    look.before_train_iter = lambda runner, batch_idx, data_batch: seen.append(
        torch.stack(data_batch['inputs']))
    hooks = [look, *kwargs.pop('hooks', ())]
    try:
        make_runner(work_dir, *args, hooks=hooks, **kwargs).train()
    except TrainingStopped:
        seen.append(None)
    return seen


def stop(runner):
    if runner.iter == 4:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
@pytest.mark.parametrize(('workers', 'later'), [(0, 0), (1, 0), (0, 1)])
def test_stopped_and_resumed(tmp_path, sampler, workers, later):
    calm = batches_of(tmp_path / 'calm', sampler)
    first = batches_of(tmp_path / 'stopped', sampler, workers,
                       hooks=[Do('before_train_iter', stop)])
    assert first.pop() is None
    assert (tmp_path / 'stopped' / 'iter_5.pth').exists()
    rest = batches_of(tmp_path / 'stopped', sampler, later, resume=True)
    assert (len(calm), len(first), len(rest)) == (8, 5, 3)
    assert torch.equal(torch.stack(first + rest), torch.stack(calm))
    one, other = (load(tmp_path / name / 'iter_8.pth') for name in ('calm', 'stopped'))
    for name, value in one['state_dict'].items():
        assert torch.equal(other['state_dict'][name], value), name


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_each_round_draws_anew(tmp_path, sampler):
    """Three batches are one round: every sample once, never with the same draws."""
    seen = torch.cat(batches_of(tmp_path, sampler)[:6])
    indices, draws = seen.floor(), seen.frac()
    for part in indices.chunk(2):
        assert sorted(part[:, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    assert len(set(draws[:, 0].tolist())) == 12
