"""Fast forms compute the same: to rounding in fp32, within bfloat16 otherwise."""
import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import nn

from cosam_mm.apis.inference_optimization import (
    FoldingError,
    fold_batch_norms,
    make_fast,
    result_difference,
    use_channels_last,
    use_fast_inference,
)
from cosam_mm.models.backbones import I3D, FrameSEResNet, ResNeXt3D
from cosam_mm.utils.config import input_shape

COSAM = dict(cfg=dict(type='COSAM', num_frames=4, spatial_size=(2, 2)),
             position='after_layer3')


def learned(module):
    """Batch norms as after training: statistics and weights of their own."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            if norm.track_running_stats:
                norm.running_mean.normal_(0, 0.2)
                norm.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.2)
    return module.eval()


def relative_error(value, exact):
    return ((value - exact).abs().max() / exact.abs().max()).item()


def norms(module):
    """Names of the batch norms; COSAM's may stay: it uses its layers by parts."""
    return [name for name, m in module.named_modules() if 'plugins' not in name
            and isinstance(m, nn.modules.batchnorm._BatchNorm)]


BACKBONES = {
    'ResNeXt3D': (lambda: ResNeXt3D(14, base_channels=8, groups=4, plugins=[COSAM],
                                    feature_reduction='FRMB', reduced_channels=32),
                  (2, 3, 32, 32, 32), 17),
    'I3D': (lambda: I3D(), (1, 3, 16, 32, 32), 57),
    'FrameSEResNet': (lambda: FrameSEResNet(), (2, 3, 64, 32), 53),
}


@pytest.mark.parametrize('name', BACKBONES)
@torch.no_grad()
def test_folding_is_exact(name):
    build, shape, number = BACKBONES[name]
    net, x = learned(build()), torch.rand(shape)
    exact = net(x)
    folded = fold_batch_norms(net, lambda: net(x))
    own = [name for name in folded if 'plugins' not in name]
    assert len(own) == len(set(own)) == number
    assert not norms(net)
    assert relative_error(net(x), exact) < 1e-5
    use_channels_last(net)
    assert relative_error(net(x), exact) < 1e-5


class Branches(nn.Module):
    """Norms that no convolution may swallow."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.twice, self.once = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.late, self.relu = nn.BatchNorm2d(3), nn.ReLU()
        self.before, self.after = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
        self.no_statistics = nn.BatchNorm2d(3, track_running_stats=False)
        self.plain = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.conv(x)
        x = self.first(y) + self.second(y)          # one output, two norms
        x = self.once(self.twice(x)) + self.twice(x)  # one output has no norm
        x = self.late(self.relu(self.plain(x)))     # not its direct output
        x = self.before(x)                          # registered before its conv
        return self.no_statistics(self.after(x))


@torch.no_grad()
def test_only_what_is_a_pair_is_folded():
    net, x = learned(Branches()), torch.rand(2, 3, 4, 4)
    exact = net(x)
    assert fold_batch_norms(net, lambda: net(x)) == []
    torch.testing.assert_close(net(x), exact, rtol=0, atol=0)
    in_training = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    assert fold_batch_norms(in_training, lambda: in_training(x)) == []


def test_channels_last_changes_no_value_and_no_gradient():
    # In float64: what is more than rounding shows.
    net = ResNeXt3D(14, base_channels=8, groups=4, plugins=[COSAM]).double().train()
    other = copy.deepcopy(net)
    parameters = list(other.parameters())
    use_channels_last(other)
    assert all(a is b for a, b in zip(parameters, other.parameters()))
    x = torch.rand(2, 3, 32, 32, 32, dtype=torch.float64)
    y, z = net(x), other(x)
    weight = other.layer1[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert relative_error(z, y) < 1e-10
    y.square().mean().backward()
    z.square().mean().backward()
    for (name, a), b in zip(net.named_parameters(), other.parameters()):
        assert a.shape == b.shape
        scale = max(a.grad.norm().item(), 1e-6)
        assert (a.grad - b.grad).norm().item() / scale < 1e-8, name
    net.load_state_dict(other.state_dict())  # from a checkpoint and back


@pytest.fixture
def recognizer(repo):
    """(model, two clips of two views)."""
    cfg = Config.fromfile(repo / 'configs' / 'resnext14_cosam_bert_demo.py')
    cfg.model.backbone.base_channels = 8  # half, for time
    init_default_scope('mmaction')
    torch.manual_seed(1)
    clips = torch.randint(0, 256, (2, 2, *input_shape(cfg)), dtype=torch.uint8)
    return learned(MODELS.build(cfg.model)), dict(
        inputs=list(clips), data_samples=[ActionDataSample(), ActionDataSample()])


@torch.no_grad()
@pytest.mark.parametrize('bfloat16', [False, True])
def test_action_model(recognizer, bfloat16, caplog):
    model, data = recognizer
    exact = model.test_step(copy.deepcopy(data))
    with caplog.at_level(logging.INFO):
        found = make_fast(model, data, bfloat16)
    assert not norms(model)
    samples = model.test_step(copy.deepcopy(data))
    again = result_difference(samples, exact)
    assert again == found
    with pytest.raises(ValueError, match='feature'):
        result_difference([SimpleNamespace()], [SimpleNamespace()])
    assert found.error < (2**-5 if bfloat16 else 1e-4)
    assert (found.error > 1e-4) == bfloat16
    assert (found.decisions, found.changed) == (2, 0)
    assert all(one.pred_score.dtype == torch.float32 for one in samples)
    assert not any(hasattr(one, 'pred_score') for one in data['data_samples'])


@torch.no_grad()
def test_reid_model():
    model = learned(MODELS.build(dict(
        type='VideoReID', max_clips_per_forward=2,
        backbone=dict(type='FrameResNet', depth=14, base_channels=8),
        aggregation=dict(type='TemporalPoolAggregation'))))
    data = dict(inputs=[torch.randint(0, 256, (n, 3, 4, 64, 32), dtype=torch.uint8)
                        for n in (3, 1)],
                data_samples=[BaseDataElement(), BaseDataElement()])
    exact = model.test_step(copy.deepcopy(data))
    found = make_fast(model, data, True)
    assert 1e-4 < found.error < 2**-5
    assert (found.decisions, found.changed) == (0, 0)
    samples = model.test_step(copy.deepcopy(data))
    assert samples[0].feature.dtype == torch.float32
    assert relative_error(samples[0].feature, exact[0].feature) < 2**-5


class Peeks(BaseModel):
    """Looks at the output of a convolution beside its norm: folding changes it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, inputs, data_samples=None, mode='predict'):
        y = self.conv(inputs)
        return [SimpleNamespace(pred_score=(self.norm(y) + y).mean((0, 2, 3)))]


@torch.no_grad()
def test_folding_that_changes_results_is_refused():
    with pytest.raises(FoldingError, match='--fast'):
        make_fast(learned(Peeks()), dict(inputs=torch.rand(2, 3, 4, 4)))


def test_fast_inference_leaves_averages_of_weights_out():
    cfg = Config(dict(custom_hooks=[
        dict(type='EMAHook', momentum=0.1), dict(type='MeanLossHook')]))
    use_fast_inference(cfg)
    assert [hook.type for hook in cfg.custom_hooks] == [
        'MeanLossHook', 'FastInferenceHook']
    HOOKS.build(cfg.custom_hooks[1])
