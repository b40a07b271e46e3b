"""Collects the files in a folder that a report can be made of.

Nothing that is found is executed. A file is what its content says, whatever its name
is: the arrays of an ``.npz`` file tell scores from features. Files that cannot be read
are named with the reason, and the rest is used. The checkpoint is read once.
"""
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

from cosam_mm.apis.model_loading import weights_sha256
from cosam_mm.evaluation.provenance import MADE_BY, describe_other_weights
from cosam_mm.utils.config import type_name
from cosam_mm.utils.config_of_checkpoint import config_of_checkpoint
from cosam_mm.utils.io import PathLike, read_checkpoint, read_text, unwrap_state_dict
from cosam_mm.utils.messages import natural_key

__all__ = ['ACTION', 'REID', 'WorkDir', 'collect_work_dir', 'get_in']


ACTION, REID = 'Action recognition', 'Person re-identification'
# 'acc/top1': the prefix of the evaluator, then the metric.
_METRIC_NAME = re.compile(r'[\w-]+/\S+')
_CHECKPOINTS = ('best_', 'epoch_', 'iter_')
_SCORES = {'sample_id', 'score', 'label'}
_FEATURES = {'feature', 'pid', 'camid'}


@dataclass(frozen=True)
class WorkDir:
    """Files that a report is made of; None or empty where there are none."""
    root: Path  # searched with all below it
    config_file: Optional[Path]  # that a training wrote down
    config: Config
    data_root: Optional[Path]  # of the data set
    checkpoint_file: Optional[Path]  # the best one, else the last
    checkpoint: Any  # its content: 'meta' and 'state_dict'
    training_logs: tuple[Path, ...]  # scalars.json of each run, oldest first
    test_logs: tuple[tuple[Path, dict[str, Any]], ...]  # with metrics, oldest first
    score_files: tuple[Path, ...]  # of DumpScores, newest first
    feature_files: tuple[Path, ...]  # of ReIDMetric, newest first
    damaged: tuple[tuple[Path, str], ...]  # with the reason

    @property
    def meta(self) -> Mapping:
        """What the checkpoint holds beside its weights."""
        meta = get_in(self.checkpoint, 'meta')
        return meta if isinstance(meta, Mapping) else {}

    @property
    def name(self) -> str:
        """Of the config; '' where nothing tells it."""
        name = self.config_file.stem if self.config_file else ''
        if name not in ('', 'config'):  # as those of vis_data are called
            return name
        # mmengine has added the time.
        return re.sub(r'_\d{8}_\d{6}$', '', str(self.meta.get('experiment_name') or ''))

    @property
    def task(self) -> str:
        """``ACTION``, ``REID`` or ''."""
        kind = str(get_in(self.config, 'model', 'type')).rpartition('.')[2]
        if self.feature_files or kind == 'VideoReID':
            return REID
        return ACTION * bool(self.score_files or kind.startswith('Recognizer'))

    @property
    def reid_evaluator(self) -> Mapping:
        """Settings of the config's ``ReIDMetric``; empty if there is none."""
        found = self.config.get('test_evaluator')
        return next((one for one in (found if isinstance(found, list) else [found])
                     if isinstance(one, dict) and type_name(one) == 'ReIDMetric'), {})

    @property
    def started(self) -> Optional[datetime]:
        """When the first training began."""
        return datetime.fromtimestamp(_start_time(self.training_logs[0])) \
            if self.training_logs else None

    @property
    def ended(self) -> Optional[datetime]:
        """When the last training wrote its last line, else its checkpoint."""
        times = [str(self.meta.get('time'))]
        for log in self.training_logs[-1:]:
            for path in log.parent.parent.glob('*.log'):
                times += [re.sub(r'\W', '', text).replace('T', '_') for text in
                          re.findall(r'^\d+/\d+/\d+ [\d:]{8}', _text(path), re.M)[-1:]]
        found = []
        for text in times:
            with suppress(ValueError):
                found.append(datetime.strptime(text.replace('_', ''), '%Y%m%d%H%M%S'))
        return max(found, default=None)

    @property
    def tested(self) -> str:
        """The checkpoint of the last test, as its log names it, or ''."""
        path = self.test_logs[-1][0] if self.test_logs else None
        found = re.findall('Load checkpoint from (.+)', _text(path.with_suffix('.log'))
                           ) if path else []
        return found[-1] if found else ''

    @cached_property
    def weights_sha256(self) -> str:
        """Of the checkpoint; '' where there is none."""
        with suppress(ValueError):
            return weights_sha256(unwrap_state_dict(self.checkpoint))
        return ''

    def other_weights(self, *made: Mapping) -> str:
        """Say that numbers are not of the checkpoint, or ``UNKNOWN``; else ''.

        Args:
            made: What made each of them, see ``evaluation/provenance.py``.
        """
        if not self.weights_sha256:
            return ''
        reasons = [describe_other_weights(
            one, self.weights_sha256, self.relative(self.checkpoint_file))
            for one in made]
        return '' if '' in reasons else reasons[0]

    def weights_fact(self, made: Mapping) -> list[tuple[str, str]]:
        """A line for a table of facts: whose numbers these are, if it can be told."""
        own = self.checkpoint_file and self.relative(self.checkpoint_file)
        return [('weights', self.other_weights(made) or f'those of {own}')
                ] if self.weights_sha256 else []

    @cached_property
    def other_tested_weights(self) -> str:
        """The same of ``metrics``, of whose splits each has a checkpoint."""
        metrics, origin = self.metrics
        if origin == 'test':
            return self.other_weights(_made_by(metrics))
        if origin != 'splits':
            return ''
        text = next(text for text in map(_text, self._split_files)
                    if _read_metrics(text, 'mean'))
        lists = _made_by(_read_metrics(text, 'splits', kinds=list))
        rows = zip(*(lists.get(key, ()) for key in MADE_BY))
        return self.other_weights(*[dict(zip(MADE_BY, row)) for row in rows] or [{}])

    @property
    def _split_files(self) -> list[Path]:
        """As ``tools/test.py --all-splits`` writes them."""
        return sorted([*self.root.glob('all_splits.json'),
                       *self.root.glob('*/all_splits.json')])

    @cached_property
    def metrics(self) -> tuple[dict[str, Any], str]:
        """Metrics by name, and where they are from, or ''.

        They are the means of all 'splits', else of the last 'test', else of the last
        'validation'.
        """
        lines = (line for log in reversed(self.training_logs)
                 for line in reversed(_text(log).splitlines()))
        found = [*((_read_metrics(_text(path), 'mean'), 'splits')
                   for path in self._split_files),
                 *((metrics, 'test') for _, metrics in self.test_logs[-1:]),
                 (next(filter(None, map(_read_metrics, lines)), {}), 'validation')]
        return next((one for one in found if one[0]), ({}, ''))

    def relative(self, path: PathLike) -> str:
        """The name of a file from ``root`` on, if it lies below."""
        path, root = Path(path).resolve(), self.root.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) \
            else str(path)


