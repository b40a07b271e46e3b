"""Where plugins can stand in a network, and the forward hooks that run them there.

:func:`trace_outputs` runs a network once and records what every submodule puts out for
one clip. A :class:`PluginHook` runs the plugins that stand after a submodule.
"""
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .feature_layout import (
    FEATURE_LAYOUTS,
    clip_from_feature,
    feature_from_clip,
    find_grid,
)

__all__ = ['PluginHook', 'PluginView', 'trace_outputs', 'why_no_plugin', 'zeros_for']


def _first_tensor(output: Any) -> Optional[Tensor]:
    """A tensor, or the first entry of a tuple or list if that is one, else None."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def trace_outputs(network: nn.Module, input_shape: Sequence[int],
                  names: Optional[Iterable[str]] = None) -> dict[str, list]:
    """Run a network on zeros and note what its submodules put out.

    It runs in evaluation mode and without gradients. The mode of every module and
    the state of the random number generator are as before afterwards.

    Args:
        network: Any module that takes one tensor.
        input_shape: Of that tensor.
        names: Dotted names of the submodules to watch. Default: all.

    Returns:
        Name -> what each call of the submodule in one forward pass put out: the
        shape of its first tensor, or the type of what is no tensor. In the
        order in which the submodules finish; one that never runs has no calls.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten())
        >>> trace_outputs(net, (4, 3, 2, 2))
        {'0': [(4, 8, 2, 2)], '1': [(4, 32)]}
    """
    modules = {name: module for name, module in network.named_modules() if name}
    names = list(modules if names is None else names)
    finished: dict[str, list] = {}

    def note(name: str):
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            feature = _first_tensor(output)
            finished.setdefault(name, []).append(
                type(output) if feature is None else tuple(feature.shape))
        return hook

    handles = [modules[name].register_forward_hook(note(name)) for name in names]
    try:
        with _evaluation_mode(network), torch.no_grad():
            network(zeros_for(network, input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return {**finished, **{name: [] for name in names if name not in finished}}


def why_no_plugin(module: nn.Module, calls: Sequence) -> str:
    """Why no plugin can stand after a submodule; nothing where one can.

    ``calls`` is what :func:`trace_outputs` found for it.
    """
    if isinstance(module, _BatchNorm):
        return 'is a norm, which sync_bn exchanges'
    if len(calls) != 1:
        return f'runs {len(calls)} times in a forward pass'
    (shape,) = calls
    if not isinstance(shape, tuple):
        return f'puts out a {shape.__name__}'
    if len(shape) not in FEATURE_LAYOUTS.values():
        return f'puts out {len(shape)} dimensions'
    return ''


def zeros_for(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """Zeros of the kind of the module's parameters, and where they are."""
    like = next((p for p in module.parameters() if p.is_floating_point()),
                torch.empty(0))
    return like.new_zeros(shape)


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Set flags, not modes: a train() of the network's own may do much more."""
    flags = {module: module.training for module in network.modules()}
    for module in flags:
        module.training = False
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, flag in flags.items():
            module.training = flag


class PluginView:
    """How a plugin sees the feature at its insertion point: ``channels``, ``grid``."""

    def __init__(self, shape: tuple[int, ...], entry: dict) -> None:
        self.layout = entry['layout']
        self.num_prefix_tokens = entry.get('num_prefix_tokens', 0)
        self.grid = find_grid(shape, self.layout, entry.get('grid'),
                              self.num_prefix_tokens)
        self.channels = shape[1 if self.layout in ('clip', 'frames') else -1]

    def run(self, plugin: nn.Module, feature: Tensor) -> Tensor:
        """The feature after the plugin, in the layout that it came in."""
        if self.layout in ('clip', 'frames'):
            return plugin(feature)
        clip = clip_from_feature(feature, self.layout, self.grid,
                                 self.num_prefix_tokens)
        return feature_from_clip(plugin(clip), feature, self.layout,
                                 self.num_prefix_tokens)


class PluginHook:
    """Runs the plugins of an insertion point on the output of its submodule.

    It holds the list that the backbone holds, so a deep copy of the backbone has a
    hook that runs the copies, and norms that are exchanged in the list are met.
    """

    def __init__(self, point: str, plugins: nn.ModuleList,
                 views: Sequence[PluginView]) -> None:
        self.point = point
        self.plugins = plugins
        self.views = list(views)

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        feature = _first_tensor(output)
        if feature is None:
            raise TypeError(f'{self.point!r} put out a {type(output).__name__} '
                            'without a tensor in front: its plugins have no input.')
        for plugin, view in zip(self.plugins, self.views):
            shape, feature = feature.shape, view.run(plugin, feature)
            if feature.shape != shape:
                raise ValueError(
                    f'{type(plugin).__name__} after {self.point!r} made '
                    f'{tuple(feature.shape)} of {tuple(shape)}: a plugin keeps the '
                    'shape.')
        if isinstance(output, Tensor):
            return feature
        rest = [feature, *output[1:]]
        if hasattr(output, '_fields'):
            return type(output)(*rest)
        return type(output)(rest)

    def try_on(self, feature: Tensor) -> None:
        """Run the plugins in evaluation mode, so that a misfit shows at once."""
        with _evaluation_mode(self.plugins), torch.no_grad():
            self(self.plugins, (), feature)
