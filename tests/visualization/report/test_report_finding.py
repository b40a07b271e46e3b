"""What is found in a folder of results, and what is refused."""
import json
import os
import pickle

import numpy as np
import pytest
import torch

from cosam_mm.visualization.report.work_dir_collection import (
    find_work_dir,
    read_config,
    read_test_log,
    when,
)
from tests.work_dir_data import (
    TESTED,
    TRAINED,
    Bomb,
    damage_work_dir,
    write_checkpoint,
    write_features,
    write_scores,
    write_work_dir,
)


@pytest.fixture
def root(tmp_path):
    return write_work_dir(tmp_path / 'demo')


def test_each_file_is_found(root):
    found = find_work_dir(root)
    assert found.root == root
    assert found.config == root / 'run' / 'net.py'
    assert found.checkpoint == root / 'run' / 'best_acc_top1_epoch_20.pth'
    assert found.training_logs == (
        root / 'run' / TRAINED / 'vis_data' / 'scalars.json',)
    assert found.test_logs == (root / 'test' / TESTED / f'{TESTED}.json',)
    assert found.score_files == (root / 'scores.npz',)
    assert found.feature_files == ()
    assert found.data_root is None
    assert found.damaged == ()


def test_a_plain_work_dir(root):
    found = find_work_dir(root / 'run')
    assert found.checkpoint.name == 'best_acc_top1_epoch_20.pth'
    assert len(found.training_logs) == 1
    assert (found.test_logs, found.score_files) == ((), ())


def test_arrays_tell_scores_from_features(tmp_path):
    write_features(tmp_path / 'scores.npz')
    write_scores(tmp_path / 'b' / 'features.npz')
    np.savez(tmp_path / 'other.npz', x=1)
    found = find_work_dir(tmp_path)
    assert found.feature_files == (tmp_path / 'scores.npz',)
    assert found.score_files == (tmp_path / 'b' / 'features.npz',)
    assert found.damaged == ()


def test_results_come_newest_first_and_logs_oldest_first(root):
    write_scores(root / 'a.npz')
    os.utime(root / 'scores.npz', (2e9, 2e9))
    early = root / 'test' / '20250101_000000' / '20250101_000000.json'
    early.parent.mkdir()
    early.write_text('{"acc/top1": 0.5}')  # written last, of an earlier run
    found = find_work_dir(root)
    assert [path.name for path in found.score_files] == ['scores.npz', 'a.npz']
    assert [path.parent.name for path in found.test_logs] == ['20250101_000000', TESTED]


def test_data_root(root, tmp_path):
    for name in ('named', 'configured'):
        (tmp_path / name).mkdir()
    config = root / 'run' / 'net.py'
    config.write_text(config.read_text().replace(
        'nowhere', str(tmp_path / 'configured')))
    assert find_work_dir(root).data_root == tmp_path / 'configured'
    (root / 'data').mkdir()
    (root / 'data' / 'broken.npz').write_text('not searched')
    found = find_work_dir(root)
    assert found.data_root == root / 'data'
    assert found.damaged == ()
    assert find_work_dir(root, tmp_path / 'named').data_root == tmp_path / 'named'
    with pytest.raises(FileNotFoundError, match='There is no data set folder .*gone'):
        find_work_dir(root, tmp_path / 'gone')


def test_checkpoint_that_is_named(root, tmp_path):
    write_checkpoint(tmp_path / 'other.pth')
    found = find_work_dir(root, checkpoint=tmp_path / 'other.pth')
    assert found.checkpoint == tmp_path / 'other.pth'
    with pytest.raises(FileNotFoundError, match='There is no checkpoint file .*gone'):
        find_work_dir(root, checkpoint=tmp_path / 'gone.pth')
    torch.save(Bomb(tmp_path / 'proof'), tmp_path / 'bomb.pth')
    with pytest.raises(ValueError, match=r'would run [\w.]*mkdir, which is refused'):
        find_work_dir(root, checkpoint=tmp_path / 'bomb.pth')
    assert not (tmp_path / 'proof').exists()


