"""Features of tracklets from folders, files and memory, against the model itself."""
import copy
import os
import pathlib
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from cosam_mm import TrackletEncoder
from cosam_mm.apis.tracklet_encoder import configured_distance
from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.utils.config import dump_scores
from tests.gallery_data import (
    MEAN,
    SIZE,
    STD,
    build_model,
    reid_config,
    write_checkpoint,
    write_folder,
    write_tracklet,
)

COSAM = dict(type='COSAM', num_frames=4, spatial_size=(2, 1))
PLUGINS = [dict(cfg=COSAM, position='after_layer3'),
           dict(cfg=COSAM, position='after_layer4')]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp('model') / 'm.pth', reid_config())


@pytest.fixture(scope='module')
def encoder(checkpoint):
    return TrackletEncoder(checkpoint, device='cpu')


@pytest.fixture(scope='module')
def attentive(tmp_path_factory):
    """With COSAM; its clips go through the backbone two at a time."""
    path = tmp_path_factory.mktemp('cosam') / 'm.pth'
    config = reid_config(plugins=PLUGINS)
    config.model.max_clips_per_forward = 2
    return TrackletEncoder(write_checkpoint(path, config), device='cpu')


@pytest.fixture
def folder(tmp_path):
    """Tracklets of 1, 4, 7, 10, 13 and 16 frames."""
    return write_folder(tmp_path / 'tracklets')


@pytest.fixture
def folders(folder):
    return [f'{folder}/p{k}/c{k % 2}/t' for k in range(6)]


def spoil(*parts):
    pathlib.Path(*parts).write_bytes(b'no image')


def naive_feature(folder, frames=None, model=None):
    """Clip by clip, image by image, without the package's pipeline."""
    frames = frames or sorted(int(name[:-4]) for name in os.listdir(folder))
    images = [cv2.imread(f'{folder}/{frame}.jpg')[..., ::-1] / 255. for frame in frames]
    clips = [images[start:start + 4] for start in range(0, len(images), 4)]
    features = []
    model = model or build_model(reid_config())
    for clip in clips:
        clip = [(clip[k % len(clip)] - MEAN) / STD for k in range(4)]
        inputs = torch.from_numpy(np.stack(clip)).float().permute(3, 0, 1, 2)
        with torch.no_grad():
            features.append(model.extract_feat(inputs[None, None])[0])
    return torch.stack(features).mean(0).numpy()


def paths_of(folder):
    return [f'{folder}/{k}.jpg' for k in range(len(os.listdir(folder)))]


def assert_close(feature, expected):
    np.testing.assert_allclose(feature, expected, rtol=1e-3, atol=1e-5)


class TestFolders:

    def test_features_are_those_of_the_model(self, encoder, folders):
        features = encoder.encode_batch(folders, batch_size=3)
        assert features.dtype == np.float32
        assert features.shape == (6, 256)
        for folder, feature in zip(folders, features):
            assert_close(feature, naive_feature(folder))
        assert_close(encoder.encode(pathlib.Path(folders[4])), features[4])

    @pytest.mark.parametrize(('batch_size', 'num_workers'), [(1, 0), (9, 0), (2, 1)])
    def test_order_and_broken_ones_whatever_the_batch(
            self, encoder, folders, batch_size, num_workers):
        spoil(folders[0], '0.jpg')
        shutil.rmtree(folders[3])
        features = list(encoder.encode_each(folders, batch_size, num_workers))
        assert features[0] is features[3] is None
        for number in (1, 2, 4, 5):
            assert_close(features[number], naive_feature(folders[number]))

    def test_nearest_frame_stands_in_for_a_broken_one(self, encoder, folders):
        expected = naive_feature(folders[2], frames=[0, 1, 1, 3, 4, 5, 6])
        spoil(folders[2], '2.jpg')
        assert_close(encoder.encode(folders[2]), expected)

    def test_nothing_to_encode(self, encoder, folders, tmp_path):
        (tmp_path / 'empty').mkdir()
        spoil(folders[0], '0.jpg')
        for wrong, message in (
                (tmp_path / 'empty', 'empty'), (f'{folders[1]}/0.jpg', '0.jpg'),
                (folders[0], 'p0/c0/t'), (paths_of(folders[0]), '0.jpg'),
                ([], 'empty'), (3, 'int')):
            with pytest.raises(ValueError, match=message):
                encoder.encode(wrong)
        with pytest.raises(ValueError, match='empty'):
            encoder.encode_batch([])
        with pytest.raises(FileNotFoundError, match='nowhere'):
            encoder.encode_batch([folders[1], 'nowhere'])
        with pytest.raises(ValueError, match='list of tracklets'):
            encoder.encode_batch(folders[1])


