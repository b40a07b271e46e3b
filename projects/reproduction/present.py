"""A table of a paper beside what was measured, to be read in any of three forms.

On the data of the paper each metric has the paper's number, the measured one and their
difference. Drawn data are another data set: there each metric has what was measured,
and how far it is from the baseline's. Nothing of the paper is ever shown as measured.
"""
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from cosam_mm.visualization.report import page
from cosam_mm.visualization.report.page import Report, Section, render_page

from .bootstrap import Interval, mean_interval, paired_difference
from .fields import check_choice
from .record import Record
from .table import DATA, Row, Table, is_percentage

__all__ = ['NOT_MEASURED', 'NOT_ON_HAND', 'NOT_RUN', 'Presented', 'as_html',
           'as_markdown', 'as_text', 'plain_markdown', 'present',
           'show_measured']

NOT_ON_HAND = 'not on hand'
NOT_RUN = 'not run'
# Run, but without this metric.
NOT_MEASURED = 'not measured'
_NOTHING = '\N{EN DASH}'
_BASELINE = 'baseline'
_OTHER_DRAW = 'other data'
_OTHER_DATA = ("Drawn data are another data set than the paper's: compare the rows, "
               "not the numbers with the paper's.")
# At the least.
_DIGITS, _DIGITS_OF_COSTS = 1, 2
# What rounding of the scores in a record can make of a mean, in percentage points.
_ROUNDING = 0.02
_MARKUP = re.compile(r'([\\`*<&|~]|\](?=\()|(?<!\w)_|_(?!\w))')


@dataclass(frozen=True)
class Presented:
    """A table of texts.

    Attributes:
        name: Of the table.
        title: Above it.
        header: Names of the columns.
        rows: As many cells each.
        num_texts: So many columns, from the first, hold words; the others, numbers.
        notes: Lines below it.
        not_run: Records that there are none of yet.
    """
    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_texts: int
    notes: tuple[str, ...] = ()
    not_run: tuple[str, ...] = ()


def present(table: Table, records: Mapping[str, Record], data: str) -> Presented:
    """Put a table and what was measured for it together.

    Args:
        table: The table.
        records: By the names of :meth:`~projects.reproduction.table.Row
            .record_name`; those that other tables need may be among them.
        data: 'paper' or 'demo'.

    Raises:
        ValueError: A record is one of the other data, or has scores of items that do
            not fit its metrics or the baseline's.
    """
    check_choice(data, 'data', DATA)
    names = list(dict.fromkeys(row.record_name(data) for row in table.rows
                               if row.record_name(data)))
    found = {name: records[name] for name in names if name in records}
    for name, record in found.items():
        if record.data != data:
            raise ValueError(f'The record {name} was measured on {record.data!r} data, '
                             f'and is to be shown as one of {data!r} data.')
    make = _on_paper_data if data == 'paper' else _on_drawn_data
    header, rows, num_texts, notes = make(table, found)
    return Presented(
        table.name, f'{table.title} ({table.source})', header, rows, num_texts,
        tuple(note for note in notes if note),
        tuple(name for name in names if name not in found))


def _on_paper_data(table: Table, found: Mapping[str, Record]) -> tuple:
    texts = _label_columns(table.rows)
    header = [*texts, *(f'{metric} {what}' for metric in table.metrics for what in
                        ('paper', 'measured', 'difference')), 'seeds']
    rows, group = [], ''
    for row in table.rows:
        record = found.get(row.record_name('paper'))
        cells = [row.label] if len(texts) == 1 else [
            '' if row.group == group else row.group, row.label]
        group = row.group
        for metric in table.metrics:
            cells += _paper_cells(row, metric, record, _digits(table, metric))
        rows.append((*cells, _num_seeds(record)))
    origin = table.numbers_from.rstrip('.')
    notes = (table.note, origin and f"The paper's numbers: {origin}.",
             _explain(table, found.values()), 'Differences are measured - paper.')
    return tuple(header), tuple(rows), len(texts), notes


def _label_columns(rows: Sequence[Row]) -> list[str]:
    return ['group', 'row'] if any(row.group for row in rows) else ['row']


def _paper_cells(row: Row, metric: str, record: Optional[Record], digits: int
                 ) -> list[str]:
    """The paper's number, the measured one, their difference."""
    expected = row.paper.get(metric)
    measured = _mean(record, row.metric_name(metric))
    return [NOT_ON_HAND if expected is None else f'{expected:.{digits}f}',
            show_measured(record, row.metric_name(metric), digits),
            _NOTHING if expected is None or measured is None
            else _signed(measured.mean - expected, digits)]


