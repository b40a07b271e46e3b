"""Whether a checkpoint file is as it was written, and holds what it claims.

``torch.save`` writes a zip file with a CRC of each part, which ``torch.load`` does not
look at; a file ``checkpoints.sha256`` beside it, as sha256sum writes it, may say more.
A small file may claim more numbers than there is memory.
"""
import hashlib
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from torch import Tensor

from .cli import NO_VERIFY

__all__ = ['check_checkpoint', 'check_claims', 'check_sizes', 'describe_damage',
           'drop_from_list', 'sha256_of_file']

PathLike = Union[str, os.PathLike]
_SHA256_LIST = 'checkpoints.sha256'


def sha256_of_file(path: PathLike) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def describe_damage(path: PathLike) -> Optional[str]:
    """Say why a checkpoint file is not as it was written; None when it is whole.

    torch's old format, a pickle, has no checksums of its own.
    """
    if not os.path.isfile(path):
        return 'there is no such file'
    try:
        with open(path, 'rb') as file:
            is_pickle = file.read(1) == b'\x80'
        if not is_pickle:
            check_claims(path)
            with zipfile.ZipFile(path) as archive:
                if broken := archive.testzip():
                    return f'the checksum of its part {broken} does not agree'
        text, own_lines = _read_list(Path(path))
        listed = re.findall(own_lines, text)
        if listed and sha256_of_file(path) not in listed:
            return f'its SHA-256 is not the one in {_SHA256_LIST} beside it'
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError,
            zipfile.BadZipFile) as error:
        return f'it is no checkpoint file ({error})'
    return None


def check_claims(path: PathLike) -> None:
    """ValueError for a zip file whose parts are larger than it: torch packs none."""
    with zipfile.ZipFile(path) as archive:
        claimed = sum(part.file_size for part in archive.infolist())
    size = os.path.getsize(path)
    if claimed > size:
        raise ValueError(f'{path} claims to hold {claimed:,} bytes, and has {size:,}: '
                         'torch writes no such file. Do not trust it.')


def _read_list(path: Path) -> tuple[str, str]:
    """The list beside a file, '' without one, and a pattern of its own lines there."""
    listed = path.with_name(_SHA256_LIST)
    is_list = listed.is_file() and listed.stat().st_size < 1 << 24
    return (listed.read_text('utf-8', 'surrogateescape') if is_list else '',
            rf'(?m)^([0-9a-f]{{64}}) [ *](?:\./)?{re.escape(path.name)}(?:\n|$)')


def drop_from_list(path: PathLike) -> None:
    """Take a file that is to be written anew out of the list beside it.

    Version 0.1 kept one, and its trainings may be resumed.
    """
    text, own_lines = _read_list(Path(path))
    if re.search(own_lines, text):
        Path(path).with_name(_SHA256_LIST).write_text(
            re.sub(own_lines, '', text), 'utf-8', 'surrogateescape')


def check_checkpoint(path: PathLike) -> None:
    """Refuse a file that is damaged or claims more than it holds, before it is read.

    Raises:
        ValueError: It is. With ``COSAM_MM_NO_VERIFY`` in the environment damage is a
            warning.
    """
    if zipfile.is_zipfile(path):
        check_claims(path)
    damage = describe_damage(path)
    if damage and os.environ.get(NO_VERIFY):
        warnings.warn(f'{path} is damaged: {damage}. It is read all the same, as '
                      '--no-verify asks.', stacklevel=2)
    elif damage:
        raise ValueError(
            f'{path} is damaged: {damage}. Is the download complete? Get the file '
            'again, or take that of another epoch; --no-verify reads it all the same.')


def check_sizes(content: Any, path: PathLike) -> None:
    """Refuse tensors that claim more numbers than their file has room for.

    A tensor whose steps in memory are 0 has any size; who copies it takes the memory.

    Raises:
        ValueError: One has more bytes than ``path``, and more than 64 MB.
    """
    most, seen, todo = max(os.path.getsize(path), 1 << 26), set(), [content]
    while todo:
        item = todo.pop()
        if id(item) in seen:  # of files in which lists hold themselves
            continue
        seen.add(id(item))
        if isinstance(item, Mapping):
            todo += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            todo += item
        elif isinstance(item, Tensor) and item.numel() * item.element_size() > most:
            raise ValueError(f'{path} claims a tensor of shape {tuple(item.shape)}, '
                             'for which it has no room. Do not trust it.')
