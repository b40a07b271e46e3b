"""What was measured in a run, for as many seeds as it was run with.

``results/<data>/<run>.json`` holds one each. Records are kept with the code, so their
text depends on what they say alone: keys are sorted, numbers are rounded, and each
list of scores has a line.
"""
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from cosam_mm.utils.io import write_text

from .table import DATA


@dataclass(frozen=True)
class SeedResult:
    """What one seed gave."""
    metrics: dict[str, float]    # percentages where is_percentage() of a table says so
    # Scores of the test items in [0, 1], in the order of the test: 'AP' of the queries,
    # 'correct' of the clips; None where an item is not evaluated.
    items: dict[str, Sequence[Optional[float]]] = field(default_factory=dict)
    seconds: float = 0.          # of training and test


@dataclass(frozen=True)
class Record:
    """What was measured in a run, and what must be known to measure it again."""
    run: str                               # its name; the file's stem
    data: str                              # 'paper' or 'demo'
    task: str                              # 'reid', 'action', 'masks' or 'cost'
    config: str                            # path in the repository
    options: dict[str, Any]                # changes of the config, by dotted key
    synthetic: Optional[dict[str, Any]]    # options of the data; None: the paper's
    start: str                             # run whose last weights it starts with
    command: str                           # repeats the run
    versions: dict[str, str]               # of the packages that matter
    seeds: dict[int, SeedResult]           # with the same metrics and items

    @property
    def seconds(self) -> float:
        """Of all seeds."""
        return math.fsum(result.seconds for result in self.seeds.values())

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was measured."""
        return tuple(next(iter(self.seeds.values())).metrics)

    def values(self, metric: str, seeds: Optional[Sequence[int]] = None) -> np.ndarray:
        """(S,) a metric, by default of all seeds in ascending order."""
        return np.array([self.seeds[seed].metrics[metric]
                         for seed in seeds or sorted(self.seeds)])

    def item_scores(self, name: str, seeds: Sequence[int]) -> Optional[np.ndarray]:
        """(S, Q) scores 'AP' or 'correct' of the test items; None if it has none.

        NaN stands where an item is not evaluated.
        """
        results = [self.seeds[seed].items for seed in seeds]
        if name not in results[0]:
            return None
        return np.array([items[name] for items in results], dtype=float)


def load_record(path: Path) -> Record:
    """Read a record.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no record. The message names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no record {path}.')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if 'draw' in content:  # its name before 0.2
            content['synthetic'] = content.pop('draw')
        content['seeds'] = {int(seed): SeedResult(**result)
                            for seed, result in content['seeds'].items()}
        record = Record(**content)
        _check(record, path.stem)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f'{path} is no record: {error}') from error
    return record


def _check(record: Record, stem: str) -> None:
    """Refuse a record of another name, of no seed, or of seeds that do not match."""
    if record.run != stem or record.data not in DATA or not record.seeds:
        raise ValueError(f'it needs the run {stem!r}, data among {DATA} and at least '
                         f'one seed, got {record.run!r}, {record.data!r} and '
                         f'{list(record.seeds)}')
    shapes = {(*sorted(result.metrics),
               *sorted((name, len(own)) for name, own in result.items.items()))
              for result in record.seeds.values()}
    if len(shapes) > 1:
        raise ValueError('all seeds must have the same metrics and items')


def save_record(record: Record, path: Path) -> None:
    """Write a record to ``<run>.json``; equal records give equal files.

    Metrics and scores are rounded to four digits, seconds to one.

    Raises:
        ValueError: It is not what :func:`load_record` would read.
    """
    _check(record, path.stem)
    content = asdict(record)
    content['seeds'] = {
        str(seed): _rounded(dict(metrics=result.metrics, items=result.items))
        | {'seconds': _rounded(result.seconds, 1)}
        for seed, result in record.seeds.items()}
    write_text(path, f'{_text(content)}\n')


def _rounded(value: Any, digits: int = 4) -> Any:
    """Numbers as they are written: short, and None for a score that is not there."""
    if isinstance(value, Mapping):
        return {key: _rounded(one, digits) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one, digits) for one in value]
    if value is None or value != value:
        return None
    value = round(float(value), digits)
    return int(value) if value.is_integer() else value


def _text(value: Any, indent: str = '') -> str:
    """JSON with a line for each key, in order, and for each list."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = indent + '  '
    # Numbers by their size, before names.
    keys = sorted(value, key=lambda key: (0, int(key), '') if key.isdecimal()
                  else (1, 0, key))
    lines = [f'{inner}{json.dumps(key, ensure_ascii=False)}: {_text(value[key], inner)}'
             for key in keys]
    return '{\n' + ',\n'.join(lines) + f'\n{indent}}}'
