"""From a config, weights and a video to frames, views and masks."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import ModuleMasks
from cosam_mm.visualization.mask_clip import AFTER, BEFORE
from cosam_mm.visualization.mask_drawing import (
    channel_picture,
    choose_layers,
    grid_picture,
    layer_titles,
    mask_layers,
    video_pictures,
)
from cosam_mm.visualization.mask_files import output_names, write_pictures
from cosam_mm.visualization.mask_inputs import batch_clip, clip_frames, to_pictures
from cosam_mm.visualization.mask_models import (
    load_model,
    seed_of_training,
    untrained_model,
)
from cosam_mm.visualization.mask_placement import WHOLE_FRAME
from cosam_mm.visualization.mask_recorder import MaskRecorder, make_recorder
from cosam_mm.visualization.mask_views import ClipReader
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
    """40 frames of 64 x 96 that tell their numbers."""
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


# -- where the network looks -------------------------------------------------


@pytest.mark.parametrize(('name', 'size', 'expected'), [
    # 56 x 56 of 64 x 96
    ('resnext14_cosam_bert_demo', (64, 96), (20 / 96, 4 / 64, 76 / 96, 60 / 64)),
    # 128 x 170, of which 112 x 112 in the middle
    ('resnext101_cosam_bert_hmdb51', (240, 320), (29 / 170, 8 / 128, 141 / 170,
                                                  120 / 128)),
    ('i3d_cosam_bert_ucf101', (240, 320), (58 / 340, 16 / 256, 282 / 340, 240 / 256)),
    # shorter side to 256, the aspect kept: 256 x 384
    ('tsn_r50_cosam_hmdb51', (64, 96), None),
    ('slowonly_r50_cosam_hmdb51', (64, 96), None),
    ('videomae_base_cosam_hmdb51', (96, 64), None),
    ('swin_tiny_cosam_hmdb51', (64, 96), None),
    ('r2plus1d34_cosam_bert_hmdb51', (64, 96), None)])
def test_view_of_shipped_pipelines(name, size, expected):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    frames = np.random.default_rng(0).integers(0, 256, (70, *size, 3), dtype=np.uint8)
    clip = ClipReader(cfg, 4).read(frames)
    if expected is None:
        # What is inside the box is what the pipeline shows: compare the pictures.
        left, top, right, bottom = clip.box
        x = [round(side * size[1]) for side in (left, right)]
        y = [round(side * size[0]) for side in (top, bottom)]
        frame = clip.frames[0][y[0]:y[1], x[0]:x[1]]
        inputs = clip.samples[0]['inputs']
        seen = to_pictures(clip_frames([inputs], 1))[0]
        small = [cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA).astype(float)
                 for image in (frame, seen)]
        assert np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1] > .9
    else:
        np.testing.assert_allclose(clip.box, expected, atol=2e-3)


def test_view_of_mirrored_and_normalised_frames(tmp_path):
    """A pipeline of the user's own: floats, mirrored, a quarter cut off."""
    cfg = Config.fromfile(ACTION_DEMO)

    def own_step(results):
        results['imgs'] = [(img[:, 24:][:, ::-1].astype(np.float32) - 100) / 50
                           for img in results['imgs']]
        results['img_shape'] = results['imgs'][0].shape[:2]
        return results

    from mmaction.registry import TRANSFORMS
    TRANSFORMS.register_module(name='OwnStep', module=lambda: own_step, force=False)
    try:
        cfg.test_dataloader.dataset.pipeline[3] = dict(type='OwnStep')
        frames = np.random.default_rng(0).integers(0, 256, (32, 64, 96, 3), np.uint8)
        clip = ClipReader(cfg, 4).read(frames)
    finally:
        TRANSFORMS.module_dict.pop('OwnStep')
    np.testing.assert_allclose(clip.box, (1, 0, .25, 1), atol=2e-3)


