"""What mmengine wrote down while it trained.

``LocalVisBackend`` adds a line of JSON to ``scalars.json`` for each line of the log of
a training, and one for each validation::

    WORK_DIR/20261120_124754/vis_data/scalars.json     the training
    WORK_DIR/20261121_080102/vis_data/scalars.json     the same one, resumed

    {"lr": ..., "loss": ..., "time": ..., "epoch": 2, "iter": 41, "step": 41}
    {"acc/top1": ..., "data_time": ..., "time": ..., "step": 5}

The step of a validation is the epoch, or with ``log_metric_by_epoch=False`` the
iteration. A training that was killed and resumed repeats what it had done since its
last checkpoint: what was logged later holds, from where it sets in.
"""
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

__all__ = ['Best', 'LogRecord', 'RunFiles', 'TrainingLog', 'find_runs', 'group_runs',
           'is_lower_better', 'read_training_log']

LOG_NAME = 'scalars.json'
TRAIN, VAL = 'train', 'val'
# What tells where a line belongs rather than what was measured.
_PLACES = ('epoch', 'iter', 'step')
_NO_METRIC = ('time', 'data_time', 'memory')
_MAIN_KEYS = ('acc/top1', 'reid/mAP')
_SMALL_IS_GOOD = ('loss', 'error', 'cross_entropy', 'perplexity')


class LogRecord(NamedTuple):
    """One line of a log.

    Attributes:
        kind: 'train' or 'val'.
        iteration: Iterations trained until then.
        epoch: Epochs trained until then, with their fraction; NaN where the training
            does not count epochs.
        values: What was logged, by name; NaN where it was none.
    """
    kind: str
    iteration: int
    epoch: float
    values: dict[str, float]


class RunFiles(NamedTuple):
    """The logs of one training.

    Attributes:
        name: What to call it: its work dir.
        files: Oldest first; several where it was resumed.
    """
    name: str
    files: tuple[Path, ...]


class Best(NamedTuple):
    """The best validation."""
    value: float
    record: LogRecord


def is_lower_better(key: str) -> bool:
    """Whether small values of a figure are the good ones, going by its name.

    >>> is_lower_better('acc/cross_entropy'), is_lower_better('reid/mAP')
    (True, False)
    """
    return any(word in key for word in _SMALL_IS_GOOD)


@dataclass(frozen=True)
class TrainingLog:
    """A training as a whole, whatever number of times it was resumed.

    Attributes:
        name: What to call it.
        train: Lines of the training, in order.
        val: Validations, in order.
        num_resumed: How many times it was resumed.
        problems: What could not be read, each with file and line.
    """
    name: str
    train: tuple[LogRecord, ...]
    val: tuple[LogRecord, ...]
    num_resumed: int = 0
    problems: tuple[str, ...] = ()

    @property
    def by_epoch(self) -> bool:
        """Whether it counts epochs."""
        return not any(math.isnan(record.epoch) for record in self.train + self.val)

    @property
    def keys(self) -> tuple[str, ...]:
        """All that was logged in training, then all of the validations."""
        return tuple(dict.fromkeys(
            key for record in self.train + self.val for key in record.values))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Figures of the validations, the main one first; counts are none."""
        keys = [key for key in dict.fromkeys(
            key for record in self.val for key in record.values)
            if key not in _NO_METRIC and not key.split('/')[-1].startswith('num_')]
        return tuple(sorted(keys, key=lambda key: key not in _MAIN_KEYS))

    def curve(self, key: str, by_epoch: bool) -> tuple[np.ndarray, np.ndarray]:
        """(N,) epochs or iterations and (N,) values of something that was logged.

        What training and validations both log, as the time, is the training's.

        Raises:
            ValueError: It was not logged.
        """
        records = next((part for part in (self.train, self.val)
                        if any(key in record.values for record in part)), None)
        if records is None:
            raise ValueError(f'{self.name} logs no {key!r}; it logs '
                             f'{", ".join(self.keys)}.')
        pairs = [(record.epoch if by_epoch else record.iteration, record.values[key])
                 for record in records if key in record.values]
        x, y = np.array(pairs, np.float64).T
        return x, y

    def best(self, key: str) -> Optional[Best]:
        """The best validation by a figure, the first of equals; None: there is none."""
        found = [Best(record.values[key], record) for record in self.val
                 if math.isfinite(record.values.get(key, math.nan))]
        if not found:
            return None
        choose = min if is_lower_better(key) else max
        return choose(found, key=lambda best: best.value)

    @property
    def seconds(self) -> float:
        """Time in iterations of training: without validations, start and repetitions.

        NaN where no time was logged.
        """
        before, total = 0, math.nan
        for record in self.train:
            time = record.values.get('time', math.nan)
            if math.isfinite(time):
                total = (0 if math.isnan(total) else total) \
                    + time * (record.iteration - before)
            before = record.iteration
        return total


# -- finding -----------------------------------------------------------------


def find_runs(path: Union[str, Path]) -> list[RunFiles]:
    """The trainings whose logs lie in or below a folder, or one by its log file.

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
    files = sorted(path.rglob(LOG_NAME))
    if not files:
        raise ValueError(
            f'No {LOG_NAME} lies below {path}: name the work dir of a training. It is '
            'written where vis_backends of the config has a LocalVisBackend or '
            'FaultTolerantVisBackend, as all configs here do.')
    return group_runs(files, path)


