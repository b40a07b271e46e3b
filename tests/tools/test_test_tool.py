"""``tools/test.py`` as a process: metrics, score files, refusals, mean of splits."""
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import torch

from cosam_mm.apis.model_loading import weights_sha256
from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.utils.io import read_checkpoint, unwrap_state_dict
from tests.tool_process import assert_refused

METRICS = ('acc/top1', 'acc/top3', 'acc/mean1', 'acc/cross_entropy')


def metrics_of(scores):
    """Top-1, top-3, mean class accuracy and cross-entropy from their definitions."""
    kept = ~scores['unreadable']
    score, label = scores['score'][kept].astype(float), scores['label'][kept]
    ranks = [list(np.argsort(-row, kind='stable')).index(k)
             for row, k in zip(score, label)]
    hits = np.array([rank == 0 for rank in ranks])
    loss = [np.log(np.exp(row - row[k]).sum()) for row, k in zip(score, label)]
    return dict(zip(METRICS, (
        np.mean(hits), np.mean([rank < 3 for rank in ranks]),
        np.mean([hits[label == k].mean() for k in set(label)]), np.mean(loss))))


def logged_metrics(log):
    """The metrics of the last test in a log, by name."""
    line = [line for line in log.splitlines() if 'Epoch(test)' in line][-1]
    return {name: float(value)
            for name, value in re.findall(r'(acc/\w+): ([\d.]+)', line)
            if name in METRICS}


@pytest.fixture(scope='module')
def tested(nest, trained, tiny_config, demo_root, tmp_path_factory):
    """(process, folder) of a test by config and best checkpoint."""
    cwd = tmp_path_factory.mktemp('test')
    done = nest.ok('tools/test.py', tiny_config, trained / 'epoch_2.pth', '--data-root',
                   demo_root, '--dump', 'out/scores.npz', cwd=cwd)
    return done, cwd


def test_prints_metrics_and_writes_scores(trained, tested):
    done, cwd = tested
    scores = load_scores(cwd / 'out' / 'scores.npz')
    assert scores['sample_id'].tolist() == [
        f'class {k % 2}/clip (a&b) {k}' for k in range(4)]
    assert scores['label'].tolist() == [0, 1, 0, 1]
    assert scores['score'].shape == (4, 8)
    assert (scores['dataset'], scores['split'], scores['score_type']) == (
        'demo', 1, 'logit')
    assert not scores['unreadable'].any()
    assert scores['classes'].tolist() == [
        'class 0', 'class 1', *(f'c{k}' for k in range(2, 8))]
    weights = weights_sha256(unwrap_state_dict(
        read_checkpoint(trained / 'epoch_2.pth')))
    lines = ''.join(f'class {k % 2}/clip (a&b) {k}\t{k % 2}\n' for k in range(4))
    made = dict(weights_sha256=weights, checkpoint=str(trained / 'epoch_2.pth'),
                list_sha256=hashlib.sha256(lines.encode()).hexdigest())
    assert {key: scores[key] for key in made} == made
    (log,) = cwd.glob('work_dirs/tiny/*/[0-9]*.json')
    assert json.loads(log.read_text()).items() >= {
        'acc/num_unreadable': 0.,
        **{f'acc/{key}': value for key, value in made.items()}}.items()
    assert logged_metrics(done.stdout) == pytest.approx(metrics_of(scores), abs=1e-4)
    assert 'Scores of 4 clips are in out/scores.npz' in done.stdout
    assert [path.name for path in (cwd / 'work_dirs').iterdir()] == ['tiny']


def test_validation_of_training_gave_the_same(training, tested):
    line = re.search(r'Epoch\(val\) \[2\].*acc/.*', training[0].stdout)[0]
    for name, value in logged_metrics(tested[0].stdout).items():
        assert f'{name}: {value:.4f}' in line


