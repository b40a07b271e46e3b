"""``tools/dist_train.sh`` and ``tools/dist_test.sh``: two processes on one machine."""
import re
import socket
import sys

import numpy as np
import pytest
import torch

from cosam_mm.evaluation.action import load_scores
from tests.tool_process import run_fresh


def free_port() -> str:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


def run_script(repo, name, *arguments, cwd):
    return run_fresh('bash', repo / 'tools' / name, *arguments, cwd=cwd,
                     PYTHON=sys.executable, PORT=free_port())


@pytest.mark.slow
def test_two_processes_train(repo, tiny_config, demo_root, tmp_path):
    done = run_script(repo, 'dist_train.sh', tiny_config, 2, '--data-root', demo_root,
                      '--seed', 0, '--cfg-options', 'train_cfg.max_epochs=1',
                      'train_dataloader.batch_size=1', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Four clips, two processes of one clip each: two batches.
    assert 'Epoch(train) [1][2/2]' in done.stdout
    assert 'Epoch(train) [1][3/' not in done.stdout
    assert re.search(r'Epoch\(val\) \[1\]\[1/1\] +acc/top1', done.stdout)
    assert 'Distributed launcher: pytorch' in done.stdout
    state_dict = torch.load(tmp_path / 'work_dirs' / 'tiny' / 'epoch_1.pth',
                            weights_only=True)['state_dict']
    assert not any(name.startswith('module.') for name in state_dict)


@pytest.mark.slow
def test_two_processes_test_as_one_does(
        repo, nest, trained, tiny_config, demo_root, tmp_path):
    """Three clips on two processes: one of them has to repeat a clip."""
    (demo_root / 'three.txt').write_text(
        ''.join(f'class {k % 2}/clip (a&b) {k}.avi {k % 2}\n' for k in range(3)))
    arguments = (tiny_config, trained / 'epoch_2.pth')
    options = ('--data-root', demo_root, '--cfg-options',
               'test_dataloader.dataset.ann_file=three.txt',
               'test_dataloader.batch_size=1')

    done = run_script(repo, 'dist_test.sh', *arguments, 2, '--dump', 'two.npz',
                      *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = nest.run('tools/test.py', *arguments, '--dump', 'one.npz', *options,
                     cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr

    figures = [re.findall(r'acc/\w+: [\d.]+', log.stdout) for log in (done, alone)]
    assert len(figures[0]) == 4
    assert figures[0] == figures[1]
    two, one = (load_scores(tmp_path / name) for name in ('two.npz', 'one.npz'))
    assert two['sample_id'].tolist() == one['sample_id'].tolist()
    np.testing.assert_allclose(two['score'], one['score'], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('script', 'arguments'), [
    ('dist_train.sh', ['x.py']), ('dist_test.sh', ['x.py', 'x.pth'])])
def test_usage(repo, tmp_path, script, arguments):
    done = run_script(repo, script, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f'usage: bash tools/{script} CONFIG ')
