"""COSAM against its naive form and against the convolution it cannot do without.

Parts:

- ``naive``: a training step against that of the form with the cost volume;
- ``growth``: exponents of time in T and in H * W;
- ``memory``: peak extra memory of a training step, and its exponents;
- ``limit``: the module against its 1x1 reduction convolution alone, and against a
  floor: that convolution and the passes over the features that every form has to make;
- ``formats``: memory formats, bf16 autocast and ``torch.compile`` against eager fp32,
  each with its largest relative error against fp64;
- ``profile``: the operations that a training step spends its time in.

A training step is a forward and a backward pass in training mode, with gradients for
the input and for all parameters. Shapes are T x C x H x W.
"""
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Options
from benchmarks.metrics import Metric, at_least, at_most
from benchmarks.profiling import time_by_operation
from projects.attention_study.compare_attention import Shape
from projects.attention_study.measurement import (
    Summary,
    peak_extra_bytes,
    ratio_to_baseline,
    summarize,
    time_alternately,
)

__all__ = ['PARTS', 'run']

# Shape, batch, and how many times faster than the naive form it should be.
SHAPES = (('4x2048x16x8', 8, 1.1), ('8x1024x7x7', 8, 1.1), ('4x512x32x16', 1, 2.0),
          ('4x256x64x32', 1, 12.0), ('32x1024x14x14', 1, 8.0))
# How far the naive form is taken: its cost volume has the square of these places.
GROWTH = {'T': ('4x1024x14x14', '8x1024x14x14', '16x1024x14x14', '32x1024x14x14'),
          'H*W': ('4x256x16x8', '4x256x32x16', '4x256x64x32', '4x256x128x64')}
NAIVE_PLACES = 4 * 64 * 32
CONVOLUTION = 'its 1x1 convolution'
QUICK_SHAPES = (('2x32x4x2', 2, 1.0), ('3x16x4x4', 1, 1.0))
QUICK_GROWTH = {'T': ('2x16x4x4', '4x16x4x4'), 'H*W': ('2x16x4x2', '2x16x4x4')}
PROFILED = (0, 1, 3, 4)
OPERATIONS = 12


def run(options: Options) -> Iterator[Metric]:
    """Yield the metrics of the parts that were asked for."""
    for part in options.parts:
        torch.manual_seed(options.seed)
        for metric in PARTS[part](_Setting(options)):
            # Nothing was aimed at for the shapes of a quick run.
            yield replace(metric, target=None) if options.quick else metric


@dataclass(frozen=True)
class _Setting:
    """What the parts read from the options."""

    options: Options

    @property
    def shapes(self) -> list[tuple[Shape, int, float]]:
        shapes = QUICK_SHAPES if self.options.quick else SHAPES
        return [(Shape.parse(text), *rest) for text, *rest in shapes]

    @property
    def growth(self) -> dict[str, list[Shape]]:
        growth = QUICK_GROWTH if self.options.quick else GROWTH
        return {name: [Shape.parse(text) for text in texts]
                for name, texts in growth.items()}

    def time(self, contenders: dict) -> dict:
        rounds = 2 if self.options.quick else None
        return time_alternately(contenders, self.options.seconds, rounds,
                                device=self.options.device)

    def pair(self, shape: Shape) -> tuple[nn.Module, nn.Module]:
        """COSAM and its naive form with the same weights."""
        cosam = shape.cosam().to(self.options.device)
        naive = shape.cosam(naive=True).to(self.options.device)
        naive.load_state_dict(cosam.state_dict())
        return cosam, naive

    def features(self, shape: Shape, batch: int) -> Tensor:
        return shape.features(batch, self.options.device)


def training_step(module: nn.Module, x: Tensor, autocast: bool = False
                  ) -> Callable[[], None]:
    """A forward and a backward pass that leaves no gradients behind."""
    module.train()
    with torch.no_grad():
        grad = torch.randn_like(module(x))

    def step() -> None:
        with _autocast(x, autocast):
            y = module(x)
        y.backward(grad.to(y.dtype))
        module.zero_grad()
        x.grad = None
    return step


def _autocast(x: Tensor, is_on: bool):
    return torch.autocast(x.device.type, torch.bfloat16) if is_on else nullcontext()


def _label(shape: Shape, batch: int) -> str:
    return f'{shape} batch {batch}'


def _compared(times: dict, baseline: str, contender: str) -> dict:
    """Details of a ratio: both sides' median seconds."""
    return {'baseline': baseline, 'contender': contender,
            'baseline_seconds': summarize(times[baseline]).median,
            'contender_seconds': summarize(times[contender]).median}


def _exact(value: float) -> Summary:
    """A metric that does not vary."""
    return Summary(value, value, value, 1)


# -- the parts -------------------------------------------------------------------


