"""Two trainings in one work dir, as processes: the second is refused, not mixed in."""
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from cosam_mm.engine.runner.work_dir_lock import lock_work_dir, unlock_work_dir
from tests.tool_process import ENVIRONMENT, assert_refused

# With workers, which outlive the main process for some seconds.
WORKERS = ('train_dataloader.num_workers=1', 'train_dataloader.persistent_workers=True')
HOLD = """
import sys
from cosam_mm.engine.runner.work_dir_lock import lock_work_dir
lock_work_dir(sys.argv[1])
print('locked', flush=True)
sys.stdin.read()
"""


@contextmanager
def started(*command, **settings):
    with subprocess.Popen([sys.executable, *map(str, command)], text=True,
                          env=ENVIRONMENT, **settings) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_second_training_is_refused_and_a_test_is_not(
        nest, repo, tiny_config, demo_root, tmp_path):
    command = (repo / 'tools' / 'train.py', tiny_config, '--data-root', demo_root,
               '--split', 1, '--work-dir', tmp_path / 'run', '--cfg-options')
    checkpoint, config = tmp_path / 'run' / 'epoch_1.pth', tmp_path / 'run' / 'tiny.py'
    with started(*command, 'train_cfg.max_epochs=1000', *WORKERS, cwd=tmp_path,
                 stdout=subprocess.DEVNULL) as first:
        end = time.monotonic() + 120
        while not checkpoint.exists() and first.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.1)
        written = config.read_text()
        second = nest.run(*command, 'train_cfg.max_epochs=1', cwd=tmp_path)
        assert_refused(second, str(first.pid), 'train.py', '--work-dir')
        assert config.read_text() == written
        tested = nest.run(repo / 'tools' / 'test.py', *command[1:3], demo_root,
                          tmp_path / 'run' / 'epoch_1.pth', *command[4:8],
                          cwd=tmp_path)
        assert tested.returncode == 0, tested.stderr
        assert first.poll() is None
        first.send_signal(signal.SIGKILL)
        first.wait()
        resumed = nest.run(*command[:-1], '--resume', '--cfg-options',
                           'train_cfg.max_epochs=1', cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert 'goes on from' in resumed.stdout


def test_a_process_keeps_what_it_has(tmp_path):
    """Others get it when it unlocks; by another path it is the same folder."""
    (tmp_path / 'link').symlink_to(tmp_path)
    lock_work_dir(tmp_path)
    lock_work_dir(tmp_path / 'link')
    refused = subprocess.run([sys.executable, '-c', HOLD, str(tmp_path)], text=True,
                             env=ENVIRONMENT, capture_output=True, input='')
    assert f'process {os.getpid()} on' in refused.stderr.splitlines()[-1]
    unlock_work_dir(tmp_path / 'link')
    with started('-c', HOLD, tmp_path, stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == 'locked\n'
        with pytest.raises(ValueError, match=str(other.pid)):
            lock_work_dir(tmp_path)


@pytest.mark.parametrize('kind', ['pipe', 'link', 'folder'])
def test_a_lock_that_is_no_file_is_refused(tmp_path, kind):
    lock = tmp_path / 'run' / '.lock'
    lock.parent.mkdir()
    (tmp_path / 'thesis.tex').write_text('text')
    {'pipe': os.mkfifo, 'folder': os.mkdir,
     'link': lambda path: os.symlink(tmp_path / 'thesis.tex', path)}[kind](lock)
    with pytest.raises(ValueError, match=r'\.lock'):
        lock_work_dir(lock.parent)
    assert (tmp_path / 'thesis.tex').read_text() == 'text'


def test_without_locks_there_is_a_warning(run_python, tmp_path):
    status, out, err = run_python(f'''
        import sys
        sys.modules['fcntl'] = None  # as on Windows
        from cosam_mm.engine.runner.work_dir_lock import lock_work_dir, unlock_work_dir
        lock_work_dir({str(tmp_path)!r})
        unlock_work_dir({str(tmp_path)!r})
    ''')
    assert status == 0, err
    assert 'fcntl' in out + err
