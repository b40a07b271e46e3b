"""Processes whose launcher or partner is lost: ended in time, and with a clear word."""
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch.distributed

from cosam_mm.engine.runner.process_watchdog import leave_when_lost

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


@pytest.mark.parametrize(('number', 'dist_cfg', 'work', 'reason'), [
    ('SIGKILL', {}, 'model(torch.ones(1, 4)).sum().backward()', 'Connection'),
    ('SIGSTOP', dict(timeout=2), 'dist.all_reduce(torch.ones(1))', '2000ms')])
def test_partner_is_lost(nest, tmp_path, number, dist_cfg, work, reason):
    script = PAIR.format(signal=number, dist_cfg=dist_cfg, work=work)
    start = time.monotonic()
    main, _ = nest.run_pair(script, tmp_path, kill=True)
    assert time.monotonic() - start < SOON
    assert main.returncode == 2, main.stderr
    assert 'Traceback' not in main.stderr
    for part in ('error: Process 0 of 2', '--resume', reason):
        assert part in main.stderr


LAUNCHER = """
import os, signal, time
from pathlib import Path
from cosam_mm.engine.runner.process_watchdog import end_with_launcher

os.environ['TORCHELASTIC_RUN_ID'] = 'none'
children = []
for name in ('plain', 'deaf'):
    children.append(os.fork())
    if children[-1] == 0:
        os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY), 2)
        if name == 'deaf':
            signal.signal(signal.SIGTERM, lambda *_: Path('heard').touch())
        end_with_launcher(grace=1)
        while True:
            time.sleep(0.05)
time.sleep(1)
# They live so long as the launcher does.
assert [os.waitpid(child, os.WNOHANG) for child in children] == [(0, 0)] * 2
print(*children, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_there(pid):
    try:
        return ') Z ' not in Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')
def test_launcher_is_lost(nest, tmp_path):
    """SIGTERM, and SIGKILL for who does not listen."""
    done = nest.run_code(LAUNCHER, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    children, end = [int(pid) for pid in done.stdout.split()], time.monotonic() + SOON
    try:
        while any(map(is_there, children)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(map(is_there, children))
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    assert (tmp_path / 'heard').exists()
    for name, child in zip(('plain', 'deaf'), children):
        assert f'process {child} stops' in (tmp_path / name).read_text()


def test_other_errors_stay_and_other_backends_tell_by_a_class(monkeypatch, capsys):
    for error in (RuntimeError('of its own'), ValueError('gloo/')):
        with pytest.raises(type(error), match=str(error)), leave_when_lost():
            raise error
    monkeypatch.setattr('os._exit', sys.exit)
    with pytest.raises(SystemExit, match='2'), leave_when_lost():
        raise torch.distributed.DistBackendError('aborted\nwhere')
    assert capsys.readouterr().err.endswith('torch says: aborted\n')
