"""From a checkpoint to a model on a device: what all inference begins with."""
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Union

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from .trained_model import TrainedModel, read_trained_model

__all__ = ['build_model', 'find_checkpoint', 'find_device', 'model_class',
           'read_model']

PathLike = Union[str, os.PathLike]


def find_checkpoint(work_dir: PathLike) -> Path:
    """The checkpoint that training left in a folder: its newest best one.

    Args:
        work_dir: Folder of a training, or of the trainings of several splits.

    Raises:
        FileNotFoundError: There is none.
    """
    for pattern in ('best_*.pth', 'epoch_*.pth', 'iter_*.pth'):
        found = sorted(Path(work_dir).rglob(pattern),
                       key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1]
    raise FileNotFoundError(
        f'There is no checkpoint below {work_dir}. Train the model first, or name a '
        'checkpoint with --checkpoint.')


def find_device(name: Union[str, torch.device, None] = None) -> torch.device:
    """A device that is there.

    Args:
        name: As 'cpu', 'cuda' or 'cuda:1'. Default: the GPU, if there is one.

    Raises:
        ValueError: There is no such device.

    Example:
        >>> find_device('cpu')
        device(type='cpu')
    """
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'There is no device {str(name)!r} here: {reason}') from None
    return device


def read_model(checkpoint: PathLike,
               config: Union[PathLike, Config, None] = None) -> TrainedModel:
    """Read a checkpoint, and the config file that goes with it if one is given.

    Raises:
        FileNotFoundError: One of the files is not there.
        ValueError: The checkpoint is none, or it holds no config and none is given.
    """
    if isinstance(config, (str, os.PathLike)):
        if not os.path.isfile(config):
            raise FileNotFoundError(f'There is no config {os.fspath(config)}.')
        config = Config.fromfile(config)
    return read_trained_model(os.fspath(checkpoint), config)


def model_class(config: Config) -> type:
    """The class of a config's model, in the scope that is set.

    Raises:
        ValueError: Nothing of that name is registered.
    """
    model = config.get('model')
    kind = model.get('type') if isinstance(model, Mapping) else None
    with MODELS.switch_scope_and_registry(None) as registry:
        known = registry.get(kind) if isinstance(kind, str) else kind
    if known is None:
        raise ValueError(
            f'No model of type {kind!r} is registered. If it is yours, give the config '
            'file, whose custom_imports are imported.')
    return known


def build_model(model: Mapping) -> nn.Module:
    """Build a model in the scope that is set.

    Raises:
        ValueError: A part of it is not registered.
    """
    try:
        return MODELS.build(dict(model))
    except KeyError as error:
        if 'registry' not in str(error):
            raise
        raise ValueError(
            f'The model cannot be built: {error.args[0]} If a part of it is yours, '
            'give the config file, whose custom_imports are imported.') from error
