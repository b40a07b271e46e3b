"""From a checkpoint to a model: the one way of inference, plots, reports and export.

    read_trained_model    file -> config, weights, class names: a TrainedModel
    load_model            file, or TrainedModel -> model in evaluation mode
    untrained_model       config, seed -> the model that a training begins with

Nothing of a checkpoint is executed: its tensors are read as tensors, its config as
data. Its weights go into a model whole, or not at all.
"""
import hashlib
import logging
import os
import random
import re
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from cosam_mm.datasets.class_weights import without_class_weights
from cosam_mm.layers.cosam_resampling import resampled_on_load
from cosam_mm.models.reid import VideoReID
from cosam_mm.utils.buildable_types import refuse_unlisted
from cosam_mm.utils.config import default_work_dir
from cosam_mm.utils.config_of_checkpoint import config_of_checkpoint
from cosam_mm.utils.io import PathLike, read_checkpoint, unwrap_state_dict
from cosam_mm.utils.messages import name_some

__all__ = [
    'PathLike', 'TrainedModel', 'check_installed', 'dataset_of_tests',
    'describe_misfit', 'find_checkpoint', 'find_trained', 'list_misfits', 'load_model',
    'load_weights', 'model_class', 'read_trained_model', 'scope_of', 'seed_of_training',
    'untrained_model', 'unused_parameters', 'weights_sha256', 'without'
]


class TrainedModel(NamedTuple):
    """A checkpoint that has been read."""
    path: str
    config: Config  # that it was trained with, or that was given for it
    state_dict: dict[str, Tensor]  # parameters by name, on the CPU
    class_names: Optional[Sequence[str]] = None  # None where it does not name them
    seed: int = 0  # see :func:`seed_of_training`


def find_checkpoint(work_dir: PathLike) -> Path:
    """The newest best checkpoint below a work dir, else the newest one."""
    for pattern in ('best_*.pth', 'epoch_*.pth', 'iter_*.pth'):
        paths = list(Path(work_dir).rglob(pattern))
        if paths:
            return max(paths, key=lambda path: path.stat().st_mtime)
    raise FileNotFoundError(
        f'There is no checkpoint below {work_dir}. Train the model first, or name a '
        'checkpoint.')


def find_trained(model: PathLike, checkpoint: Optional[PathLike] = None
                 ) -> tuple[str, Optional[Config]]:
    """Checkpoint and config of a model that a command line names by either.

    Args:
        model: A checkpoint, which holds its config; or a config file.
        checkpoint: The one that goes with a config file. Default: what
            :func:`find_checkpoint` finds below the config's work dir.

    Returns:
        The checkpoint, and the config; None for the one that the checkpoint holds.
    """
    if not os.fspath(model).endswith('.py'):
        return os.fspath(model), None
    config = Config.fromfile(model)
    if checkpoint is None:
        checkpoint = find_checkpoint(default_work_dir(config, model))
    return os.fspath(checkpoint), config


def read_trained_model(checkpoint: Union[PathLike, TrainedModel],
                       config: Union[PathLike, Config, None] = None) -> TrainedModel:
    """Read a checkpoint that training, or the converter, wrote.

    Args:
        checkpoint: The file. A :class:`TrainedModel` is returned as it is.
        config: Config, or its file. Default: the one in the checkpoint, which is read
            as data.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: It is no checkpoint, or holds no config and none is given.
    """
    if isinstance(checkpoint, TrainedModel):
        return checkpoint
    path = os.fspath(checkpoint)
    if isinstance(config, (str, os.PathLike)):
        if not os.path.isfile(config):
            raise FileNotFoundError(f'There is no config {os.fspath(config)}.')
        config = Config.fromfile(config)
    content = read_checkpoint(path)
    state_dict = unwrap_state_dict(content)
    meta = content.get('meta') or {}
    if config is None:
        if not isinstance(meta.get('cfg'), str):
            raise ValueError(f'{path} holds no config: give the config file that it '
                             'was trained with, too.')
        config = config_of_checkpoint(meta['cfg'])
    class_names = (meta.get('dataset_meta') or {}).get('classes')
    return TrainedModel(path, config, state_dict, class_names,
                        seed_of_training(config, meta))


def seed_of_training(config: Config, meta: Optional[Mapping] = None) -> int:
    """The seed in the ``meta`` of a checkpoint; else the config's; else 0."""
    for settings in (meta or {}, config.get('randomness') or {}):
        seed = settings.get('seed')
        if isinstance(seed, int):
            return seed
    return 0


def _find_device(name: Union[str, torch.device, None]) -> torch.device:
    """A device that exists here, or ``ValueError``; the GPU, if there is one."""
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'There is no device {str(name)!r} here: {reason}') from None
    return device


def dataset_of_tests(config: Config) -> Mapping:
    """The data set of a config's tests; empty where it has none."""
    return (config.get('test_dataloader') or {}).get('dataset') or {}


