"""Folders of generated data that are complete or absent, and know what made them.

A data set is written beside its path and takes its name when it is complete. A JSON
marker in it holds the parameters, so that a second run recognises its own work.
"""
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ['generate_folder']

_ADVICE = 'delete the folder or choose another'


def generate_folder(marker: Path, parameters: dict, kind: str, expected: Iterable[Path],
                    write: Callable[[Path], None]) -> Path:
    """Write a folder, unless the same parameters have made it before.

    Args:
        marker: Path of the marker in the folder, which must be absent, empty or
            finished.
        parameters: What the folder is made with, as JSON has it.
        kind: What it holds, for messages: 'demo data set'.
        expected: Every file that a finished folder must hold.
        write: Writes all files but the marker into an empty folder.

    Returns:
        The folder.

    Raises:
        ValueError: The folder holds something else, or lacks files.
    """
    if not _is_finished(marker, parameters, kind, expected):
        with _written_at_once(marker.parent) as partial:
            write(partial)
            text = json.dumps(parameters, indent=2) + '\n'
            (partial / marker.name).write_text(text, encoding='utf-8')
    return marker.parent


@contextmanager
def _written_at_once(out_dir: Path) -> Iterator[Path]:
    """Give a folder beside ``out_dir`` that takes its name when all went well."""
    out_dir = out_dir.resolve()  # a link stays, what it points at is replaced
    partial = out_dir.with_name(f'.{out_dir.name}.partial-{uuid4().hex[:8]}')
    partial.mkdir(parents=True)
    try:
        yield partial
        if out_dir.is_dir():
            out_dir.rmdir()  # only an empty folder gets this far
        partial.rename(out_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_finished(marker: Path, parameters: dict, kind: str,
                 expected: Iterable[Path]) -> bool:
    """Whether a folder holds the finished work of these parameters, or nothing."""
    folder = marker.parent
    if not marker.is_file():
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ValueError(f'{folder} exists and is no finished {kind} (it has no '
                             f'{marker.name}); {_ADVICE}')
        return False
    written = json.loads(marker.read_text(encoding='utf-8'))
    if written != parameters:
        differing = ', '.join(
            f'{key} {written.get(key)!r} instead of {parameters.get(key)!r}'
            for key in {**parameters, **written}
            if written.get(key) != parameters.get(key))
        raise ValueError(f'{folder} holds a {kind} with other parameters '
                         f'({differing}); {_ADVICE}')
    missing = [path for path in expected if not path.is_file()]
    if missing:
        raise ValueError(f'{folder} lacks {len(missing)} of its files, {missing[0]} '
                         f'for one; {_ADVICE}')
    return True
