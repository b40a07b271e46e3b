"""From a config, weights and a video to frames, views and masks."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from cosam_mm.apis.action_recognizer import ActionRecognizer
from cosam_mm.apis.model_loading import untrained_model
from cosam_mm.apis.tracklet_encoder import TrackletEncoder
from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import ModuleMasks
from cosam_mm.visualization.mask_maps import AFTER, BEFORE, WHOLE_FRAME
from cosam_mm.visualization.mask_overlay import mask_layers
from cosam_mm.visualization.mask_recorder import (
    ClipReader,
    MaskRecorder,
    batch_clip,
    make_recorder,
)
from tests.test_configs import shrink
from tests.video_data import number_of, write_video

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
ACTION_DEMO = CONFIGS / 'resnext14_cosam_bert_demo.py'
REID_DEMO = CONFIGS / 'reid' / 'resnet14_cosam45_tp_demo.py'


def build(cfg):
    """The model of a config, without the weights that it would download."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = MODELS.build(cfg.model).eval()
    model.cfg = cfg
    return model


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """40 frames of 64 x 96 that show their numbers."""
    return write_video(tmp_path_factory.mktemp('videos') / 'counted $1$.mp4', 40)


@pytest.fixture(scope='module')
def tracklet(tmp_path_factory):
    """10 images of 80 x 40, each of one grey."""
    folder = tmp_path_factory.mktemp('tracklets') / '0001C1'
    folder.mkdir()
    for number in range(10):
        image = np.full((80, 40, 3), 20 * number + 20, np.uint8)
        assert cv2.imwrite(str(folder / f'{number}.png'), image)
    return str(folder)


@pytest.fixture(scope='module')
def action_model():
    return build(Config.fromfile(ACTION_DEMO))


@pytest.fixture(scope='module')
def reid_model():
    return build(Config.fromfile(REID_DEMO))


def save(model, path, **meta):
    torch.save(dict(state_dict=model.state_dict(),
                    meta=dict(meta, cfg=model.cfg.pretty_text)), path)
    return str(path)


# -- views -------------------------------------------------------------------


@pytest.mark.parametrize(('name', 'size', 'expected'), [
    # 56 x 56 of 64 x 96
    ('resnext14_cosam_bert_demo', (64, 96), (20 / 96, 4 / 64, 76 / 96, 60 / 64)),
    # 128 x 170, of which 112 x 112 in the middle
    ('resnext101_cosam_bert_hmdb51', (240, 320), (29 / 170, 8 / 128, 141 / 170,
                                                  120 / 128)),
    ('tsn_r50_cosam_hmdb51', (64, 96), (58 / 340, 16 / 256, 282 / 340, 240 / 256)),
    ('videomae_base_cosam_hmdb51', (96, 64), (58 / 340, 16 / 256, 282 / 340,
                                              240 / 256))])
def test_view_of_shipped_pipelines(name, size, expected):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    frames = np.random.default_rng(0).integers(0, 256, (70, *size, 3), dtype=np.uint8)
    clip = ClipReader(cfg, 4).read(frames)
    np.testing.assert_allclose(clip.box, expected, atol=3e-3)


def test_pipeline_without_a_view_shows_what_the_network_gets(video, monkeypatch):
    """Frames that are turned cannot be laid on the original ones."""
    def turn(results):
        results['imgs'] = [img[::-1].swapaxes(0, 1).copy() for img in results['imgs']]
        return results

    monkeypatch.setitem(TRANSFORMS.module_dict, 'Turn', lambda: turn)
    cfg = Config.fromfile(ACTION_DEMO)
    cfg.test_dataloader.dataset.pipeline.insert(4, dict(type='Turn'))
    clip = MaskRecorder(build(cfg)).record(video)
    assert clip.box == WHOLE_FRAME
    assert clip.frames[0].shape == (56, 56, 3)


# -- videos ------------------------------------------------------------------


def test_frames_and_masks_of_a_video(action_model, video, tmp_path):
    """The masks are those of ActionRecognizer, the frames those of the video."""
    clip = MaskRecorder(action_model).record(video)
    assert clip.name == 'counted $1$.mp4'
    assert clip.numbers.tolist() == list(range(4, 36))     # the middle 32 of 40
    assert [number_of(frame) for frame in clip.frames] == clip.numbers.tolist()
    assert clip.frames[0].shape == (64, 96, 3)
    assert clip.frames[0][32, 8, 0] > 180 > 60 > clip.frames[0][32, 8, 2]  # red
    assert clip.fps == pytest.approx(25)
    ((name, masks),) = clip.masks[''].items()
    recognizer = ActionRecognizer(save(action_model, tmp_path / 'a.pth'), ACTION_DEMO,
                                  device='cpu')
    expected = recognizer.predict(video, views='center', return_masks=True).masks[name]
    np.testing.assert_array_equal(       # 4 steps of 8 frames each
        masks.spatial, expected.spatial[0].repeat_interleave(8, 0))
    np.testing.assert_array_equal(masks.channel, expected.channel[0])