def _on_drawn_data(table: Table, found: Mapping[str, Record]) -> tuple:
    baseline = table.baseline_row
    has_baseline = baseline is not None and bool(baseline.demo)
    header = ['row of the paper' if _has_paper_rows(table) else 'row', 'run']
    for metric in table.metrics:
        header += [metric, f'{metric} from baseline'] if has_baseline else [metric]
    rows = []
    for row, label in _drawn_rows(table):
        name = row.record_name('demo')
        record, cells = found.get(name), [label, name]
        for metric in table.metrics:
            digits = _digits(table, metric, with_paper=False)
            cells.append(show_measured(record, row.metric_name(metric), digits))
            if has_baseline:
                cells.append(_baseline_cell(row, baseline, metric, found, digits))
        rows.append((*cells, _num_seeds(record)))
    return (*header, 'seeds'), tuple(rows), 2, _drawn_notes(table, found, has_baseline)


def _has_paper_rows(table: Table) -> bool:
    return any(row.run for row in table.rows)


def _drawn_rows(table: Table) -> list[tuple[Row, str]]:
    """(first, labels of all) of the rows that show the same of the same run."""
    rows, labels = {}, {}
    for row in table.rows:
        if row.demo:
            key = row.record_name('demo'), row.part
            rows.setdefault(key, row)
            labels.setdefault(key, []).append(_full_label(row))
    return [(row, '; '.join(dict.fromkeys(labels[key]))) for key, row in rows.items()]


def _full_label(row: Row) -> str:
    return f'{row.group}: {row.label}' if row.group else row.label


def _drawn_notes(table: Table, found: Mapping[str, Record], has_baseline: bool
                 ) -> tuple[str, ...]:
    left_out = [_full_label(row) for row in table.rows if not row.demo]
    notes = [table.note, _OTHER_DATA if _has_paper_rows(table) else '',
             _explain(table, found.values())]
    if has_baseline:
        notes.append(
            f'Differences are from {table.baseline_row.record_name("demo")}, seed by '
            'seed; in brackets, where single scores are kept, is a 95 % interval of a '
            'bootstrap over seeds and test items.')
    if left_out:
        notes.append(f'Without a counterpart on drawn data: {", ".join(left_out)}.')
    return tuple(notes)


def _baseline_cell(row: Row, baseline: Row, metric: str, found: Mapping[str, Record],
                   digits: int) -> str:
    """How far a row is from the baseline."""
    names = [each.record_name('demo') for each in (row, baseline)]
    metrics = [each.metric_name(metric) for each in (row, baseline)]
    if names[0] == names[1]:
        return _BASELINE
    if any(name not in found or own not in found[name].metrics
           for name, own in zip(names, metrics)):
        return _NOTHING
    ours, theirs = (found[name] for name in names)
    if ours.draw != theirs.draw:
        return _OTHER_DRAW
    seeds = sorted(set(ours.seeds) & set(theirs.seeds))
    if not seeds:
        return _NOTHING
    mean = float(np.mean([ours.seeds[seed].metrics[metrics[0]]
                          - theirs.seeds[seed].metrics[metrics[1]] for seed in seeds]))
    interval = _item_interval(ours, theirs, metrics, seeds)
    if interval is None:
        return _signed(mean, digits)
    if abs(interval.mean - mean) > _ROUNDING:
        raise ValueError(
            f'The scores of single items in {ours.run} and {theirs.run} differ by '
            f'{interval.mean:.3f} on average, but their {metric} by {mean:.3f}.')
    return (f'{_signed(mean, digits)} [{_signed(interval.low, digits)}, '
            f'{_signed(interval.high, digits)}]')


def _item_interval(ours: Record, theirs: Record, metrics: Sequence[str],
                   seeds: Sequence[int]) -> Optional[Interval]:
    """None where a record has no scores of single items that make its metric."""
    scores = [record.item_scores(_item_name(metric), seeds)
              for record, metric in zip((ours, theirs), metrics)]
    if any(own is None for own in scores):
        return None
    try:
        return paired_difference(*scores)
    except ValueError as error:
        raise ValueError(f'{ours.run} and {theirs.run} cannot be compared item by '
                         f'item: {error}') from error


