"""Unequal classes and several data sets: trainings on what wraps and joins them."""
import math
import re
import shutil
from collections import Counter

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from mmengine.registry import DefaultScope

from cosam_mm.datasets.action_dataset import ActionFrameDataset, ActionVideoDataset
from cosam_mm.datasets.class_weights import class_weights
from cosam_mm.datasets.joined_dataset import JoinedDataset
from cosam_mm.datasets.reid import TrackletFolder
from cosam_mm.engine.hooks.unreadable_samples_hook import listed_samples
from cosam_mm.utils.io import read_checkpoint
from tests.action_data import write_data_root, write_frames
from tests.gallery_data import write_tracklet

JOINED = '''
_base_ = [{base!r}]
part = dict(type='ActionVideoDataset', name='demo', num_classes=8, data_root={root!r},
            pipeline={{{{_base_.train_dataloader.dataset.pipeline}}}})
joined = dict({joined}, datasets=[part, dict(part, data_root={other!r}, name='more')])
train_dataloader = dict(dataset=dict(_delete_=True, **{wrapped}))
train_cfg = dict(max_epochs=1)
'''
OURS = "type='JoinedDataset'"
KINDS = {  # type of what joins 4 and 6 clips, what is around it, iterations of 2 clips
    'joined': (OURS, 'joined', 5),
    'concatenated': ("type='mmengine.ConcatDataset', ignore_keys=['dataset']",
                     'joined', 5),
    'repeated': (OURS, "dict(type='RepeatDataset', times=2, dataset=joined)", 10),
    # 7 of the 10 clips are of class 0; each of the others is seen
    # ceil(sqrt(0.5 / 0.3)) = 2 times.
    'balanced': (OURS, "dict(type='ClassBalancedDataset', oversample_thr=0.5, "
                 'dataset=joined)', 7),
}


@pytest.fixture(scope='module')
def more(tmp_path_factory):
    """Six other clips, five of class 0, the last of which is no video."""
    root = write_data_root(tmp_path_factory.mktemp('data') / 'more', 'more', 8,
                           num_clips=6, train_seed=300)
    path = root / 'more_train_split_1_videos.txt'
    lines = path.read_text().splitlines()
    kept = [line for line in lines if line.endswith(' 0')]
    for k in range(2):
        copy = root / 'videos' / 'class 0' / f'other {k}.avi'
        shutil.copyfile(root / 'videos' / lines[2 * k + 1].rsplit(' ', 1)[0], copy)
        kept.append(f'class 0/{copy.name} 0')
    (root / 'videos' / 'class 1' / 'broken.avi').write_bytes(b'')
    path.write_text('\n'.join([*kept, 'class 1/broken.avi 1']) + '\n')
    return root


@pytest.fixture(scope='module')
def config_of(tiny_config, demo_root, more, tmp_path_factory):
    def write(kind):
        joined, wrapped, _ = KINDS[kind]
        path = tmp_path_factory.mktemp('config') / f'{kind}.py'
        path.write_text(JOINED.format(
            base=str(tiny_config), root=str(demo_root), other=str(more), joined=joined,
            wrapped=wrapped))
        return path
    return write


def weights_of(work_dir):
    return read_checkpoint(work_dir / 'epoch_1.pth')['state_dict']


@pytest.mark.parametrize('kind', KINDS)
def test_training(kind, nest, config_of, demo_root, more, tmp_path):
    arguments = ('tools/train.py', config_of(kind), '--seed', 1, '--no-validate')
    done = nest.ok(*arguments, '--work-dir', 'a', '--workers', 1, cwd=tmp_path)
    num_batches = KINDS[kind][2]
    assert re.search(rf'\[1\]\[ *{num_batches}/{num_batches}\]', done.stdout)
    (line,) = listed_samples(tmp_path / 'a')
    assert str(more / 'videos' / 'class 1' / 'broken.avi') in line
    # Of the clips that there are, however often each is seen.
    assert '1 of 10 samples (train, 10.0%)' in done.stdout
    checkpoint = read_checkpoint(tmp_path / 'a' / 'epoch_1.pth')
    assert {one['dataset'] for one in checkpoint['meta']['trained_on']} == {
        'demo', 'more'}
    done = nest.run('tools/test.py', config_of(kind), tmp_path / 'a' / 'epoch_1.pth',
                    '--data-root', more, '--cfg-options',
                    'test_dataloader.dataset.name=more', cwd=tmp_path)
    assert 'several folders' in done.stderr
    # What the workers did, the process itself does.
    nest.ok(*arguments, '--work-dir', 'b', '--workers', 0, cwd=tmp_path)
    torch.testing.assert_close(weights_of(tmp_path / 'a'), weights_of(tmp_path / 'b'),
                               rtol=0, atol=0)


