"""Maps against silhouettes, from synthetic files to metrics, the long way round."""
import copy
import json
import math
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.nn import functional as F

from cosam_mm.apis.model_loading import untrained_model
from cosam_mm.datasets.synthetic.action_dataset_files import generate_action_dataset
from cosam_mm.datasets.synthetic.ground_truth import synthetic_test_videos
from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.layers.mask_recording import record_masks
from projects.attention_study.attention_maps import AttentionMap, centre_prior
from projects.attention_study.evaluate_masks import (
    MapAgreement,
    average_positions,
    evaluate_masks,
    main,
    step_means,
)
from projects.attention_study.mask_agreement import MaskAgreement

COSAMS = ['backbone.plugins.after_layer3.0', 'backbone.plugins.after_layer4.0']


@pytest.fixture(scope='module')
def reid_root(tmp_path_factory):
    return generate_reid_dataset(
        tmp_path_factory.mktemp('masks') / 'reid', 1, 2, 2, seed=4, num_distractors=1,
        num_junk=1, progress=False)


@pytest.fixture(scope='module')
def reid_videos(reid_root):
    return synthetic_test_videos(reid_root)[:2]


@pytest.fixture(scope='module')
def action_root(tmp_path_factory):
    return generate_action_dataset(tmp_path_factory.mktemp('masks') / 'action', 3,
                                   num_frames=32, progress=False)


@pytest.fixture(scope='module')
def reid_config(repo):
    config = Config.fromfile(repo / 'configs/reid/resnet14_cosam45_tp_demo.py')
    config.model.backbone.base_channels = 8
    return config


@pytest.fixture(scope='module')
def action_config(repo):
    config = Config.fromfile(repo / 'configs/resnext14_cosam_bert_demo.py')
    config.merge_from_dict({
        'model.backbone': dict(base_channels=8, groups=4, reduced_channels=32),
        'model.cls_head.in_channels': 32})
    return config


def naive_auc(values, inside):
    """Pair by pair; values closer than rounding are one."""
    difference = values[inside][:, None].double() - values[~inside].double()
    won = (difference > 1e-6).double() + 0.5 * (difference.abs() <= 1e-6)
    return won.mean().item()


def enlarged(masks, size):
    """(F, h, w) to (F, H, W)."""
    return F.interpolate(masks[:, None], size=size, mode='bilinear',
                         align_corners=False)[:, 0]


def test_tracklets(reid_config, reid_videos):
    model = untrained_model(reid_config, device='cpu')
    rows = {row.map: row for row in
            evaluate_masks(model, reid_videos, ['cosam', 'centre'])}
    assert list(rows) == [AttentionMap('cosam', COSAMS[0]),
                          AttentionMap('cosam', COSAMS[1]), AttentionMap('centre', '')]
    assert rows['cosam', COSAMS[0]].grid == (4, 4, 2)
    assert rows['centre', ''].grid == (1, 64, 32)
    for number, video in enumerate(reid_videos):
        silhouette = torch.from_numpy(video.generate().silhouette)
        frames = torch.stack([
            torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy())
            for path in video.source]).permute(3, 0, 1, 2)          # (C, F, H, W)
        count = frames.shape[1]
        # Clips of four, the last one looped.
        whole = count // 4 * 4
        looped = [*range(whole)]
        if count > whole:
            looped += [whole + k % (count - whole) for k in range(4)]
        clips = frames[:, looped].unflatten(1, (-1, 4)).transpose(0, 1)
        with record_masks(model) as record, torch.no_grad():
            model.extract_feat(model.data_preprocessor(dict(
                inputs=[clips], data_samples=None))['inputs'])
        for name in COSAMS:
            masks = record.masks()[name].spatial.flatten(0, 1)[:count]
            values = enlarged(masks, (64, 32))
            usable = [(v, s) for v, s in zip(values, silhouette) if s.any()]
            found = rows['cosam', name].videos[number]
            assert (found.num_frames, found.num_left_out) == (
                len(usable), count - len(usable))
            assert found.auc == pytest.approx(
                np.mean([naive_auc(v, s) for v, s in usable]), abs=2e-4)
            assert found.share == pytest.approx(
                np.mean([s.double().mean() for _, s in usable]))
            coarse = enlarged(F.adaptive_avg_pool2d(
                silhouette.float()[:, None], (4, 2))[:, 0], (64, 32))
            assert rows['cosam', name].coarse[number].auc == pytest.approx(
                np.mean([naive_auc(v, s) for v, s in zip(coarse, silhouette)
                         if s.any()]), abs=2e-4)
        centre = [naive_auc(centre_prior(64, 32), s) for s in silhouette if s.any()]
        assert rows['centre', ''].videos[number].auc == pytest.approx(
            np.mean(centre), abs=1e-4)


