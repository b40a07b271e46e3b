"""mmengine's checkpoint loader, as safe as this project's own reading of checkpoints.

Trainings, tests and ``init_cfg`` load through it. mmengine leaves to torch's defaults
what is unpickled; torch tells who is refused how to lift the refusal. Here nothing but
tensors and plain values is unpickled whatever the defaults are, and the message says
what the file would have run.
"""
import os
import pickle
from typing import Any, Optional

from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_http

__all__ = ['load_address', 'load_file']


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_file(filename: str, map_location: Optional[str] = None) -> Any:
    """Read a checkpoint file.

    Args:
        filename: Its path; a ``~`` is the home folder.
        map_location: As in ``torch.load``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, or needs code to be run.
    """
    # Not above: it is imported along with mmengine.runner, which others here import.
    from .io import read_checkpoint
    return read_checkpoint(os.path.expanduser(filename), map_location)


@CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), force=True)
def load_address(filename: str, map_location: Optional[str] = None) -> Any:
    """Download a checkpoint, once, and read it.

    Raises:
        ValueError: It needs code to be run.
    """
    from .io import describe_refusal
    try:
        return load_from_http(filename, map_location=map_location)
    except pickle.UnpicklingError as error:
        raise ValueError(describe_refusal(filename, error)) from error
