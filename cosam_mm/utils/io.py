"""Files: written whole or not at all, read without running anything in them.

A checkpoint is a pickle, and a pickle can run anything. Only tensors and plain values
are ever unpickled here (``weights_only``), out of files that are as they were written
and hold what they claim. A named pipe or a device may never end: what opens files that
others wrote asks :func:`regular_size` first.
"""
import contextlib
import math
import os
import pickle
import re
import stat
import tempfile
import traceback
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from mmengine.logging import MMLogger
from torch import Tensor

from .checkpoint_integrity import (
    PathLike,
    check_checkpoint,
    check_claims,
    check_sizes,
    drop_from_list,
    sha256_of_file,
)
from .messages import name_some
from .unpickling import checked_classes

__all__ = [
    'MAX_IMAGE_BYTES', 'check_destination', 'loading_weights_only', 'read_arrays',
    'read_checkpoint', 'read_text', 'regular_size', 'remove_partial_files',
    'sha256_of_file', 'unwrap_state_dict', 'write_arrays', 'write_checkpoint',
    'write_results', 'write_text', 'writing'
]

# More than any frame has. A file full of holes can have any size, and is read whole.
MAX_IMAGE_BYTES = 1 << 28
# More than any list or log has. MARS names a million images in 20 MB.
_MAX_TEXT_BYTES = 1 << 28
# Of an .npz file's arrays, as bytes and as a multiple of the file's own.
_MAX_INFLATED, _MAX_RATIO = 1 << 30, 20
_SUFFIX = '.partial'
_KINDS = {stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a named pipe',
          stat.S_IFSOCK: 'a socket', stat.S_IFCHR: 'a device',
          stat.S_IFBLK: 'a device'}


# -- any file ------------------------------------------------------------------


