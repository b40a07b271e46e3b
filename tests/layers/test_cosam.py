"""The COSAM module against the reference's values and a naive oracle."""
import copy
import json

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch.nn.utils import prune

from cosam_mm.layers import COSAM
from tests.reference.naive_cosam import naive_cosam

REFERENCE_NAMES = {
    'dim_reduction': 'reduction',
    'spatial_mask_summary': 'summary',
    'channelwise_attention': 'channel_attention',
}


def from_reference(name):
    root, rest = name.split('.', 1)
    return f'{REFERENCE_NAMES[root]}.{rest}'


def randomized(module, seed=0):
    """The module with no parameter or statistic at a special value."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith('num_batches_tracked'):
            continue
        noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
        tensor.copy_(0.5 + noise if name.endswith('running_var') else noise - 0.5)
    return module


@pytest.mark.parametrize('name', ['cosam_c64_t4_8x4_eval', 'cosam_c64_t4_8x4_train',
                                  'cosam_c320_t8_7x7_eval'])
@pytest.mark.parametrize('layout', ['NTCHW', 'NCTHW'])
def test_equals_the_reference_implementation(golden_dir, reference_fill, name, layout):
    card = json.loads((golden_dir / f'{name}.json').read_text())
    golden = np.load(golden_dir / f'{name}.npz')
    cosam = COSAM(card['in_channels'], card['num_frames'], card['spatial_size'])
    cosam.load_state_dict({
        from_reference(key): torch.from_numpy(
            np.asarray(reference_fill.fill(key, tuple(shape))))
        for key, shape in card['state_dict'].items()}, strict=True)
    cosam.train(card['train'])

    shape, t = tuple(card['input']['shape']), card['num_frames']
    images = torch.from_numpy(reference_fill.clip(card['input']['seed'], shape))
    images.requires_grad_()
    grad = torch.from_numpy(reference_fill.clip(card['input']['grad_seed'], shape))
    x = images
    if layout == 'NCTHW':
        x = images.unflatten(0, (-1, t)).transpose(1, 2).contiguous()
    out, spatial, channel = cosam(x, return_masks=True)
    if layout == 'NCTHW':
        out = out.transpose(1, 2).flatten(0, 1)
    out.backward(grad)

    def check(value, key):
        torch.testing.assert_close(value.detach(), torch.from_numpy(golden[key]),
                                   rtol=1e-4, atol=1e-5)

    check(out, 'output')
    check(spatial.flatten(0, 1)[:, None], 'spatial')
    check(channel.repeat_interleave(t, 0), 'channel')
    check(images.grad, 'input_grad')
    compared = 0
    for key, parameter in cosam.named_parameters():
        for theirs in card['state_dict']:
            if from_reference(theirs) == key:
                norm = float(golden[f'grad/{theirs}'])
                assert float(parameter.grad.norm()) == pytest.approx(
                    norm, rel=1e-3, abs=1e-4), key
                compared += 1
    assert compared == len(list(cosam.parameters()))


@pytest.mark.parametrize('switches', [{}, dict(with_spatial=False),
                                      dict(with_channel=False)])
@pytest.mark.parametrize('shape', [(2, 6, 2, 3, 2), (1, 5, 4, 2, 3), (3, 4, 3, 1, 1)])
@pytest.mark.parametrize('train', [True, False])
def test_equals_the_naive_oracle(switches, shape, train):
    n, c, t, h, w = shape
    if train and n * t * h * w < 4:
        pytest.skip('batch norm needs several values')
    cosam = randomized(COSAM(c, t, (h, w), reduction_channels=7, summary_channels=5,
                             **switches).double()).train(train)
    torch.manual_seed(1)
    x = torch.randn(shape, dtype=torch.float64)
    for value, expected in zip(cosam(x, return_masks=True), naive_cosam(cosam, x)):
        if expected is None:
            assert value is None
        else:
            torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(('channels', 'frames', 'size', 'expected'), [
    (1024, 8, (7, 7), 810_689), (832, 8, 7, 663_041),
    (1024, 4, (16, 8), 813_313), (2048, 4, (16, 8), 1_600_769)])
def test_parameter_counts_of_the_paper(channels, frames, size, expected):
    cosam = MODELS.build(dict(type='COSAM', in_channels=channels, num_frames=frames,
                              spatial_size=size))
    assert sum(p.numel() for p in cosam.parameters()) == expected
    # The default follows the width.
    assert COSAM(256, 2, 2).reduction_channels == 64
    assert COSAM(257, 2, 2).reduction_channels == 256


@pytest.mark.parametrize(('settings', 'shape', 'arguments', 'advice'), [
    ({}, (1, 5, 4, 4, 2), {}, 'in_channels=5'),
    ({}, (1, 6, 5, 4, 2), {}, 'num_frames=5.*clip_len.*any_size'),
    ({}, (1, 6, 4, 4, 4), {}, r'spatial_size=\(4, 4\).*any_size'),
    ({}, (7, 6, 4, 2), {}, 'multiple of 4'),
    ({}, (4, 6, 4), {}, r'got \(4, 6, 4\)'),
    ({}, (1, 6, 1, 4, 2), {}, 'num_references.*with_spatial'),
    (dict(any_size=True), (1, 6, 1, 4, 2), {}, '1 frame'),
    (dict(any_size=True), (4, 6, 4, 2), dict(num_frames=1), '1 frame'),
    (dict(any_size=True), (1, 6, 5, 4, 2), dict(num_frames=4), 'leave it out'),
    ({}, (1, 6, 4, 4, 2), dict(references=torch.zeros(1, 6, 2, 4, 2)),
     'num_references=K'),
    (dict(num_references=2), (1, 6, 4, 4, 2),
     dict(references=torch.zeros(1, 5, 2, 4, 2)), 'N=1 and C=6'),
    (dict(num_references=2), (4, 6, 4, 2), dict(references=torch.zeros(2, 6, 4, 2)),
     r'\(N, C, K, H, W\)'),
    (dict(num_references=2), (1, 6, 4, 4, 2),
     dict(references=torch.zeros(1, 6, 3, 4, 2)), r'= \(2, 4, 2\).*any_size'),
])
def test_wrong_features_say_what_to_change(settings, shape, arguments, advice):
    with pytest.raises(ValueError, match=advice):
        COSAM(6, 4, (4, 2), **settings)(torch.zeros(shape), **arguments)


@pytest.mark.parametrize(('settings', 'advice'), [
    (dict(num_frames=1), 'at least 2, got 1.*num_references.*with_spatial'),
    (dict(num_frames=0, with_spatial=False), 'at least 1, got 0'),
    (dict(with_spatial=False, with_channel=False), 'with_channel'),
    (dict(in_channels=0), 'in_channels'),
    (dict(spatial_size=(0, 2)), 'spatial_size'),
    (dict(spatial_size=(1, 2, 3)), 'spatial_size'),
    (dict(num_references=0), 'num_references'),
    (dict(num_references=2, with_spatial=False), 'num_references'),
    (dict(trained_size=(4, 4)), 'trained_size'),
])
def test_wrong_settings_are_refused(settings, advice):
    with pytest.raises(ValueError, match=advice):
        COSAM(**{**dict(in_channels=8, num_frames=2, spatial_size=2), **settings})


def test_autocast_keeps_the_features_precision():
    cosam = randomized(COSAM(6, 3, 2)).eval()
    x = torch.randn(2, 6, 3, 2, 2).requires_grad_()
    expected = cosam(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = cosam(x)
        low = cosam(x.bfloat16())
    out.sum().backward()
    assert (out.dtype, x.grad.dtype, low.dtype) == (
        torch.float32, torch.float32, torch.bfloat16)
    torch.testing.assert_close(out, expected, rtol=0.05, atol=0.05)


def test_any_memory_layout_has_the_same_output_and_gradients():
    """Those of contiguous clips: channels last, and frames in the batch."""
    cosam = randomized(COSAM(6, 3, 2)).double()
    clips = torch.randn(2, 6, 3, 2, 2, dtype=torch.float64)
    results = []
    for layout in ('clips', 'channels last', 'frames', 'channels-last frames'):
        x = clips.clone().requires_grad_()
        given = x.transpose(1, 2).flatten(0, 1) if 'frames' in layout else x
        if 'last' in layout:
            given = given.contiguous(memory_format=torch.channels_last_3d
                                     if given.dim() == 5 else torch.channels_last)
        cosam.zero_grad()
        out, *masks = cosam(given, return_masks=True)
        out.square().sum().backward()
        if out.dim() == 4:
            out = out.unflatten(0, (2, 3)).transpose(1, 2)
        results.append([out, *masks, x.grad,
                        *(p.grad.clone() for p in cosam.parameters())])
        assert torch.equal(cosam(given), cosam(given, return_masks=True)[0])
        assert torch.equal(x.detach(), clips)
    for values in zip(*results):
        for value in values[1:]:
            torch.testing.assert_close(value, values[0])


# -- large numbers, and weights that are not plain ---------------------------------


def small_cosam(**options):
    torch.manual_seed(0)
    return COSAM(64, 4, (4, 3), **options).eval(), torch.rand(2, 64, 4, 4, 3)


@pytest.mark.parametrize('scale', [1e-25, 1., 1e19, 1e25, 1e30])
def test_numbers_of_any_size(scale):
    cosam, x = small_cosam()
    x = (x * scale).requires_grad_()
    found = cosam(x, return_masks=True)
    exact = naive_cosam(copy.deepcopy(cosam).double(), x.detach().double())
    for one, other in zip(found, exact):
        assert (one - other).abs().max() <= 1e-6 * other.abs().max()
    streamed = torch.cat(list(cosam.stream(x.detach().split(3, dim=2))), dim=2)
    assert (streamed - exact[0]).abs().max() <= 1e-6 * exact[0].abs().max()
    found[1].sum().backward()
    assert x.grad.isfinite().all()


class Doubled(torch.nn.Module):

    def forward(self, weight):
        return 2 * weight


def doubled_norm(layer):
    torch.nn.utils.weight_norm(layer)
    layer.weight_g.data *= 2  # layer.weight is as before until it is called


def pruned(layer):
    prune.l1_unstructured(layer, 'weight', 0.5)
    layer.weight_orig.data *= 3


def inherited(layer):
    class Other(torch.nn.Conv2d):
        """What never runs is no matter, and only forward would."""
    layer.__class__ = Other


@pytest.mark.filterwarnings('ignore::FutureWarning')
@pytest.mark.parametrize('change', [
    lambda layer: torch.nn.utils.parametrize.register_parametrization(
        layer, 'weight', Doubled()),
    torch.nn.utils.parametrizations.weight_norm,
    torch.nn.utils.parametrizations.spectral_norm, torch.nn.utils.spectral_norm,
    doubled_norm, pruned, inherited])
def test_weights_that_are_computed_count(change):
    """As they do where the layer is called, which updates ``weight``."""
    (cosam, x), (called, _) = small_cosam(), small_cosam()
    for one in (cosam, called):
        torch.manual_seed(1)
        change(one.summary[0])
    called.summary[0](torch.zeros(1, called.summary[0].in_channels, 1, 1))
    expected = naive_cosam(called, x)[0]
    torch.testing.assert_close(cosam(x), expected)
    torch.testing.assert_close(
        torch.cat(list(cosam.stream(x.split(1, dim=2))), dim=2), expected)
    if change not in (inherited, torch.nn.utils.parametrizations.weight_norm):
        assert not torch.allclose(expected, small_cosam()[0](x))


class Wrapped(torch.nn.Module):
    """As a LoRA wraps a layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.weight, self.bias = layer, layer.weight, layer.bias

    def forward(self, x):
        return self.layer(x)