def _naive(setting: _Setting) -> Iterator[Metric]:
    for shape, batch, target in setting.shapes:
        x = setting.features(shape, batch)
        cosam, naive = setting.pair(shape)
        times = setting.time({'naive': training_step(naive, x),
                              'cosam': training_step(cosam, x)})
        yield Metric('naive', f'naive / COSAM, {_label(shape, batch)}', 'times',
                     ratio_to_baseline(times, 'naive')['cosam'], at_least(target),
                     {'shape': str(shape), 'batch': batch, 'dtype': 'float32',
                      **_compared(times, 'naive', 'cosam')})


def _growth(setting: _Setting) -> Iterator[Metric]:
    for name, shapes in setting.growth.items():
        modules = {shape: setting.pair(shape) for shape in shapes}
        inputs = {shape: setting.features(shape, 1) for shape in shapes}
        for index, form in enumerate(('COSAM', 'naive')):
            sizes = shapes if form == 'COSAM' else _fit_for_naive(shapes)
            times = setting.time({
                str(shape): training_step(modules[shape][index], inputs[shape])
                for shape in sizes})
            exponent = growth_exponent([_size(shape, name) for shape in sizes],
                                       [times[str(shape)] for shape in sizes])
            yield _growth_metric('growth', f'time of {form}', name, exponent, {
                _size(shape, name): summarize(times[str(shape)]).median
                for shape in sizes}, sizes, is_bounded=form == 'COSAM')


def _memory(setting: _Setting) -> Iterator[Metric]:
    device = setting.options.device

    def peak(module: nn.Module, shape: Shape, batch: int) -> int:
        return peak_extra_bytes(
            training_step(module, setting.features(shape, batch)), device)

    for shape, batch, _ in setting.shapes:
        cosam, naive = (peak(module, shape, batch) for module in setting.pair(shape))
        yield Metric('memory', f'naive / COSAM, {_label(shape, batch)}', 'times',
                     _exact(naive / cosam), None,
                     {'shape': str(shape), 'batch': batch, 'baseline_bytes': naive,
                      'contender_bytes': cosam})
    for name, shapes in setting.growth.items():
        for index, form in enumerate(('COSAM', 'naive')):
            sizes = shapes if form == 'COSAM' else _fit_for_naive(shapes)
            peaks = {_size(shape, name): peak(setting.pair(shape)[index], shape, 1)
                     for shape in sizes}
            exponent = growth_exponent(list(peaks), [[p] for p in peaks.values()])
            yield _growth_metric('memory', f'peak memory of {form}', name, exponent,
                                 peaks, sizes, is_bounded=form == 'COSAM')


def growth_exponent(sizes: Sequence[float],
                    costs: Sequence[Sequence[float]]) -> Summary:
    """Exponent e of ``cost = c * size ** e``, fitted in each round.

    Args:
        sizes: At least two sizes.
        costs: For each size its cost in each round.

    Returns:
        Summary over the rounds of the slope through (log size, log cost).

    Raises:
        ValueError: There are fewer than two sizes.
    """
    if len(set(sizes)) < 2:
        raise ValueError(f'Growth needs at least two sizes, got {list(sizes)}.')
    log_costs = np.log(np.asarray(costs, dtype=np.float64))
    return summarize(np.polyfit(np.log(np.asarray(sizes, float)), log_costs, 1)[0])


def _size(shape: Shape, name: str) -> int:
    return shape.frames if name == 'T' else shape.positions


def _fit_for_naive(shapes: list[Shape]) -> list[Shape]:
    return [shape for shape in shapes if shape.frames * shape.positions <= NAIVE_PLACES]


def _growth_metric(part: str, cost: str, name: str, exponent: Summary, costs: dict,
                   shapes: list[Shape], is_bounded: bool) -> Metric:
    return Metric(part, f'{cost} in {name}, {shapes[0]} to {shapes[-1]}', 'exponent',
                  exponent, at_most(1.1) if is_bounded else None,
                  {'shapes': [str(shape) for shape in shapes], 'batch': 1,
                   'dtype': 'float32', 'sizes': list(costs),
                   'costs': list(costs.values())})


def _limit(setting: _Setting) -> Iterator[Metric]:
    for shape, batch, _ in setting.shapes[:2]:
        x = setting.features(shape, batch)
        cosam = shape.cosam().to(setting.options.device)
        convolution = _Reduction(cosam.reduction[0])
        passes = {
            'forward': {'COSAM': _forward(cosam, x),
                        CONVOLUTION: _forward(convolution, x)},
            'training step': {'COSAM': training_step(cosam, x),
                              CONVOLUTION: training_step(convolution, x),
                              'floor': floor_step(convolution, x)}}
        for name, contenders in passes.items():
            cosam.train()
            times = setting.time(contenders)
            pairs = [('COSAM', CONVOLUTION, at_most(1.6))]
            if 'floor' in times:
                pairs += [('floor', CONVOLUTION, None), ('COSAM', 'floor', None)]
            for one, other, target in pairs:
                yield Metric(
                    'limit', f'{one} / {other}, {name}, {_label(shape, batch)}',
                    'times', ratio_to_baseline(times, one)[other], target,
                    {'shape': str(shape), 'batch': batch, 'dtype': 'float32',
                     **_compared(times, other, one)})


