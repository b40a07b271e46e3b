"""What a checkpoint says of the model in it: its config, its weights, its classes.

Nothing of a checkpoint is executed: its tensors are read as tensors, its config as
data. Its weights go into a model whole, or not at all.
"""
import hashlib
import re
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple, Optional

import torch
from mmengine.config import Config
from torch import Tensor, nn

from cosam_mm.layers.cosam_loading import resampled_on_load
from cosam_mm.models.converters import read_checkpoint, unwrap_state_dict
from cosam_mm.utils.config import config_of_checkpoint

__all__ = [
    'TrainedModel', 'describe_misfit', 'load_weights', 'name_some',
    'read_trained_model', 'weights_sha256'
]

_MAX_NAMED = 5


class TrainedModel(NamedTuple):
    """A checkpoint that has been read.

    Attributes:
        path: The file.
        config: The config that it was trained with, or that was given for it.
        state_dict: Parameters by name, on the CPU.
        class_names: Names of the classes; None where it does not tell.
    """
    path: str
    config: Config
    state_dict: dict[str, Tensor]
    class_names: Optional[Sequence[str]]


def read_trained_model(checkpoint: str,
                       config: Optional[Config] = None) -> TrainedModel:
    """Read a checkpoint that training, or the converter, wrote.

    Args:
        checkpoint: The file.
        config: Default: the one in the checkpoint, which is read as data.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, or holds no config and none is given.
    """
    content = read_checkpoint(checkpoint)
    state_dict = unwrap_state_dict(content)
    meta = content.get('meta') or {}
    if config is None:
        if not isinstance(meta.get('cfg'), str):
            raise ValueError(f'{checkpoint} holds no config: give the config file '
                             'that it was trained with, too.')
        config = config_of_checkpoint(meta['cfg'])
    class_names = (meta.get('dataset_meta') or {}).get('classes')
    return TrainedModel(str(checkpoint), config, state_dict, class_names)


def _shapes(state_dict: Mapping[str, Tensor]) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in state_dict.items()}


def _without(state_dict: Mapping[str, Tensor], unused: Iterable[str]
             ) -> dict[str, Tensor]:
    """Parameters whose names do not begin like that, their metadata with them."""
    kept = OrderedDict((name, value) for name, value in state_dict.items()
                       if not name.startswith(tuple(unused)))
    kept._metadata = getattr(state_dict, '_metadata', {})
    return kept


def name_some(lines: list[str]) -> str:
    """The first few of the lines, and how many more there are."""
    rest = len(lines) - _MAX_NAMED
    return '; '.join(lines[:_MAX_NAMED]) + (f'; and {rest} more' if rest > 0 else '')


def describe_misfit(found: dict[str, tuple], wanted: dict[str, tuple],
                    resampled: Container[str] = ()) -> Optional[str]:
    """Say why parameters do not fit a model.

    Args:
        found: Name -> shape of what the checkpoint holds.
        wanted: Name -> shape of what the model of the config holds.
        resampled: Names of parameters that the model brings into shape itself.

    Returns:
        None when every parameter of the model is there in its shape, else what
        differs and what to do. BatchNorm's ``num_batches_tracked`` may be absent.
    """
    differ = [name for name in wanted if name not in resampled
              and found.get(name, wanted[name]) != wanted[name]]
    missing = [name for name in wanted
               if name not in found and not name.endswith('num_batches_tracked')]
    if not differ and not missing:
        return None
    parts = []
    for name in differ:
        if re.search(r'(^|\.)fc_cls\.(weight|bias)$', name):
            parts.append(
                f'the checkpoint has {found[name][0]} classes, the config '
                f'{wanted[name][0]}: set model.cls_head.num_classes and num_classes '
                'of the data sets, or use the matching config')
            break
    if differ:
        parts.append(f'{len(differ)} parameter(s) differ in shape (checkpoint, model): '
                     + name_some([f'{name} {found[name]}, {wanted[name]}'
                                   for name in differ]))
    if missing:
        parts.append(f'{len(missing)} parameter(s) of the model are not in the '
                     f'checkpoint: {name_some(missing)}')
    return ('The checkpoint does not fit the model of the config: '
            + '. '.join(parts) + '.')


def load_weights(model: nn.Module, trained: TrainedModel,
                 unused: Iterable[str] = ()) -> None:
    """Fill a model from a checkpoint.

    A COSAM for clips of another length or size has its summary weights resampled.

    Args:
        model: Built from ``trained.config``.
        trained: What :func:`read_trained_model` returned.
        unused: Beginnings of names that the model may do without, as ``'head.'``.

    Raises:
        ValueError: Parameters are missing, too many, or of another shape; or the size
            that a COSAM was trained for cannot be told.
    """
    state_dict = _without(trained.state_dict, unused)
    resampled = resampled_on_load(model, state_dict)
    wanted = _shapes(model.state_dict())
    misfit = describe_misfit(_shapes(state_dict), wanted, resampled)
    surplus = [name for name in state_dict if name not in wanted]
    if misfit is None and surplus:
        named = ', '.join(surplus[:_MAX_NAMED])
        rest = len(surplus) - _MAX_NAMED
        misfit = (
            f'{len(surplus)} parameter(s) of the checkpoint are not in the model: '
            f'{named}{f" and {rest} more" if rest > 0 else ""}. Give the config that '
            'it was trained with.')
    if misfit:
        raise ValueError(f'{trained.path} does not fit the model: {misfit}')
    # Not strict: BatchNorm's num_batches_tracked may be absent.
    model.load_state_dict(state_dict, strict=False)


def weights_sha256(model: nn.Module) -> str:
    """Fingerprint of all that inference with a model depends on but its settings.

    Names, types, shapes and bytes count; the device does not, nor do the counters of
    batches that BatchNorm keeps.

    Example:
        >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> before = weights_sha256(a), weights_sha256(b)
        >>> _ = b.load_state_dict(a.state_dict())
        >>> before[0] == before[1], before[0] == weights_sha256(b)
        (False, True)
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.endswith('num_batches_tracked'):
            continue
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
