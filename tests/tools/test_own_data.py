"""Data of one's own: the commands that prepare_data.py prints lead to an answer."""
import re
import shlex

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from tests.action_data import write_video
from tests.conftest import REPO
from tests.tool_process import assert_refused
from tests.video_data import encode

PREPARE = 'tools/prepare_data.py'
# What makes a training of one epoch of what is printed.
SHORT = ('--epochs', 1, '--workers', 0)


def printed_commands(done):
    """Arguments of each command that a tool says to run next."""
    return [shlex.split(line)[2:] for line in done.stdout.splitlines()
            if line.startswith('next: ')]


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """3 classes x 12 clips in containers of all kinds, no two of them equal."""
    folder, number = tmp_path_factory.mktemp('my videos'), 0
    for label in ('run', 'walk (slow)', 'wave'):
        (folder / label / 'more').mkdir(parents=True)
        for k in range(12):
            number += 1
            suffix = ('mp4', 'MKV', 'avi', 'mov', 'm4v', 'mpg')[k % 6]
            name = f'{"abcdefghijkl"[k]}.{suffix}'
            encode(folder / label / ('more' if k == 5 else '') / name,
                   'mpeg1video' if name.endswith('mpg') else 'mpeg4',
                   times=range(8 + number))
    return folder


def test_from_a_folder_of_videos_to_a_named_class(nest, videos, tmp_path):
    out = tmp_path / "my model's data"
    done = nest.ok(PREPARE, 'folder', '--videos', videos, '--out', out.name,
                   '--num-workers', 0, cwd=tmp_path)
    train, demo = printed_commands(done)
    assert re.search(r'^walk \(slow\) +10 +2$', done.stdout, re.M)

    nest.ok(*train, *SHORT, cwd=tmp_path)
    answer = nest.ok(*demo, cwd=tmp_path).stdout

    assert re.search(r'^ +\d+\.\d\d%  (run|walk \(slow\)|wave)$', answer, re.M)
    cfg = Config.fromfile(out / 'config.py')
    assert len((out / 'config.py').read_text().splitlines()) <= 16
    loader = cfg.train_dataloader
    assert 20 <= 30 * loader.dataset.times // loader.batch_size < 25  # steps an epoch
    tested = nest.ok('tools/test.py', out / 'config.py', cwd=tmp_path / out.name)
    assert 'acc/top1' in tested.stdout + tested.stderr


def test_from_crops_of_persons_to_a_ranked_search(nest, tmp_path):
    rng = np.random.default_rng(0)
    for person in range(6):
        for camera in ('cam1', 'cam2'):
            folder = tmp_path / 'crops' / f'anna {person}' / camera / '1'
            folder.mkdir(parents=True)
            for k in range(4):
                cv2.imwrite(str(folder / f'{k}.png'), rng.integers(
                    0, 40 * (person + 1), (40, 20, 3), np.uint8))
    (folder / '0.png').write_bytes(b'no image')
    done = nest.ok(PREPARE, 'tracklets', '--images', 'crops', '--out', 'reid',
                   '--num-workers', 0, cwd=tmp_path)
    train, test, index, search = printed_commands(done)
    assert 'anna 5/cam2/1/0.png: ' in (tmp_path / 'reid' / 'left_out.txt').read_text()

    nest.ok(*train, *SHORT, cwd=tmp_path)
    tested = nest.ok(*test, cwd=tmp_path)
    assert 'mAP' in tested.stdout + tested.stderr
    nest.ok(*index, cwd=tmp_path)
    ranked = nest.ok(*search, cwd=tmp_path).stdout

    query = re.search(r'anna \d/cam\d/1', search[3])[0]
    assert re.search(rf'^ +1 +0\.0000  {query}$', ranked, re.M)  # it is in the gallery


def test_one_camera_trains_without_a_validation(nest, tmp_path):
    for person in 'abcd':
        for number in (1, 2):
            folder = tmp_path / 'crops' / person / 'cam1' / str(number)
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / '0.jpg'), np.full((32, 16, 3), 9, np.uint8))
    done = nest.ok(PREPARE, 'tracklets', '--images', 'crops', '--out', 'reid',
                   '--num-workers', 0, cwd=tmp_path)
    train, index, _ = printed_commands(done)
    assert train[-1] == '--no-validate'
    assert index[1] == 'index'


