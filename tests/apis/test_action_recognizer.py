"""Classes of videos from files and memory, against mmengine's own test loop."""
import weakref
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

from cosam_mm import ActionRecognizer
from cosam_mm.datasets.frame_stream import FilmFrames
from cosam_mm.datasets.video_reader import VideoReader
from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.utils.config import dump_scores, set_data_root
from cosam_mm.utils.io import read_checkpoint
from tests import gallery_data
from tests.action_data import write_data_root, write_video
from tests.video_data import encode, index_first

NAMES = tuple(f'motion {k}' for k in range(8))
VIDEO = 'videos/class 1/clip (a&b) 1.avi'
COSAM = 'backbone.plugins.after_layer3.0'
CLIP_LEN = 16


def action_config(repo, crop='TenCrop', name='resnext14_cosam_bert_demo'):
    """The demo model on half as many frames, by ten crops of resized frames."""
    config = Config.fromfile(repo / 'configs' / f'{name}.py')
    config.model.backbone.base_channels = 8
    config.model.backbone.plugins[0].cfg.num_frames = CLIP_LEN // 8
    config.model.cls_head.num_tokens = CLIP_LEN // 16
    steps = config.test_dataloader.dataset.pipeline
    steps[1].clip_len = CLIP_LEN
    steps[3:4] = [dict(type='Resize', scale=(85, 72), keep_ratio=False),
                  dict(type=crop, crop_size=64)]
    config.test_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    return config


def write_checkpoint(path, config, classes=NAMES, **changes):
    """As training writes it, the order of classes far from a tie."""
    model = gallery_data.build_model(config)
    torch.nn.init.normal_(model.cls_head.fc_cls.weight, std=0.5)
    return gallery_data.write_checkpoint(path, config, model=model, meta=dict(
        dataset_meta=dict(classes=classes)), **changes)


def scores_of_a_test(config, checkpoint, data_root, folder):
    """Scores by name of a clip, out of a test as tools/test.py runs it."""
    set_data_root(config, data_root)
    dump_scores(config, str(folder / 'scores.npz'))
    config.load_from, config.work_dir = str(checkpoint), str(folder / 'work')
    with DefaultScope.overwrite_default_scope('mmaction'):
        Runner.from_cfg(config).test()
    scores = load_scores(folder / 'scores.npz')
    return dict(zip(scores['sample_id'].tolist(), scores['score']))


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    return write_data_root(tmp_path_factory.mktemp('data'), 'demo', 8, frames=True)


@pytest.fixture(scope='module')
def checkpoint(repo, tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp('model') / 'm.pth',
                            action_config(repo))


@pytest.fixture(scope='module')
def recognizer(checkpoint):
    return ActionRecognizer(checkpoint, device='cpu')


@pytest.fixture(scope='module')
def frames(data_root):
    """(20, 80, 96, 3): what the video file decodes to."""
    return VideoReader(data_root / VIDEO).get_batch(range(20))


@pytest.fixture(scope='module')
def prediction(recognizer, data_root):
    return recognizer.predict(data_root / VIDEO, return_feature=True, return_masks=True)


def assert_close(score, expected):
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-5)


