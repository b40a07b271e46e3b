"""Options of a command line that change a config: no key that nothing reads.

mmengine takes any key and says nothing: of ``max_epochs=2`` and ``optim_wrapper.lr=1``
nothing would come.
"""
import difflib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Optional

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .config import LOADERS

__all__ = ['arguments_of', 'merge_options']

# What a run reads besides arguments of mmengine's Runner.
_TOP = frozenset((
    'activation_checkpointing', 'auto_scale_lr', 'compile', 'detect_anomalous_params',
    'efficient_conv_bn_eval', 'find_unused_parameters', 'model_wrapper_cfg',
    'num_splits', 'runner_type', 'strategy', 'sync_bn'))
# What mmengine builds without a type, or reads itself.
_BUILT = {'train_cfg': 'EpochBasedTrainLoop', 'val_cfg': 'ValLoop',
          'test_cfg': 'TestLoop', 'optim_wrapper': 'OptimWrapper'}
_READ = {
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'randomness': {'seed', 'deterministic', 'diff_rank_seed'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    **{key: {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch'}
       for key in LOADERS}}
_REGISTRIES = [
    getattr(registries, name) for name in (
        'MODELS', 'DATASETS', 'TRANSFORMS', 'DATA_SAMPLERS', 'METRICS', 'HOOKS',
        'OPTIMIZERS', 'OPTIM_WRAPPERS', 'OPTIM_WRAPPER_CONSTRUCTORS',
        'PARAM_SCHEDULERS', 'LOOPS', 'LOG_PROCESSORS', 'VISUALIZERS', 'VISBACKENDS',
        'EVALUATOR', 'WEIGHT_INITIALIZERS')]


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Change a config as ``--cfg-options`` asks.

    Args:
        cfg: Changed in place.
        options: Values by dotted key, as mmengine's ``DictAction`` gives them.

    Raises:
        ValueError: Nothing reads one of the keys.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for key in options:
            _check_key(cfg, key)
    cfg.merge_from_dict(dict(options))


def _check_key(cfg: Config, key: str) -> None:
    first, *rest = key.split('.')
    top = {*inspect.signature(Runner).parameters, *_TOP}
    if first not in top:
        raise ValueError(_advice(cfg, key, first, top, 'the run'))
    node, path = cfg.get(first, {}), first
    for name in rest:
        if isinstance(node, (list, tuple)):
            if not name.isdecimal() or int(name) >= len(node):
                raise ValueError(f'--cfg-options {key}: {path} is a list of '
                                 f'{len(node)}, whose items are called 0, 1, ...')
            node = node[int(name)]
        elif isinstance(node, Mapping):
            if name not in node:
                known = _known_keys(path, node)
                if known is not None and name not in known:
                    raise ValueError(_advice(cfg, key, name, known | {*node}, path))
            node = node.get(name)
        else:
            return
        path += f'.{name}'


def _known_keys(path: str, node: Mapping) -> Optional[set]:
    """Keys that a dict of a config may have; None where that is not known."""
    if path in _READ:
        return _READ[path]
    known = arguments_of(node.get('type', _BUILT.get(path)))
    return None if known is None else known | {'type', '_scope_'}


def _lookup(registry: registries.Registry, name: str) -> Any:
    with suppress(ImportError), registry.switch_scope_and_registry(None) as own:
        return own.get(name)  # of a registry that names a module that is not there
    return None


def arguments_of(kind: Any) -> Optional[set[str]]:
    """Names that a class takes, those handed on to base classes too.

    Args:
        kind: A class, a function, or the name of one in any registry of the default
            scope.

    Returns:
        None where there is no such class.
    """
    if isinstance(kind, str):
        found = (_lookup(registry, kind) for registry in _REGISTRIES)
        kind = next(filter(None, found), None)
    if kind is None:
        return None
    names = set()
    for owner in inspect.getmro(kind) if isinstance(kind, type) else (kind,):
        function = vars(owner).get('__init__') if isinstance(owner, type) else owner
        if function is None or owner is object:
            continue
        parameters = inspect.signature(function).parameters.values()
        names |= {one.name for one in parameters}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return names


def _advice(cfg: Config, key: str, name: str, known: set, reader: str) -> str:
    """Say that nothing reads a key, and what may have been meant."""
    same = [path for path in _paths(cfg._cfg_dict.to_dict())
            if path.split('.')[-1] == name and path.split('.')[0] in known]
    near = same[:3] or difflib.get_close_matches(name, known)
    text = f'--cfg-options {key}: nothing reads a setting {name!r} of {reader}.'
    if not same and reader != 'the run':
        near = [f'{reader}.{one}' for one in near]
    return f'{text} Did you mean {" or ".join(near)}?' if near else text


def _paths(node: Any, path: str = '') -> Iterator[str]:
    """Dotted keys of all settings, those nearer to the top first."""
    level = [(path, node)]
    while level:
        below = []
        for above, inner in level:
            items = inner.items() if isinstance(inner, Mapping) else enumerate(
                inner if isinstance(inner, (list, tuple)) else ())
            for key, value in items:
                name = f'{above}.{key}' if above else str(key)
                yield name
                below.append((name, value))
        level = below
