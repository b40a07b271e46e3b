"""Which of the files in a folder a report can be made of.

Nothing that is found is executed. A file is what its content says, whatever its name
is: the arrays of an ``.npz`` file tell scores from features. Files that cannot be read
are named with the reason, and the rest is used.
"""
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from mmengine.config import Config

from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.models.converters import read_checkpoint
from cosam_mm.utils.config import config_of_checkpoint

from .work_dir import WorkDir

__all__ = ['TEST_FIGURE', 'find_work_dir', 'read_config', 'read_test_log', 'when']

PathLike = Union[str, os.PathLike]

# 'acc/top1': the metric's prefix, then its figure.
TEST_FIGURE = re.compile(r'[\w-]+/\S+')
# What mmengine calls the folder of a run by.
_STAMP = re.compile(r'\d{8}_\d{6}')
_CHECKPOINTS = ('best_', 'epoch_', 'iter_')
_SCORES = {'sample_id', 'score', 'label'}
_FEATURES = {'feature', 'pid', 'camid'}


def find_work_dir(root: PathLike, data_root: Optional[PathLike] = None,
                  checkpoint: Optional[PathLike] = None) -> WorkDir:
    """Look through the folder of a training, or of a training and its tests.

    Args:
        root: A ``--work-dir`` of ``tools/train.py``, or a folder with one and with
            score or feature files, such as that of ``tools/demo.sh``.
        data_root: The data set's folder. Default: ``data`` in ``root``, else the one
            that the config names, if it is there.
        checkpoint: Default: the newest best one, else the last.

    Raises:
        FileNotFoundError: There is no such folder or checkpoint.
        ValueError: Nothing in the folder was written by a training or a test, or the
            checkpoint that was given cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f'There is no folder {root}.')
    if data_root is not None and not Path(data_root).is_dir():
        raise FileNotFoundError(f'There is no data set folder {data_root}.')
    files = list(_walk(root, Path(data_root or root / 'data')))
    damaged = _Damaged()
    arrays = [path for path in files if path.suffix == '.npz']
    chosen = (_given_checkpoint(Path(checkpoint)) if checkpoint is not None else
              _best_checkpoint(files, damaged))
    config = _find_config(files, chosen, damaged)
    found = WorkDir(
        root=root, config=config, checkpoint=chosen,
        data_root=_find_data_root(root, data_root, config),
        training_logs=_in_time(path for path in files if path.name == 'scalars.json'),
        test_logs=_in_time(path for path in files if _is_test_log(path)),
        score_files=_read_arrays(arrays, _SCORES, _load_scores, damaged),
        feature_files=_read_arrays(arrays, _FEATURES, load_features, damaged),
        damaged=tuple(damaged.found))
    if not any((found.config, found.checkpoint, found.training_logs, found.test_logs,
                found.score_files, found.feature_files, found.damaged)):
        raise ValueError(
            f'Nothing below {root} was written by a training or a test: there is no '
            'config, checkpoint, log, score file or feature file. Name the --work-dir '
            'of tools/train.py, or the folder of tools/demo.sh.')
    return found


class _Damaged:
    """Files that could not be read, with the reason."""

    def __init__(self) -> None:
        self.found: list[tuple[Path, str]] = []

    def try_to(self, read: Callable[[Path], Any], path: Path) -> Any:
        """What ``read`` makes of a file, or None."""
        try:
            return read(path)
        except (ValueError, OSError, ImportError) as error:
            self.found.append((path, str(error)))
            return None


def _walk(root: Path, data_root: Path) -> Iterator[Path]:
    """Files below ``root`` by name, but not those of the data set."""
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith('.')
                          and not _same(Path(folder, name), data_root))
        # A link may lead nowhere.
        yield from (path for path in (Path(folder, name) for name in sorted(files))
                    if path.is_file())


def _same(a: Path, b: Path) -> bool:
    return a.name == b.resolve().name and a.resolve() == b.resolve()


def when(path: Path) -> float:
    """When a run began, from the name that mmengine gave it; else the file's time.

    Returns:
        Seconds since 1970.
    """
    for part in reversed(path.parts):
        if _STAMP.fullmatch(part):
            try:
                return datetime.strptime(part, '%Y%m%d_%H%M%S').timestamp()
            except ValueError:
                continue  # digits, but no time
    return path.stat().st_mtime


def _in_time(paths: Iterator[Path]) -> tuple[Path, ...]:
    return tuple(sorted(paths, key=lambda path: (when(path), str(path))))


# -- each kind of file -----------------------------------------------------------------


def _given_checkpoint(path: Path) -> Path:
    read_checkpoint(path)
    return path


def _best_checkpoint(files: list[Path], damaged: _Damaged) -> Optional[Path]:
    """The newest of the first kind of checkpoint that can be read."""
    for start in _CHECKPOINTS:
        paths = [path for path in files
                 if path.suffix == '.pth' and path.name.startswith(start)]
        for path in reversed(_by_age(paths)):
            if damaged.try_to(read_checkpoint, path) is not None:
                return path
    return None


def _by_age(paths: list[Path]) -> list[Path]:
    """Oldest first; of equally old ones, as those of a copied folder, the lowest
    number of epochs first."""
    return sorted(paths, key=lambda path: (
        path.stat().st_mtime, [int(number) for number in re.findall(r'\d+', path.stem)],
        str(path)))


def read_config(path: Path) -> Config:
    """Read the config that a training wrote down; it is data, and not executed.

    Raises:
        ValueError: It is none, or more than plain settings.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is no config: {error}') from error
    try:
        config = config_of_checkpoint(text)
    except ValueError as error:
        reason = str(error).replace("the checkpoint's config", str(path))
        raise ValueError(reason.partition(', and it is read')[0] + ', and a config is '
                         'read as data only.') from None
    if not isinstance(config.get('model'), dict):
        raise ValueError(f'{path} is no config: it sets no model.')
    return config