def test_folder_of_frames_and_frames_in_memory(action_model, tmp_path):
    """Each frame of a short video, which is looped, is there once."""
    expected = MaskRecorder(action_model).record(write_video(tmp_path / 's.mp4', 10))
    assert sorted(expected.numbers) == list(range(10))
    assert [number_of(frame) for frame in expected.frames] == expected.numbers.tolist()
    frames = np.stack([frame for _, frame in sorted(
        zip(expected.numbers, expected.frames), key=lambda pair: pair[0])])
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'{number}.png'), frame[..., ::-1])
    for source in (str(tmp_path), frames):
        clip = MaskRecorder(action_model).record(source)
        np.testing.assert_array_equal(np.stack(clip.frames), np.stack(expected.frames))
        for name, masks in expected.masks[''].items():
            assert len(masks.spatial) == 10
            np.testing.assert_allclose(clip.masks[''][name].spatial, masks.spatial,
                                       atol=1e-6)


def test_flow_comes_as_arrays(video):
    reader = ClipReader(Config.fromfile(CONFIGS / 'resnext101_bert_hmdb51_flow.py'), 4)
    with pytest.raises(ValueError, match='optical flow'):
        reader.read(video)
    flow = np.random.default_rng(0).integers(0, 256, (70, 60, 80, 2), dtype=np.uint8)
    clip = reader.read(flow)
    np.testing.assert_array_equal(clip.frames[0], flow[clip.numbers[0]])
    np.testing.assert_allclose(clip.box, (29 / 170, 8 / 128, 141 / 170, 120 / 128),
                               atol=2e-3)


# -- tracklets ---------------------------------------------------------------


def test_frames_and_masks_of_a_tracklet(reid_model, tracklet, tmp_path):
    """All 10 frames, in clips of 4 of which the last is looped."""
    clip = MaskRecorder(reid_model).record(tracklet)
    assert clip.name == '0001C1'
    assert [int(frame.mean()) for frame in clip.frames] == list(range(20, 220, 20))
    assert clip.frames[0].shape == (80, 40, 3)
    assert clip.box == WHOLE_FRAME
    assert list(clip.masks['']) == ['backbone.plugins.after_layer3.0',
                                    'backbone.plugins.after_layer4.0']
    encoder = TrackletEncoder(save(reid_model, tmp_path / 'a.pth'), device='cpu')
    _, expected = encoder.encode(tracklet, return_masks=True)
    for name, masks in clip.masks[''].items():
        np.testing.assert_array_equal(masks.spatial,
                                      expected[name].spatial.flatten(0, 1)[:10])
        np.testing.assert_allclose(masks.channel, expected[name].channel.mean(0),
                                   rtol=1e-6)


def test_tracklet_of_paths_arrays_and_a_broken_image(reid_model, tracklet, tmp_path):
    paths = sorted(map(str, Path(tracklet).iterdir()))
    recorder = MaskRecorder(reid_model, max_frames=8)
    clip = recorder.record(paths)
    assert clip.name == '0001C1/0'
    assert len(clip.frames) == 8
    of_arrays = recorder.record(np.stack(clip.frames))
    for name, masks in clip.masks[''].items():
        np.testing.assert_array_equal(of_arrays.masks[''][name].spatial, masks.spatial)
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'nothing')
    clip = recorder.record([*paths[:3], str(broken)])
    assert [int(frame.mean()) for frame in clip.frames] == [20, 40, 60, 60]
    with pytest.raises(ValueError, match='read'):
        recorder.record([str(broken)])


# -- families of configs, and models of others -------------------------------


@pytest.mark.parametrize('name', [
    'i3d_cosam_lstm_ucf101', 'tsm_r50_cosam_hmdb51', 'videomae_base_cosam_hmdb51'])
def test_every_kind_of_action_backbone(name, video):
    cfg = shrink(Config.fromfile(CONFIGS / f'{name}.py'))
    clip = MaskRecorder(build(cfg)).record(video)
    assert all(frame.shape == (64, 96, 3) for frame in clip.frames)
    assert [number_of(frame) for frame in clip.frames] == clip.numbers.tolist()
    assert clip.box != WHOLE_FRAME
    (layer,) = mask_layers(clip)
    assert len(layer.masks) == len(clip.frames) >= 5
    assert all(masks.channel is not None for masks in clip.masks[''].values())


