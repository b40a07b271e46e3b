"""Checkpoint files that are whole or not there, and known to be whole.

A file is written beside its place, flushed to the disk, and renamed. What it must hold
is on record before it takes its name: ``checkpoints.sha256`` in the same folder, in
the form that ``sha256sum --check`` reads. A file that is being replaced has two lines
there for a moment, so whenever the machine stops, file and record agree:

    partial file written, flushed  ->  recorded  ->  renamed  ->  old line dropped
"""
import contextlib
import hashlib
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional, Union

import torch
from mmengine.fileio import LocalBackend

__all__ = ['RECORD', 'Found', 'RemovingLater', 'describe_damage', 'find_newest',
           'finish_file', 'forget', 'partial_path', 'read_record',
           'remove_partial_files', 'write_text']

PathLike = Union[str, os.PathLike]

RECORD = 'checkpoints.sha256'
_SUFFIX = '.partial'
_LINE = re.compile(r'([0-9a-f]{64})  (.+)')


class Found(NamedTuple):
    """What to go on from.

    Attributes:
        path: The checkpoint; None where there is none that is whole.
        problems: What is wrong with those that were passed over, one line each.
    """
    path: Optional[str]
    problems: list[str]


def partial_path(path: PathLike) -> Path:
    """Where a file is written before it takes its name. No ``*.pth`` matches it."""
    path = Path(path)
    return path.with_name(f'.{path.name}{_SUFFIX}')


def remove_partial_files(folder: PathLike) -> list[str]:
    """Remove what a process left that was stopped while it wrote; return the names."""
    found = sorted(Path(folder).glob(f'.*{_SUFFIX}'))
    for path in found:
        path.unlink()
    return [path.name for path in found]


def finish_file(partial: PathLike, path: PathLike) -> None:
    """Let a written file take its name, once it is safe on the disk.

    Args:
        partial: The file, as :func:`partial_path` names it.
        path: Its name. A file that has it is replaced.

    Raises:
        OSError: The disk does not take it. The file that was there still is.
    """
    path = Path(path)
    with open(partial, 'rb+') as file:
        os.fsync(file.fileno())
    digest = _sha256(partial)
    record = read_record(path.parent)
    _write_record(path.parent,
                  {**record, path.name: [*record.get(path.name, []), digest]})
    os.replace(partial, path)
    _flush_folder(path.parent)
    _write_record(path.parent, {**record, path.name: [digest]})


def write_text(path: PathLike, text: str) -> None:
    """Write a small file whole or not at all, and flush it to the disk."""
    partial = partial_path(path)
    try:
        with open(partial, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    _flush_folder(Path(path).parent)


def read_record(folder: PathLike) -> dict[str, list[str]]:
    """Hashes by file name; more than one while a file is being replaced.

    Lines that are no record are passed over, and so is a file that cannot be read.
    """
    record: dict[str, list[str]] = {}
    try:
        text = Path(folder, RECORD).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError):
        return record
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            record.setdefault(match[2], []).append(match[1])
    return record


def forget(folder: PathLike, names: Iterable[str]) -> None:
    """Drop files from the record."""
    record = read_record(folder)
    dropped = record.keys() & set(names)
    if dropped:
        _write_record(folder, {name: digests for name, digests in record.items()
                               if name not in dropped})


def describe_damage(path: PathLike) -> Optional[str]:
    """Say why a checkpoint cannot be what was written.

    It is compared with the record of its folder. Where that does not know the file,
    the check sums that ``torch.save`` puts beside each tensor must agree.

    Returns:
        None when it is whole, else the reason.
    """
    path = Path(path)
    if not path.is_file():
        return 'there is no such file'
    digests = read_record(path.parent).get(path.name)
    if digests:
        return None if _sha256(path) in digests else (
            f'its SHA-256 is not the one in {RECORD}')
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError,
            zipfile.BadZipFile) as error:
        return f'it is no checkpoint file ({error})'
    return broken and f'the check sum of its part {broken} does not agree'


def find_newest(folder: PathLike, work_dir: Optional[PathLike] = None) -> Found:
    """The checkpoint that a training goes on from.

    It is the one that ``last_checkpoint`` names; in a folder that was moved or copied,
    the one of that name there. If that is absent, damaged or says nothing of use: of
    all that are whole, the one with most iterations. ``best_*`` hold no optimiser and
    do not count.

    Args:
        folder: Where the checkpoints are.
        work_dir: Where ``last_checkpoint`` is. Default: there, too.
    """
    folder, problems = Path(folder), []
    pointer = Path(folder if work_dir is None else work_dir, 'last_checkpoint')
    last = _last_written(folder, pointer)
    if last is not None:
        damage = describe_damage(last)
        if damage is None:
            return Found(str(last), [])
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
            return Found(str(path), problems)
        problems.append(f'{path} is damaged: {damage or "it cannot be read"}')
    return Found(None, problems)


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
        content = torch.load(path, map_location='cpu', mmap=True, weights_only=True)
        return int(content['meta']['iter'])
    except Exception:  # which one depends on the byte where the file breaks
        return -1


def _sha256(path: PathLike) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _write_record(folder: PathLike, record: dict[str, list[str]]) -> None:
    write_text(Path(folder, RECORD), ''.join(
        f'{digest}  {name}\n' for name, digests in record.items()
        for digest in dict.fromkeys(digests)))


def _flush_folder(folder: Path) -> None:
    """Make renames last. Some file systems cannot, and some need not."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class RemovingLater:
    """A file backend that removes files when it is told that it may.

    Attributes:
        outdated: Paths to remove.
    """

    def __init__(self, backend) -> None:
        self._backend = backend
        self.outdated: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file, or a folder, for removal."""
        if path not in self.outdated:
            self.outdated.append(path)

    rmtree = remove

    def remove_now(self, folder: str) -> None:
        """Remove them, and drop those in ``folder`` from its record."""
        for path in self.outdated:
            if self._backend.isfile(path):
                self._backend.remove(path)
            elif self._backend.isdir(path):  # DeepSpeed's checkpoints
                self._backend.rmtree(path)
        names = [os.path.basename(path) for path in self.outdated]
        self.outdated = []
        if isinstance(self._backend, LocalBackend):
            forget(folder, names)
