"""COSAM at other lengths and sizes: loaded from a checkpoint, and at run time."""
import copy
import logging
import warnings
from collections import OrderedDict

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import (
    get_state_dict,
    load_checkpoint,
    load_state_dict,
    save_checkpoint,
    weights_to_cpu,
)
from torch import nn
from torch.nn import functional as F

from cosam_mm.layers import COSAM
from cosam_mm.layers.cosam_loading import resampled_on_load
from cosam_mm.models.converters import read_checkpoint, unwrap_state_dict
from tests.layers.test_cosam import randomized
from tests.reference.naive_cosam import naive_cosam

NAME = 'summary.0.weight'


def make(t=4, size=(4, 2), c=6, **settings):
    cosam = COSAM(c, t, size, reduction_channels=5, summary_channels=3, **settings)
    return randomized(cosam)


def interpolated(weight, old, new):
    """The weight that a COSAM of another size should get, by PyTorch's own."""
    value = F.interpolate(weight.unflatten(1, old)[..., 0, 0][None], size=new,
                          mode='trilinear', align_corners=False)[0]
    value = value * (old[0] * old[1] * old[2]) / (new[0] * new[1] * new[2])
    return value.flatten(1)[..., None, None]


def without_metadata(state_dict):
    return dict(state_dict)


def make_seeded(seed, **settings):
    return randomized(make(**settings), seed)


