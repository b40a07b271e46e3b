"""``python -m benchmarks``: list them; ``python -m benchmarks NAME``: run one."""
import argparse
import sys
import time
from pathlib import Path

import torch

from projects.attention_study.measurement import describe_environment

from .harness import Options, descriptions, load_benchmark
from .metrics import Results
from .report import describe_metric, describe_results, plot_results


def make_parser(names):
    listed = '\n'.join(f'  {name:<16}{line}' for name, line in names.items())
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks', epilog=f'benchmarks:\n{listed}',
        description='Time and memory as ratios between contenders that run in '
        'alternation in this process.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('benchmark', nargs='?', choices=tuple(names), metavar='NAME',
                        help='which (default: list them)')
    parser.add_argument('--parts', nargs='+', metavar='PART',
                        help='only these parts of it (default: all)')
    parser.add_argument('--quick', action='store_true',
                        help='tiny shapes, to see that it runs; not a measurement')
    parser.add_argument('--device', default='cpu',
                        help='cpu, cuda, cuda:1 (default: %(default)s)')
    parser.add_argument('--threads', type=int, metavar='N',
                        help="threads on the CPU (default: torch's)")
    parser.add_argument('--seconds', type=float, default=10, metavar='S',
                        help='about how long each comparison is timed (default: '
                        '%(default)s); at least 7 rounds')
    parser.add_argument('--seed', type=int, default=0,
                        help='of weights and inputs (default: %(default)s)')
    parser.add_argument('--videos', type=Path, metavar='DIR',
                        help='clips, inference: the videos below this folder')
    parser.add_argument('--checkpoint', type=Path, metavar='FILE',
                        help='inference: trained weights with their config')
    parser.add_argument('--json', type=Path, metavar='FILE',
                        help='write the results; metrics of other parts that the file '
                        'holds are kept')
    parser.add_argument('--plot', type=Path, metavar='FILE',
                        help='plot them (.png, .svg, .pdf)')
    return parser


def chosen_parts(parser, args, module):
    parts = tuple(args.parts or module.PARTS)
    for part in parts:
        if part not in module.PARTS:
            parser.error(f'{args.benchmark} has no part {part!r}: choose from '
                         f'{", ".join(module.PARTS)}')
    return parts


def earlier_results(parser, path, results):
    """What the file holds, which must come from the same circumstances."""
    if path is None or not path.is_file():
        return None
    earlier = Results.load(path)
    difference = earlier.difference(results)
    if difference:
        parser.error(f'{path} holds results of other circumstances '
                     f'({"; ".join(difference)}): name another file')
    return earlier


def main():
    names = descriptions()
    parser = make_parser(names)
    args = parser.parse_args()
    if args.benchmark is None:
        for name, line in names.items():
            print(f'{name:<16}{line}')
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.videos and not args.videos.is_dir():
        parser.error(f'--videos {args.videos}: there is no such folder')
    module = load_benchmark(args.benchmark)
    options = Options(chosen_parts(parser, args, module), args.quick, args.device,
                      args.seconds, args.seed, args.videos, args.checkpoint)
    results = Results(args.benchmark, args.quick, describe_environment(args.device))
    earlier = earlier_results(parser, args.json, results)
    start, part = time.perf_counter(), None
    for metric in module.run(options):
        if metric.part != part:
            part = metric.part
            print(f'\n{part}')
        print(f'  {describe_metric(metric)}', flush=True)
        results.metrics.append(metric)
    print(f'\n{describe_results(results)}')
    print(f'done in {time.perf_counter() - start:.0f} s', file=sys.stderr)
    if earlier is not None:
        results.keep_other_parts(earlier, options.parts)
    if args.json:
        results.save(args.json)
    if args.plot:
        plot_results(results, args.plot)


if __name__ == '__main__':
    main()
