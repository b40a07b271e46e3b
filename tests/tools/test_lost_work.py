"""Work is not lost to a file that cannot be written, nor to one that hangs."""
import os
import re
import shutil
import sys

import numpy as np
import pytest

from cosam_mm.utils.io import read_arrays, write_results
from tests.tool_process import assert_refused, run_fresh

NOWHERE = '/proc/no_folder/out'  # that not even root can make


@pytest.mark.parametrize(('tool', 'arguments'), [
    ('test.py', ('{config}', '{checkpoint}', '--data-root', '{data}', '--dump',
                 f'{NOWHERE}.npz')),
    ('report.py', ('{run}', '--out', f'{NOWHERE}.html')),
    ('visualizations/visualize_masks.py', (
        '{config}', '{checkpoint}', '{data}/no.mp4', '--out', NOWHERE))])
def test_what_cannot_be_written_is_refused_first(
        nest, repo, tiny_config, trained, demo_root, tmp_path, tool, arguments):
    places = dict(config=tiny_config, checkpoint=trained / 'epoch_1.pth',
                  data=demo_root, run=trained)
    done = nest.run(repo / 'tools' / tool, *(
        argument.format(**places) for argument in arguments), cwd=tmp_path)
    assert_refused(done, '/proc/no_folder')
    assert 'Epoch(test)' not in done.stdout


def test_a_copy_is_kept_of_what_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    (tmp_path / 'file').touch()
    with pytest.raises(RuntimeError, match='could not be written') as caught:
        write_results(tmp_path / 'file' / 'a.npz', dict(score=np.arange(3)))
    copy = re.search(r'\S+_a\.npz', str(caught.value))[0]
    assert read_arrays(copy)['score'].tolist() == [0, 1, 2]


@pytest.fixture
def with_pipes(first_epoch, tmp_path):
    """A work dir with a checkpoint, and pipes where tools look for files."""
    folder = tmp_path / 'run'
    (folder / '20260101_000000' / 'vis_data').mkdir(parents=True)
    shutil.copy(first_epoch, folder)
    for name in ('x.pth', 'x.npz', 'a.json', 'all_splits.json', 'x.py',
                 'last_checkpoint', 'unreadable_samples.txt', '20260101_000000/x.log',
                 '20260101_000000/vis_data/scalars.json',
                 '20260101_000000/vis_data/config.py'):
        os.mkfifo(folder / name)
    return folder


def test_pipes_do_not_hang_a_report(nest, repo, with_pipes, tmp_path):
    done = nest.run(repo / 'tools' / 'report.py', with_pipes, '--no-masks',
                    cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_pipes_do_not_hang_a_resumed_training(
        nest, repo, with_pipes, tiny_config, demo_root, tmp_path):
    command = (repo / 'tools' / 'train.py', tiny_config, '--data-root', demo_root,
               '--split', 1, '--resume', '--work-dir', with_pipes, '--cfg-options',
               'train_cfg.max_epochs=1')
    done = nest.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'goes on from' in done.stdout
    (with_pipes / 'tiny.py').unlink()
    os.mkfifo(with_pipes / 'tiny.py')
    assert_refused(nest.run(*command, cwd=tmp_path), 'tiny.py')


@pytest.mark.parametrize(('size', 'warnings'), [('100k', 1), ('100m', 0)])
def test_a_small_shared_memory_does_not_hang_a_test(
        repo, tiny_config, trained, demo_root, tmp_path, size, warnings):
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm'
    if run_fresh('unshare', '-rm', 'sh', '-c', mount, cwd=tmp_path).returncode:
        pytest.skip('no file system can be mounted here')
    done = run_fresh(
        'unshare', '-rm', 'sh', '-c', f'{mount} && exec "$@"', 'sh', sys.executable,
        repo / 'tools' / 'test.py', tiny_config, trained / 'epoch_1.pth', '--data-root',
        demo_root, '--work-dir', tmp_path, '--split', 1, '--cfg-options',
        'test_dataloader.num_workers=1', cwd=tmp_path, PYTHONPATH=str(repo))
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count('--shm-size') == warnings


@pytest.mark.parametrize('option', ['--work-dir', '--data-root'])
def test_a_name_that_is_no_utf_8_is_refused_first(
        nest, repo, tiny_config, demo_root, tmp_path, option):
    folder = tmp_path / os.fsdecode(b'\xff')
    done = nest.run(repo / 'tools' / 'train.py', tiny_config, '--data-root', demo_root,
                    option, folder, cwd=tmp_path)
    assert_refused(done, 'UTF-8')
    assert not folder.exists()
