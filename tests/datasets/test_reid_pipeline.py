"""From real image files to batches: packing, and loaders with workers."""
import pickle

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate, worker_init_fn
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from cosam_mm.datasets.reid import PackTrackletInputs, PKSampler, TrackletDataSample

SIZE = (32, 16)
RESULTS = dict(pid=7, label=2, camid=3, subset='train', tracklet_id='7/3/a',
               dataset='own', num_frames=9, num_clips=2, clip_len=3,
               clip_sampling='all_clips, 3 frames')
TRAIN = [
    dict(type='SampleTrackletFrames', num_frames=4, mode='consecutive'),
    dict(type='LoadTrackletFrames'),
    dict(type='RandomTranslation2D', size=SIZE),
    dict(type='RandomFlipFrames'),
    dict(type='RandomErasingFrames'),
    dict(type='PackTrackletInputs')]


def whole_tracklets(on_unreadable='skip'):
    return [dict(type='SampleTrackletFrames', num_frames=4, mode='all_clips'),
            dict(type='LoadTrackletFrames', on_unreadable=on_unreadable),
            dict(type='ResizeFrames', size=SIZE),
            dict(type='PackTrackletInputs', extra_keys=['frame_inds'])]


def num_frames_of(pid, camid, tracklet):
    return 1 + (5 * pid + 3 * camid + 2 * tracklet) % 11


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Six persons; grey 30 * pid + 2 * frame, of many sizes that say whose they are."""
    root = tmp_path_factory.mktemp('own')
    for pid in range(1, 7):
        for camid in (1, 2):
            for tracklet in range(1 + pid % 3):
                folder = root / f'{pid}/{camid}/t{tracklet}'
                folder.mkdir(parents=True)
                for frame in range(num_frames_of(pid, camid, tracklet)):
                    image = np.full(
                        (30 + frame, 12 + 9 * pid + 4 * camid + tracklet, 3),
                        30 * pid + 2 * frame, np.uint8)
                    cv2.imwrite(str(folder / f'{frame}.png'), image)
    return root


def build(root, subset='train', pipeline=TRAIN, **kwargs):
    fraction = 1 if subset == 'train' else 0
    return DATASETS.build(dict(
        type='TrackletFolder', data_root=str(root), subset=subset, pipeline=pipeline,
        **{'train_fraction': fraction, **kwargs}))


class TestPack:

    def pack(self, frames=None, **kwargs):
        frames = frames or [np.full((5, 4, 3), k, np.uint8) for k in range(6)]
        return TRANSFORMS.build(dict(type='PackTrackletInputs', **kwargs))(
            dict(RESULTS, imgs=frames, mask='m'))

    def test_inputs(self):
        rng = np.random.default_rng(0)
        frames = [rng.integers(0, 256, (5, 4, 3), dtype=np.uint8) for _ in range(6)]
        inputs = self.pack(frames)['inputs']
        assert (inputs.shape, inputs.dtype) == ((2, 3, 3, 5, 4), torch.uint8)
        assert inputs.is_contiguous()
        for number, frame in enumerate(frames):
            np.testing.assert_array_equal(
                inputs[number // 3, :, number % 3].permute(1, 2, 0).numpy(), frame)

    def test_data_sample(self):
        sample = self.pack(extra_keys=('mask',))['data_samples']
        assert isinstance(sample, TrackletDataSample)
        assert isinstance(sample, BaseDataElement)
        for key, value in RESULTS.items():
            assert sample.get(key) == value
        assert (sample.mask, sample.num_replaced, sample.unreadable) == ('m', 0, False)
        assert set(sample.metainfo_keys()) == {
            *RESULTS, 'mask', 'num_replaced', 'unreadable'}
        sample.feature = torch.ones(8)
        assert sample.cpu().feature.shape == (8,)
        assert sample.to_dict()['pid'] == 7
        assert pickle.loads(pickle.dumps(sample)).tracklet_id == '7/3/a'

    def test_missing_keys_and_frames_that_differ_in_size(self):
        with pytest.raises(ValueError, match="'imgs', 'camid', 'mask'"):
            PackTrackletInputs(extra_keys=['mask'])(
                {key: value for key, value in RESULTS.items() if key != 'camid'})
        with pytest.raises(ValueError, match='ResizeFrames'):
            self.pack([np.zeros((5, 4, 3)), np.zeros((4, 4, 3))])


class TestItems:

    def test_all_frames_in_test(self, root):
        dataset = build(root, 'gallery', whole_tracklets())
        for k in range(len(dataset)):
            clips, sample = dataset[k]['inputs'], dataset[k]['data_samples']
            count = num_frames_of(sample.pid, sample.camid, int(sample.tracklet_id[-1]))
            assert sample.num_frames == count
            assert clips.shape == (sample.num_clips, 3, 4, *SIZE)
            assert sample.num_clips == -(-count // 4)
            # Every frame, in order: the grey tells which one it is.
            greys = clips[:, 0, :, 0, 0].long().flatten()[:count]
            assert greys.tolist() == [30 * sample.pid + 2 * k for k in range(count)]
            assert sample.frame_inds.shape == (sample.num_clips, 4)

    def test_train(self, root):
        dataset = build(root, pipeline=[TRAIN[0], TRAIN[1], TRAIN[2], TRAIN[-1]])
        for k in range(len(dataset)):
            clips, sample = dataset[k]['inputs'], dataset[k]['data_samples']
            assert clips.shape == (1, 3, 4, *SIZE)
            # The grey, without erasing, tells whose they are.
            greys = clips.float().mean((1, 3, 4)).flatten()
            assert set((greys // 30).tolist()) == {sample.pid}
            assert sample.label == sample.pid - 1

    def test_broken_tracklets_are_passed_over_in_training_only(self, tmp_path):
        """Person 1 is whole, person 2 has no readable frame."""
        for camid in (1, 2):
            for pid in (1, 2):
                (tmp_path / f'{pid}/{camid}/t').mkdir(parents=True)
            cv2.imwrite(str(tmp_path / f'1/{camid}/t/1.png'),
                        np.zeros((9, 9, 3), np.uint8))
            (tmp_path / f'2/{camid}/t/1.png').write_bytes(b'broken')
        dataset = build(tmp_path)
        assert {dataset[k]['data_samples'].pid for k in range(4)} == {1}
        dataset = build(tmp_path, 'query', whole_tracklets())
        with pytest.raises(RuntimeError, match='2/1/t'):
            dataset[2]
        dataset = build(tmp_path, 'query', whole_tracklets(on_unreadable='blank'))
        samples = [dataset[k]['data_samples'] for k in range(4)]
        assert [sample.unreadable for sample in samples] == [False, False, True, True]
        assert dataset[2]['inputs'].shape == (1, 3, 4, *SIZE)


@pytest.mark.parametrize('num_workers', [0, 2])
class TestLoaders:

    def test_train(self, root, num_workers):
        """Persons in groups; and the same item twice is changed in two ways."""
        dataset = build(root)

        def load(sampler, batch_size):
            return DataLoader(
                dataset, batch_size, sampler=sampler, num_workers=num_workers,
                collate_fn=pseudo_collate, worker_init_fn=lambda worker: worker_init_fn(
                    worker, num_workers, 0, 0))

        clips = {step['inputs'][0].numpy().tobytes() for step in load([0] * 12, 1)}
        assert len(clips) > 4
        loader = load(PKSampler(dataset, 3, 4, seed=0), 12)
        assert len(loader) == 2
        seen = []
        for step in loader:
            assert [clips.shape for clips in step['inputs']] == [(1, 3, 4, *SIZE)] * 12
            pids = [sample.pid for sample in step['data_samples']]
            assert pids == [pid for pid in pids[::4] for _ in range(4)]
            seen += pids[::4]
        assert sorted(seen) == [1, 2, 3, 4, 5, 6]

    def test_query_and_gallery(self, root, num_workers):
        part = dict(type='TrackletFolder', data_root=str(root), train_fraction=0,
                    pipeline=whole_tracklets())
        dataset = DATASETS.build(dict(
            type='QueryGalleryDataset', query=part, gallery=part))
        loader = DataLoader(
            dataset, batch_size=5, sampler=DefaultSampler(dataset, shuffle=False),
            num_workers=num_workers, collate_fn=pseudo_collate)
        samples = [sample for step in loader for sample in step['data_samples']]
        assert [sample.subset for sample in samples] == (
            ['query'] * 12 + ['gallery'] * (len(dataset) - 12))
        assert {sample.pid for sample in samples} == {1, 2, 3, 4, 5, 6}


def test_loader_of_a_runner(root):
    """As a config has it; the sampler gets the data set and the seed."""
    config = dict(
        batch_size=8, num_workers=0, sampler=dict(type='PKSampler', batch_size=8),
        dataset=dict(type='TrackletFolder', data_root=str(root), train_fraction=1.,
                     pipeline=TRAIN))
    loader = Runner.build_dataloader(config, seed=3)
    assert loader.sampler.seed == 3
    assert len(list(loader)) == len(loader) == 3
