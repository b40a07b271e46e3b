"""Run experiments: train, test, and keep what came out, several at a time.

A run is one experiment with one seed. Each phase of it is one of this project's tools
in a process of its own, which was forked from one that has everything imported::

    WORK/<data>/<training>/seed<k>/config.py       the config, options included
                                  /train/          logs and checkpoints of train.py
                                  /<name>/         log of test.py
                                  /<name>.npz      scores or features, that it wrote
                                  /<name>.masks    figures of evaluate_masks.py
                                  /<name>.json     the figures: this run is done
                                  /log.txt         what both printed
                                  /training.sha256 of all that decides the training

A run that was stopped goes on at its newest checkpoint; one with figures of the same
config is not repeated; one of another config, or with another number of threads, is put
aside. What is tested is the last checkpoint, never the best: that would be chosen on
the data it is rated on.
"""
import collections
import hashlib
import json
import multiprocessing
import os
import runpy
import shlex
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Callable, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from cosam_mm.apis.complexity import count_multiply_adds, measure_complexity
from cosam_mm.evaluation.functional.retrieval import rank_distances
from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.evaluation.metrics.reid_metric import load_features
from cosam_mm.evaluation.reid_evaluation import prepare_ranking
from cosam_mm.utils.config import input_shape

from .experiment import Experiment
from .mask_metrics import mask_metrics
from .record import SeedResult
from .table import is_percentage

__all__ = ['Failure', 'Run', 'prepare_run', 'run_all']

_PRELOADED = ['projects.reproduction.preload']


@dataclass(frozen=True)
class Run:
    """One experiment with one seed, ready to be run.

    Args:
        experiment: Which.
        seed: Of all random numbers.
        folder: Its own.
        data_root: The drawn data to train on; None: the config's.
        test_root: Those to test on.
        num_threads: Threads that it computes with.
        fingerprint: Of all that decides its result.
        start: The run whose last weights this one's training begins with.
    """

    experiment: Experiment
    seed: int
    folder: Path
    data_root: Optional[Path]
    test_root: Optional[Path]
    num_threads: int
    fingerprint: str
    start: Optional['Run'] = None

    @property
    def result_file(self) -> Path:
        """There when the run is done."""
        return self.folder / f'{self.experiment.name}.json'


class Failure(RuntimeError):
    """A phase of a run ended with an error."""


def prepare_run(experiment: Experiment, seed: int, config: str, work_dir: Path,
                data_root: Optional[Path], test_root: Optional[Path],
                num_threads: int, start: Optional[Run] = None) -> Run:
    """Write the config of a run into its folder.

    Args:
        experiment: Which.
        seed: At least 0.
        config: Text of its config, options included.
        work_dir: Folder of all runs.
        data_root: The drawn data to train on; None: the config's.
        test_root: Those to test on.
        num_threads: Threads to compute with.
        start: The run whose last weights the training begins with.
    """
    folder = work_dir / experiment.data / experiment.training / f'seed{seed}'
    decisive = [config, seed, experiment.train_draw, experiment.splits, num_threads]
    if start is not None:
        decisive.append(start.fingerprint)
    training = _hash(decisive)
    started = folder / 'training.sha256'
    if folder.is_dir() and (
            not started.is_file() or started.read_text(encoding='utf-8') != training):
        _put_aside(folder)  # of other settings: nothing to go on with
    folder.mkdir(parents=True, exist_ok=True)
    started.write_text(training, encoding='utf-8')
    (folder / 'config.py').write_text(config, encoding='utf-8')
    rating = [experiment.test_draw, experiment.test]
    return Run(experiment, seed, folder, data_root, test_root, num_threads,
               _hash([*decisive, *rating]), start)


def _put_aside(folder: Path) -> None:
    """Give a folder another name, ``seed0.1`` and so on."""
    number = 1
    while (other := folder.with_name(f'{folder.name}.{number}')).exists():
        number += 1
    folder.rename(other)


def _hash(values: list) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


# -- one run -----------------------------------------------------------------