def _find_config(files: list[Path], checkpoint: Optional[Path],
                 damaged: _Damaged) -> Optional[Path]:
    """The newest config: beside the checkpoint, else of a run, else anywhere."""
    def place(path: Path) -> tuple:
        is_beside = checkpoint is not None and path.parent == checkpoint.parent
        return is_beside, path.parent.name != 'vis_data', when(path), str(path)

    own = _Damaged()
    for path in sorted((path for path in files if path.suffix == '.py'), key=place,
                       reverse=True):
        if own.try_to(read_config, path) is not None:
            return path
    # A script of the user's own is no damaged config where there is a whole one.
    damaged.found += own.found
    return None


def _find_data_root(root: Path, given: Optional[PathLike],
                    config: Optional[Path]) -> Optional[Path]:
    if given is not None:
        return Path(given)
    candidates = [root / 'data']
    if config is not None:
        candidates += [Path(name) for name in _data_roots(read_config(config))]
    return next((path for path in candidates if path.is_dir()), None)


def _data_roots(value: Any) -> Iterator[str]:
    """Every ``data_root`` of a config's data sets, the tested one's first."""
    if isinstance(value, Config):
        for name in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
            yield from _data_roots(value.get(name))
    elif isinstance(value, dict):
        if isinstance(value.get('data_root'), str) and value['data_root']:
            yield value['data_root']
        for inner in value.values():
            yield from _data_roots(inner)


def read_test_log(path: Path) -> dict[str, Any]:
    """Figures that a test wrote down, by name, as ``acc/top1``.

    Raises:
        ValueError: It is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is no log of a test: {error}') from error
    figures = {} if not isinstance(content, dict) else {
        name: value for name, value in content.items()
        if TEST_FIGURE.fullmatch(name) and isinstance(value, (int, float, str))}
    if not figures:
        raise ValueError(f'{path} is no log of a test: it has no figure such as '
                         'acc/top1 or reid/mAP.')
    return figures


def _is_test_log(path: Path) -> bool:
    # One of vis_data is the log of a training, whose lines are JSON each.
    if path.suffix != '.json' or path.parent.name == 'vis_data':
        return False
    try:
        return bool(read_test_log(path))
    except (ValueError, OSError):
        return False


def _load_scores(path: str) -> dict:
    # Registers metrics with MMAction2, which re-identification does without.
    from cosam_mm.evaluation.metrics.action_metric import load_scores
    return load_scores(path)


def _array_names(path: Path) -> set[str]:
    """Names of the arrays, without reading them.

    Raises:
        ValueError: It is no .npz file.
    """
    try:
        with open(path, 'rb') as file, np.load(file, allow_pickle=False) as archive:
            return set(archive.files)
    except (ValueError, EOFError, AttributeError, TypeError,
            zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is not an .npz file: {error}') from error


def _read_arrays(paths: list[Path], arrays: set[str], load: Callable[[str], dict],
                 damaged: _Damaged) -> tuple[Path, ...]:
    """Files that hold such arrays and are whole, the newest first."""
    found = []
    for path in paths:
        known = {bad for bad, _ in damaged.found}
        names = None if path in known else damaged.try_to(_array_names, path)
        if names is None or not arrays <= names:
            continue
        if damaged.try_to(lambda path: load(str(path)), path) is not None:
            found.append(path)
    return tuple(reversed(_by_age(found)))
