"""A table of a paper: its rows, the runs they stand for, the paper's own numbers.

``tables/<name>.yml`` holds one each::

    title: COSAM after different blocks
    source: Subramaniam et al., ICCV 2019, Table 3    # default: synthetic data
    numbers_from: ...                 # where the paper's numbers were read
    task: reid                        # the default, or action, cost, masks
    metrics: [mAP, R1]                # columns
    note: ...                         # optional; {missing} tells that numbers are
    baseline: resnet50_tp_mars        # optional: a row's run, or its demo
    backbones: {ResNet50: resnet50}   # optional: all rows for each, which begins the
                                      # run; paper is then by backbone, as the runs
    rows:
    - group: ResNet50                 # optional
      label: COSAM_4
      run: resnet50_cosam4_tp_mars    # stem of a config; may be left out with demo
      test: [--rerank]                # optional: further arguments of tools/test.py
      part: cosam_layer3              # optional: of masks, the map that the row is of
      paper: {mAP: 0.0}               # optional: only what is at hand
      demo: resnet14_cosam4_tp_demo   # optional: the counterpart on synthetic data
    - group: COSAM_4,5                # rows of several maps and layers
      demo: resnet14_cosam45_tp_demo_masks
      maps: {COSAM: cosam, Grad-CAM: grad_cam}
      layers: [3, 4]
    - group: as in training           # rows of several demos by label, and of their
      demos: {none: resnet14_tp_demo}         # tests on other data
      difficulties: [clutter, occlusion]
"""
import re
from collections.abc import Iterator, Sequence
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
_NUMBERS_FROM = ('README.md and configs/reid/README.md of this project, which quote '
                 'the papers')
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
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    task: str = 'reid'
    source: str = 'Synthetic data of this project'
    numbers_from: str = _NUMBERS_FROM
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
        entries = content.pop('rows', [])
        if backbones := content.pop('backbones', None):
            entries = [dict(row, group=group, run=f'{backbone}_{row["run"]}',
                            paper=row.get('paper', {}).get(backbone, {}))
                       for group, backbone in backbones.items() for row in entries]
        rows = tuple(Row(**{**row, 'test': tuple(row.get('test', ()))})
                     for entry in entries for row in _expand(**entry))
        metrics = tuple(content.pop('metrics', ()))
        content['note'] = content.get('note', '').replace('{missing}', _MISSING)
        table = Table(path.stem, metrics=metrics, rows=rows, **{
            key: value.strip() for key, value in content.items()})
        _check(table)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f'{path}: {error}') from error
    return table


def _expand(maps: Optional[dict] = None, layers: Sequence[int] = (),
            demos: Optional[dict] = None, difficulties: Sequence[str] = (),
            **row) -> Iterator[dict]:
    """The rows that an entry stands for."""
    if maps:
        for label, part in maps.items():
            for layer in layers:
                of_layer = f', layer {layer}' if len(layers) > 1 else ''
                yield dict(row, label=label + of_layer, part=f'{part}_layer{layer}')
    elif demos:
        tests = [(row['group'], ''), *((f'{name} {level}', f'_{name}{level}')
                                       for name in difficulties for level in (0, 1))]
        for group, suffix in tests:
            for label, demo in demos.items():
                yield dict(row, group=group, label=label, demo=demo + suffix)
    else:
        yield row


def _check(table: Table) -> None:
    """Refuse a table that contradicts itself."""
    if table.task not in TASKS:
        raise ValueError(f'the task must be one of {TASKS}, got {table.task!r}')
    if not table.rows or not table.metrics:
        raise ValueError('a table needs rows and metrics')
    for row in table.rows:
        unknown = sorted(set(row.paper).difference(table.metrics))
        if unknown or not (row.run or row.demo):
            raise ValueError(f'row {row.label!r} needs a run or a demo, and numbers of '
                             f'the paper for {list(table.metrics)}, got {unknown}')
    if table.baseline and table.baseline_row is None:
        raise ValueError(f'the baseline {table.baseline!r} is the run of no row')