def test_next_best_checkpoint_takes_the_place_of_a_broken_one(root):
    broken = root / 'run' / 'best_acc_top1_epoch_20.pth'
    broken.write_bytes(broken.read_bytes()[:500])
    found = find_work_dir(root)
    assert found.checkpoint.name == 'best_acc_top1_epoch_9.pth'
    ((path, reason),) = found.damaged
    assert path == broken
    assert 'cannot be read as a PyTorch checkpoint' in reason


def test_without_a_best_checkpoint_the_last_one(root):
    for path in (root / 'run').glob('best_*'):
        path.unlink()
    write_checkpoint(root / 'run' / 'epoch_9.pth')
    os.utime(root / 'run' / 'epoch_9.pth', (1, 1))
    assert find_work_dir(root).checkpoint.name == 'epoch_20.pth'


def test_hostile_files_are_named_and_not_run(tmp_path):
    root = damage_work_dir(tmp_path / 'x', tmp_path / 'proof')
    found = find_work_dir(root)
    assert not (tmp_path / 'proof').exists()
    assert (found.config, found.checkpoint) == (None, None)
    assert found.score_files == found.feature_files == ()
    reasons = {path.name: reason for path, reason in found.damaged}
    assert set(reasons) == {'best_x.pth', 'epoch_1.pth', 'scores.npz', 'features.npz',
                            'config.py'}
    assert 'mkdir, which is refused' in reasons['epoch_1.pth']
    assert 'scores.npz is not an .npz file' in reasons['scores.npz']
    assert 'is not a feature file: Object arrays' in reasons['features.npz']
    assert 'Line 1 of' in reasons['config.py']
    assert 'a config is read as data only' in reasons['config.py']


def test_foreign_files_are_passed_over(root):
    (root / 'notes.py').write_text('print("mine")')
    (root / 'notes.json').write_text('{"a": 1}')
    (root / 'list.json').write_text('[1]')
    (root / 'broken.json').write_text('{')
    with open(root / 'results.pkl', 'wb') as file:
        pickle.dump(Bomb(root / 'proof'), file)
    (root / 'link.npz').symlink_to(root / 'nowhere.npz')
    (root / '.hidden').mkdir()
    write_scores(root / '.hidden' / 'a.npz')
    found = find_work_dir(root)
    assert found.damaged == ()
    assert len(found.test_logs) == len(found.score_files) == 1
    assert not (root / 'proof').exists()


@pytest.mark.parametrize('name', ['empty', 'wrong'])
def test_folders_without_results(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    if name == 'wrong':
        (folder / 'readme.txt').write_text('hello')
        (folder / 'a.json').write_text(json.dumps({'a': 1}))
    with pytest.raises(ValueError, match=f'Nothing below .*{name} was written by a '
                       'training or a test: .*Name the --work-dir'):
        find_work_dir(folder)
    with pytest.raises(FileNotFoundError, match='There is no folder .*gone'):
        find_work_dir(tmp_path / 'gone')


def test_when_a_run_began(tmp_path):
    path = tmp_path / '20260102_030405' / 'x.json'
    path.parent.mkdir()
    path.touch()
    assert when(path) - when(path.parent / '20260102_030400' / 'x') == 5
    other = tmp_path / '99999999_999999'
    other.mkdir()
    os.utime(other, (7, 7))
    assert when(other) == 7


@pytest.mark.parametrize(('text', 'message'), [
    ('a = 1', 'it sets no model'), ('model = 1', 'it sets no model'),
    ('model = f()', 'Line 1 of .*has a call other than dict'),
    ("model = dict(type='os.system')", "asks for 'os.system', and a config is read")])
def test_what_is_no_config(tmp_path, text, message):
    path = tmp_path / 'c.py'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(path)
    path.write_bytes(b'\xff\xfe')
    with pytest.raises(ValueError, match='c.py is no config: .*decode'):
        read_config(path)


def test_figures_of_a_test(tmp_path):
    path = tmp_path / 't.json'
    path.write_text('{"reid/mAP": 0.5, "reid/protocol": "p", "time": 1, "a/b": null}')
    assert read_test_log(path) == {'reid/mAP': 0.5, 'reid/protocol': 'p'}
    for text in ('{', '[]', '{"time": 1}', '[' * 100_000):
        path.write_text(text)
        with pytest.raises(ValueError, match='t.json is no log of a test'):
            read_test_log(path)
