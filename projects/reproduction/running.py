"""Run experiments: train, test, and keep the results, several at a time.

A run is one experiment with one seed. Each phase of it is a command of this project in
a process of its own::

    WORK/<data>/<training>/seed<k>/config.py       the config, options included
                                  /train/          logs and checkpoints of train.py
                                  /<name>/         log of test.py
                                  /<name>.npz      scores or features, that it wrote
                                  /<name>.masks    metrics of evaluate_masks
                                  /<name>.json     the result: this run is done
                                  /log.txt         what all of them printed
                                  /training.sha256 of all that decides the training

Interrupted runs resume at their newest checkpoint. Runs with a result of the same
config are skipped; what was trained with another config, or another number of threads,
is moved aside. The test takes the last checkpoint, never the best: that would be chosen
on the data it is evaluated on.
"""
import collections
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Callable, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from cosam_mm.apis.complexity import measure_complexity
from cosam_mm.evaluation.functional.ranking import rank_distances
from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.evaluation.reid_evaluation import prepare_ranking
from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.utils.config import input_shape
from cosam_mm.utils.io import write_text
from projects.attention_study.measurement import count_multiply_adds

from .experiment import Experiment
from .record import SeedResult
from .table import is_percentage


@dataclass(frozen=True)
class Run:
    """One experiment with one seed, ready to be run."""

    experiment: Experiment
    seed: int                       # of all random numbers
    folder: Path
    data_root: Optional[Path]       # synthetic data to train on; None: the config's
    test_root: Optional[Path]       # those to test on
    num_threads: int
    fingerprint: str                # of all that decides its result
    start: Optional['Run'] = None   # whose last weights its training begins with

    @property
    def result_file(self) -> Path:
        """It exists when the run is done."""
        return self.folder / f'{self.experiment.name}.json'


class Failure(RuntimeError):
    """A phase of a run ended with an error."""


def prepare_run(experiment: Experiment, seed: int, config: str, work_dir: Path,
                data_root: Optional[Path], test_root: Optional[Path],
                num_threads: int, start: Optional[Run] = None) -> Run:
    """Write the config of a run, options included, into its folder in ``work_dir``."""
    folder = work_dir / experiment.data / experiment.training / f'seed{seed}'
    decisive = [config, seed, experiment.train_data, experiment.splits, num_threads]
    if start is not None:
        decisive.append(start.fingerprint)
    training = _hash(decisive)
    started = folder / 'training.sha256'
    if folder.is_dir() and (
            not started.is_file() or started.read_text(encoding='utf-8') != training):
        number = 1  # of other settings: nothing to resume
        while (other := folder.with_name(f'{folder.name}.{number}')).exists():
            number += 1
        folder.rename(other)
    folder.mkdir(parents=True, exist_ok=True)
    started.write_text(training, encoding='utf-8')
    (folder / 'config.py').write_text(config, encoding='utf-8')
    test = [experiment.test_data, experiment.test]
    return Run(experiment, seed, folder, data_root, test_root, num_threads,
               _hash([*decisive, *test]), start)


def _hash(values: list) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


# -- processes ---------------------------------------------------------------


