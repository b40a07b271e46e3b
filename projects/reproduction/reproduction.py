"""Tables, their experiments, and the results that are on record, together.

    configs/tables/<table>.yml      rows: the paper's numbers, names of experiments
    configs/tables/drawn.yml        the experiments on drawn data
    docs/results/<data>/<name>.json results: the only numbers that count as measured
"""
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Optional, Union

import mmengine
import numpy
import torch

from cosam_mm.datasets.preparation import (
    index_videos,
    locate_clips,
    parse_hmdb51_splits,
    write_classes,
    write_video_lists,
)
from cosam_mm.datasets.synthetic.action_dataset_files import generate_action_dataset
from cosam_mm.datasets.synthetic.motion_clip import ClutterConfig
from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.datasets.synthetic.walking_tracklet import Difficulty
from cosam_mm.version import __version__
from cosam_mm.visualization.curves import save_figure

from .experiment import Experiment, load_drawn, paper_experiment
from .record import Record, SeedResult, load_record, save_record
from .result_plots import result_plots
from .results_page import make_results_page, read_notes
from .running import Run
from .table import DATA, Row, Table, load_table

__all__ = ['Reproduction', 'draw_data']

DRAWN = 'drawn.yml'


def draw_data(draw: dict, folder: Path) -> Path:
    """Draw the data of an experiment, unless they are there.

    Args:
        draw: ``kind``, 'reid' or 'action'; the rest says how difficult, each from 0 to
            1: clutter and occlusion, of persons accessories and misalignment, too; and
            of clips the ``size``, width and height in pixels, ``clips_per_class``, and
            the ``seed`` of the data.
        folder: Folder of all drawn data.

    Returns:
        The data set's folder.

    Raises:
        ValueError: There is no such kind or difficulty.
    """
    levels = {key: value for key, value in draw.items() if key != 'kind'}
    draw_set = dict(reid=_draw_persons, action=_draw_clips).get(draw.get('kind'))
    if draw_set is None:
        raise ValueError(f"draw needs a kind of 'reid' or 'action', got {draw!r}.")
    parts = [draw['kind'], *(key + _short(levels[key]) for key in sorted(levels))]
    try:
        return draw_set(folder / '_'.join(parts), **levels)
    except TypeError as error:
        raise ValueError(f'draw {draw!r} does not fit: {error}') from error


def _draw_persons(folder: Path, **levels: float) -> Path:
    return generate_reid_dataset(folder, difficulty=Difficulty(**levels))


def _short(value: Union[float, Sequence[int]]) -> str:
    """A level, or a size, as part of a name."""
    return 'x'.join(map(str, value)) if isinstance(value, (list, tuple)) \
        else f'{value:g}'


def _draw_clips(folder: Path, clutter: float = 0.5, occlusion: float = 0.0,
                size: Sequence[int] = (96, 72), clips_per_class: int = 60,
                seed: int = 0) -> Path:
    out = generate_action_dataset(folder, clips_per_class, seed, size=tuple(size),
                                  clutter=ClutterConfig.scaled(clutter),
                                  occlusion=occlusion)
    lists = parse_hmdb51_splits(out / 'splits', name='demo')
    located = locate_clips(lists, index_videos(out / 'videos'))
    write_classes(out, lists)
    write_video_lists(out, lists, located.found)
    return out


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

    def experiment(self, row: Row, task: str) -> Optional[Experiment]:
        """What a row's results come from; None where it has none on these data.

        Args:
            row: Of a table.
            task: Of that table.

        Raises:
            FileNotFoundError: Its config is not there.
            ValueError: It is not among the experiments on drawn data.
        """
        if not row.run_name(self.data):
            return None
        if self.data == 'paper':
            return paper_experiment(row, task, self.root)
        return replace(self.drawn(row.demo), name=row.record_name('demo'),
                       test=self.drawn(row.demo).test
                       + row.test_arguments('demo'))

    def drawn(self, name: str) -> Experiment:
        """An experiment on drawn data by its name.

        Raises:
            ValueError: There is none of that name.
        """
        if name not in self.all_drawn:
            raise ValueError(f'There is no experiment {name!r} in '
                             f'configs/tables/{DRAWN}.')
        return self.all_drawn[name]

    @cached_property
    def all_drawn(self) -> dict[str, Experiment]:
        """All experiments on drawn data; read once, for the file is long."""
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
        now = (experiment.config, experiment.options, experiment.draw, experiment.start)
        then = (record.config, record.options, record.draw, record.start)
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
            draw=experiment.draw, start=experiment.start, command=command,
            versions=versions, seeds=seeds),
            self.record_file(experiment.name))

    def records_of(self, table: Table) -> dict[str, Record]:
        """What is on record for a table's rows, by name."""
        names = {row.record_name(self.data) for row in table.rows}
        found = {name: self.record(name) for name in sorted(names) if name}
        return {name: record for name, record in found.items() if record is not None}

    def write_page(self) -> Path:
        """Write ``docs/results.md``, and its plots, from what is on record.

        Returns:
            The page.
        """
        page = self.root / 'docs/results.md'
        page.write_text(self.page(), encoding='utf-8')
        for each in result_plots(replace(self, data='demo').record).values():
            save_figure(each.draw(), page.parent / each.plot.path)
        return page

    def page(self) -> str:
        """The text of ``docs/results.md``."""
        both = [replace(self, data=data) for data in DATA]
        records = [each.record(file.stem) for each in both for file in
                   sorted(each.record_file('').parent.glob('*.json'))]
        plots = {table: [each.plot] for table, each in
                 result_plots(replace(self, data='demo').record).items()}
        folder = self.records or self.root / 'docs/results'
        return make_results_page([self.table(name) for name in self.table_names()],
                                 records, plots, read_notes(folder / 'notes'))


def measured_with(num_threads: int) -> dict:
    """What a result depends on beside its config and seed."""
    device = 'cpu'
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return dict(cosam_mm=__version__, torch=torch.__version__,
                mmengine=mmengine.__version__, numpy=numpy.__version__,
                python=platform.python_version(),
                device=device, threads=str(num_threads))
