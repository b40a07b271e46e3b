"""Unreadable samples in real trainings: real files and loader workers, both kinds."""
import re

import pytest

from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.engine.hooks.unreadable_samples_hook import listed_samples
from tests.action_data import write_data_root

ACTION = ('--cfg-options', 'param_scheduler=[]', 'train_cfg.max_epochs=2',
          'train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True',
          'val_dataloader.num_workers=1')
REID = """
_base_ = [{base!r}]
model = dict(backbone=dict(base_channels=8), head=dict(num_pids=4))
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = []
# Which tracklets are drawn: in some epoch the spoilt one is.
randomness = dict(seed=0)
train_dataloader = dict(
    batch_size=8, num_workers=2,
    sampler=dict(num_pids_per_batch=4, num_tracklets_per_pid=2))
"""


def spoil_videos(root, num_bad):
    """Lists of so many broken videos before eight good ones; their paths."""
    write_data_root(root, 'demo', 8, num_clips=8)
    bad = [root / 'videos' / 'class 1' / f'bad {k}.avi' for k in range(num_bad)]
    for path in bad:
        path.write_bytes(b'')
    for subset in ('train', 'val'):
        path = root / f'demo_{subset}_split_1_videos.txt'
        path.write_text(''.join(f'class 1/{one.name} 1\n' for one in bad)
                        + path.read_text())
    return [str(path) for path in bad]


def test_action(nest, tiny_config, tmp_path):
    bad = spoil_videos(tmp_path / 'data', 2)
    arguments = ('tools/train.py', tiny_config, '--data-root', tmp_path / 'data',
                 '--work-dir', 'run', '--resume', *ACTION)
    expected = {f'{outcome}\t{path}\tthe file is empty'
                for outcome in ('skipped', 'blank') for path in bad}
    for _ in range(2):  # the second time there is nothing left to do but to validate
        done = nest.ok(*arguments, cwd=tmp_path)
        lines = listed_samples(tmp_path / 'run')
        assert set(lines) == expected
        assert len(lines) == len(expected)
        arguments = (*arguments, 'train_cfg.max_epochs=3')
    assert re.search(r'acc/num_unreadable: 2(\.0+)? ', done.stdout)
    assert re.search(r'2 of 10 samples \(train, 20.0%\).* replaced', done.stdout)


def test_too_many(nest, tiny_config, tmp_path):
    spoil_videos(tmp_path / 'data', 5)
    done = nest.run('tools/train.py', tiny_config, '--data-root', tmp_path / 'data',
                    '--work-dir', 'run', *ACTION, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [one for one in done.stderr.splitlines() if one.startswith('error: ')]
    assert re.match(r'error: [45] of 13 samples \(train, 3\d.\d%\) could not be read '
                    r'so far, more than max_share=0.05 allows: [45] x the file is',
                    line)
    setting = re.search(r'custom_hooks\.\d+\.max_share=0\.5', line)[0]
    done = nest.ok('tools/train.py', tiny_config, '--data-root', tmp_path / 'data',
                   '--work-dir', 'run', *ACTION, setting, cwd=tmp_path)


def test_clips_that_are_cut_off(nest, tiny_config, tmp_path):
    """Counted in training, refused in a validation or a test, whose metrics change."""
    root = write_data_root(tmp_path / 'data', 'demo', 8, num_clips=8)
    for title in ('shown', 'clip'):
        for path in sorted(root.glob(f'videos/*/{title}*.avi'))[:5]:
            path.write_bytes(path.read_bytes()[:path.stat().st_size * 6 // 10])
    arguments = ('tools/train.py', tiny_config, '--data-root', root, '--work-dir',
                 'run', '--resume', *ACTION)
    done = nest.run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r'5 of 8 samples \(train, 62.5%\) are shorter', done.stdout)
    setting = re.search(r'error: 5 of 8 samples \(val, 62.5%\) are shorter.*'
                        r'(custom_hooks\.\d+\.max_share=0\.)5', done.stderr)[1]
    lines = listed_samples(tmp_path / 'run')
    assert len(lines) == 10
    assert all(line.startswith('cut off\t') and '0.80 s' in line for line in lines)
    done = nest.ok(*arguments, f'{setting}7', cwd=tmp_path)
    assert re.search(r'5 of 8 samples \(val, 62.5%\) are shorter', done.stdout)


@pytest.fixture(scope='module')
def persons(tmp_path_factory):
    root = tmp_path_factory.mktemp('persons') / 'data'
    generate_reid_dataset(root, 4, 4, 2, num_distractors=2, num_junk=1, progress=False)
    return root


def test_reid(nest, repo, persons, tmp_path):
    """A damaged image has a stand-in; a tracklet of nothing else has another."""
    folders = sorted((persons / 'bbox_train').iterdir())
    images = sorted(folders[0].glob('*.jpg'))
    first = [path for path in images if path.name[:11] == images[0].name[:11]]
    for path in first:
        path.write_bytes(b'no picture')
    for path in sorted(folders[1].glob('*.jpg'))[::2]:
        path.write_bytes(path.read_bytes()[:30])
    config = tmp_path / 'config.py'
    config.write_text(REID.format(
        base=str(repo / 'configs/reid/resnet14_cosam45_tp_demo.py')))
    nest.ok('tools/train.py', config, '--data-root', persons, '--work-dir',
            'run', cwd=tmp_path)
    found = [line.split('\t') for line in listed_samples(tmp_path / 'run')]
    outcomes = {outcome: [name for kind, name, _ in found if kind == outcome]
                for outcome, _, _ in found}
    assert outcomes['skipped'] == [first[0].name[:11]]
    assert outcomes['replaced']
    assert len(set(outcomes['replaced'])) == len(outcomes['replaced'])
    for name in outcomes['replaced']:
        assert f'/{folders[1].name}/' in name
    assert all('not decode' in reason for kind, _, reason in found
               if kind == 'replaced')