def test_what_cannot_be_used_is_named_and_left_out(nest, tmp_path):
    for number, name in enumerate(('a/1.avi', 'a/2.avi', 'b/1.avi', 'b/2.avi')):
        write_video(tmp_path / 'v' / name, 4, seed=number)
    (tmp_path / 'v' / 'b' / '3.mp4').write_text('no video')
    (tmp_path / 'v' / 'b' / 'notes.txt').write_text('about them')
    (tmp_path / 'v' / 'a' / '3.avi').write_bytes((tmp_path / 'v/a/1.avi').read_bytes())
    for path in ('a/4.avi', 'b/4.avi'):  # one clip of two classes
        write_video(tmp_path / 'v' / path, 4, seed=9)

    done = nest.ok(PREPARE, 'folder', '--videos', 'v', '--out', 'o', '--num-workers', 2,
                   cwd=tmp_path)

    left_out = (tmp_path / 'o' / 'left_out.txt').read_text()
    assert sorted(re.findall(r'^(\S+): ', left_out, re.M)) == [
        'a/3.avi', 'a/4.avi', 'b/3.mp4', 'b/4.avi']
    assert 'copy of a/1.avi' in left_out
    assert 'left_out.txt' in done.stdout
    assert '.txt' in done.stdout.replace('left_out.txt', '')
    sides = [(tmp_path / 'o' / f'o_{side}_split_1_videos.txt').read_text().split('\n')
             for side in ('train', 'val')]
    assert sorted(line for side in sides for line in side if line) == [
        'a/1.avi 0', 'a/2.avi 0', 'b/1.avi 1', 'b/2.avi 1']


@pytest.mark.parametrize(('options', 'word'), [
    (('--videos', 'nowhere'), 'nowhere'),
    (('--videos', 'flat'), 'class'),
    (('--videos', 'v', '--list', 'two.csv'), 'several'),
    (('--videos', 'v', '--base', 'resnext101_cosam_bert_hmdb'), 'no config'),
    (('--videos', 'v', '--base', 'i3d_bert_hmdb51_flow'), 'ActionFrameDataset'),
    (('--videos', 'v', '--base', 'reid/resnet50_tp_mars'), 'MARS'),
    (('--videos', 'v', '--group-by', 'no group'), 'group'),
    (('--videos', 'v', '--group-by', '(.)'), 'recording'),
    (('--videos', 'v', '--val-list', 'two.csv'), 'unknown'),
    (('--videos', 'one'), 'two classes')])
def test_refused_and_nothing_is_left_behind(nest, tmp_path, options, word):
    for name in ('v/a/x.avi', 'v/b/y.avi', 'one/a/x.avi', 'flat/x.avi'):
        write_video(tmp_path / name, 3, seed=ord(name[-5]))
    (tmp_path / 'two.csv').write_text('c/x.avi,a,b\n')
    done = nest.run(PREPARE, 'folder', *options, '--out', 'deep/out',
                    '--num-workers', 0, cwd=tmp_path)
    assert_refused(done, word)
    assert not (tmp_path / 'deep').exists()


def test_recipe_of_the_paper_moves_weights_at_every_batch(nest, tmp_path):
    for seed, name in enumerate(('a/x.avi', 'a/y.avi', 'b/x.avi', 'b/y.avi')):
        write_video(tmp_path / 'v' / name, 3, seed=seed)
    nest.ok(PREPARE, 'folder', '--videos', 'v', '--out', 'o', '--num-workers', 0,
            '--base', REPO / 'configs' / 'resnext101_cosam_bert_hmdb51.py',
            cwd=tmp_path)
    cfg = Config.fromfile(tmp_path / 'o' / 'config.py')
    assert cfg.optim_wrapper.accumulative_counts == 1
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.train_dataloader.dataset.times == 20
    assert cfg.test_dataloader.dataset.pipeline[-3].type == 'TenCrop'


def test_blended_labels_are_of_own_classes(nest, tmp_path):
    for seed, name in enumerate(('a/x.avi', 'a/y.avi', 'b/x.avi', 'b/y.avi')):
        write_video(tmp_path / 'v' / name, 3, seed=seed)
    nest.ok(PREPARE, 'folder', '--videos', 'v', '--out', 'o', '--num-workers', 0,
            '--base', 'resnext101_bert_ucf101_strong', cwd=tmp_path)
    cfg = Config.fromfile(tmp_path / 'o' / 'config.py')
    assert [(one.type, one.num_classes)
            for one in cfg.model.data_preprocessor.blending.augments] == [
        ('MixupBlending', 2), ('CutmixBlending', 2)]
