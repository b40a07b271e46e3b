"""Tables of the papers beside what was measured, as text, as Markdown, and as a page.

On the data of the paper each metric has the paper's number, the measured one and their
difference. Synthetic data are another data set: there each metric has what was
measured, and how far it is from the baseline's. Nothing of the paper is shown as
measured.

The page is written from tables, records, plots and notes alone: the same ones give the
same page.
"""
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..text_table import text_table
from .bootstrap import paired_difference
from .plots import Plot
from .record import Record
from .table import Row, Table, is_percentage

_NOTHING = '\N{EN DASH}'
_OTHER_DATA = ("Synthetic data are another data set than the paper's: compare the "
               "rows, not the numbers with the paper's.")
# What rounding of the scores in a record can make of a mean, in percentage points.
_ROUNDING = 0.02
_MARKUP = re.compile(r'([\\`*<&|~]|\](?=\()|(?<!\w)_|_(?!\w))')
_OVERVIEW = 'overview'  # the note on all tables together, which stands first
_HEADINGS = dict(demo='On synthetic data', paper='On the data of the paper')
_HEAD = """\
# Results

Written by `python -m projects.reproduction --page` from the records in `results`, and
from nothing else: what has no record is not run. The texts that interpret them come
from `results/notes`.
"""


@dataclass(frozen=True)
class Presented:
    """A table of texts."""
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_texts: int                     # columns of words; those behind hold numbers
    notes: tuple[str, ...] = ()        # lines below it
    not_run: tuple[str, ...] = ()      # names of records that do not exist yet


def present(table: Table, records: Mapping[str, Record], data: str) -> Presented:
    """Put a table together with what was measured for it on 'paper' or 'demo' data.

    Raises:
        ValueError: A record is one of the other data, or has scores of items that do
            not fit its metrics or the baseline's.
    """
    names = list(dict.fromkeys(row.record_name(data) for row in table.rows
                               if row.record_name(data)))
    measured = {name: records[name] for name in names if name in records}
    for name, record in measured.items():
        if record.data != data:
            raise ValueError(f'The record {name} was measured on {record.data!r} data, '
                             f'not on {data!r} data.')
    make = _on_paper_data if data == 'paper' else _on_synthetic_data
    header, rows, num_texts, notes = make(table, measured)
    return Presented(f'{table.title} ({table.source})', tuple(header), tuple(rows),
                     num_texts, tuple(note for note in notes if note),
                     tuple(name for name in names if name not in measured))


def _on_paper_data(table: Table, measured: Mapping[str, Record]) -> tuple:
    """Header, rows, number of text columns, and notes."""
    texts = ['group', 'row'] if any(row.group for row in table.rows) else ['row']
    header = [*texts, *(f'{metric} {what}' for metric in table.metrics for what in
                        ('paper', 'measured', 'difference')), 'seeds']
    rows, group = [], ''
    for row in table.rows:
        record = measured.get(row.record_name('paper'))
        cells = ['' if row.group == group else row.group, row.label][-len(texts):]
        group = row.group
        for metric in table.metrics:
            cells += _paper_cells(row, metric, record, _digits(table, metric))
        rows.append((*cells, _num_seeds(record)))
    origin = f"The paper's numbers: {table.numbers_from}."
    notes = (table.note, origin if any(row.paper for row in table.rows) else '',
             _explain(table, measured), 'Differences are measured - paper.')
    return header, rows, len(texts), notes


def _paper_cells(row: Row, metric: str, record: Optional[Record], digits: int
                 ) -> list[str]:
    """The paper's number, the measured one, their difference."""
    expected, name = row.paper.get(metric), row.metric_name(metric)
    has_both = expected is not None and record is not None and name in record.metrics
    return ['not on hand' if expected is None else f'{expected:.{digits}f}',
            _measured(record, name, digits),
            _signed(record.values(name).mean() - expected, digits) if has_both
            else _NOTHING]


def _on_synthetic_data(table: Table, measured: Mapping[str, Record]) -> tuple:
    """Header, rows, number of text columns, and notes."""
    baseline = table.baseline_row
    has_baseline = baseline is not None and bool(baseline.demo)
    has_paper_rows = any(row.run for row in table.rows)
    header = ['row of the paper' if has_paper_rows else 'row', 'run']
    for metric in table.metrics:
        header += [metric, f'{metric} from baseline'] if has_baseline else [metric]
    rows = []
    for row, label in _synthetic_rows(table):
        name = row.record_name('demo')
        record, cells = measured.get(name), [label, name]
        for metric in table.metrics:
            digits = 1 if is_percentage(metric) else 2
            cells.append(_measured(record, row.metric_name(metric), digits))
            if has_baseline:
                cells.append(_baseline_cell(row, baseline, metric, measured, digits))
        rows.append((*cells, _num_seeds(record)))
    left_out = [row.full_label for row in table.rows if not row.demo]
    notes = (
        table.note, _OTHER_DATA if has_paper_rows else '', _explain(table, measured),
        f'Differences are from {baseline.record_name("demo")}, seed by seed; in '
        'brackets, where single scores are kept, is a 95 % interval of a bootstrap '
        'over seeds and test items.' if has_baseline else '',
        f'Without a counterpart on synthetic data: {", ".join(left_out)}.'
        if left_out else '')
    return (*header, 'seeds'), rows, 2, notes


