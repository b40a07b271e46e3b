"""The shipped configs as the tests of all of them read them."""
from functools import cache
from pathlib import Path

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

CONFIG_DIR = Path(__file__).resolve().parents[1] / 'configs'


@cache
def _read(name):
    return Config.fromfile(CONFIG_DIR / name)


def load(name):
    """The config of a path in ``configs/``, read once and copied."""
    return Config(_read(name).to_dict())


def settings_of_parameters(model, optim_wrapper):
    """Name -> (learning rate, weight decay) of each parameter that learns."""
    groups = build_optim_wrapper(model, optim_wrapper).param_groups
    by_parameter = {id(p): (group['lr'], group.get('weight_decay'))
                    for group in groups for p in group['params']}
    return {name: by_parameter[id(p)] for name, p in model.named_parameters()
            if p.requires_grad}
