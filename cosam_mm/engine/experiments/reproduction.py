"""Tables, their experiments, and the results that are on record, together.

    configs/tables/<table>.yml      rows: the paper's numbers, names of experiments
    configs/tables/drawn.yml        the experiments on drawn data
    docs/results/<data>/<name>.json results: the only numbers that count as measured
"""
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import mmengine
import numpy as np
import torch

from ...datasets.demo_action import ClutterConfig, draw_action_dataset
from ...datasets.demo_reid import Difficulty, draw_reid_dataset
from ...version import __version__
from .experiment import Experiment, load_drawn, paper_experiment
from .record import Record, SeedResult, load_record, save_record
from .running import Run
from .table import DATA, Row, Table, load_table

__all__ = ['Reproduction', 'draw_data']

DRAWN = 'drawn.yml'


def draw_data(draw: dict, folder: Path) -> Path:
    """Draw the data of an experiment, unless they are there.

    Args:
        draw: ``kind``, 'reid' or 'action'; the rest says how difficult: arguments of
            ``Difficulty`` or of ``ClutterConfig``.
        folder: Folder of all drawn data.

    Returns:
        The data set's folder.

    Raises:
        ValueError: There is no such kind or setting.
    """
    settings = {key: value for key, value in draw.items() if key != 'kind'}
    kinds = dict(reid=(draw_reid_dataset, 'difficulty', Difficulty),
                 action=(draw_action_dataset, 'clutter', ClutterConfig))
    if draw.get('kind') not in kinds:
        raise ValueError(f'draw needs a kind of {tuple(kinds)}, got {draw!r}.')
    function, name, difficulty = kinds[draw['kind']]
    try:
        arguments = {name: difficulty(**settings)} if settings else {}
    except TypeError as error:
        raise ValueError(f'draw {draw!r} does not fit: {error}') from error
    parts = [draw['kind'], *(f'{key}{settings[key]}' for key in sorted(settings))]
    return function(folder / '_'.join(parts), **arguments)


@dataclass(frozen=True)
class Reproduction:
    """All tables of a checkout and the results beside them.

    Args:
        root: Root of the checkout.
        data: 'paper' or 'demo'.
        records: Folder of the results; None: the checkout's.
    """

    root: Path
    data: str = 'paper'
    records: Optional[Path] = None

    def __post_init__(self):
        if self.data not in DATA:
            raise ValueError(f'data must be one of {DATA}, got {self.data!r}.')

    # -- tables --------------------------------------------------------------

    def table_names(self) -> list[str]:
        """Names of all tables."""
        return sorted(path.stem for path in (self.root / 'configs/tables').glob('*.yml')
                      if path.name != DRAWN)

    def table(self, name: str) -> Table:
        """A table by its name.

        Raises:
            ValueError: There is none of that name, or its file is wrong.
        """
        if name not in self.table_names():
            raise ValueError(f'There is no table {name!r}; there are '
                             f'{", ".join(self.table_names())}.')
        return load_table(self.root / 'configs/tables' / f'{name}.yml')

    def experiment(self, row: Row) -> Optional[Experiment]:
        """What a row's results come from; None where it has none on these data.

        Raises:
            FileNotFoundError: Its config is not there.
            ValueError: It is not among the experiments on drawn data.
        """
        if not row.run_name(self.data):
            return None
        if self.data == 'paper':
            return paper_experiment(row, self.root)
        return replace(self.drawn(row.demo), name=row.record_name('demo'),
                       test=row.test)

    def drawn(self, name: str) -> Experiment:
        """An experiment on drawn data by its name.

        Raises:
            ValueError: There is none of that name.
        """
        experiments = self.all_drawn()
        if name not in experiments:
            raise ValueError(f'There is no experiment {name!r} in '
                             f'configs/tables/{DRAWN}.')
        return experiments[name]

    def all_drawn(self) -> dict[str, Experiment]:
        """All experiments on drawn data."""
        return load_drawn(self.root / 'configs/tables' / DRAWN)

    # -- results -------------------------------------------------------------

    def record_file(self, name: str) -> Path:
        """Where an experiment's results are, or will be."""
        folder = self.records or self.root / 'docs/results'
        return folder / self.data / f'{name}.json'

    def record(self, name: str) -> Optional[Record]:
        """The results of an experiment; None where there are none.

        Raises:
            ValueError: The file is damaged.
        """
        file = self.record_file(name)
        return load_record(file) if file.is_file() else None

    def missing_seeds(self, experiment: Experiment, seeds: Sequence[int]) -> list[int]:
        """Seeds that there are no results of.

        Raises:
            ValueError: There are results, but of other options or data.
        """
        record = self.record(experiment.name)
        if record is None:
            return list(seeds)
        now = (experiment.config, experiment.options, experiment.draw)
        then = (record.config, record.options, record.draw)
        if now != then:
            raise ValueError(
                f'{self.record_file(experiment.name)} holds results of other settings: '
                f'{then}; the experiment now is {now}. Remove the file to run it anew.')
        return [seed for seed in seeds if seed not in record.seeds]

    def keep(self, run: Run, result: SeedResult) -> None:
        """Put the results of a run on record.

        Raises:
            ValueError: The record holds results of other versions.
        """
        experiment, versions = run.experiment, measured_with(run.num_threads)
        record = self.record(experiment.name)
        if record is not None and record.versions != versions:
            raise ValueError(
                f'{self.record_file(experiment.name)} was made with '
                f'{record.versions}, this run with {versions}. Keep them apart: '
                '--records names another folder.')
        seeds = dict(record.seeds) if record is not None else {}
        seeds[run.seed] = result
        command = (f'python tools/reproduce.py --data {self.data} '
                   f'--only {shlex.quote(experiment.name)} --run')
        save_record(Record(
            run=experiment.name, data=self.data, task=experiment.task,
            config=experiment.config, options=experiment.options,
            draw=experiment.draw, command=command, versions=versions, seeds=seeds),
            self.record_file(experiment.name))

    def records_of(self, table: Table) -> dict[str, Record]:
        """What is on record for a table's rows, by name."""
        names = {row.record_name(self.data) for row in table.rows}
        found = {name: self.record(name) for name in sorted(names) if name}
        return {name: record for name, record in found.items() if record is not None}


def measured_with(num_threads: int) -> dict:
    """What a result depends on beside its config and seed."""
    device = 'cpu'
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return dict(cosam_mm=__version__, torch=torch.__version__,
                mmengine=mmengine.__version__, numpy=np.__version__,
                python=platform.python_version(),
                device=device, threads=str(num_threads))