def test_another_split_is_refused_unless_forced(
        nest, trained, tiny_config, demo_root, tmp_path):
    arguments = (tiny_config, trained / 'epoch_2.pth', '--data-root', demo_root,
                 '--split', 2, '--dump', 'x{split}.npz', '--work-dir', 'there')

    done = nest.run('tools/test.py', *arguments, cwd=tmp_path)
    assert_refused(done, 'split 1', 'split 2', '--force')
    assert not list(tmp_path.iterdir())

    done = nest.ok('tools/test.py', *arguments, '--force', cwd=tmp_path)
    assert 'Going on, as forced' in done.stdout + done.stderr
    assert load_scores(tmp_path / 'x2.npz')['split'] == 2
    log, = (tmp_path / 'there').glob('*/*.log')  # no folder in between
    done = nest.run('tools/test.py', *arguments, cwd=tmp_path)
    assert_refused(done, '--force')
    assert list((tmp_path / 'there').glob('*/*.log')) == [log]


def test_other_classes_than_the_checkpoint(
        nest, trained, tiny_config, demo_root, tmp_path):
    arguments = (tiny_config, trained / 'epoch_2.pth', '--data-root', demo_root,
                 '--cfg-options')
    done = nest.run('tools/test.py', *arguments, 'model.cls_head.num_classes=51',
                    cwd=tmp_path)
    assert_refused(done, 'num_classes=51', '=8')

    done = nest.run('tools/test.py', *arguments, 'model.cls_head.num_classes=51',
                    'test_dataloader.dataset.num_classes=51', cwd=tmp_path)
    assert_refused(done, 'num_classes=51', 'classes.txt=8')


def test_training_list_of_the_config(nest, trained, tiny_config, demo_root, tmp_path):
    """Where the checkpoint does not say what it was trained on, as a converted one."""
    torch.save(dict(state_dict=read_checkpoint(trained / 'epoch_2.pth')['state_dict']),
               tmp_path / 'plain.pth')
    root = shutil.copytree(demo_root, tmp_path / 'data')
    seen = (root / 'demo_train_split_1_videos.txt').read_text().splitlines()[0]
    with open(root / 'demo_val_split_1_videos.txt', 'a') as file:
        file.write(f'{seen}\n')
    arguments = ('tools/test.py', tiny_config, 'plain.pth', '--data-root', root)
    done = nest.run(*arguments, cwd=tmp_path)
    assert_refused(done, 'training list of this config', '1 of the 5 clips', '--force')
    done = nest.ok(*arguments[:-1], demo_root, cwd=tmp_path)
    assert 'is not known' in done.stdout


def test_a_part_of_the_list_in_the_folder_of_the_training(
        nest, trained, tiny_config, demo_root, tmp_path):
    """The result says that it is one, and the training's config stays."""
    work_dir = shutil.copytree(trained, tmp_path / 'run')
    config = (work_dir / 'tiny.py').read_text()
    done = nest.ok(
        'tools/test.py', tiny_config, work_dir / 'epoch_1.pth', '--data-root',
        demo_root, '--work-dir', work_dir, '--cfg-options', 'train_cfg.max_epochs=200',
        'test_dataloader.dataset.indices=3', cwd=tmp_path)
    assert (work_dir / 'tiny.py').read_text() == config
    assert re.search('WARNING.* 3 of the 4 clips', done.stdout)
    (log,) = work_dir.glob('*/[0-9]*.json')
    assert json.loads(log.read_text()).items() >= {
        'acc/num_clips': 3, 'acc/num_listed': 4}.items()
    report = work_dir / 'report.html'
    nest.ok('tools/report.py', work_dir, '--no-masks', cwd=tmp_path)
    for words in ('Tested clips: 3, Clips of the split: 4', 'of 2 epochs',
                  str(work_dir / 'epoch_1.pth')):
        assert words in report.read_text()


@pytest.mark.parametrize(('owner', 'lacks'), [('checkpoint', 'model'),
                                              ('model', 'checkpoint')])
