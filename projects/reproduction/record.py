"""What was measured in a run, for as many seeds as it was run with.

``docs/results/<data>/<run>.json`` holds one each. Records are kept with the code, so
their text depends on what they say alone: keys are sorted, numbers are rounded, and
each list of scores has a line.
"""
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from .fields import check_choice, check_keys, check_mapping, check_number, check_text
from .table import DATA, TASKS

__all__ = ['Record', 'SeedResult', 'load_record', 'save_record']

_KEYS = ('run', 'data', 'task', 'config', 'options', 'draw', 'start', 'command',
         'versions', 'seeds')
_SEED_KEYS = ('metrics', 'items', 'seconds')
_DIGITS, _DIGITS_OF_SECONDS = 4, 1


@dataclass(frozen=True)
class SeedResult:
    """What one seed gave.

    Attributes:
        metrics: By name; percentages where
            :func:`~projects.reproduction.table.is_percentage` says so.
        items: By name a score of each test item, in [0, 1] and in the order of the
            test: 'AP' of the queries, 'correct' of the clips; None where the item is
            not rated.
        seconds: That training and test took.
    """
    metrics: dict[str, float]
    items: dict[str, tuple[Optional[float], ...]] = field(default_factory=dict)
    seconds: float = 0.


@dataclass(frozen=True)
class Record:
    """What was measured in a run, and what must be known to measure it again.

    Attributes:
        run: Its name; the file's stem.
        data: 'paper' or 'demo'.
        task: 'reid', 'action', 'masks' or 'cost'.
        config: Path in the repository.
        options: Options of the config that were changed, by dotted key.
        draw: Parameters of drawn data; None where data are not drawn.
        start: Run whose last weights the training began with; '': as the config says.
        command: Repeats the run.
        versions: Of the packages that matter, by name.
        seeds: Results by seed, which have the same metrics and items.
    """
    run: str
    data: str
    task: str
    config: str
    options: dict[str, Any]
    draw: Optional[dict[str, Any]]
    start: str
    command: str
    versions: dict[str, str]
    seeds: dict[int, SeedResult]

    @property
    def seconds(self) -> float:
        """Of all seeds."""
        return math.fsum(result.seconds for result in self.seeds.values())

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was measured."""
        return tuple(next(iter(self.seeds.values())).metrics)

    def values(self, metric: str) -> np.ndarray:
        """(S,) a metric, by seed in ascending order."""
        return np.array([self.seeds[seed].metrics[metric]
                         for seed in sorted(self.seeds)])

    def item_scores(self, name: str, seeds: Optional[Sequence[int]] = None
                    ) -> Optional[np.ndarray]:
        """(S, Q) scores of the test items; NaN where an item is not rated.

        Args:
            name: 'AP' or 'correct'.
            seeds: Which, in which order; by default all in ascending order.

        Returns:
            None where the record has no such scores.
        """
        results = [self.seeds[seed] for seed in seeds or sorted(self.seeds)]
        if name not in results[0].items:
            return None
        return np.array([result.items[name] for result in results], dtype=float)


# -- reading ---------------------------------------------------------------------------


def load_record(path: Union[str, Path]) -> Record:
    """Read a record.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON, or no record. The message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no record {str(path)!r}.')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: is no JSON: {error}') from error
    record = _record(content, str(path))
    if record.run != path.stem:
        raise ValueError(f'{path}: run must be the name of the file, {path.stem!r}, '
                         f'got {record.run!r}.')
    return record


def _record(content: Any, where: str) -> Record:
    check_keys(content, where, _KEYS)
    draw = content['draw']
    record = Record(
        **{key: check_text(content[key], f'{where}: {key}')
           for key in ('run', 'config', 'command')},
        data=check_choice(content['data'], f'{where}: data', DATA),
        task=check_choice(content['task'], f'{where}: task', TASKS),
        options=check_mapping(content['options'], f'{where}: options'),
        draw=None if draw is None else check_mapping(draw, f'{where}: draw'),
        start=content['start'] and check_text(content['start'], f'{where}: start'),
        versions={key: check_text(value, f'{where}: version of {key}') for key, value in
                  check_mapping(content['versions'], f'{where}: versions').items()},
        seeds=_seeds(check_mapping(content['seeds'], f'{where}: seeds'), where))
    _check_alike(record.seeds, where)
    return record


