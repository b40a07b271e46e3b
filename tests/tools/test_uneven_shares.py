"""Tests over processes whose shares are uneven, some files unreadable: as one process.

Numbers that processes and batches do not divide, on two or three processes.
"""
import re
import shutil

import numpy as np
import pytest

from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.evaluation.metrics.reid_metric import load_features
from tests.tools.test_distributed_tools import run_script

REID = """
_base_ = [{base!r}]
model = dict(backbone=dict(base_channels=8), head=dict(num_pids=4))
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=8, sampler=dict(num_pids_per_batch=4, num_tracklets_per_pid=2),
    **in_process)
val_dataloader = in_process
test_dataloader = dict(batch_size=4, **in_process)
train_cfg = dict(max_epochs=1, val_interval=1)
param_scheduler = [dict(type='ConstantLR', factor=1)]
"""


def assert_same(several, one, vector):
    """The same samples in the same order; scores or features to rounding."""
    assert several.keys() == one.keys()
    for key, expected in one.items():
        if key == vector:
            np.testing.assert_allclose(several[key], expected, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(several[key], expected, err_msg=key)


def figures(text):
    return dict(re.findall(r'((?:acc|reid)/\w+): ([\d.]+)', text))


def test_clips(nest, trained, tiny_config, demo_root, tmp_path):
    root = shutil.copytree(demo_root, tmp_path / 'data')
    (root / 'videos' / 'bad.avi').write_bytes(b'no video')
    clips = [f'class {k % 2}/clip (a&b) {k}.avi {k % 2}\n' for k in range(4)]
    clips.insert(3, 'bad.avi 1\n')
    (root / 'five.txt').write_text(''.join(clips))
    arguments = (tiny_config, trained / 'epoch_2.pth')
    options = ('--data-root', root, '--cfg-options',
               'test_dataloader.dataset.ann_file=five.txt',
               'test_dataloader.batch_size=2')
    done = nest.run('tools/test.py', *arguments, '--work-dir', 'w1', '--dump', '1.npz',
                    *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one = load_scores(tmp_path / '1.npz')
    assert one['unreadable'].tolist() == [False, False, False, True, False]
    expected = figures(done.stdout)
    assert expected['acc/num_unreadable'] == '1.0000'
    done = run_script('dist_test.sh', *arguments, 3, '--work-dir', 'w3', '--dump',
                      '3.npz', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same(load_scores(tmp_path / '3.npz'), one, 'score')
    assert figures(done.stdout) == expected
    (line,) = (tmp_path / 'w3' / 'bad_samples.txt').read_text().splitlines()
    assert 'bad.avi' in line


@pytest.fixture(scope='module')
def reid(nest, repo, tmp_path_factory):
    """(folder, config, data root with an unreadable tracklet, checkpoint)."""
    cwd = tmp_path_factory.mktemp('reid')
    config = cwd / 'reid.py'
    config.write_text(REID.format(base=str(repo / 'configs/reid/resnet14_tp_demo.py')))
    root = generate_reid_dataset(cwd / 'data', 4, 5, num_cameras=2, num_distractors=2,
                                 num_junk=1, progress=False)
    done = nest.run('tools/train.py', config, '--data-root', root, '--seed', 0,
                    '--work-dir', 'run', cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd, config, root, cwd / 'run' / 'epoch_1.pth'


def test_tracklets(nest, reid):
    cwd, config, root, checkpoint = reid
    folder = sorted((root / 'bbox_test').glob('0*'))[-1]
    first = sorted(folder.iterdir())[0].name
    for path in folder.glob(f'{first.split("F")[0]}*'):  # all frames of a tracklet
        path.write_bytes(b'no image')
    options = ('--data-root', root)
    done = nest.run('tools/test.py', config, checkpoint, '--work-dir', 'w1', '--dump',
                    '1.npz', *options, cwd=cwd)
    assert done.returncode == 0, done.stderr
    one = load_features(cwd / '1.npz')
    num = len(one['tracklet_id'])
    assert one['unreadable'].sum() == 1
    assert len(set(zip(one['subset'], one['tracklet_id']))) == num
    expected = figures(done.stdout)
    assert 'reid/mAP' in expected
    uneven = [size for size in (2, 3) if num % size]
    assert uneven
    for size in uneven:
        done = run_script('dist_test.sh', config, checkpoint, size, '--work-dir',
                          f'w{size}', '--dump', f'{size}.npz', *options, cwd=cwd)
        assert done.returncode == 0, done.stderr
        assert_same(load_features(cwd / f'{size}.npz'), one, 'feature')
        assert figures(done.stdout) == expected