class TestMemory:

    @pytest.fixture
    def frames(self, folders):
        """Seven frames, as the third folder holds them."""
        return [cv2.imread(path)[..., ::-1] for path in paths_of(folders[2])]

    def test_every_way_to_hand_over_a_tracklet(self, encoder, checkpoint, folders,
                                               frames):
        paths = paths_of(folders[2])
        expected = encoder.encode(folders[2])
        for tracklet in (paths, frames, np.stack(frames), [paths[0], *frames[1:]],
                         list(map(Image.fromarray, frames))):
            assert_close(encoder.encode(tracklet), expected)
        bgr = [frame[..., ::-1] for frame in frames]
        assert np.abs(encoder.encode(bgr) - expected).max() > 1e-3
        of_opencv = TrackletEncoder(checkpoint, device='cpu', channel_order='bgr')
        for tracklet in (bgr, np.stack(bgr), paths):
            assert_close(of_opencv.encode(tracklet), expected)

    def test_deep_images_are_refused_by_name(self, encoder, tmp_path):
        path = str(tmp_path / '1.png')
        cv2.imwrite(path, np.full((64, 32), 3000, np.uint16))
        for tracklet in ([path], tmp_path):
            with pytest.raises(ValueError, match=r'1\.png.*8 bits'):
                encoder.encode(tracklet)

    def test_mixed_batch_of_uneven_lengths(self, encoder, folders, frames):
        batch = [folders[5], np.stack(frames), frames[:1], paths_of(folders[1])]
        features = encoder.encode_batch(iter(batch), batch_size=3)
        for one, feature in zip(batch, features):
            assert_close(feature, encoder.encode(one))

    def test_frames_of_different_sizes_are_resized(self, encoder, frames):
        larger = [cv2.resize(frame, (7 + 16 * k, 40)) for k, frame in enumerate(frames)]
        resized = [cv2.resize(frame, SIZE[::-1]) for frame in larger]
        assert_close(encoder.encode(larger), encoder.encode(resized))


class TestMasks:

    def test_masks_of_every_cosam_and_clip(self, attentive, folders):
        batch = [folders[0], folders[3], folders[1]]  # 1, 3 and 1 clips
        features, masks = attentive.encode_batch(batch, return_masks=True)
        np.testing.assert_allclose(features, attentive.encode_batch(batch), rtol=1e-5)
        names = ['backbone.plugins.after_layer3.0', 'backbone.plugins.after_layer4.0']
        for folder, clips, found in zip(batch, (1, 3, 1), masks):
            assert list(found) == names
            one, alone = attentive.encode(folder, return_masks=True)
            for name, channels in zip(names, (128, 256)):
                spatial, channel = found[name]
                assert spatial.shape == (clips, 4, 2, 1)
                assert channel.shape == (clips, channels)
                torch.testing.assert_close(spatial, alone[name].spatial)
                torch.testing.assert_close(channel, alone[name].channel)

    def test_model_without_cosam(self, encoder, folders):
        with pytest.raises(ValueError, match='COSAM'):
            encoder.encode(folders[0], return_masks=True)


class TestDistance:

    def test_of_one_and_of_several(self, encoder):
        rng = np.random.default_rng(0)
        a, b = rng.random((3, 8)), rng.random((5, 8))
        expected = np.linalg.norm(a[:, None] - b[None], axis=2)
        np.testing.assert_allclose(encoder.distance(a, b), expected)
        np.testing.assert_allclose(encoder.distance(a[0], b), expected[0])
        np.testing.assert_allclose(encoder.distance(a, b[0]), expected[:, 0])
        assert type(encoder.distance(a[0], b[0])) is float
        assert encoder.distance(a[0], a[0]) == 0
        cosine = 1 - a[0] @ b[0] / np.linalg.norm(a[0]) / np.linalg.norm(b[0])
        assert encoder.distance(a[0], b[0], 'cosine') == pytest.approx(cosine)
        with pytest.raises(ValueError, match='manhattan'):
            encoder.distance(a, b, 'manhattan')
        with pytest.raises(ValueError, match='agree'):
            encoder.distance(a, b[:, :5])

    @pytest.mark.parametrize(('evaluator', 'distance'), [
        (dict(type='ReIDMetric', distance='cosine'), 'cosine'),
        ([dict(type='A'), dict(type='B', distance='cosine')], 'cosine'),
        (dict(type='ReIDMetric'), 'euclidean'), (None, 'euclidean')])
    def test_default_is_that_of_the_config(self, encoder, evaluator, distance):
        assert configured_distance(Config(dict(test_evaluator=evaluator))) == distance
        encoder = copy.copy(encoder)
        encoder.default_distance = distance
        scaled = encoder.distance(np.ones(4), 2 * np.ones(4))
        assert scaled == (0 if distance == 'cosine' else 2)


