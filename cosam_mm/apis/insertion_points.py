"""Where plugins can stand in the backbone of a config."""
from collections.abc import Sequence
from typing import NamedTuple, Optional

from mmengine.config import Config
from torch import nn

from cosam_mm.models.backbones.feature_layout import FEATURE_LAYOUTS
from cosam_mm.models.backbones.plugged_backbone import plug_into
from cosam_mm.models.backbones.plugin_points import trace_outputs, why_no_plugin
from cosam_mm.utils.config import input_shape, type_name

__all__ = ['InsertionPoint', 'list_insertion_points']


class InsertionPoint(NamedTuple):
    """A submodule of a backbone and what it puts out for one clip."""
    name: str  # what a plugin's ``after`` would say
    kind: str  # class of the submodule
    shape: Optional[tuple[int, ...]]  # of its output; None where there is a ``reason``
    layouts: tuple[str, ...]  # that features of so many dimensions can have
    reason: str = ''  # why no plugin can stand here


def list_insertion_points(cfg: Config, shape: Optional[Sequence[int]] = None
                          ) -> list[InsertionPoint]:
    """Run the backbone of a config once and list its submodules in running order.

    Plugins of a ``PluggedBackbone`` in the config are left out.

    Args:
        cfg: With ``model.backbone``.
        shape: As ``PluggedBackbone`` takes it: (1, C, T, H, W) or (T, C, H, W).
            Default: its ``input_shape`` if the config has one, else what the test
            pipeline makes.

    Raises:
        ValueError: The config has no backbone, or the shape is unknown.
    """
    backbone = (cfg.get('model') or {}).get('backbone')
    if backbone is None:
        raise ValueError('This config has no model.backbone.')
    if type_name(backbone) == 'PluggedBackbone':
        shape, backbone = shape or backbone['input_shape'], backbone['backbone']
    shape = shape or _shape_of_pipeline(cfg)
    network = plug_into(backbone, shape, plugins=())
    modules = {name: module for name, module in network.named_modules()
               if name and name.split('.')[0] != 'plugins'}
    return [_insertion_point(name, modules[name], calls)
            for name, calls in trace_outputs(network, shape, modules).items()]


def _insertion_point(name: str, module: nn.Module, calls: list) -> InsertionPoint:
    kind, reason = type(module).__name__, why_no_plugin(module, calls)
    if reason:
        return InsertionPoint(name, kind, None, (), reason)
    (shape,) = calls
    return InsertionPoint(name, kind, shape, tuple(
        layout for layout, rank in FEATURE_LAYOUTS.items() if rank == len(shape)))


def _shape_of_pipeline(cfg: Config) -> tuple[int, ...]:
    try:
        channels, frames, height, width = input_shape(cfg)
    except (AttributeError, ValueError):
        raise ValueError(
            'The shape of a clip for the backbone of this config is unknown: give '
            '--shape, 1 C T H W for a clip or T C H W for the frames of one.') from None
    formats = [step.get('input_format')
               for step in cfg.test_dataloader.dataset.pipeline]
    if 'NCHW' in formats:
        return frames, channels, height, width
    return 1, channels, frames, height, width