def _item_name(metric: str) -> str:
    """Scores of single items whose mean a metric is.

    >>> _item_name('rerank_mAP'), _item_name('top1'), _item_name('R1')
    ('rerank_AP', 'correct', 'R1')
    """
    return metric.replace('mAP', 'AP').replace('top1', 'correct')


# -- cells -----------------------------------------------------------------------------


def _digits(table: Table, metric: str, with_paper: bool = True) -> int:
    """Of a metric's numbers: as many as the paper gives, at most two."""
    if not is_percentage(metric):
        return _DIGITS_OF_COSTS
    given = [row.paper[metric] for row in table.rows
             if with_paper and metric in row.paper]
    return max([_DIGITS, *(len(f'{number:.2f}'.rstrip('0').partition('.')[2])
                           for number in given)])


def _mean(record: Optional[Record], metric: str) -> Optional[Interval]:
    if record is None or metric not in record.metrics:
        return None
    return mean_interval(record.values(metric), num_resamples=1)


def show_measured(record: Optional[Record], metric: str, digits: Optional[int] = None
                  ) -> str:
    """A cell: mean of a metric over the seeds, and their deviation if there are two.

    Args:
        record: None where nothing is run.
        metric: As the record names it.
        digits: Default: one of percentages, two of others.
    """
    if record is None:
        return NOT_RUN
    found = _mean(record, metric)
    if found is None:
        return NOT_MEASURED
    if digits is None:
        digits = _DIGITS if is_percentage(metric) else _DIGITS_OF_COSTS
    mean = f'{found.mean:.{digits}f}'
    return mean if found.num_seeds == 1 else \
        f'{mean} \N{PLUS-MINUS SIGN} {found.deviation:.{digits}f}'


def _signed(number: float, digits: int) -> str:
    """A difference, with its sign; none where it is 0 when rounded."""
    text = f'{number:+.{digits}f}'
    return text[1:] if not text.strip('+-0.') else text


def _num_seeds(record: Optional[Record]) -> str:
    return '0' if record is None else str(len(record.seeds))


def _explain(table: Table, records) -> str:
    units = [] if not any(map(is_percentage, table.metrics)) else [
        'Metrics are in per cent.' if all(map(is_percentage, table.metrics)) else
        f'{", ".join(filter(is_percentage, table.metrics))} are in per cent.']
    if any(len(record.seeds) > 1 for record in records):
        units.append('After \N{PLUS-MINUS SIGN} stands the sample standard deviation '
                     'over the seeds.')
    return ' '.join(units)


# -- forms -----------------------------------------------------------------------------


def as_text(presented: Presented) -> str:
    """For a terminal: columns one below the other."""
    lines = [presented.header, *presented.rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    rule = '  '.join('-' * width for width in widths)
    shown = ['  '.join(
        cell.ljust(width) if number < presented.num_texts else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(line, widths))).rstrip()
        for line in lines]
    return '\n'.join([presented.title, '', shown[0], rule, *shown[1:],
                      *(['', *presented.notes] if presented.notes else [])]) + '\n'


def as_markdown(presented: Presented) -> str:
    """The table alone, without title and notes; no cell is markup.

    >>> print(as_markdown(Presented('t', 'T', ('row', 'mAP'), (('a|b', '1.0'),), 1)))
    | row | mAP |
    |:---|---:|
    | a\\|b | 1.0 |
    <BLANKLINE>
    """
    rule = [':---' if number < presented.num_texts else '---:'
            for number in range(len(presented.header))]
    lines = [_markdown_line(line) for line in (presented.header, *presented.rows)]
    return '\n'.join([lines[0], f'|{"|".join(rule)}|', *lines[1:]]) + '\n'


def _markdown_line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(map(plain_markdown, cells))} |'


def plain_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r'\\\1', ' '.join(text.split()))


def as_html(*presented: Presented, title: str = 'Tables of the papers') -> str:
    """A page that needs nothing but a browser, with a section for each table."""
    sections = []
    for table in presented:
        blocks = [page.table(table.title, table.header, table.rows),
                  *map(page.text, table.notes)]
        key = re.sub(r'[^A-Za-z0-9]+', '-', table.name).strip('-')
        sections.append(Section(f'table-{key}', table.name, blocks=blocks))
    return render_page(Report(title, '', (), sections))
