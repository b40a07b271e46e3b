"""Which person, or which tracklet, carries what: handbag, hat, backpack, ..."""
import csv
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Union

import numpy as np

__all__ = ['Attributes', 'carriers', 'read_attributes']

Attributes = Mapping[Union[int, str], Collection[str]]
"""Names of attributes by pid (int), or by tracklet_id (str)."""


def _read_header(reader: Iterable[list[str]], path: str) -> list[str]:
    header = [name.strip() for name in next(iter(reader), [])]
    if len(header) < 2 or header[0] not in ('pid', 'tracklet_id') or (
            '' in header or len(set(header)) < len(header)):
        raise ValueError(
            f'{path}: the first line must be "pid" or "tracklet_id" and the different '
            f'names of the attributes, separated by commas; got {header}.')
    return header


def _read_row(row: list[str], header: list[str]) -> tuple[Union[int, str], frozenset]:
    if len(row) != len(header):
        raise ValueError(f'{len(row)} fields, the first line has {len(header)}')
    name, *flags = (field.strip() for field in row)
    wrong = [flag for flag in flags if flag not in ('0', '1')]
    if wrong:
        raise ValueError(f'attributes must be 0 or 1, got {wrong[0]!r}')
    if header[0] == 'pid':
        try:
            name = int(name)
        except ValueError:
            raise ValueError(f'pid must be an integer, got {name!r}') from None
    return name, frozenset(
        key for key, flag in zip(header[1:], flags) if flag == '1')


def read_attributes(path: str) -> dict[Union[int, str], frozenset]:
    """Read which person, or which tracklet, carries what.

    Args:
        path: CSV file in UTF-8. First line: ``pid,handbag,hat``, or
            ``tracklet_id,handbag,hat``; the others: a pid (or name of a tracklet),
            then 0 or 1 for each attribute.

    Returns:
        Set of attributes by pid (int), or by tracklet_id (str).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is not as described, or a pid comes twice.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'The attribute file {str(path)!r} does not exist.')
    attributes = {}
    # utf-8-sig: spreadsheets put a mark in front of the first name.
    with open(path, encoding='utf-8-sig', newline='') as file:
        reader = csv.reader(file)
        header = _read_header(reader, str(path))
        for row in filter(any, reader):
            try:
                name, carried = _read_row(row, header)
                if name in attributes:
                    raise ValueError(f'{header[0]} {name!r} comes twice')
            except ValueError as error:
                raise ValueError(f'{path}, line {reader.line_num}: {error}.') from None
            attributes[name] = carried
    if not attributes:
        raise ValueError(f'{path}: there is no line beneath the first.')
    return attributes


def _key_of(attributes: Attributes) -> str:
    """'pid' or 'tracklet_id'."""
    by_pid = {isinstance(key, (int, np.integer)) for key in attributes}
    if len(by_pid) != 1:
        raise ValueError(
            'attributes must have either pids (integers) or names of tracklets '
            f'(strings) as keys, got {list(attributes)[:5]}.')
    for name, carried in attributes.items():
        if isinstance(carried, str):
            raise ValueError(f'attributes of {name!r} must be a set of names, got the '
                             f'string {carried!r}.')
    return 'pid' if by_pid.pop() else 'tracklet_id'


def carriers(attributes: Attributes, features: Mapping[str, np.ndarray]
             ) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Which tracklets carry each attribute, and which ones the table knows.

    Args:
        attributes: Names of attributes by pid, or by tracklet_id.
        features: ``pid`` and ``tracklet_id``, (N,) each.

    Returns:
        (N,) bool by attribute, in the order of their names, for those that somebody
        in the table carries; and (N,) bool, False where the table has no entry.

    Raises:
        ValueError: The table is empty, mixes keys, or knows none of the tracklets.

    Example:
        >>> carried, known = carriers({7: {'hat'}, 9: {'bag'}},
        ...                           dict(pid=np.array([7, 8])))
        >>> {name: flags.tolist() for name, flags in carried.items()}
        {'bag': [False, False], 'hat': [True, False]}
        >>> known.tolist()
        [True, False]
    """
    key = _key_of(attributes)
    own = [attributes.get(name) for name in features[key].tolist()]
    known = np.array([carried is not None for carried in own])
    if not known.any():
        raise ValueError(
            f'None of the {len(own)} queries has its {key} among the '
            f'{len(attributes)} of the attributes: they belong to other data.')
    names = sorted(set().union(*attributes.values()))
    return {name: np.array([name in (carried or ()) for carried in own])
            for name in names}, known
