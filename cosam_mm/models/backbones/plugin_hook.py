"""Forward hooks: plugins run on what a submodule has put out, one output is taken."""
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .dry_run import evaluation_mode, first_tensor
from .feature_layout import clip_from_feature, feature_from_clip, find_grid

__all__ = ['PluginHook', 'PluginView', 'TakeOutput']


class PluginView:
    """How a plugin sees the feature at its place.

    Attributes:
        channels: C.
        grid: (T, H, W) for the clip that the backbone was built for.
    """

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
    """Runs the plugins of a place on what its submodule has put out.

    It holds the list that the backbone holds, so a deep copy of the backbone has a
    hook that runs the copies, and norms that are exchanged in the list are met.
    """

    def __init__(self, place: str, plugins: nn.ModuleList,
                 views: Sequence[PluginView]) -> None:
        self.place = place
        self.plugins = plugins
        self.views = list(views)

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        feature = first_tensor(output)
        if feature is None:
            raise TypeError(f'{self.place!r} put out a {type(output).__name__} '
                            'without a tensor in front: its plugins have no input.')
        for plugin, view in zip(self.plugins, self.views):
            shape, feature = feature.shape, view.run(plugin, feature)
            if feature.shape != shape:
                raise ValueError(
                    f'{type(plugin).__name__} after {self.place!r} made '
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
        with evaluation_mode(self.plugins), torch.no_grad():
            self(self.plugins, (), feature)


class TakeOutput:
    """Gives one of several outputs of a backbone."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        return output if isinstance(output, Tensor) else output[self.index]