def test_clips_are_seen_through_the_centre_crop(action_config, action_root):
    model = untrained_model(action_config, device='cpu')
    videos = synthetic_test_videos(action_root)[:1]
    rows = {row.map: row for row in evaluate_masks(model, videos)}
    assert [row.kind for row in rows] == ['cosam', 'grad_cam', 'feature_energy',
                                          'centre']
    for number, video in enumerate(videos):
        generated = video.generate()
        cropped = torch.from_numpy(generated.silhouette[:, 8:64, 20:76].copy())
        usable = [s for s in cropped if s.any()]
        for row in rows.values():
            found = row.videos[number]
            assert found.num_frames == len(usable)
            assert found.share == pytest.approx(
                np.mean([s.double().mean() for s in usable]), rel=1e-12)
        reader, frames = cv2.VideoCapture(str(video.source)), []
        for _ in range(32):
            frames.append(reader.read()[1][8:64, 20:76, ::-1])
        clip = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None]
        with record_masks(model) as record, torch.no_grad():
            model.backbone(model.data_preprocessor(
                dict(inputs=[clip], data_samples=None))['inputs'][0])
        masks = record.masks()[COSAMS[0]].spatial[0].repeat_interleave(8, 0)
        values = enlarged(masks, (56, 56))
        expected = [naive_auc(v, s) for v, s in zip(values, cropped) if s.any()]
        # Decoders differ by a grey level here and there.
        assert rows['cosam', COSAMS[0]].videos[number].auc == pytest.approx(
            np.mean(expected), abs=5e-3)


def test_metrics_over_videos():
    videos = [MaskAgreement(.5, .2, .1, .3, 4, 0), MaskAgreement(.8, .4, .2, .3, 5, 1),
              MaskAgreement(*[math.nan] * 4, 0, 6)]
    row = MapAgreement(AttentionMap('cosam', 'x'), (4, 4, 2), videos, videos[1:])
    found = row.as_dict()
    assert found['auc_mean'] == pytest.approx(.65)
    assert found['auc_deviation'] == pytest.approx(.3 / math.sqrt(2))
    assert found['auc_of_videos'] == [.5, .8, None]
    assert (found['num_videos'], found['num_frames'],
            found['num_frames_left_out']) == (2, 9, 7)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found['coarse_silhouette_auc'] == .8
    assert row._replace(videos=videos[:1]).as_dict()['auc_deviation'] == 0


def test_plain_models_have_the_centre_alone(reid_config, reid_videos):
    config = copy.deepcopy(reid_config)
    config.model.backbone.plugins = []
    model = untrained_model(config, device='cpu')
    row, = evaluate_masks(model, reid_videos[:1])
    assert row.map == AttentionMap('centre', '')
    rows = evaluate_masks(model, reid_videos[:1], layers=['backbone.layer3'])
    assert [row.map.kind for row in rows] == ['grad_cam', 'feature_energy', 'centre']


def test_nothing_to_evaluate(reid_config, reid_videos):
    model = untrained_model(reid_config, device='cpu')
    with pytest.raises(ValueError, match='no video'):
        evaluate_masks(model, [])
    first = reid_videos[0]
    generated = first.generate()
    unseen = first._replace(generate=lambda: generated._replace(
        silhouette=np.zeros_like(generated.silhouette)))
    with pytest.raises(ValueError, match='No frame'):
        evaluate_masks(model, [unseen], ['centre'])


def test_pipelines_that_do_more_than_cut(reid_config, reid_videos):
    config = copy.deepcopy(reid_config)
    steps = config.test_dataloader.dataset.gallery.pipeline
    steps.insert(3, dict(type='RandomErasingFrames', prob=1))
    with pytest.raises(ValueError, match='pipeline'):
        evaluate_masks(untrained_model(config, device='cpu'), reid_videos[:1])


# -- command -----------------------------------------------------------------------


@pytest.fixture
def reid_file(repo):
    return str(repo / 'configs/reid/resnet14_cosam45_tp_demo.py')