def _synthetic_rows(table: Table) -> list[tuple[Row, str]]:
    """(first, labels of all) of the rows that show the same of the same run."""
    rows: dict[tuple, list[Row]] = {}
    for row in table.rows:
        if row.demo:
            rows.setdefault((row.record_name('demo'), row.part), []).append(row)
    return [(same[0], '; '.join(dict.fromkeys(row.full_label for row in same)))
            for same in rows.values()]


def _baseline_cell(row: Row, baseline: Row, metric: str,
                   measured: Mapping[str, Record], digits: int) -> str:
    """How far a row is from the baseline."""
    names = [each.record_name('demo') for each in (row, baseline)]
    if names[0] == names[1]:
        return 'baseline'
    metrics = [each.metric_name(metric) for each in (row, baseline)]
    if any(name not in measured or own not in measured[name].metrics
           for name, own in zip(names, metrics)):
        return _NOTHING
    records = [measured[name] for name in names]
    if records[0].synthetic != records[1].synthetic:
        return 'other data'
    seeds = sorted(set(records[0].seeds) & set(records[1].seeds))
    if not seeds:
        return _NOTHING
    ours, theirs = (record.values(own, seeds) for record, own in zip(records, metrics))
    mean = float((ours - theirs).mean())
    bounds = _bounds(records, metrics, seeds, mean)
    shown = [_signed(bound, digits) for bound in bounds]
    return _signed(mean, digits) + (f' [{", ".join(shown)}]' if shown else '')


def _bounds(records: Sequence[Record], metrics: Sequence[str], seeds: Sequence[int],
            mean: float) -> tuple[float, ...]:
    """Of a difference; empty where scores of single items do not make the metric."""
    names = [metric.replace('mAP', 'AP').replace('top1', 'correct')
             for metric in metrics]
    scores = [record.item_scores(name, seeds) for record, name in zip(records, names)]
    if any(own is None for own in scores):
        return ()
    runs = ' and '.join(record.run for record in records)
    try:
        interval = paired_difference(*scores)
    except ValueError as error:
        raise ValueError(f'{runs} cannot be compared item by item: {error}') from error
    if abs(interval.mean - mean) > _ROUNDING:
        raise ValueError(
            f'The scores of single items in {runs} differ by {interval.mean:.3f} on '
            f'average, but their {metrics[0]} by {mean:.3f}.')
    return interval.low, interval.high


# -- cells -----------------------------------------------------------------------------


def _digits(table: Table, metric: str) -> int:
    """Of a metric's numbers: as many as the paper gives, at most two."""
    if not is_percentage(metric):
        return 2
    given = [row.paper[metric] for row in table.rows if metric in row.paper]
    return max([1, *(len(f'{number:.2f}'.rstrip('0').partition('.')[2])
                     for number in given)])


def _measured(record: Optional[Record], metric: str, digits: int) -> str:
    """Mean of a metric over the seeds, and their deviation if there are several."""
    if record is None:
        return 'not run'
    if metric not in record.metrics:
        return 'not measured'
    values = record.values(metric)
    mean = f'{values.mean():.{digits}f}'
    return mean if len(values) == 1 else \
        f'{mean} \N{PLUS-MINUS SIGN} {values.std(ddof=1):.{digits}f}'


def _signed(number: float, digits: int) -> str:
    """A difference, with its sign; none where it is 0 when rounded."""
    text = f'{number:+.{digits}f}'
    return text[1:] if not text.strip('+-0.') else text


def _num_seeds(record: Optional[Record]) -> str:
    return '0' if record is None else str(len(record.seeds))


def _explain(table: Table, measured: Mapping[str, Record]) -> str:
    """Units, and the meaning of the deviation."""
    shares = list(filter(is_percentage, table.metrics))
    texts = []
    if shares:
        texts.append('Metrics are in per cent.' if len(shares) == len(table.metrics)
                     else f'{", ".join(shares)} are in per cent.')
    if any(len(record.seeds) > 1 for record in measured.values()):
        texts.append('After \N{PLUS-MINUS SIGN} stands the sample standard deviation '
                     'over the seeds.')
    return ' '.join(texts)


# -- text and Markdown -----------------------------------------------------------------


def as_text(presented: Presented) -> str:
    """For a terminal: aligned columns."""
    lines = [presented.header, *presented.rows]
    notes = ['', *presented.notes] if presented.notes else []
    return '\n'.join([presented.title, '', text_table(lines, presented.num_texts),
                      *notes]) + '\n'


def as_markdown(presented: Presented) -> str:
    """The table alone, without title and notes; no cell is markup.

    >>> print(as_markdown(Presented('T', ('row', 'mAP'), (('a|b', '1.0'),), 1)))
    | row | mAP |
    |:---|---:|
    | a\\|b | 1.0 |
    <BLANKLINE>
    """
    rule = [':---' if number < presented.num_texts else '---:'
            for number in range(len(presented.header))]
    header, *rows = (f'| {" | ".join(map(_plain, cells))} |'
                     for cells in (presented.header, *presented.rows))
    return '\n'.join([header, f'|{"|".join(rule)}|', *rows]) + '\n'


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r'\\\1', ' '.join(text.split()))


