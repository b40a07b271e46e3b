"""Annotation lists, what data sets say about themselves, and epochs over bad files."""
import logging
import os

import cv2
import numpy as np
import pytest
import torch
from mmaction.datasets import RawframeDataset, VideoDataset
from mmaction.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from cosam_mm.datasets.action_dataset import ActionFrameDataset, ActionVideoDataset

NAMES = ['wave/a b&[c]!;#(d).avi', 'wave/plain.avi', 'brush hair/x.y.avi', 'run/r.avi']
LABELS = [1, 1, 0, 2]


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def write_video(path, num_frames=12):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'MJPG'), 25, (64, 32))
    rng = np.random.default_rng(num_frames)
    for _ in range(num_frames):
        writer.write(rng.integers(0, 255, (32, 64, 3), dtype=np.uint8))
    writer.release()


@pytest.fixture
def root(tmp_path):
    """A prepared data set of four clips as videos and as frames."""
    root = tmp_path / 'toy'
    for name in NAMES:
        write_video(root / 'videos' / name)
        folder = root / 'rawframes' / os.path.splitext(name)[0]
        folder.mkdir(parents=True)
        for number in range(1, 7):
            for kind in ('img', 'flow_x', 'flow_y'):
                image = np.full((32, 48, 3), 9 * number, np.uint8)
                cv2.imwrite(str(folder / f'{kind}_{number:05}.jpg'), image)
    (root / 'toy_classes.txt').write_text('brush hair\nwave\nrun\n')
    for split in (1, 2):
        for subset, chosen in (('train', slice(0, 3)), ('val', slice(3, 4))):
            pairs = list(zip(NAMES, LABELS))[chosen]
            stem = f'toy_{subset}_split_{split}'
            (root / f'{stem}_videos.txt').write_text(
                ''.join(f'{name} {label}\n' for name, label in pairs))
            (root / f'{stem}_rawframes.txt').write_text(
                ''.join(f'{os.path.splitext(name)[0]} 6 {label}\n'
                        for name, label in pairs))
    return root


def video_pipeline(on_unreadable='skip', clip_len=8):
    return [
        dict(type='SafeDecordInit', on_unreadable=on_unreadable),
        dict(type='SampleFrames', clip_len=clip_len, test_mode=True),
        dict(type='SafeDecordDecode'),
        dict(type='Resize', scale=(24, 16), keep_ratio=False),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs',
             meta_keys=('img_shape', 'sample_id', 'unreadable'))]


