"""``tools/train.py`` as a process, on real videos."""
import re
import shutil

import pytest
import torch

from cosam_mm.utils.io import read_checkpoint
from tests.action_data import write_data_root
from tests.tool_process import assert_refused

ONE_EPOCH = ('--cfg-options', 'train_cfg.max_epochs=1')

# The paper's schedule around a network that a CPU trains in no time.
TINY_PLATEAU = """
_base_ = [{base!r}]
cosam = dict(num_frames=4, spatial_size=(4, 4))
model = dict(
    backbone=dict(depth=14, base_channels=8, groups=4, reduced_channels=32,
                  plugins=[dict(cfg=dict(type='COSAM', **cosam),
                                position='after_layer3')]),
    cls_head=dict(num_tokens=2, in_channels=32,
                  temporal=dict(num_heads=4, ffn_channels=64)))
train_cfg = dict(max_epochs=3)
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, **in_process)
val_dataloader = in_process
default_hooks = dict(logger=dict(interval=1))
"""
LOADERS = ('train_dataloader', 'val_dataloader')


def load(path):
    """A checkpoint as resuming would read it."""
    return read_checkpoint(path)


def learning_rates(log):
    """Learning rate by (epoch, iteration), as the log says."""
    return {(int(epoch), int(step)): float(rate) for epoch, step, rate in re.findall(
        r'Epoch\(train\)\s+\[(\d+)\]\[(\d+)/\d+\]\s+lr: (\S+)', log)}


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, msg=name)


def interrupted(first_epoch, work_dir):
    """A work dir as it is left when a training is killed in its second epoch."""
    work_dir.mkdir()
    shutil.copy(first_epoch, work_dir)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_1.pth'))
    return work_dir


def test_trains_validates_and_writes_checkpoints(training, trained):
    log = training[0].stdout
    assert list(learning_rates(log)) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for epoch in (1, 2):
        assert re.search(rf'Epoch\(val\) \[{epoch}\]\[1/1\] +acc/top1: 0\.\d+ +'
                         r'acc/top3: \d\.\d+ .*acc/cross_entropy: \d+\.\d+', log)
    names = {path.name for path in trained.glob('*.pth')}
    assert names >= {'epoch_1.pth', 'epoch_2.pth'}
    assert len([name for name in names if name.startswith('best_acc_top1_')]) == 1
    meta = load(trained / 'epoch_2.pth')['meta']
    assert meta['dataset_meta']['dataset'] == 'demo'
    assert meta['dataset_meta']['split'] == 1
    assert meta['seed'] == 0
    assert meta['experiment_name'].startswith('tiny_')


def test_resume_continues_from_the_last_checkpoint(
        nest, repo, training, trained, first_epoch, tiny_config, demo_root, tmp_path):
    work_dir = interrupted(first_epoch, tmp_path / 'run')

    done = nest.ok('tools/train.py', tiny_config, '--data-root', demo_root,
                   '--work-dir', work_dir, '--resume', cwd=repo)
    assert 'resumed epoch: 1, iter: 2' in done.stdout
    straight = learning_rates(training[0].stdout)
    # The one-cycle schedule continues.
    assert learning_rates(done.stdout) == {
        key: rate for key, rate in straight.items() if key[0] == 2}
    ours, theirs = load(work_dir / 'epoch_2.pth'), load(trained / 'epoch_2.pth')
    assert ours['meta']['iter'] == theirs['meta']['iter'] == 4
    assert ours['meta']['seed'] == 0  # taken over from the checkpoint
    steps = {int(state['step']) for state in ours['optimizer']['state'].values()}
    assert steps == {4}
    keys = ('last_step', '_global_step', '_last_value', 'total_steps', 'end')
    (one,), (other,) = ours['param_schedulers'], theirs['param_schedulers']
    assert [one[key] for key in keys] == [other[key] for key in keys]


def test_resume_in_a_new_folder_begins_with_the_weights_to_load(
        nest, trained, tiny_config, demo_root, tmp_path):
    weights = trained / 'epoch_2.pth'
    arguments = ('--work-dir', 'run', '--resume', '--cfg-options',
                 f'load_from={weights}')

    done = nest.ok('tools/train.py', tiny_config, '--data-root', demo_root, *arguments,
                   cwd=tmp_path)
    assert f'Load checkpoint from {weights}' in done.stdout
    assert 'resumed epoch' not in done.stdout
    assert {epoch for epoch, _ in learning_rates(done.stdout)} == {1, 2}
    again = nest.run('tools/train.py', tiny_config, '--data-root', demo_root,
                     *arguments, 'train_cfg.max_epochs=3', cwd=tmp_path)
    assert {epoch for epoch, _ in learning_rates(again.stdout)} == {3}
    assert 'another length' in again.stdout  # the schedule is the checkpoint's


