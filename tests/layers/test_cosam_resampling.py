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
    save_checkpoint,
    weights_to_cpu,
)
from torch import nn
from torch.nn import functional as F

from cosam_mm.layers import COSAM
from cosam_mm.layers.cosam_resampling import (
    infer_volume_size,
    linear_filter,
    resample_summary_weight,
    resampled_on_load,
)
from cosam_mm.models.converters import read_checkpoint, unwrap_state_dict
from tests.layers.test_cosam import randomized

NAME = 'summary.0.weight'


def make(t=4, size=(4, 2), seed=0, **settings):
    cosam = COSAM(6, t, size, reduction_channels=5, summary_channels=3, **settings)
    return randomized(cosam, seed)


def trilinear(weight, size):
    """The weight (K, S, H, W) that PyTorch's own interpolation makes, and the ratio."""
    value = F.interpolate(weight[None], size=size, mode='trilinear',
                          align_corners=False)[0]
    return value * weight[0].numel() / (size[0] * size[1] * size[2])


def interpolated(weight, old, new):
    """The same of a convolution's weight."""
    return trilinear(weight.detach().unflatten(1, old)[..., 0, 0],
                     new).flatten(1)[..., None, None]


def same_weights(a, b):
    return all(torch.equal(value, b.state_dict()[name])
               for name, value in a.state_dict().items())


