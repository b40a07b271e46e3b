"""The section on masks: what it shows, and what it names as missing."""
import dataclasses
import io
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmengine.config import Config

from cosam_mm.apis.model_loading import untrained_model
from cosam_mm.utils.config import set_data_root
from cosam_mm.visualization.mask_overlay import mask_grid
from cosam_mm.visualization.mask_recorder import make_recorder
from tests.action_data import write_data_root
from tests.report_content import decode, read_image, sections_of

av = pytest.importorskip('av')

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
ACTION = 'resnext14_cosam_bert_demo.py'
WHAT = 'masks of COSAM over sample clips'


def write_run(folder, config, data_root, dataset=None, **cosam):
    """What a training of a config leaves behind; ``cosam`` are options of COSAM."""
    cfg = Config.fromfile(CONFIGS / config)
    set_data_root(cfg, str(data_root))
    if cosam:
        cfg.model.backbone.plugins[0].cfg.update(cosam)
        cfg.test_dataloader.dataset.type = dataset
    folder.mkdir(exist_ok=True)
    (folder / Path(config).name).write_text(cfg.pretty_text)
    torch.save(dict(state_dict=untrained_model(cfg, 1).state_dict(),
                    meta=dict(cfg=cfg.pretty_text, seed=0)), folder / 'epoch_1.pth')
    return folder


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp('run')
    return write_run(root, ACTION, write_data_root(root / 'data', 'demo', 8))


def masks_of(root, **options):
    return sections_of(root, with_masks=True, **options)['Masks']


@pytest.fixture(scope='module')
def view(run):
    with patch.object(torch, 'load', wraps=torch.load) as load:
        view = masks_of(run)
    assert load.call_count == 1  # one report reads the checkpoint once
    return view


@pytest.fixture
def copy(run, tmp_path):
    """A run whose parts can be changed: a folder with links."""
    for name in (ACTION, 'epoch_1.pth', 'data'):
        (tmp_path / name).symlink_to(run / name)
    return tmp_path


def test_samples_are_spread_over_the_test_list(run, view):
    names = [line.rsplit('.avi', 1)[0] for line in
             (run / 'data/demo_val_split_1_videos.txt').read_text().splitlines()]
    assert view.missing == {}
    assert list(view.images) == [names[0], names[-1], 'Channel masks']
    assert view.all("figure[@class='clip']/h3") == [names[0], names[-1]]
    alt, caption, _ = view.images['Channel masks']
    assert 'Mean over the 2 samples' in caption
    assert 'after_layer3: channel ' in alt


def test_grid_is_that_of_the_tool(run, view):
    cfg = Config.fromfile(run / ACTION)
    name, (alt, _, data) = next(iter(view.images.items()))
    clip = make_recorder(cfg, run / 'epoch_1.pth', with_before=True).record(
        run / 'data' / 'videos' / f'{name}.avi')
    expected = mask_grid(dataclasses.replace(clip, name=name)).astype(float)
    shown, kind = read_image(data)
    assert kind == 'WEBP'
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 4  # compressed
    assert 'before training' in alt
    assert 'after training' in alt


def test_clips_play_all_frames(view):
    for video in view.element.iter('video'):
        data = decode(video.get('src'))
        with av.open(io.BytesIO(data)) as container:
            first, *others = (frame.to_ndarray(format='rgb24')
                              for frame in container.decode(video=0))
        assert len(others) == 19
        poster, _ = read_image(decode(video.get('poster')))
        height, width = poster.shape[:2]
        assert np.abs(first[:height, :width] - poster).mean() < 8
        assert len(data) <= 240_000


def test_queries_of_tracklets(tmp_path):
    from tests.ranking_data import write_tracklets

    config = Config.fromfile(CONFIGS / 'reid/resnet14_cosam45_tp_demo.py')
    data = write_tracklets(tmp_path / 'data')
    for part in ('query', 'gallery'):
        config.test_dataloader.dataset[part] = dict(
            type='TrackletFolder', data_root=str(data),
            pipeline=config.test_dataloader.dataset[part].pipeline)
    config.dump(tmp_path / 'net.py')
    torch.save(dict(state_dict=untrained_model(config, 1).state_dict()),
               tmp_path / 'epoch_1.pth')
    view = masks_of(tmp_path)
    assert next(iter(view.images)) == 'query/1/1/a'
    assert len(view.images) == 3
    assert 'after_layer4' in view.images['query/1/1/a'][0]


@pytest.mark.parametrize(('kind', 'what', 'dataset'), [
    ('with_spatial', 'spatial masks', 'ActionVideoDataset'),
    ('with_channel', 'channel masks', 'ActionFrameDataset')])
def test_cosam_with_one_kind_of_mask(tmp_path, kind, what, dataset):
    data = write_data_root(tmp_path / 'data', 'demo', 8, num_clips=1, frames=True)
    view = masks_of(write_run(tmp_path, ACTION, data, dataset, **{kind: False}))
    assert list(view.missing) == [what]
    assert kind in view.missing[what][0]
    assert len(view.images) == 1


# -- what is missing ---------------------------------------------------------


@pytest.mark.parametrize(('gone', 'why'), [
    ('epoch_1.pth', 'no checkpoint'), ('data', 'test data')])
def test_what_is_not_there(copy, gone, why):
    (copy / gone).unlink()
    text = (copy / ACTION).read_text()
    (copy / ACTION).unlink()
    (copy / ACTION).write_text(text.replace("data_root='", "data_root='/gone"))
    view = masks_of(copy)
    assert why in view.missing[WHAT][0]
    assert view.missing[WHAT][1]


def test_model_without_cosam(run, tmp_path):
    write_run(tmp_path, 'resnext14_bert_demo.py', run / 'data')
    assert 'no COSAM' in masks_of(tmp_path).missing[WHAT][0]


def test_config_in_the_checkpoint_alone(copy):
    (copy / ACTION).unlink()
    assert len(masks_of(copy, num_samples=1).images) == 2


def test_one_damaged_video_and_no_weights_before_training(run, copy):
    config = Config.fromfile(run / ACTION)
    config.model.backbone.init_cfg = dict(type='Pretrained',
                                          checkpoint=str(copy / 'no.pth'))
    (copy / ACTION).unlink()
    (copy / ACTION).write_text(config.pretty_text)
    data = write_data_root(copy / 'other', 'demo', 8)
    first = (data / 'demo_val_split_1_videos.txt').read_text().split('.avi')[0]
    (data / 'videos' / f'{first}.avi').write_bytes(b'no video')
    view = masks_of(copy, data_root=data)
    assert set(view.missing) == {'masks before training', f'masks of {first}'}
    assert 'no.pth' in view.missing['masks before training'][0]
    assert 'decoded' in view.missing[f'masks of {first}'][0]
    assert 'the 1 sample above' in view.images['Channel masks'][1]
    assert 'before training' not in str(view.images['Channel masks'])
