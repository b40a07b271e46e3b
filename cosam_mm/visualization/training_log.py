"""Read the training logs that mmengine writes.

``LocalVisBackend`` adds a line of JSON to ``scalars.json`` for each training line of
the log, and one for each validation::

    WORK_DIR/20261120_124754/vis_data/scalars.json     the training
    WORK_DIR/20261121_080102/vis_data/scalars.json     the same training, resumed

    {"lr": ..., "loss": ..., "time": ..., "epoch": 2, "iter": 41, "step": 41}
    {"acc/top1": ..., "data_time": ..., "time": ..., "step": 5}

The step of a validation is the epoch, or with ``log_metric_by_epoch=False`` the
iteration. A training that is killed and resumed repeats the iterations since its last
checkpoint. For those, the later log counts.
"""
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

from cosam_mm.utils.io import read_text

__all__ = ['LogRecord', 'RunFiles', 'TrainingLog', 'duration', 'find_runs',
           'group_runs', 'read_training_log']

_LOG_NAME = 'scalars.json'
_TRAIN, _VAL = 'train', 'val'
# Values that say when a line was logged.
_COUNTERS = ('epoch', 'iter', 'step')
_NO_METRIC = ('time', 'data_time', 'memory')
_MAIN_KEYS = ('acc/top1', 'reid/mAP')
_SMALL_IS_GOOD = ('loss', 'error', 'cross_entropy', 'perplexity')


class LogRecord(NamedTuple):
    """One line of a log."""
    kind: str                 # 'train' or 'val'
    iteration: int            # iterations trained until then
    epoch: float              # and epochs, with their fraction; NaN if not counted
    values: dict[str, float]  # by name; NaN where a value is no number


class RunFiles(NamedTuple):
    """The logs of one training."""
    name: str                # of its work dir
    files: tuple[Path, ...]  # oldest first; several if it was resumed


