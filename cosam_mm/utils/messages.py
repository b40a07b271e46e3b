"""Parts of messages: a few names of many, one line of an error, a table as text."""
import re
from collections.abc import Iterable

__all__ = ['name_some', 'natural_key', 'one_line', 'table_lines']


def name_some(items: Iterable, most: int = 5, separator: str = ', ') -> str:
    """Name the first of many items and count the rest.

    Args:
        items: Anything that has a text.
        most: How many are named.
        separator: Stands between them: '; ' where items hold commas.

    Example:
        >>> name_some('abcde', most=3)
        'a, b, c and 2 more'
    """
    names = [str(item) for item in items]
    rest = len(names) - most
    return separator.join(names[:most]) + (f' and {rest:,} more' if rest > 0 else '')


def natural_key(name: str) -> list:
    """Sort key that counts: ``img2`` comes before ``img10``.

    Example:
        >>> sorted(['b1', 'a10', 'a2'], key=natural_key)
        ['a2', 'a10', 'b1']
    """
    parts = re.split('([0-9]+)', name)
    parts[1::2] = [(int(number), number) for number in parts[1::2]]
    return parts


def table_lines(header: Iterable[str], rows: Iterable[Iterable]) -> list[str]:
    """A table as text: columns as wide as their widest cell, numbers to the right.

    Example:
        >>> table_lines(['name', 'clips'], [['run', 7], ['walk', 12]])
        ['name  clips', 'run       7', 'walk     12']
    """
    # A terminal would obey what is hidden in a name.
    cells = [[''.join(c if c.isprintable() else '?' for c in str(cell)) for cell in row]
             for row in (header, *rows)]
    columns = []
    for head, *column in zip(*cells):
        width = max(map(len, (head, *column)))
        is_number = all(cell[:1] in '0123456789+-' for cell in column)
        columns.append([cell.rjust(width) if is_number else cell.ljust(width)
                        for cell in (head, *column)])
    return ['  '.join(row).rstrip() for row in zip(*columns)]


def one_line(error: BaseException) -> str:
    """Class and first line of an error, without decord's positions in its source.

    Example:
        >>> one_line(ValueError('no frames\\nstack trace'))
        'ValueError: no frames'
    """
    text = re.sub(r'\[\d\d:\d\d:\d\d\] \S+:\d+: ', '', str(error)).strip()
    lines = text.splitlines() or ['no message']
    return f'{type(error).__name__}: {lines[0][:200]}'
