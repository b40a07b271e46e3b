"""A table of a paper: its rows, the runs they stand for, the paper's own numbers.

``tables/<name>.yml`` holds one each::

    name: iccv3                       # as the file
    title: COSAM after different blocks
    source: Subramaniam et al., ICCV 2019, Table 3
    numbers_from: ...                 # where the paper's numbers were read, if any were
    task: reid                        # or action, cost, masks
    metrics: [mAP, R1]                # columns
    note: ...                         # optional; {missing} tells that numbers are
    baseline: resnet50_tp_mars        # optional: a row's run, or its demo
    rows:
    - group: ResNet50                 # optional
      label: COSAM_4
      run: resnet50_cosam4_tp_mars    # stem of a config; may be left out with demo
      test: [--rerank]                # optional: further arguments of tools/test.py
      part: cosam_layer3              # optional: of masks, the map that the row is of
      paper: {mAP: 0.0}               # optional: only what is at hand
      demo: resnet14_cosam4_tp_demo   # optional: the counterpart on synthetic data
"""
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import yaml

TASKS = ('reid', 'action', 'cost', 'masks')
# The data sets of the papers, and synthetic ones, which anybody can generate.
DATA = ('paper', 'demo')
_PERCENTAGE = re.compile(r'(\w+_)?(top\d+|mean1|mAP|mINP|R\d+|AUC(_\w+)?|IoU)')
_MISSING = (
    'The numbers that are missing were not on hand when this file was written, nor was '
    'the order of the numbered tables: the content is one of those that the paper '
    'reports, the number that it bears there may be another one.')
_FILE_ENDING = re.compile(r'\.(py|ya?ml|json|csv|txt)$')


def is_percentage(metric: str) -> bool:
    """Whether a metric is given in per cent.

    >>> is_percentage('rerank_mAP'), is_percentage('params_M')
    (True, False)
    """
    return _PERCENTAGE.fullmatch(metric) is not None


@dataclass(frozen=True)
class Row:
    """A row of a table, as in the file: one run and what the paper says of it."""
    label: str
    run: str = ''
    group: str = ''
    test: tuple[str, ...] = ()
    part: str = ''
    paper: dict[str, float] = field(default_factory=dict)
    demo: str = ''

    @property
    def full_label(self) -> str:
        """The label, behind the group where there is one."""
        return f'{self.group}: {self.label}' if self.group else self.label

    def test_arguments(self, data: str) -> tuple[str, ...]:
        """Of the test on 'paper' or on 'demo' data, which have one split."""
        return tuple(word for word in self.test
                     if data == 'paper' or word != '--all-splits')

    def record_name(self, data: str) -> str:
        """The record that holds what was measured for this row; '' for none.

        It is the run's name, and what sets the test apart where it has arguments.

        >>> Row('a', 'x', test=('--cross-dataset', 'configs/reid/y.py')
        ...     ).record_name('paper')
        'x+cross-dataset+y'
        """
        name = self.run if data == 'paper' else self.demo
        words = [re.sub(r'[^\w.=-]', '_', _FILE_ENDING.sub('', Path(word).name)
                        .lstrip('-')) for word in self.test_arguments(data)]
        return '+'.join([name, *words]) if name else ''

    def metric_name(self, metric: str) -> str:
        """The name that a record gives a metric of the table.

        >>> Row('a', 'x', test=('--rerank',)).metric_name('mAP')
        'rerank_mAP'
        >>> Row('a', demo='x', part='cosam_layer3').metric_name('IoU')
        'cosam_layer3_IoU'
        """
        words = (self.part, 'rerank' if '--rerank' in self.test else '', metric)
        return '_'.join(filter(None, words))


@dataclass(frozen=True)
class Table:
    """A table of a paper, as in its file; what is optional there is '' here."""
    name: str
    title: str
    source: str
    task: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    numbers_from: str = ''
    note: str = ''
    baseline: str = ''

    @property
    def baseline_row(self) -> Optional[Row]:
        """The first row of the run that is the baseline, one plainly tested if any."""
        rows = [row for row in self.rows
                if self.baseline and self.baseline in (row.run, row.demo)]
        return min(rows, key=lambda row: len(row.test), default=None)


def read_yaml(path: Path) -> dict:
    """A mapping from a YAML file; ValueError if it holds something else."""
    if not path.is_file():
        raise FileNotFoundError(f'The file {path} does not exist.')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no YAML: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} must hold a mapping, got {content!r}.')
    return content


def load_table(path: Path) -> Table:
    """Read a table from its YAML file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not what the head of this module describes. The message
            names the file, and the row.
    """
    content = read_yaml(path)
    try:
        rows = tuple(_row(row, number) for number, row
                     in enumerate(content.pop('rows', []), start=1))
        metrics = tuple(content.pop('metrics', ()))
        content['note'] = content.get('note', '').replace('{missing}', _MISSING)
        table = Table(rows=rows, metrics=metrics, **{
            key: value.strip() for key, value in content.items()})
        _check(table, path.stem)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f'{path}: {error}') from error
    return table


def _row(content: dict, number: int) -> Row:
    """A row of a file; the message of an error names it."""
    try:
        row = Row(**{**content, 'test': tuple(content.get('test', ()))})
    except (TypeError, AttributeError) as error:
        raise ValueError(f'row {number}: {error}') from error
    if not (row.run or row.demo):
        raise ValueError(f'row {number} ({row.label}) needs a run on the data of the '
                         'paper, a demo on synthetic data, or both')
    return row


def _check(table: Table, stem: str) -> None:
    """Refuse a table that contradicts itself or its file."""
    if table.name != stem:
        raise ValueError(f'the name must be that of the file, got {table.name!r}')
    if table.task not in TASKS:
        raise ValueError(f'the task must be one of {TASKS}, got {table.task!r}')
    if not table.rows or not table.metrics:
        raise ValueError('a table needs rows and metrics')
    for row in table.rows:
        unknown = sorted(set(row.paper).difference(table.metrics))
        if unknown:
            raise ValueError(f'row {row.label!r} has numbers of the paper for '
                             f'{unknown}, the metrics are {list(table.metrics)}')
    if table.baseline and table.baseline_row is None:
        raise ValueError(f'the baseline {table.baseline!r} is the run of no row')
    if not table.numbers_from and any(row.paper for row in table.rows):
        raise ValueError("numbers_from must name the source of the paper's numbers")
