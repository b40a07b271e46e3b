"""What a checkpoint holds beyond mmengine's content, and which file to resume from.

Gradients that wait to be applied and the buffers of each process are added. Of the
files that a checkpoint names, only the run's own checkpoints count.
"""
import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import torch
from mmengine.dist import (
    all_gather,
    all_gather_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper

from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.utils.checkpoint_integrity import (
    check_checkpoint,
    check_sizes,
    describe_damage,
)
from cosam_mm.utils.io import PathLike, read_checkpoint, read_text
from cosam_mm.utils.unpickling import checked_classes

__all__ = [
    'AWAITS_VALIDATION', 'BUFFERS', 'GRADIENTS', 'OUTDATED', 'WITHIN_EPOCH',
    'DelayedRemovalBackend', 'describe_other_schedule', 'differing_buffers', 'disarm',
    'find_newest', 'folder_of', 'pending_gradients', 'read_with_checks',
    'take_gradients'
]

# Keys of a checkpoint:
GRADIENTS = 'gradients_of_processes'  # that were not applied yet
_MEAN_GRADIENTS = 'gradients'  # what version 0.1 kept instead
BUFFERS = 'buffers_of_processes'  # where they are not the same
# in its meta:
AWAITS_VALIDATION = 'awaits_validation'
# in its message hub:
OUTDATED = 'outdated_ckpts'  # files that it replaces
WITHIN_EPOCH = 'ckpt_within_epoch'  # its own name if it stands within an epoch

# What a schedule's length depends on.
_LENGTHS = ('begin', 'end', 'total_steps', 'T_max', 'step_size', 'milestones')


# -- content ---------------------------------------------------------------------


def pending_gradients(runner) -> list[dict[str, torch.Tensor]]:
    """Gradients of each process that wait for more batches, by name.

    They are not averaged: a mean taken before they are applied is rounded otherwise.
    Models that a strategy spreads over processes are left out.

    Returns:
        One dictionary for each process, on the CPU; the main process has them all, the
        others an empty list. Empty everywhere if nothing waits.
    """
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, OptimWrapper) or hasattr(runner, 'strategy'):
        return []
    if wrapper._accumulative_counts == 1 or wrapper.should_update():
        return []
    parameters = dict(bare_model(runner.model).named_parameters())
    names_of_all = all_gather_object({
        name for name, parameter in parameters.items() if parameter.grad is not None})
    gathered: list[dict[str, torch.Tensor]] = [{} for _ in names_of_all]
    for name, parameter in parameters.items():
        if not any(name in names for names in names_of_all):
            continue
        gradient = (torch.zeros_like(parameter) if parameter.grad is None
                    else parameter.grad.detach().contiguous())
        # One by one, since a GPU need not have room for those of all.
        for names, kept, one in zip(names_of_all, gathered, all_gather(gradient)):
            if name in names and is_main_process():
                kept[name] = one.to('cpu', copy=True)
    return gathered if is_main_process() else []


def take_gradients(checkpoint: dict) -> dict[str, torch.Tensor]:
    """Take the gradients that wait, by name, out of a checkpoint.

    They are those of this process; or the mean of all where the checkpoint is of
    another number of processes, or of a version that kept nothing else.
    """
    mean = checkpoint.pop(_MEAN_GRADIENTS, None) or {}
    of_all = checkpoint.pop(GRADIENTS, None) or []
    if len(of_all) == get_world_size():
        return of_all[get_rank()]
    names = {name: None for one in of_all for name in one}  # in order
    return mean or {name: sum(one[name] for one in of_all if name in one) / len(of_all)
                    for name in names}


def differing_buffers(runner) -> list[dict[str, torch.Tensor]]:
    """Buffers of each process by name; empty where all have the same.

    Within an epoch, each process has a batch norm's statistics of its own.
    """
    if get_world_size() == 1 or hasattr(runner, 'strategy'):
        return []
    kept = bare_model(runner.model).state_dict().keys()
    of_all = all_gather_object({
        name: buffer.detach().cpu()
        for name, buffer in bare_model(runner.model).named_buffers() if name in kept})
    is_same = all(torch.equal(buffer, other[name])
                  for name, buffer in of_all[0].items() for other in of_all[1:])
    return [] if is_same else of_all