def _seeds(content: dict[str, Any], where: str) -> dict[int, SeedResult]:
    wrong = [key for key in content if not (key.isdecimal() and key == str(int(key)))]
    if wrong or not content:
        raise ValueError(f'{where}: seeds must be at least one whole number from 0, '
                         f'got {list(content)}.')
    return {int(key): _seed(result, f'{where}: seed {key}')
            for key, result in content.items()}


def _seed(content: Any, where: str) -> SeedResult:
    check_keys(content, where, _SEED_KEYS)
    metrics = check_mapping(content['metrics'], f'{where}: metrics')
    items = check_mapping(content['items'], f'{where}: items')
    return SeedResult(
        {name: check_number(value, f'{where}: metric {name}')
         for name, value in metrics.items()},
        {name: _scores(scores, f'{where}: items {name}')
         for name, scores in items.items()},
        check_number(content['seconds'], f'{where}: seconds', 0))


def _scores(content: Any, where: str) -> tuple[Optional[float], ...]:
    if not isinstance(content, list) or not content:
        raise ValueError(f'{where}: must be a list of at least one score, got '
                         f'{content!r}.')
    return tuple(None if score is None
                 else check_number(score, f'{where}, number {number}', 0, 1)
                 for number, score in enumerate(content))


def _check_alike(seeds: dict[int, SeedResult], where: str) -> None:
    """Refuse seeds that were rated by other metrics, or on other items."""
    first, *others = sorted(seeds)
    for what, look in (
            ('metrics', lambda result: sorted(result.metrics)),
            ('items', lambda result: {name: len(scores) for name, scores
                                      in sorted(result.items.items())})):
        expected = look(seeds[first])
        for seed in others:
            if look(seeds[seed]) != expected:
                raise ValueError(
                    f'{where}: all seeds must have the same {what}, but seed {first} '
                    f'has {expected} and seed {seed} has {look(seeds[seed])}.')


# -- writing ---------------------------------------------------------------------------


def save_record(record: Record, path: Union[str, Path]) -> None:
    """Write a record; a reader meets the old file or the whole new one.

    Equal records give equal files. Metrics and scores are rounded to four digits,
    seconds to one.

    Args:
        record: What to write.
        path: The file, ``<run>.json``; its folder is made.

    Raises:
        ValueError: It is not what :func:`load_record` would read.
    """
    path = Path(path)
    content = _content(record)
    # Before anything is written: what is here now could be the work of days.
    if _record(content, str(path)).run != path.stem:
        raise ValueError(f'{path}: the file of this record must be named '
                         f'{record.run}.json.')
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        partial.write_text(f'{_text(content)}\n', encoding='utf-8')
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _content(record: Record) -> dict[str, Any]:
    seeds = {str(seed): dict(
        metrics={name: _rounded(value) for name, value in result.metrics.items()},
        items={name: [_rounded(score) for score in scores]
               for name, scores in result.items.items()},
        seconds=_rounded(result.seconds, _DIGITS_OF_SECONDS))
        for seed, result in record.seeds.items()}
    return {**{key: getattr(record, key) for key in _KEYS}, 'seeds': seeds}


def _rounded(number: Optional[float], digits: int = _DIGITS) -> Any:
    """A number as it is written: short, and None for a score that is not there."""
    if number is None or number != number:
        return None
    number = round(float(number), digits)
    return int(number) if number.is_integer() else number


def _text(value: Any, indent: str = '') -> str:
    """JSON with a line for each key, in order, and for each list."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = indent + '  '
    lines = [f'{inner}{json.dumps(key, ensure_ascii=False)}: {_text(value[key], inner)}'
             for key in sorted(value, key=_order)]
    return '{\n' + ',\n'.join(lines) + f'\n{indent}}}'


def _order(key: str) -> tuple[int, int, str]:
    """Numbers by their size, before names."""
    return (0, int(key), '') if key.isdecimal() else (1, 0, key)
