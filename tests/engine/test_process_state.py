"""A checkpoint within an epoch holds the buffers and gradients of every process.

Two real processes; the second one is sent SIGTERM in the middle of an epoch. What each
has in its batch norm then differs, and what it has added up of a step over several
batches, and decides what the epoch ends with. One layer is used by the second alone.
"""
import pytest
import torch

from cosam_mm.utils.io import read_checkpoint

SCRIPT = """
import os, signal, sys
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import Runner
from cosam_mm.engine.runner.distributed import (
    connect_cpu_processes, disconnect_cpu_processes)
from cosam_mm.engine.runner.stop_signals import TrainingStopped
from cosam_mm.utils.io import read_checkpoint
from tests.engine import test_checkpoint_hook as small
from tests.engine.test_checkpoint_hook import Do, make_runner

connect_cpu_processes(Config(dict(launcher='pytorch')))
rank = dist.get_rank()


class Model(small.Model):

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)
        self.mix = torch.nn.Sequential(  # many numbers, to be rounded in many ways
            torch.nn.Linear(4, 99), torch.nn.Tanh(), torch.nn.Linear(99, 4))
        weight = self.mix[0].weight  # its gradient is laid out like it
        weight.data = weight.data.t().contiguous().t()
        self.rare, self.idle = torch.nn.PReLU(), torch.nn.PReLU()

    def forward(self, inputs, mode='tensor'):
        inputs = self.mix(self.norm(torch.stack(inputs)))
        if rank == 1:
            inputs = self.rare(inputs)
        return super().forward(list(inputs), mode)


def stop(runner):
    if stops and rank == 1 and runner.iter == 4:
        os.kill(os.getpid(), signal.SIGTERM)


small.Model = Model
small.NUM_BATCHES = 6  # 3 for each process
Runner.setup_env = lambda self, _: self.__dict__.update(
    _timestamp='now', _distributed=True, _rank=rank, _world_size=2)
wrap = Runner.wrap_model
Runner.wrap_model = lambda self, _, model: wrap(self, dict(
    type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
    find_unused_parameters=True), model)
for name, stops, resume in (('calm', 0, 0), ('stopped', 1, 0), ('stopped', 0, 1)):
    runner = make_runner(name, resume=bool(resume), scores=(1, 3, 2), counts=COUNTS,
                         hooks=[dict(type='SyncBuffersHook'),
                                Do('before_train_iter', stop)])
    try:
        runner.train()
        assert not stops
    except TrainingStopped:
        assert stops
        if rank == 0:
            kept = read_checkpoint('stopped/iter_5.pth').get(
                'gradients_of_processes', [])
            assert ['rare.weight' in one for one in kept] == [False, True][:len(kept)]
            assert not any('idle.weight' in one for one in kept)
            assert len(kept) == (2 if COUNTS > 1 else 0)
    with open(f'iters_{rank}', 'a') as file:
        print(runner.iter, file=file)
disconnect_cpu_processes()
"""


@pytest.mark.parametrize('counts', [1, 3])
def test_stopped_within_an_epoch(nest, tmp_path, counts):
    """Of a step over three batches, two are done."""
    pair = nest.run_pair(f'COUNTS = {counts}\n{SCRIPT}', tmp_path)
    for one in pair:
        assert one.returncode == 0, one.stderr
    # Both stopped after the fifth iteration, which had not ended yet for the loop.
    assert {(tmp_path / f'iters_{rank}').read_text() for rank in range(2)} == {
        '9\n4\n9\n'}
    assert 'goes on from' in pair[0].stdout
    assert 'iter_5.pth' in pair[0].stdout
    one, other = (read_checkpoint(tmp_path / name / 'epoch_3.pth')
                  for name in ('calm', 'stopped'))
    assert not torch.equal(one['state_dict']['norm.running_mean'], torch.zeros(4))
    torch.testing.assert_close(other['state_dict'], one['state_dict'], rtol=0, atol=0)
    torch.testing.assert_close(other['optimizer']['state'], one['optimizer']['state'],
                               rtol=0, atol=0)
    # The same in both at an epoch's end, and the training's end is a step's end.
    assert not {'buffers_of_processes', 'gradients_of_processes'} & other.keys()