# -- reading ---------------------------------------------------------------------


def read_with_checks(runner) -> None:
    """Have a runner read its checkpoints as :func:`read_checkpoint` does.

    mmengine reads by torch's defaults, which look at no checksum and refuse mmengine's
    own checkpoints. Within the runner's reading alone they are allowed, also when that
    raises. Asking again changes nothing.
    """
    if 'load_or_resume' not in vars(runner):
        for name in ('_init_model_weights', 'load_or_resume'):
            if hasattr(runner, name):
                setattr(runner, name, partial(_read, runner, getattr(runner, name)))


def _read(runner, reads: Callable, *args) -> Any:
    path = str(runner._load_from)
    if os.path.isfile(path) and reads.__name__ == 'load_or_resume':
        check_checkpoint(path)
    with checked_classes():
        return reads(*args)


def disarm(runner, checkpoint: dict) -> None:
    """Take out of a checkpoint that was read what harms when mmengine goes on from it.

    ``meta['config']``, which only files of old packages hold, would be run as Python.
    Files that it names are removed once the run has newer ones: only those stay named
    that are checkpoints of this run, in its folder.

    Raises:
        ValueError: A tensor claims more than the file holds.
    """
    path = str(runner._load_from)
    if os.path.isfile(path):
        check_sizes(checkpoint, path)
    (checkpoint.get('meta') or {}).pop('config', None)
    if not runner._resume:
        return
    hub = checkpoint.get('message_hub') or {}
    info = hub.get('runtime_info') or {}
    is_own = _OwnCheckpoints(runner, checkpoint)
    for key in [key for key in info if key.startswith('best_ckpt')]:
        if not is_own(info[key]):
            del info[key]
    for key, template in ((OUTDATED, '{}'), ('keep_ckpt_ids', is_own.template)):
        if key in info:
            items = info[key] if isinstance(info[key], list) else []
            info[key] = [item for item in items if is_own(
                os.path.join(is_own.folder, template.format(item)))]
    if not is_own(os.path.join(is_own.folder, str(info.get(WITHIN_EPOCH)))):
        info.pop(WITHIN_EPOCH, None)
    # mmengine would warn of names without a value.
    for key in {*(hub.get('resumed_keys') or ())} - {
            *info, *(hub.get('log_scalars') or ())}:
        del hub['resumed_keys'][key]


class _OwnCheckpoints:
    """Whether a path is a checkpoint that an earlier start of this run has written.

    It is if it is a regular file directly in the folder of the run's checkpoints, has
    a name that the run gives, and holds a training as far as its name says, with the
    seed and the parameters of ``checkpoint``, from which the run goes on.
    """

    def __init__(self, runner, checkpoint: dict) -> None:
        hook = next((hook for hook in runner.hooks
                     if isinstance(hook, CheckpointHook)), None)
        self.folder = os.path.abspath(folder_of(hook, runner))
        self.template = getattr(hook, 'filename_tmpl', None) or (
            'epoch_{}.pth' if getattr(hook, 'by_epoch', True) else 'iter_{}.pth')
        name = r'(\d+)'.join(map(re.escape, re.split(r'{.*?}', self.template)))
        self._name = re.compile(rf'(?:best_.+_)?(?:{name}|iter_(\d+)\.pth)')
        self._run = checkpoint

    def __call__(self, path: Any) -> bool:
        folder, name = os.path.split(os.path.abspath(str(path)))
        match = self._name.fullmatch(name)
        if not match or folder != self.folder or os.path.islink(path) \
                or not os.path.isfile(path):
            return False
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            content = read_checkpoint(path, mmap=True)
            meta, names = content['meta'], content['state_dict'].keys()
            return (int(match[match.lastindex]) in (meta['epoch'], meta['iter'])
                    and meta.get('seed') == self._run['meta'].get('seed')
                    and names == self._run['state_dict'].keys())
        return False


