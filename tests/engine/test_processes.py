"""Processes without GPUs: how they are connected, and that they end in peace."""
import pytest
import torch.distributed as dist
from mmengine.config import Config

from cosam_mm.engine.runner import distributed as processes
from cosam_mm.engine.runner.distributed import (
    connect_cpu_processes,
    disconnect_cpu_processes,
)
from tests.tool_process import run_pair

# Python would take the lock from a computing thread after 5 ms. With a longer interval
# a worker thread that wants it is sure to wait until the interpreter goes down.
SCRIPT = """
import sys
import torch
import torch.distributed as dist
from mmengine.config import Config
from cosam_mm.engine.runner.distributed import (
    connect_cpu_processes, disconnect_cpu_processes)

cfg = Config(dict(launcher='pytorch'))
connect_cpu_processes(cfg)
connect_cpu_processes(cfg)
sys.setswitchinterval(1000)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(64, 4))
model(torch.randn(8, 64)).sum().backward()
for _ in range(20):
    data = torch.full((2,), dist.get_rank())
    dist.broadcast(data, 1)
dist.barrier()
print(dist.get_world_size(), data.tolist(), cfg.model_wrapper_cfg.device_ids)
disconnect_cpu_processes()
assert not dist.is_initialized()
"""


def test_two_processes_end_in_peace(tmp_path):
    pair = run_pair(SCRIPT, tmp_path)
    for one in pair:
        assert one.returncode == 0, one.stderr
        assert one.stdout == '2 [1, 1] None\n'


@pytest.fixture
def connected(monkeypatch):
    """As after the first call, on a machine without GPUs."""
    monkeypatch.setattr(processes, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(dist, 'is_initialized', lambda: True)


@pytest.mark.parametrize(('given', 'changed'), [
    (dict(find_unused_parameters=True, model_wrapper_cfg=dict(bucket_cap_mb=1)),
     dict(model_wrapper_cfg=dict(
         type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None,
         find_unused_parameters=True, bucket_cap_mb=1))),
    (dict(strategy=dict(type='FSDPStrategy', model_wrapper=dict(limit_all_gathers=1))),
     dict(strategy=dict(type='FSDPStrategy', model_wrapper=dict(
         type='MMFullyShardedDataParallel', limit_all_gathers=1, device_id='cpu')))),
    (dict(strategy=dict(type='DeepSpeedStrategy')), {}),
    (dict(launcher='none'), {}), (dict(launcher='slurm'), {})])
def test_the_model_is_wrapped_for_a_cpu(connected, given, changed):
    given = dict(dict(launcher='pytorch'), **given)
    cfg = Config(dict(given))
    connect_cpu_processes(cfg)
    assert cfg.to_dict() == dict(given, **changed)


def test_nothing_is_done_with_gpus(monkeypatch):
    monkeypatch.setattr(processes, 'get_device', lambda: 'cuda')
    cfg = Config(dict(launcher='pytorch'))
    connect_cpu_processes(cfg)
    disconnect_cpu_processes()
    assert cfg.to_dict() == dict(launcher='pytorch')
    assert not dist.is_initialized()


@pytest.mark.parametrize('timeout', [0, -1, '5 min'])
def test_timeout_must_be_seconds(monkeypatch, timeout):
    monkeypatch.setattr(processes, 'get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match='timeout'):
        connect_cpu_processes(Config(dict(
            launcher='pytorch', env_cfg=dict(dist_cfg=dict(timeout=timeout)))))
