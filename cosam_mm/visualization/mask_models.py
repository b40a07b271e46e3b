"""Models whose masks are looked at: from a checkpoint, or as training begins."""
import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import set_random_seed
from torch import nn

from cosam_mm.apis.model_loading import PathLike, build_model, find_device, read_model
from cosam_mm.apis.trained_model import load_weights
from cosam_mm.layers import COSAM
from cosam_mm.models.converters import read_checkpoint
from cosam_mm.models.reid import VideoReID

__all__ = ['load_model', 'random_state_kept', 'scope_of', 'seed_of_training',
           'untrained_model']


def scope_of(config: Config):
    """The scope in which a config is built."""
    return DefaultScope.overwrite_default_scope(config.get('default_scope'))


def load_model(checkpoint: PathLike, config: Union[PathLike, Config, None] = None,
               device: Union[str, torch.device, None] = None,
               needs_cosam: bool = True) -> nn.Module:
    """A model with COSAM and its trained weights, in evaluation mode.

    Args:
        checkpoint: File written in training, or by the converter.
        config: Config, or its file. Default: the one in the checkpoint.
        device: Default: the GPU, if there is one.
        needs_cosam: Whether to refuse a model without COSAM.

    Returns:
        The model, with ``cfg``. The classifier of a :class:`VideoReID` is left out:
        its number of identities need not fit.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The checkpoint is none or does not fit, the model holds no COSAM,
            or there is no such device.
    """
    trained, place = read_model(checkpoint, config), find_device(device)
    with scope_of(trained.config):
        model = build_model(trained.config.model)
        unused = ()
        if isinstance(model, VideoReID):
            model.head = model.losses = None
            unused = ('head.', 'losses.')
    if needs_cosam:
        _check_cosam(model)
    load_weights(model, trained, unused)
    model.cfg = trained.config
    return model.to(place).eval()


def untrained_model(config: Config, seed: int = 0,
                    device: Union[str, torch.device, None] = None,
                    needs_cosam: bool = True) -> nn.Module:
    """A model with the weights that a training with ``seed`` begins with.

    Pretrained weights that the config asks for are loaded as in training. Random
    numbers of the caller go on as if nothing had been drawn. ``needs_cosam`` is as for
    :func:`load_model`.

    Raises:
        ValueError: The model holds no COSAM, its pretrained weights cannot be had, or
            there is no such device.
    """
    place = find_device(device)
    with random_state_kept(), scope_of(config):
        set_random_seed(seed)
        model = build_model(config.model)
        if needs_cosam:
            _check_cosam(model)
        try:
            if hasattr(model, 'init_weights'):
                with _quiet():
                    model.init_weights()
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                'The weights that training begins with cannot be had: '
                f'{reason}. Without them the model is not shown as it was before '
                'training.') from None
    model.cfg = config
    return model.to(place).eval()


def seed_of_training(checkpoint: Optional[PathLike], config: Config) -> int:
    """The seed that a checkpoint was trained with; else the config's; else 0."""
    meta = {} if checkpoint is None \
        else read_checkpoint(os.fspath(checkpoint)).get('meta') or {}
    for seed in (meta.get('seed'), (config.get('randomness') or {}).get('seed')):
        if isinstance(seed, int):
            return seed
    return 0


def _check_cosam(model: nn.Module) -> None:
    if not any(isinstance(module, COSAM) for module in model.modules()):
        raise ValueError(
            f'There is no COSAM in the {type(model).__name__} of this config, so there '
            'are no masks to show: take a config with cosam in its name, or add one to '
            "its backbone with plugins=[dict(cfg=dict(type='COSAM', ...), ...)].")


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
def random_state_kept() -> Iterator[None]:
    """Random numbers drawn within are not missed afterwards."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