def test_what_is_no_view_shows_what_the_network_gets(action_model, video):
    """Inverted frames do not tell where they are from."""
    from mmaction.registry import TRANSFORMS

    def invert(results):
        results['imgs'] = [img[::-1].swapaxes(0, 1).copy() for img in results['imgs']]
        return results

    TRANSFORMS.register_module(name='Invert', module=lambda: invert)
    model = build(Config.fromfile(ACTION_DEMO))
    try:
        model.cfg.test_dataloader.dataset.pipeline.insert(4, dict(type='Invert'))
        clip = MaskRecorder(model).record(video)
    finally:
        TRANSFORMS.module_dict.pop('Invert')
    assert clip.box == WHOLE_FRAME
    assert clip.frames[0].shape == (56, 56, 3)


# -- videos ------------------------------------------------------------------


def test_frames_and_masks_of_a_video(action_model, video):
    """The masks are those of ActionRecognizer, the frames those of the video."""
    clip = MaskRecorder(action_model).record(video)
    assert clip.name == 'counted $1$.mp4'
    assert clip.numbers.tolist() == list(range(4, 36))     # the middle 32 of 40
    assert [number_of(frame) for frame in clip.frames] == clip.numbers.tolist()
    assert clip.frames[0].shape == (64, 96, 3)
    assert clip.frames[0][32, 8, 0] > 180                  # red stays red
    assert clip.frames[0][32, 8, 2] < 60
    assert clip.fps == pytest.approx(25)
    ((name, masks),) = clip.masks[''].items()
    assert masks.spatial.shape == (32, 4, 4)

    from cosam_mm.apis.action_recognizer import ActionRecognizer
    recognizer = ActionRecognizer.__new__(ActionRecognizer)
    recognizer.model = action_model
    recognizer.config, recognizer.modality = action_model.cfg, 'RGB'
    recognizer._channels, recognizer._pipelines = 3, {}
    recognizer.checkpoint, recognizer.class_names = '', None
    recognizer._is_to_be_fast = False
    expected = recognizer.predict(video, views='center', return_masks=True).masks[name]
    for step in range(4):                                  # of 8 frames each
        for frame in range(8 * step, 8 * step + 8):
            np.testing.assert_array_equal(masks.spatial[frame],
                                          expected.spatial[0, step])
    np.testing.assert_array_equal(masks.channel, expected.channel[0])


def test_a_short_video_is_shown_once(action_model, tmp_path):
    clip = MaskRecorder(action_model).record(write_video(tmp_path / 'short.mp4', 10))
    assert sorted(clip.numbers) == list(range(10))
    assert [number_of(frame) for frame in clip.frames] == clip.numbers.tolist()
    assert all(len(masks.spatial) == 10 for masks in clip.masks[''].values())


def test_folder_of_frames_and_frames_in_memory(action_model, tmp_path, video):
    expected = MaskRecorder(action_model).record(video)
    frames = np.stack(expected.frames)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'{number}.png'), frame[..., ::-1])
    for source in (str(tmp_path), frames):
        clip = MaskRecorder(action_model).record(source)
        np.testing.assert_array_equal(np.stack(clip.frames), frames)
        for name, masks in expected.masks[''].items():
            np.testing.assert_allclose(clip.masks[''][name].spatial, masks.spatial,
                                       atol=1e-6)


# -- tracklets ---------------------------------------------------------------


