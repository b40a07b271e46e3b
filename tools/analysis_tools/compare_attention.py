"""COSAM beside non-local blocks: ``compare_attention.py --shape 4x2048x16x8``."""
import argparse
import json
from pathlib import Path

import torch

import cosam_mm  # noqa: F401
from cosam_mm.utils.cli import one_line_errors
from projects.attention_study.attention_comparison import (
    BLOCKS,
    PAPER_SHAPE,
    SUB_SAMPLINGS,
    Shape,
    compare_attention,
)
from projects.attention_study.measurement import describe_environment

TITLES = ('block', 'sub-sampling', 'params M', 'layers G', 'all G', 'paper M/G',
          'forward ms', 'x COSAM', 'fwd+bwd ms', 'x COSAM', 'MiB fwd', 'MiB fwd+bwd')
COUNTS_TWO = 'a multiply-add counts two'


def parse_args():
    parser = argparse.ArgumentParser(
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
                        help='write all figures, quartiles included')
    return parser.parse_args()


def cells(row, flops):
    """One line of the table, as text."""
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


def print_table(lines, markdown):
    widths = [max(map(len, column)) for column in zip(*lines)]
    for index, line in enumerate(lines):
        padded = [cell.ljust(width) if column < 2 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(line, widths))]
        print(f'| {" | ".join(padded)} |' if markdown else '  '.join(padded).rstrip())
        if markdown and index == 0:
            rules = ['-' * w if column < 2 else '-' * (w - 1) + ':'
                     for column, w in enumerate(widths)]
            print(f'| {" | ".join(rules)} |')


def main():
    args = parse_args()
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
    print_table([TITLES, *(cells(row, flops) for row in rows)], args.markdown)
    print()
    print(f'features  {shape} (T x C x H x W), batch {args.batch}, fp32, '
          f'{environment["device"]}, {environment["threads"]} threads, torch '
          f'{environment["torch"]}')
    print(f'G         {"a multiply-add counts one" if flops == 1 else COUNTS_TWO}; '
          'layers: of convolution and linear layers')
    print('          only, as the papers count; all: with matrix products, as executed')
    print('ms        median; +- half the distance of the quartiles; ratios are taken '
          'within a round')
    print('MiB       peak beyond parameters and input')
    if any(row.paper for row in rows):
        print('paper     parameters and FLOPs of layers, 2 a multiply-add; its figure '
              'for concatenation is that of 2x2x2')
    for row in rows:
        if row.note:
            print(f'{row.block} {row.sub_sampling}: {row.note}')
    if args.json:
        args.json.write_text(json.dumps({
            'shape': str(shape), 'batch': args.batch, 'dtype': 'float32',
            'environment': environment, 'rows': [row.as_dict() for row in rows]},
            indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
