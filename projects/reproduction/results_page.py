"""The page of all results, written from records alone.

The same tables, records, plots and notes give the same page: it bears no date, and says
nothing that is not in one of them.
"""
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

from .present import Presented, as_markdown, plain_markdown, present, show_measured
from .record import Record
from .table import DATA, Table

__all__ = ['Plot', 'make_results_page', 'read_notes', 'show_seconds']

# The note on all tables together, which stands first.
_OVERVIEW = 'overview'
_HEADINGS = dict(demo='On drawn data', paper='On the data of the paper')
_HEAD = """\
# Results

Written by `tools/reproduce.py` from the records in `docs/results`, and from nothing
else: what has no record is not run. The texts that interpret them come from
`docs/results/notes`.
"""


class Plot(NamedTuple):
    """A picture of the page.

    Attributes:
        path: From the page's folder, with slashes.
        alt: What it shows, for those who do not see it.
    """
    path: str
    alt: str


def read_notes(folder: Union[str, Path]) -> dict[str, str]:
    """Texts that people wrote on tables, by the table's name.

    Args:
        folder: Holds ``<table>.md``, and ``overview.md`` on all of them; no such folder
            means no texts.
    """
    return {path.stem: path.read_text(encoding='utf-8').strip()
            for path in sorted(Path(folder).glob('*.md'))}


def make_results_page(tables: Sequence[Table], records: Sequence[Record],
                      plots: Optional[Mapping[str, Sequence[Plot]]] = None,
                      notes: Optional[Mapping[str, str]] = None) -> str:
    """Markdown of ``docs/results.md``.

    Args:
        tables: In the order of the page.
        records: Of both kinds of data; those of no table come last.
        plots: By table.
        notes: Markdown by table, as of :func:`read_notes`.

    Raises:
        ValueError: Plots or notes belong to no table; two tables have the same name or
            two records the same place; or records contradict each other.
    """
    plots, notes = plots or {}, notes or {}
    by_data = _by_data(records)
    _check_names([table.name for table in tables], plots, notes)
    parts = [_HEAD, _summary(records)]
    if _OVERVIEW in notes:
        parts.append(f'{notes[_OVERVIEW]}\n')
    for table in tables:
        parts += _section(table, by_data, plots.get(table.name, ()),
                          notes.get(table.name, ''))
    parts.append(_others(tables, records))
    return '\n'.join(part for part in parts if part)


def _by_data(records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    found: dict[str, dict[str, Record]] = {data: {} for data in DATA}
    for record in records:
        if record.run in found[record.data]:
            raise ValueError(f'There are two records {record.run!r} of {record.data!r} '
                             'data.')
        found[record.data][record.run] = record
    return found


def _check_names(names: Sequence[str], plots: Mapping, notes: Mapping) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f'Tables must have different names, got {names}.')
    for what, given, known in (('plots', plots, names),
                               ('notes', notes, [*names, _OVERVIEW])):
        unknown = sorted(set(given).difference(known))
        if unknown:
            raise ValueError(f'There are {what} on {unknown}, which are no tables; '
                             f'tables are {names}.')


# -- parts -----------------------------------------------------------------------------


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
              f'{plain_markdown(versions)}.'
              for versions, count in sorted(counts.items()) if versions]
    return '\n\n'.join(lines) + '\n'


def _section(table: Table, by_data: Mapping[str, Mapping[str, Record]],
             plots: Sequence[Plot], note: str) -> list[str]:
    """Drawn data come first: anybody can run them."""
    parts = [f'## {plain_markdown(f"{table.name}: {table.title}")}\n',
             f'{_sentence(table.source)} {plain_markdown(table.note)}'.rstrip() + '\n']
    for data in ('demo', 'paper'):
        parts += _part(table, by_data[data], data)
    parts += [f'![{plain_markdown(plot.alt)}]({plot.path})\n' for plot in plots]
    return [*parts, f'{note}\n'] if note else parts


def _part(table: Table, records: Mapping[str, Record], data: str) -> list[str]:
    """Heading, table and what belongs to it; little where nothing is run."""
    presented = present(table, records, data)
    names = [row.record_name(data) for row in table.rows]
    used = [records[name] for name in dict.fromkeys(names) if name in records]
    if not used:
        return [f'{_HEADINGS[data]}: not run{_list_of(presented.not_run)}.\n'] \
            if presented.not_run else []
    remarks = [plain_markdown(note) for note in presented.notes if note != table.note]
    return [f'### {_HEADINGS[data]}\n', as_markdown(presented),
            f'{" ".join(remarks)}\n', _commands(used),
            f'These took {_duration(used)}.\n',
            f'Not run{_list_of(presented.not_run)}.\n' if presented.not_run else '']


def _others(tables: Sequence[Table], records: Sequence[Record]) -> str:
    """What was run beside the tables; '' where nothing was."""
    used = {(data, row.record_name(data)) for table in tables for row in table.rows
            for data in DATA}
    others = sorted((record for record in records
                     if (record.data, record.run) not in used),
                    key=lambda record: (record.data, record.run))
    if not others:
        return ''
    rows = tuple((record.run, record.data, _all_figures(record), str(len(record.seeds)))
                 for record in others)
    return '\n'.join(['## Other runs\n', as_markdown(Presented(
        '', '', ('run', 'data', 'metrics', 'seeds'), rows, 3)), _commands(others)])


def _all_figures(record: Record) -> str:
    return ', '.join(f'{metric} {show_measured(record, metric)}'
                     for metric in sorted(record.metrics))


def _list_of(names: Sequence[str]) -> str:
    return f' ({len(names)}): {", ".join(f"`{name}`" for name in names)}'


def _commands(records: Sequence[Record]) -> str:
    commands = dict.fromkeys(record.command for record in records)
    return '```bash\n' + ''.join(f'{command}\n' for command in commands) + '```\n'


def _sentence(text: str) -> str:
    return plain_markdown(text).rstrip('.') + '.'


def _count(number: int, noun: str) -> str:
    """A number of things.

    >>> _count(1, 'run'), _count(1200, 'run')
    ('1 run', '1,200 runs')
    """
    return f'{number:,} {noun}{"" if number == 1 else "s"}'


def _duration(records: Sequence[Record]) -> str:
    # Exact, so that the order of the records does not matter.
    return show_seconds(math.fsum(record.seconds for record in records))


def show_seconds(seconds: float) -> str:
    """A length of time in the two units that matter.

    >>> [show_seconds(seconds) for seconds in (59.4, 61, 3599, 7260)]
    ['59 s', '1 min 1 s', '59 min 59 s', '2 h 1 min']
    """
    seconds = round(seconds)
    if seconds < 60:
        return f'{seconds} s'
    if seconds < 3600:
        return f'{seconds // 60} min {seconds % 60} s'
    return f'{seconds // 3600} h {seconds % 3600 // 60} min'