class TestEvaluation:

    def test_features_equal_those_that_tests_evaluate(self, folder, tmp_path):
        """Of a synthetic data set, in a test as tools/test.py runs it."""
        config = reid_config()
        part = dict(type='TrackletFolder', data_root=folder,
                    pipeline=config.test_dataloader.dataset.query.pipeline)
        for k in range(6):  # a second camera, without which no query counts
            write_tracklet(f'{folder}/p{k}/c{1 - k % 2}/t', 5 + k, 90 + k)
        config.test_dataloader = dict(
            batch_size=2, num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='QueryGalleryDataset', query=part, gallery=part))
        config.test_cfg = dict(type='TestLoop')
        config.work_dir = str(tmp_path / 'work')
        config.load_from = write_checkpoint(tmp_path / 'm.pth', config)
        dump_scores(config, str(tmp_path / 'features.npz'))
        Runner.from_cfg(config).test()

        rated = load_features(tmp_path / 'features.npz')
        encoder = TrackletEncoder(tmp_path / 'm.pth', device='cpu')
        folders = [f'{folder}/{name}' for name in rated['tracklet_id']]
        assert len(set(folders)) == 4  # of two test persons
        np.testing.assert_allclose(
            encoder.encode_batch(folders), rated['feature'], rtol=1e-5, atol=1e-6)


class TestCheckpoint:

    def test_broken_weights(self, folders, tmp_path):
        path = write_checkpoint(tmp_path / 'nan.pth', reid_config(), **{
            'backbone.layer4.0.bn1.weight': torch.full((64,), float('nan'))})
        with pytest.raises(ValueError, match='p0/c0/t.*NaN.*nan.pth'):
            TrackletEncoder(path).encode(folders[0])

    def test_classifier_does_not_matter(self, encoder, tmp_path):
        path = write_checkpoint(tmp_path / 'm.pth', reid_config(), **{
            'head.classifier.weight': torch.zeros(99, 256),
            'head.classifier.bias': None, 'losses.center': torch.zeros(3)})
        other = TrackletEncoder(path)
        assert other.weights == encoder.weights
        assert other.recipe == encoder.recipe

    def test_config_given_beside_a_bare_checkpoint(self, encoder, tmp_path):
        torch.save(build_model(reid_config()).state_dict(), tmp_path / 'bare.pth')
        other = TrackletEncoder(tmp_path / 'bare.pth', reid_config())
        assert other.weights == encoder.weights

    @pytest.mark.parametrize(('changes', 'device', 'word'), [
        ({'model.type': 'MyModel'}, 'cpu', 'MyModel'),
        ({'model.type': 'FrameResNet'}, 'cpu', 'FrameResNet.*VideoReID'),
        ({'model.backbone.type': 'MyNet'}, 'cpu', 'MyNet.*custom_imports'),
        ({'model.backbone.depth': 50}, 'cpu', 'm.pth'), ({}, 'toaster', 'toaster'),
        ({'test_dataloader': None}, 'cpu', 'PackTrackletInputs'),
        ({'model': None}, 'cpu', 'None')])
    def test_settings_that_do_not_fit(self, checkpoint, changes, device, word):
        config = reid_config()
        config.merge_from_dict(changes)
        with pytest.raises(ValueError, match=word):
            TrackletEncoder(checkpoint, config, device)

    def test_other_orders_of_channels(self, checkpoint):
        with pytest.raises(ValueError, match='BGR'):
            TrackletEncoder(checkpoint, channel_order='BGR')

    @pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
    def test_gpu_agrees(self, encoder, checkpoint, folders):
        other = TrackletEncoder(checkpoint)
        assert next(other.model.parameters()).is_cuda
        np.testing.assert_allclose(other.encode(folders[3]), encoder.encode(folders[3]),
                                   rtol=1e-3, atol=1e-4)