def check_installed(scope: Optional[str]) -> None:
    """Raise ``RuntimeError`` for a config of MMAction2 where that is not installed."""
    if scope == 'mmaction' and find_spec(scope) is None:
        raise RuntimeError('This config needs MMAction2, which is not installed: '
                           "pip install 'cosam_mm[action]' brings it.")


def scope_of(config: Config, default: Optional[str] = None):
    """Context of a config's ``default_scope``, to look its parts up and build them."""
    scope = config.get('default_scope', default)
    check_installed(scope)
    refuse_unlisted(scope)
    return DefaultScope.overwrite_default_scope(scope)


def model_class(config: Config, default_scope: Optional[str] = None) -> type:
    """The class of a config's model; ``ValueError`` if none of its name is known."""
    model = config.get('model')
    kind = model.get('type') if isinstance(model, Mapping) else None
    with scope_of(config, default_scope), \
            MODELS.switch_scope_and_registry(None) as registry:
        known = registry.get(kind) if isinstance(kind, str) else kind
    if not isinstance(known, type):
        raise ValueError(
            f'No model of type {kind!r} is registered. If it is yours, give the config '
            'file, whose custom_imports are imported.')
    return known


def _build(config: Config, default_scope: Optional[str] = None, **changes) -> nn.Module:
    """Build the model of a config; ``ValueError`` if a part of it is unknown."""
    model = dict(without_class_weights(config.model), **changes)
    refuse_unlisted(model)
    try:
        with scope_of(config, default_scope):
            return MODELS.build(model)
    except KeyError as error:
        if 'registry' not in str(error):
            raise
        raise ValueError(
            f'The model cannot be built: {error.args[0]} If a part of it is yours, '
            'give the config file, whose custom_imports are imported.') from error


def load_model(checkpoint: Union[PathLike, TrainedModel],
               config: Union[PathLike, Config, None] = None,
               device: Union[str, torch.device, None] = None,
               wanted: Optional[type] = None,
               default_scope: Optional[str] = None) -> nn.Module:
    """Build the model of a checkpoint and fill it with the trained weights.

    The classifier and the losses of a :class:`VideoReID` are left out, so that its
    number of identities need not fit.

    Args:
        checkpoint, config: As for :func:`read_trained_model`.
        device: As 'cpu', 'cuda' or 'cuda:1'. Default: the GPU, if there is one.
        wanted: Class that the model must be of. Default: any.
        default_scope: Scope of a config that names none.

    Returns:
        The model in evaluation mode, with ``cfg`` and ``class_names`` (None where the
        checkpoint does not name them).

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: The checkpoint is none, it holds no config and none is given, the
            model is of another class or cannot be built, the parameters do not fit,
            or there is no such device.
    """
    trained, device = read_trained_model(checkpoint, config), _find_device(device)
    known = model_class(trained.config, default_scope)
    if wanted is not None and not issubclass(known, wanted):
        raise ValueError(
            f'The model of this config is a {known.__name__}, not a {wanted.__name__}: '
            'ActionRecognizer takes recognisers of MMAction2, TrackletEncoder takes a '
            'VideoReID.')
    unused = unused_parameters(known)
    model = _build(trained.config, default_scope, **dict(head=None) if unused else {})
    load_weights(model, trained, unused)
    model.cfg, model.class_names = trained.config, trained.class_names
    return model.to(device).eval()


def untrained_model(config: Config, seed: int = 0,
                    device: Union[str, torch.device, None] = None) -> nn.Module:
    """A model with the weights that a training with ``seed`` begins with.

    Pretrained weights that the config asks for are loaded as in training. Random
    numbers of the caller continue as if none had been taken.

    Returns:
        The model in evaluation mode, with ``cfg``.

    Raises:
        ValueError: The model cannot be built, its pretrained weights cannot be had,
            or there is no such device.
    """
    device = _find_device(device)
    with _random_state_kept():
        set_random_seed(seed)
        model = _build(config)
        try:
            if hasattr(model, 'init_weights'):
                with scope_of(config), _quiet():
                    model.init_weights()
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f'The weights that training begins with cannot be had: {reason}. '
                'Without them the model is not as it was before training.') from None
    model.cfg = config
    return model.to(device).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a line in the log for each parameter that gets its first value."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put the states of Python's, numpy's and torch's generators back afterwards."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


def _shapes(state_dict: Mapping[str, Tensor]) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in state_dict.items()}


def without(state_dict: Mapping[str, Tensor], unused: Iterable[str]
             ) -> dict[str, Tensor]:
    """Parameters whose names do not begin like that, their metadata with them."""
    kept = OrderedDict((name, value) for name, value in state_dict.items()
                       if not name.startswith(tuple(unused)))
    kept._metadata = getattr(state_dict, '_metadata', {})
    return kept


