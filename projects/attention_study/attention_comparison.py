"""What COSAM costs at a feature shape, beside non-local blocks.

The blocks stand in the papers (Subramaniam et al., ICCV 2019, with its supplement;
Wang et al., *Non-local Neural Networks*, CVPR 2018): COSAM here, in linear form and
with the cost volume, and MMCV's ``NonLocal3d`` in its four modes, each as it is and
with its keys and values sub-sampled.
"""
import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Optional

import torch
from torch import Tensor, nn

from cosam_mm.apis.complexity import count_multiply_adds
from cosam_mm.layers import COSAM
from cosam_mm.utils.progress import progress_bar
from projects.attention_study.cosam_naive import NaiveCOSAM

from .measurement import Summary, peak_extra_bytes, summarize, time_alternately

__all__ = [
    'BLOCKS', 'PAPER', 'PAPER_SHAPE', 'SUB_SAMPLINGS', 'AttentionCost', 'Shape',
    'compare_attention'
]

NON_LOCAL = ('gaussian', 'embedded_gaussian', 'dot_product', 'concatenation')
BLOCKS = ('cosam', 'naive_cosam', *NON_LOCAL)
# What a max pool makes of keys and values: nothing, MMCV's, and the pool in time, too.
SUB_SAMPLINGS = {'none': None, '1x2x2': (1, 2, 2), '2x2x2': (2, 2, 2)}

# The papers' figures for one block: parameters (M) and FLOPs (G; 2 a multiply-add,
# convolution and linear layers only) at 4 frames of 2048 x 16 x 8.
PAPER = {
    'cosam': (1.6, 0.57),
    'naive_cosam': (1.6, 0.57),
    'gaussian': (4.2, 4.3),
    'embedded_gaussian': (8.39, 8.59),
    'dot_product': (8.39, 8.59),
    'concatenation': (8.4, 8.72),
}


@dataclass(frozen=True)
class Shape:
    """Features of one clip, as the papers write it: T x C x H x W."""

    frames: int
    channels: int
    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> 'Shape':
        """Read ``4x2048x16x8``.

        Raises:
            ValueError: It is not four whole numbers of at least 1.
        """
        parts = text.lower().split('x')
        if len(parts) != 4 or not all(p.isdecimal() and int(p) > 0 for p in parts):
            raise ValueError(f'{text!r} is no shape: write frames x channels x height '
                             'x width, as in 4x2048x16x8.')
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return f'{self.frames}x{self.channels}x{self.height}x{self.width}'

    @property
    def places(self) -> int:
        """H * W."""
        return self.height * self.width

    def cosam(self, naive: bool = False, **settings) -> COSAM:
        """COSAM of this shape, in linear form or with its cost volume."""
        kind = NaiveCOSAM if naive else COSAM
        return kind(self.channels, self.frames, (self.height, self.width), **settings)

    def features(self, batch: int, device: str = 'cpu') -> Tensor:
        """Random (N, C, T, H, W) features that ask for their gradient."""
        return torch.randn(batch, self.channels, self.frames, self.height, self.width,
                           device=device, requires_grad=True)


PAPER_SHAPE = Shape(4, 2048, 16, 8)


@dataclass(frozen=True)
class AttentionCost:
    """A row of the comparison.

    Attributes:
        block: One of ``BLOCKS``.
        sub_sampling: One of ``SUB_SAMPLINGS``.
        parameters: Their number.
        layer_multiply_adds: Of convolution and linear layers for one batch, counted
            as in the papers: for COSAM in the form that builds the cost volume.
        multiply_adds: Of all convolutions, linear layers and matrix products that
            are executed.
        paper: The papers' (parameters in M, FLOPs in G) at this shape, if any.
        forward_seconds, training_seconds: Of a forward pass without gradients, and
            of a forward and backward pass in training mode. None: not run.
        forward_ratio, training_ratio: How many times COSAM's time that is, by
            rounds.
        forward_bytes, training_bytes: Peak of memory beyond parameters and input.
        note: Why it was not run, or nothing.
    """

    block: str
    sub_sampling: str
    parameters: int
    layer_multiply_adds: int
    multiply_adds: int
    paper: Optional[tuple[float, float]] = None
    forward_seconds: Optional[Summary] = None
    training_seconds: Optional[Summary] = None
    forward_ratio: Optional[Summary] = None
    training_ratio: Optional[Summary] = None
    forward_bytes: Optional[int] = None
    training_bytes: Optional[int] = None
    note: str = ''

    def as_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Contender:
    block: str
    sub_sampling: str
    module: nn.Module
    pairs: int         # places that are compared with each other, in a clip
    pair_values: int   # values kept for each pair

    @property
    def name(self) -> str:
        return f'{self.block} {self.sub_sampling}'