@pytest.fixture
def log(caplog):
    """Lines that the current logger of mmengine writes."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield lambda: [(r.levelname, r.getMessage()) for r in caplog.records
                   if 'resampled' in r.getMessage()]
    logger.removeHandler(caplog.handler)


class TestLoading:

    def test_same_size_is_bit_identical_and_silent(self, log):
        trained, cosam = make(), COSAM(6, 4, (4, 2), 5, 3)
        for state in (trained.state_dict(), without_metadata(trained.state_dict())):
            cosam.load_state_dict(state, strict=True)
            for name, value in cosam.state_dict().items():
                assert torch.equal(value, trained.state_dict()[name])
        assert log() == []
        assert resampled_on_load(cosam, trained.state_dict()) == {}

    @pytest.mark.parametrize(('t', 'size'), [(8, (4, 2)), (4, (8, 4)), (7, (5, 6))])
    def test_other_sizes_are_resampled_with_one_line(self, log, t, size):
        trained, cosam = make(), COSAM(6, t, size, 5, 3)
        state = trained.state_dict()
        before = copy.deepcopy(state)
        assert cosam.load_state_dict(state, strict=True) == ([], [])
        new = (t - 1, *size)
        torch.testing.assert_close(
            cosam.summary[0].weight.detach(),
            interpolated(state[NAME], (3, 4, 2), new))
        assert log() == [('INFO', (
            f'{NAME} is resampled from 3 x 4 x 2 scores (slots x height x width), '
            f'which it was trained for, to {t - 1} x {size[0]} x {size[1]}.'))]
        # Nothing else changes, here or in what was given.
        for name, value in cosam.state_dict().items():
            assert name == NAME or torch.equal(value, before[name])
        assert all(torch.equal(value, before[name]) for name, value in state.items())

    def test_as_many_scores_in_another_shape(self):
        """Only the metadata tells; without it the weight is taken as it is."""
        trained, cosam = make(4, (4, 2)), COSAM(6, 4, (2, 4), 5, 3)
        cosam.load_state_dict(trained.state_dict())
        expected = make(4, (4, 2), any_size=True).summary_weight((3, 2, 4))
        torch.testing.assert_close(
            cosam.summary[0].weight.detach().view(3, 3, 2, 4), expected.detach())
        assert not torch.equal(cosam.summary[0].weight, trained.summary[0].weight)
        cosam.load_state_dict(without_metadata(trained.state_dict()))
        assert torch.equal(cosam.summary[0].weight, trained.summary[0].weight)
        told = COSAM(6, 4, (2, 4), 5, 3, trained_size=(4, 4, 2))
        told.load_state_dict(without_metadata(trained.state_dict()))
        torch.testing.assert_close(
            told.summary[0].weight.detach().view(3, 3, 2, 4), expected.detach())

    def test_no_new_keys(self):
        assert set(make().state_dict()) == {
            f'{layer}.{part}' for layer, parts in {
                'reduction.0': ['weight', 'bias'], 'summary.0': ['weight', 'bias'],
                'summary.3': ['weight', 'bias'],
                'channel_attention.0': ['weight', 'bias'],
                'channel_attention.2': ['weight', 'bias'],
                'reduction.1': ['weight', 'bias', 'running_mean', 'running_var',
                                'num_batches_tracked'],
                'summary.1': ['weight', 'bias', 'running_mean', 'running_var',
                              'num_batches_tracked']}.items() for part in parts}

    @pytest.mark.parametrize(('t', 'size', 'taken'), [
        (4, (8, 4), '3 x 4 x 2'), (9, (4, 2), '3 x 4 x 2')])
    def test_lost_metadata_is_inferred_with_a_warning(self, log, t, size, taken):
        trained, cosam = make(), COSAM(6, t, size, 5, 3)
        cosam.load_state_dict(without_metadata(trained.state_dict()))
        torch.testing.assert_close(
            cosam.summary[0].weight.detach(),
            interpolated(trained.summary[0].weight.detach(), (3, 4, 2),
                         (t - 1, *size)))
        (level, line), = log()
        assert level == 'WARNING'
        assert f'from {taken} scores' in line
        assert 'does not say' in line
        assert 'build COSAM with trained_size=(T, H, W)' in line

    def test_size_that_cannot_be_told(self):
        trained, cosam = make(), COSAM(6, 7, (5, 6), 5, 3)
        state = without_metadata(trained.state_dict())
        with pytest.raises(ValueError, match=(
                r'summary.0.weight of the checkpoint holds 24 scores, this COSAM '
                r'6 x 5 x 6 .*24 scores are no .*build COSAM with trained_size=')):
            cosam.load_state_dict(state)
        told = COSAM(6, 7, (5, 6), 5, 3, trained_size=(4, 4, 2))
        told.load_state_dict(state)
        wrong = COSAM(6, 7, (5, 6), 5, 3, trained_size=(4, 4, 4))
        with pytest.raises(ValueError, match=r'holds 24 .*stands for 3 x 4 x 4 = 48'):
            wrong.load_state_dict(state)
        # What the checkpoint says goes first.
        wrong.load_state_dict(trained.state_dict())
        assert torch.equal(wrong.summary[0].weight, told.summary[0].weight)

    def test_weights_of_another_model_are_refused_as_ever(self):
        with pytest.raises(RuntimeError, match='size mismatch for summary.0.weight'):
            make(8).load_state_dict(
                COSAM(6, 4, (4, 2), 5, summary_channels=7).state_dict())

    def test_frames_and_references_fit_one_another(self):
        """A slot is a frame either way."""
        trained, cosam = make(), make(num_references=5)
        cosam.load_state_dict(trained.state_dict())
        torch.testing.assert_close(
            cosam.summary[0].weight.detach(),
            interpolated(trained.summary[0].weight.detach(), (3, 4, 2), (5, 4, 2)))

    def test_one_that_makes_no_spatial_mask(self):
        cosam = make(with_spatial=False)
        make(8, (9, 9), with_spatial=False).load_state_dict(cosam.state_dict())


class Net(nn.Module):
    """COSAMs at two places of a model."""

    def __init__(self, t=4, size=(4, 2), seed=0):
        super().__init__()
        self.stem = nn.Conv3d(6, 6, 1)
        self.plugins = nn.ModuleDict(dict(
            after=nn.Sequential(make_seeded(seed, t=t, size=size)),
            later=make_seeded(seed + 1, t=t, size=size)))
        randomized(self.stem, seed)

    def forward(self, x):
        return self.plugins['later'](self.plugins['after'](self.stem(x)))


def same_weights(a, b):
    return all(torch.equal(value, b.state_dict()[name])
               for name, value in a.state_dict().items())


class TestWhatSurvives:
    """The size stays with the weights on all ways that checkpoints take here."""

    @pytest.fixture
    def expected(self):
        net = Net(8, (3, 5), seed=7)
        net.load_state_dict(Net().state_dict())
        return net

    def load(self, state):
        net = Net(8, (3, 5), seed=9)
        net.load_state_dict(state, strict=True)
        return net

    def test_torch_files(self, expected, tmp_path):
        torch.save(Net().state_dict(), tmp_path / 'a.pth')
        state = torch.load(tmp_path / 'a.pth', weights_only=True)
        assert same_weights(self.load(state), expected)
        assert same_weights(self.load(copy.deepcopy(state)), expected)

    def test_mmengine_files(self, expected, tmp_path):
        path = str(tmp_path / 'a.pth')
        save_checkpoint(dict(meta={}, state_dict=Net().state_dict()), path)
        net = Net(8, (3, 5), seed=9)
        load_checkpoint(net, path, strict=True)
        assert same_weights(net, expected)
        assert same_weights(self.load(unwrap_state_dict(read_checkpoint(path))),
                            expected)

    @pytest.mark.parametrize('strict', [True, False])
    def test_mmengine_loading(self, expected, strict, log):
        net = Net(8, (3, 5), seed=9)
        load_state_dict(net, Net().state_dict(), strict=strict)
        assert same_weights(net, expected)
        assert [line.split(' is ')[0] for _, line in log()] == [
            'plugins.after.0.summary.0.weight', 'plugins.later.summary.0.weight']

    def test_wrapped_models(self, expected, tmp_path):
        """As DataParallel saves them, with ``module.`` before every name."""
        torch.save(nn.DataParallel(Net()).state_dict(), tmp_path / 'a.pth')
        state = unwrap_state_dict(read_checkpoint(tmp_path / 'a.pth'))
        assert 'plugins.later' in state._metadata
        assert same_weights(self.load(state), expected)

    def test_averaged_weights(self, expected):
        state = ExponentialMovingAverage(Net()).state_dict()
        average = ExponentialMovingAverage(Net(8, (3, 5), seed=9))
        average.load_state_dict(state)
        assert same_weights(average.module, expected)

    def test_weights_on_their_way_through_the_runner(self, expected):
        assert same_weights(self.load(weights_to_cpu(Net().state_dict())), expected)
        assert same_weights(self.load(get_state_dict(Net())), expected)

    def test_a_plain_dict_is_inferred(self):
        """Where the metadata is lost: as many slots, the same aspect ratio."""
        a, b = Net(4, (8, 4), seed=9), Net(4, (8, 4), seed=9)
        a.load_state_dict(dict(Net().state_dict()))
        b.load_state_dict(Net().state_dict())
        assert same_weights(a, b)

    def test_resampled_on_load_tells_beforehand(self):
        found = resampled_on_load(Net(8, (3, 5)), Net().state_dict())
        assert found == {name: ((3, 4, 2), (7, 3, 5)) for name in (
            'plugins.after.0.summary.0.weight', 'plugins.later.summary.0.weight')}
        with pytest.raises(ValueError, match=r'plugins\.after\.0\..*trained_size'):
            resampled_on_load(Net(8, (3, 5)), OrderedDict(Net().state_dict()))


class TestAnySize:

    @pytest.mark.parametrize('train', [True, False])
    @pytest.mark.parametrize('layout', ['clips', 'frames'])
    def test_same_size_is_the_fixed_form_bit_for_bit(self, train, layout):
        fixed, free = make().train(train), make(any_size=True).train(train)
        x = torch.randn(2, 6, 4, 4, 2)
        if layout == 'frames':
            x = x.transpose(1, 2).flatten(0, 1)
        results = []
        for cosam in (fixed, free):
            leaf = x.clone().requires_grad_()
            outputs = cosam(leaf, return_masks=True)
            outputs[0].square().sum().backward()
            results.append([*outputs, leaf.grad, *(p.grad for p in cosam.parameters()),
                            *cosam.buffers()])
        assert all(map(torch.equal, *results))

    @pytest.mark.parametrize('shape', [(8, 4, 2), (2, 4, 2), (4, 7, 3), (5, 1, 1),
                                       (3, 2, 9)])
    def test_equals_one_built_for_the_size_and_loaded(self, shape):
        free = make(any_size=True).eval()
        built = COSAM(6, shape[0], shape[1:], 5, 3).eval()
        built.load_state_dict(free.state_dict())
        x = torch.randn(2, 6, *shape)
        for value, expected in zip(free(x, return_masks=True),
                                   built(x, return_masks=True)):
            torch.testing.assert_close(value, expected)
        flat = x.transpose(1, 2).flatten(0, 1)
        torch.testing.assert_close(
            free(flat, num_frames=shape[0]), built(flat), rtol=1e-4, atol=1e-5)

    def test_equals_the_naive_oracle_with_interpolated_weights(self):
        free = make(any_size=True).double().eval()
        built = COSAM(6, 7, (5, 3), 5, 3).double().eval()
        state = OrderedDict(free.state_dict())
        state[NAME] = interpolated(state[NAME], (3, 4, 2), (6, 5, 3))
        built.load_state_dict(state)
        x = torch.randn(2, 6, 7, 5, 3, dtype=torch.float64)
        for value, expected in zip(free(x, return_masks=True), naive_cosam(built, x)):
            torch.testing.assert_close(value, expected)

    def test_the_weights_learn_at_any_size(self):
        cosam = make(any_size=True).double()
        cosam.eval()  # fixed statistics: a function of this clip alone
        x = torch.randn(1, 6, 3, 2, 3, dtype=torch.float64)

        def masks(weight):
            return torch.func.functional_call(
                cosam, {NAME: weight}, (x,), dict(return_masks=True))[1]

        weight = cosam.summary[0].weight.detach().requires_grad_()
        assert torch.autograd.gradcheck(masks, weight)

    def test_may_be_switched_on_afterwards(self):
        cosam, x = make().eval(), torch.randn(1, 6, 5, 3, 3)
        cosam.any_size = True
        torch.testing.assert_close(cosam(x), make(any_size=True).eval()(x))

    def test_channel_mask_alone_takes_any_length(self):
        cosam = make(any_size=True, with_spatial=False)
        assert cosam(torch.zeros(2, 6, 1, 3, 3)).shape == (2, 6, 1, 3, 3)

    def test_compiles_for_open_sizes(self):
        cosam = make(any_size=True).eval()
        compiled = torch.compile(cosam, backend='eager', dynamic=True)
        for shape in [(2, 6, 5, 3, 3), (2, 6, 4, 4, 2), (3, 6, 9, 6, 5)]:
            x = torch.randn(shape)
            torch.testing.assert_close(compiled(x), cosam(x))

    @pytest.mark.parametrize('settings', [{}, dict(num_references=2)])
    def test_exports_with_open_sizes(self, settings):
        cosam = make(any_size=True, **settings).eval()
        sizes = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3, 4)}
        program = torch.export.export(cosam, (torch.randn(2, 6, 5, 3, 3),),
                                      dynamic_shapes=(sizes,), strict=False)
        for shape in [(2, 6, 5, 3, 3), (1, 6, 4, 4, 2), (3, 6, 9, 6, 5)]:
            x = torch.randn(shape)
            torch.testing.assert_close(program.module()(x), cosam(x))

    def test_traces_for_one_size(self):
        cosam, x = make(any_size=True).eval(), torch.randn(2, 6, 5, 3, 3)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that a trace is for one size
            traced = torch.jit.trace(cosam, (x,))
        torch.testing.assert_close(traced(x + 1), cosam(x + 1))


@pytest.mark.parametrize(('settings', 'shape', 'arguments', 'message'), [
    ({}, (1, 6, 5, 4, 2), {}, r'4 frames, got 5 .*num_frames=5.*any_size=True'),
    ({}, (1, 6, 4, 4, 4), {}, r'of 4x2, got 4x4 .*spatial_size.*any_size=True'),
    ({}, (1, 6, 1, 4, 2), {}, r'Got 1 frame .*\(1, 6, 1, 4, 2\).*num_references=K and '
     r'forward\(x, references=...\).*with_spatial=False'),
    (dict(any_size=True), (1, 6, 1, 4, 2), {}, 'Got 1 frame a clip'),
    (dict(any_size=True), (7, 6, 4, 2), {}, r'clips of 4 frames, got 7 .*num_frames'),
    (dict(any_size=True), (1, 6, 5, 4, 2), dict(num_frames=4),
     r'num_frames=4 was given with clips of 5 frames.*leave it out'),
    ({}, (8, 6, 4, 2), dict(num_frames=2), r'built for 4 frames, got 2 .*any_size'),
    (dict(any_size=True), (4, 6, 4, 2), dict(num_frames=1), 'Got 1 frame a clip'),
    ({}, (1, 6, 4, 4, 2), dict(references=torch.zeros(1, 6, 2, 4, 2)),
     r'references were given .*num_references=K'),
    (dict(num_references=2), (1, 6, 4, 4, 2),
     dict(references=torch.zeros(1, 5, 2, 4, 2)),
     r'N=1 and C=6, got \(1, 5, 2, 4, 2\)'),
    (dict(num_references=2), (4, 6, 4, 2),
     dict(references=torch.zeros(2, 6, 4, 2)),
     r'references are features \(N, C, K, H, W\)'),
    (dict(num_references=2), (1, 6, 4, 4, 2),
     dict(references=torch.zeros(1, 6, 3, 4, 2)),
     r'of \(K, H, W\) = \(2, 4, 2\), got \(3, 4, 2\).*any_size=True'),
])
def test_wrong_features_say_what_to_choose(settings, shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)(torch.zeros(shape), **arguments)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(t=1), 'num_frames must be at least 2, got 1.*num_references=K.*with_spatial'),
    (dict(num_references=0), 'num_references must be at least 1, got 0'),
    (dict(num_references=2, with_spatial=False), 'num_references=2 is for the spatial'),
    (dict(trained_size=(4, 4)), r'trained_size must be \(T, H, W\).*got \(4, 4\)'),
])
def test_wrong_settings_say_what_to_choose(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)
