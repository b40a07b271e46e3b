"""Reading other people's checkpoints without running their code; safe writing.

A checkpoint is a pickle, and a pickle can run anything. Only tensors and plain
values are ever unpickled here (``weights_only``).
"""
import contextlib
import importlib
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

__all__ = [
    'check_destination', 'describe_refusal', 'read_checkpoint', 'unwrap_state_dict',
    'write_checkpoint'
]

PathLike = Union[str, Path]


def read_checkpoint(path: PathLike, map_location: Any = 'cpu') -> Any:
    """Load a checkpoint's tensors and plain values.

    Args:
        path: A file that ``torch.save`` wrote, in its old or new format. numpy
            numbers among its values (accuracies, mostly) are allowed.
        map_location: Where to, as in ``torch.load``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, or needs code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no checkpoint file {path}.')
    try:
        with _numpy_numbers_allowed():
            return torch.load(path, map_location=map_location, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the system's word on the file; torch's own names no file
        # What a broken or foreign file raises depends on the byte where it
        # breaks: EOFError, KeyError, RuntimeError, UnicodeDecodeError, ...
        raise ValueError(describe_refusal(path, error)) from error


def describe_refusal(path: PathLike, error: Exception) -> str:
    """What torch's error means for who wants to load a checkpoint."""
    wanted = re.search(r'GLOBAL `?([\w.]+)`? (?:was not|whose)', str(error))
    if isinstance(error, pickle.UnpicklingError) and wanted:
        return (f'{path} does not hold weights alone: loading it would run '
                f'{wanted.group(1)}, which is refused. If its origin can be trusted, '
                'load it in the code it comes from and save '
                "dict(state_dict=model.state_dict()) there; convert that file.")
    return (f'{path} cannot be read as a PyTorch checkpoint '
            f'({type(error).__name__}). Is the download complete?')


def _numpy_numbers_allowed() -> contextlib.AbstractContextManager:
    """Let the few classes through that a numpy number is pickled with.

    numpy 1 and 2 keep them in modules of different names; a file of either is
    read with either. Before torch 2.6 a class could not be allowed under another
    name; files with numpy numbers are refused there.
    """
    import numpy as np
    if torch.__version__ < '2.6':  # a TorchVersion, which compares as a version
        return contextlib.nullcontext()
    is_new = np.lib.NumpyVersion(np.__version__) >= '2.0.0'
    core = importlib.import_module(
        'numpy._core.multiarray' if is_new else 'numpy.core.multiarray')
    scalars = [(core.scalar, f'numpy.{name}.multiarray.scalar')
               for name in ('core', '_core')]
    dtypes = [np.dtype] + [
        type(np.dtype(kind)) for kind in ('bool', 'int32', 'int64', 'float16',
                                          'float32', 'float64')]
    # The context takes on leaving what it brought in; what others allowed stays.
    known = torch.serialization.get_safe_globals()
    return torch.serialization.safe_globals(
        [item for item in (*scalars, *dtypes) if item not in known])


def unwrap_state_dict(checkpoint: Any) -> dict[str, Tensor]:
    """Find the parameters in a checkpoint.

    Args:
        checkpoint: A state dict, or a dict that has one under ``'state_dict'``,
            with or without the ``module.`` that ``DataParallel`` puts first.

    Returns:
        The parameters by name, with the ``_metadata`` that modules have written about
        themselves, where there is any.

    Raises:
        ValueError: It holds no state dict.
    """
    state = checkpoint
    if isinstance(checkpoint, Mapping) and 'state_dict' in checkpoint:
        state = checkpoint['state_dict']
    if not isinstance(state, Mapping):
        raise ValueError('A checkpoint is a dict of tensors, or has one as '
                         f"'state_dict'; this is a {type(state).__name__}.")
    others = [f'{name} ({type(value).__name__})' for name, value in state.items()
              if not isinstance(name, str) or not isinstance(value, Tensor)]
    if others or not state:
        raise ValueError(
            "A checkpoint is a dict of tensors, or has one as 'state_dict'; this has "
            + (f'entries that are no tensors ({len(others)}): '
               f'{", ".join(others[:10])}.' if others else 'no entries.'))
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
    """Raise ``FileExistsError`` unless a file may be written to ``path``."""
    path = Path(path)
    if path.is_dir():
        raise FileExistsError(f'{path} is a folder; name a file.')
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists; --overwrite (overwrite=True) '
                              'replaces it.')


def write_checkpoint(checkpoint: Mapping, path: PathLike,
                     overwrite: bool = False) -> None:
    """Save a checkpoint so that the file is whole or not there.

    Args:
        checkpoint: What to save.
        path: Where to; its folder is made if need be.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        FileExistsError: The file is there and may not be replaced.
    """
    path = Path(path)
    check_destination(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        with open(partial, 'wb') as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
