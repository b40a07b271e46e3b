"""Plugins in a backbone that knows nothing of them, after any of its submodules.

The backbone stays what it is: the same object, of a class derived from its own,
with the same names of parameters. A forward hook on a submodule runs the plugins
that stand after it; they live under ``plugins.<submodule>.<index>``, dots of the name
written as underscores, so that a checkpoint of the bare backbone keeps fitting::

    dict(type='PluggedBackbone',
         backbone=dict(type='mmaction.ResNet3dSlowOnly', depth=50),
         input_shape=(1, 3, 8, 224, 224),
         plugins=[dict(cfg=dict(type='COSAM'), after='layer3')])

    layer3 -- hook -- layer4            its weights: layer3.*, layer4.*, ...
               |                        the plugin's: plugins.layer3.0.*
        plugins.layer3.0

What a plugin must know of its insertion point is found by running the backbone once.
"""
import difflib
import inspect
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any, Callable, Optional

from mmengine.model import ModuleList
from mmengine.registry import MODELS
from torch import Tensor, nn

from cosam_mm import registry

from .feature_layout import FEATURE_LAYOUTS
from .library_models import LibraryFeatures, build_library_model, is_library_name
from .plugin_points import (
    PluginHook,
    PluginView,
    trace_outputs,
    why_no_plugin,
    zeros_for,
)

__all__ = ['plug_into']

_KEYS = ('cfg', 'after', 'layout', 'grid', 'num_prefix_tokens')


@registry.MODELS.register_module(name='PluggedBackbone')
def plug_into(backbone: dict, input_shape: Sequence[int],
              plugins: Sequence[dict], out_index: Optional[int] = None) -> nn.Module:
    """Build a backbone and put plugins after some of its submodules.

    Registered as ``PluggedBackbone``.

    A plugin keeps the shape of what it gets. Those of its constructor's arguments
    ``in_channels``, ``num_frames`` and ``spatial_size`` that its cfg leaves out are
    filled in. Plugins after one submodule run in the order in which they are given.
    They stay in training, and learn, when the backbone freezes its own parts or
    keeps its norms in evaluation; ``init_weights`` of the backbone neither
    initialises them again nor needs them in a checkpoint.

    Args:
        backbone: Config of any registered backbone, with a scope in front where it
            needs one (``mmaction.ResNet3d``), or ``timm.<model>`` or
            ``torchvision.<model>`` as MMAction2 takes them.
        input_shape: What ONE clip looks like to the backbone: (1, C, T, H, W), or
            (T, C, H, W) where the frames of clips are its batch.
        plugins: Each ``dict(cfg=dict(type=...), after=...)``: ``after`` is the
            dotted name of a submodule. ``layout`` says how the feature there holds
            the map, see :mod:`cosam_mm.models.backbones.feature_layout`; by default
            ``'clip'`` where ``input_shape`` has five sizes, ``'frames'`` where it
            has four. Features in these two go to the plugin as they are, those in
            others as (N, C, T, H, W). Layouts of tokens take ``grid=(T, H, W)`` and
            ``num_prefix_tokens``.
        out_index: Which one of the backbone's several outputs to give, where what
            follows wants one. Default: what the backbone gives.

    Returns:
        The backbone.

    Raises:
        ValueError: A setting does not fit the backbone; the message names the
            choices.
    """
    input_shape = tuple(input_shape)
    if len(input_shape) not in (4, 5) or (
            len(input_shape) == 5 and input_shape[0] != 1):
        raise ValueError(
            'input_shape is that of one clip, (1, C, T, H, W), or of its frames, '
            f'(T, C, H, W); got {input_shape}.')
    default_layout = 'clip' if len(input_shape) == 5 else 'frames'
    plugins = [{'layout': default_layout, **plugin} for plugin in plugins]
    for plugin in plugins:
        _check_entry(plugin)
    network = _build_backbone(backbone)
    shapes = _find_shapes(network, input_shape, [p['after'] for p in plugins])
    for point, shape in shapes.items():
        _plug(network, point, shape, [p for p in plugins if p['after'] == point])
    if out_index is not None:
        network.register_forward_hook(partial(_take_output, out_index))
    return network


def _take_output(index: int, network: nn.Module, inputs: Any, output: Any) -> Any:
    """Of several outputs, one; a hook of a backbone."""
    return output if isinstance(output, Tensor) else output[index]


def _build_backbone(cfg: dict) -> nn.Module:
    """A backbone of a class of ours, with no plugins yet but those of its own."""
    if is_library_name(cfg['type']):
        network, features = build_library_model(cfg), (LibraryFeatures,)
    else:
        network, features = MODELS.build(cfg), ()
    plugins = _container_of(network)
    if not isinstance(network, _Plugged):
        network.__class__ = _plugged_class(*features, type(network))
    network.plugins = plugins
    return network


def _check_entry(plugin: dict) -> None:
    if not {'cfg', 'after'} <= set(plugin) <= set(_KEYS):
        raise ValueError(
            'A plugin has the keys cfg and after, and may have layout, grid and '
            f'num_prefix_tokens; got {", ".join(plugin)}.')
    if plugin['layout'] not in FEATURE_LAYOUTS:
        raise ValueError(f'layout must be one of {", ".join(FEATURE_LAYOUTS)}; got '
                         f'{plugin["layout"]!r} after {plugin["after"]!r}.')