class TestEvaluation:

    def test_scores_are_those_of_a_test(self, repo, checkpoint, recognizer, data_root,
                                        tmp_path):
        tested = scores_of_a_test(action_config(repo), checkpoint, data_root, tmp_path)
        files = [data_root / 'videos' / f'{name}.avi' for name in tested]
        assert len(files) == 4
        found = recognizer.predict_batch(files, batch_size=3)
        for one, expected in zip(found, tested.values()):
            assert one.score.dtype == np.float32
            assert_close(one.score, expected)
        assert np.ptp([one.score for one in found], axis=0).max() > 1e-2

    def test_optical_flow_as_arrays(self, repo, data_root, tmp_path):
        config = action_config(repo, 'FlowTenCrop')
        flow = Config.fromfile(repo / 'configs' / 'resnext101_bert_hmdb51_flow.py')
        config.model.backbone.in_channels = 2
        config.model.data_preprocessor.update(mean=[127.5] * 2, std=[64.] * 2)
        dataset = config.test_dataloader.dataset
        dataset.update(type='ActionFrameDataset', modality='Flow',
                       filename_tmpl='flow_{}_{:05}.jpg')
        dataset.pipeline[:3] = [dataset.pipeline[1],
                                flow.test_dataloader.dataset.pipeline[1]]
        rng = np.random.default_rng(0)
        folder = data_root / 'rawframes' / 'class 1' / 'clip (a&b) 1'
        for axis in 'xy':
            for frame in range(1, 21):
                image = cv2.resize(rng.integers(0, 256, (5, 6), dtype=np.uint8),
                                     (96, 80))
                cv2.imwrite(str(folder / f'flow_{axis}_{frame:05}.jpg'), image)
        path = write_checkpoint(tmp_path / 'flow.pth', config)
        tested = scores_of_a_test(config, path, data_root, tmp_path)

        recognizer = ActionRecognizer(path, device='cpu')
        images = [[cv2.imread(str(folder / f'flow_{axis}_{frame:05}.jpg'), 0)
                   for axis in 'xy'] for frame in range(1, 21)]
        array = np.moveaxis(np.array(images), 1, 3)
        expected = tested['class 1/clip (a&b) 1']
        assert_close(recognizer.predict(array).score, expected)
        assert_close(recognizer.predict(list(array)).score, expected)
        with pytest.raises(ValueError, match='optical flow'):
            recognizer.predict(data_root / VIDEO)

    def test_frame_recogniser_of_mmaction2(self, data_root, tmp_path):
        """TSN with MMAction2's own loading: three segments of one frame."""
        from mmaction.apis import inference_recognizer, init_recognizer
        pipeline = [
            dict(type='DecordInit'),
            dict(type='SampleFrames', clip_len=1, num_clips=3, test_mode=True),
            dict(type='DecordDecode'), dict(type='Resize', scale=(-1, 64)),
            dict(type='ThreeCrop', crop_size=64),
            dict(type='FormatShape', input_format='NCHW'),
            dict(type='PackActionInputs')]
        config = Config(dict(
            default_scope='mmaction', test_pipeline=pipeline,
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
            model=dict(
                type='Recognizer2D',
                backbone=dict(type='mmaction.ResNet', depth=18, norm_eval=False),
                cls_head=dict(type='TSNHead', num_classes=8, in_channels=512,
                              average_clips='prob'),
                data_preprocessor=dict(
                    type='ActionDataPreprocessor', mean=[127.5] * 3, std=[64.] * 3,
                    format_shape='NCHW'))))
        path = write_checkpoint(tmp_path / 'tsn.pth', config)
        expected = inference_recognizer(
            init_recognizer(config, path, device='cpu'), str(data_root / VIDEO))
        recognizer = ActionRecognizer(path, device='cpu')
        found = recognizer.predict(data_root / VIDEO, topk=8, return_feature=True)
        assert_close(found.score, expected.pred_score.numpy())
        assert sum(one.probability for one in found.classes) == pytest.approx(1)
        assert found.feature.shape == (512,)
        other = recognizer.predict(data_root / VIDEO, views='center',
                                   return_feature=True)
        assert np.abs(other.feature - found.feature).max() > 1e-4


def test_attention_in_a_backbone_of_mmaction2(repo, data_root, tmp_path):
    """A shipped config, narrower, from a checkpoint that holds its config."""
    config = Config.fromfile(repo / 'configs' / 'tsm_r50_cosam_hmdb51.py')
    config.model.backbone.backbone.update(depth=18)
    config.model.cls_head.in_channels = 512
    recognizer = ActionRecognizer(
        write_checkpoint(tmp_path / 'm.pth', config, classes=None), device='cpu')
    found = recognizer.predict(data_root / VIDEO, 99, 'center', return_masks=True)
    ((place, masks),) = found.masks.items()
    assert place.startswith('backbone.plugins.')
    assert masks.spatial.shape == (1, 8, 14, 14)
    assert len(found.classes) == 51