def test_transformer_of_frames(tracklet):
    """CLIP, whose features are tokens."""
    pytest.importorskip('transformers')
    cfg = Config.fromfile(CONFIGS / 'reid' / 'clip_vitb16_cosam_mars.py')
    plugged = cfg.model.backbone
    plugged.backbone.update(hidden_channels=16, num_layers=2, num_heads=2,
                            ffn_channels=32, pretrain_size=48)
    plugged.plugins[0].after = 'vision_model.encoder.layers.0'
    clip = MaskRecorder(build(cfg), max_frames=8).record(tracklet)
    (layer,) = mask_layers(clip)
    assert layer.title == 'vision_model_encoder_layers_0'
    assert layer.masks.shape == (8, 16, 8)


def test_model_of_single_images(video):
    """mmpretrain's classifier, whose samples are the frames of a clip."""
    pytest.importorskip('mmpretrain')
    cfg = Config.fromfile(CONFIGS / 'examples/mmpretrain_seresnet50_cosam_frames.py')
    cfg.model.backbone.update(input_shape=(4, 3, 64, 64))
    cfg.val_dataloader.dataset.pipeline[1].scale = (64, 64)
    clip = MaskRecorder(build(cfg), max_frames=10).record(video)
    assert clip.numbers.tolist() == list(range(10))
    assert [number_of(frame) for frame in clip.frames] == list(range(10))
    assert clip.frames[0][32, 8, 0] > 180                  # red, though it goes as BGR
    assert clip.box == WHOLE_FRAME
    ((name, masks),) = clip.masks[''].items()
    assert name == 'backbone.plugins.layer3.0'
    assert masks.spatial.shape == (10, 4, 4)


@MODELS.register_module()
class _OwnModel(nn.Module):
    """A user's module with a subclass of COSAM somewhere in it."""

    class Attention(COSAM):
        """Of the user's own."""

    def __init__(self, **masks):
        super().__init__()
        self.stem = nn.Conv3d(3, 8, 3, (2, 4, 4), 1)
        self.attend = self.Attention(8, 2, (16, 8), **masks)

    def test_step(self, batch):
        clips = torch.cat(batch['inputs']).float() / 255
        return self.attend(self.stem(clips))


def own_config(**model):
    cfg = Config.fromfile(REID_DEMO)
    cfg.model = dict(type='_OwnModel', **model)
    pipeline = cfg.test_dataloader.dataset.gallery.pipeline
    next(step for step in pipeline if step.type == 'ResizeFrames').size = (64, 32)
    return cfg


