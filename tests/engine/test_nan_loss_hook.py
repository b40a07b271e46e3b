"""NaN and infinite losses and weights in real trainings of a model of two numbers."""
import contextlib
import logging
import math
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from cosam_mm.engine.hooks import NaNLossHook
from cosam_mm.engine.hooks.nan_loss_hook import sample_names
from cosam_mm.utils.cli import is_user_mistake
from tests.small_runs import Do, Model, loader_of, log_of, small_runner

pytestmark = pytest.mark.usefixtures('clean_up_runs')

LR = 0.1
GOOD = [1., 2., 3., 4.]


class Masked(Model):
    """With a buffer as of attention masks."""

    def __init__(self):
        super().__init__()
        self.register_buffer('limit', torch.tensor(-math.inf))


class Normalized(Model):
    """With statistics that a batch changes before its loss is known."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(1)

    def forward(self, inputs, data_samples, mode='tensor'):
        self.norm(torch.stack([*inputs, torch.zeros(())])[:, None])
        return super().forward(inputs, data_samples, mode)


class BrokenGradient(Model):
    """The loss of 0 is finite, its gradient is NaN."""

    def forward(self, inputs, data_samples, mode='tensor'):
        x = torch.stack(inputs)
        y = self.weight * x
        return dict(loss=y.mean() + y.abs().sqrt().sum())


class Clips(Dataset):
    """Numbers in the order given, a batch each; the same in every epoch."""

    metainfo = dict(dataset='numbers', split=1)

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        sample = BaseDataElement(metainfo=dict(sample_id=f'wave/clip {index}.avi'))
        return dict(inputs=torch.tensor(self.values[index]), data_samples=sample)


@OPTIM_WRAPPERS.register_module()
class ScalingWrapper(OptimWrapper):
    """mmengine's AmpOptimWrapper in what matters here, on a CPU."""

    def __init__(self, init_scale, **kwargs):
        super().__init__(**kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=init_scale)

    def backward(self, loss, **kwargs):
        self.scaler.scale(loss).backward()
        self._inner_count += 1

    def step(self, **kwargs):
        self.scaler.step(self.optimizer)
        self.scaler.update()


def make_runner(work_dir, values, model=None, epochs=1, counts=1, hook=None,
                wrapper=(), wrapping=(), **options):
    hooks = [] if hook is None else [dict(type='NaNLossHook', **hook)]
    return small_runner(
        work_dir, model or Model(), loader_of(Clips(values), batch_size=1), epochs,
        hooks, optim_wrapper=dict(optimizer=dict(type='SGD', lr=LR),
                                  accumulative_counts=counts, **dict(wrapper)),
        default_hooks=dict(checkpoint=dict(
            type='SafeCheckpointHook', interval=1, max_keep_ckpts=2)),
        cfg=dict(custom_hooks=hooks, **dict(wrapping)), **options)


def weight(runner):
    return runner.model.weight.item()


def warnings_of(runner):
    """Those of the hook."""
    return '\n'.join(line for line in log_of(runner, logging.WARNING).splitlines()
                     if 'left out' in line)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob('*.pth')}


def after(values, weight=1.):
    """The weight after updates by these gradients."""
    for value in values:
        weight -= LR * value
    return weight


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_a_bad_loss_stops_before_any_harm(tmp_path, bad):
    """The data are good in the first epoch and bad from the second on."""
    runner, found = make_runner(tmp_path, GOOD, epochs=3, hook={}), {}

    def turn(runner):
        if runner.epoch == 1:
            found.update(contents(tmp_path))
            runner.train_dataloader.dataset.values = [*GOOD[:2], bad, GOOD[3]]

    runner.register_hook(Do('before_train_epoch', turn))
    with pytest.raises(RuntimeError) as failure:
        runner.train()
    message = str(failure.value)
    for part in ('iteration 7 (epoch 2)', f'is {-bad}', "'wave/clip 2.avi'",
                 f'{tmp_path}/epoch_1.pth', 'custom_hooks.0.on_bad_loss=skip'):
        assert part in message  # the weight is below 0 by then
    assert is_user_mistake(failure.value)  # one line, not a traceback
    assert weight(runner) == pytest.approx(after([*GOOD, *GOOD[:2]]))
    assert list(found) == ['epoch_1.pth']
    assert contents(tmp_path) == found


@pytest.mark.parametrize(('values', 'counts', 'updates'), [
    ([1., math.nan, 3., 4.], 1, [1., 3., 4.]),
    # Accumulated: the other batches of an update still count, with their own share.
    ([1., math.nan, 3., 4., 5., 6.], 3, [4. / 3, 15. / 3]),
    ([1., 2., math.inf, 4., 5., 6.], 3, [3. / 3, 15. / 3]),
    ([math.nan, math.nan, math.nan, 4., 5., 6.], 3, [15. / 3]),
    # The last update of a training has fewer batches.
    ([1., 2., 3., math.nan], 3, [6. / 3])])
@pytest.mark.parametrize('wrapper', [{}, dict(type='ScalingWrapper', init_scale=4.)])
def test_a_bad_batch_is_left_out(tmp_path, values, counts, updates, wrapper):
    runner = make_runner(tmp_path, values, counts=counts, wrapper=wrapper,
                         hook=dict(on_bad_loss='skip'))
    runner.train()
    assert weight(runner) == pytest.approx(after(updates))
    num_bad = sum(not math.isfinite(value) for value in values)
    warnings = warnings_of(runner)
    for number, value in enumerate(values):
        assert (f"'wave/clip {number}.avi'" in warnings) == (not math.isfinite(value))
    assert (f'({num_bad} of at most 10)' in warnings) == (num_bad > 0)
    assert (f'{num_bad} batch(es)' in warnings) == (num_bad > 0)


