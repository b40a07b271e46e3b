"""Small trainings of both kinds in processes that can be killed, and their results."""
import multiprocessing
import os
import re
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import torch

from . import faults

__all__ = ['CONFIGS', 'LIMIT', 'REPO', 'Result', 'differences',
           'differences_in_weights', 'duration', 'prepare', 'read_result', 'run_tool',
           'start_tool', 'wait_for_training']

REPO = Path(__file__).resolve().parents[2]
LIMIT = 300  # seconds, after which a training counts as hung

# All that a training may have to remember: momenta, a schedule by iterations and one
# by validations, gradients over several batches and epochs, a mean of the weights,
# dropout, random crops.
_COMMON = """
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
    """What a training has left.

    Attributes:
        files: Names of its checkpoints.
        last: Content of the last one.
    """
    files: list[str]
    last: dict


def prepare(family: str, folder: Path) -> list[str]:
    """Generate data and write a config; return the arguments of tools/train.py."""
    folder.mkdir(parents=True, exist_ok=True)
    text, base, settings = CONFIGS[family]
    config = folder / f'{family}.py'
    config.write_text((text + _COMMON).format(
        base=str(REPO / 'configs' / base), **settings))
    status = run_tool(['tools/prepare_data.py', *_DATA[family], '--out',
                       str(folder / 'data')], folder / 'data.log')
    if status:
        raise RuntimeError(f'generating the data failed, see {folder / "data.log"}')
    return ['tools/train.py', str(config), '--data-root', str(folder / 'data'),
            '--seed', '3']


def start_tool(argv: Sequence[str], log: Path,
               fault: Optional[faults.Fault] = None) -> multiprocessing.Process:
    """Run a tool of the checkout as a process that has imported all it needs.

    Args:
        argv: The tool and its arguments.
        log: Its output is appended here.
        fault: What goes wrong in it.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['projects.fault_injection.preload'])
    process = context.Process(target=_become, args=(list(argv), str(log), fault))
    process.start()
    return process


def run_tool(argv: Sequence[str], log: Path,
             fault: Optional[faults.Fault] = None) -> int:
    """Run a tool to its end; its exit status, negative after a signal."""
    process = start_tool(argv, log, fault)
    process.join(LIMIT)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise RuntimeError(f'{argv[0]} took more than {LIMIT} s, see {log}')
    return process.exitcode


def wait_for_training(process: multiprocessing.Process, log: Path,
                      offset: int = 0) -> None:
    """Wait until a started training has logged an iteration or a validation, or ended.

    Args:
        process: What :func:`start_tool` returned.
        log: Its log.
        offset: Where in it this process's part begins, in bytes.
    """
    end = time.monotonic() + LIMIT
    while process.exitcode is None and time.monotonic() < end:
        if log.exists() and re.search(rb'Epoch\((train|val)\)',
                                      log.read_bytes()[offset:]):
            return
        process.join(0.02)


def _become(argv: list[str], log: str, fault: Optional[faults.Fault]) -> None:
    os.setpgid(0, 0)  # a group with its workers, as a shell makes
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.chdir(REPO)
    sys.argv = [str(REPO / argv[0]), *argv[1:]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 0
    try:
        if fault is not None:
            faults.arm(fault)
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as error:
        status = error.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    multiprocessing.util._exit_function()  # ends the workers of data loaders
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def read_result(work_dir: Path) -> Result:
    """Read what a training has left."""
    last = (work_dir / 'last_checkpoint').read_text()
    return Result(sorted(path.name for path in work_dir.glob('*.pth')),
                  torch.load(last, map_location='cpu', weights_only=True))


# Of a message hub: what tells the time, the place, or how it came about.
_PASSING = ('time', 'data_time', 'memory', 'cfg', 'experiment_name', 'outdated_ckpts')


def differences(one: Result, other: Result) -> list[str]:
    """Where two results are not the same to the bit; all that decides is compared."""
    found = [] if one.files == other.files else [f'files {one.files} {other.files}']
    names = sorted(set(one.last) | set(other.last) - {'meta'})
    for name in names:
        if name == 'meta':
            continue
        found += _differ(one.last.get(name), other.last.get(name), name)
    for name in ('epoch', 'iter', 'draws', 'awaits_validation'):
        found += _differ(one.last['meta'].get(name), other.last['meta'].get(name), name)
    return found


def differences_in_weights(one: Result, other: Result) -> list[str]:
    """Where weights, optimiser and schedules are not the same to the bit."""
    names = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    return [line for name in names
            for line in _differ(one.last[name], other.last[name], name)]


def _differ(one: Any, other: Any, name: str) -> list[str]:
    if name.split('/')[-1] in _PASSING:
        return []
    if type(one) is not type(other):
        return [f'{name}: {type(one).__name__}, {type(other).__name__}']
    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict):
        if one.keys() != other.keys():
            return [f'{name}: keys {sorted(map(str, one.keys() ^ other.keys()))}']
        return [line for key in one for line in _differ(
            one[key], other[key], f'{name}/{key}')]
    elif isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [f'{name}: lengths {len(one)}, {len(other)}']
        return [line for k, (a, b) in enumerate(zip(one, other))
                for line in _differ(a, b, f'{name}/{k}')]
    elif type(one).__name__ == 'HistoryBuffer':
        return [line for part, a, b in zip(('history', 'counts'), one.data, other.data)
                for line in _differ(a.tolist(), b.tolist(), f'{name}/{part}')]
    elif callable(one):
        same = one.__qualname__ == other.__qualname__
    elif isinstance(one, str) and os.sep in one:
        same = os.path.basename(one) == os.path.basename(other)
    else:
        same = one == other
    return [] if same else [f'{name}: {str(one)[:40]}, {str(other)[:40]}']


def duration(argv: Sequence[str], log: Path,
             run: Callable[[Sequence[str], Path], int] = run_tool) -> float:
    """Seconds that a tool takes, which has to succeed."""
    start = time.monotonic()
    status = run(argv, log)
    if status:
        raise RuntimeError(f'{argv[0]} failed, see {log}')
    return time.monotonic() - start
