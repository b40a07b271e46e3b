"""The full-size configs on real clips: prepare, train, validate, resume, test."""
import re

import pytest
import torch

from cosam_mm.evaluation.metrics.action_metric import load_scores
from tests.tool_process import run_fresh

pytestmark = pytest.mark.slow

SMALL_STEPS = [
    'train_dataloader.batch_size=1', 'train_dataloader.dataset.indices=2',
    'default_hooks.logger.interval=1',
    *(f'{name}_dataloader.{setting}' for name in ('train', 'val', 'test')
      for setting in ('num_workers=0', 'persistent_workers=False'))]


@pytest.fixture
def run(repo, tmp_path):
    """Runs a tool in a folder of its own and gives what it printed."""
    def run_tool(tool, *arguments):
        done = run_fresh(repo / 'tools' / tool, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run_tool


def prepare(run, real_data_dir, name):
    folder = real_data_dir / name
    run('prepare_data.py', name, '--videos', folder / 'videos', '--splits',
        folder / 'splits', '--out', f'data/{name}', '--allow-missing')


def assert_went_on(log, work_dir):
    """A second epoch followed, from the weights of the first."""
    assert 'resumed epoch: 1, iter: 2' in log
    assert 'Epoch(train) [2][2/2]' in log
    first, second = (torch.load(work_dir / f'epoch_{k}.pth', weights_only=True)
                     for k in (1, 2))
    name = 'cls_head.fc_cls.weight'
    change = (second['state_dict'][name] - first['state_dict'][name]).abs().max()
    assert 0 < change < 1e-4  # AdamW at a rate of 1e-5
    # 16 batches make a step; two make one at the end of the run.
    steps = [{int(state['step']) for state in one['optimizer']['state'].values()}
             for one in (first, second)]
    assert steps == [{1}, {2}]


def assert_tested(log, scores, num_classes):
    assert re.search(r'Epoch\(test\) \[1/1\] +acc/top1: [01]\.\d+ .*acc/cross_entropy',
                     log)
    assert scores['score'].shape == (1, num_classes)
    assert not scores['unreadable'].any()


def test_resnext101_on_hmdb51(run, repo, real_data_dir, tmp_path):
    prepare(run, real_data_dir, 'hmdb51')
    config = repo / 'configs' / 'resnext101_cosam_bert_hmdb51.py'
    train = ('train.py', config, '--split', 3, '--seed', 0)

    log = run(*train, '--cfg-options', 'train_cfg.max_epochs=1', *SMALL_STEPS)
    assert re.search(r'Epoch\(val\) \[1\]\[1/1\] +acc/top1: [01]\.\d+', log)
    log = run(*train, '--resume', '--cfg-options', 'train_cfg.max_epochs=2',
              *SMALL_STEPS)
    work_dir = tmp_path / 'work_dirs' / 'resnext101_cosam_bert_hmdb51' / 'split3'
    assert_went_on(log, work_dir)

    log = run('test.py', config, work_dir / 'epoch_2.pth', '--split', 3, '--dump',
              'scores.npz', '--cfg-options', *SMALL_STEPS)
    assert_tested(log, load_scores(tmp_path / 'scores.npz'), 51)


def test_i3d_on_ucf101(run, repo, real_data_dir, tmp_path):
    """The clips at hand are all for training in split 2, all for testing in 1."""
    prepare(run, real_data_dir, 'ucf101')
    config = repo / 'configs' / 'i3d_cosam_bert_ucf101.py'
    options = (*SMALL_STEPS, 'val_dataloader.dataset.indices=1',
               'val_dataloader.dataset.ann_file=ucf101_val_split_1_videos.txt')
    train = ('train.py', config, '--split', 2, '--seed', 0)

    log = run(*train, '--cfg-options', 'train_cfg.max_epochs=1', *options)
    assert re.search(r'Epoch\(val\) \[1\]\[1/1\] +acc/top1: [01]\.\d+', log)
    log = run(*train, '--resume', '--cfg-options', 'train_cfg.max_epochs=2', *options)
    work_dir = tmp_path / 'work_dirs' / 'i3d_cosam_bert_ucf101' / 'split2'
    assert_went_on(log, work_dir)

    log = run('test.py', config, work_dir / 'epoch_2.pth', '--force', '--dump',
              'scores.npz', '--cfg-options', *SMALL_STEPS,
              'test_dataloader.dataset.indices=1')
    assert_tested(log, load_scores(tmp_path / 'scores.npz'), 101)
    assert 'Going on, as forced' in log