@contextlib.contextmanager
def writing(path: PathLike) -> Iterator[Path]:
    """Write a file so that a reader meets the old one or the whole new one.

    It is written beside its target, flushed to the disk, and renamed; its folder is
    made if need be.

    Yields:
        Where to write it: ``.<name>.<process>.partial`` in the same folder. It is
        removed if the body of the ``with`` statement fails.

    Example:
        >>> with writing('/tmp/cosam_example.bin') as partial:
        ...     _ = partial.write_bytes(b'abc')
        >>> sha256_of_file('/tmp/cosam_example.bin')[:8]
        'ba7816bf'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}{_SUFFIX}')
    try:
        yield partial
        with open(partial, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    # To make the rename last. Some file systems cannot, and some need not.
    with contextlib.suppress(OSError):
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_partial_files(folder: PathLike) -> list[str]:
    """Remove what :func:`writing` left in processes that were killed: file names."""
    found = sorted(Path(folder).glob(f'.*{_SUFFIX}'))
    for path in found:
        path.unlink()
    return [path.name for path in found]


def write_text(path: PathLike, text: str) -> None:
    """Write a UTF-8 text file whole or not at all; see :func:`writing`."""
    with writing(path) as partial:
        partial.write_text(text, encoding='utf-8')


def read_text(path: PathLike, errors: str = 'strict') -> str:
    """Text of a UTF-8 file, without the mark that spreadsheets begin it with.

    Args:
        path: The file; it may be empty.
        errors: What becomes of other bytes, as in ``open``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no regular file, too large for a text, or not UTF-8.
    """
    try:
        regular_size(path, _MAX_TEXT_BYTES, least=0)
        return Path(path).read_text(encoding='utf-8-sig', errors=errors)
    except FileNotFoundError:
        raise FileNotFoundError(f'There is no file {path}.') from None
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not UTF-8 text: {error}') from None
    except OSError as error:
        raise ValueError(f'{path} cannot be read: {error.strerror or error}') from None


def regular_size(path: PathLike, most: float = float('inf'), least: int = 1) -> int:
    """Size of a regular file or of one that a link leads to, in bytes.

    Raises:
        OSError: It is not there, is no regular file, has less than ``least`` or more
            than ``most`` bytes; or no file can have such a name.
    """
    try:
        status = os.stat(path)
    except ValueError as error:  # a null byte in the name
        raise OSError(str(error)) from None
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise OSError(f'it is {_KINDS.get(kind, "something else")}, not a file')
    if status.st_size < least:
        raise OSError('the file is empty')
    if status.st_size > most:
        raise OSError(f'it has {status.st_size:,} bytes, more than {most:,}')
    return status.st_size


# -- arrays --------------------------------------------------------------------


def write_arrays(path: PathLike, arrays: Mapping[str, np.ndarray],
                 compress: bool = True) -> None:
    """Write an .npz file whole or not at all; see :func:`writing`.

    Args:
        path: Ends in .npz.
        arrays: Arrays by name, none of dtype object.
        compress: False for features of networks: they hardly shrink and take long.
    """
    with writing(path) as partial, open(partial, 'wb') as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)


def write_results(path: PathLike, arrays: Mapping[str, np.ndarray],
                  compress: bool = True) -> None:
    """Write an .npz file that took long to compute; see :func:`write_arrays`.

    Raises:
        RuntimeError: It could not be written, and a copy that is named lies beside
            mmengine's log, or in the folder for temporary files.
        OSError: Nor could a copy.
    """
    try:
        write_arrays(path, arrays, compress)
        return
    except OSError as error:
        problem = error
    log = MMLogger.get_current_instance().log_file
    for folder in ([os.path.dirname(log)] if log else []) + [tempfile.gettempdir()]:
        copy = Path(folder, f'{os.getpid()}_{Path(path).name}')
        with contextlib.suppress(OSError):
            write_arrays(copy, arrays, compress)
            raise RuntimeError(f'{path} could not be written ({problem.strerror}). '
                               f'Its content is in {copy}.') from problem
    raise problem


def read_arrays(path: PathLike, kind: str = 'file of arrays') -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name; nothing in it is executed.

    Args:
        path: The file.
        kind: What it should be, for messages: 'score file'.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no .npz file, is damaged, holds pickled objects, or claims
            more than it has.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'The {kind} {str(path)!r} does not exist. Write one with tools/test.py.')
    try:
        with zipfile.ZipFile(path) as archive:
            _check_inflated(archive, os.path.getsize(path))
            return {info.filename.removesuffix('.npy'): _read_array(archive, info)
                    for info in archive.infolist()}
    except (ValueError, OSError, EOFError, AttributeError, TypeError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f'{path} is not a {kind}: {error}') from error


def _check_inflated(archive: zipfile.ZipFile, size: int) -> None:
    """Raise a ValueError for what numpy does not write, or that inflates to memory.

    DEFLATE makes a kilobyte of zeros one byte (RFC 1951, 3.2.5).
    """
    inflated = sum(info.file_size for info in archive.infolist())
    if inflated > max(_MAX_INFLATED, _MAX_RATIO * size):
        raise ValueError(f'{size:,} bytes that claim to hold {inflated:,}')
    if odd := {info.compress_type for info in archive.infolist()} - {
            zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError(f'compressed in ways that numpy does not use: {odd}')


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """An array as large as the bytes that are there for it."""
    form = np.lib.format
    with archive.open(info) as file:
        read_header = {(1, 0): form.read_array_header_1_0,
                       (2, 0): form.read_array_header_2_0}.get(form.read_magic(file))
        if read_header is None:
            raise ValueError(f'{info.filename} is no array of plain values')
        shape, _, dtype = read_header(file)
    if math.prod(shape) * max(dtype.itemsize, 1) > info.file_size:
        raise ValueError(f'{info.filename} claims shape {shape}, for which its '
                         f'{info.file_size:,} bytes are too few')
    with archive.open(info) as file:
        return form.read_array(file, allow_pickle=False)


# -- checkpoints ---------------------------------------------------------------


def read_checkpoint(path: PathLike, map_location: Any = 'cpu',
                    mmap: bool = False) -> Any:
    """Load a checkpoint's tensors and plain values.

    Args:
        path: A file that ``torch.save`` wrote, in its old or new format. numpy
            numbers among its values (accuracies, mostly) are allowed.
        map_location: Where to, as in ``torch.load``.
        mmap: Leave the tensors on the disk until they are used, and their checksums
            alone. Quick where other values are wanted; the old format cannot.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, is damaged (:func:`check_checkpoint`), claims
            more than it holds, or needs code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no checkpoint file {path}.')
    is_zip = zipfile.is_zipfile(path)
    if mmap and is_zip:
        check_claims(path)
    else:
        check_checkpoint(path)
    try:
        with checked_classes():
            content = torch.load(path, map_location=map_location, weights_only=True,
                                 mmap=mmap and is_zip)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the system's word on the file; torch's own names no file
        # What a broken or foreign file raises depends on the byte where it
        # breaks: EOFError, KeyError, RuntimeError, UnicodeDecodeError, ...
        raise ValueError(_describe_refusal(path, error)) from error
    check_sizes(content, path)
    return content