def get_in(value: Any, *names: str) -> Any:
    """What nested dicts hold; None where a name is missing."""
    for name in names:
        # A Config has get() and is no Mapping.
        value = value.get(name) if hasattr(value, 'get') else None
    return value


def collect_work_dir(root: PathLike, data_root: Optional[PathLike] = None,
                     checkpoint: Optional[PathLike] = None) -> WorkDir:
    """Search the folder of a training, or of a training and its tests.

    Args:
        root: A ``--work-dir`` of ``tools/train.py``, or a folder with one and with
            score or feature files.
        data_root: The data set's folder. Default: ``data`` in ``root``, else the one
            that the config names, if it exists.
        checkpoint: Default: the newest best one, else the last.

    Raises:
        FileNotFoundError: There is no such folder or checkpoint.
        ValueError: Nothing in the folder was written by a training or a test, or the
            given checkpoint cannot be read.
    """
    root = Path(root)
    for folder in (root, data_root or root):
        if not Path(folder).is_dir():
            raise FileNotFoundError(f'There is no folder {folder}.')
    files, damaged = _files_below(root, Path(data_root or root / 'data')), []
    weights, content = _best_checkpoint(files, damaged) if checkpoint is None else (
        Path(checkpoint), read_checkpoint(checkpoint))
    config_file, config = _find_config(files, weights, damaged)
    arrays = {path: _try(_array_names, path, damaged) or set()
              for path in reversed(_by_age(files, '.npz'))}
    # One of vis_data is the log of a training, whose lines are JSON each.
    logs = {path: _read_metrics(_text(path)) for path in _in_time(
        path for path in files if path.suffix == '.json'
        and path.parent.name != 'vis_data')}
    found = WorkDir(
        root, config_file, config, _find_data_root(root, data_root, config), weights,
        content, _in_time(path for path in files if path.name == 'scalars.json'),
        tuple((path, metrics) for path, metrics in logs.items() if metrics),
        *(tuple(path for path, names in arrays.items() if names >= wanted)
          for wanted in (_SCORES, _FEATURES)), tuple(damaged))
    if not any((config_file, weights, found.training_logs, found.test_logs,
                found.score_files, found.feature_files, found.damaged)):
        raise ValueError(
            f'Nothing below {root} was written by a training or a test: there is no '
            'config, checkpoint, log, score file or feature file. Name the --work-dir '
            'of tools/train.py, or the folder of tools/demo.sh.')
    return found