def test_with_cosam_and_without(nest, trained, tiny_config, demo_root, tmp_path, owner,
                                lacks):
    """Each checkpoint with the config of the other: no metrics, insist as one may."""
    path, options = trained / 'epoch_2.pth', ['model.backbone.plugins=None']
    if owner == 'model':
        content = read_checkpoint(path)
        content['state_dict'] = {name: value for name, value in
                                 content['state_dict'].items() if 'plugins' not in name}
        path, options = tmp_path / 'plain.pth', ['model.test_cfg=None']
        torch.save(content, path)
    done = nest.run('tools/test.py', tiny_config, path, '--data-root', demo_root,
                    '--force', '--cfg-options', *options, cwd=tmp_path)
    assert_refused(done, f'{owner} has COSAM backbone.plugins.after_layer3.0, '
                   f'the {lacks} not')
    assert 'Epoch(test)' not in done.stdout


@pytest.fixture(scope='module')
def three(trained, demo_root, tmp_path_factory):
    """(folder, data root): three checkpoints that differ, as do the test lists."""
    folder = tmp_path_factory.mktemp('three')
    root = folder / 'data'
    shutil.copytree(demo_root, root)
    shutil.copy(root / 'demo_train_split_1_videos.txt',
                root / 'demo_train_split_2_videos.txt')
    for split, kept in ((1, '0123'), (2, '01'), (3, '123')):
        lines = [f'class {int(k) % 2}/clip (a&b) {k}.avi {int(k) % 2}\n' for k in kept]
        if split == 3:
            lines.append('class 1/lost.avi 1\n')
        (root / f'demo_val_split_{split}_videos.txt').write_text(''.join(lines))
        checkpoint = read_checkpoint(trained / f'epoch_{1 + split % 2}.pth')
        checkpoint['meta']['dataset_meta']['split'] = split
        checkpoint['meta']['trained_on'] = [dict(dataset='demo', split=split)]
        checkpoint['state_dict']['cls_head.fc_cls.bias'][split] += 0.3
        (folder / f'split{split}').mkdir()
        torch.save(checkpoint, folder / f'split{split}' / 'last.pth')
    return folder, root


def test_mean_of_three_splits(nest, three, tiny_config):
    folder, root = three

    done = nest.ok(
        'tools/test.py', tiny_config, 'split{split}/last.pth', '--all-splits',
        '--data-root', root, '--dump', 'scores/{split}.npz', '--work-dir', 'results',
        cwd=folder)
    each = [metrics_of(load_scores(folder / 'scores' / f'{k}.npz')) for k in (1, 2, 3)]
    assert len({metrics['acc/cross_entropy'] for metrics in each}) == 3
    written = json.loads((folder / 'results' / 'all_splits.json').read_text())
    made = {f'acc/{key}': written.pop(f'acc/{key}')['splits'] for key in (
        'weights_sha256', 'checkpoint', 'list_sha256', 'classes_sha256')}
    assert [len(set(values)) for values in made.values()] == [3, 3, 3, 1]
    assert set(written) == {*METRICS, 'acc/num_unreadable'}
    for name in METRICS:
        values = [metrics[name] for metrics in each]
        assert written[name]['splits'] == pytest.approx(values, rel=1e-5)
        mean = sum(values) / 3
        assert written[name]['mean'] == pytest.approx(mean, rel=1e-5)
        row = [*(f'{value:.4f}' for value in values), f'{mean:.4f}']
        assert [name, *row] in [line.split() for line in done.stdout.splitlines()]
    assert written['acc/num_unreadable'] == dict(splits=[0, 0, 1],
                                                 mean=pytest.approx(1 / 3))
    for split in (1, 2, 3):  # each has a log of its own
        (log,) = (folder / 'results' / f'split{split}').glob('*/*.log')
        text = log.read_text()
        assert re.findall('Load checkpoint from (.*)', text) == [
            f'split{split}/last.pth']
        assert logged_metrics(text)['acc/cross_entropy'] == pytest.approx(
            each[split - 1]['acc/cross_entropy'], abs=1e-4)


def test_split_in_the_name_of_scores(nest, trained, tiny_config, demo_root, tmp_path):
    """Of one test: the config's."""
    nest.ok('tools/test.py', tiny_config, trained / 'epoch_2.pth',
            '--data-root', demo_root, '--dump', 'x{split}.npz', cwd=tmp_path)
    assert load_scores(tmp_path / 'x1.npz')['split'] == 1
