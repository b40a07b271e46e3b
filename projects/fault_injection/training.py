"""Small trainings of both kinds, disturbed and resumed beside undisturbed ones.

The undisturbed training loads its data in its own process; the others in none, one or
two workers. What both leave must be the same to the bit: weights, optimiser,
schedules, mean of the weights, best score, log of every iteration, list of files.
"""
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import torch

from cosam_mm.utils.io import read_checkpoint

from .launched import REPO, Launched, run_tool
from .trials import Options, Trial

# All that a training may have to remember: momenta, a schedule by iterations and one
# by validations, gradients over several batches and epochs, a mean of the weights,
# dropout, random crops.
_COMMON = """
custom_imports = dict(imports=['cosam_mm', 'projects.fault_injection.faults'])
train_cfg = dict(max_epochs={epochs}, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.5, begin=0, end=9, by_epoch=False),
    dict(type='ReduceOnPlateauLR', monitor={monitor!r}, rule={rule!r}, factor=0.5,
         patience=0)]
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=2))
custom_hooks = [
    dict(type='SplitLeakageHook', force=False), dict(type='MeanLossHook'),
    dict(type='EMAHook', momentum=0.1)]
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', accumulative_counts=3,
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2))
in_process = dict(num_workers=0, persistent_workers=False)
val_dataloader = in_process
test_dataloader = in_process
"""
_ACTION = """
_base_ = [{base!r}]
model = dict(backbone=dict(base_channels=8, groups=4, reduced_channels=32),
             cls_head=dict(in_channels=32, temporal=dict(ffn_channels=64)))
train_dataloader = dict(batch_size=4)
"""
_REID = """
_base_ = [{base!r}]
model = dict(backbone=dict(base_channels=8), head=dict(num_pids=8))
train_dataloader = dict(
    batch_size=4, sampler=dict(num_pids_per_batch=2, num_tracklets_per_pid=2))
"""
CONFIGS = {
    'action': (_ACTION, 'resnext14_cosam_bert_demo.py',
               dict(epochs=6, monitor='acc/cross_entropy', rule='less')),
    'reid': (_REID, 'reid/resnet14_cosam45_tp_demo.py',
             dict(epochs=8, monitor='reid/mAP', rule='greater')),
}
_DATA = {'action': ('demo', '--num-videos-per-class', '4'),
         'reid': ('reid-demo', '--num-pids', '16')}


class Result(NamedTuple):
    """What a training has left."""
    files: list[str]    # names of its checkpoints
    last: dict          # content of the last one


def _prepare(family: str, folder: Path) -> list[str]:
    """Generate data and write a config; what tools/train.py is told."""
    folder.mkdir(parents=True, exist_ok=True)
    text, base, settings = CONFIGS[family]
    config = folder / f'{family}.py'
    config.write_text((text + _COMMON).format(
        base=str(REPO / 'configs' / base), **settings))
    run_tool('tools/prepare_data.py', [*_DATA[family], '--out', folder / 'data'],
             folder / 'data.log')
    return [str(config), '--data-root', str(folder / 'data'), '--seed', '3']


def read_result(work_dir: Path) -> Result:
    """Read what a training has left."""
    last = (work_dir / 'last_checkpoint').read_text()
    return Result(sorted(path.name for path in work_dir.glob('*.pth')),
                  read_checkpoint(last))


# Of a message hub: what tells the time, the place, or how it came about.
_PASSING = ('time', 'data_time', 'memory', 'cfg', 'experiment_name', 'outdated_ckpts')


def differences(one: Result, other: Result) -> list[str]:
    """Where two results are not the same to the bit; all that decides is compared."""
    found = [] if one.files == other.files else [f'files {one.files} {other.files}']
    metas = ({name: each.last['meta'].get(name) for name in (
        'epoch', 'iter', 'draws', 'awaits_validation')} for each in (one, other))
    return found + _differ(*({**each.last, 'meta': meta}
                             for each, meta in zip((one, other), metas)))


def differences_in_weights(one: Result, other: Result) -> list[str]:
    """Where weights, optimiser and schedules are not the same to the bit."""
    names = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    return _differ(*({name: each.last[name] for name in names}
                     for each in (one, other)))