def _try(read: Callable[[Path], Any], path: Path, damaged: list) -> Any:
    """What ``read`` makes of a file; None if it is damaged."""
    try:
        return read(path)
    except (ValueError, OSError) as error:
        damaged.append((path, str(error)))
        return None


def _files_below(root: Path, data_root: Path) -> list[Path]:
    """Files by name, without those of the data set."""
    found = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith('.')
                          and Path(folder, name).resolve() != data_root.resolve())
        found += [Path(folder, name) for name in sorted(files)]
    return [path for path in found if path.is_file()]  # a link may lead nowhere


def _start_time(path: Path) -> float:
    """When a run began, from the name that mmengine gave it; else the file's time."""
    for part in reversed(path.parts):
        with suppress(ValueError):
            return datetime.strptime(part, '%Y%m%d_%H%M%S').timestamp()
    return path.stat().st_mtime


def _in_time(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Earliest start first."""
    return tuple(sorted(paths, key=lambda path: (_start_time(path), str(path))))


def _by_age(files: list[Path], suffix: str, start: str = '') -> list[Path]:
    """Oldest first; of equally old ones, as in a copied folder, the lowest epoch."""
    return sorted((path for path in files if path.suffix == suffix
                   and path.name.startswith(start)), key=lambda path: (
        path.stat().st_mtime, natural_key(path.name), str(path)))


# -- each kind of file ---------------------------------------------------------------


def _best_checkpoint(files: list[Path], damaged: list
                     ) -> tuple[Optional[Path], Any]:
    """The newest of the first kind of checkpoint that can be read, and its content."""
    for start in _CHECKPOINTS:
        for path in reversed(_by_age(files, '.pth', start)):
            content = _try(read_checkpoint, path, damaged)
            if content is not None:
                return path, content
    return None, None


def _read_config(path: Path) -> Config:
    """The config that a training wrote down; it is data, and not executed."""
    try:
        config = config_of_checkpoint(read_text(path))
    except ValueError as error:
        raise ValueError(f'{path} is no config that can be read as data: {error}'
                         ) from None
    if not isinstance(config.get('model'), dict):
        raise ValueError(f'{path} is no config: it sets no model.')
    return config


def _find_config(files: list[Path], checkpoint: Optional[Path], damaged: list
                 ) -> tuple[Optional[Path], Config]:
    """The newest config: beside the checkpoint, else of a run, else anywhere."""
    def rank(path: Path) -> tuple:
        return (checkpoint is not None and path.parent == checkpoint.parent,
                path.parent.name != 'vis_data', _start_time(path), str(path))

    own = []
    for path in sorted((path for path in files if path.suffix == '.py'), key=rank,
                       reverse=True):
        config = _try(_read_config, path, own)
        if config is not None:
            return path, config
    # A script of the user's own is no damaged config where there is a whole one.
    damaged += own
    return None, Config()


def _find_data_root(root: Path, given: Optional[PathLike], config: Config
                    ) -> Optional[Path]:
    if given is not None:
        return Path(given)
    loaders = ('test_dataloader', 'val_dataloader', 'train_dataloader')
    candidates = [root / 'data', *(Path(name) for loader in loaders
                                   for name in _data_roots(config.get(loader)))]
    return next((path for path in candidates if path.is_dir()), None)


def _data_roots(value: Any) -> Iterator[str]:
    """Every ``data_root`` of a loader's data sets."""
    if isinstance(value, dict):
        if isinstance(value.get('data_root'), str) and value['data_root']:
            yield value['data_root']
        for inner in value.values():
            yield from _data_roots(inner)


def _text(path: Path) -> str:
    with suppress(OSError, ValueError):
        return read_text(path, errors='replace')
    return ''


def _read_metrics(text: str, *keys: str, kinds: Any = (int, float, str)
                  ) -> dict[str, Any]:
    """Metrics by name, as ``acc/top1``, or what they hold, in a JSON object."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {name: get_in(value, *keys) for name, value in content.items()
            if _METRIC_NAME.fullmatch(name) and isinstance(
                get_in(value, *keys), kinds)} \
        if isinstance(content, dict) else {}


def _made_by(metrics: Mapping) -> dict[str, Any]:
    """What metrics by name, as ``acc/weights_sha256``, say of what made them."""
    return {name.rpartition('/')[2]: value for name, value in metrics.items()
            if name.rpartition('/')[2] in MADE_BY}


def _array_names(path: Path) -> set[str]:
    """Names of the arrays, without reading them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix('.npy') for name in archive.namelist()}
    except (ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f'{path} is not an .npz file: {error}') from error