def _describe_refusal(path: PathLike, error: Exception) -> str:
    """Explain torch's error to someone who wants to load a checkpoint."""
    if odd := re.search(r'The checkpoint holds .*do not trust this file', str(error),
                        re.DOTALL):
        return f'{path}: {odd[0]}.'
    wanted = re.search(r'GLOBAL `?([\w.]+)`? (?:was not|whose)', str(error))
    if isinstance(error, pickle.UnpicklingError) and wanted:
        return (f'{path} does not hold weights alone: loading it would run '
                f'{wanted.group(1)}, which is refused. If its origin can be trusted, '
                'load it in the code it comes from and save '
                "dict(state_dict=model.state_dict()) there; convert that file.")
    return (f'{path} cannot be read as a PyTorch checkpoint '
            f'({type(error).__name__}). Is the download complete?')


@contextlib.contextmanager
def loading_weights_only() -> Iterator[None]:
    """Have every ``torch.load`` of this process load tensors and plain values only.

    For programs of our own that let mmengine read a checkpoint, from a file or an
    address: mmengine leaves to torch's defaults what is unpickled, and downloads whole.

    Raises:
        FileNotFoundError: mmengine was to read a checkpoint that is not there.
        ValueError: It is no checkpoint, or needs code to be run.
    """
    names = ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ[names[0]] = '1'
    try:
        with checked_classes():
            yield
    except Exception as error:
        path = _checkpoint_being_read(error)
        if path is None:
            raise
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f'There is no checkpoint file {path}.') from error
        raise ValueError(_describe_refusal(path, error)) from error
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _checkpoint_being_read(error: Exception) -> Optional[str]:
    """What mmengine was told to read when an error came up within that."""
    path, module = None, ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get('__name__', '')
        if module == 'mmengine.runner.checkpoint':
            path = frame.f_locals.get('filename', path)
    reads = module.startswith('torch.') or module == 'mmengine.runner.checkpoint'
    return path if reads and not isinstance(error, MemoryError) else None


def unwrap_state_dict(checkpoint: Any) -> dict[str, Tensor]:
    """Parameters by name, and as ``_metadata`` what modules wrote about themselves.

    Args:
        checkpoint: A state dict, or a dict that has one under ``'state_dict'``,
            with or without the ``module.`` that ``DataParallel`` puts first.

    Raises:
        ValueError: It holds no state dict.
    """
    state = checkpoint
    if isinstance(checkpoint, Mapping) and 'state_dict' in checkpoint:
        state = checkpoint['state_dict']
    problem = 'has no entries'
    if not isinstance(state, Mapping):
        problem = f'is a {type(state).__name__}'
    elif others := [f'{name} ({type(value).__name__})' for name, value in state.items()
                    if not isinstance(name, str) or not isinstance(value, Tensor)]:
        problem = f'has entries that are no tensors: {name_some(others, most=10)}'
    elif state:
        problem = None
    if problem:
        raise ValueError('A checkpoint is a dict of tensors, or has one as '
                         f"'state_dict'; this {problem}.")
    metadata = getattr(state, '_metadata', {})
    prefix = 'module.'
    if all(name.startswith(prefix) for name in state):
        state = {name[len(prefix):]: value for name, value in state.items()}
        # Keyed by modules: 'module' is the wrapped model itself.
        metadata = {f'{name}.'[len(prefix):-1]: value
                    for name, value in metadata.items()
                    if f'{name}.'.startswith(prefix)}
    parameters = OrderedDict(state)  # a plain dict takes no attributes
    parameters._metadata = metadata
    return parameters


def check_destination(path: PathLike, overwrite: bool = False) -> None:
    """Find out before hours of work whether a file can be written.

    Raises:
        FileExistsError: It is there, and ``overwrite`` is False; or it is a folder.
        ValueError: Its folder is none, or cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise FileExistsError(f'{path} is a folder; name a file.')
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists; --overwrite (overwrite=True) '
                              'replaces it.')
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):  # root may do all but that
            pass
    except OSError as error:
        raise ValueError(f'{path} cannot be written: {folder} is no folder that you '
                         f'may write to ({error.strerror}).') from None


def write_checkpoint(path: PathLike, checkpoint: Mapping,
                     overwrite: bool = False) -> None:
    """Save a checkpoint whole or not at all; see :func:`writing`.

    Raises:
        FileExistsError: The file is there, and ``overwrite`` is False.
    """
    check_destination(path, overwrite)
    drop_from_list(path)
    with writing(path) as partial, open(partial, 'wb') as file:
        torch.save(checkpoint, file)  # by its name, torch would put that into it