def compare_attention(shape: Shape = PAPER_SHAPE,
                      batch: int = 1,
                      blocks: Sequence[str] = BLOCKS,
                      sub_samplings: Sequence[str] = tuple(SUB_SAMPLINGS),
                      device: str = 'cpu',
                      seconds: float = 20.0,
                      memory_limit: Optional[int] = None,
                      progress: bool = False) -> list[AttentionCost]:
    """Measure COSAM and non-local blocks on random features of a shape.

    Args:
        shape: Features of one clip.
        batch: Clips at once.
        blocks: Which of ``BLOCKS``; ``'cosam'`` is always among them.
        sub_samplings: Which of ``SUB_SAMPLINGS``, for the non-local blocks.
        device: Where to compute.
        seconds: About how long to time the forward passes, and the same again for
            training.
        memory_limit: Bytes; a block whose table of pairs alone would take more in
            training is not run. Default: three quarters of the memory there is.
        progress: Show bars, where the error stream is a terminal.

    Raises:
        ValueError: An unknown block or sub-sampling, a batch below 1, or a shape
            that a block does not take.
    """
    for given, allowed in ((blocks, BLOCKS), (sub_samplings, SUB_SAMPLINGS)):
        unknown = [name for name in given if name not in allowed]
        if unknown:
            raise ValueError(f'{unknown[0]!r} is none of {", ".join(allowed)}.')
    if batch < 1:
        raise ValueError(f'batch must be at least 1, got {batch}.')
    if memory_limit is None:
        memory_limit = _memory(device) * 3 // 4
    contenders = list(_contenders(shape, blocks, sub_samplings, device))
    x = shape.features(batch, device)
    runnable = [one for one in contenders
                if _least_bytes(one, batch) <= memory_limit]
    bar = partial(progress_bar, show=progress)
    forward = time_alternately(
        {one.name: _forward(one.module, x) for one in runnable}, seconds, device=device,
        track=partial(bar, what='time, forward', unit='round'))
    training = time_alternately(
        {one.name: _train(one.module, x) for one in runnable}, seconds, device=device,
        track=partial(bar, what='time, forward and backward', unit='round'))
    rows = []
    for one in bar(contenders, 'multiply-adds and memory', 'block'):
        row = _cost(one, shape, x, one in runnable)
        if one in runnable:
            row.update(_figures(one, x, forward, training, device))
        else:
            row['note'] = (f'not run: it would take over '
                           f'{_least_bytes(one, batch) / 2**30:.1f} GiB')
        rows.append(AttentionCost(one.block, one.sub_sampling, **row))
    return rows


