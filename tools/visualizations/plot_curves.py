"""Plot the curves of training runs, several in one plot.

Shows loss, learning rate, validation metrics with the best one marked, time of an
iteration and memory, from the scalars.json that mmengine writes. A resumed run is one
curve.

Examples:
    python tools/visualizations/plot_curves.py work_dirs/resnext14_cosam_bert_demo
    python tools/visualizations/plot_curves.py work_dirs/with work_dirs/without \\
        --names COSAM plain --keys acc/top1 loss --out curves.svg
"""
from pathlib import Path

import cosam_mm  # noqa: F401
from cosam_mm.utils.cli import CommandParser, one_line_errors
from cosam_mm.utils.messages import table_lines
from cosam_mm.visualization.style import save_figure
from cosam_mm.visualization.training_curves import plot_curves, training_curves
from cosam_mm.visualization.training_log import duration, find_runs, read_training_log

SUFFIXES = ('.png', '.svg', '.pdf')
NUM_PROBLEMS_SHOWN = 5


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument('logs', nargs='+', metavar='WORK_DIR_OR_LOG', type=Path,
                        help='work dir of a training, folder of several, or a '
                        'scalars.json')
    parser.add_argument('--names', nargs='+', metavar='NAME',
                        help='what to call the trainings (default: their folders)')
    parser.add_argument('--keys', nargs='+', metavar='KEY',
                        help='what to plot, a panel each, as loss or acc/top1 '
                        '(default: see above)')
    parser.add_argument('--smooth', type=float, metavar='SPAN',
                        help='how far the mean of neighbouring values reaches, in '
                        'epochs, or in iterations where a training counts no epochs; 0 '
                        'plots what was logged (default: 1%% of the longest training)')
    parser.add_argument('--out', type=Path, default=Path('curves.png'),
                        help=f'plot to write: {", ".join(SUFFIXES)} (default: '
                        '%(default)s)')
    args = parser.parse_args()
    if args.out.suffix.lower() not in SUFFIXES:
        parser.error(f'--out must end in {", ".join(SUFFIXES)}, got {args.out}')
    return args


def read_logs(args):
    """The trainings, each with a name of its own.

    Raises:
        FileNotFoundError: A folder or file is not there.
        ValueError: One holds no training, or the names do not go with them.
    """
    runs = [run for path in args.logs for run in find_runs(path)]
    names = args.names or [run.name for run in runs]
    if not args.names and len(set(names)) < len(names):
        names = [str(run.files[0].parent) for run in runs]
    if len(names) != len(runs) or len(set(names)) < len(names):
        raise ValueError(f'{len(runs)} trainings need so many different names, got '
                         f'{names}: {", ".join(run.name for run in runs)}.')
    return [read_training_log(run.files, name) for run, name in zip(runs, names)]


def print_problems(logs):
    for log in logs:
        for problem in log.problems[:NUM_PROBLEMS_SHOWN]:
            print(f'left out: {problem}')
        if len(log.problems) > NUM_PROBLEMS_SHOWN:
            print(f'and {len(log.problems) - NUM_PROBLEMS_SHOWN} more of {log.name}')


def result_rows(logs):
    """What came of each training."""
    rows = []
    for log in logs:
        last = log.train[-1]
        unit = 'epoch' if log.by_epoch else 'iteration'
        best = log.best(log.metrics[0]) if log.metrics else None
        rows.append((
            log.name, f'{getattr(last, unit):.4g} {unit}s' if log.by_epoch
            else f'{last.iteration} {unit}s',
            f'{log.metrics[0]} {best.values[log.metrics[0]]:.4f}' if best else '-',
            f'{unit} {getattr(best, unit):.0f}' if best else '-',
            f'{last.values["loss"]:.4f}' if 'loss' in last.values else '-',
            duration(log.seconds)))
    return rows


def main():
    args = parse_args()
    with one_line_errors():
        logs = read_logs(args)
        figure = plot_curves(*training_curves(logs, args.keys, args.smooth))
    save_figure(figure, args.out)
    print_problems(logs)
    print(*table_lines(('training', 'trained', 'best', 'at', 'last loss',
                        'in iterations'), result_rows(logs)), sep='\n')
    print(f'plot: {args.out}')


if __name__ == '__main__':
    main()
