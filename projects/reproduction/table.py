"""A table of a paper: its rows, the runs they stand for, the paper's own numbers.

``configs/tables/<name>.yml`` holds one each::

    name: iccv3                       # as the file
    title: Where COSAM stands
    source: Subramaniam et al., ICCV 2019, Table 3
    numbers_from: ...                 # where the paper's numbers were read, if any were
    task: reid                        # or action, cost, masks
    metrics: [mAP, R1]                # columns
    note: ...                         # optional
    baseline: resnet50_tp_mars        # optional: a row's run, or its demo
    rows:
    - group: ResNet50                 # optional
      label: COSAM_4
      run: resnet50_cosam4_tp_mars    # stem of a config; may be left out with demo
      test: [--rerank]                # optional: further arguments of tools/test.py
      part: cosam_layer3              # optional: of masks, the map that the row is of
      paper: {mAP: 0.0}               # optional: only what is on hand
      demo: resnet14_cosam4_tp_demo   # optional: the counterpart on drawn data
"""
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from .fields import check_choice, check_keys, check_mapping, check_number, check_text

__all__ = ['DATA', 'TASKS', 'Row', 'Table', 'is_percentage', 'load_table']

TASKS = ('reid', 'action', 'cost', 'masks')
# The data sets of the papers, and the drawn ones, which anybody has.
DATA = ('paper', 'demo')
_TABLE_KEYS = ('name', 'title', 'source', 'task', 'metrics', 'rows')
_OPTIONAL_TABLE_KEYS = ('numbers_from', 'note', 'baseline')
_ROW_KEYS = ('label',)
_OPTIONAL_ROW_KEYS = ('run', 'group', 'test', 'part', 'paper', 'demo')
_PERCENTAGE = re.compile(r'(\w+_)?(top\d+|mean1|mAP|mINP|R\d+|AUC(_\w+)?|IoU)')
_FILE_ENDING = re.compile(r'\.(py|ya?ml|json|csv|txt)$')
_RERANK = '--rerank'
# Drawn data are trained on with several seeds instead.
_ALL_SPLITS = '--all-splits'


def is_percentage(metric: str) -> bool:
    """Whether a metric is given in per cent.

    >>> is_percentage('rerank_mAP'), is_percentage('params_M')
    (True, False)
    """
    return _PERCENTAGE.fullmatch(metric) is not None


@dataclass(frozen=True)
class Row:
    """A row of a table: one run and what the paper says of it.

    Attributes:
        label: What the row is called.
        run: Stem of the config that is trained on the data of the paper; '' for none.
        group: Heading that it stands below; '' for none.
        test: Further arguments of ``tools/test.py``.
        part: Of what the run was rated for, that which the row shows; '' for all.
        paper: Numbers of the paper by metric, those on hand.
        demo: The run on drawn data that is its counterpart; '' for none.
    """
    label: str
    run: str = ''
    group: str = ''
    test: tuple[str, ...] = ()
    part: str = ''
    paper: dict[str, float] = field(default_factory=dict)
    demo: str = ''

    def run_name(self, data: str) -> str:
        """What is trained for this row on 'paper' or on 'demo' data; '' for nothing."""
        return self.run if data == 'paper' else self.demo

    def test_arguments(self, data: str) -> tuple[str, ...]:
        """Of the test on 'paper' or on 'demo' data, which have one split."""
        return tuple(word for word in self.test
                     if data == 'paper' or word != _ALL_SPLITS)

    def record_name(self, data: str) -> str:
        """The record that holds what was measured for this row; '' for none.

        It is the run's name, and what sets the test apart where it has arguments.

        >>> Row('a', 'x', test=('--cross-dataset', 'configs/reid/y.py')
        ...     ).record_name('paper')
        'x+cross-dataset+y'
        """
        name = self.run_name(data)
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
        words = (self.part, 'rerank' if _RERANK in self.test else '', metric)
        return '_'.join(filter(None, words))


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        name: The file's stem.
        title: What it shows.
        source: Which table of which paper.
        task: One of ``TASKS``.
        metrics: The columns.
        rows: In the order of the paper.
        numbers_from: Where the paper's numbers were read; '' where there are none.
        note: What else must be known; '' for nothing.
        baseline: Run of the row that the others are compared with; '' for none.
    """
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


def load_table(path: Union[str, Path]) -> Table:
    """Read a table from its YAML file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no YAML, or not what the head of this module describes. The
            message names the file, and the row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no table {str(path)!r}: they stand in '
                                'configs/tables.')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path}: is no YAML: {error}') from error
    check_keys(content, str(path), _TABLE_KEYS, _OPTIONAL_TABLE_KEYS)
    texts = {key: check_text(content[key], f'{path}: {key}')
             for key in ('name', 'title', 'source')}
    if texts['name'] != path.stem:
        raise ValueError(f'{path}: name must be that of the file, {path.stem!r}, got '
                         f'{texts["name"]!r}.')
    metrics = _strings(content['metrics'], f'{path}: metrics')
    if not metrics or len(set(metrics)) < len(metrics):
        raise ValueError(f'{path}: metrics must be at least one, and different, got '
                         f'{list(metrics)}.')
    table = Table(
        **texts, metrics=metrics, rows=_rows(content['rows'], str(path), metrics),
        task=check_choice(content['task'], f'{path}: task', TASKS),
        **{key: check_text(content.get(key, ''), f'{path}: {key}', True)
           for key in _OPTIONAL_TABLE_KEYS})
    if table.baseline and table.baseline_row is None:
        raise ValueError(f'{path}: baseline must be the run of a row, got '
                         f'{table.baseline!r}.')
    if not table.numbers_from and any(row.paper for row in table.rows):
        raise ValueError(f'{path}: numbers_from must say where the numbers of the '
                         'paper were read.')
    return table


def _rows(content: Any, where: str, metrics: tuple[str, ...]) -> tuple[Row, ...]:
    if not isinstance(content, list) or not content:
        raise ValueError(f'{where}: rows must be a list of at least one row, got '
                         f'{content!r}.')
    return tuple(_row(row, f'{where}: row {number}', metrics)
                 for number, row in enumerate(content, start=1))


def _row(content: Any, where: str, metrics: tuple[str, ...]) -> Row:
    if isinstance(content, dict) and isinstance(content.get('label'), str):
        where = f'{where} ({content["label"]})'
    check_keys(content, where, _ROW_KEYS, _OPTIONAL_ROW_KEYS)
    paper = check_mapping(content.get('paper'), f'{where}: paper', none_is={})
    for metric, number in paper.items():
        check_choice(metric, f'{where}: a metric of paper', metrics)
        paper[metric] = check_number(number, f'{where}: paper, {metric}', 0,
                                     100 if is_percentage(metric) else float('inf'))
    if not (content.get('run') or content.get('demo')):
        raise ValueError(f'{where}: needs a run on the data of the paper, a demo on '
                         'drawn data, or both.')
    return Row(
        check_text(content['label'], f'{where}: label'),
        check_text(content.get('run', ''), f'{where}: run', True),
        group=check_text(content.get('group', ''), f'{where}: group', True),
        test=_strings(content.get('test', []), f'{where}: test'), paper=paper,
        part=check_text(content.get('part', ''), f'{where}: part', True),
        demo=check_text(content.get('demo', ''), f'{where}: demo', True))


def _strings(content: Any, where: str) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(
            isinstance(word, str) and word for word in content):
        raise ValueError(f'{where}: must be a list of texts, got {content!r}.')
    return tuple(content)