def _contenders(shape: Shape, blocks: Sequence[str], sub_samplings: Sequence[str],
                device: str) -> Iterator[_Contender]:
    between_frames = shape.frames * (shape.frames - 1) * shape.places**2
    cosam = shape.cosam().to(device)
    yield _Contender('cosam', 'none', cosam, 0, 0)
    if 'naive_cosam' in blocks:
        naive = shape.cosam(naive=True).to(device)
        naive.load_state_dict(cosam.state_dict())
        yield _Contender('naive_cosam', 'none', naive, between_frames, 1)
    for mode in NON_LOCAL:
        for name in sub_samplings if mode in blocks else ():
            kernel = SUB_SAMPLINGS[name] or (1, 1, 1)
            sizes = (shape.frames, shape.height, shape.width)
            if any(size < k for size, k in zip(sizes, kernel)):
                raise ValueError(
                    f'Sub-sampling by {name} leaves nothing of {shape}: choose other '
                    'sub-samplings.')
            keys = 1
            for size, k in zip(sizes, kernel):
                keys *= size // k
            block = _non_local(shape.channels, mode, SUB_SAMPLINGS[name]).to(device)
            values = 2 * block.inter_channels if mode == 'concatenation' else 1
            yield _Contender(mode, name, block, shape.frames * shape.places * keys,
                             values)


def _non_local(channels: int, mode: str, kernel: Optional[tuple]) -> nn.Module:
    """MMCV's block; its weights last, which begin as zeros, are drawn."""
    try:
        from mmcv.cnn import NonLocal3d
    except ImportError as error:
        raise RuntimeError(
            "The non-local blocks are MMCV's, which is not installed: install mmcv "
            'or mmcv-lite, or compare cosam and naive_cosam only.') from error
    block = NonLocal3d(channels, mode=mode, sub_sample=kernel is not None,
                       zeros_init=False)
    for module in block.modules():
        if isinstance(module, nn.MaxPool3d):
            module.kernel_size = module.stride = kernel
    if mode == 'concatenation':
        block.concat_project = nn.Sequential(block.concat_project, _Copy())
    return block


class _Copy(nn.Module):
    """Lets MMCV's concatenation train, of 1/C of the size of what it copies from.

    MMCV divides the result of a ReLU in place, which its backward pass needs.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def _least_bytes(one: _Contender, batch: int) -> int:
    """The table of pairs, made and transformed, and the gradients of both."""
    return 4 * 4 * batch * one.pairs * one.pair_values


def _memory(device: str) -> int:
    """Bytes that the device has."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def _forward(module: nn.Module, x: Tensor) -> Callable[[], None]:
    x = x.detach()

    def call() -> None:
        with torch.no_grad():
            module.eval()(x)
    return call


def _train(module: nn.Module, x: Tensor) -> Callable[[], None]:
    grad = torch.ones_like(x)

    def call() -> None:
        module.train()(x).backward(grad)
        module.zero_grad()
        x.grad = None
    return call


def _cost(one: _Contender, shape: Shape, x: Tensor, is_run: bool) -> dict:
    """Parameters, multiply-adds and the papers' figures."""
    meta = torch.empty_like(x, device='meta')      # shapes without storage
    layer_form = shape.cosam(naive=True) if one.block == 'cosam' else one.module
    layer_form = copy.deepcopy(layer_form).to('meta')
    layers = count_multiply_adds(_forward(layer_form, meta)).layers
    if is_run:
        real = count_multiply_adds(_forward(one.module, x))
    else:
        real = count_multiply_adds(_forward(copy.deepcopy(one.module).to('meta'), meta))
    is_papers = shape == PAPER_SHAPE and x.shape[0] == 1
    return {
        'parameters': sum(p.numel() for p in one.module.parameters()),
        'layer_multiply_adds': layers,
        'multiply_adds': real.total,
        'paper': PAPER[one.block] if is_papers else None,
    }


def _figures(one: _Contender, x: Tensor, forward: dict, training: dict,
             device: str) -> dict:
    """What was measured of a block that was run."""

    def times_cosam(times: dict) -> Summary:
        return summarize(own / cosam for own, cosam
                         in zip(times[one.name], times['cosam none']))

    return {
        'forward_seconds': summarize(forward[one.name]),
        'training_seconds': summarize(training[one.name]),
        'forward_ratio': times_cosam(forward),
        'training_ratio': times_cosam(training),
        'forward_bytes': peak_extra_bytes(_forward(one.module, x), device),
        'training_bytes': peak_extra_bytes(_train(one.module, x), device),
    }
