"""The full-size configs on real clips: prepare, train, validate, resume, test."""
import re

import pytest

from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.utils.io import read_checkpoint
from tests.tool_process import run_fresh

pytestmark = pytest.mark.slow

SMALL_STEPS = [
    'train_dataloader.batch_size=1', 'train_dataloader.dataset.indices=2',
    'default_hooks.logger.interval=1',
    *(f'{name}_dataloader.{setting}' for name in ('train', 'val', 'test')
      for setting in ('num_workers=0', 'persistent_workers=False'))]


# The UCF101 clips at hand are all for training in split 2, all for testing in split 1.
UCF101 = ['val_dataloader.dataset.indices=1',
          'val_dataloader.dataset.ann_file=ucf101_val_split_1_videos.txt']


@pytest.fixture
def run(repo, tmp_path):
    """Runs a tool in a folder of its own; returns what it printed."""
    def run_tool(tool, *arguments):
        done = run_fresh(repo / 'tools' / tool, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run_tool


def assert_resumed(log, work_dir):
    """A second epoch followed, from the weights of the first."""
    assert 'resumed epoch: 1, iter: 2' in log
    assert 'Epoch(train) [2][2/2]' in log
    first, second = (read_checkpoint(work_dir / f'epoch_{k}.pth')
                     for k in (1, 2))
    name = 'cls_head.fc_cls.weight'
    change = (second['state_dict'][name] - first['state_dict'][name]).abs().max()
    assert 0 < change < 1e-4  # AdamW at a rate of 1e-5
    # 16 batches make a step; two make one at the end of the run.
    steps = [{int(state['step']) for state in one['optimizer']['state'].values()}
             for one in (first, second)]
    assert steps == [{1}, {2}]


@pytest.mark.parametrize(('name', 'dataset', 'split', 'options', 'test', 'classes'), [
    ('resnext101_cosam_bert_hmdb51', 'hmdb51', 3, [], ['--split', 3], 51),
    ('i3d_cosam_bert_ucf101', 'ucf101', 2, UCF101, ['--force'], 101)])
def test_prepare_train_resume_test(run, repo, real_data_dir, tmp_path, name, dataset,
                                   split, options, test, classes):
    folder = real_data_dir / dataset
    run('prepare_data.py', dataset, '--videos', folder / 'videos', '--splits',
        folder / 'splits', '--out', f'data/{dataset}', '--allow-missing')
    config = repo / 'configs' / f'{name}.py'
    train = ('train.py', config, '--split', split, '--seed', 0)
    options = ['--cfg-options', *SMALL_STEPS, *options]
    log = run(*train, *options, 'train_cfg.max_epochs=1')
    assert re.search(r'Epoch\(val\) \[1\]\[1/1\] +acc/top1: [01]\.\d+', log)
    log = run(*train, '--resume', *options, 'train_cfg.max_epochs=2')
    work_dir = tmp_path / 'work_dirs' / name / f'split{split}'
    assert_resumed(log, work_dir)

    log = run('test.py', config, work_dir / 'epoch_2.pth', *test, '--dump',
              'scores.npz',
              '--cfg-options', *SMALL_STEPS, 'test_dataloader.dataset.indices=1')
    assert re.search(r'Epoch\(test\) \[1/1\] +acc/top1: [01]\.\d+ .*acc/cross_entropy',
                     log)
    assert ('as forced' in log) == ('--force' in test)
    scores = load_scores(tmp_path / 'scores.npz')
    assert scores['score'].shape == (1, classes)
    assert not scores['unreadable'].any()
