"""``tools/dist_*.sh`` with two processes, beside one process with twice the batch.

Equal metrics need models whose processes compute the same: batch norms with fixed
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
from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.utils.io import read_checkpoint
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
    """The same curves, metrics and weights in the end."""
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
        read_checkpoint(path / 'epoch_2.pth')['state_dict']
        for path in (work_dir, expected_dir))
    assert weights.keys() == expected.keys()
    weights, expected = (
        torch.cat([state[name].double().flatten() for name in expected])
        for state in (weights, expected))
    error = torch.linalg.vector_norm(weights - expected)
    assert error <= 2e-5 * torch.linalg.vector_norm(expected)


@pytest.fixture(scope='module')
def action_config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp('config') / 'action.py', ACTION,
                        'resnext14_bert_demo.py')


@pytest.fixture(scope='module')
def alone(nest, action_config, demo_root, tmp_path_factory):
    """Work dir of one process: four clips, two steps an epoch."""
    cwd = tmp_path_factory.mktemp('alone')
    nest.ok('tools/train.py', action_config, '--data-root', demo_root,
            '--seed', 0, cwd=cwd)
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
    logs = (tmp_path / 'work_dirs').rglob('*.log')
    assert any('Distributed launcher: pytorch' in log.read_text() for log in logs)
    assert_same_training(tmp_path / 'work_dirs' / 'action', alone, num_steps=4)


@pytest.fixture(scope='module')
def reid(nest, tmp_path_factory):
    """(folder, config, data root): one process has trained in the folder ``one``."""
    cwd = tmp_path_factory.mktemp('reid')
    config = write_config(cwd / 'reid.py', REID, 'reid/resnet14_tp_demo.py')
    root = generate_reid_dataset(
        cwd / 'data', 8, 5, num_cameras=2, num_distractors=1, progress=False)
    nest.ok('tools/train.py', config, '--data-root', root, '--seed', 0,
            '--work-dir', 'one', cwd=cwd)
    return cwd, config, root


def test_two_processes_train_reid_as_one_does(reid):
    """P x K batches, the triplets of both, a test set of an odd number."""
    cwd, config, root = reid
    (metrics,) = curves(cwd / 'one')[1]
    assert (metrics['reid/num_queries'] + metrics['reid/num_gallery']) % 2 == 1
    done = run_script(
        'dist_train.sh', config, 2, '--data-root', root, '--seed', 0, '--work-dir',
        'two', '--cfg-options', 'train_dataloader.batch_size=4',
        'train_dataloader.sampler.num_pids_per_batch=2', cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert_same_training(cwd / 'two', cwd / 'one', num_steps=4)


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
    done = nest.ok('tools/test.py', action_config, work_dir / 'epoch_2.pth',
                   '--data-root', demo_root, cwd=tmp_path)
    metrics = curves(work_dir)[1][0]
    assert f'acc/cross_entropy: {metrics["acc/cross_entropy"]:.4f}' in done.stdout


# -- the same test results, of shares that are uneven and files that are unreadable


def assert_same(several, one, vector):
    """The same samples in the same order; scores or features to rounding."""
    assert several.keys() == one.keys()
    for key, expected in one.items():
        if key == vector:
            np.testing.assert_allclose(several[key], expected, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(several[key], expected, err_msg=key)


def metrics_of(text):
    return dict(re.findall(r'((?:acc|reid)/\w+): ([\d.]+)', text))


def test_two_processes_test_as_one_does(
        nest, trained, tiny_config, demo_root, tmp_path):
    """Five clips, of which one is unreadable."""
    root = shutil.copytree(demo_root, tmp_path / 'data')
    (root / 'videos' / 'bad.avi').write_bytes(b'no video')
    clips = [f'class {k % 2}/clip (a&b) {k}.avi {k % 2}\n' for k in range(4)]
    clips.insert(3, 'bad.avi 1\n')
    (root / 'five.txt').write_text(''.join(clips))
    arguments = (tiny_config, trained / 'epoch_2.pth')
    options = ('--data-root', root, '--cfg-options',
               'test_dataloader.dataset.ann_file=five.txt',
               'test_dataloader.batch_size=2')
    done = nest.ok('tools/test.py', *arguments, '--work-dir', 'w1', '--dump', '1.npz',
                   *options, cwd=tmp_path)
    one = load_scores(tmp_path / '1.npz')
    assert one['unreadable'].tolist() == [False, False, False, True, False]
    expected = metrics_of(done.stdout)
    assert expected['acc/num_unreadable'] == '1.0000'
    done = run_script('dist_test.sh', *arguments, 2, '--work-dir', 'w2', '--dump',
                      '2.npz', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same(load_scores(tmp_path / '2.npz'), one, 'score')
    assert metrics_of(done.stdout) == expected
    assert 'bad.avi' in (tmp_path / 'w2' / 'unreadable_samples.txt').read_text()


def test_two_processes_test_reid_as_one_does(nest, reid):
    """An odd number of tracklets, of which one is unreadable."""
    cwd, config, root = reid
    root = shutil.copytree(root, cwd / 'damaged')
    folder = sorted((root / 'bbox_test').glob('0*'))[-1]
    first = sorted(folder.iterdir())[0].name
    for path in folder.glob(f'{first.split("F")[0]}*'):  # all frames of a tracklet
        path.write_bytes(b'no image')
    arguments = (config, cwd / 'one' / 'epoch_2.pth')
    done = nest.ok('tools/test.py', *arguments, '--work-dir', 'w1', '--dump', '1.npz',
                   '--data-root', root, cwd=cwd)
    expected = metrics_of(done.stdout)
    one = load_features(cwd / '1.npz')
    assert len(one['tracklet_id']) % 2 == 1
    assert one['unreadable'].sum() == 1
    assert len(set(zip(one['subset'], one['tracklet_id']))) == len(one['tracklet_id'])
    done = run_script('dist_test.sh', *arguments, 2, '--work-dir', 'w2', '--dump',
                      '2.npz', '--data-root', root, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert_same(load_features(cwd / '2.npz'), one, 'feature')
    assert expected['reid/mAP']
    assert metrics_of(done.stdout) == expected


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