def _differ(one: dict, other: dict) -> list[str]:
    """Values that differ between two checkpoints, by their path."""
    one, other = dict(_leaves(one)), dict(_leaves(other))
    return [f'{path}: {str(one.get(path))[:40]}, {str(other.get(path))[:40]}'
            for path in dict.fromkeys((*one, *other))
            if path not in one or path not in other
            or not _is_same(one[path], other[path])]


def _leaves(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """(path, value) of all that a checkpoint holds and that may not differ."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif type(value).__name__ == 'HistoryBuffer':
        items = zip(('history', 'counts'), (part.tolist() for part in value.data))
    else:
        yield path, value
        return
    yield path, type(value).__name__  # also where it is empty
    for key, each in items:
        if str(key).rpartition('/')[2] not in _PASSING:  # train/time, too
            yield from _leaves(each, f'{path}/{key}')


def _is_same(one: Any, other: Any) -> bool:
    """Bit by bit; of functions their names, of paths the last parts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if callable(one):
        return one.__qualname__ == other.__qualname__
    if isinstance(one, str) and os.sep in one:
        return os.path.basename(one) == os.path.basename(other)
    return one == other


# -- disturbed and undisturbed -------------------------------------------------------


class Attempt(NamedTuple):
    """A training that is to be disturbed."""
    tool: str             # tools/train.py, or dist_train.sh for two processes
    arguments: list[str]
    seconds: float        # about how long it would run from the beginning
    work_dir: Path
    log: Path             # where its output goes
    turn: int             # number of the disturbance, from 0
    rng: random.Random

    def start(self, fault: str = '', *options: str) -> Launched:
        """Start it, with a fault and further settings."""
        return Launched(self.tool, [*self.arguments, *options], self.log, fault)


class Interruption(NamedTuple):
    """What was done to a process."""
    fault: str
    problem: Optional[str] = None    # what went wrong right then


def disturb(options: Options,
            interrupt: Callable[[Attempt], Optional[Interruption]],
            compare: Callable[[Result, Result], list[str]] = differences,
            per_training: int = 5, tool: str = 'tools/train.py') -> Iterator[Trial]:
    """Disturb trainings of each family, ``options.count`` times, and compare.

    Args:
        options: What the loop was told.
        interrupt: Runs a process and disturbs it; None if it ended before that.
        compare: Says what differs between two results.
        per_training: How often one training is disturbed at most.
        tool: Trains.
    """
    for family in options.families:
        folder = options.folder / family
        given = _prepare(family, folder)
        undisturbed, start = folder / 'undisturbed', time.monotonic()
        run_tool(tool, _arguments(given, tool, undisturbed, 0),
                 undisturbed.with_suffix('.log'))
        seconds, expected = time.monotonic() - start, read_result(undisturbed)
        rng = random.Random(f'{options.seed} {family}')
        count = number = 0
        while count < options.count:
            number += 1
            work_dir = folder / f'disturbed_{number}'
            log = work_dir.with_suffix('.log')
            done: list[Interruption] = []
            while len(done) < min(per_training, options.count - count):
                found = interrupt(Attempt(
                    tool, _arguments(given, tool, work_dir, rng.randrange(3)), seconds,
                    work_dir, log, count + len(done), rng))
                if found is None:
                    break  # the training is at its end
                done.append(found)
            count += len(done)
            if Launched(tool, _arguments(given, tool, work_dir, rng.randrange(3)),
                        log).finish():
                problems = [f'the training could not be resumed, see {log}']
            else:
                problems = compare(read_result(work_dir), expected) + [
                    f'{path.name} is left over' for path in work_dir.glob('.*.partial')]
            for found in done:
                yield Trial(family, found.fault,
                            found.problem or '; '.join(problems[:5]) or None)
            if number > 20 + 5 * options.count:
                raise RuntimeError(f'{family}: the trainings end before they are '
                                   f'disturbed, see {log}')


def _arguments(given: list[str], tool: str, work_dir: Path, workers: int) -> list[str]:
    """Of the tool: two processes share the batch of one."""
    config, *rest = given
    rest += ['--work-dir', str(work_dir), '--resume', '--cfg-options',
             f'train_dataloader.num_workers={workers}',
             f'train_dataloader.persistent_workers={workers > 1}']
    if tool.endswith('.py'):
        return [config, *rest]
    return [config, '2', *rest, 'train_dataloader.batch_size=2',
            *(['train_dataloader.sampler.num_pids_per_batch=1']
              if Path(config).stem == 'reid' else [])]