def test_one_cycle_that_is_over_is_not_resumed(
        nest, tiny_config, demo_root, tmp_path):
    arguments = ('tools/train.py', tiny_config, '--data-root', demo_root, '--work-dir',
                 'run')
    nest.ok(*arguments, '--epochs', 1, cwd=tmp_path)
    done = nest.run(*arguments, '--epochs', 2, '--resume', cwd=tmp_path)
    assert_refused(done, '2 of 4', '--from')


def test_resume_from_a_named_checkpoint_of_another_folder(
        nest, first_epoch, tiny_config, demo_root, tmp_path):
    """The best checkpoint of that folder is not deleted for a better one."""
    best = tmp_path / 'first run' / 'best_acc_top1_epoch_1.pth'
    best.parent.mkdir()
    checkpoint = load(first_epoch)
    checkpoint['message_hub']['runtime_info'].update(
        best_ckpt=str(best), best_score=-1.0)
    torch.save(checkpoint, best)
    torch.save(checkpoint, best.with_name('epoch_1.pth'))

    done = nest.ok('tools/train.py', tiny_config, '--data-root', demo_root,
                   '--resume', 'first run/epoch_1.pth', '--work-dir', 'second',
                   cwd=tmp_path)
    assert {epoch for epoch, _ in learning_rates(done.stdout)} == {2}
    assert (tmp_path / 'second' / 'epoch_2.pth').is_file()
    assert (tmp_path / 'second' / 'best_acc_top1_epoch_2.pth').is_file()
    assert best.is_file()


def test_a_seed_gives_the_same_weights_again(
        nest, trained, tiny_config, demo_root, tmp_path):
    # Another folder and split, but the same clips.
    nest.ok('tools/train.py', tiny_config, '--data-root', demo_root,
            '--seed', 0, '--split', 3, cwd=tmp_path)
    again = load(tmp_path / 'work_dirs' / 'tiny' / 'split3' / 'epoch_1.pth')
    assert again['meta']['dataset_meta']['split'] == 3
    assert_equal_weights(again['state_dict'],
                         load(trained / 'epoch_1.pth')['state_dict'])


def test_mixed_precision_on_a_cpu(nest, trained, tiny_config, demo_root, tmp_path):
    nest.ok('tools/train.py', tiny_config, '--data-root', demo_root,
            '--seed', 0, '--amp', cwd=tmp_path)
    mixed = load(tmp_path / 'work_dirs' / 'tiny' / 'epoch_1.pth')['state_dict']
    full = load(trained / 'epoch_1.pth')['state_dict']
    assert {value.dtype for value in mixed.values()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(value).all() for value in mixed.values())
    # The first batch has gone through the stem once, in eight bits of mantissa.
    mean = 'backbone.bn1.running_mean'
    assert not torch.equal(mixed[mean], full[mean])
    torch.testing.assert_close(mixed[mean], full[mean], rtol=0.1, atol=0.02)


@pytest.fixture(scope='module')
def plateau_config(repo, tmp_path_factory):
    """The full-size HMDB51 config with a small network and small clips."""
    path = tmp_path_factory.mktemp('plateau') / 'tiny_plateau.py'
    text = TINY_PLATEAU.format(
        base=str(repo / 'configs' / 'resnext101_cosam_bert_hmdb51.py'))
    base = (repo / 'configs' / '_base_' / 'datasets' / 'rgb_112.py').read_text()
    sizes = ((r'\b64\b', '32'), (r'\b112\b', '64'), (r'170, 128', '86, 68'))
    for name in ('train_pipeline', 'val_pipeline'):
        steps = re.search(rf'^{name} = \[.*?^\]', base, re.M | re.S)[0]
        for old, new in sizes:
            steps = re.sub(old, new, steps)
        loader = LOADERS[name == 'val_pipeline']
        text += f'{steps}\n{loader}["dataset"] = dict(pipeline={name})\n'
    path.write_text(text)
    return path


@pytest.fixture(scope='module')
def hmdb51_root(tmp_path_factory):
    return write_data_root(tmp_path_factory.mktemp('data') / 'hmdb51', 'hmdb51', 51)


