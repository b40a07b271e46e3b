"""``tools/demo.py`` as a process: what is in a video file."""
import re
import shutil

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from cosam_mm.evaluation.metrics.action_metric import load_scores
from tests.tool_process import run_fresh

CLIP = 'class 1/clip (a&b) 1'


@pytest.fixture(scope='module')
def video(demo_root):
    return demo_root / 'videos' / f'{CLIP}.avi'


@pytest.fixture(scope='module')
def expected(nest, trained, tiny_config, demo_root, tmp_path_factory):
    """Printed lines of the clip, worked out from the scores of a test."""
    cwd = tmp_path_factory.mktemp('scores')
    done = nest.run('tools/test.py', tiny_config, trained / 'epoch_2.pth',
                    '--data-root', demo_root, '--dump', 'scores.npz', cwd=cwd)
    assert done.returncode == 0, done.stderr
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


def assert_error(done, *messages):
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith('error: ')
    for message in messages:
        assert message in last


def test_checkpoint_alone(repo, trained, video, expected, tmp_path):
    """The config in the checkpoint names a data root that is not looked at."""
    shutil.copy(trained / 'epoch_2.pth', tmp_path / 'model.pth')
    shutil.copy(video, tmp_path / 'my video (1).avi')

    done = run_fresh(repo / 'tools' / 'demo.py', 'model.pth', 'my video (1).avi',
                     '--topk', 3, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('my video (1).avi\n')
    assert_same(done.stdout, expected[:3])


def test_config_and_checkpoint(nest, trained, tiny_config, video, expected, tmp_path):
    done = nest.run('tools/demo.py', tiny_config, video, '--checkpoint',
                    trained / 'epoch_2.pth', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f'checkpoint {trained / "epoch_2.pth"}\n' in done.stdout
    assert_same(done.stdout, expected[:5])


def test_fast(nest, trained, video, expected, tmp_path):
    done = nest.run('tools/demo.py', trained / 'epoch_2.pth', video, video, '--fast',
                    '--topk', 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = read(done.stdout)
    assert first == second
    assert first[1] == pytest.approx(expected[0][1], abs=1)


def test_config_alone_finds_the_work_dir(nest, training, tiny_config, video, tmp_path):
    done = nest.run('tools/demo.py', tiny_config, video, video, '--topk', 99,
                    cwd=training[1])
    assert done.returncode == 0, done.stderr
    assert re.match(r'checkpoint work_dirs/tiny/split1/best_acc_top1_epoch_\d.pth\n',
                    done.stdout)
    found = read(done.stdout)
    assert found[:8] == found[8:]  # both videos, and no more classes than there are
    assert sum(share for _, share in found[:8]) == pytest.approx(100, abs=0.1)

    done = nest.run('tools/demo.py', tiny_config, video, cwd=tmp_path)
    assert_error(done, 'There is no checkpoint below work_dirs/tiny', '--checkpoint')


def test_video_that_cannot_be_read(nest, trained, tmp_path):
    (tmp_path / 'broken.avi').write_bytes(b'RIFF' + bytes(500))
    (tmp_path / 'empty.avi').write_bytes(b'')
    for name, message in (('broken.avi', 'broken.avi cannot be decoded'),
                          ('empty.avi', 'empty.avi cannot be decoded'),
                          ('no.avi', 'There is no video no.avi')):
        done = nest.run('tools/demo.py', trained / 'epoch_2.pth', name, cwd=tmp_path)
        assert_error(done, message)
        assert not read(done.stdout)


def test_real_video_that_only_opencv_reads(nest, trained, real_data_dir, tmp_path):
    (video,) = (real_data_dir / 'broken').glob('*.mp4')
    done = nest.run('tools/demo.py', trained / 'epoch_2.pth', video, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(read(done.stdout)) == 5


@pytest.mark.parametrize('line', [
    "__import__('os').system('touch harm')",
    "work_dir = __import__('os').system('touch harm')",
    "custom = dict(a=[open('harm', 'w')])",
    'import os',
    "model = dict(type='os.system', command='touch harm')",
    "hook = [dict(type=('os', 'system'))]",
    "model = {'type': 'subprocess.Popen', 'args': ['touch', 'harm']}",
    'default_scope = (',
])
def test_config_in_a_checkpoint_is_not_executed(nest, trained, video, tmp_path, line):
    checkpoint = torch.load(trained / 'epoch_2.pth', weights_only=True)
    checkpoint['meta']['cfg'] += f'\n{line}\n'
    number = len(checkpoint['meta']['cfg'].splitlines())
    torch.save(checkpoint, tmp_path / 'bad.pth')
    done = nest.run('tools/demo.py', 'bad.pth', video, cwd=tmp_path)
    assert_error(done, f"Line {number} of the checkpoint's config",
                 'give the config file that it was trained with')
    assert not (tmp_path / 'harm').exists()


def test_other_files_than_checkpoints(nest, trained, tiny_config, video, tmp_path):
    (tmp_path / 'text.pth').write_text('hello')
    whole = (trained / 'epoch_2.pth').read_bytes()
    (tmp_path / 'half.pth').write_bytes(whole[:len(whole) // 2])
    state_dict = torch.load(trained / 'epoch_2.pth', weights_only=True)['state_dict']
    torch.save(dict(state_dict=state_dict), tmp_path / 'bare.pth')
    del state_dict['cls_head.fc_cls.bias']
    torch.save(dict(state_dict=state_dict), tmp_path / 'less.pth')
    for name, message in (
            ('text.pth', 'text.pth cannot be read as a PyTorch checkpoint'),
            ('half.pth', 'half.pth cannot be read as a PyTorch checkpoint'),
            ('bare.pth', 'bare.pth holds no config: give the config file')):
        assert_error(nest.run('tools/demo.py', name, video, cwd=tmp_path), message)
    assert_error(nest.run('tools/demo.py', tiny_config, video, '--checkpoint',
                          'less.pth', cwd=tmp_path),
                 'less.pth does not fit the model', 'cls_head.fc_cls.bias')
    done = nest.run('tools/demo.py', tiny_config, video, '--checkpoint', 'bare.pth',
                    '--topk', 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(r'class \d$', read(done.stdout)[0][0])  # it names no classes


def test_model_of_optical_flow(nest, repo, video, tmp_path):
    cfg = Config.fromfile(repo / 'configs' / 'resnext101_bert_hmdb51_flow.py')
    cfg.model.backbone.update(depth=14, base_channels=8, groups=4, reduced_channels=32)
    cfg.model.cls_head.update(in_channels=32, temporal=dict(num_heads=4))
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text)),
               tmp_path / 'flow.pth')
    done = nest.run('tools/demo.py', 'flow.pth', video, cwd=tmp_path)
    assert_error(done, 'reads optical flow from folders of images, and a video file '
                 'does not do', 'tools/prepare_data.py', 'tools/test.py')


@pytest.mark.parametrize(('arguments', 'message'), [
    (['no.pth', 'x.avi'], 'there is no file no.pth'),
    (['{checkpoint}', 'x.avi', '--checkpoint', 'y.pth'], 'goes with a config file'),
    (['{checkpoint}'], 'the following arguments are required: video'),
    (['{checkpoint}', '{video}', '--views', 'ten'], "invalid choice: 'ten'"),
    (['{checkpoint}', '{video}', '--topk', '0'], 'topk must be at least 1, got 0'),
])
def test_wrong_arguments(nest, trained, video, tmp_path, arguments, message):
    values = {'{video}': video, '{checkpoint}': trained / 'epoch_2.pth'}
    done = nest.run('tools/demo.py', *(values.get(part, part) for part in arguments),
                    cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr
