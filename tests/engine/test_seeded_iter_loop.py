"""Trainings that count iterations get the same random numbers when they are resumed."""
import os
import signal
from contextlib import suppress

import pytest
import torch

from cosam_mm.engine.runner.stop_signals import TrainingStopped
from tests.engine.test_checkpoint_hook import Model, Noise, load
from tests.small_runs import Do, loader_of, small_runner

pytestmark = pytest.mark.usefixtures('clean_up_runs')


class Numbered(Noise):
    """A sample's index beside random numbers."""

    def __getitem__(self, index):
        return dict(inputs=index + torch.rand(4))


def make_runner(work_dir, sampler, workers=0, resume=False, hooks=()):
    loader = loader_of(Numbered(), 2, workers, sampler, shuffle=True)
    return small_runner(
        work_dir, Model(), dict(loader, persistent_workers=workers > 0),
        train_cfg=dict(by_epoch=False, max_iters=8), randomness=dict(seed=1),
        resume=resume, cfg=dict(), hooks=hooks,
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=.1), accumulative_counts=3),
        default_hooks=dict(
            checkpoint=dict(type='SafeCheckpointHook', interval=3, by_epoch=False),
            sampler_seed=dict(type='SeededSamplingHook')))


@pytest.fixture(autouse=True, scope='module')
def _no_rest():
    """mmengine sleeps for two seconds between two rounds through the data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
        yield


def batches_of(work_dir, *args, hooks=(), **kwargs):
    """Train; what each iteration has got."""
    seen = []
    look = Do('before_train_iter', lambda runner: None)
    look.before_train_iter = lambda runner, batch_idx, data_batch: seen.append(
        torch.stack(data_batch['inputs']))
    runner = make_runner(work_dir, *args, hooks=[look, *hooks], **kwargs)
    with suppress(TrainingStopped):
        runner.train()
    if runner.train_dataloader.num_workers:
        runner.train_dataloader._iterator._shutdown_workers()
    return seen


def stop(runner):
    if runner.iter == 4:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope='module', params=['InfiniteSampler', 'DefaultSampler'])
def calm(request, tmp_path_factory):
    """Sampler, folder, and what each iteration gets, of a training left alone."""
    folder = tmp_path_factory.mktemp('calm')
    return request.param, folder, batches_of(folder, request.param)


@pytest.mark.parametrize(('workers', 'later'), [(0, 0), (1, 0), (0, 1)])
def test_stopped_and_resumed(calm, tmp_path, workers, later):
    sampler, folder, expected = calm
    first = batches_of(tmp_path, sampler, workers,
                       hooks=[Do('before_train_iter', stop)])
    assert (tmp_path / 'iter_5.pth').exists()
    rest = batches_of(tmp_path, sampler, later, resume=True)
    assert (len(expected), len(first), len(rest)) == (8, 5, 3)
    assert torch.equal(torch.stack(first + rest), torch.stack(expected))
    one, other = (load(path / 'iter_8.pth') for path in (folder, tmp_path))
    for name, value in one['state_dict'].items():
        assert torch.equal(other['state_dict'][name], value), name


def test_each_round_gets_other_numbers(calm):
    """Three batches are one round: every sample once, never with the same numbers."""
    seen = torch.cat(calm[2][:6])
    for part in seen.floor().chunk(2):
        assert sorted(part[:, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    assert len(set(seen.frac()[:, 0].tolist())) == 12
