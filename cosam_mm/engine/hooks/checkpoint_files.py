"""What a checkpoint holds beyond mmengine's content, and which file to resume from.

Gradients that wait to be applied and the buffers of each process are added. Of the
files that a checkpoint names, only checkpoints in the same folder count. A checkpoint
is whole if the CRCs that ``torch.save`` writes beside each tensor agree.
"""
import os
import zipfile
from pathlib import Path
from typing import Optional

import torch
from mmengine.dist import (
    all_gather,
    all_gather_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.optim import OptimWrapper

from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.utils.io import PathLike, read_checkpoint

__all__ = [
    'AWAITS_VALIDATION', 'BUFFERS', 'GRADIENTS', 'OUTDATED', 'WITHIN_EPOCH',
    'DelayedRemovalBackend', 'describe_damage', 'differing_buffers', 'find_newest',
    'pending_gradients', 'stay_in_folder', 'take_gradients'
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


def stay_in_folder(checkpoint: dict) -> None:
    """Drop what a checkpoint of a stranger says of files that lie elsewhere.

    Those that it names are removed when they are outdated.
    """
    info = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
    for key, is_own in ((OUTDATED, _is_checkpoint_name),
                        ('keep_ckpt_ids', lambda step: isinstance(step, int))):
        if key in info:
            info[key] = [item for item in info[key] or () if is_own(item)]
    if not _is_checkpoint_name(info.get(WITHIN_EPOCH, '')):
        info.pop(WITHIN_EPOCH, None)
    # mmengine would warn of names without a value.
    hub = checkpoint.get('message_hub') or {}
    for key in {*(hub.get('resumed_keys') or ())} - {
            *info, *(hub.get('log_scalars') or ())}:
        del hub['resumed_keys'][key]


def _is_checkpoint_name(name: object) -> bool:
    return (isinstance(name, str) and name.endswith('.pth')
            and os.path.basename(name) == name)


# -- files -----------------------------------------------------------------------


def describe_damage(path: PathLike) -> Optional[str]:
    """Say why a checkpoint file is not as it was written; None when it is whole."""
    if not os.path.isfile(path):
        return 'there is no such file'
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError,
            zipfile.BadZipFile) as error:
        return f'it is no checkpoint file ({error})'
    return broken and f'the checksum of its part {broken} does not agree'


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
        text = pointer.read_text(encoding='utf-8').strip()
    except (OSError, UnicodeDecodeError):
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
