"""``tools/demo.py`` as a process: the classes of a video file."""
import re
import shutil

import numpy as np
import pytest
import torch

from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.utils.io import read_checkpoint
from tests.tool_process import assert_refused

TOOL = 'tools/demo.py'
CLIP = 'class 1/clip (a&b) 1'


@pytest.fixture(scope='module')
def video(demo_root):
    return demo_root / 'videos' / f'{CLIP}.avi'


@pytest.fixture(scope='module')
def expected(nest, trained, tiny_config, demo_root, tmp_path_factory):
    """(name, per cent) of each class, computed from the scores of a test."""
    cwd = tmp_path_factory.mktemp('scores')
    nest.ok('tools/test.py', tiny_config, trained / 'epoch_2.pth',
            '--data-root', demo_root, '--dump', 'scores.npz', cwd=cwd)
    scores = load_scores(cwd / 'scores.npz')
    score = scores['score'][scores['sample_id'].tolist().index(CLIP)].astype(float)
    names = (demo_root / 'demo_classes.txt').read_text().splitlines()
    share = 100 * np.exp(score) / np.exp(score).sum()
    return [(names[k], share[k]) for k in np.argsort(-score)]


def read(printed):
    """(name, per cent) of each class."""
    return [(name, float(share)) for share, name in
            re.findall(r'^ +([\d.]+)%  (.*)$', printed, re.M)]


def assert_same(printed, expected):
    found = read(printed)
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (_, share), (_, other) in zip(found, expected):
        assert share == pytest.approx(other, abs=0.02)


def test_checkpoint_alone(nest, trained, video, expected, tmp_path):
    """The data root in the checkpoint's config is not looked at."""
    shutil.copy(trained / 'epoch_2.pth', tmp_path / 'model.pth')
    shutil.copy(video, tmp_path / 'my video (1).avi')
    done = nest.ok(TOOL, 'model.pth', 'my video (1).avi', '--topk', 3, cwd=tmp_path)
    assert done.stdout.startswith('my video (1).avi\n')
    assert_same(done.stdout, expected[:3])


def test_config_and_checkpoint(nest, trained, tiny_config, video, expected, tmp_path):
    done = nest.ok(TOOL, tiny_config, video, '--checkpoint', trained / 'epoch_2.pth',
                   cwd=tmp_path)
    assert f'checkpoint {trained / "epoch_2.pth"}\n' in done.stdout
    assert_same(done.stdout, expected[:5])


def test_fast(nest, trained, video, expected, tmp_path):
    done = nest.ok(TOOL, trained / 'epoch_2.pth', video, video, '--fast', '--topk', 1,
                   cwd=tmp_path)
    first, second = read(done.stdout)
    assert first == second
    assert first[1] == pytest.approx(expected[0][1], abs=1)


def test_config_alone_finds_the_work_dir(nest, training, tiny_config, video, tmp_path):
    done = nest.ok(TOOL, tiny_config, video, video, '--topk', 99, cwd=training[1])
    assert re.match(r'checkpoint work_dirs/tiny/split1/best_acc_top1_epoch_\d.pth\n',
                    done.stdout)
    found = read(done.stdout)
    assert found[:8] == found[8:]  # of both videos; there are 8 classes
    assert sum(share for _, share in found[:8]) == pytest.approx(100, abs=0.1)
    assert_refused(nest.run(TOOL, tiny_config, video, cwd=tmp_path), '--checkpoint')


def test_config_in_a_checkpoint_is_not_executed(nest, trained, video, tmp_path):
    line = "work_dir = __import__('os').system('touch harm')"
    checkpoint = read_checkpoint(trained / 'epoch_2.pth')
    checkpoint['meta']['cfg'] += f'\n{line}\n'
    number = len(checkpoint['meta']['cfg'].splitlines())
    torch.save(checkpoint, tmp_path / 'bad.pth')
    assert_refused(nest.run(TOOL, 'bad.pth', video, cwd=tmp_path), f'Line {number} ')
    assert not (tmp_path / 'harm').exists()