@dataclass(frozen=True)
class TrainingLog:
    """A whole training, however many times it was resumed."""
    name: str                      # for plots and tables
    train: tuple[LogRecord, ...]   # training lines, in order
    val: tuple[LogRecord, ...]     # validations, in order
    num_resumed: int = 0
    problems: tuple[str, ...] = ()  # what could not be read, each with file and line

    @property
    def by_epoch(self) -> bool:
        """Whether it counts epochs."""
        return not any(math.isnan(record.epoch) for record in self.train + self.val)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the values of training, then of validation."""
        return tuple(dict.fromkeys(
            key for record in self.train + self.val for key in record.values))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the validation metrics, the main one first."""
        keys = dict.fromkeys(
            key for record in self.val for key in record.values
            if key not in _NO_METRIC and not key.split('/')[-1].startswith('num_'))
        return tuple(sorted(keys, key=lambda key: key not in _MAIN_KEYS))

    def curve(self, key: str, unit: str = 'iteration') -> tuple[np.ndarray, np.ndarray]:
        """(N,) epochs or iterations and (N,) values of a key that was logged.

        A key of both training and validation, such as the time, is the training's.
        ``unit`` is 'epoch' or 'iteration'.
        """
        train, val = ([record for record in part if key in record.values]
                      for part in (self.train, self.val))
        x, y = np.array([(getattr(record, unit), record.values[key])
                         for record in train or val], np.float64).T
        return x, y

    def best(self, key: str) -> Optional[LogRecord]:
        """The best validation by a metric, the first of equals; None if it has none."""
        records = [record for record in self.val
                   if math.isfinite(record.values.get(key, math.nan))]
        choose = min if any(word in key for word in _SMALL_IS_GOOD) else max
        return choose(records, key=lambda record: record.values[key], default=None)

    @property
    def seconds(self) -> float:
        """Time of the training iterations; NaN if no time was logged.

        Start-up, validations and repeated iterations do not count.
        """
        ends = [record.iteration for record in self.train]
        times = np.array([record.values.get('time', math.nan) for record in self.train])
        if not np.isfinite(times).any():
            return math.nan
        return float(np.nansum(times * np.diff(ends, prepend=0)))


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(3725.4), duration(59.6), duration(float('nan'))
    ('1 h 02 min', '1 min 00 s', 'not logged')
    """
    if not math.isfinite(seconds):
        return 'not logged'
    minutes, rest = divmod(round(seconds), 60)
    hours = f'{minutes // 60:,} h {minutes % 60:02d} min'
    return hours if minutes >= 60 else f'{minutes} min {rest:02d} s'


# -- finding -----------------------------------------------------------------


def find_runs(path: Union[str, Path]) -> list[RunFiles]:
    """Find the trainings whose logs lie in or below a folder, or one by its log file.

    Args:
        path: A work dir, a folder of several, or a file of lines of JSON.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: No log lies below the folder.
    """
    path = Path(path)
    if path.is_file():
        run, = group_runs([path], path.parent)
        return [run if path.parent.name == 'vis_data' else run._replace(name=path.stem)]
    if not path.is_dir():
        raise FileNotFoundError(f'There is no folder or log file {path}.')
    files = sorted(path.rglob(_LOG_NAME))
    if not files:
        raise ValueError(
            f'No {_LOG_NAME} lies below {path}: name the work dir of a training whose '
            'vis_backends have a LocalVisBackend or FaultTolerantVisBackend.')
    return group_runs(files, path)


def group_runs(files: Iterable[Path], root: Path) -> list[RunFiles]:
    """Group log files by training; names are relative to a folder."""
    runs, base = {}, Path(root).resolve()
    for path in map(Path, files):
        parents = path.resolve().parents
        is_inside = parents[0].name == 'vis_data' and len(parents) > 2
        runs.setdefault(parents[2 if is_inside else 0], []).append(path)

    def name(folder: Path) -> str:
        below = folder.relative_to(base).parts if folder.is_relative_to(base) else ()
        return '/'.join((base.name, *below)) if below else folder.name

    # mmengine names a log's folder by its start time. Copies keep that name.
    return [RunFiles(name(folder), tuple(sorted(
        own, key=lambda path: path.resolve().parts[-3:])))
        for folder, own in sorted(runs.items())]


# -- reading -----------------------------------------------------------------


def read_training_log(files: Sequence[Union[str, Path]], name: str) -> TrainingLog:
    """Read the logs of one training.

    Lines that cannot be read are left out and named in ``problems``.

    Args:
        files: Oldest first.
        name: Name for plots and tables.

    Raises:
        ValueError: The files hold no training line.
    """
    problems, kept, parts = [], [], 0
    for path in files:
        for part in _parts(_read_lines(Path(path), problems)):
            records = _records(part)
            first = next((one for one in records if one.kind == _TRAIN), None)
            if first is None:
                problems.append(f'{path}: validations without a training are left out')
                continue
            kept = [one for one in kept if _is_before(one, first)]
            parts += bool(kept)
            kept += records
    if not kept:
        raise ValueError(f'{name}: there is no line of a training in '
                         f'{", ".join([*map(str, files), *problems[:1]])}.')
    train, val = (tuple(one for one in kept if one.kind == kind)
                  for kind in (_TRAIN, _VAL))
    return TrainingLog(name, train, val, parts, tuple(problems))


def _read_lines(path: Path, problems: list[str]) -> list[dict]:
    """The valid lines of a file; says in ``problems`` what is wrong with others."""
    try:
        text = read_text(path, errors='replace')
    except (FileNotFoundError, ValueError) as error:
        problems.append(str(error))
        return []
    lines = []
    for number, line in enumerate(text.split('\n'), start=1):
        if line.strip():
            try:
                lines.append(_parse(line))
            except ValueError as error:
                problems.append(f'{path}, line {number}: {error}')
    return lines


def _parse(line: str) -> dict:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        is_cut = line.startswith('{') and not line.endswith('}')
        raise ValueError('it is cut off' if is_cut else f'{line[:60]!r} is no JSON'
                         ) from None
    if not isinstance(values, dict) or not _is_count(values.get('step')) or not all(
            values.get(key) is None or _is_count(values[key]) for key in _COUNTERS):
        raise ValueError(f'{line[:60]!r} is no line of a training log: step, epoch and '
                         'iter must be whole numbers')
    return values


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) \
        and 0 <= value < 2**53


def _parts(lines: list[dict]) -> list[list[dict]]:
    """Split where training steps go back: another run wrote to the same file."""
    parts, last = [], -1
    for line in lines:
        if not parts or ('iter' in line and line['step'] <= last):
            parts.append([])
        last = line['step'] if 'iter' in line else last
        parts[-1].append(line)
    return parts


def _records(lines: list[dict]) -> list[LogRecord]:
    """Add to each line how far the training was."""
    trained = [line for line in lines if 'iter' in line]
    by_epoch = all(line.get('epoch') for line in trained)
    # The last iteration of an epoch is step / epoch of it; of others it is less.
    per_epoch = max((line['step'] / line['epoch'] for line in trained),
                    default=0) if by_epoch else 0
    records, iteration, epoch = [], 0, math.nan
    for line in lines:
        kind, step = _TRAIN if 'iter' in line else _VAL, line['step']
        if kind == _TRAIN:
            iteration = step
            if by_epoch:
                epoch = min(max(step / per_epoch, line['epoch'] - 1), line['epoch'])
        elif not by_epoch:
            iteration = max(iteration, step)
        elif math.isnan(epoch):  # earlier lines are lost
            iteration, epoch = round(step * per_epoch), float(step)
        # A validation follows the end of an epoch, whose last lines may be missing.
        ended = epoch if kind == _TRAIN else float(np.ceil(epoch))
        records.append(LogRecord(kind, iteration, ended, _numbers(line, kind)))
    return records


def _numbers(line: dict, kind: str) -> dict[str, float]:
    """The logged values; NaN where one is none, or too large for a float."""
    return {key.removeprefix(f'{kind}/'): math.nan if value is None or (
        isinstance(value, int) and abs(value) > sys.float_info.max) else float(value)
        for key, value in line.items()
        if key not in _COUNTERS and not isinstance(value, bool)
        and (value is None or isinstance(value, (int, float)))}


def _is_before(one: LogRecord, resumed: LogRecord) -> bool:
    """Whether a line precedes the point from which a training was resumed."""
    if math.isnan(one.epoch) or math.isnan(resumed.epoch):
        return one.iteration < resumed.iteration
    # An interrupted epoch starts again from its beginning.
    return one.epoch <= math.ceil(resumed.epoch) - 1