def test_plateau_schedule_is_resumed(nest, plateau_config, hmdb51_root, tmp_path):
    arguments = (plateau_config, '--data-root', hmdb51_root, '--work-dir', 'run')
    done = nest.ok('tools/train.py', *arguments, cwd=tmp_path)
    # It follows the validation loss. A best checkpoint is written after validation.
    first, second, _ = map(float, re.findall(r'acc/cross_entropy: (\S+)', done.stdout))
    (state,) = load(tmp_path / 'run' / 'epoch_2.pth')['param_schedulers']
    assert state['best'] in (pytest.approx(first, abs=1e-4),
                             pytest.approx(min(first, second), abs=1e-4))
    checkpoint = load(tmp_path / 'run' / 'epoch_1.pth')
    # One more epoch that is no better, and the rate falls.
    checkpoint['param_schedulers'][0].update(best=0.5, num_bad_epochs=5)
    torch.save(checkpoint, tmp_path / 'first.pth')

    done = nest.ok('tools/train.py', *arguments, '--resume', 'first.pth', cwd=tmp_path)
    assert learning_rates(done.stdout) == {
        (2, 1): 1e-5, (2, 2): 1e-5, (3, 1): 1e-6, (3, 2): 1e-6}
    (state,) = load(tmp_path / 'run' / 'epoch_3.pth')['param_schedulers']
    assert state['best'] == 0.5


def test_no_validation_with_a_plateau_schedule(
        nest, plateau_config, hmdb51_root, tmp_path):
    done = nest.ok(
        'tools/train.py', plateau_config, '--data-root', hmdb51_root, '--no-validate',
        *ONE_EPOCH, 'val_dataloader.batch_size=2', 'work_dir=chosen', cwd=tmp_path)
    assert 'Epoch(val)' not in done.stdout
    assert [path.name for path in (tmp_path / 'chosen').glob('*.pth')] == [
        'epoch_1.pth']


@pytest.mark.parametrize(('name', 'text', 'words'), [
    ('train', 'class 1/clip (a&b) 1.avi one\n', (':1: ', 'integer')),
    ('train', '\n', ('empty',)),
    ('val', '\n\nclass 1/clip (a&b) 1.avi 8\n', (':3: ', '[0, 8)'))])
def test_bad_annotation_line_is_named(nest, tiny_config, tmp_path, name, text, words):
    root = write_data_root(tmp_path / 'data', 'demo', 8, num_clips=2)
    path = root / f'demo_{name}_split_1_videos.txt'
    path.write_text(text)
    done = nest.run('tools/train.py', tiny_config, '--data-root', root, cwd=tmp_path)
    assert_refused(done, str(path), *words)


def test_settings_reach_config_and_training(
        nest, trained, tiny_config, demo_root, tmp_path):
    """Each option once; what it stands for is in the config that the run keeps."""
    done = nest.ok(
        'tools/train.py', tiny_config, '--data-root', demo_root, '--epochs', 3,
        '--lr', 1e-4, '--batch-size', 1, '--workers', 0, '--freeze', 1, '--from',
        trained / 'epoch_2.pth', '--work-dir', 'run', cwd=tmp_path)
    start = load(trained / 'epoch_2.pth')['state_dict']
    checkpoint = load(tmp_path / 'run' / 'epoch_3.pth')
    assert max(learning_rates(done.stdout)) == (3, checkpoint['meta']['iter'] // 3)
    assert min(learning_rates(done.stdout).values()) < 1e-6
    kept = {name for name, value in checkpoint['state_dict'].items()
            if torch.equal(value, start[name])}
    assert 'backbone.layer1.0.conv1.weight' in kept
    assert 'backbone.layer2.0.conv1.weight' not in kept


@pytest.mark.parametrize(('names', 'words'), [
    (['features.0.weight', 'fc_action.weight'], ('LateTemporal', 'convert_reference')),
    (['conv1.weight', 'fc.weight'], ('kenshohara', 'convert_reference')),
    (['my.weight'], ('no checkpoint',))])
def test_start_from_what_does_not_fit(
        nest, tiny_config, demo_root, tmp_path, names, words):
    torch.save({name: torch.zeros(8, 3, 1, 1, 1) for name in names},
               tmp_path / 'other.pth')
    done = nest.run('tools/train.py', tiny_config, '--data-root', demo_root, '--from',
                    'other.pth', cwd=tmp_path)
    assert_refused(done, 'other.pth', *words)


@pytest.mark.parametrize(('option', 'word'), [
    ('max_epochs=2', 'train_cfg.max_epochs'), ('train_cfg.epochs=2', 'max_epochs'),
    ('custom_hooks.0.forced=True', 'force')])
def test_option_that_nothing_reads(nest, tiny_config, tmp_path, option, word):
    done = nest.run('tools/train.py', tiny_config, '--cfg-options', option,
                    cwd=tmp_path)
    assert_refused(done, word)
    assert not list(tmp_path.iterdir())


def test_loss_that_is_nan_names_the_clips(nest, tiny_config, demo_root, tmp_path):
    done = nest.run(
        'tools/train.py', tiny_config, '--data-root', demo_root, '--seed', 0,
        '--cfg-options', 'model.data_preprocessor.std=[0.,0.,0.]', cwd=tmp_path)
    assert_refused(done, 'nan', "'class", 'on_bad_loss=skip')
    assert not list(tmp_path.rglob('*.pth'))
