"""Reproduce the papers' tables: ``python tools/reproduce.py --table iccv3 --list``."""
import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import cosam_mm  # noqa: F401
from cosam_mm.utils.cli import one_line_errors
from cosam_mm.utils.progress import progress_bar
from projects.reproduction.experiment import Experiment, experiment_config
from projects.reproduction.present import as_html, as_markdown, as_text, present
from projects.reproduction.reproduction import Reproduction, draw_data
from projects.reproduction.running import Run, prepare_run, run_all
from projects.reproduction.table import DATA

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ('text', 'markdown', 'html')
DEFAULT_SEEDS = {'paper': 1, 'demo': 5}


def parse_args():
    parser = argparse.ArgumentParser(
        description="Run the experiments of the papers' tables, and print the tables "
        'with what was measured beside what the papers say.',
        epilog='Results are kept in docs/results: what is there is not run again.')
    parser.add_argument('--table', nargs='+', metavar='NAME', default=[],
                        help='names of tables, or all; without --list, --run and '
                        '--print their names are listed')
    parser.add_argument('--only', nargs='+', metavar='EXPERIMENT', default=[],
                        help='these experiments, of the tables or of all')
    parser.add_argument(
        '--data', choices=DATA, default='paper',
        help='the data sets of the papers (default), or drawn ones, with small models')
    parser.add_argument('--list', action='store_true',
                        help='show the experiments, their commands and seeds that are '
                        'on record')
    parser.add_argument('--run', action='store_true', help='run what is missing')
    parser.add_argument('--print', action='store_true', help='print the tables')
    parser.add_argument('--format', choices=FORMATS, default='text',
                        help='of the printed tables (default: text)')
    parser.add_argument('--page', action='store_true',
                        help='write docs/results.md anew from the results')
    parser.add_argument('--seeds', type=int, metavar='N',
                        help='run seeds 0 to N - 1 of each (default: 5 on drawn data, '
                        '1 on the papers\')')
    parser.add_argument('--max-parallel', type=int, metavar='N',
                        help='trainings at a time (default: one; on drawn data one '
                        'for each core)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reproduce'),
                        help='folder of trainings and drawn data (default: '
                        'work_dirs/reproduce)')
    parser.add_argument('--records', type=Path,
                        help='folder of the results (default: docs/results)')
    args = parser.parse_args()
    for name in ('seeds', 'max_parallel'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    if args.seeds is None:
        args.seeds = DEFAULT_SEEDS[args.data]
    if args.max_parallel is None:
        args.max_parallel = (os.cpu_count() or 1) if args.data == 'demo' else 1
    return args


def chosen_experiments(args, reproduction: Reproduction) -> dict[str, Experiment]:
    """The experiments that the command line names, each once, in order."""
    found = {}
    for table in map(reproduction.table, chosen_tables(args, reproduction)):
        for row in table.rows:
            experiment = reproduction.experiment(row, table.task)
            if experiment:
                found.setdefault(experiment.name, experiment)
    if args.data == 'demo' and not args.table:
        found.update(reproduction.all_drawn)
    unknown = sorted(set(args.only) - set(found))
    if unknown:
        raise ValueError(f'There is no experiment {unknown[0]!r} on the {args.data} '
                         'data; --list shows them.')
    return {name: found[name] for name in args.only} if args.only else found


def chosen_tables(args, reproduction: Reproduction) -> list[str]:
    """Names of the tables that the command line names; all where it names none."""
    names = reproduction.table_names()
    if not args.table or args.table == ['all']:
        return names
    for name in args.table:
        reproduction.table(name)
    return args.table


def list_tables(reproduction: Reproduction) -> None:
    """Print the names of the tables."""
    for name in reproduction.table_names():
        table = reproduction.table(name)
        print(f'{name:22}{table.title} ({table.source})')


def list_experiments(args, reproduction: Reproduction) -> None:
    """Print the experiments, their commands, and what is on record."""
    for name, experiment in chosen_experiments(args, reproduction).items():
        record = reproduction.record(name)
        seeds = sorted(map(int, record.seeds)) if record else []
        state = f'seeds {", ".join(map(str, seeds))}' if seeds else 'not run'
        print(f'{name}  ({state})')
        print(f'    {experiment.config}'
              + ''.join(f' {key}={value}' for key, value in experiment.options.items()))
        print(f'    python tools/reproduce.py --data {args.data} --only '
              f'{shlex.quote(name)} --seeds {args.seeds} --run')


def missing_runs(args, reproduction: Reproduction) -> Iterator[Run]:
    """What is not on record, one seed of all before the next."""
    experiments = list(chosen_experiments(args, reproduction).values())
    missing = {experiment.name: reproduction.missing_seeds(
        experiment, range(args.seeds)) for experiment in experiments}
    threads = max(1, (os.cpu_count() or 1) // args.max_parallel)
    work_dir = args.work_dir.resolve()
    # looked for, and written out, once and not once a run
    folders: dict[str, Path] = {}
    configs: dict[str, str] = {}

    def drawn(draw: Optional[dict]) -> Optional[Path]:
        if draw is None:
            return None
        key = repr(sorted(draw.items()))
        if key not in folders:
            folders[key] = draw_data(draw, work_dir / 'drawn')
        return folders[key]

    def prepared(experiment: Experiment, seed: int) -> Run:
        start = prepared(reproduction.drawn(experiment.start), seed) \
            if experiment.start else None
        roots = map(drawn, (experiment.train_draw, experiment.test_draw))
        if experiment.name not in configs:
            configs[experiment.name] = experiment_config(experiment, ROOT).pretty_text
        return prepare_run(experiment, seed, configs[experiment.name], work_dir, *roots,
                           threads, start)

    for seed in range(args.seeds):
        for experiment in experiments:
            if seed in missing[experiment.name]:
                yield prepared(experiment, seed)


def run_missing(args, reproduction: Reproduction) -> int:
    """Run what is not on record; the exit status."""
    runs = list(missing_runs(args, reproduction))
    if not runs:
        print('nothing to run: all is on record')
        return 0
    with progress_bar(what='trainings', unit='training', total=len(runs)) as bar:
        def report(run, result):
            reproduction.keep(run, result)
            bar.update()
            bar.write(f'{run.experiment.name}, seed {run.seed}: {result.seconds:.0f} s')
        failed = run_all(runs, ROOT, args.max_parallel, report)
    for run, reason in failed:
        print(f'error: {run.experiment.name}, seed {run.seed}: {reason}',
              file=sys.stderr)
    return 1 if failed else 0


def print_tables(args, reproduction: Reproduction) -> None:
    """Print the tables with what is on record."""
    presented = [
        present(table, reproduction.records_of(table), args.data)
        for table in map(reproduction.table, chosen_tables(args, reproduction))]
    if args.format == 'html':
        print(as_html(*presented))
    else:
        show = as_markdown if args.format == 'markdown' else as_text
        print('\n\n'.join(map(show, presented)))


def interrupt(number, frame):
    """SIGTERM as Ctrl-C: what runs stops with a checkpoint."""
    raise KeyboardInterrupt


def main():
    args = parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    status = 0
    with one_line_errors():
        reproduction = Reproduction(ROOT, args.data, args.records)
        if not (args.list or args.run or args.print or args.page):
            list_tables(reproduction)
        if args.list:
            list_experiments(args, reproduction)
        try:
            if args.run:
                status = run_missing(args, reproduction)
        except KeyboardInterrupt:
            print('stopped; the same command goes on', file=sys.stderr)
            status = 130
        if args.print:
            print_tables(args, reproduction)
        if args.page:
            reproduction.write_page()
    sys.exit(status)


if __name__ == '__main__':
    main()