class _Processes:
    """Runs commands from the root of the checkout, and stops those that run."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._running: set = set()
        self._lock = threading.Lock()
        self._folders: dict = collections.defaultdict(threading.Lock)
        self.is_stopped = False

    def alone_in(self, folder: Path) -> threading.Lock:
        """Held by one run of those that share a training."""
        with self._lock:
            return self._folders[folder]

    def call(self, run: Run, command: Sequence[str], *arguments: object) -> float:
        """Run a command to its end: the seconds it took, or a :class:`Failure`."""
        command = ['python', *command, *map(str, arguments)]
        # Memory that was freed is kept: finding its pages anew takes a fifth of a small
        # model's step.
        environment = dict(
            os.environ, OMP_NUM_THREADS=str(run.num_threads),
            MALLOC_MMAP_THRESHOLD_=str(1 << 33), MALLOC_TRIM_THRESHOLD_=str(1 << 33),
            PYTHONPATH=os.pathsep.join(filter(None, (
                str(self._root), os.environ.get('PYTHONPATH')))))
        start, log = time.monotonic(), run.folder / 'log.txt'
        with log.open('a', encoding='utf-8') as file, self._lock:
            if self.is_stopped:
                raise Failure('stopped')
            file.write(f'$ {shlex.join(command)}\n')
            file.flush()
            process = subprocess.Popen(
                [sys.executable, *command[1:]], stdout=file, stderr=subprocess.STDOUT,
                cwd=self._root, env=environment, start_new_session=True)
            self._running.add(process)
        process.wait()
        with self._lock:
            self._running.discard(process)
        if process.returncode:
            lines = log.read_text(encoding='utf-8', errors='replace').split('\n')
            last = next(line for line in reversed(lines) if line.strip())
            raise Failure('stopped' if self.is_stopped else
                          f'{" ".join(command[:3])} ended with status '
                          f'{process.returncode}: {last}; its output is in {log}')
        return time.monotonic() - start

    def stop(self) -> None:
        """Ask what runs to stop with a checkpoint; start nothing more."""
        with self._lock:
            self.is_stopped = True
            for process in self._running:
                process.terminate()


# -- one run -----------------------------------------------------------------


def _perform(run: Run, processes: _Processes) -> SeedResult:
    """Train and test on each split, or count."""
    if run.experiment.task == 'cost':
        return _cost(run)
    if run.start is not None:
        _perform(run.start, processes)
    with processes.alone_in(run.folder):
        return _finished(run) or _train_and_test(run, processes)


def _finished(run: Run) -> Optional[SeedResult]:
    """The result of a run that was done before, with the same settings."""
    try:
        content = json.loads(run.result_file.read_text(encoding='utf-8'))
        if content.pop('fingerprint') == run.fingerprint:
            return SeedResult(**content)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none, or a damaged one: the run is repeated
    return None


def _train_and_test(run: Run, processes: _Processes) -> SeedResult:
    test = _evaluate_masks if run.experiment.task == 'masks' else _test
    train_data, test_data = (
        [] if root is None else ['--data-root', root]
        for root in (run.data_root, run.test_root))
    parts, start = [], []
    if run.start is not None:
        last = _last_checkpoint(run.start.folder / 'train')
        start = ['--cfg-options', f'load_from={last}']
    for split in run.experiment.splits or (None,):
        folder = run.folder if split is None else run.folder / f'split{split}'
        chosen = [] if split is None else ['--split', split]
        seconds = processes.call(
            run, ['tools/train.py'], run.folder / 'config.py', '--work-dir',
            folder / 'train', '--seed', run.seed, '--resume', *chosen,
            *train_data, *start)
        result = test(run, processes, folder, [*chosen, *test_data])
        parts.append(replace(result, seconds=seconds + result.seconds))
    result = _mean(parts)
    write_text(run.result_file,
               json.dumps(dict(fingerprint=run.fingerprint, **asdict(result))))
    return result


def _last_checkpoint(folder: Path) -> Path:
    """The last regular checkpoint of a training."""
    text = (folder / 'last_checkpoint').read_text(encoding='utf-8').strip()
    return folder / Path(text).name


def _mean(parts: list[SeedResult]) -> SeedResult:
    """The mean over splits, their items one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = set.intersection(*(set(part.metrics) for part in parts))
    metrics = {name: float(np.mean([part.metrics[name] for part in parts]))
               for name in sorted(names)}
    items = {name: [value for part in parts for value in part.items[name]]
             for name in parts[0].items}
    return SeedResult(metrics, items, sum(part.seconds for part in parts))


def _test(run: Run, processes: _Processes, folder: Path, common: list) -> SeedResult:
    """The last checkpoint on the test part."""
    tested = folder / run.experiment.name
    dumped = tested.with_name(f'{tested.name}.npz')
    seconds = processes.call(
        run, ['tools/test.py'], run.folder / 'config.py',
        _last_checkpoint(folder / 'train'), '--work-dir', tested, '--dump', dumped,
        *common, *run.experiment.test)
    if run.experiment.task == 'action':
        scores = load_scores(str(dumped))
        is_right = scores['score'].argmax(1) == scores['label']
        items = dict(correct=is_right.astype(float).tolist())
    else:
        evaluator = Config.fromfile(str(run.folder / 'config.py')).test_evaluator
        ranking = prepare_ranking(load_features(str(dumped)),
                                  evaluator.get('distance', 'euclidean'))
        precision = rank_distances(ranking.distances(), *ranking.ids).average_precision
        items = dict(AP=[None if np.isnan(value) else round(value, 4)
                         for value in precision.tolist()])
    return SeedResult(_logged_metrics(tested), items, seconds)


def _logged_metrics(folder: Path) -> dict:
    """Metrics of the newest test in a folder, shares in per cent."""
    files = sorted(folder.glob('*/*.json'))
    if not files:
        raise Failure(f'the test left no metrics in {folder}')
    metrics = json.loads(files[-1].read_text(encoding='utf-8'))
    numbers = {key.split('/')[-1]: value for key, value in metrics.items()
               if isinstance(value, (int, float))}
    return {key: round(100 * value, 4) if is_percentage(key) else value
            for key, value in numbers.items() if key not in ('data_time', 'time')}