def group_runs(files: Iterable[Path], root: Path) -> list[RunFiles]:
    """Sort log files by the training that they belong to.

    Args:
        files: Log files.
        root: Folder that names are relative to.
    """
    runs = {}
    for path in map(Path, files):
        runs.setdefault(_work_dir(path), []).append(path)
    base = Path(root).resolve()
    names = {}
    for folder in runs:
        inside = folder.relative_to(base).parts if folder.is_relative_to(base) else ()
        parts = (base.name, *inside) if inside else (folder.name,)
        names[folder] = '/'.join(parts)
    # mmengine names the folder of a log by the time of its start, which a copy keeps.
    return [RunFiles(names[folder], tuple(sorted(own, key=_start)))
            for folder, own in sorted(runs.items())]


def _start(path: Path) -> tuple:
    return path.resolve().parts[-3:]


def _work_dir(path: Path) -> Path:
    path = path.resolve()
    in_work_dir = path.parent.name == 'vis_data' and len(path.parents) > 2
    return path.parents[2] if in_work_dir else path.parent


# -- reading -----------------------------------------------------------------


def read_training_log(files: Sequence[Union[str, Path]], name: str) -> TrainingLog:
    """Read the logs of one training.

    Lines that cannot be read are left out, and named in ``problems``.

    Args:
        files: Oldest first.
        name: What to call it.

    Raises:
        ValueError: Nothing of a training is in them.
    """
    problems, kept, parts = [], [], 0
    for path in files:
        for part in _parts(_read_lines(Path(path), problems)):
            records = _locate(part)
            first = next((one for one in records if one.kind == TRAIN), None)
            if first is None:
                problems.append(f'{path}: validations without a training are left out')
                continue
            kept = [one for one in kept if _is_before(one, first)]
            parts += bool(kept)
            kept += records
    if not kept:
        raise ValueError(
            f'{name}: there is no line of a training in '
            f'{", ".join(map(str, files)) or "no file"}'
            + (f' ({problems[0]})' if problems else '') + '.')
    train, val = (tuple(one for one in kept if one.kind == kind)
                  for kind in (TRAIN, VAL))
    return TrainingLog(name, train, val, parts, tuple(problems))


def _read_lines(path: Path, problems: list[str]) -> list[dict]:
    """Lines that hold what they should; of the others it is said why not."""
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        problems.append(f'{path} cannot be read: {error.strerror}')
        return []
    lines = []
    for number, line in enumerate(text.split('\n'), start=1):
        if not line.strip():
            continue
        try:
            lines.append(_parse(line))
        except ValueError as error:
            is_cut = (number == text.count('\n') + 1 and line.startswith('{')
                      and not line.endswith('}'))
            problems.append(f'{path}, line {number}: ' + (
                'it is cut off' if is_cut else f'{line[:60]!r} {error}'))
    return lines


def _parse(line: str) -> dict:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError('is no JSON') from None
    places = [found.get(key) for key in _PLACES] if isinstance(found, dict) else [None]
    if not _is_count(places[-1]):
        raise ValueError('is no record of a training: it has no step')
    if any(place is not None and not _is_count(place) for place in places):
        raise ValueError('has an epoch or iter that is no whole number')
    return found


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) \
        and 0 <= value < 2**53


def _parts(lines: list[dict]) -> list[list[dict]]:
    """Cut where steps of the training go back: another run wrote to the same file."""
    parts, last = [[]], -1
    for line in lines:
        if 'iter' in line:
            if line['step'] <= last:
                parts.append([])
            last = line['step']
        parts[-1].append(line)
    return [part for part in parts if part]


def _locate(lines: list[dict]) -> list[LogRecord]:
    """Say of each line how far the training was."""
    trained = [line for line in lines if 'iter' in line]
    by_epoch = all(line.get('epoch') for line in trained)
    # The last iteration of an epoch is step / epoch of it; of others it is less.
    per_epoch = max((line['step'] / line['epoch'] for line in trained),
                    default=0) if by_epoch else 0
    records, iteration, epoch = [], 0, math.nan
    for line in lines:
        step = line['step']
        if 'iter' in line:
            kind, iteration = TRAIN, step
            if by_epoch:
                epoch = min(max(step / per_epoch, line['epoch'] - 1), line['epoch'])
        else:
            kind = VAL
            if by_epoch and math.isnan(epoch):  # the lines before it are lost
                iteration, epoch = round(step * per_epoch), float(step)
            elif not by_epoch:
                iteration = max(iteration, step)
        records.append(LogRecord(
            kind, iteration, _after_epoch(epoch) if kind == VAL else epoch,
            _numbers(line, kind)))
    return records


def _after_epoch(epoch: float) -> float:
    """The end of the epoch whose last lines were not logged."""
    return epoch if math.isnan(epoch) else float(math.ceil(epoch))


def _numbers(line: dict, kind: str) -> dict[str, float]:
    return {key.removeprefix(f'{kind}/'): _number(value)
            for key, value in line.items()
            if key not in _PLACES and not isinstance(value, bool)
            and (value is None or isinstance(value, (int, float)))}


def _number(value: Union[int, float, None]) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.nan


def _is_before(one: LogRecord, resumed: LogRecord) -> bool:
    """Whether it was done before a training was resumed, and not done again."""
    if math.isnan(one.epoch) or math.isnan(resumed.epoch):
        return one.iteration < resumed.iteration
    # Epochs are begun anew.
    return one.epoch <= math.ceil(resumed.epoch) - 1