def test_weights_of_classes(nest, config_of, tiny_config, demo_root, tmp_path):
    """The same training with the numbers; a test with what stands in the config."""
    setting = 'model.cls_head.loss_cls.class_weight'
    # 7 and 3 of 10 clips; the other six classes have none.
    numbers = [10 / (2 * 7), 10 / (2 * 3), *[1.] * 6]
    for run, value in (('auto', 'auto'), ('list', f'[{",".join(map(str, numbers))}]')):
        options = (f'{setting}={value}',) if run == 'auto' else (
            'model.cls_head.loss_cls.type=CrossEntropyLoss', f'{setting}={value}')
        done = nest.ok('tools/train.py', config_of('joined'), '--seed', 1, '--work-dir',
                       run, '--no-validate', '--cfg-options', *options, cwd=tmp_path)
    torch.testing.assert_close(weights_of(tmp_path / 'auto'),
                               weights_of(tmp_path / 'list'), rtol=0, atol=0)
    done = nest.ok('tools/train.py', config_of('joined'), '--seed', 1, '--work-dir',
                   'none', '--no-validate', cwd=tmp_path)
    key = 'cls_head.fc_cls.bias'
    assert not torch.equal(weights_of(tmp_path / 'auto')[key],
                           weights_of(tmp_path / 'none')[key])
    kept = Config.fromfile(next((tmp_path / 'auto').glob('*.py')))
    assert kept.model.cls_head.loss_cls.class_weight == pytest.approx(numbers)
    done = nest.run('tools/train.py', config_of('joined'), '--batch-size', 1,
                    '--cfg-options', f'{setting}=auto', cwd=tmp_path)
    assert done.returncode == 2
    assert 'batch' in done.stderr
    nest.ok('tools/test.py', tiny_config, tmp_path / 'auto' / 'epoch_1.pth',
            '--data-root', demo_root, '--cfg-options', f'{setting}=auto', cwd=tmp_path)
    nest.ok('tools/analysis_tools/get_flops.py', tiny_config, '--cfg-options',
            f'{setting}=auto', cwd=tmp_path)


# -- weights -------------------------------------------------------------------


def clips(root, name='demo', **settings):
    return ActionVideoDataset(str(root), name, [], 8, **settings)


@pytest.mark.parametrize('wrap', [
    lambda one: one, lambda one: RepeatDataset(one, 3),
    lambda one: ClassBalancedDataset(one, 0.7)])
def test_automatic_weights_are_one_on_average(wrap, demo_root, more):
    dataset = wrap(clips(more, 'more'))
    weights = class_weights('auto', dataset, 8)
    labels = [dataset.get_data_info(k)['label'] for k in range(len(dataset))]
    counts = Counter(labels)
    assert weights[0] / weights[1] == pytest.approx(counts[1] / counts[0])
    assert sum(weights[label] for label in labels) == pytest.approx(len(labels))


def test_weights_by_name(demo_root):
    weights = class_weights({'class 1': 3, 'c4': 0.5}, clips(demo_root), 8)
    assert weights == [1, 3, 1, 1, 0.5, 1, 1, 1]


@pytest.mark.parametrize(('wanted', 'word'), [
    ('balanced', 'auto'), ({'class 9': 1}, 'class 9'), ({'c4': -1}, 'c4'),
    ({'c4': math.inf}, 'c4'), ({'c4': 'x'}, 'c4')])
def test_weights_that_are_none(wanted, word, demo_root):
    with pytest.raises(ValueError, match=word):
        class_weights(wanted, clips(demo_root), 8)


# -- joining -------------------------------------------------------------------


