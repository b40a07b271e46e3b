"""``python -m projects.fault_injection [NAME]``: list the loops, or run one."""
import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from cosam_mm.utils.cli import positive_int
from projects.attention_study.measurement import describe_environment

from .trials import Options, summarize

_TRAININGS = ('action', 'reid')
# Name -> module, families, and what it injects. The module has a function of that name
# that yields trials; it is imported when it runs.
LOOPS = {
    'annotations': ('annotations', ('lists', 'hmdb51', 'ucf101', 'mars', 'ilids',
                                    'tracklets', 'tracks'),
                    'lists, split files and indices broken at random'),
    'hostile': ('hostile', ('code', 'configs', 'sizes', 'damage', 'deletion', 'names',
                            'pipes'),
                'files of strangers, given to every tool and class'),
    'kills': ('interruptions', _TRAININGS,
              'SIGKILL at any moment of a training, which is resumed'),
    'processes': ('interruptions', _TRAININGS,
                  'two processes: one or the launcher is killed, or all are stopped'),
    'refusals': ('interruptions', _TRAININGS,
                 'a disk that takes no checkpoint for a while'),
    'stops': ('interruptions', _TRAININGS, 'SIGTERM and Ctrl-C at any time'),
    'videos': ('videos', ('synthetic', 'given', 'training'),
               'video files broken at random, pipes, endless playlists'),
}


def make_parser():
    listed = '\n'.join(f'  {name:<12}{line}' for name, (*_, line) in LOOPS.items())
    parser = argparse.ArgumentParser(
        prog='python -m projects.fault_injection', epilog=f'loops:\n{listed}',
        description='Injects faults on purpose and checks that nothing is lost. Exit '
        'status 1 if something is.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('loop', nargs='?', choices=tuple(LOOPS), metavar='NAME',
                        help='which (default: list them)')
    parser.add_argument('--count', type=positive_int, default=3, metavar='N',
                        help='faults in each family (default: %(default)s)')
    parser.add_argument('--families', nargs='+', metavar='FAMILY',
                        help='only these (default: all)')
    parser.add_argument('--seed', type=int, default=0,
                        help='of moments and positions (default: %(default)s)')
    parser.add_argument('--folder', type=Path, metavar='DIR',
                        help='keep data and results here (default: a temporary one)')
    parser.add_argument('--clips', type=Path, metavar='DIR',
                        help='videos: break the clips below this folder, too')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results')
    return parser


def main():
    parser = make_parser()
    args = parser.parse_args()
    if args.loop is None:
        for name, (*_, line) in LOOPS.items():
            print(f'{name:<12}{line}')
        return
    module, families, _ = LOOPS[args.loop]
    for family in args.families or ():
        if family not in families:
            parser.error(f'{args.loop} has no family {family!r}: choose from '
                         f'{", ".join(families)}')
    # Small models gain nothing from more threads, and their number changes the sums.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    module = importlib.import_module(f'{__package__}.{module}')
    run = getattr(module, args.loop)
    start, trials = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        options = Options(args.count, tuple(args.families or families), args.seed,
                          folder.absolute(), args.clips)
        for trial in run(options):
            trials.append(trial)
            print(f'{len(trials):4}  {trial.family}: {trial.fault}: '
                  f'{trial.problem or trial.outcome or "nothing lost"}', flush=True)
    print(f'\n{getattr(module, "summarize", summarize)(trials)}')
    print(f'done in {time.perf_counter() - start:.0f} s', file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps({
            'loop': args.loop, 'count': args.count, 'seed': args.seed,
            'environment': describe_environment('cpu'), 'tried': len(trials),
            'lost': sum(trial.problem is not None for trial in trials),
            'trials': [asdict(trial) for trial in trials]}, indent=2) + '\n',
            encoding='utf-8')
    if any(trial.problem for trial in trials):
        sys.exit(1)


if __name__ == '__main__':
    main()