class Adapted(torch.nn.Conv2d):

    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize('change', [
    lambda summary: summary.__setitem__(0, Wrapped(summary[0])),
    lambda summary: setattr(summary[0], '__class__', Adapted),
    lambda summary: setattr(summary[0], 'forward', lambda x: x)])
@pytest.mark.parametrize('options', [
    dict(), dict(num_references=2), dict(any_size=True)])
def test_what_would_never_run_is_refused(change, options):
    cosam, x = small_cosam(**options)
    change(cosam.summary)
    for run in (lambda: cosam(x), lambda: list(cosam.stream(x.split(1, dim=2)))):
        with pytest.raises(ValueError, match='summary.0'):
            run()


@pytest.mark.parametrize('change', [
    lambda summary: summary[0].register_forward_hook(lambda *args: None),
    lambda summary: summary[0].register_forward_pre_hook(lambda *args: None),
    lambda summary: summary[0].register_full_backward_hook(lambda *args: None),
    lambda summary: summary[0].register_full_backward_pre_hook(lambda *args: None)])
def test_hook_that_does_not_run_is_named(change):
    cosam, x = small_cosam()
    change(cosam.summary)
    for run in (lambda: cosam(x), lambda: list(cosam.stream(x.split(1, dim=2)))):
        with pytest.warns(UserWarning, match='summary.0'):
            run()
