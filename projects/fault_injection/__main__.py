"""``python -m projects.fault_injection [NAME]``: list the loops, or run one."""
import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from .harness import Options, descriptions, load_loop, save, summarize


def make_parser(names):
    listed = '\n'.join(f'  {name:<12}{line}' for name, line in names.items())
    parser = argparse.ArgumentParser(
        prog='python -m projects.fault_injection', epilog=f'loops:\n{listed}',
        description='Injects faults on purpose and checks that nothing is lost. Exit '
        'status 1 if something is.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('loop', nargs='?', choices=tuple(names), metavar='NAME',
                        help='which (default: list them)')
    parser.add_argument('--count', type=int, default=3, metavar='N',
                        help='faults in each family (default: %(default)s)')
    parser.add_argument('--families', nargs='+', metavar='FAMILY',
                        help='only these (default: all)')
    parser.add_argument('--seed', type=int, default=0,
                        help='of moments and places (default: %(default)s)')
    parser.add_argument('--folder', type=Path, metavar='DIR',
                        help='keep data and results here (default: a temporary one)')
    parser.add_argument('--clips', type=Path, metavar='DIR',
                        help='videos: break the clips below this folder, too')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results')
    return parser


def main():
    names = descriptions()
    parser = make_parser(names)
    args = parser.parse_args()
    if args.loop is None:
        for name, line in names.items():
            print(f'{name:<12}{line}')
        return
    if args.count < 1:
        parser.error(f'--count must be at least 1, got {args.count}')
    # Small models gain nothing from more threads, and their number changes the sums.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    loop = load_loop(args.loop)
    families = tuple(args.families or loop.FAMILIES)
    for family in families:
        if family not in loop.FAMILIES:
            parser.error(f'{args.loop} has no family {family!r}: choose from '
                         f'{", ".join(loop.FAMILIES)}')
    from projects.attention_study.measurement import describe_environment
    start, trials = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        options = Options(args.count, families, args.seed, folder.absolute(),
                          args.clips)
        for trial in loop.run(options):
            trials.append(trial)
            print(f'{len(trials):4}  {trial.family}: {trial.fault}: '
                  f'{trial.problem or trial.outcome or "nothing lost"}', flush=True)
    print('\n' + '\n'.join(summarize(trials)))
    print(f'done in {time.perf_counter() - start:.0f} s', file=sys.stderr)
    if args.json:
        save(args.json, args.loop, options, trials, describe_environment('cpu'))
    if any(trial.problem for trial in trials):
        sys.exit(1)


if __name__ == '__main__':
    main()
