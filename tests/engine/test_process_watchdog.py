"""Processes whose launcher or partner is lost: ended in time, and with a clear word."""
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed
from mmengine.config import Config

from cosam_mm.engine.runner.distributed import connect_cpu_processes
from cosam_mm.engine.runner.process_watchdog import leave_when_lost
from tests.tool_process import ENVIRONMENT, REPO

SOON = 60  # seconds; far below the half hour that gloo waits by itself

# The first one works with the second, to which something happens.
PAIR = """
import os, signal, time
import torch
import torch.distributed as dist
from mmengine.config import Config
from cosam_mm.engine.runner.process_watchdog import leave_when_lost
from cosam_mm.engine.runner.distributed import connect_cpu_processes
from cosam_mm.utils.cli import one_line_errors

with one_line_errors(), leave_when_lost():
    connect_cpu_processes(Config(dict(
        launcher='pytorch', env_cfg=dict(dist_cfg={dist_cfg}))))
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
    for k in range(3):
        if dist.get_rank() == 1 and k == 2:
            os.kill(os.getpid(), signal.{signal})
        {work}
"""
REDUCE = 'dist.all_reduce(torch.ones(1))'
BACKWARD = 'model(torch.ones(1, 4)).sum().backward()'


def start(script, **environment):
    return subprocess.Popen(
        [sys.executable, str(script)], text=True, cwd=script.parent,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(ENVIRONMENT, PYTHONPATH=str(REPO), **environment))


@pytest.mark.parametrize(('number', 'dist_cfg', 'work', 'reason'), [
    ('SIGKILL', {}, REDUCE, 'Connection'), ('SIGKILL', {}, BACKWARD, 'Connection'),
    ('SIGSTOP', dict(timeout=2), REDUCE, 'Timed out waiting 2000ms')])
def test_partner_is_lost(tmp_path, number, dist_cfg, work, reason):
    script = tmp_path / 'script.py'
    script.write_text(PAIR.format(signal=number, dist_cfg=dist_cfg, work=work))
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = str(server.getsockname()[1])
    pair = [start(script, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2',
                  MASTER_ADDR='127.0.0.1', MASTER_PORT=port) for rank in range(2)]
    try:
        _, errors = pair[0].communicate(timeout=SOON)
    finally:
        for one in pair:
            one.kill()
            one.communicate()
    assert pair[0].returncode == 2, errors
    assert 'Traceback' not in errors
    assert 'error: Process 0 of 2' in errors
    assert '--resume' in errors
    assert reason in errors


LAUNCHER = """
import os, subprocess, sys
subprocess.run([sys.executable, sys.argv[1]],
               env=dict(os.environ, TORCHELASTIC_RUN_ID='none'))
"""
CHILD = """
import os, signal, time
from pathlib import Path
from cosam_mm.engine.runner.process_watchdog import end_with_launcher
if {is_deaf}:
    signal.signal(signal.SIGTERM, lambda *_: Path('heard').touch())
end_with_launcher(grace=1)
Path('pid.new').write_text(str(os.getpid()))
os.rename('pid.new', 'pid')
while True:
    time.sleep(0.1)
"""


def is_there(pid):
    try:
        return ') Z ' not in Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')
@pytest.mark.parametrize('is_deaf', [False, True])
def test_launcher_is_lost(tmp_path, is_deaf):
    """SIGTERM, and SIGKILL for who does not listen."""
    (tmp_path / 'child.py').write_text(CHILD.format(is_deaf=is_deaf))
    script = tmp_path / 'launcher.py'
    script.write_text(LAUNCHER)
    with open(tmp_path / 'errors', 'w') as errors:
        launcher = subprocess.Popen(
            [sys.executable, str(script), 'child.py'], cwd=tmp_path, stderr=errors,
            env=dict(ENVIRONMENT, PYTHONPATH=str(REPO)))
    end = time.monotonic() + SOON
    while not (tmp_path / 'pid').exists() and time.monotonic() < end:
        time.sleep(0.05)
    pid = int((tmp_path / 'pid').read_text())
    time.sleep(1)
    assert is_there(pid)  # so long as the launcher is
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    while is_there(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_there(pid)
    assert (tmp_path / 'heard').exists() == is_deaf
    assert (tmp_path / 'errors').read_text() == (
        f'The launcher (process {launcher.pid}) is gone: process {pid} stops.\n')


def test_other_errors_stay():
    with pytest.raises(RuntimeError, match='^of its own$'), leave_when_lost():
        raise RuntimeError('of its own')
    with pytest.raises(ValueError, match='gloo/'), leave_when_lost():
        raise ValueError('gloo/')


def test_other_backends_tell_by_a_class(monkeypatch, capsys):
    monkeypatch.setattr('os._exit', sys.exit)
    with pytest.raises(SystemExit, match='2'), leave_when_lost():
        raise torch.distributed.DistBackendError('aborted\nwhere')
    assert capsys.readouterr().err.endswith('torch says: aborted\n')


@pytest.mark.parametrize('timeout', [0, -1, '5 min'])
def test_timeout_must_be_seconds(monkeypatch, timeout):
    monkeypatch.setattr(
        'cosam_mm.engine.runner.distributed.get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match='env_cfg.dist_cfg.timeout must be a positive '
                                         f'number of seconds, got {timeout!r}'):
        connect_cpu_processes(Config(dict(
            launcher='pytorch', env_cfg=dict(dist_cfg=dict(timeout=timeout)))))


def test_all_configs_have_a_timeout(repo):
    for name in ('default_runtime.py', 'reid_runtime.py'):
        cfg = Config.fromfile(repo / 'configs/_base_' / name, import_custom_modules=0)
        assert cfg.env_cfg.dist_cfg.timeout == 1800