# -- page ------------------------------------------------------------------------------


def results_page(tables: Sequence[Table], records: Mapping[str, Mapping[str, Record]],
                 plots: Mapping[str, Plot], notes: Mapping[str, str]) -> str:
    """Markdown of ``results.md``.

    Args:
        tables: In the order of the page.
        records: By data, 'demo' and 'paper', then by name; those of no table come last.
        plots: By table.
        notes: Markdown by table, and on all together by 'overview'.

    Raises:
        ValueError: Plots or notes belong to no table.
    """
    names = [table.name for table in tables]
    unknown = sorted({*plots, *notes}.difference(names, [_OVERVIEW]))
    if unknown:
        raise ValueError(f'There are plots or notes on {unknown}, which are no tables; '
                         f'the tables are {names}.')
    parts = [_HEAD, _summary([record for of_data in records.values()
                              for record in of_data.values()])]
    if _OVERVIEW in notes:
        parts.append(f'{notes[_OVERVIEW]}\n')
    for table in tables:
        parts += [f'## {_plain(f"{table.name}: {table.title}")}\n',
                  f'{_plain(table.source).rstrip(".")}. '
                  f'{_plain(table.note)}'.rstrip() + '\n']
        for data in _HEADINGS:
            parts += _part(table, records[data], data)
        if table.name in plots:
            plot = plots[table.name]
            parts.append(f'![{_plain(plot.alt)}]({plot.path})\n')
        if table.name in notes:
            parts.append(f'{notes[table.name]}\n')
    parts.append(_others(tables, records))
    return '\n'.join(part for part in parts if part)


def _summary(records: Sequence[Record]) -> str:
    """How much was run, and with what."""
    if not records:
        return 'Nothing is run yet.\n'
    num_seeds = sum(len(record.seeds) for record in records)
    lines = [f'{_count(len(records), "record")} of {_count(num_seeds, "run")}, which '
             f'took {_duration(records)} in all.']
    counts: dict[str, int] = {}
    for record in records:
        versions = ', '.join(f'{name} {record.versions[name]}'
                             for name in sorted(record.versions))
        counts[versions] = counts.get(versions, 0) + 1
    lines += [f'{"Versions" if len(counts) == 1 else _count(count, "record")}: '
              f'{_plain(versions)}.'
              for versions, count in sorted(counts.items()) if versions]
    return '\n\n'.join(lines) + '\n'


def _part(table: Table, records: Mapping[str, Record], data: str) -> list[str]:
    """Heading, table and what belongs to it; little where nothing is run."""
    presented = present(table, records, data)
    names = dict.fromkeys(row.record_name(data) for row in table.rows)
    used = [records[name] for name in names if name in records]
    not_run = (f'ot run ({len(presented.not_run)}): '
               f'{", ".join(f"`{name}`" for name in presented.not_run)}.\n')
    if not used:
        return [f'{_HEADINGS[data]}: n{not_run}'] if presented.not_run else []
    remarks = [_plain(note) for note in presented.notes if note != table.note]
    return [f'### {_HEADINGS[data]}\n', as_markdown(presented),
            f'{" ".join(remarks)}\n', _commands(used),
            f'These took {_duration(used)}.\n',
            f'N{not_run}' if presented.not_run else '']


def _others(tables: Sequence[Table], records: Mapping[str, Mapping[str, Record]]
            ) -> str:
    """What was run beside the tables; '' where nothing was."""
    others = [record for data in sorted(records)
              for name, record in sorted(records[data].items())
              if not any(row.record_name(data) == name
                         for table in tables for row in table.rows)]
    if not others:
        return ''
    rows = tuple(
        (record.run, record.data, ', '.join(
            f'{name} {_measured(record, name, 1 if is_percentage(name) else 2)}'
            for name in sorted(record.metrics)), _num_seeds(record))
        for record in others)
    return '\n'.join(['## Other runs\n', as_markdown(Presented(
        '', ('run', 'data', 'metrics', 'seeds'), rows, 3)), _commands(others)])


def _commands(records: Sequence[Record]) -> str:
    """What repeats these runs, in a block."""
    commands = dict.fromkeys(record.command for record in records)
    return '```bash\n' + ''.join(f'{command}\n' for command in commands) + '```\n'


def _count(number: int, noun: str) -> str:
    return f'{number:,} {noun}{"" if number == 1 else "s"}'


def _duration(records: Sequence[Record]) -> str:
    """How long all took, in the two units that matter."""
    # Exact, so that the order of the records does not matter.
    seconds = round(math.fsum(record.seconds for record in records))
    if seconds < 60:
        return f'{seconds} s'
    if seconds < 3600:
        return f'{seconds // 60} min {seconds % 60} s'
    return f'{seconds // 3600} h {seconds % 3600 // 60} min'
