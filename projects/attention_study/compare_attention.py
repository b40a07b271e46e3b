"""What COSAM costs at a feature shape, beside non-local blocks.

    python -m projects.attention_study.compare_attention --shape 4x2048x16x8

The blocks are those of the papers (Subramaniam et al., ICCV 2019, with its supplement;
Wang et al., *Non-local Neural Networks*, CVPR 2018): COSAM here, in linear form and
with the cost volume, and MMCV's ``NonLocal3d`` in its four modes, each as it is and
with its keys and values sub-sampled.
"""
import argparse
import copy
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Optional

import torch
from torch import Tensor, nn

from cosam_mm.layers import COSAM
from cosam_mm.utils.cli import one_line_errors
from cosam_mm.utils.progress import progress_bar

from ..text_table import text_table
from .cosam_naive import NaiveCOSAM
from .measurement import (
    Summary,
    count_multiply_adds,
    describe_environment,
    peak_extra_bytes,
    ratio_to_baseline,
    summarize,
    time_alternately,
)

NON_LOCAL = ('gaussian', 'embedded_gaussian', 'dot_product', 'concatenation')
BLOCKS = ('cosam', 'naive_cosam', *NON_LOCAL)
# What a max pool makes of keys and values: nothing, MMCV's, and the pool in time, too.
SUB_SAMPLINGS = {'none': None, '1x2x2': (1, 2, 2), '2x2x2': (2, 2, 2)}

# The papers' numbers for one block: parameters (M) and FLOPs (G; 2 a multiply-add,
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
    def positions(self) -> int:
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
    """A row of the comparison; what was not run is None."""

    block: str                  # one of BLOCKS
    sub_sampling: str           # one of SUB_SAMPLINGS
    parameters: int
    # Of convolution and linear layers for one batch, counted as in the papers: COSAM in
    # the form that builds the cost volume.
    layer_multiply_adds: int
    multiply_adds: int          # of all layers and matrix products as executed
    paper: Optional[tuple[float, float]] = None   # parameters in M and FLOPs in G
    forward_seconds: Optional[Summary] = None     # without gradients
    training_seconds: Optional[Summary] = None    # forward and backward
    forward_ratio: Optional[Summary] = None       # to COSAM's time, by rounds
    training_ratio: Optional[Summary] = None
    forward_bytes: Optional[int] = None           # peak beyond parameters and input
    training_bytes: Optional[int] = None
    note: str = ''              # why it was not run


@dataclass(frozen=True)
class _Contender:
    block: str
    sub_sampling: str
    module: nn.Module
    pair_values: int   # for all pairs of positions compared with each other in a clip

    @property
    def name(self) -> str:
        """Block and sub-sampling."""
        return f'{self.block} {self.sub_sampling}'

    def least_bytes(self, batch: int) -> int:
        """The table of pairs, made and transformed, and the gradients of both."""
        return 4 * 4 * batch * self.pair_values


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
        seconds: About how long to time the forward passes, and again the training.
        memory_limit: Bytes; a block whose table of pairs alone would take more in
            training is not run. Default: three quarters of the memory there is.
        progress: Show bars; where no terminal looks on, a line every half minute.

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
    runnable = [one for one in contenders if one.least_bytes(batch) <= memory_limit]
    bar = partial(progress_bar, show=progress)
    passes = dict(forward=_forward, training=_train)
    times = {kind: time_alternately(
        {one.name: call(one.module, x) for one in runnable}, seconds, device=device,
        track=partial(bar, what=f'time, {kind}', unit='round'))
        for kind, call in passes.items()}
    ratios = {kind: ratio_to_baseline(own, 'cosam none') for kind, own in times.items()}
    rows = []
    for one in bar(contenders, 'multiply-adds and memory', 'block'):
        row = _counted(one, shape, x, one in runnable)
        if one not in runnable:
            row['note'] = (f'not run: it would take over '
                           f'{one.least_bytes(batch) / 2**30:.1f} GiB')
        for kind, call in passes.items() if one in runnable else ():
            row[f'{kind}_seconds'] = summarize(times[kind][one.name])
            row[f'{kind}_ratio'] = ratios[kind][one.name]
            row[f'{kind}_bytes'] = peak_extra_bytes(call(one.module, x), device)
        rows.append(AttentionCost(one.block, one.sub_sampling, **row))
    return rows