def test_frames_and_masks_of_a_tracklet(reid_model, tracklet):
    """All 10 frames, in clips of 4 of which the last is looped."""
    clip = MaskRecorder(reid_model).record(tracklet)
    assert clip.name == '0001C1'
    assert [int(frame.mean()) for frame in clip.frames] == list(range(20, 220, 20))
    assert clip.frames[0].shape == (80, 40, 3)
    assert clip.box == WHOLE_FRAME
    assert list(clip.masks['']) == ['backbone.plugins.after_layer3.0',
                                    'backbone.plugins.after_layer4.0']
    assert all(masks.spatial.shape == (10, 4, 2) for masks in clip.masks[''].values())

    from cosam_mm.apis.tracklet_encoder import TrackletEncoder
    encoder = TrackletEncoder.__new__(TrackletEncoder)
    encoder.model, encoder.config = reid_model, reid_model.cfg
    encoder.checkpoint, encoder._is_to_be_fast = '', False
    encoder._steps = [dict(step) for step in
                      reid_model.cfg.test_dataloader.dataset.gallery.pipeline]
    _, expected = encoder.encode(tracklet, return_masks=True)
    for name, masks in clip.masks[''].items():
        for frame in range(10):
            np.testing.assert_array_equal(
                masks.spatial[frame], expected[name].spatial[frame // 4, frame % 4])
        np.testing.assert_allclose(masks.channel, expected[name].channel.mean(0),
                                   rtol=1e-6)


def test_tracklet_of_paths_arrays_and_a_broken_image(reid_model, tracklet, tmp_path):
    paths = sorted(map(str, Path(tracklet).iterdir()))
    recorder = MaskRecorder(reid_model, max_frames=8)
    clip = recorder.record(paths)
    assert clip.name == '0001C1/0'
    assert len(clip.frames) == 8
    again = recorder.record(np.stack(clip.frames))
    for name, masks in clip.masks[''].items():
        np.testing.assert_array_equal(again.masks[''][name].spatial, masks.spatial)
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'nothing')
    clip = recorder.record([*paths[:3], str(broken)])
    assert [int(frame.mean()) for frame in clip.frames] == [20, 40, 60, 60]
    with pytest.raises(ValueError, match='No image of .* can be read'):
        recorder.record([str(broken)])


# -- every family of configs, and models of others ---------------------------


@pytest.mark.parametrize('name', [
    'resnext101_cosam_bert_hmdb51', 'i3d_cosam_lstm_ucf101', 'i3d_r50_cosam_hmdb51',
    'r2plus1d34_cosam_bert_hmdb51', 'slowonly_r50_cosam_hmdb51', 'tsn_r50_cosam_hmdb51',
    'tsm_r50_cosam_hmdb51', 'videomae_base_cosam_hmdb51', 'swin_tiny_cosam_hmdb51'])
def test_every_action_family(name, video):
    cfg = shrink(Config.fromfile(CONFIGS / f'{name}.py'))
    clip = MaskRecorder(build(cfg)).record(video)
    assert all(frame.shape == (64, 96, 3) for frame in clip.frames)
    assert all(number_of(frame) == number
               for frame, number in zip(clip.frames, clip.numbers))
    assert clip.box != WHOLE_FRAME
    (layer,) = mask_layers(clip)
    assert len(layer.masks) == len(clip.frames) >= 5
    assert grid_picture(clip, side=32).shape[2] == 3
    assert channel_picture(clip) is not None


@pytest.mark.parametrize('name', [
    'resnet50_cosam4_tp_mars', 'se_resnet50_cosam345_tp_mars',
    'resnet50_cosam5_tp_mars', 'resnet50_cosam45_ta_dukemtmc',
    'resnet50_cosam45_rnn_ilids'])
def test_every_reid_family(name, tracklet):
    cfg = Config.fromfile(CONFIGS / 'reid' / f'{name}.py')
    cfg.model.backbone.update(depth=14, base_channels=8)
    clip = MaskRecorder(build(cfg), max_frames=8).record(tracklet)
    assert len(clip.frames) == 8
    layers = mask_layers(clip)
    assert len(layers) == len(cfg.model.backbone.plugins)
    assert all(layer.masks.shape == (8, *cosam.cfg.spatial_size)
               for layer, cosam in zip(layers, cfg.model.backbone.plugins))


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

    def __init__(self, with_spatial=True, with_channel=True):
        super().__init__()
        self.stem = nn.Conv3d(3, 8, 3, (2, 4, 4), 1)
        self.attend = self.Attention(8, 2, (16, 8), with_spatial=with_spatial,
                                     with_channel=with_channel)

    def test_step(self, batch):
        clips = torch.cat(batch['inputs']).float() / 255
        return self.attend(self.stem(clips))


def own_config(**model):
    cfg = Config.fromfile(REID_DEMO)
    cfg.model = dict(type='_OwnModel', **model)
    return cfg


def test_users_own_module(tracklet):
    cfg = own_config()
    pipeline = cfg.test_dataloader.dataset.gallery.pipeline
    next(s for s in pipeline if s.type == 'ResizeFrames').size = (64, 32)
    clip = MaskRecorder(build(cfg)).record(tracklet)
    assert layer_titles(clip.masks['']) == {'attend': 'attend'}
    masks = clip.masks['']['attend'].spatial
    assert masks.shape == (10, 16, 8)
    np.testing.assert_array_equal(masks[0], masks[1])      # 2 steps for 4 frames
    assert not np.array_equal(masks[1], masks[2])


def test_module_with_a_channel_mask_only(tracklet, tmp_path):
    clip = MaskRecorder(build(own_config(with_spatial=False))).record(tracklet)
    assert mask_layers(clip) == []
    files = write_pictures(clip, tmp_path, 'x')
    assert [path.name for path in files] == ['x_channels.png']


def test_module_with_a_spatial_mask_only(tracklet, tmp_path):
    pytest.importorskip('av')
    clip = MaskRecorder(build(own_config(with_channel=False))).record(tracklet)
    assert channel_picture(clip) is None
    files = write_pictures(clip, tmp_path, 'x', 'both')
    assert [path.name for path in files] == ['x_masks.png', 'x_masks.mp4',
                                             'x_masks.gif']


# -- weights -----------------------------------------------------------------


def test_before_and_after_training(tracklet, tmp_path):
    cfg = Config.fromfile(REID_DEMO)
    trained = untrained_model(cfg, seed=5)
    with torch.no_grad():
        for module in trained.modules():
            if isinstance(module, COSAM):
                module.summary[-1].bias.fill_(3)
    path = save(trained, tmp_path / 'epoch_1.pth', seed=7)
    assert seed_of_training(path, cfg) == 7
    clip = make_recorder(cfg, path, with_before=True).record(tracklet)
    assert list(clip.masks) == [BEFORE, AFTER]
    assert [layer.state for layer in mask_layers(clip)] == [BEFORE, AFTER] * 2
    alone = {state: make_recorder(cfg, checkpoint, seed=7).record(tracklet).masks['']
             for state, checkpoint in ((BEFORE, None), (AFTER, path))}
    for state, masks in clip.masks.items():
        for name, both in masks.items():
            np.testing.assert_array_equal(both.spatial, alone[state][name].spatial)
    name = 'backbone.plugins.after_layer4.0'
    assert clip.masks[AFTER][name].spatial.min() > .9
    assert clip.masks[BEFORE][name].spatial.max() < .9


def test_weights_of_a_seed_leave_random_numbers_alone():
    cfg = Config.fromfile(REID_DEMO)
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1)
    np.random.seed(1)
    first = untrained_model(cfg, seed=3).state_dict()
    assert (torch.rand(1), np.random.rand()) == expected
    again, other = (untrained_model(cfg, seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_seed_without_a_checkpoint():
    assert seed_of_training(None, Config(dict(randomness=dict(seed=11)))) == 11
    assert seed_of_training(None, Config(dict(randomness=dict(seed=None)))) == 0


def test_identities_need_not_fit(reid_model, tmp_path):
    """A checkpoint with a classifier of other persons."""
    path = save(reid_model, tmp_path / 'a.pth')
    cfg = Config.fromfile(REID_DEMO)
    cfg.model.head.num_pids = 3
    assert load_model(path, cfg).head is None


def test_pretrained_weights_that_cannot_be_had(tmp_path):
    cfg = Config.fromfile(REID_DEMO)
    cfg.model.backbone.init_cfg = dict(type='Pretrained',
                                       checkpoint=str(tmp_path / 'no.pth'))
    with pytest.raises(ValueError, match=r'begins with cannot be had: .*no\.pth'):
        untrained_model(cfg)


# -- mistakes ----------------------------------------------------------------


def test_model_without_cosam(tmp_path):
    cfg = Config.fromfile(CONFIGS / 'reid' / 'resnet14_tp_demo.py')
    message = ('no COSAM in the VideoReID of this config.* take a config with cosam '
               'in its name, or add one to its backbone with plugins=')
    with pytest.raises(ValueError, match=message):
        untrained_model(cfg)
    path = save(build(cfg), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_inputs_that_do_not_do(action_model, reid_model, video, tmp_path):
    recorder = MaskRecorder(action_model)
    with pytest.raises(FileNotFoundError, match=r'There is no video .*no\.mp4'):
        recorder.record(str(tmp_path / 'no.mp4'))
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(ValueError, match=r'text\.mp4 cannot be decoded'):
        recorder.record(str(tmp_path / 'text.mp4'))
    with pytest.raises(ValueError, match='is a file, and this model sees tracklets'):
        MaskRecorder(reid_model).record(video)


def test_pipeline_that_loads_nothing_known(action_model):
    cfg = Config.fromfile(ACTION_DEMO)
    cfg.test_dataloader.dataset.pipeline = [dict(type='PackActionInputs')]
    with pytest.raises(ValueError, match='does not decode frames of a video'):
        ClipReader(cfg, 4)


def test_flow_comes_as_arrays(video):
    cfg = Config.fromfile(CONFIGS / 'resnext101_bert_hmdb51_flow.py')
    reader = ClipReader(cfg, 4)
    with pytest.raises(ValueError, match=r'sees optical flow: give it as an array'):
        reader.read(video)
    flow = np.random.default_rng(0).integers(0, 256, (70, 60, 80, 2), dtype=np.uint8)
    clip = reader.read(flow)
    np.testing.assert_array_equal(clip.frames[0], flow[clip.numbers[0]])
    np.testing.assert_allclose(clip.box, (29 / 170, 8 / 128, 141 / 170, 120 / 128),
                               atol=2e-3)


# -- pictures and files ------------------------------------------------------


def test_layers_by_word():
    names = ['backbone.plugins.after_layer3.0', 'backbone.plugins.after_layer4.0',
             'backbone.plugins.after_layer4.1', 'neck.own']
    assert choose_layers(names) == names
    assert choose_layers(names, ['layer4']) == names[1:3]
    assert choose_layers(names, ['own', 'layer3']) == [names[0], names[3]]
    with pytest.raises(ValueError, match=r"is named 'layer5': there is backbone\.plug.*"
                                         r'after_layer3\.0, .*neck\.own'):
        choose_layers(names, ['layer5'])
    assert list(layer_titles(names).values()) == [
        'after_layer3', 'after_layer4', 'after_layer4.1', 'neck.own']
    assert list(layer_titles(['a.plugins.x.0', 'b.plugins.x.0']).values()) == [
        'a.plugins.x.0', 'b.plugins.x.0']


def test_video_has_a_picture_for_each_frame(reid_model, tracklet):
    clip = MaskRecorder(reid_model).record(tracklet)
    assert len(list(video_pictures(clip, side=32))) == 10
    narrow, wide = (next(video_pictures(clip, wanted, side=160)).shape[1]
                    for wanted in (['layer3'], None))
    assert narrow < wide


def test_names_of_files(tmp_path):
    for folder in ('a/x', 'b/x'):
        (tmp_path / folder).mkdir(parents=True)
    folders = [str(tmp_path / 'a' / 'x'), str(tmp_path / 'b' / 'x')]
    assert output_names(folders) == ['a_x', 'b_x']
    assert output_names(['v/walk.mp4', 'v/run.avi']) == ['walk', 'run']
    assert output_names(['v/walk.mp4', 'v/walk.avi']) == ['walk_1', 'walk_2']
    assert output_names(['v/walk.mp4']) == ['walk']


def test_kind_of_file(reid_model, tracklet, tmp_path):
    clip = MaskRecorder(reid_model).record(tracklet)
    with pytest.raises(ValueError, match=r"one of \('mp4', 'gif', 'both'\), got 'avi'"):
        write_pictures(clip, tmp_path, 'x', 'avi')


# -- batches -----------------------------------------------------------------


def counted(*shape):
    """Bytes whose value is the number of the frame, counted through."""
    return torch.arange(int(np.prod(shape))).reshape(shape).to(torch.uint8)


@pytest.mark.parametrize(('inputs', 'num_clips', 'clip', 'expected'), [
    # two videos of one view: (V, C, T, H, W)
    ([counted(1, 1, 4, 1, 1), 10 + counted(1, 1, 4, 1, 1)], 2, 1, [10, 11, 12, 13]),
    # tracklets of 1 and 2 clips
    ([counted(1, 1, 2, 1, 1), 10 + counted(2, 1, 2, 1, 1)], 3, 2, [12, 13]),
    # a 2-D model, two views of 3 frames each: (V * T, C, H, W)
    ([counted(6, 1, 1, 1)], 2, 1, [3, 4, 5]),
    # images: (C, H, W)
    ([number + counted(1, 1, 1) for number in range(6)], 3, 1, [2, 3])])
def test_frames_of_one_clip(inputs, num_clips, clip, expected):
    found = clip_frames(inputs, num_clips, clip)
    assert found.flatten().tolist() == expected


def test_inputs_that_make_no_clips():
    with pytest.raises(ValueError, match='2 views do not make up 3 clips'):
        clip_frames([counted(2, 1, 4, 1, 1)], 3)
    with pytest.raises(ValueError, match='5 frames do not make up 2 clips'):
        clip_frames([counted(5, 1, 1, 1)], 2)


def test_clip_of_a_batch_of_images():
    """Three clips of two images each; sample 1 is the second clip."""
    masks = {'a': ModuleMasks(torch.rand(3, 2, 2, 2), torch.rand(3, 4))}
    images = [torch.full((3, 4, 4), number, dtype=torch.uint8) for number in range(6)]
    clip = batch_clip(nn.Identity(), dict(inputs=images), masks, 1)
    assert [frame.max() for frame in clip.frames] == [2, 3]
    np.testing.assert_array_equal(clip.masks['']['a'].spatial, masks['a'].spatial[1])
    np.testing.assert_array_equal(clip.masks['']['a'].channel, masks['a'].channel[1])


@pytest.mark.parametrize(('batch', 'masks', 'message'), [
    (dict(inputs='x'), {}, 'are not a list of frames, clips or tracklets'),
    (dict(inputs=[]), {}, 'are not a list of frames'),
    (dict(inputs=[torch.zeros(3, 4)]), {}, 'are not a list of frames'),
    (dict(inputs=[torch.zeros(3, 4, 4)]), {}, 'the COSAMs did not run')])
def test_batches_that_show_nothing(batch, masks, message):
    with pytest.raises(ValueError, match=message):
        batch_clip(nn.Identity(), batch, masks, 0)


def test_pictures_of_inputs():
    frames = torch.tensor([[10, 20, 30]], dtype=torch.uint8)[..., None, None]
    assert to_pictures(frames)[0].ravel().tolist() == [10, 20, 30]
    assert to_pictures(frames, bgr=True)[0].ravel().tolist() == [30, 20, 10]
    assert to_pictures(frames.float() - 15)[0].ravel().tolist() == [0, 128, 255]
    assert to_pictures(frames[:, :2])[0].ravel().tolist() == [10, 20, 128]
    assert to_pictures(frames[:, :1])[0].ravel().tolist() == [10, 10, 10]


def test_padding_of_the_preprocessor_widens_the_view(tracklet):
    """A preprocessor that adds a half at the right: the masks reach beyond."""
    class Padding(nn.Module):
        def forward(self, data, training=False):
            return dict(data, inputs=[nn.functional.pad(x, (0, x.shape[-1] // 2))
                                      for x in data['inputs']])

    model = build(own_config())
    model.data_preprocessor = Padding()
    clip = MaskRecorder(model).record(tracklet)
    assert clip.box == (0, 0, 1.5, 1)


def test_samples_go_to_the_model_as_in_a_test(reid_model, tracklet):
    """What is collated is what mmengine's loader would collate."""
    sample = ClipReader(reid_model.cfg, 4).read(tracklet).samples
    batch = pseudo_collate(list(sample))
    assert batch['inputs'][0].shape == (3, 3, 4, 64, 32)
