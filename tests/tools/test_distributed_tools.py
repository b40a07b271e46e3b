"""``tools/dist_*.sh`` with two processes, beside one process with twice the batch.

Equal figures need models whose processes compute the same: batch norms with fixed
statistics, no dropout, the same pixels every time.
"""
import json
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.evaluation.metrics.action_metric import load_scores
from tests.tool_process import ENVIRONMENT, LIMIT, REPO, run_fresh

PLAIN = """
train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=.01, momentum=.9))
param_scheduler = [dict(type='MultiStepLR', milestones=[1])]
in_process = dict(num_workers=0, persistent_workers=False)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""
ACTION = """
_base_ = [{base!r}]
model = dict(
    backbone=dict(norm_eval=True),
    cls_head=dict(
        dropout_ratio=0, temporal=dict(dropout_ratio=0, token_drop_ratio=0)))
train_dataloader = dict(
    batch_size=2, dataset=dict(pipeline={{{{_base_.test_pipeline}}}}), **in_process)
"""
REID = """
_base_ = [{base!r}]
model = dict(
    backbone=dict(base_channels=8, norm_eval=True), head=dict(num_pids=8))
train_dataloader = dict(
    batch_size=8, sampler=dict(num_pids_per_batch=4, num_tracklets_per_pid=2),
    dataset=dict(pipeline=[
        dict(type='SampleTrackletFrames', num_frames=4, mode='even'),
        {{{{_base_.load_train}}}}, {{{{_base_.resize}}}}, {{{{_base_.pack}}}}]),
    **in_process)