def _contenders(shape: Shape, blocks: Sequence[str], sub_samplings: Sequence[str],
                device: str) -> Iterator[_Contender]:
    """All blocks to compare, COSAM first."""
    cosam = shape.cosam().to(device)
    yield _Contender('cosam', 'none', cosam, 0)
    if 'naive_cosam' in blocks:
        naive = shape.cosam(naive=True).to(device)
        naive.load_state_dict(cosam.state_dict())
        yield _Contender('naive_cosam', 'none', naive,
                         shape.frames * (shape.frames - 1) * shape.positions**2)
    for mode in NON_LOCAL:
        for name in sub_samplings if mode in blocks else ():
            kernel = SUB_SAMPLINGS[name] or (1, 1, 1)
            sizes = (shape.frames, shape.height, shape.width)
            if any(size < k for size, k in zip(sizes, kernel)):
                raise ValueError(
                    f'Sub-sampling by {name} leaves nothing of {shape}: choose other '
                    'sub-samplings.')
            keys = math.prod(size // k for size, k in zip(sizes, kernel))
            block = _non_local(shape.channels, mode, SUB_SAMPLINGS[name]).to(device)
            values = 2 * block.inter_channels if mode == 'concatenation' else 1
            yield _Contender(mode, name, block,
                             shape.frames * shape.positions * keys * values)


def _non_local(channels: int, mode: str, kernel: Optional[tuple]) -> nn.Module:
    """MMCV's block; its last weights, zeros at first, are random."""
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


def _memory(device: str) -> int:
    """Bytes that the device has."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def _forward(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """A forward pass without gradients."""
    x = x.detach()

    def call() -> None:
        with torch.no_grad():
            module.eval()(x)
    return call


def _train(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """A forward and a backward pass in training mode."""
    grad = torch.ones_like(x)

    def call() -> None:
        module.train()(x).backward(grad)
        module.zero_grad()
        x.grad = None
    return call


def _counted(one: _Contender, shape: Shape, x: Tensor, is_run: bool) -> dict:
    """Parameters, multiply-adds and the papers' numbers."""
    meta = torch.empty_like(x, device='meta')      # shapes without storage
    of_layers = copy.deepcopy(shape.cosam(naive=True) if one.block == 'cosam'
                              else one.module).to('meta')
    module, features = (one.module, x) if is_run else (
        copy.deepcopy(one.module).to('meta'), meta)
    is_papers = shape == PAPER_SHAPE and x.shape[0] == 1
    return dict(
        parameters=sum(p.numel() for p in one.module.parameters()),
        layer_multiply_adds=count_multiply_adds(_forward(of_layers, meta)).layers,
        multiply_adds=count_multiply_adds(_forward(module, features)).total,
        paper=PAPER[one.block] if is_papers else None)


# -- command -------------------------------------------------------------------

TITLES = ('block', 'sub-sampling', 'params M', 'layers G', 'all G', 'paper M/G',
          'forward ms', 'x COSAM', 'fwd+bwd ms', 'x COSAM', 'MiB fwd', 'MiB fwd+bwd')
LEGEND = """
features  {shape} (T x C x H x W), batch {batch}, fp32, {device}, {threads} threads, \
torch {torch}
G         a multiply-add counts {counts}; layers: of convolution and linear layers
          only, as the papers count; all: with matrix products, as executed
ms        median; +- half the distance of the quartiles; ratios are taken within a round
MiB       peak beyond parameters and input"""


def parse_args(arguments=None):
    parser = argparse.ArgumentParser(
        prog='python -m projects.attention_study.compare_attention',
        description='Parameters, FLOPs, time and peak memory of COSAM, of COSAM with '
        'its cost volume, and of the non-local blocks, on random features of a shape. '
        "The default is the row of the paper's table.")
    parser.add_argument('--shape', default=str(PAPER_SHAPE), metavar='TxCxHxW',
                        help='features of a clip: frames x channels x height x '
                        'width (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=1, metavar='N',
                        help='clips at once (default: %(default)s)')
    parser.add_argument('--blocks', nargs='+', default=BLOCKS, choices=BLOCKS,
                        metavar='BLOCK', help=f'which: {", ".join(BLOCKS)} (default: '
                        'all); cosam is always there')
    parser.add_argument('--sub-sampling', nargs='+', default=tuple(SUB_SAMPLINGS),
                        choices=tuple(SUB_SAMPLINGS), metavar='POOL',
                        help='max pool over keys and values of non-local blocks, in '
                        f'time x height x width: {", ".join(SUB_SAMPLINGS)} (default: '
                        "all); 1x2x2 is MMCV's")
    parser.add_argument('--multiply-adds', action='store_true',
                        help='count a multiply-add as one, not as two FLOPs')
    parser.add_argument('--device', default='cpu', help='cpu, cuda, cuda:1 '
                        '(default: %(default)s)')
    parser.add_argument('--threads', type=int, metavar='N',
                        help="threads on the CPU (default: torch's)")
    parser.add_argument('--seconds', type=float, default=20, metavar='S',
                        help='about how long to time forward passes, and the same '
                        'again for training (default: %(default)s)')
    parser.add_argument('--memory-limit', type=float, metavar='GIB',
                        help='do not run a block that would take more (default: three '
                        'quarters of the memory there is)')
    parser.add_argument('--markdown', action='store_true',
                        help='print the table as Markdown')
    parser.add_argument('--json', type=Path, metavar='FILE',
                        help='write all numbers, quartiles included')
    return parser.parse_args(arguments)


def cells(row, flops):
    """One line of the table, with so many FLOPs a multiply-add."""
    def number(value, scale, digits=2):
        return '-' if value is None else f'{value / scale:.{digits}f}'

    def times(summary, scale=1.0, digits=2):
        if summary is None:
            return '-'
        spread = (summary.upper - summary.lower) / 2
        return f'{summary.median / scale:.{digits}f} +-{spread / scale:.{digits}f}'

    return (row.block, row.sub_sampling, number(row.parameters, 1e6),
            number(row.layer_multiply_adds * flops, 1e9),
            number(row.multiply_adds * flops, 1e9),
            '-' if row.paper is None else '{}/{}'.format(*row.paper),
            times(row.forward_seconds, 1e-3, 1), times(row.forward_ratio),
            times(row.training_seconds, 1e-3, 1), times(row.training_ratio),
            number(row.forward_bytes, 2**20, 1), number(row.training_bytes, 2**20, 1))


def main(arguments=None):
    """The command."""
    args = parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    limit = None if args.memory_limit is None else int(args.memory_limit * 2**30)
    with one_line_errors():
        shape = Shape.parse(args.shape)
        rows = compare_attention(
            shape, args.batch, args.blocks, args.sub_sampling, args.device,
            args.seconds, limit, progress=True)
    environment = describe_environment(args.device)
    flops = 1 if args.multiply_adds else 2
    print(text_table([TITLES, *(cells(row, flops) for row in rows)], 2, args.markdown))
    print(LEGEND.format(shape=shape, batch=args.batch, **environment,
                        counts=('one', 'two')[flops - 1]))
    if any(row.paper for row in rows):
        print('paper     parameters and FLOPs of layers, 2 a multiply-add; its number '
              'for concatenation is that of 2x2x2')
    for row in rows:
        if row.note:
            print(f'{row.block} {row.sub_sampling}: {row.note}')
    if args.json:
        args.json.write_text(json.dumps(dict(
            shape=str(shape), batch=args.batch, dtype='float32',
            environment=environment, rows=list(map(asdict, rows))),
            indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