def folder_of(hook: Optional[CheckpointHook], runner) -> str:
    """Where a checkpoint hook writes, which it knows itself when a training begins."""
    out_dir = getattr(hook, 'out_dir', None)
    return str(runner.work_dir if out_dir is None else os.path.join(
        out_dir, os.path.basename(runner.work_dir.rstrip(os.sep))))


def describe_other_schedule(runner, checkpoint: dict) -> Optional[str]:
    """Say so if a resumed training has a schedule of another length than its config.

    mmengine takes all numbers of a schedule from the checkpoint.

    Raises:
        RuntimeError: It is one cycle, and is over before the training is.
    """
    states, schedules = checkpoint.get('param_schedulers'), runner.param_schedulers
    if not isinstance(states, list) or not isinstance(schedules, list):
        return None
    for schedule, state in zip(schedules, states):
        own = schedule.state_dict()
        if any(own.get(key) != state.get(key) for key in _LENGTHS):
            steps, kind = state.get('total_steps'), type(schedule).__name__
            length = runner.max_epochs if schedule.by_epoch else runner.max_iters
            text = (f'The checkpoint is of a training of another length: its {kind} '
                    'goes on as it was, and not as the config says.')
            if steps is not None and steps < length:
                raise RuntimeError(
                    f'{text} It is over after {steps} of {length} steps. Begin a new '
                    f'training with these weights: --from {runner._load_from}.')
            return text
    return None


# -- files -----------------------------------------------------------------------


def find_newest(folder: PathLike, work_dir: Optional[PathLike] = None
                ) -> tuple[Optional[str], list[str]]:
    """The checkpoint that a training goes on from.

    It is the one that ``last_checkpoint`` names; in a folder that was moved or copied,
    the one of that name there. If that is absent, damaged or says nothing of use: of
    all that are whole, the one with most iterations. ``best_*`` hold no optimiser and
    do not count.

    Args:
        folder: Where the checkpoints are.
        work_dir: Where ``last_checkpoint`` is. Default: there, too.

    Returns:
        The checkpoint, None where none is whole; what is wrong with each that was
        passed over.
    """
    folder, problems = Path(folder), []
    pointer = Path(folder if work_dir is None else work_dir, 'last_checkpoint')
    last = _last_written(folder, pointer)
    if last is not None:
        damage = describe_damage(last)
        if damage is None:
            return str(last), []
        problems.append(f'{last} is damaged: {damage}')
    others = [path for path in folder.glob('*.pth')
              if not path.name.startswith('best_')
              and not (last is not None and path.resolve() == last.resolve())]
    if others and last is None:
        problems.append(f'{pointer} is missing, empty, or names no file that is there')
    steps = {path: _num_iterations(path) for path in others}
    for path in sorted(others, key=lambda path: (steps[path], path.name), reverse=True):
        damage = describe_damage(path)
        if damage is None and steps[path] >= 0:
            return str(path), problems
        problems.append(f'{path} is damaged: {damage or "it cannot be read"}')
    return None, problems


def _last_written(folder: Path, pointer: Path) -> Optional[Path]:
    try:
        text = read_text(pointer).strip()
    except (OSError, ValueError):
        return None
    if not text or '\0' in text:
        return None
    for path in (folder / Path(text).name, Path(text)):
        if path.is_file():
            return path
    return None


def _num_iterations(path: Path) -> int:
    """Iterations behind a checkpoint, without reading its tensors; -1: unreadable."""
    try:
        return int(read_checkpoint(path, mmap=True)['meta']['iter'])
    except (OSError, ValueError, TypeError, KeyError):
        return -1


class DelayedRemovalBackend:
    """A file backend that removes files when it is told that it may."""

    def __init__(self, backend) -> None:
        self._backend = backend
        self.outdated: list[str] = []  # paths to remove

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file, or a folder, for removal."""
        if path not in self.outdated:
            self.outdated.append(path)

    rmtree = remove

    def remove_now(self) -> None:
        """Remove them."""
        for path in self.outdated:
            if self._backend.isfile(path):
                self._backend.remove(path)
            elif self._backend.isdir(path):  # DeepSpeed's checkpoints
                self._backend.rmtree(path)
        self.outdated = []