"""
FIXED = """
val_dataloader = in_process
test_dataloader = in_process
"""


def free_port() -> str:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


def run_script(name, *arguments, cwd, **environment):
    return run_fresh('bash', REPO / 'tools' / name, *arguments, cwd=cwd,
                     **{'PYTHON': sys.executable, 'PORT': free_port(), **environment})


def write_config(path, text, base):
    text = text.format(base=str(REPO / 'configs' / base))
    head, _, rest = text.lstrip().partition('\n')
    path.write_text(head + PLAIN + rest + FIXED)
    return path


def curves(work_dir):
    """(what each step logged, what the validations said), numbers by name."""
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [{name: value for name, value in entry.items()
              if 'loss' in name or name == 'top1_acc'}
             for entry in entries if 'loss' in entry]
    checks = [{name: value for name, value in entry.items()
               if name.startswith(('acc/', 'reid/'))}
              for entry in entries if 'loss' not in entry]
    return steps, checks


def assert_same_training(work_dir, expected_dir, num_steps):
    """The same curves, figures and weights in the end."""
    (steps, checks), (expected_steps, expected_checks) = map(
        curves, (work_dir, expected_dir))
    assert len(steps) == len(expected_steps) == num_steps
    assert steps[0]['loss'] != pytest.approx(steps[-1]['loss'], rel=1e-2)
    for step, expected in zip(steps, expected_steps):
        assert step == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert len(checks) == len(expected_checks) == 1
    assert expected_checks[0]
    assert checks[0] == pytest.approx(expected_checks[0], rel=1e-4)
    assert_same_weights(work_dir, expected_dir)


def assert_same_weights(work_dir, expected_dir):
    weights, expected = (
        torch.load(path / 'epoch_2.pth', weights_only=True)['state_dict']
        for path in (work_dir, expected_dir))
    assert weights.keys() == expected.keys()
    weights, expected = (
        torch.cat([state[name].double().flatten() for name in expected])
        for state in (weights, expected))
    error = torch.linalg.vector_norm(weights - expected)
    assert error <= 2e-5 * torch.linalg.vector_norm(expected)


# -- the same curves ---------------------------------------------------------


@pytest.fixture(scope='module')
def action_config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp('config') / 'action.py', ACTION,
                        'resnext14_bert_demo.py')


@pytest.fixture(scope='module')
def alone(nest, action_config, demo_root, tmp_path_factory):
    """Work dir of one process: four clips, two steps an epoch."""
    cwd = tmp_path_factory.mktemp('alone')
    done = nest.run('tools/train.py', action_config, '--data-root', demo_root,
                    '--seed', 0, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / 'work_dirs' / 'action'


def test_two_machines_train_as_one_process_does(
        action_config, alone, demo_root, tmp_path):
    """Two machines of one process each, which happen to be the same machine."""
    port = free_port()
    machines = [subprocess.Popen(
        ['bash', REPO / 'tools' / 'dist_train.sh', action_config, '1', '--data-root',
         demo_root, '--seed', '0', '--cfg-options', 'train_dataloader.batch_size=1'],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(ENVIRONMENT, PYTHON=sys.executable, PORT=port, NNODES='2',
                 NODE_RANK=str(rank), MASTER_ADDR='127.0.0.1')) for rank in range(2)]
    texts = [machine.communicate(timeout=LIMIT) for machine in machines]
    for machine, (_, errors) in zip(machines, texts):
        assert machine.returncode == 0, errors
    assert 'Distributed launcher: pytorch' in texts[0][0]
    assert_same_training(tmp_path / 'work_dirs' / 'action', alone, num_steps=4)


def test_two_processes_train_reid_as_one_does(nest, tmp_path):
    """P x K batches, the triplets of both, a test set of an odd number."""
    config = write_config(tmp_path / 'reid.py', REID, 'reid/resnet14_tp_demo.py')
    root = generate_reid_dataset(
        tmp_path / 'data', 8, 5, num_cameras=2, num_distractors=1, progress=False)
    arguments = (config, '--data-root', root, '--seed', 0)
    done = nest.run('tools/train.py', *arguments, '--work-dir', 'one', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (figures,) = curves(tmp_path / 'one')[1]
    assert (figures['reid/num_queries'] + figures['reid/num_gallery']) % 2 == 1

    done = run_script(
        'dist_train.sh', config, 2, *arguments[1:], '--work-dir', 'two',
        '--cfg-options', 'train_dataloader.batch_size=4',
        'train_dataloader.sampler.num_pids_per_batch=2', cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert_same_training(tmp_path / 'two', tmp_path / 'one', num_steps=4)


@pytest.mark.slow
def test_fsdp_trains_as_one_process_does(
        nest, action_config, alone, demo_root, tmp_path):
    done = run_script(
        'dist_train.sh', action_config, 2, '--data-root', demo_root, '--seed', 0,
        '--strategy', REPO / 'configs' / '_base_' / 'strategies' / 'fsdp.py',
        '--cfg-options', 'train_dataloader.batch_size=1', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    work_dir = tmp_path / 'work_dirs' / 'action'
    assert_same_training(work_dir, alone, num_steps=4)
    # Its checkpoint is that of one process.
    done = nest.run('tools/test.py', action_config, work_dir / 'epoch_2.pth',
                    '--data-root', demo_root, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = curves(work_dir)[1][0]
    assert f'acc/cross_entropy: {figures["acc/cross_entropy"]:.4f}' in done.stdout


def test_two_processes_test_as_one_does(
        nest, trained, tiny_config, demo_root, tmp_path):
    """Three clips on two processes: one of them has to repeat a clip."""
    root = shutil.copytree(demo_root, tmp_path / 'data')
    (root / 'three.txt').write_text(
        ''.join(f'class {k % 2}/clip (a&b) {k}.avi {k % 2}\n' for k in range(3)))
    arguments = (tiny_config, trained / 'epoch_2.pth')
    options = ('--data-root', root, '--cfg-options',
               'test_dataloader.dataset.ann_file=three.txt',
               'test_dataloader.batch_size=1')

    done = run_script('dist_test.sh', *arguments, 2, '--dump', 'two.npz', *options,
                      cwd=tmp_path)
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


# -- arguments ---------------------------------------------------------------


@pytest.mark.parametrize(('script', 'arguments'), [
    ('dist_train.sh', ['x.py']),
    ('dist_test.sh', ['x.py', 'x.pth']),
    ('slurm_train.sh', ['gpu', 'job', 'x.py']),
    ('slurm_test.sh', ['gpu', 'job', 'x.py', 'x.pth'])])
def test_usage(tmp_path, script, arguments):
    done = run_script(script, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    names = 'PARTITION JOB_NAME CONFIG ' if script.startswith('slurm') else 'CONFIG '
    assert done.stderr.startswith(f'usage: bash tools/{script} {names}')


@pytest.mark.parametrize(('script', 'own'), [
    ('slurm_train.sh', ['my x.py']), ('slurm_test.sh', ['my x.py', 'x.pth'])])
def test_slurm_starts_a_process_for_each_gpu(tmp_path, script, own):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    done = run_script(script, 'fast', 'my job', *own, 16, '--seed', 1, cwd=tmp_path,
                      PATH=f'{tmp_path}:{ENVIRONMENT["PATH"]}',
                      SRUN_ARGS='--time=1 --exclusive', CPUS_PER_TASK='4')
    assert done.returncode == 0, done.stderr
    tool = REPO / 'tools' / script.replace('slurm_', '').replace('.sh', '.py')
    assert done.stdout.splitlines() == [
        '--partition=fast', '--job-name=my job', '--ntasks=16', '--ntasks-per-node=8',
        '--gres=gpu:8', '--cpus-per-task=4', '--kill-on-bad-exit=1', '--time=1',
        '--exclusive', sys.executable, '-u', str(tool), *own, '--launcher', 'slurm',
        '--seed', '1']


def test_no_such_strategy(nest, tiny_config, tmp_path):
    done = nest.run('tools/train.py', tiny_config, '--strategy', 'no.py', cwd=tmp_path)
    assert done.returncode == 2
    assert 'there is no strategy no.py' in done.stderr


def test_a_strategy_for_one_process(nest, tiny_config, tmp_path):
    done = nest.run(
        'tools/train.py', tiny_config, '--strategy',
        REPO / 'configs' / '_base_' / 'strategies' / 'fsdp.py', cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r'error: FSDPStrategy spreads a model over processes, and there '
                     r'is one: start them by tools/dist_train.sh', done.stderr)