def frame_pipeline():
    return [
        dict(type='SampleFrames', clip_len=8, test_mode=True),
        dict(type='RawFrameDecode'),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs', meta_keys=('img_shape', 'sample_id'))]


def build(root, kind='Video', **kwargs):
    config = dict(
        type=f'Action{kind}Dataset', data_root=str(root), name='toy', num_classes=3,
        pipeline=video_pipeline() if kind == 'Video' else frame_pipeline())
    return DATASETS.build({**config, **kwargs})


class TestItems:

    def test_videos(self, root):
        dataset = build(root)
        assert isinstance(dataset, ActionVideoDataset)
        assert isinstance(dataset, VideoDataset)
        assert len(dataset) == 3
        for k in range(3):
            info = dataset.get_data_info(k)
            assert info['filename'] == str(root / 'videos' / NAMES[k])
            assert info['label'] == LABELS[k]
            assert info['start_index'] == 0
            sample = dataset[k]
            assert sample['inputs'].shape == (1, 3, 8, 16, 24)
            assert sample['data_samples'].gt_label.item() == LABELS[k]
            assert sample['data_samples'].sample_id == os.path.splitext(NAMES[k])[0]

    @pytest.mark.parametrize(('modality', 'channels'), [('RGB', 3), ('Flow', 2)])
    def test_frames(self, root, modality, channels):
        dataset = build(root, 'Frame', modality=modality)
        assert isinstance(dataset, ActionFrameDataset)
        assert isinstance(dataset, RawframeDataset)
        for k in range(3):
            info = dataset.get_data_info(k)
            assert info['total_frames'] == 6
            assert info['start_index'] == 1
            inputs = dataset[k]['inputs']
            assert inputs.shape == (1, channels, 8, 32, 48)
            # Six frames of grey 9, 18, …, looped.
            levels = inputs[0, 0].float().mean((1, 2))
            expected = 9. * (torch.arange(8) % 6 + 1)
            assert torch.allclose(levels, expected, atol=1)

    def test_ids_of_videos_and_frames_agree(self, root):
        videos, frames = build(root), build(root, 'Frame')
        assert [videos.get_data_info(k)['sample_id'] for k in range(3)] == [
            frames.get_data_info(k)['sample_id'] for k in range(3)]

    def test_other_template_and_folder(self, root):
        os.rename(root / 'rawframes', root / 'elsewhere')
        dataset = build(root, 'Frame', data_prefix=dict(img='elsewhere'),
                        filename_tmpl='flow_x_{:05}.jpg')
        assert dataset[0]['inputs'].shape == (1, 3, 8, 32, 48)

    def test_subset_and_own_list(self, root, tmp_path):
        assert len(build(root, subset='val')) == 1
        (root / 'mine.txt').write_text('run/r.avi 2\n\n')
        assert len(build(root, ann_file='mine.txt')) == 1
        assert len(build(root, ann_file=str(root / 'mine.txt'))) == 1

    def test_list_with_byte_order_mark_and_dos_lines(self, root):
        (root / 'dos.txt').write_bytes(
            b'\xef\xbb\xbfwave/plain.avi 1\r\nrun/r.avi   2 \r\n')
        dataset = build(root, ann_file='dos.txt')
        assert [dataset.get_data_info(k)['sample_id'] for k in range(2)] == [
            'wave/plain', 'run/r']


class TestMetainfo:

    def test_says_data_set_split_and_classes(self, root):
        for subset in ('train', 'val'):
            assert build(root, split=2, subset=subset).metainfo == dict(
                dataset='toy', split=2, classes=('brush hair', 'wave', 'run'))

    def test_without_class_names(self, root):
        os.remove(root / 'toy_classes.txt')
        assert build(root).metainfo == dict(dataset='toy', split=1)


class TestErrors:

    @pytest.mark.parametrize(('kind', 'line', 'reason'), [
        ('Video', 'wave/a.avi', 'PATH LABEL'), ('Video', 'wave/a.avi one', "'one'"),
        ('Video', 'wave/a.avi 1.0', "'1.0'"), ('Video', 'wave/a.avi 3', 'label 3'),
        ('Video', 'wave/a.avi -1', 'label -1'), ('Video', '../a.avi 1', 'root'),
        ('Video', 'wave/../../a.avi 1', 'root'), ('Video', '/etc/a.avi 1', 'root'),
        ('Frame', 'wave/a 1', 'PATH NUM_FRAMES LABEL'), ('Frame', 'wave/a 0 1', '0'),
        ('Frame', 'wave/a -5 1', '-5'), ('Frame', 'wave/a b 1', "'b'"),
        ('Frame', 'wave/a 6 7', 'label 7'), ('Frame', '../a 6 1', 'root')])
    def test_line(self, root, kind, line, reason):
        first = 'wave/plain 6 1' if kind == 'Frame' else 'wave/plain.avi 1'
        (root / 'bad.txt').write_text(f'{first}\n\n{line}\n')
        with pytest.raises(ValueError, match=rf'bad\.txt:3: .*{reason}.*{line}'):
            build(root, kind, ann_file='bad.txt')

    @pytest.mark.parametrize(('subset', 'num_more', 'is_refused'), [
        ('val', 0, False), ('val', 1, False), ('val', 2, True), ('train', 2, False)])
    def test_clips_that_are_listed_twice(self, root, log, subset, num_more, is_refused):
        lines = [f'wave/{k}.avi 1\n' for k in [*range(30), *range(num_more)]]
        (root / 'own.txt').write_text(''.join(lines))
        arguments = dict(ann_file='own.txt', subset=subset)
        if is_refused:
            with pytest.raises(ValueError, match=r"2 of 32 lines.*'wave/0.avi'"):
                build(root, **arguments)
            return
        assert len(build(root, **arguments)) == 30 + num_more
        warnings = log(logging.WARNING)
        assert len(warnings) == (num_more > 0)
        assert all(f'{num_more} of {30 + num_more} lines' in one for one in warnings)

    @pytest.mark.parametrize(('content', 'reason'), [
        (b'', 'empty'), (b'\n \n', 'empty'),
        ('wave/ü.avi 1'.encode('latin-1'), 'UTF-8')])
    def test_lists_without_lines_say_how_to_prepare(self, root, content, reason):
        (root / 'bad.txt').write_bytes(content)
        with pytest.raises(ValueError, match=rf'bad\.txt .*{reason}.*prepare_data\.py'):
            build(root, ann_file='bad.txt')

    @pytest.mark.parametrize(('name', 'kind', 'options', 'command'), [
        ('hmdb51', 'Video', {}, 'hmdb51 --videos DIR --splits DIR --out OUT'),
        ('ucf101', 'Frame', {}, 'ucf101 .* --frames'),
        ('ucf101', 'Frame', dict(modality='Flow'), 'ucf101 .* --flow tvl1'),
        ('demo', 'Video', {}, 'demo --out OUT'),
        ('mine', 'Video', {}, 'folder --videos DIR --out OUT')])
    def test_missing_data_root(self, tmp_path, name, kind, options, command):
        missing = str(tmp_path / 'nothing')
        command = command.replace('OUT', missing)
        with pytest.raises(FileNotFoundError, match=rf'prepare_data\.py {command}'):
            build(missing, kind, name=name, **options)

    def test_missing_list_and_folder(self, root):
        with pytest.raises(FileNotFoundError, match='toy_train_split_3_videos.txt'):
            build(root, split=3)
        with pytest.raises(FileNotFoundError, match='nowhere'):
            build(root, data_prefix=dict(video='nowhere'))

    def test_number_of_classes(self, root):
        with pytest.raises(ValueError, match='3 classes.*51'):
            build(root, num_classes=51)

    @pytest.mark.parametrize(('kind', 'name', 'value'), [
        ('Video', 'subset', 'test'), ('Video', 'split', 0), ('Video', 'split', '1'),
        ('Video', 'num_classes', 0), ('Video', 'modality', 'Flow'),
        ('Frame', 'modality', 'Depth'), ('Video', 'data_prefix', dict(img='x'))])
    def test_arguments(self, root, kind, name, value):
        with pytest.raises(ValueError, match=name):
            build(root, kind, **{name: value})

    def test_misspelt_argument(self, root):
        for name in ('test_modes', 'multi_class', 'filename_tmpl'):
            with pytest.raises(TypeError, match=name):
                build(root, **{name: True})


@pytest.fixture
def broken_root(root):
    """Two of the three training clips of split 1 and the test clip are broken."""
    (root / 'videos' / NAMES[0]).write_bytes(b'')
    (root / 'videos' / NAMES[1]).write_text('no video')
    os.remove(root / 'videos' / NAMES[3])
    return root


class TestBrokenFiles:

    @pytest.mark.parametrize('num_workers', [0, 2])
    @pytest.mark.filterwarnings('ignore:This process .* is multi-threaded')
    def test_training_epochs_go_on(self, broken_root, num_workers):
        loader = DataLoader(
            build(broken_root), batch_size=3, collate_fn=pseudo_collate,
            num_workers=num_workers)
        for batch in loader:
            assert len(batch['inputs']) == 3
            ids = {sample.sample_id for sample in batch['data_samples']}
            assert ids == {'brush hair/x.y'}

    def test_test_epoch_marks_what_is_broken(self, broken_root):
        dataset = build(
            broken_root, subset='val', test_mode=True,
            pipeline=video_pipeline('blank'))
        sample, = (dataset[k] for k in range(len(dataset)))
        assert sample['inputs'].shape == (1, 3, 8, 16, 24)
        assert not sample['inputs'].any()
        assert sample['data_samples'].unreadable is True
        assert sample['data_samples'].sample_id == 'run/r'

    def test_nothing_readable_in_training(self, broken_root):
        os.remove(broken_root / 'videos' / NAMES[2])
        dataset = build(broken_root)
        with pytest.raises(RuntimeError) as error:
            dataset[0]
        for word in ('101', 'prepare_data.py', *(
                repr(os.path.splitext(name)[0]) for name in NAMES[:3])):
            assert word in str(error.value)
        with pytest.raises(RuntimeError, match='3 attempt'):
            build(broken_root, max_refetch=2)[0]

    def test_skipping_in_a_test_is_refused(self, broken_root):
        dataset = build(broken_root, subset='val', test_mode=True)
        with pytest.raises(RuntimeError, match='on_unreadable'):
            dataset[0]

    def test_shorter_than_a_clip(self, root):
        write_video(root / 'videos' / NAMES[0], num_frames=5)
        dataset = build(root, pipeline=video_pipeline(clip_len=64))
        inputs = dataset[0]['inputs'][0]
        assert inputs.shape == (3, 64, 16, 24)
        assert torch.equal(inputs[:, :59], inputs[:, 5:])