def _find_shapes(network: nn.Module, input_shape: tuple[int, ...],
                 points: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Insertion point -> shape of its feature for one clip, each point once."""
    known = {name: module for name, module in network.named_modules()
             if name and name.split('.')[0] != 'plugins'}
    for point in points:
        if point not in known:
            raise ValueError(_unknown_point(network, point, known))
    if not points:
        return {}
    try:
        calls = trace_outputs(network, input_shape, known)
    except Exception as error:
        raise ValueError(f'{type(network).__name__} does not run on input_shape='
                         f'{input_shape}: {error}') from error
    reasons = {name: why_no_plugin(known[name], calls[name]) for name in known}
    for point in points:
        if reasons[point]:
            fit = [name for name in known if not reasons[name]]
            fit = sorted(fit, key=lambda name: name.count('.'))[:12]
            raise ValueError(
                f'{point!r} {reasons[point]}. A plugin stands after a submodule of '
                f'{type(network).__name__} that runs once and puts out a tensor of 3, '
                '4 or 5 dimensions, or a tuple or list that begins with one, such as '
                f'{", ".join(fit) or "(none)"}.')
    return {point: calls[point][0] for point in points}


def _unknown_point(network: nn.Module, point: str, known: Iterable[str]) -> str:
    near = ' or '.join(map(repr, difflib.get_close_matches(str(point), known)))
    return (f'{type(network).__name__} has no submodule {point!r}.'
            f'{f" Did you mean {near}?" if near else ""} At its top are '
            f'{", ".join(name for name in known if "." not in name)}; '
            'named_modules() of it lists all.')


def _container_of(network: nn.Module) -> nn.ModuleDict:
    """The ``plugins`` of a backbone that may have a setting of that name."""
    container = getattr(network, 'plugins', None)
    if isinstance(container, nn.ModuleDict):
        return container
    if container:
        raise ValueError(
            f'{type(network).__name__} has plugins of its own, {container!r}: give '
            'them all to PluggedBackbone.')
    return nn.ModuleDict()


def _plug(network: nn.Module, point: str, shape: tuple[int, ...],
          entries: Sequence[dict]) -> None:
    """Build the plugins of one insertion point, try them and register their hook."""
    key = point.replace('.', '_')
    if key in network.plugins:
        raise ValueError(f'There are plugins named plugins.{key} already: give all '
                         f'plugins after {point!r} to one PluggedBackbone.')
    views, built = [], ModuleList()
    for entry in entries:
        try:
            view = PluginView(shape, entry)
            built.append(_build_plugin(entry['cfg'], view))
        except (ValueError, TypeError) as error:
            raise ValueError(f'The plugin after {point!r}: {error}') from error
        views.append(view)
    network.plugins[key] = built
    hook = PluginHook(point, built, views)
    hook.try_on(zeros_for(network, shape))
    network.get_submodule(point).register_forward_hook(hook)


def _build_plugin(cfg: dict, view: PluginView) -> nn.Module:
    """Build a plugin, with those of its arguments filled in that nobody gave."""
    found = {'in_channels': view.channels, 'num_frames': view.grid[0],
             'spatial_size': view.grid[1:]}
    with MODELS.switch_scope_and_registry(cfg.get('_scope_')) as registry:
        kind = cfg['type']
        cls = registry.get(kind) if isinstance(kind, str) else kind
    taken = inspect.signature(cls).parameters if cls is not None else ()
    return MODELS.build({**{key: value for key, value in found.items()
                            if key in taken}, **cfg})


# -- the class of a backbone with plugins ----------------------------------------


class _Plugged(nn.Module):
    """What a backbone with plugins does in another way than without."""

    def train(self, mode: bool = True) -> nn.Module:
        """Set the mode; what the backbone freezes in doing so are no plugins."""
        parameters = list(self.plugins.parameters())
        learning = [parameter.requires_grad for parameter in parameters]
        super().train(mode)
        self.plugins.train(mode)
        for parameter, learns in zip(parameters, learning):
            parameter.requires_grad_(learns)
        return self

    def init_weights(self, *args, **kwargs) -> None:
        """Initialise or load the weights of the backbone; plugins are out meanwhile.

        What a checkpoint holds of them is loaded into them, though.
        """
        plugins = self.plugins
        for point in plugins.values():
            if hasattr(point, 'init_weights'):
                point.init_weights()
        initialise: Optional[Callable] = getattr(super(), 'init_weights', None)
        if initialise is None:
            return

        def load_plugins(state_dict: dict, prefix: str, *_) -> None:
            prefix += 'plugins.'
            held = {key[len(prefix):]: state_dict.pop(key)
                    for key in list(state_dict) if key.startswith(prefix)}
            plugins.load_state_dict(held, strict=False)

        handle = self._register_load_state_dict_pre_hook(load_plugins)
        del self._modules['plugins']
        try:
            initialise(*args, **kwargs)
        finally:
            handle.remove()
            self._modules['plugins'] = plugins

    def __reduce_ex__(self, protocol: int) -> tuple:
        """Copy and pickle by the class of the backbone: this one is made here."""
        return _new_plugged, type(self).__bases__[1:], self.__getstate__()

    def __getstate__(self) -> dict:
        return self.__dict__.copy()


@cache
def _plugged_class(*bases: type) -> type:
    """A subclass of ``bases`` under the name of the last one, the backbone's."""
    cls = bases[-1]
    return type(cls.__name__, (_Plugged, *bases),
                {'__module__': cls.__module__, '__doc__': cls.__doc__})


def _new_plugged(*bases: type) -> nn.Module:
    cls = _plugged_class(*bases)
    return cls.__new__(cls)