def unused_parameters(model: Union[nn.Module, type]) -> tuple[str, ...]:
    """Beginnings of names that a model in evaluation mode does without.

    The classifier and the losses of a :class:`VideoReID`: people met later have no
    class. A recogniser's classifier is what it is for.
    """
    kind = model if isinstance(model, type) else type(model)
    return ('head.', 'losses.') if issubclass(kind, VideoReID) else ()


# What tells modules apart that are plugged into a backbone, by names below their own.
_PLUGINS = {
    'COSAM': r'(reduction|summary|channel_attention)\.\d',
    'non-local block': r'(module\.)?(g|theta|phi|conv_out)\.'}


def _plugins_of(names: Iterable[str], there: Iterable[str]
                ) -> tuple[list[str], list[str]]:
    """The plugins that parameters belong to, as 'COSAM backbone.plugins.layer3.0', if
    none of their parameters is ``there``; and the names of the other parameters."""
    found, others = {}, []
    kinds = {kind: rf'(.+?)\.{part}' for kind, part in _PLUGINS.items()}
    kinds['plugin'] = r'(.*\bplugins\.\w+)\.'
    for name in names:
        kind, match = next(((kind, match) for kind, form in kinds.items()
                            if (match := re.match(form, name))), ('', None))
        if match and not any(one.startswith(f'{match[1]}.') for one in there):
            found[f'{kind} {match[1]}'] = None
        else:
            others.append(name)
    return list(found), others


def list_misfits(given: dict[str, tuple], wanted: dict[str, tuple],
                 resampled: Container[str] = ()) -> list[str]:
    """What differs between a checkpoint and a model: see :func:`describe_misfit`."""
    differ = [name for name in wanted if name not in resampled
              and given.get(name, wanted[name]) != wanted[name]]
    parts = []
    classifier = next((name for name in differ if re.search(
        r'(^|\.)fc_cls\.(weight|bias)$', name)), None)
    if classifier:
        parts.append(
            f'the checkpoint has {given[classifier][0]} classes, the config '
            f'{wanted[classifier][0]}: set model.cls_head.num_classes and num_classes '
            'of the data sets, or use the matching config')
    if differ:
        parts.append(f'{len(differ)} parameter(s) differ in shape (checkpoint, model): '
                     + name_some([f'{name} {given[name]}, {wanted[name]}'
                                  for name in differ], separator='; '))
    for here, there, owner, other in ((wanted, given, 'model', 'checkpoint'),
                                      (given, wanted, 'checkpoint', 'model')):
        names = [name for name in here if name not in there
                 and not name.endswith('num_batches_tracked')]
        plugins, others = _plugins_of(names, there)
        if plugins:
            parts.append(f'the {owner} has {name_some(plugins)}, the {other} not')
        if others:
            parts.append(f'{len(others)} parameter(s) of the {owner} are not in the '
                         f'{other}: {name_some(others)}')
    return parts


def describe_misfit(given: dict[str, tuple], wanted: dict[str, tuple],
                    resampled: Container[str] = ()) -> Optional[str]:
    """Say why parameters do not fit a model.

    Args:
        given: Name -> shape of what the checkpoint holds.
        wanted: Name -> shape of what the model of the config holds.
        resampled: Names of parameters that the model brings into shape itself.

    Returns:
        None when both have the same parameters in the same shapes, else what differs
        and what to do. BatchNorm's ``num_batches_tracked`` may be absent.
    """
    parts = list_misfits(given, wanted, resampled)
    return None if not parts else (
        f'The checkpoint does not fit the model of the config: {". ".join(parts)}. '
        'Give the config that it was trained with.')


def load_weights(model: nn.Module, trained: TrainedModel,
                 unused: Iterable[str] = ()) -> None:
    """Fill a model, built from ``trained.config``, with the trained weights.

    A COSAM for clips of another length or size has its summary weights resampled.

    Args:
        model: It.
        trained: What :func:`read_trained_model` returned.
        unused: Beginnings of names that the model may do without, as ``'head.'``.

    Raises:
        ValueError: Parameters are missing, too many, or of another shape; or the size
            that a COSAM was trained for is unknown. The model is unchanged then.
    """
    state_dict = without(trained.state_dict, unused)
    resampled = resampled_on_load(model, state_dict)
    wanted = _shapes(model.state_dict())
    misfit = describe_misfit(_shapes(state_dict), wanted, resampled)
    if misfit:
        raise ValueError(f'{trained.path}: {misfit}')
    # Not strict: BatchNorm's num_batches_tracked may be absent.
    model.load_state_dict(state_dict, strict=False)


def weights_sha256(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that inference with a model depends on but its settings.

    Names, types, shapes and bytes count; the device does not, nor do the counters of
    batches that BatchNorm keeps.
    """
    digest = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        if name.endswith('num_batches_tracked'):
            continue
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
