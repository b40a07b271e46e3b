"""The masks section of a report: what it shows, and what it says is missing."""
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.utils.config import set_data_root
from cosam_mm.visualization.mask_drawing import grid_picture
from cosam_mm.visualization.mask_models import untrained_model
from cosam_mm.visualization.mask_recorder import make_recorder
from cosam_mm.visualization.report.content import Clip, Gallery, Missing, Picture
from cosam_mm.visualization.report.masks_section import build_section
from cosam_mm.visualization.report.work_dir import ReportOptions, WorkDir
from tests.action_data import write_data_root

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
OPTIONS = ReportOptions(num_samples=2, progress=False)


def write_run(folder, config, data_root, weights_seed=1):
    """What a training of a config leaves behind."""
    cfg = Config.fromfile(config)
    set_data_root(cfg, str(data_root))
    path = folder / Path(config).name
    path.write_text(cfg.pretty_text)
    checkpoint = folder / 'epoch_1.pth'
    model = untrained_model(cfg, weights_seed)
    torch.save(dict(state_dict=model.state_dict(),
                    meta=dict(cfg=cfg.pretty_text, seed=0)), checkpoint)
    return WorkDir(root=folder, config=path, checkpoint=checkpoint,
                   data_root=Path(data_root))


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    data = write_data_root(tmp_path_factory.mktemp('data') / 'demo', 'demo', 8)
    return write_run(tmp_path_factory.mktemp('run'),
                     CONFIGS / 'resnext14_cosam_bert_demo.py', data)


@pytest.fixture(scope='module')
def section(found):
    pytest.importorskip('av')
    return build_section(found, OPTIONS)


def test_blocks(section):
    assert (section.key, section.title) == ('masks', 'Masks')
    kinds = [type(block) for block in section.blocks]
    assert kinds == [Picture, Picture, Gallery, Picture]
    *grids, gallery, channels = section.blocks
    assert [clip.title for clip in gallery.items] == [grid.title for grid in grids]
    assert all(isinstance(clip, Clip) for clip in gallery.items)
    assert channels.data.startswith('<svg')
    assert 'Mean over the 2 samples' in channels.caption
    assert 'after_layer3: channel ' in channels.alt


def test_samples_are_spread_over_the_test_list(found, section):
    names = [line.rsplit('.avi', 1)[0] for line in
             (found.data_root / 'demo_val_split_1_videos.txt').read_text().splitlines()]
    assert [block.title for block in section.blocks[:2]] == [names[0], names[-1]]


def test_grid_is_that_of_the_tool(found, section):
    cfg = Config.fromfile(found.config)
    name = section.blocks[0].title
    clip = make_recorder(cfg, found.checkpoint, with_before=True).record(
        found.data_root / 'videos' / f'{name}.avi')
    clip = dataclasses.replace(clip, name=name)
    expected = grid_picture(clip).astype(float)
    with Image.open(io.BytesIO(section.blocks[0].data)) as image:
        assert image.format == 'WEBP'
        shown = np.asarray(image.convert('RGB'), float)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 4                  # compressed
    for layer in ('before training', 'after training'):
        assert layer in section.blocks[0].alt


def test_clips_play_all_frames(section):
    av = pytest.importorskip('av')
    for clip in section.blocks[2].items:
        with av.open(io.BytesIO(clip.data)) as container:
            frames = [frame.to_ndarray(format='rgb24')
                      for frame in container.decode(video=0)]
        assert len(frames) == 20
        with Image.open(io.BytesIO(clip.poster)) as poster:
            poster = np.asarray(poster.convert('RGB'), float)
        height, width = poster.shape[:2]
        assert np.abs(frames[0][:height, :width] - poster).mean() < 8
        assert len(clip.data) <= 240_000


def test_same_files_make_the_same_section(found, section):
    assert build_section(found, OPTIONS) == section


def test_tracklets(tmp_path):
    """Queries of a data set in MARS's layout."""
    pytest.importorskip('av')
    data = generate_reid_dataset(tmp_path / 'reid', 2, 4, num_cameras=2,
                                 num_distractors=1, num_junk=0, progress=False)
    found = write_run(tmp_path, CONFIGS / 'reid/resnet14_cosam45_tp_demo.py', data)
    section = build_section(found, OPTIONS)
    assert [type(block) for block in section.blocks] == [Picture, Picture, Gallery,
                                                         Picture]
    assert 'after_layer4' in section.blocks[0].alt


# -- what is missing ---------------------------------------------------------


def missing(section):
    (block,) = section.blocks
    assert isinstance(block, Missing)
    assert block.how
    return block.why


def test_no_model_at_all(tmp_path):
    assert build_section(WorkDir(tmp_path), OPTIONS) is None


def test_without_masks(found):
    options = dataclasses.replace(OPTIONS, with_masks=False)
    assert 'made without them' in missing(build_section(found, options))


def test_no_checkpoint(found):
    assert 'no checkpoint' in missing(build_section(
        dataclasses.replace(found, checkpoint=None), OPTIONS))


def test_no_data(found):
    assert 'the test data are not there' in missing(build_section(
        dataclasses.replace(found, data_root=None), OPTIONS))


def test_data_of_another_kind(found, tmp_path):
    why = missing(build_section(
        dataclasses.replace(found, data_root=tmp_path), OPTIONS))
    assert 'demo_val_split_1_videos.txt' in why


def test_damaged_checkpoint(found, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(found.checkpoint.read_bytes()[:5000])
    assert 'epoch_1.pth' in missing(build_section(
        dataclasses.replace(found, checkpoint=path), OPTIONS))


def test_model_without_cosam(found, tmp_path):
    plain = tmp_path / 'plain.py'
    plain.write_text(Config.fromfile(CONFIGS / 'resnext14_bert_demo.py').pretty_text)
    assert 'no COSAM in the Recognizer3D' in missing(build_section(
        dataclasses.replace(found, config=plain), OPTIONS))


def test_one_damaged_video(found, tmp_path):
    pytest.importorskip('av')
    data = write_data_root(tmp_path / 'demo', 'demo', 8)
    first = (data / 'demo_val_split_1_videos.txt').read_text().split('.avi')[0]
    (data / 'videos' / f'{first}.avi').write_bytes(b'no video')
    section = build_section(dataclasses.replace(found, data_root=data), OPTIONS)
    kinds = [type(block) for block in section.blocks]
    assert kinds == [Picture, Gallery, Picture, Missing]
    assert section.blocks[-1].what == f'masks of {first}'
    assert 'cannot be decoded' in section.blocks[-1].why
    assert 'Mean over the 1 sample above' in section.blocks[2].caption


def test_weights_before_training_that_are_not_there(found, tmp_path):
    pytest.importorskip('av')
    config = Config.fromfile(found.config)
    config.model.backbone.init_cfg = dict(type='Pretrained',
                                          checkpoint=str(tmp_path / 'no.pth'))
    path = tmp_path / 'config.py'
    path.write_text(config.pretty_text)
    section = build_section(dataclasses.replace(found, config=path), OPTIONS)
    assert section.blocks[-1].what == 'masks before training'
    assert 'no.pth' in section.blocks[-1].why
    assert 'before training' not in section.blocks[0].alt
