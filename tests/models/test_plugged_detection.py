"""COSAM on the levels of a detector's backbone, which has several outputs.

A whole detector, mmdetection's FCOS, is trained by ``tests/test_example_configs.py``.
"""
import pytest
import torch
from mmengine.registry import MODELS

pytest.importorskip('mmaction.models')

FRAMES, SIZE = 4, 64
STRIDES = (8, 16, 32)
BACKBONE = dict(type='mmaction.ResNet', depth=18, pretrained=None, norm_eval=False,
                out_indices=(1, 2, 3))


def plugged(*points, **cosam):
    return MODELS.build(dict(
        type='PluggedBackbone', backbone=BACKBONE,
        input_shape=(FRAMES, 3, SIZE, SIZE),
        plugins=[dict(cfg=dict(type='COSAM', **cosam), after=point)
                 for point in points]))


def test_each_level_has_a_cosam_of_its_size():
    plugins = plugged('layer3', 'layer4').plugins
    assert [(cosam.in_channels, cosam.spatial_size) for (cosam,) in plugins.values()] \
        == [(256, (4, 4)), (512, (2, 2))]


def test_levels_in_front_of_cosam_are_those_of_the_bare_backbone():
    torch.manual_seed(0)
    bare = MODELS.build(BACKBONE)
    ours = plugged('layer3')
    ours.load_state_dict(bare.state_dict(), strict=False)
    bare.eval(), ours.eval()
    frames = torch.rand(2 * FRAMES, 3, SIZE, SIZE)
    with torch.no_grad():
        whole, without = ours(frames), bare(frames)
        alone = ours(frames[FRAMES:])
    assert [level.shape for level in whole] == [level.shape for level in without]
    assert [torch.equal(a, b) for a, b in zip(whole, without)] == [True, False, False]
    for level, part in zip(whole, alone):
        torch.testing.assert_close(level[FRAMES:], part, rtol=1e-4, atol=1e-6)


def test_images_of_any_size():
    """As in mmdetection's multi-scale training, with a module that takes any."""
    model = plugged('layer3', any_size=True).eval()
    for height, width in ((64, 64), (96, 64), (64, 160)):
        with torch.no_grad():
            levels = model(torch.rand(FRAMES, 3, height, width))
        assert [tuple(level.shape[-2:]) for level in levels] == [
            (height // stride, width // stride) for stride in STRIDES]