def test_joined_data_set_names_its_parts(demo_root, more):
    parts = [clips(demo_root), clips(more, 'more'), clips(demo_root, split=2)]
    joined = JoinedDataset(parts)
    assert joined.metainfo['dataset'] == 'demo + more'
    assert joined.metainfo['split'] == '1 + 2'
    assert joined.metainfo['classes'] == parts[0].metainfo['classes']
    assert [joined.get_cat_ids(k) for k in range(len(joined))] == [
        part.get_cat_ids(k) for part in parts for k in range(len(part))]


@pytest.mark.parametrize(('change', 'word'), [
    (lambda names: [names[1], names[0], *names[2:]], 'Label 0'),
    (lambda names: names[:-1], 'Label 7')])
def test_other_classes_are_not_joined(change, word, demo_root, tmp_path):
    other = shutil.copytree(demo_root, tmp_path / 'other')
    names = change((other / 'demo_classes.txt').read_text().splitlines())
    (other / 'demo_classes.txt').write_text('\n'.join(names) + '\n')
    for path in other.glob('*.txt'):
        path.write_text(path.read_text().replace('class 0/', 'a/').replace(
            'class 1/', 'b/'))
    with pytest.raises(ValueError, match=word):
        JoinedDataset([clips(demo_root), ActionVideoDataset(
            str(other), 'demo', [], len(names))])


def test_balance_of_persons(tmp_path):
    for pid, count in (('a', 1), ('b', 4)):
        for k in range(count):
            write_tracklet(tmp_path / pid / f'c{k % 2}' / f't{k}', 2, seed=k)
    dataset = TrackletFolder(str(tmp_path), 'train', train_fraction=1)
    balanced = ClassBalancedDataset(dataset, 0.8)
    seen = Counter(balanced.get_data_info(k)['pid'] for k in range(len(balanced)))
    # ceil(sqrt(0.8 / 0.2)) = 2 times one tracklet, once each of four.
    assert sorted(seen.values()) == [2, 4]


# -- names of frames -----------------------------------------------------------


@pytest.fixture
def frames(tmp_path):
    """Three clips of 8 frames, ``frame_0000.jpg`` to ``frame_0007.jpg``."""
    for clip in 'abc':
        folder = tmp_path / 'rawframes' / clip
        write_frames(folder, 8)
        for k in range(8):
            (folder / f'img_{k + 1:05}.jpg').rename(folder / f'frame_{k:04}.jpg')
    (tmp_path / 'mine_train_split_1_rawframes.txt').write_text('a 8 0\nb 8 1\nc 8 1\n')
    return tmp_path


def read_all(root, **settings):
    """Numbers of the frames of each clip that can be read."""
    pipeline = [dict(type='SampleFrames', clip_len=8, frame_interval=1, num_clips=1,
                     test_mode=True), dict(type='SafeRawFrameDecode')]
    with DefaultScope.overwrite_default_scope('mmaction'):
        dataset = ActionFrameDataset(str(root), 'mine', pipeline, 2, **settings)
    return [dataset.pipeline(dataset.get_data_info(k)) for k in range(len(dataset))]


def test_frames_that_count_from_zero(frames):
    found = read_all(frames, filename_tmpl='frame_{:04}.jpg', start_index=0)
    assert [one['frame_inds'].tolist() for one in found] == [list(range(8))] * 3
    (frames / 'rawframes' / 'b' / 'frame_0003.jpg').unlink()
    first, gap, last = read_all(frames, filename_tmpl='frame_{:04}.jpg', start_index=0)
    assert gap is None
    assert len(first['imgs']) == len(last['imgs']) == 8


@pytest.mark.parametrize('settings', [
    {}, dict(filename_tmpl='frame_{:04}.jpg'), dict(start_index=0),
    dict(filename_tmpl='frame_{:05}.jpg', start_index=0),
    dict(filename_tmpl='frame_{:04}.jpg', start_index=-1)])
def test_frames_of_other_names_are_refused(frames, settings):
    with pytest.raises(ValueError, match='start_index'):
        read_all(frames, **settings)


def test_first_clip_may_lack_frames(frames):
    for number in (0, 7):
        path = frames / 'rawframes' / 'a' / f'frame_{number:04}.jpg'
        kept = path.rename(frames / 'kept.jpg')
        found = read_all(frames, filename_tmpl='frame_{:04}.jpg', start_index=0)
        assert [one is None for one in found] == [True, False, False]
        kept.rename(path)
