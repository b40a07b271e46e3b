"""What is trained and tested for a row of a table: an experiment, by its name.

Experiments on the real data sets are the configs of this project, under their names.
Those on drawn data stand in one file, ``configs/tables/drawn.yml``, as changes to a
config, since they differ from one another in a line or two::

    runs:
      resnet14_tp_demo:
        task: reid
        config: configs/reid/resnet14_tp_demo.py
        draw: {kind: reid}
        options: {train_cfg.max_epochs: 40}
      resnet14_ta_demo:
        like: resnet14_tp_demo              # all of it, but for what follows
        options: {model.aggregation.type: TemporalAttentionAggregation}
"""
import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import yaml
from mmengine.config import Config

from .table import Row

__all__ = ['Experiment', 'experiment_config', 'load_drawn', 'paper_experiment']

TASKS = ('action', 'reid', 'masks')
_KEYS = {'like', 'task', 'config', 'options', 'draw', 'test', 'splits', 'training',
         'start'}
_PLACES = ('configs/{}.py', 'configs/reid/{}.py')


@dataclass(frozen=True)
class Experiment:
    """A training and its test, seed aside.

    Args:
        name: Its own, which its results bear.
        task: 'action', 'reid', 'masks', which holds the attention of all checkpoints
            against silhouettes, or 'cost', which trains nothing.
        config: Path of the config, from the root of the checkout.
        options: Settings of the config to override, by dotted keys.
        draw: The drawn data set: ``kind`` is 'reid' or 'action'; ``test`` holds what
            is different for the test, if anything; the rest goes to the function that
            draws it. None: the config's data.
        test: Further arguments of ``tools/test.py``, or of ``evaluate_masks.py``.
        splits: Official splits to train and test on; empty: the config's own.
        training: Name of what is trained; '': ``name``. Experiments that differ in
            their tests alone share it.
        start: Name of the experiment whose last weights, of the same seed, the
            training begins with; '': it begins as the config says.
    """

    name: str
    task: str
    config: str
    options: dict = field(default_factory=dict)
    draw: Optional[dict] = None
    test: tuple = ()
    splits: tuple = ()
    training: str = ''
    start: str = ''

    @property
    def data(self) -> str:
        """'paper' or 'demo'."""
        return 'paper' if self.draw is None else 'demo'

    @property
    def train_draw(self) -> Optional[dict]:
        """The drawn data set to train on."""
        return self.draw and {key: value for key, value in self.draw.items()
                              if key != 'test'}

    @property
    def test_draw(self) -> Optional[dict]:
        """The drawn data set to test on."""
        return self.draw and {**self.train_draw, **self.draw.get('test', {})}


def experiment_config(experiment: Experiment, root: Path) -> Config:
    """The config of an experiment, options included.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: An option does not fit the config.
    """
    file = root / experiment.config
    if not file.is_file():
        raise FileNotFoundError(
            f'Experiment {experiment.name!r} needs the config {experiment.config}, '
            'which is not there.')
    cfg = Config.fromfile(str(file))
    try:
        cfg.merge_from_dict(copy.deepcopy(experiment.options))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f'The options of experiment {experiment.name!r} do not fit '
                         f'{experiment.config}: {error}') from error
    return cfg


def paper_experiment(row: Row, task: str, root: Path) -> Experiment:
    """What a row's results on the data of the paper come from.

    ``--all-splits`` among the row's arguments trains on each official split, too; in a
    table of costs, ``--cfg-options`` apply to the config.

    Args:
        row: Its ``run`` names a config.
        task: Of the row's table.
        root: Root of the checkout.

    Raises:
        FileNotFoundError: There is no config of that name.
    """
    for place in _PLACES:
        config = place.format(row.run)
        if (root / config).is_file():
            break
    else:
        raise FileNotFoundError(
            f'There is no config of experiment {row.run!r}: looked for '
            f'{" and ".join(place.format(row.run) for place in _PLACES)}.')
    if task == 'cost':
        return Experiment(row.record_name('paper'), task, config,
                          dict(map(_setting, row.test[1:])), training=row.run)
    splits = ()
    if '--all-splits' in row.test:
        cfg = Config.fromfile(str(root / config))
        splits = tuple(range(1, cfg.get('num_splits', 1) + 1))
    return Experiment(
        row.record_name('paper'), task, config,
        test=tuple(word for word in row.test if word != '--all-splits'),
        splits=splits, training=row.run)


def _setting(word: str) -> tuple[str, object]:
    """Key and value of ``key=value``, as on the command line."""
    key, _, value = word.partition('=')
    return key, yaml.safe_load(value)


def load_drawn(path: Path) -> dict[str, Experiment]:
    """The experiments on drawn data, by name.

    Args:
        path: A file as ``configs/tables/drawn.yml``, see the module.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no such list, or an entry of it is wrong; the message
            names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no list of experiments {path}.')
    content = yaml.safe_load(path.read_text(encoding='utf-8'))
    if not isinstance(content, dict) or not isinstance(content.get('runs'), dict):
        raise ValueError(f"{path} needs a mapping 'runs' of names to experiments.")
    resolved: dict[str, dict] = {}
    for name in content['runs']:
        _resolve(name, content['runs'], resolved, (), path)
    for name in resolved:
        _check_start(name, resolved, path)
    return {name: _experiment(name, entry, path) for name, entry in resolved.items()}


def _resolve(name: str, runs: dict, resolved: dict, above: tuple, path: Path) -> dict:
    """An entry with all that it is like."""
    if name in resolved:
        return resolved[name]
    if name in above:
        raise ValueError(f'{path}: {" is like ".join((*above, name))}.')
    if name not in runs:
        raise ValueError(f'{path}: {above[-1]!r} is like {name!r}, which is not there.')
    own = runs[name] or {}
    unknown = sorted(set(own) - _KEYS)
    if unknown:
        raise ValueError(f'{path}: {name!r} has the unknown keys {unknown}; allowed '
                         f'are {sorted(_KEYS)}.')
    entry = {}
    if 'like' in own:
        entry = copy.deepcopy(
            _resolve(own['like'], runs, resolved, (*above, name), path))
    for key, value in own.items():
        if key in ('options', 'draw'):
            entry[key] = {**entry.get(key, {}), **(value or {})}
        elif key != 'like':
            entry[key] = value
    resolved[name] = entry
    return entry


def _check_start(name: str, resolved: dict, path: Path) -> None:
    """Follow a training's starts to one that has none."""
    passed = [name]
    while start := resolved[passed[-1]].get('start'):
        if start not in resolved:
            raise ValueError(f'{path}: {passed[-1]!r} starts with {start!r}, which is '
                             'not there.')
        passed.append(start)
        if start in passed[:-1]:
            raise ValueError(f'{path}: {" starts with ".join(passed)}.')


def _experiment(name: str, entry: dict, path: Path) -> Experiment:
    missing = [key for key in ('task', 'config', 'draw') if key not in entry]
    if missing:
        raise ValueError(f'{path}: {name!r} lacks {missing}.')
    if entry['task'] not in TASKS:
        raise ValueError(f'{path}: {name!r} has the task {entry["task"]!r}; allowed '
                         f'are {TASKS}.')
    return Experiment(
        name, entry['task'], entry['config'], dict(entry.get('options', {})),
        dict(entry['draw']), tuple(entry.get('test', ())),
        tuple(entry.get('splits', ())), entry.get('training', name),
        entry.get('start', ''))
