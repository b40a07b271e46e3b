"""Masks at other lengths and sizes, from a video to a table."""
import copy
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from cosam_mm.layers import COSAM
from projects.attention_study.compare_mask_sizes import (
    center_frames,
    compare_mask_sizes,
    main,
    mask_correlation,
)


@pytest.fixture(scope='module')
def model(repo):
    cfg = Config.fromfile(repo / 'configs/resnext14_cosam_bert_demo.py')
    init_default_scope('mmaction')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    model.cfg = cfg
    return model


@pytest.fixture(scope='module')
def video():
    torch.manual_seed(0)
    return torch.randint(0, 256, (40, 72, 96, 3), dtype=torch.uint8).numpy()


def test_sizes_of_a_shipped_model(model, video):
    rows = compare_mask_sizes(model, video, lengths=[16, 64], scales=[0.5, 2])
    assert [row.clip for row in rows] == [
        (32, 56, 56), (16, 56, 56), (64, 56, 56), (32, 28, 28), (32, 112, 112)]
    assert [tuple(row.mask.shape) for row in rows] == [
        (4, 4, 4), (2, 4, 4), (8, 4, 4), (4, 2, 2), (4, 7, 7)]
    assert {row.module for row in rows} == {'backbone.plugins.after_layer3.0'}
    assert rows[0].correlation == pytest.approx(1, abs=1e-6)
    assert all(-1 <= row.correlation <= 1 for row in rows)
    assert all(0 < row.mask.min() <= row.mask.max() < 1 for row in rows)
    # The model is as it was.
    cosam, = (m for m in model.modules() if isinstance(m, COSAM))
    assert not cosam.any_size


@pytest.mark.parametrize(('frames', 'count', 'expected'), [
    (4, 4, [0, 1, 2, 3]), (8, 4, [2, 3, 4, 5]), (5, 4, [.5, 1.5, 2.5, 3.5]),
    (6, 3, [1.5, 2.5, 3.5])])
def test_center_frames(frames, count, expected):
    mask = torch.arange(float(frames))[:, None, None]
    assert center_frames(mask, count).flatten().tolist() == expected


def test_correlation():
    mask = torch.rand(4, 4, 4)
    assert mask_correlation(3 * mask + 1, mask) == pytest.approx(1)
    assert mask_correlation(-mask, mask) == pytest.approx(-1)
    # Whatever stands outside of the moments that both cover does not count.
    longer = torch.cat([torch.rand(2, 4, 4), mask, torch.rand(2, 4, 4)])
    assert mask_correlation(longer, mask) == pytest.approx(1)
    assert mask_correlation(mask, longer) == pytest.approx(1)
    larger = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert mask_correlation(larger, mask) > 0.95


def test_mistakes(model, video):
    for wrong in (dict(lengths=[0]), dict(scales=[-1.])):
        with pytest.raises(ValueError, match='positive'):
            compare_mask_sizes(model, video, **wrong)
    cfg = copy.deepcopy(model.cfg)
    cfg.model.data_preprocessor.format_shape = 'NCHW'
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'FormatShape':
            step.input_format = 'NCHW'
    frames = MODELS.build(cfg.model)
    frames.cfg = cfg
    with pytest.raises(ValueError, match='3-D'):
        compare_mask_sizes(frames, video)


@pytest.fixture
def files(model, video, tmp_path):
    """A checkpoint, and a folder of images."""
    torch.save(dict(meta=dict(cfg=model.cfg.pretty_text),
                    state_dict=model.state_dict()), tmp_path / 'a.pth')
    (tmp_path / 'video').mkdir()
    for number, frame in enumerate(np.asarray(video)):
        Image.fromarray(frame).save(tmp_path / 'video' / f'img_{number:05}.png')
    return tmp_path


def test_table_and_plot(files, capsys):
    video = str(files / 'video')
    main([str(files / 'a.pth'), video, video, '--lengths', '16', '48', '--scales', '2',
          '--out', str(files / 'new/masks.png')])
    text = capsys.readouterr().out
    assert 'backbone.plugins.after_layer3.0, 2 video(s)' in text
    rows = re.findall(r'^ *(\d+ x \d+ x \d+) +(\d+ x \d+ x \d+) +(-?\d\.\d{3}) ', text,
                      re.M)
    assert [row[:2] for row in rows] == [
        ('32 x 56 x 56', '4 x 4 x 4'), ('16 x 56 x 56', '2 x 4 x 4'),
        ('48 x 56 x 56', '6 x 4 x 4'), ('32 x 112 x 112', '4 x 7 x 7')]
    assert rows[0][2] == '1.000'
    with Image.open(files / 'new' / 'masks.png') as plot:
        assert min(plot.size) > 200


@pytest.mark.parametrize(('options', 'word'), [
    ((), 'no.avi'), (('--lengths', '0'), 'pos')])
def test_a_mistake_is_one_line(files, capsys, options, word):
    with pytest.raises(SystemExit) as ended:
        main([str(files / 'a.pth'), 'no.avi', *options])
    assert ended.value.code == 2
    assert word in capsys.readouterr().err.splitlines()[-1]