class _Reduction(nn.Module):
    """The 1x1 convolution on features as COSAM sees them."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.flatten(3))


def floor_step(convolution: nn.Module, x: Tensor) -> Callable[[], None]:
    """A step of the convolution and the passes that no form can do without.

    Forward, x is read and the output written; backward, the output's gradient and x
    are read and x's gradient is written: all in memory that is there.
    """
    step = training_step(convolution, x)
    values = x.detach()
    gradient, written = torch.randn_like(values), torch.zeros_like(values)

    def floor() -> None:
        torch.mul(values, 2, out=written)
        step()
        torch.mul(gradient, values, out=written)
    return floor


def _forward(module: nn.Module, x: Tensor) -> Callable[[], None]:
    def call() -> None:
        with torch.no_grad():
            module(x)
    return call


def _formats(setting: _Setting) -> Iterator[Metric]:
    for shape, batch, _ in setting.shapes[:2]:
        x = setting.features(shape, batch)
        cosam = shape.cosam().to(setting.options.device)
        torch.compiler.reset()
        variants = _variants(cosam, x)
        exact = _outputs(copy.deepcopy(cosam).double(), x.detach().double(), False)
        steps = {name: training_step(*variant) for name, variant in variants.items()}
        times = setting.time(steps)
        for name in list(variants)[1:]:
            label = f'{name}, {_label(shape, batch)}'
            yield Metric('formats', f'eager fp32 / {label}', 'times',
                         ratio_to_baseline(times, 'eager fp32')[name], at_least(1),
                         {'shape': str(shape), 'batch': batch,
                          **_compared(times, 'eager fp32', name)})
            errors = [_relative_error(*both) for both in zip(
                _outputs(*variants[name]), exact)]
            bound = 2**-6 if 'bf16' in name else 1e-5
            yield Metric('formats', f'error of {label}', 'error', _exact(errors[0]),
                         at_most(bound), {'shape': str(shape), 'batch': batch,
                                          'input_gradient_error': errors[1]})


def _variants(cosam: nn.Module, x: Tensor) -> dict:
    """Name -> (module, input, whether under autocast). Eager fp32 comes first."""
    frames = x.detach().transpose(1, 2).flatten(0, 1).requires_grad_()
    last = frames.detach().contiguous(memory_format=torch.channels_last)
    last_3d = x.detach().contiguous(memory_format=torch.channels_last_3d)
    compiled = torch.compile(cosam)
    return {
        'eager fp32': (cosam, x, False),
        'frames (N*T, C, H, W)': (cosam, frames, False),
        'channels-last frames': (cosam, last.requires_grad_(), False),
        'channels-last clips': (cosam, last_3d.requires_grad_(), False),
        'bf16 autocast': (cosam, x, True),
        'bf16 autocast, channels-last frames': (cosam, last, True),
        'compile': (compiled, x, False),
        'compile, bf16 autocast': (compiled, x, True),
    }


def _outputs(module: nn.Module, x: Tensor, autocast: bool) -> tuple[Tensor, Tensor]:
    """Output and gradient of the input, as (N, C, T, H, W) in fp64."""
    x = x.detach().requires_grad_()
    with _autocast(x, autocast):
        y = module.train()(x)
    y.double().pow(2).sum().backward()
    t = module.num_frames
    return tuple(
        (v if v.dim() == 5 else v.unflatten(0, (-1, t)).transpose(1, 2)).double()
        for v in (y.detach(), x.grad))


def _relative_error(value: Tensor, exact: Tensor) -> float:
    """Largest difference, by the largest value."""
    return ((value - exact).abs().max() / exact.abs().max()).item()


def _profile(setting: _Setting) -> Iterator[Metric]:
    shapes = setting.shapes
    for index in [i for i in PROFILED if i < len(shapes)]:
        shape, batch, _ = shapes[index]
        cosam = shape.cosam().to(setting.options.device)
        step = training_step(cosam, setting.features(shape, batch))
        shares = time_by_operation(step)
        backward = sum(v for (phase, _), v in shares.items() if phase == 'backward')
        label = _label(shape, batch)
        yield Metric('profile', f'backward, {label}', 'share', _exact(backward))
        for (phase, operation), share in list(shares.items())[:OPERATIONS]:
            yield Metric('profile', f'  {phase}: {operation}, {label}', 'share',
                         _exact(share))


PARTS = {'naive': _naive, 'growth': _growth, 'memory': _memory, 'limit': _limit,
         'formats': _formats, 'profile': _profile}