@pytest.fixture
def log(caplog):
    """Lines that the current logger of mmengine writes."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    def lines():
        return [(r.levelname, r.getMessage()) for r in caplog.records
                if 'resampled' in r.getMessage()]

    lines.clear = caplog.clear
    yield lines
    logger.removeHandler(caplog.handler)


class TestResampledWeight:

    @pytest.mark.parametrize(('old', 'new'), [
        (1, 1), (1, 5), (3, 3), (3, 7), (4, 8), (5, 1), (8, 4), (7, 3), (16, 5)])
    def test_filter_is_torchs_antialiased_interpolation(self, old, new):
        values = torch.randn(1, 1, 1, old)
        expected = F.interpolate(values, size=(1, new), mode='bilinear',
                                 antialias=True, align_corners=False)
        matrix = linear_filter(old, new)
        assert matrix.shape == (new, old)
        torch.testing.assert_close(matrix @ values.flatten(), expected.flatten())
        parts = [linear_filter(old, new, start, min(start + 2, new))
                 for start in range(0, new, 2)]
        assert torch.equal(torch.cat(parts), matrix)

    def test_same_size_is_the_weight_itself(self):
        weight = torch.randn(2, 3, 4, 5)
        assert resample_summary_weight(weight, (3, 4, 5)) is weight
        assert torch.equal(resample_summary_weight(weight, (3, 4, 5), (1, 3)),
                           weight[:, 1:3])

    @pytest.mark.parametrize('size', [(3, 8, 5), (7, 4, 5), (6, 9, 11)])
    def test_more_cells_equal_trilinear_interpolation(self, size):
        weight = torch.randn(2, 3, 4, 5, dtype=torch.float64)
        whole = resample_summary_weight(weight, size)
        torch.testing.assert_close(whole, trilinear(weight, size))
        parts = [resample_summary_weight(weight, size, slots)
                 for slots in [(0, 1), (1, 2), (2, size[0])]]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole)

    def test_response_to_a_constant_volume_keeps_its_scale(self):
        """The Riemann sum: as many shares of the volume, whatever the cells."""
        weight = torch.full((2, 3, 4, 5), 0.25, dtype=torch.float64)
        for size in [(1, 1, 1), (2, 9, 2), (5, 3, 3)]:
            torch.testing.assert_close(
                resample_summary_weight(weight, size).sum((1, 2, 3)),
                weight.sum((1, 2, 3)))

    def test_half_precision_is_rounded_once_and_gradients_are_right(self):
        weight = torch.randn(2, 3, 4, 5).half()
        value = resample_summary_weight(weight, (5, 7, 3))
        assert torch.equal(
            value, resample_summary_weight(weight.float(), (5, 7, 3)).half())
        weight = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda w: resample_summary_weight(w, (3, 3, 2)), weight)

    @pytest.mark.parametrize(('scores', 'like', 'expected'), [
        (3 * 16 * 8, (3, 16, 8), (3, 16, 8)),
        (3 * 8 * 4, (3, 16, 8), (3, 8, 4)),       # as many slots
        (7 * 16 * 8, (3, 16, 8), (7, 16, 8)),     # the same positions
        (7 * 7 * 5, (3, 14, 10), (7, 7, 5)),      # one size of that aspect ratio
        (3 * 64, (3, 4, 4), (3, 8, 8)),       # slots before positions: not 12 x 4 x 4
    ])
    def test_inferred_size(self, scores, like, expected):
        assert infer_volume_size(scores, like) == expected
        with pytest.raises(ValueError, match='ratio 2:1'):
            infer_volume_size(45, (3, 16, 8))
        with pytest.raises(ValueError, match='5 x 6 x 6'):
            infer_volume_size(5 * 36, (3, 16, 16))


class TestLoading:

    def test_same_size_is_bit_identical_and_silent(self, log):
        trained = make()
        for state in (trained.state_dict(), dict(trained.state_dict())):
            cosam = make(seed=1)
            assert not same_weights(cosam, trained)
            cosam.load_state_dict(state, strict=True)
            assert same_weights(cosam, trained)
        assert log() == []
        assert resampled_on_load(cosam, trained.state_dict()) == {}

    @pytest.mark.parametrize(('t', 'size', 'settings'), [
        (8, (4, 2), {}), (4, (8, 4), {}), (7, (5, 6), {}),
        (6, (4, 2), dict(num_references=5))])  # a slot is a frame either way
    def test_other_sizes_are_resampled_with_one_line(self, log, t, size, settings):
        trained, cosam = make(), make(t, size, seed=1, **settings)
        state = trained.state_dict()
        before = copy.deepcopy(state)
        assert cosam.load_state_dict(state, strict=True) == ([], [])
        torch.testing.assert_close(
            cosam.summary[0].weight.detach(),
            interpolated(state[NAME], (3, 4, 2), (t - 1, *size)))
        (level, line), = log()
        assert level == 'INFO'
        assert '3 x 4 x 2' in line
        assert f'{t - 1} x {size[0]} x {size[1]}' in line
        # Nothing else changes, here or in what was given.
        for name, value in cosam.state_dict().items():
            assert name == NAME or torch.equal(value, before[name])
        assert all(torch.equal(value, before[name]) for name, value in state.items())

    def test_as_many_scores_in_another_shape(self):
        """Only the metadata tells; without it the weight is taken as it is."""
        trained, cosam = make(4, (4, 2)), make(4, (2, 4), seed=1)
        cosam.load_state_dict(trained.state_dict())
        expected = resample_summary_weight(
            trained.summary[0].weight.detach().view(3, 3, 4, 2), (3, 2, 4))
        assert torch.equal(cosam.summary[0].weight.view(3, 3, 2, 4), expected)
        cosam.load_state_dict(dict(trained.state_dict()))
        assert torch.equal(cosam.summary[0].weight, trained.summary[0].weight)
        told = make(4, (2, 4), seed=1, trained_size=(4, 4, 2))
        told.load_state_dict(dict(trained.state_dict()))
        assert torch.equal(told.summary[0].weight.view(3, 3, 2, 4), expected)

    @pytest.mark.parametrize(('t', 'size'), [(4, (8, 4)), (9, (4, 2))])
    def test_lost_metadata_is_inferred_with_a_warning(self, log, t, size):
        trained, cosam = make(), make(t, size, seed=1)
        cosam.load_state_dict(dict(trained.state_dict()))
        torch.testing.assert_close(
            cosam.summary[0].weight.detach(),
            interpolated(trained.summary[0].weight, (3, 4, 2), (t - 1, *size)))
        (level, line), = log()
        assert level == 'WARNING'
        assert 'trained_size' in line

    def test_size_that_cannot_be_told(self):
        trained = make()
        state = dict(trained.state_dict())
        with pytest.raises(ValueError, match=r'summary\.0\.weight.*trained_size'):
            make(7, (5, 6)).load_state_dict(state)
        told = make(7, (5, 6), trained_size=(4, 4, 2))
        told.load_state_dict(state)
        wrong = make(7, (5, 6), seed=1, trained_size=(4, 4, 4))
        with pytest.raises(ValueError, match='3 x 4 x 4 = 48'):
            wrong.load_state_dict(state)
        # What the checkpoint says goes first.
        wrong.load_state_dict(trained.state_dict())
        assert same_weights(wrong, told)

    def test_weights_of_another_model_are_refused_by_torch(self):
        with pytest.raises(RuntimeError, match='mismatch'):
            make(8).load_state_dict(
                COSAM(6, 4, (4, 2), 5, summary_channels=7).state_dict())

    def test_without_spatial_mask_any_size_loads(self):
        trained = make(with_spatial=False)
        cosam = make(8, (9, 9), seed=1, with_spatial=False)
        assert not same_weights(cosam, trained)
        cosam.load_state_dict(trained.state_dict())
        assert same_weights(cosam, trained)


class Net(nn.Module):
    """A model with two COSAMs."""

    def __init__(self, t=4, size=(4, 2), seed=0):
        super().__init__()
        self.stem = randomized(nn.Conv3d(6, 6, 1), seed)
        self.plugins = nn.ModuleDict(dict(
            after=nn.Sequential(make(t, size, seed)), later=make(t, size, seed + 1)))


class TestWhatSurvives:
    """The size stays with the weights in every kind of checkpoint."""

    def check(self, state, expected):
        net = Net(8, (3, 5), seed=9)
        assert not same_weights(net, expected)
        net.load_state_dict(state, strict=True)
        assert same_weights(net, expected)

    def test_files_and_states_of_the_runner(self, tmp_path, log):
        path, state = str(tmp_path / 'a.pth'), Net().state_dict()
        save_checkpoint(dict(meta={}, state_dict=state), path)
        expected, net = Net(8, (3, 5), seed=7), Net(8, (3, 5), seed=9)
        expected.load_state_dict(state)
        log.clear()
        load_checkpoint(net, path, strict=True)
        assert same_weights(net, expected)
        assert [line.split()[0] for _, line in log()] == [
            'plugins.after.0.summary.0.weight', 'plugins.later.summary.0.weight']
        self.check(unwrap_state_dict(read_checkpoint(path)), expected)
        # As DataParallel saves them, with ``module.`` before every name.
        torch.save(nn.DataParallel(Net()).state_dict(), path)
        self.check(unwrap_state_dict(read_checkpoint(path)), expected)
        for other in (copy.deepcopy(state), weights_to_cpu(state),
                      get_state_dict(Net())):
            self.check(other, expected)
        average = ExponentialMovingAverage(Net(8, (3, 5), seed=9))
        average.load_state_dict(ExponentialMovingAverage(Net()).state_dict())
        assert same_weights(average.module, expected)

    def test_resampled_on_load_tells_beforehand(self):
        assert resampled_on_load(Net(8, (3, 5)), Net().state_dict()) == {
            name: ((3, 4, 2), (7, 3, 5)) for name in (
                'plugins.after.0.summary.0.weight', 'plugins.later.summary.0.weight')}
        with pytest.raises(ValueError, match='trained_size'):
            resampled_on_load(Net(8, (3, 5)), OrderedDict(Net().state_dict()))


class TestAnySize:

    @pytest.mark.parametrize('train', [True, False])
    @pytest.mark.parametrize('layout', ['clips', 'frames'])
    def test_same_size_is_the_fixed_form_bit_for_bit(self, train, layout):
        x = torch.randn(2, 6, 4, 4, 2)
        if layout == 'frames':
            x = x.transpose(1, 2).flatten(0, 1)
        results = []
        for cosam in (make().train(train), make(any_size=True).train(train)):
            leaf = x.clone().requires_grad_()
            outputs = cosam(leaf, return_masks=True)
            outputs[0].square().sum().backward()
            results.append([*outputs, leaf.grad, *(p.grad for p in cosam.parameters()),
                            *cosam.buffers()])
        assert all(map(torch.equal, *results))

    @pytest.mark.parametrize('shape', [(8, 4, 2), (2, 4, 2), (4, 7, 3), (5, 1, 1),
                                       (3, 2, 9)])
    def test_equals_one_built_for_the_size_and_loaded(self, shape):
        switched, free = make().eval(), make(any_size=True).eval()
        switched.any_size = True
        built = make(shape[0], shape[1:], seed=1).eval()
        built.load_state_dict(free.state_dict())
        x = torch.randn(2, 6, *shape)
        for value, expected in zip(free(x, return_masks=True),
                                   built(x, return_masks=True)):
            torch.testing.assert_close(value, expected)
        flat = x.transpose(1, 2).flatten(0, 1)
        torch.testing.assert_close(
            free(flat, num_frames=shape[0]), built(flat), rtol=1e-4, atol=1e-5)
        assert torch.equal(switched(x), free(x))

    def test_compiles_as_one_graph_for_open_sizes(self):
        cosam = make(any_size=True).eval()
        compiled = torch.compile(cosam, backend='eager', dynamic=True, fullgraph=True)
        for shape in [(2, 6, 5, 3, 3), (3, 6, 9, 6, 5)]:
            x = torch.randn(shape)
            torch.testing.assert_close(compiled(x), cosam(x))

    def test_exports_with_open_sizes(self):
        cosam = make(any_size=True, num_references=2).eval()
        sizes = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3, 4)}
        program = torch.export.export(cosam, (torch.randn(2, 6, 5, 3, 3),),
                                      dynamic_shapes=(sizes,), strict=False)
        module = program.module()
        for shape in [(2, 6, 5, 3, 3), (1, 6, 4, 4, 2), (3, 6, 9, 6, 5)]:
            x = torch.randn(shape)
            torch.testing.assert_close(module(x), cosam(x))

    def test_traces_for_one_size(self):
        cosam, x = make(any_size=True).eval(), torch.randn(2, 6, 5, 3, 3)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that a trace is for one size
            traced = torch.jit.trace(cosam, (x,))
        torch.testing.assert_close(traced(x + 1), cosam(x + 1))
