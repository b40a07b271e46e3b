"""Models whose masks are looked at: from a checkpoint, or as training begins."""
from typing import Optional, Union

import torch
from mmengine.config import Config
from torch import nn

from cosam_mm.apis import model_loading
from cosam_mm.apis.model_loading import PathLike, TrainedModel
from cosam_mm.layers import COSAM

__all__ = ['check_cosam', 'load_model', 'seed_of_training', 'untrained_model']


def load_model(checkpoint: Union[PathLike, TrainedModel],
               config: Union[PathLike, Config, None] = None,
               device: Union[str, torch.device, None] = None,
               needs_cosam: bool = True) -> nn.Module:
    """:func:`cosam_mm.apis.model_loading.load_model`, of a model with COSAM.

    Raises:
        ValueError: Also where the model holds no COSAM, unless ``needs_cosam`` is
            False.
    """
    model = model_loading.load_model(checkpoint, config, device)
    if needs_cosam:
        check_cosam(model)
    return model


def untrained_model(config: Config, seed: int = 0,
                    device: Union[str, torch.device, None] = None,
                    needs_cosam: bool = True) -> nn.Module:
    """:func:`cosam_mm.apis.model_loading.untrained_model`, of a model with COSAM.

    Raises:
        ValueError: Also where the model holds no COSAM, unless ``needs_cosam`` is
            False.
    """
    model = model_loading.untrained_model(config, seed, device)
    if needs_cosam:
        check_cosam(model)
    return model


def seed_of_training(checkpoint: Optional[PathLike], config: Config) -> int:
    """The seed that a checkpoint was trained with; else the config's; else 0."""
    if checkpoint is None:
        return model_loading.seed_of_training(config)
    return model_loading.read_trained_model(checkpoint, config).seed


def check_cosam(model: nn.Module) -> None:
    """Refuse a model without COSAM with ValueError."""
    if not any(isinstance(module, COSAM) for module in model.modules()):
        raise ValueError(
            f'There is no COSAM in the {type(model).__name__} of this config, so there '
            'are no masks to show: take a config with cosam in its name, or add one to '
            "its backbone with plugins=[dict(cfg=dict(type='COSAM', ...), ...)].")
