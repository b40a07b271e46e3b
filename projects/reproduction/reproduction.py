"""Tables, their experiments, and the recorded results, together.

    tables/<table>.yml         rows: the paper's numbers, names of experiments
    tables/synthetic.yml       the experiments on synthetic data
    results/<data>/<name>.json results: the only numbers that count as measured
    results/notes/<table>.md   texts on them
    results.md                 the page made of all these
"""
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Optional

import mmengine
import numpy
import torch

from cosam_mm.utils.io import write_text
from cosam_mm.version import __version__
from cosam_mm.visualization.style import save_figure

from .experiment import Experiment, load_synthetic, paper_experiment
from .plots import Plot, result_plots
from .presentation import results_page
from .record import Record, SeedResult, load_record, save_record
from .running import Run
from .table import DATA, Row, Table, load_table

FOLDER = 'projects/reproduction'
_SYNTHETIC = 'synthetic.yml'


@dataclass(frozen=True)
class Reproduction:
    """All tables of a checkout and the results beside them."""

    root: Path
    data: str = 'paper'               # or 'demo'
    records: Optional[Path] = None    # folder of the results; None: the checkout's

    # -- tables --------------------------------------------------------------

    @property
    def _tables(self) -> Path:
        return self.root / FOLDER / 'tables'

    def table_names(self) -> list[str]:
        """Names of all tables."""
        return sorted(path.stem for path in self._tables.glob('*.yml')
                      if path.name != _SYNTHETIC)

    def table(self, name: str) -> Table:
        """A table by its name; ValueError if it is missing or wrong."""
        if name not in self.table_names():
            raise ValueError(f'There is no table {name!r}; there are '
                             f'{", ".join(self.table_names())}.')
        return load_table(self._tables / f'{name}.yml')

    @cached_property
    def all_synthetic(self) -> dict[str, Experiment]:
        """All experiments on synthetic data; read once, for the file is long."""
        return load_synthetic(self._tables / _SYNTHETIC)

    def synthetic(self, name: str) -> Experiment:
        """An experiment on synthetic data by its name; ValueError if it is missing."""
        if name not in self.all_synthetic:
            raise ValueError(f'There is no experiment {name!r} in {_SYNTHETIC}.')
        return self.all_synthetic[name]

    def experiment(self, row: Row, task: str) -> Optional[Experiment]:
        """What a row's results come from; None where it has none on these data.

        Raises:
            FileNotFoundError: Its config is not there.
            ValueError: It is not among the experiments on synthetic data.
        """
        name = row.record_name(self.data)
        if not name:
            return None
        if self.data == 'paper':
            return paper_experiment(row, task, self.root)
        found = self.synthetic(row.demo)
        return replace(found, name=name,
                       test=(*found.test, *row.test_arguments('demo')))

    # -- results -------------------------------------------------------------

    @property
    def _results(self) -> Path:
        return self.records or self.root / FOLDER / 'results'

    def record_file(self, name: str) -> Path:
        """Where an experiment's results are, or will be."""
        return self._results / self.data / f'{name}.json'

    def record(self, name: str) -> Optional[Record]:
        """The results of an experiment; None where there are none."""
        file = self.record_file(name)
        return load_record(file) if file.is_file() else None

    def all_records(self) -> dict[str, Record]:
        """All results on these data, by name."""
        return {file.stem: load_record(file) for file in
                sorted((self._results / self.data).glob('*.json'))}

    def missing_seeds(self, experiment: Experiment, seeds: Sequence[int]) -> list[int]:
        """Seeds without results; ValueError if there are some of other settings."""
        record = self.record(experiment.name)
        if record is None:
            return list(seeds)
        now, then = ((one.config, one.options, one.synthetic, one.start)
                     for one in (experiment, record))
        if now != then:
            raise ValueError(
                f'{self.record_file(experiment.name)} holds results of other settings: '
                f'{then}; the experiment now is {now}. Remove the file to run it anew.')
        return [seed for seed in seeds if seed not in record.seeds]

    def keep(self, run: Run, result: SeedResult) -> None:
        """Add the result of a run to the record; ValueError if versions differ."""
        experiment, versions = run.experiment, _versions(run.num_threads)
        record = self.record(experiment.name)
        if record is not None and record.versions != versions:
            raise ValueError(
                f'{self.record_file(experiment.name)} was made with '
                f'{record.versions}, this run with {versions}. Keep them apart: '
                '--records names another folder.')
        seeds = {**(record.seeds if record else {}), run.seed: result}
        command = (f'python -m projects.reproduction --data {self.data} '
                   f'--only {shlex.quote(experiment.name)} --run')
        save_record(Record(
            run=experiment.name, data=self.data, task=experiment.task,
            config=experiment.config, options=experiment.options,
            synthetic=experiment.synthetic, start=experiment.start, command=command,
            versions=versions, seeds=seeds),
            self.record_file(experiment.name))

    # -- page ----------------------------------------------------------------

    def _plots(self) -> dict[str, Plot]:
        return result_plots(replace(self, data='demo').record)

    def page(self) -> str:
        """The text of ``results.md``."""
        records = {data: replace(self, data=data).all_records() for data in DATA}
        notes = {path.stem: path.read_text(encoding='utf-8').strip()
                 for path in sorted((self._results / 'notes').glob('*.md'))}
        return results_page([self.table(name) for name in self.table_names()], records,
                            self._plots(), notes)

    def write_page(self) -> None:
        """Write ``results.md`` and its plots from the recorded results."""
        write_text(self.root / FOLDER / 'results.md', self.page())
        for plot in self._plots().values():
            save_figure(plot.make(), self.root / FOLDER / plot.path)


def _versions(num_threads: int) -> dict:
    """What a result depends on beside its config and seed."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
    return dict(cosam_mm=__version__, torch=torch.__version__,
                mmengine=mmengine.__version__, numpy=numpy.__version__,
                python=platform.python_version(),
                device=device, threads=str(num_threads))