def _call_tool(tool: str, arguments: list[str], log: str, num_threads: int) -> None:
    """Be one of the tools, in this process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, f'$ python {shlex.join([tool, *arguments])}\n'.encode())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    torch.set_num_threads(num_threads)
    runpy.run_path(tool)['main'](arguments)


class _Phases:
    """Starts phases as processes, and ends those that are under way."""

    def __init__(self) -> None:
        # Memory that was freed is kept: finding its pages anew takes a fifth of a small
        # model's step. glibc looks at these when the server of forks starts.
        for name in ('MALLOC_MMAP_THRESHOLD_', 'MALLOC_TRIM_THRESHOLD_'):
            os.environ.setdefault(name, str(1 << 33))
        self._context = multiprocessing.get_context('forkserver')
        self._context.set_forkserver_preload(_PRELOADED)
        self._running: set = set()
        self._lock = threading.Lock()
        self._folders: dict = collections.defaultdict(threading.Lock)
        self.is_stopped = False

    def alone_in(self, folder: Path) -> threading.Lock:
        """Held by one run of those that share a training."""
        with self._lock:
            return self._folders[folder]

    def call(self, run: Run, tool: Path, *arguments: object) -> float:
        """Run a tool to its end; the seconds that it took.

        Raises:
            Failure: It ended with an error, or was told to stop.
        """
        log = run.folder / 'log.txt'
        start = time.monotonic()
        with self._lock:
            if self.is_stopped:
                raise Failure('stopped')
            process = self._context.Process(
                target=_call_tool,
                args=(str(tool), [*map(str, arguments)], str(log), run.num_threads))
            process.start()
            self._running.add(process)
        process.join()
        with self._lock:
            self._running.discard(process)
        if process.exitcode:
            raise Failure(
                'stopped' if self.is_stopped else
                f'{tool.name} ended with status {process.exitcode}: '
                f'{_last_line(log)}; all it said is in {log}')
        return time.monotonic() - start

    def stop(self) -> None:
        """Ask what runs to stop with a checkpoint; start nothing more."""
        with self._lock:
            self.is_stopped = True
            for process in self._running:
                process.terminate()


def _last_line(log: Path) -> str:
    if not log.is_file():
        return 'it said nothing'
    lines = log.read_text(encoding='utf-8', errors='replace').split('\n')
    return next((line for line in reversed(lines) if line.strip()), 'it said nothing')


def _perform(run: Run, tools: Path, phases: _Phases) -> SeedResult:
    """Train and test on each split, or count."""
    if run.experiment.task == 'cost':
        return _cost(run)
    rate = _look_at_masks if run.experiment.task == 'masks' else _test
    if run.start is not None:
        _perform(run.start, tools, phases)
    with phases.alone_in(run.folder):
        return _finished(run) or _trained_and_rated(run, tools, phases, rate)


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


def _trained_and_rated(run: Run, tools: Path, phases: _Phases,
                       rate: Callable[..., SeedResult]) -> SeedResult:
    parts, start = [], []
    if run.start is not None:
        start = ['--cfg-options', 'load_from='
                 + str(_last_checkpoint(run.start.folder / 'train'))]
    for split in run.experiment.splits or (None,):
        folder = run.folder if split is None else run.folder / f'split{split}'
        chosen = [] if split is None else ['--split', split]
        seconds = phases.call(
            run, tools / 'train.py', run.folder / 'config.py', '--work-dir',
            folder / 'train', '--seed', run.seed, '--resume', *chosen,
            *_data_root(run.data_root), *start)
        rated = rate(run, tools, phases, folder,
                     [*chosen, *_data_root(run.test_root)])
        parts.append(replace(rated, seconds=seconds + rated.seconds))
    result = _joined(parts)
    content = dict(fingerprint=run.fingerprint, **asdict(result))
    partial = run.result_file.with_suffix('.partial')
    partial.write_text(json.dumps(content), encoding='utf-8')
    partial.replace(run.result_file)
    return result


def _data_root(folder: Optional[Path]) -> list:
    return [] if folder is None else ['--data-root', folder]


def _test(run: Run, tools: Path, phases: _Phases, folder: Path, common: list
          ) -> SeedResult:
    """The last checkpoint on the test part."""
    tested = folder / run.experiment.name
    dumped = tested.with_name(f'{tested.name}.npz')
    seconds = phases.call(
        run, tools / 'test.py', run.folder / 'config.py',
        _last_checkpoint(folder / 'train'), '--work-dir', tested, '--dump', dumped,
        *common, *run.experiment.test)
    evaluator = Config.fromfile(str(run.folder / 'config.py')).test_evaluator
    items = _correct_clips(dumped) if run.experiment.task == 'action' else \
        _average_precisions(dumped, evaluator.get('distance', 'euclidean'))
    return SeedResult(_logged_metrics(tested), items, seconds)


def _look_at_masks(run: Run, tools: Path, phases: _Phases, folder: Path, common: list
                   ) -> SeedResult:
    """Random weights, which most trainings begin with, and all checkpoints."""
    kept = sorted((folder / 'train').glob('epoch_*.pth'),
                  key=lambda path: int(path.stem.rpartition('_')[2]))
    found = folder / f'{run.experiment.name}.masks'
    seconds = phases.call(
        run, tools / 'analysis_tools' / 'evaluate_masks.py', run.folder / 'config.py',
        *kept, '--untrained', '--seed', run.seed, '--out', found, *common,
        *run.experiment.test)
    content = json.loads(found.read_text(encoding='utf-8'))
    return SeedResult(mask_metrics(content['states']), seconds=seconds)


def _finished(run: Run) -> Optional[SeedResult]:
    """The result of a run that was done before, as it would be done now."""
    try:
        content = json.loads(run.result_file.read_text(encoding='utf-8'))
        if content.pop('fingerprint') == run.fingerprint:
            return SeedResult(**content)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none, or one that was damaged: it is made again
    return None


def _last_checkpoint(folder: Path) -> Path:
    """The last regular checkpoint of a training."""
    text = (folder / 'last_checkpoint').read_text(encoding='utf-8').strip()
    return folder / Path(text).name


def _logged_metrics(folder: Path) -> dict:
    """Figures of the newest test in a folder, shares in percent."""
    files = sorted(folder.glob('*/*.json'))
    if not files:
        raise Failure(f'the test left no figures in {folder}')
    metrics = json.loads(files[-1].read_text(encoding='utf-8'))
    numbers = {key.split('/')[-1]: value for key, value in metrics.items()
               if isinstance(value, (int, float))}
    return {key: round(100 * value, 4) if is_percentage(key) else value
            for key, value in numbers.items()
            if key not in ('data_time', 'time')}


def _correct_clips(dumped: Path) -> dict:
    """Of each clip, whether its highest score is the right one."""
    scores = load_scores(str(dumped))
    best = scores['score'].argmax(1)
    return dict(correct=(best == scores['label']).astype(float).tolist())


def _average_precisions(dumped: Path, distance: str) -> dict:
    """Of each query, None where it has no truth."""
    ranking = prepare_ranking(load_features(str(dumped)), distance)
    precision = rank_distances(ranking.distances(), *ranking.ids).average_precision
    return dict(AP=[None if np.isnan(value) else round(value, 4)
                    for value in precision.tolist()])


def _joined(parts: list[SeedResult]) -> SeedResult:
    """The mean over splits, their items one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = set.intersection(*(set(part.metrics) for part in parts))
    metrics = {name: float(np.mean([part.metrics[name] for part in parts]))
               for name in sorted(names)}
    items = {name: [value for part in parts for value in part.items[name]]
             for name in parts[0].items}
    return SeedResult(metrics, items, sum(part.seconds for part in parts))


# -- several -----------------------------------------------------------------


def run_all(runs: Iterable[Run], root: Path, max_parallel: int,
            report: Callable[[Run, SeedResult], None]) -> list[tuple[Run, str]]:
    """Run many, some at a time.

    Args:
        runs: Which, the first ones first.
        root: Root of the checkout.
        max_parallel: How many at a time, at least 1.
        report: Called with each that is done, in this thread.

    Returns:
        Those that failed, and why.

    Raises:
        KeyboardInterrupt: As it came; what was under way has stopped with a
            checkpoint by then.
    """
    phases, failed = _Phases(), []
    pool = ThreadPoolExecutor(max_parallel)
    futures = {pool.submit(_perform, run, root / 'tools', phases): run for run in runs}
    try:
        for future in as_completed(futures):
            try:
                report(futures[future], future.result())
            except Failure as failure:
                failed.append((futures[future], str(failure)))
    except BaseException:
        for future in futures:
            future.cancel()
        phases.stop()
        raise
    finally:
        pool.shutdown()
    return failed
