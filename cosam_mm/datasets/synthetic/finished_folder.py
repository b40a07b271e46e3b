"""Folders that are either all there or not there, and know what made them.

A generated data set is written beside its place and takes its name when it is
complete. A JSON marker in it holds the parameters, so that a second run can tell
its own work from another's.
"""
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ['check_finished', 'write_marker', 'written_at_once']

_ADVICE = 'delete the folder or choose another'


@contextmanager
def written_at_once(out_dir: Path) -> Iterator[Path]:
    """Give a folder beside ``out_dir`` that takes its name when all went well.

    Args:
        out_dir: Where the result goes; absent, or an empty folder.

    Yields:
        An empty folder to write to; it is gone afterwards in any case.
    """
    out_dir = Path(out_dir).resolve()  # a link stays, what it points at is replaced
    partial = out_dir.with_name(f'.{out_dir.name}.partial-{uuid4().hex[:8]}')
    partial.mkdir(parents=True)
    try:
        yield partial
        if out_dir.is_dir():
            out_dir.rmdir()  # only an empty folder gets this far
        partial.rename(out_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_marker(path: Path, parameters: dict) -> None:
    """Write what made a folder, as JSON."""
    path.write_text(json.dumps(parameters, indent=2) + '\n', encoding='utf-8')


def check_finished(marker: Path, parameters: dict, kind: str, expected: Iterable[Path],
                   noun: str) -> bool:
    """Whether a folder holds the finished work of these parameters.

    Args:
        marker: The marker's path in the folder.
        parameters: What the folder should have been made with.
        kind: What the folder holds, for messages: 'demo data set'.
        expected: Every file that ought to be there.
        noun: What these files are, for messages: 'clips'.

    Returns:
        True: it is there and complete. False: the folder is absent or empty.

    Raises:
        ValueError: The folder holds something else, or lacks files.
    """
    folder = marker.parent
    if not marker.is_file():
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ValueError(f'{folder} exists and is no finished {kind} (it has no '
                             f'{marker.name}); {_ADVICE}')
        return False
    found = json.loads(marker.read_text(encoding='utf-8'))
    if found != parameters:
        differing = ', '.join(
            f'{key} {found.get(key)!r} instead of {parameters.get(key)!r}'
            for key in {**parameters, **found}
            if found.get(key) != parameters.get(key))
        raise ValueError(f'{folder} holds a {kind} with other parameters '
                         f'({differing}); {_ADVICE}')
    missing = [path for path in expected if not path.is_file()]
    if missing:
        raise ValueError(f'{folder} lacks {len(missing)} of its {noun}, {missing[0]} '
                         f'for one; {_ADVICE}')
    return True