def test_untrained_model_and_checkpoint(reid_config, reid_file, reid_root, tmp_path,
                                        capsys):
    model = untrained_model(reid_config, seed=5, device='cpu')
    torch.save(dict(meta=dict(epoch=3, seed=5), state_dict=model.state_dict()),
               tmp_path / 'a.pth')
    out, plot = tmp_path / 'new/masks.json', tmp_path / 'new/masks.png'
    main([reid_file, str(tmp_path / 'a.pth'), '--untrained', '--data-root',
          str(reid_root), '--num', '3', '--out', str(out), '--plot', str(plot),
          '--device', 'cpu', '--cfg-options', 'model.backbone.base_channels=8'])
    text, found = capsys.readouterr().out, json.loads(out.read_text())
    before, after = found['states']
    assert (before['weights'], before['epoch']) == ('untrained', 0)
    assert (after['weights'], after['epoch']) == ('a', 3)
    # The same weights in other ways.
    assert before['rows'] == after['rows']
    assert [(row['map'], row['place']) for row in after['rows']] == [
        *((kind, name) for kind in ('cosam', 'grad_cam', 'feature_energy')
          for name in COSAMS), ('centre', '')]
    assert all(0 <= row['auc_mean'] <= 1 and len(row['auc_of_videos']) == 3
               for row in after['rows'])
    assert found['seed'] == 5
    assert found['data'] == json.loads((reid_root / 'reid_demo.json').read_text())
    # 9 tracklets without the junk: the middle one of each third.
    assert found['videos'] == ['0002C1T0001', '0002C2T0002', '0003C2T0001']
    share = after['rows'][0]['share_mean']
    assert f'by chance the best IoU is {share:.3f} or' in text
    rows = re.findall(r'^(untrained|a) +(0|3) +(\w+) +(\S+) +4 x 4 x 2 +(\d\.\d{3}) ',
                      text, re.M)
    assert [row[3] for row in rows] == ['after_layer3', 'after_layer4'] * 6
    assert [row[4] for row in rows[6:]] == [
        f'{row["auc_mean"]:.3f}' for row in after['rows'][:-1]]
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize(('arguments', 'word'), [
    ((), '--untrained'), (('no.pth',), 'no.pth'),
    (('--untrained', '--num', '0'), '--num'),
    (('--untrained', '--data-root', '.'), 'demo.json'),
    (('--untrained', '--maps', 'nonlocal'), 'nonlocal'),
    (('--untrained', '--layers', 'layer3'), 'layer3'),
    (('a.pth', '--plot', 'a.png'), 'a.pth')])
def test_a_mistake_is_one_line(reid_file, reid_root, tmp_path, monkeypatch, capsys,
                               arguments, word):
    torch.save(dict(meta={}, state_dict={}), tmp_path / 'a.pth')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([reid_file, '--data-root', str(reid_root), *arguments])
    assert ended.value.code == 2
    assert word in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(('size', 'grid'), [
    ((64, 32), (4, 2)), ((12, 9), (3, 3)), ((5, 7), (5, 7)), ((6, 4), (1, 1))])
def test_average_positions_is_average_pooling(size, grid):
    values = np.random.default_rng(0).random(size)
    expected = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(values)[None], grid)[0].numpy()
    np.testing.assert_allclose(average_positions(values, grid), expected)


def test_average_positions_within_a_view():
    values = np.random.default_rng(1).random((20, 40))
    box = (10 / 40, 4 / 20, 30 / 40, 16 / 20)
    expected = values[4:16, 10:30].reshape(3, 4, 2, 10).mean((1, 3))
    np.testing.assert_allclose(average_positions(values, (3, 2), box), expected)
    mirrored = (box[2], box[1], box[0], box[3])
    np.testing.assert_allclose(average_positions(values, (3, 2), mirrored),
                               expected[:, ::-1])
    padded = (0., 0., 2., 1.)                # as much again at the right
    np.testing.assert_array_equal(average_positions(np.ones((4, 4)), (1, 4), padded),
                                  [[1, 1, 0, 0]])


@pytest.mark.parametrize('steps', [4, 7, 3, 1])
def test_step_means_average_the_frames_of_a_step(steps):
    values = np.random.default_rng(2).random((2, 7, 2, 3))
    step_of = [t * steps // 7 for t in range(7)]
    expected = np.stack([
        np.mean([values[:, t] for t in range(7) if step_of[t] == step], axis=0)
        for step in range(steps)], axis=1)
    np.testing.assert_allclose(step_means(values, steps), expected)
