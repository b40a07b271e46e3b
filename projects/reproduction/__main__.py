"""Reproduce the papers' tables: ``python -m projects.reproduction --table iccv3``."""
import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import cosam_mm  # noqa: F401
from cosam_mm.utils.cli import one_line_errors, positive_int
from cosam_mm.utils.progress import progress_bar

from .experiment import Experiment, experiment_config, generate_data
from .presentation import as_markdown, as_text, present
from .reproduction import Reproduction
from .running import Run, prepare_run, run_all
from .table import DATA

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_SEEDS = {'paper': 1, 'demo': 5}


def parse_args(arguments=None):
    parser = argparse.ArgumentParser(
        prog='python -m projects.reproduction',
        description="Run the experiments of the papers' tables, and print the tables "
        'with what was measured beside what the papers say.',
        epilog='Experiments with results are skipped.')
    parser.add_argument('--table', nargs='+', metavar='NAME', default=[],
                        help='names of tables, or all; without --list, --run and '
                        '--print their names are listed')
    parser.add_argument('--only', nargs='+', metavar='EXPERIMENT', default=[],
                        help='these experiments, of the tables or of all')
    parser.add_argument(
        '--data', choices=DATA, default='paper',
        help='the data sets of the papers (default), or synthetic ones, with small '
        'models')
    parser.add_argument('--list', action='store_true',
                        help='show the experiments, their commands and the seeds with '
                        'results')
    parser.add_argument('--run', action='store_true', help='run what is missing')
    parser.add_argument('--print', action='store_true', help='print the tables')
    parser.add_argument('--format', choices=('text', 'markdown'), default='text',
                        help='of the printed tables (default: text)')
    parser.add_argument('--page', action='store_true',
                        help='write results.md from the results')
    parser.add_argument('--seeds', type=positive_int, metavar='N',
                        help='run seeds 0 to N - 1 of each (default: 5 on synthetic '
                        "data, 1 on the papers')")
    parser.add_argument('--max-parallel', type=positive_int, metavar='N',
                        help='trainings at a time (default: one; on synthetic data one '
                        'for each core)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reproduce'),
                        help='folder of trainings and synthetic data (default: '
                        'work_dirs/reproduce)')
    parser.add_argument('--records', type=Path,
                        help='folder of the results (default: results, beside this '
                        'file)')
    args = parser.parse_args(arguments)
    if args.seeds is None:
        args.seeds = DEFAULT_SEEDS[args.data]
    if args.max_parallel is None:
        args.max_parallel = (os.cpu_count() or 1) if args.data == 'demo' else 1
    return args


def chosen_tables(args, reproduction: Reproduction) -> list:
    """The tables that the command line names; all where it names none."""
    names = args.table if args.table and args.table != ['all'] else \
        reproduction.table_names()
    return [reproduction.table(name) for name in names]


def chosen_experiments(args, reproduction: Reproduction) -> dict[str, Experiment]:
    """The experiments that the command line names, each once, in order."""
    found = {}
    for table in chosen_tables(args, reproduction):
        for row in table.rows:
            if experiment := reproduction.experiment(row, table.task):
                found.setdefault(experiment.name, experiment)
    if args.data == 'demo' and not args.table:
        found.update(reproduction.all_synthetic)
    unknown = sorted(set(args.only) - set(found))
    if unknown:
        raise ValueError(f'There is no experiment {unknown[0]!r} on the {args.data} '
                         'data; --list shows them.')
    return {name: found[name] for name in args.only} if args.only else found


def list_experiments(args, reproduction: Reproduction) -> None:
    """Print the experiments, their commands, and the seeds with results."""
    for name, experiment in chosen_experiments(args, reproduction).items():
        record = reproduction.record(name)
        seeds = ', '.join(map(str, sorted(record.seeds))) if record else ''
        print(f'{name}  ({f"seeds {seeds}" if seeds else "not run"})')
        print(f'    {experiment.config}'
              + ''.join(f' {key}={value}' for key, value in experiment.options.items()))
        print(f'    python -m projects.reproduction --data {args.data} --only '
              f'{shlex.quote(name)} --seeds {args.seeds} --run')


def missing_runs(args, reproduction: Reproduction) -> Iterator[Run]:
    """What has no result, one seed of all before the next."""
    experiments = list(chosen_experiments(args, reproduction).values())
    missing = {experiment.name: reproduction.missing_seeds(
        experiment, range(args.seeds)) for experiment in experiments}
    threads = max(1, (os.cpu_count() or 1) // args.max_parallel)
    work_dir = args.work_dir.resolve()
    # Data and configs are made once, and not once a run.
    made: dict[str, Any] = {}

    def data_folder(options: Optional[dict]) -> Optional[Path]:
        if options is None:
            return None
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = generate_data(options, work_dir / 'synthetic')
        return made[key]

    def prepared(experiment: Experiment, seed: int) -> Run:
        start = prepared(reproduction.synthetic(experiment.start), seed) \
            if experiment.start else None
        roots = map(data_folder, (experiment.train_data, experiment.test_data))
        name = experiment.name
        if name not in made:
            made[name] = experiment_config(experiment, reproduction.root).pretty_text
        return prepare_run(experiment, seed, made[name], work_dir, *roots, threads,
                           start)

    for seed in range(args.seeds):
        for experiment in experiments:
            if seed in missing[experiment.name]:
                yield prepared(experiment, seed)


def run_missing(args, reproduction: Reproduction) -> int:
    """Run what has no result; the exit status."""
    runs = list(missing_runs(args, reproduction))
    if not runs:
        print('nothing to run: all experiments have results')
        return 0
    with progress_bar(what='trainings', unit='training', total=len(runs)) as bar:
        def report(run, result):
            reproduction.keep(run, result)
            bar.update()
            bar.write(f'{run.experiment.name}, seed {run.seed}: {result.seconds:.0f} s')
        failed = run_all(runs, reproduction.root, args.max_parallel, report)
    for run, reason in failed:
        print(f'error: {run.experiment.name}, seed {run.seed}: {reason}',
              file=sys.stderr)
    return 1 if failed else 0


def interrupt(number, frame):
    """A signal as Ctrl-C: what runs stops with a checkpoint."""
    raise KeyboardInterrupt


def main(arguments=None, root: Path = ROOT) -> None:
    """The command; ``root`` is the checkout that holds tables and results."""
    args = parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    status = 0
    with one_line_errors():
        reproduction = Reproduction(root, args.data, args.records)
        if not (args.list or args.run or args.print or args.page):
            for table in map(reproduction.table, reproduction.table_names()):
                print(f'{table.name:22}{table.title} ({table.source})')
        if args.list:
            list_experiments(args, reproduction)
        try:
            if args.run:
                status = run_missing(args, reproduction)
        except KeyboardInterrupt:
            print('stopped; the same command resumes', file=sys.stderr)
            status = 130
        if args.print:
            records, show = reproduction.all_records(), \
                as_markdown if args.format == 'markdown' else as_text
            print('\n\n'.join(show(present(table, records, args.data))
                              for table in chosen_tables(args, reproduction)))
        if args.page:
            reproduction.write_page()
    sys.exit(status)


if __name__ == '__main__':
    main()