class TestInputs:

    def test_every_way_to_hand_over_a_video(self, recognizer, prediction, data_root,
                                            frames, tmp_path):
        images = list(map(Image.fromarray, frames))
        for number, image in enumerate(images):
            image.save(tmp_path / f'{number}.png')
        paths = [str(tmp_path / f'{number}.png') for number in range(20)]
        before = frames.copy()
        ways = [str(data_root / VIDEO), frames, list(frames), images, paths, tmp_path]
        for one in recognizer.predict_batch(iter(ways), batch_size=4):
            assert_close(one.score, prediction.score)
        (one,) = recognizer.predict_batch(frames[None])
        assert_close(one.score, prediction.score)
        np.testing.assert_array_equal(frames, before)
        bgr = recognizer.predict(frames[..., ::-1])
        assert np.abs(bgr.score - prediction.score).max() > 1e-3

    def test_channels_of_opencv(self, checkpoint, prediction, frames):
        recognizer = ActionRecognizer(checkpoint, device='cpu', channel_order='bgr')
        assert_close(recognizer.predict(frames[..., ::-1]).score, prediction.score)

    def test_wrong_videos(self, recognizer, data_root, tmp_path):
        """tests/apis/test_video_input.py has more of them."""
        (tmp_path / 'broken.avi').write_bytes(b'RIFF' + bytes(500))
        for wrong, word in (
                (tmp_path / 'broken.avi', 'broken.avi'),
                ([str(data_root / VIDEO)] * 2, 'predict_batch'),
                (np.zeros((4, 8, 8, 3)), 'float64')):
            with pytest.raises(ValueError, match=word):
                recognizer.predict(wrong)
        with pytest.raises(FileNotFoundError, match='no.mp4'):
            recognizer.predict('no.mp4')
        with pytest.raises(ValueError, match='list of videos'):
            recognizer.predict_batch('a.mp4')
        assert recognizer.predict_batch([]) == []

    def test_video_that_breaks_off_while_it_is_read(self, recognizer, monkeypatch,
                                                    data_root):
        from cosam_mm.datasets import video_reader

        def stop(self, indices):
            raise video_reader.UnreadableVideo('frame 3 is gone')

        monkeypatch.setattr(video_reader.VideoReader, 'get_batch', stop)
        with pytest.raises(ValueError, match='frame 3 is gone'):
            recognizer.predict(data_root / VIDEO)