@pytest.mark.parametrize('choice', ['stop', 'skip'])
def test_statistics_of_a_bad_batch_are_taken_back(tmp_path, choice):
    values = [1., 2., math.nan]
    good = make_runner(tmp_path / 'good', values[:2], model=Normalized())
    good.train()
    runner = make_runner(tmp_path / 'bad', values, model=Normalized(),
                         hook=dict(on_bad_loss=choice))
    with contextlib.suppress(RuntimeError):
        runner.train()
    for name, expected in good.model.state_dict().items():
        assert torch.equal(runner.model.state_dict()[name], expected), name
    assert good.model.norm.running_mean != 0
    assert good.model.norm.num_batches_tracked == 2


def test_more_than_the_limit_stops(tmp_path):
    runner = make_runner(tmp_path, [1., math.nan], epochs=9,
                         hook=dict(on_bad_loss='skip', max_skipped=2))
    with pytest.raises(RuntimeError, match=r'iteration 6 .*max_skipped.*epoch_2\.pth'):
        runner.train()
    assert weight(runner) == pytest.approx(after([1.] * 3))


class TestWeights:

    def test_they_are_found_by_the_next_loss_too(self, tmp_path):
        runner = make_runner(tmp_path, [0., 1., 2.], model=BrokenGradient(),
                             hook=dict(on_bad_loss='skip'))
        with pytest.raises(RuntimeError, match='iteration 1: weight'):
            runner.train()

    def test_broken_ones_are_not_saved_and_good_ones_resumed(self, tmp_path):
        make_runner(tmp_path, GOOD, epochs=1, hook={}).train()
        good = contents(tmp_path)
        with pytest.raises(RuntimeError, match=r'iteration 8: weight.*epoch_1\.pth'):
            make_runner(tmp_path, [*GOOD[:3], 0.], epochs=2, model=BrokenGradient(),
                        hook={}, resume=True).train()
        assert contents(tmp_path) == good
        assert not list(tmp_path.glob('.*partial'))
        runner = make_runner(tmp_path, GOOD, epochs=2, hook={}, resume=True)
        runner.train()
        assert weight(runner) == pytest.approx(after(GOOD * 2))

    @pytest.mark.parametrize(('value', 'is_refused'), [
        (-math.inf, False), (math.nan, True)])
    def test_buffers_may_be_infinite(self, tmp_path, value, is_refused):
        model = Masked()
        model.limit.fill_(value)
        runner = make_runner(tmp_path, GOOD, model=model, hook={})
        if is_refused:
            with pytest.raises(RuntimeError, match='iteration 4: limit'):
                runner.train()
        else:
            runner.train()


def test_gradients_that_a_scaler_finds_infinite_are_its_own_affair(tmp_path):
    """The first scale is far too large; it is halved until the gradients fit."""
    runner = make_runner(tmp_path, GOOD * 3, hook={}, wrapper=dict(
        type='ScalingWrapper', init_scale=2.**127))
    runner.train()
    scale = runner.optim_wrapper.scaler.get_scale()
    assert scale < 2.**127
    assert math.isfinite(weight(runner))
    assert weight(runner) != 1.
    assert not warnings_of(runner)


@pytest.mark.parametrize(('batch', 'names'), [
    (dict(data_samples=[dict(sample_id='a', filename='a.avi'), dict(filename='b')]),
     ['a', 'b']),
    (dict(data_samples=dict(filename=['x', 'y'])), ['x', 'y']),
    (dict(data_samples=[BaseDataElement(metainfo=dict(img_path='i.jpg')), 3, {}]),
     ['i.jpg']),
    (dict(inputs=[1]), []), ([1, 2], []), (None, [])])
def test_names_of_samples(batch, names):
    assert sample_names(batch) == names


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(on_bad_loss='ignore'), 'on_bad_loss'), (dict(max_skipped=0), 'max_skipped'),
    (dict(max_skipped=1.5), 'max_skipped')])
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        NaNLossHook(**settings)


TWO_PROCESSES = """
import math
from mmengine.config import Config
from cosam_mm.engine.runner.distributed import (
    connect_cpu_processes, disconnect_cpu_processes)
from tests.engine.test_nan_loss_hook import make_runner, weight
cfg = Config(dict(launcher='pytorch'))
connect_cpu_processes(cfg)
runner = make_runner('work', [1., 2., math.nan, 4., 5., 6.],
                     hook=dict(on_bad_loss=CHOICE), launcher='pytorch',
                     wrapping=dict(model_wrapper_cfg=cfg.model_wrapper_cfg))
try:
    runner.train()
except RuntimeError as error:
    print('stopped', error, flush=True)
    raise SystemExit(3)
print(f'weight {runner.model.module.weight.item():.4f}', flush=True)
disconnect_cpu_processes()
"""


@pytest.mark.parametrize(('choice', 'status'), [('stop', 3), ('skip', 0)])
def test_two_processes_agree(nest, tmp_path, choice, status):
    """Batches (1, 2), (NaN, 4), (5, 6), of which one process sees nothing wrong."""
    for one in nest.run_pair(f'CHOICE = {choice!r}\n{TWO_PROCESSES}', tmp_path):
        assert one.returncode == status, one.stderr
        if choice == 'stop':
            assert 'stopped The loss of iteration 2' in one.stdout
            assert 'wave/clip 2.avi' in one.stdout
        else:
            assert f'weight {after([1.5, 5.5]):.4f}' in one.stdout
