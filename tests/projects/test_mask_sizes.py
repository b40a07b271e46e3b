"""Masks at other lengths and sizes, from a video file to figures."""
import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from cosam_mm.layers import COSAM
from projects.attention_study.mask_sizes import (
    center_frames,
    compare_mask_sizes,
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


def test_trained_length_in_other_words_is_the_same_clip(model, video):
    first, second, third = compare_mask_sizes(model, video, [32], [1])
    assert torch.equal(first.mask, second.mask)
    torch.testing.assert_close(first.mask, third.mask)


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


@pytest.mark.parametrize('wrong', [dict(lengths=[0]), dict(scales=[-1.])])
def test_wrong_sizes(model, video, wrong):
    with pytest.raises(ValueError, match='Lengths and scales are positive'):
        compare_mask_sizes(model, video, **wrong)


def test_models_of_frames_are_refused(model, video):
    cfg = copy.deepcopy(model.cfg)
    cfg.model.data_preprocessor.format_shape = 'NCHW'
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'FormatShape':
            step.input_format = 'NCHW'
    frames = MODELS.build(cfg.model)
    frames.cfg = cfg
    with pytest.raises(ValueError, match=r'3-D recognisers.*\(32, 3, 56, 56\)'):
        compare_mask_sizes(frames, video)