class TestPredictions:

    def test_classes(self, recognizer, prediction, frames):
        exp = np.exp(prediction.score.astype(float) - prediction.score.max())
        order = np.argsort(-prediction.score)
        assert [one.label for one in prediction.classes] == order[:5].tolist()
        for label, name, probability in prediction.classes:
            assert name == f'motion {label}'
            assert probability == pytest.approx(exp[label] / exp.sum(), rel=1e-5)
        assert len(recognizer.predict(frames, 99, 'center').classes) == 8

    def test_feature_is_the_input_of_the_classifier(self, recognizer, prediction):
        classifier = recognizer.model.cls_head.fc_cls
        with torch.no_grad():  # linear: the mean over the views may come first
            score = classifier(torch.from_numpy(prediction.feature)[None])[0]
        assert_close(prediction.score, score.numpy())

    def test_masks_of_every_view_and_the_centre(self, recognizer, prediction, frames):
        assert list(prediction.masks) == [COSAM]
        spatial, channel = prediction.masks[COSAM]
        assert spatial.shape == (10, CLIP_LEN // 8, 4, 4)
        assert channel.shape == (10, 128)
        other = recognizer.predict_batch([np.zeros_like(frames), frames],
                                         views='center', batch_size=2,
                                         return_masks=True)
        assert other[1].feature is None
        # TenCrop: four corners and the centre, each followed by its mirror image
        torch.testing.assert_close(other[1].masks[COSAM].spatial[0], spatial[8],
                                   rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize('average', [None, 'prob'])
    def test_averages_of_the_head(self, repo, checkpoint, prediction, frames, average):
        config = action_config(repo)
        config.model.cls_head.average_clips = average
        found = ActionRecognizer(checkpoint, config, 'cpu').predict(frames, topk=8)
        total = sum(one.probability for one in found.classes)
        assert total == pytest.approx(1, abs=1e-5)
        if average is None:  # of the raw scores, as 'score' has it
            assert_close(found.score, prediction.score)
        else:
            assert found.score.sum() == pytest.approx(1, abs=1e-5)

    def test_views_in_portions(self, repo, checkpoint, prediction, frames):
        config = action_config(repo)
        config.model.test_cfg = dict(max_testing_views=4)
        found = ActionRecognizer(checkpoint, config, 'cpu').predict_batch(
            [frames, frames], batch_size=2, return_masks=True, return_feature=True)
        assert_close(found[1].score, prediction.score)
        assert_close(found[1].feature, prediction.feature)
        torch.testing.assert_close(found[1].masks, prediction.masks, rtol=1e-4,
                                   atol=1e-5)

    def test_pipeline_without_a_fixed_size(self, repo, checkpoint, frames):
        config = action_config(repo)
        steps = config.test_dataloader.dataset.pipeline
        config.test_dataloader.dataset.pipeline = steps[:3] + steps[5:]
        recognizer = ActionRecognizer(checkpoint, config, 'cpu')
        with pytest.raises(ValueError, match='batch_size=1'):
            recognizer.predict_batch([frames[:, :40, :48], frames], batch_size=2)

    @pytest.mark.parametrize('argument', [
        dict(topk=0), dict(topk=1.5), dict(batch_size=0), dict(views='all')])
    def test_wrong_arguments(self, recognizer, frames, argument):
        with pytest.raises(ValueError, match=next(iter(argument))):
            recognizer.predict_batch([frames], **argument)

    def test_nothing_to_return(self, repo, frames, tmp_path):
        config = action_config(repo)
        config.model.backbone.plugins = None
        path = write_checkpoint(tmp_path / 'm.pth', config)
        recognizer = ActionRecognizer(path, device='cpu')
        with pytest.raises(ValueError, match='COSAM'):
            recognizer.predict(frames, return_masks=True)
        recognizer.model.cls_head.fc_cls = None
        with pytest.raises(ValueError, match='fc_cls'):
            recognizer.predict(frames, return_feature=True)


class TestCheckpoint:

    def test_names_of_classes(self, checkpoint, tmp_path):
        names = [f'name {k}' for k in range(8)]
        (tmp_path / 'names.txt').write_text('\n'.join(names) + '\n')
        for classes in (names, tmp_path / 'names.txt', str(tmp_path / 'names.txt')):
            found = ActionRecognizer(checkpoint, device='cpu', classes=classes)
            assert found.class_names == tuple(names)
        (tmp_path / 'names.txt').write_text('one\ntwo\n')
        for classes, message in (
                (names[:3], '3 names'), (tmp_path / 'names.txt', 'names.txt')):
            with pytest.raises(ValueError, match=message):
                ActionRecognizer(checkpoint, device='cpu', classes=classes)

    def test_config_file_beside_a_bare_checkpoint(self, repo, checkpoint, prediction,
                                                  frames, tmp_path):
        content = read_checkpoint(checkpoint)
        torch.save(content['state_dict'], tmp_path / 'bare.pth')
        (tmp_path / 'c.py').write_text(action_config(repo).pretty_text)
        with pytest.raises(ValueError, match='config'):
            ActionRecognizer(tmp_path / 'bare.pth')
        recognizer = ActionRecognizer(tmp_path / 'bare.pth', tmp_path / 'c.py', 'cpu')
        found = recognizer.predict(frames)
        assert_close(found.score, prediction.score)
        assert found.classes[0].name == f'class {found.classes[0].label}'
        with pytest.raises(FileNotFoundError, match='no.py'):
            ActionRecognizer(tmp_path / 'bare.pth', 'no.py')

    @pytest.mark.parametrize(('change', 'device', 'word'), [
        (lambda c: c.model.update(type='My'), 'cpu', 'My.*config'),
        (lambda c: c.model.cls_head.update(num_classes=9), 'cpu', '9'),
        (lambda c: c.pop('test_dataloader'), 'cpu', 'pipeline'),
        (lambda c: None, 'cuda:99', 'cuda:99')])
    def test_settings_that_do_not_fit(self, repo, checkpoint, change, device, word):
        """tests/apis/test_tracklet_encoder.py has more of them."""
        config = action_config(repo)
        change(config)
        with pytest.raises(ValueError, match=word):
            ActionRecognizer(checkpoint, config, device)

    def test_other_checkpoints(self, tmp_path):
        reid = gallery_data.write_checkpoint(tmp_path / 'reid.pth',
                                             gallery_data.reid_config())
        with pytest.raises(ValueError, match='VideoReID.*BaseRecognizer'):
            ActionRecognizer(reid)
        with pytest.raises(FileNotFoundError, match='nothing.pth'):
            ActionRecognizer(tmp_path / 'nothing.pth')

    def test_broken_weights(self, repo, frames, tmp_path):
        path = write_checkpoint(tmp_path / 'nan.pth', action_config(repo), **{
            'cls_head.fc_cls.bias': torch.full((8,), float('nan'))})
        with pytest.raises(ValueError, match='NaN.*nan.pth'):
            ActionRecognizer(path, device='cpu').predict(frames)

    def test_default_scope_of_others_is_left_alone(self, checkpoint, frames):
        with DefaultScope.overwrite_default_scope('mmengine'):
            ActionRecognizer(checkpoint, device='cpu').predict(frames, views='center')
            assert DefaultScope.get_current_instance().scope_name == 'mmengine'

    @pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
    def test_gpu_agrees(self, checkpoint, prediction, frames):
        found = ActionRecognizer(checkpoint)
        assert next(found.model.parameters()).is_cuda
        one = found.predict(frames, return_masks=True)
        np.testing.assert_allclose(one.score, prediction.score, rtol=1e-2, atol=1e-3)
        assert not one.masks[COSAM].spatial.is_cuda


class TestMMAction2:
    """The same configs and checkpoints through MMAction2's own inferencer."""

    @pytest.fixture
    def inferencer(self, repo, checkpoint, tmp_path):
        from mmaction.apis.inferencers import MMAction2Inferencer
        config, labels = tmp_path / 'c.py', tmp_path / 'labels.txt'
        config.write_text(action_config(repo).pretty_text)
        labels.write_text('\n'.join(NAMES))
        with pytest.warns(UserWarning, match='save_dir'):
            return MMAction2Inferencer(str(config), checkpoint, 'cpu', str(labels))

    def test_inferencer_takes_the_centre_crop(self, inferencer, recognizer, data_root):
        video = str(data_root / VIDEO)
        expected = recognizer.predict(video, views='center')
        for one in inferencer([video, video], batch_size=2)['predictions']:
            assert_close(one['rec_scores'][0], expected.score)
            assert one['rec_labels'] == [[expected.classes[0].label]]

    def test_it_shows_the_videos(self, inferencer, tmp_path):
        pytest.importorskip('moviepy')
        write_video(tmp_path / 'a.avi', 20)
        inferencer(str(tmp_path / 'a.avi'), vid_out_dir=str(tmp_path / 'out'),
                   out_type='video')
        assert (tmp_path / 'out' / 'a.mp4').stat().st_size > 1000


@pytest.fixture
def log(caplog):
    """What mmengine logs."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    """130 frames in 5.2 s, with B frames, and the times of which 25 a second make."""
    return encode(tmp_path_factory.mktemp('film') / 'film.mp4', 'libx264',
                  times=range(130))


class TestWindows:

    @pytest.mark.parametrize(('window', 'stride', 'parts'), [
        (1.6, None, [(0, 40), (40, 80), (80, 120), (90, 130)]),
        (1., 2., [(0, 25), (50, 75), (100, 125)]),
        (2., 1.2, [(0, 50), (30, 80), (60, 110), (80, 130)]),
        (9., 1., [(0, 130)])])
    def test_a_window_is_a_video_of_its_frames(self, recognizer, film, window, stride,
                                               parts):
        frames = VideoReader(film).get_batch(range(130))
        found = list(recognizer.predict_windows(film, window, stride))
        assert [(one.start, one.end) for one in found] == [
            pytest.approx((first / 25, end / 25)) for first, end in parts]
        for (first, end), (_, _, one) in zip(parts, found):
            assert_close(one.score, recognizer.predict(frames[first:end],
                                                       views='center').score)
            assert (one.num_frames, one.num_frames_seen) == (end - first, CLIP_LEN)
        if len(parts) > 1:
            assert np.ptp([one.score for *_, one in found], axis=0).max() > 1e-3

    def test_a_window_is_a_clip_cut_without_loss(self, recognizer, film, tmp_path):
        frames = VideoReader(film).get_batch(range(50, 100))
        with av.open(str(tmp_path / 'cut.mkv'), 'w') as container:
            stream = container.add_stream('ffv1', rate=25, width=96, height=64,
                                          pix_fmt='bgr0')
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode(None))
        expected = recognizer.predict(tmp_path / 'cut.mkv', views='test')
        _, (start, _, found), _ = recognizer.predict_windows(film, 2., views='test')
        assert start == 2
        assert_close(found.score, expected.score)

    @pytest.mark.parametrize(('name', 'codec', 'times'), [
        ('a.avi', 'mpeg4', range(60)), ('a.ts', 'libx264', range(60)),
        ('a.mkv', 'libx264', [*range(20), *range(100, 120)])])
    def test_times_of_other_containers(self, recognizer, tmp_path, name, codec, times):
        """Of MPEG-TS, which starts at 1.4 s, and of a film that pauses for 3.2 s."""
        path = encode(tmp_path / name, codec, times=times,
                      options={'bf': '2'} if codec == 'mpeg4' else {})
        found = list(recognizer.predict_windows(path, 0.8))
        starts, ends = zip(*((one.start, one.end) for one in found))
        counts = [one.prediction.num_frames for one in found]
        if len(times) == 60:
            assert starts == pytest.approx((0, 0.8, 1.6), abs=2e-3)
            assert ends[-1] == pytest.approx(2.4, abs=2e-3)
            assert counts == [20] * 3
        else:
            assert starts == pytest.approx((0, 4), abs=2e-3)
            assert counts == [20] * 2

    def test_smoothing_is_the_mean_of_scores(self, recognizer, film):
        plain = list(recognizer.predict_windows(film, 1., 0.5))
        smooth = list(recognizer.predict_windows(film, 1., 0.5, smooth=3, topk=2))
        scores = np.array([one.prediction.score for one in plain])
        assert [one[:2] for one in smooth] == [one[:2] for one in plain]
        for k, (_, _, one) in enumerate(smooth):
            mean = scores[max(k - 1, 0):k + 2].mean(0)
            assert_close(one.score, mean)
            assert [c.label for c in one.classes] == np.argsort(-mean)[:2].tolist()

    def test_memory_holds_a_window(self, recognizer, tmp_path):
        """A film ten times as long takes no more of Python's and FFmpeg's memory."""
        def frames_alive(num_frames):
            alive, most = [], 0
            path = encode(tmp_path / f'{num_frames}.mp4', 'libx264',
                          times=range(num_frames))
            class Film(FilmFrames):
                def __iter__(self):
                    nonlocal most
                    for frame in super().__iter__():
                        alive.append(weakref.ref(frame.rgb))
                        most = max(most, sum(one() is not None for one in alive))
                        yield frame
            assert len(list(recognizer.predict_windows(Film(path), 0.4, 0.2))) > 5
            return most
        assert frames_alive(50) == frames_alive(500) < 20

    def test_what_is_refused(self, recognizer, film, real_data_dir,
                             tmp_path):
        for wrong, word in ((dict(window=0), 'window'), (dict(stride=-1), 'stride'),
                            (dict(smooth=2), 'odd'), (dict(views='all'), 'views')):
            with pytest.raises(ValueError, match=word):
                recognizer.predict_windows(film, **{'window': 1., **wrong})
        for wrong, word in ((np.zeros((4, 8, 8, 3), np.uint8), 'path'),
                            (str(tmp_path), 'folder')):
            with pytest.raises(ValueError, match=word):
                recognizer.predict_windows(wrong, 1.)
        for wrong in ('no.mp4', 'http://127.0.0.1/a.mp4', '0'):
            with pytest.raises(FileNotFoundError, match=wrong):
                recognizer.predict_windows(wrong, 1.)
        stuck = real_data_dir / 'fights' / 'fight' / 'fi079.mp4'  # all times are 0
        with pytest.raises(ValueError, match='rise'):
            list(recognizer.predict_windows(stuck, 1.))

    def test_film_that_is_cut_off_is_named(self, recognizer, tmp_path, log):
        path = tmp_path / 'cut.mp4'
        path.write_bytes(index_first(Path(encode(
            tmp_path / 'whole.mp4', 'libx264', times=range(130))).read_bytes()))
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
        found = list(recognizer.predict_windows(path, 1.))
        assert 0 < found[-1].end < 5
        assert 'cut.mp4 is cut off' in log.text


def test_how_much_of_a_video_was_seen(recognizer, frames):
    one = recognizer.predict(np.concatenate([frames] * 4), views='center')
    assert (one.num_frames, one.num_frames_seen) == (80, CLIP_LEN)
    one = recognizer.predict(frames[:5], views='center')  # looped
    assert (one.num_frames, one.num_frames_seen) == (5, 5)


def test_broken_videos_are_skipped_on_request(recognizer, data_root, prediction,
                                              tmp_path, log):
    (tmp_path / 'broken.avi').write_bytes(b'RIFF' + bytes(500))
    videos = [tmp_path / 'broken.avi', data_root / VIDEO, 'no.mp4', data_root / VIDEO]
    for batch_size in (1, 2, 4):
        found = recognizer.predict_batch(videos, batch_size=batch_size,
                                         on_error='skip')
        assert [one is None for one in found] == [True, False, True, False]
        assert_close(found[3].score, prediction.score)
        assert 'broken.avi' in log.text
        assert 'no.mp4' in log.text
        log.clear()
    with pytest.raises(ValueError, match='on_error'):
        recognizer.predict_batch(videos, on_error='ignore')