class _Padding(nn.Module):
    """A preprocessor that adds a half at the right."""

    def forward(self, data, training=False):
        return dict(data, inputs=[nn.functional.pad(x, (0, x.shape[-1] // 2))
                                  for x in data['inputs']])


@pytest.mark.parametrize('off', ['', 'with_spatial', 'with_channel'])
def test_users_own_module(tracklet, off):
    """With one mask or both; padded, so that the masks reach beyond the frame."""
    model = build(own_config(**{off: False} if off else {}))
    model.data_preprocessor = _Padding()
    clip = MaskRecorder(model).record(tracklet)
    assert clip.box == (0, 0, 1.5, 1)
    (name, masks), = clip.masks[''].items()
    assert name == 'attend'
    assert (masks.channel is None) == (off == 'with_channel')
    if off == 'with_spatial':
        assert masks.spatial is None
        return
    assert masks.spatial.shape == (10, 16, 8)
    np.testing.assert_array_equal(*masks.spatial[:2])      # 2 steps for 4 frames
    assert not np.array_equal(*masks.spatial[1:3])


# -- before and after training -----------------------------------------------


def test_before_and_after_training(tracklet, tmp_path):
    """The seed of the weights before training is the checkpoint's or the config's."""
    cfg = Config.fromfile(REID_DEMO)
    trained = untrained_model(cfg, seed=5)
    with torch.no_grad():
        for module in trained.modules():
            if isinstance(module, COSAM):
                module.summary[-1].bias.fill_(3)
    path = save(trained, tmp_path / 'epoch_1.pth', seed=7)
    clip = make_recorder(cfg, path, with_before=True).record(tracklet)
    assert list(clip.masks) == [BEFORE, AFTER]
    assert [layer.state for layer in mask_layers(clip)] == [BEFORE, AFTER] * 2
    cfg.randomness = dict(seed=7)
    alone = {state: make_recorder(cfg, checkpoint).record(tracklet).masks['']
             for state, checkpoint in ((BEFORE, None), (AFTER, path))}
    for state, masks in clip.masks.items():
        for name, both in masks.items():
            np.testing.assert_array_equal(both.spatial, alone[state][name].spatial)
    name = 'backbone.plugins.after_layer4.0'
    assert clip.masks[AFTER][name].spatial.min() > .9
    assert clip.masks[BEFORE][name].spatial.max() < .9
    other = make_recorder(cfg, None, seed=12).record(tracklet).masks[''][name].spatial
    assert not np.array_equal(other, alone[BEFORE][name].spatial)


# -- mistakes ----------------------------------------------------------------


def test_models_and_inputs_that_do_not_fit(action_model, reid_model, video, tmp_path):
    with pytest.raises(ValueError, match='no COSAM'):
        make_recorder(Config.fromfile(CONFIGS / 'reid' / 'resnet14_tp_demo.py'), None)
    (tmp_path / 'text.mp4').write_text('no video')
    for model, source, error, word in (
            (action_model, tmp_path / 'no.mp4', FileNotFoundError, r'no\.mp4'),
            (action_model, tmp_path / 'text.mp4', ValueError, r'text\.mp4'),
            (reid_model, video, ValueError, 'tracklets')):
        with pytest.raises(error, match=word):
            MaskRecorder(model).record(str(source))
    cfg = Config.fromfile(ACTION_DEMO)
    cfg.test_dataloader.dataset.pipeline = [dict(type='PackActionInputs')]
    with pytest.raises(ValueError, match='decode'):
        ClipReader(cfg, 4)


# -- batches -----------------------------------------------------------------


def counted(*shape):
    """Bytes that count from 0."""
    return torch.arange(int(np.prod(shape))).reshape(shape).to(torch.uint8)


def masks_of(num_clips):
    return {'a': ModuleMasks(torch.rand(num_clips, 2, 2, 2), torch.rand(num_clips, 4))}


@pytest.mark.parametrize(('inputs', 'num_clips', 'sample', 'clip', 'frames'), [
    # two videos of one view: (V, C, T, H, W); sample 7 does not exist
    ([counted(1, 1, 4, 1, 1), 10 + counted(1, 1, 4, 1, 1)], 2, 7, 1, [10, 11, 12, 13]),
    # tracklets of 1 and 2 clips
    ([counted(1, 1, 2, 1, 1), 10 + counted(2, 1, 2, 1, 1)], 3, 1, 1, [10, 11]),
    # a 2-D model, two views of 3 frames each: (V * T, C, H, W)
    ([counted(6, 1, 1, 1), 10 + counted(6, 1, 1, 1)], 4, 1, 2, [10, 11, 12]),
    # images: (C, H, W)
    ([number + counted(1, 1, 1) for number in range(6)], 3, 1, 1, [2, 3])])
def test_first_clip_of_a_sample(inputs, num_clips, sample, clip, frames):
    masks = masks_of(num_clips)
    found = batch_clip(nn.Identity(), dict(inputs=inputs), masks, sample)
    assert [frame[0, 0].tolist() for frame in found.frames] == [[k] * 3 for k in frames]
    steps = [t * 2 // len(frames) for t in range(len(frames))]
    np.testing.assert_array_equal(found.masks['']['a'].spatial,
                                  masks['a'].spatial[clip][steps])
    np.testing.assert_array_equal(found.masks['']['a'].channel,
                                  masks['a'].channel[clip])


@pytest.mark.parametrize(('batch', 'num_clips', 'word'), [
    (dict(inputs='x'), 1, 'list'), (dict(inputs=[torch.zeros(3, 4)]), 1, 'list'),
    (dict(inputs=[torch.zeros(3, 4, 4)]), 0, 'COSAM'),
    (dict(inputs=[counted(2, 1, 4, 1, 1)]), 3, '2 views'),
    (dict(inputs=[counted(5, 1, 1, 1)]), 2, '5 frames')])
def test_batches_without_clips_are_refused(batch, num_clips, word):
    with pytest.raises(ValueError, match=word):
        batch_clip(nn.Identity(), batch, masks_of(num_clips) if num_clips else {}, 0)


@pytest.mark.parametrize(('values', 'is_bgr', 'expected'), [
    ([10, 20, 30], False, [10, 20, 30]), ([10, 20, 30], True, [30, 20, 10]),
    ([-5., 5., 15.], False, [0, 128, 255]), ([10, 20], False, [10, 20, 128]),
    ([10], False, [10, 10, 10])], ids=['RGB', 'BGR', 'floats', 'flow', 'grey'])
def test_inputs_become_images(values, is_bgr, expected):
    model = nn.Identity()
    model.data_preprocessor = nn.Identity()
    model.data_preprocessor.to_rgb = is_bgr
    image = torch.tensor(values)[:, None, None]
    batch = dict(inputs=[image if image.is_floating_point() else image.byte()])
    clip = batch_clip(model, batch, masks_of(1), 0)
    assert clip.frames[0].ravel().tolist() == expected