def _evaluate_masks(run: Run, processes: _Processes, folder: Path, common: list
                    ) -> SeedResult:
    """Random weights, which most trainings begin with, and all checkpoints."""
    checkpoints = sorted((folder / 'train').glob('epoch_*.pth'),
                         key=lambda path: int(path.stem.rpartition('_')[2]))
    out = folder / f'{run.experiment.name}.masks'
    seconds = processes.call(
        run, ['-m', 'projects.attention_study.evaluate_masks'],
        run.folder / 'config.py', *checkpoints, '--untrained', '--seed', run.seed,
        '--out', out, *common, *run.experiment.test)
    content = json.loads(out.read_text(encoding='utf-8'))
    return SeedResult(mask_metrics(content['states']), seconds=seconds)


def mask_metrics(states: Sequence[Mapping]) -> dict[str, float]:
    """Metrics, in per cent, of the states that ``evaluate_masks --out`` wrote.

    They are named after map, layer and, for the AUC, epoch (0: random weights):
    ``cosam_layer3_AUC_40``. Of the last epoch there are also ``<map>_IoU``, at the
    threshold that marks as many pixels as the silhouette has, and ``<map>_AUC_limit``,
    the AUC of the silhouette itself, averaged over the map's positions.

    >>> row = dict(map='cosam', place='backbone.plugins.after_layer3.0', auc_mean=0.6,
    ...            share_iou_mean=0.3, coarse_silhouette_auc=0.9)
    >>> mask_metrics([dict(epoch=0, rows=[row])])
    {'cosam_layer3_AUC_0': 60.0, 'cosam_layer3_IoU': 30.0, \
'cosam_layer3_AUC_limit': 90.0}
    """
    def name(row: Mapping) -> str:
        layer = re.search(r'layer\d+', row['place'])
        return f'{row["map"]}_{layer.group()}' if layer else row['map']

    metrics = {f'{name(row)}_AUC_{state["epoch"]}': 100 * row['auc_mean']
               for state in states for row in state['rows']}
    for row in states[-1]['rows']:
        metrics[f'{name(row)}_IoU'] = 100 * row['share_iou_mean']
        metrics[f'{name(row)}_AUC_limit'] = 100 * row['coarse_silhouette_auc']
    return metrics


def _cost(run: Run) -> SeedResult:
    """Parameters, in millions, and multiply-adds of a clip, in billions."""
    cfg = Config.fromfile(str(run.folder / 'config.py'))
    model = cfg.model
    model.backbone.pop('init_cfg', None)  # weights do not matter, and may be far away
    start = time.monotonic()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        parameters, multiply_adds = _count(MODELS.build(model).eval(), cfg)
    return SeedResult(dict(params_M=parameters / 1e6, flops_G=multiply_adds / 1e9),
                      seconds=time.monotonic() - start)


def _count(model: nn.Module, cfg: Config) -> tuple[int, int]:
    """Parameters, and multiply-adds of one clip as the test pipeline makes it."""
    dataset = cfg.test_dataloader.dataset
    if 'query' not in dataset:
        cost = measure_complexity(model, input_shape(cfg))
        return cost.parameters, cost.multiply_adds
    steps = {step.type: step for step in dataset.query.pipeline}
    tracklet = torch.zeros(1, 1, 3, steps['SampleTrackletFrames'].num_frames,
                           *steps['ResizeFrames'].size)
    with torch.no_grad():
        counted = count_multiply_adds(lambda: model(tracklet))
    return sum(p.numel() for p in model.parameters()), counted.total


# -- several -----------------------------------------------------------------


def run_all(runs: Iterable[Run], root: Path, max_parallel: int,
            report: Callable[[Run, SeedResult], None]) -> list[tuple[Run, str]]:
    """Run many, ``max_parallel`` at a time: those that failed, and why.

    ``report`` is called with each that is done, in this thread. An exception, such as
    KeyboardInterrupt, first stops what runs, with a checkpoint.
    """
    processes, failed = _Processes(root), []
    pool = ThreadPoolExecutor(max_parallel)
    futures = {pool.submit(_perform, run, processes): run for run in runs}
    try:
        for future in as_completed(futures):
            try:
                report(futures[future], future.result())
            except Failure as failure:
                failed.append((futures[future], str(failure)))
    except BaseException:
        for future in futures:
            future.cancel()
        processes.stop()
        raise
    finally:
        pool.shutdown()
    return failed
