"""What is trained and tested for a row of a table: an experiment, by its name.

Experiments on the real data sets are the configs of this project, under their names.
Those on synthetic data stand in one file, ``tables/synthetic.yml``, as changes to a
config, since they differ from one another in a line or two. ``like`` takes over another
entry, whose ``options`` and ``synthetic`` are then added to.
"""
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import yaml
from mmengine.config import Config

from cosam_mm.datasets.preparation import (
    index_videos,
    locate_clips,
    parse_hmdb51_splits,
    write_classes,
    write_lists,
)
from cosam_mm.datasets.synthetic.action_dataset_files import generate_action_dataset
from cosam_mm.datasets.synthetic.motion_clip import ClutterConfig
from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.datasets.synthetic.walking_tracklet import Difficulty

from .table import Row, read_yaml

TASKS = ('action', 'reid', 'masks')


@dataclass(frozen=True)
class Experiment:
    """A training and its test, seed aside.

    ``task`` is 'action', 'reid', 'masks', which compares the attention of all
    checkpoints with silhouettes, or 'cost', which trains nothing. ``synthetic`` holds
    options of :func:`generate_data`, and in ``test`` what differs for the test.
    """

    name: str                           # which its results bear
    task: str
    config: str                         # path, from the root of the checkout
    options: dict = field(default_factory=dict)    # overrides, by dotted keys
    synthetic: Optional[dict] = None    # options of the data; None: the config's data
    test: Sequence[str] = ()            # arguments of tools/test.py or evaluate_masks
    splits: Sequence[int] = ()          # official ones; empty: the config's own
    training: str = ''                  # shared where only the tests differ
    start: str = ''                     # experiment whose last weights it begins with

    @property
    def data(self) -> str:
        """'paper' or 'demo'."""
        return 'paper' if self.synthetic is None else 'demo'

    @property
    def train_data(self) -> Optional[dict]:
        """Options of the synthetic data to train on."""
        return self.synthetic and {key: value for key, value in self.synthetic.items()
                                   if key != 'test'}

    @property
    def test_data(self) -> Optional[dict]:
        """Options of the synthetic data to test on."""
        return self.synthetic and {**self.train_data, **self.synthetic.get('test', {})}


def experiment_config(experiment: Experiment, root: Path) -> Config:
    """The config of an experiment, options included.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: An option does not fit the config.
    """
    file = root / experiment.config
    if not file.is_file():
        raise FileNotFoundError(f'Experiment {experiment.name!r} needs the config '
                                f'{experiment.config}, which does not exist.')
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

    Raises:
        FileNotFoundError: There is no config of that name.
    """
    configs = [f'configs/{folder}{row.run}.py' for folder in ('', 'reid/')]
    config = next((path for path in configs if (root / path).is_file()), None)
    if config is None:
        raise FileNotFoundError(f'There is no config of experiment {row.run!r}: '
                                f'neither {" nor ".join(configs)}.')
    name = row.record_name('paper')
    if task == 'cost':
        settings = (word.partition('=')[::2] for word in row.test[1:])
        options = {key: yaml.safe_load(value) for key, value in settings}
        return Experiment(name, task, config, options, training=row.run)
    splits = ()
    if '--all-splits' in row.test:
        cfg = Config.fromfile(str(root / config))
        splits = tuple(range(1, cfg.get('num_splits', 1) + 1))
    test = tuple(word for word in row.test if word != '--all-splits')
    return Experiment(name, task, config, test=test, splits=splits, training=row.run)


# -- experiments on synthetic data ---------------------------------------------


def load_synthetic(path: Path) -> dict[str, Experiment]:
    """The experiments of ``tables/synthetic.yml`` by name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An entry is wrong; the message names file and entry.
    """
    content = read_yaml(path)
    runs = content.get('runs')
    if not isinstance(runs, dict):
        raise ValueError(f"{path} needs a mapping 'runs' of names to experiments.")
    for group in content.get('difficulties', ()):
        runs.update({f'{run}_{name}{level}': dict(
            like=run, training=run, synthetic=dict(test={name: float(level)}))
            for run in group['runs'] for name in group['names'] for level in (0, 1)})
    for group in content.get('masks', ()):
        runs.update({f'{run}_masks': dict(
            like=run, training=run, task='masks', test=group.get('test', ()))
            for run in group['runs']})
    experiments = {}
    for name in runs:
        try:
            entry = dict(dict(training=name), **_resolve(name, runs))
            experiments[name] = Experiment(name, **entry)
            if entry['task'] not in TASKS or not entry['synthetic']:
                raise ValueError(f'it needs synthetic data and a task among {TASKS}')
            _check_start(name, runs)
        except RecursionError:
            raise ValueError(f'{path}: experiment {name!r} is in a circle') from None
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f'{path}: experiment {name!r}: {error}') from error
    return experiments


def _check_start(name: str, runs: dict) -> None:
    """Follow a training's starts to one that has none."""
    if start := _resolve(name, runs).get('start'):
        _check_start(start, runs)


def _resolve(name: str, runs: dict) -> dict:
    """An entry with all that it is like."""
    if name not in runs:
        raise ValueError(f'the experiment {name!r} is missing')
    own = dict(runs[name] or {})
    entry = _resolve(own.pop('like'), runs) if 'like' in own else {}
    for key in ('options', 'synthetic'):
        if key in own:
            own[key] = {**entry.get(key, {}), **(own[key] or {})}
    return {**entry, **own}


def generate_data(options: dict, folder: Path) -> Path:
    """Generate the synthetic data of an experiment, unless they are there.

    Args:
        options: ``kind``, 'reid' or 'action'; difficulties from 0 to 1: clutter and
            occlusion, of persons accessories and misalignment, too; of clips the
            ``size`` (width, height in pixels), ``clips_per_class`` and ``seed``.
        folder: Folder of all synthetic data; the data set gets one in it.

    Raises:
        ValueError: There is no such kind or difficulty.
    """
    levels = {key: value for key, value in options.items() if key != 'kind'}
    generate = dict(action=_generate_clips, reid=lambda out, **levels: (
        generate_reid_dataset(out, difficulty=Difficulty(**levels)))).get(
        options.get('kind'))
    if generate is None:
        raise ValueError(f"Synthetic data need a kind of 'reid' or 'action', got "
                         f'{options!r}.')
    parts = [options['kind'], *(
        key + ('x'.join(map(str, level)) if isinstance(level, (list, tuple))
               else f'{level:g}') for key, level in sorted(levels.items()))]
    try:
        return generate(folder / '_'.join(parts), **levels)
    except TypeError as error:
        raise ValueError(
            f'The options {options!r} of synthetic data do not fit: {error}') from error


def _generate_clips(folder: Path, clutter: float = 0.5, occlusion: float = 0.0,
                    size: Sequence[int] = (96, 72), clips_per_class: int = 60,
                    seed: int = 0) -> Path:
    """Clips in one split, with the lists of a prepared data set."""
    out = generate_action_dataset(folder, clips_per_class, seed, size=tuple(size),
                                  clutter=ClutterConfig.scaled(clutter),
                                  occlusion=occlusion)
    lists = parse_hmdb51_splits(out / 'splits', name='demo')
    located = locate_clips(lists, index_videos(out / 'videos'))
    write_classes(out, lists)
    write_lists(out, lists, located.found)
    return out
