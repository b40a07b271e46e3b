"""Registries of the scope ``cosam_mm``, which mmengine asks after all others.

``cosam_mm.COSAM`` is the class of this package from every scope. mmengine looks for a
plain name in the registry of a scope, then in its parents up to the root registry.
These registries are the parents of the roots: a plain ``COSAM`` is that of the project
or of another package if there is one, registered early or late, and else the one here.
Nothing is put into registries of others, and modules of this package are imported only
for names that these do not have.
"""
import threading
from collections import ChainMap
from importlib import import_module
from typing import Any, Optional

from mmengine import registry as _roots
from mmengine.registry import Registry

from .utils.compat import is_imported, on_missing_attribute

__all__ = ['DATASETS', 'DATA_SAMPLERS', 'HOOKS', 'METRICS', 'MODELS', 'OPTIM_WRAPPERS',
           'TRANSFORMS', 'VISBACKENDS', 'WEIGHT_INITIALIZERS']


class LastResortRegistry(Registry):
    """A registry that is the parent of one of mmengine's roots.

    Args:
        root: A root registry; its ``parent`` is set.
        modules: Modules to import before a name is looked up here. Those with another
            behind a colon build on that: for plain names they are imported only if it
            is.
    """

    def __init__(self, root: Registry, *modules: str) -> None:
        self._root = root
        self._modules = [module.partition(':')[::2] for module in modules]
        self._thread = threading.local()
        super().__init__(root.name, build_func=root.build_func, scope='cosam_mm')
        # mmengine takes this for the root, and looks for the scopes that there are.
        self._children = ChainMap({root.scope: root}, root.children)
        root.parent = self

    @property
    def children(self) -> dict[str, Registry]:
        """The root alone: the others are its children."""
        return {self._root.scope: self._root}

    @property
    def _module_dict(self) -> dict[str, Any]:
        self._import_modules()
        return self._classes

    @_module_dict.setter
    def _module_dict(self, classes: dict[str, Any]) -> None:
        self._classes = classes

    def _import_modules(self, with_all: bool = False) -> None:
        if getattr(self._thread, 'imports', False):
            return
        self._thread.imports = True
        try:
            for module, foundation in self._modules:
                if with_all or not foundation or is_imported(foundation):
                    import_module(module)
        finally:
            self._thread.imports = False

    def _register_module(self, *args, **kwargs) -> None:
        before = getattr(self._thread, 'imports', False)
        self._thread.imports = True  # now one of them is being imported
        try:
            super()._register_module(*args, **kwargs)
        finally:
            self._thread.imports = before

    def get(self, key: str) -> Optional[Any]:
        """Class of this package, or what the root has by this name or its scope."""
        scope, name = self.split_scope_key(key)
        if scope == self.scope:
            if name.isidentifier() and name not in self._module_dict:
                self._import_modules(with_all=True)
            return super().get(key)
        if key in self._module_dict:
            return self._module_dict[key]
        return self._root.get(key)

    def build(self, cfg: dict, *args, **kwargs) -> Any:
        """Build as the root does, where a plain name can be another's."""
        return self._root.build(cfg, *args, **kwargs)


MODELS = LastResortRegistry(
    _roots.MODELS, 'cosam_mm.layers', 'cosam_mm.models',
    'cosam_mm.models.heads:mmaction.models')
WEIGHT_INITIALIZERS = LastResortRegistry(
    _roots.WEIGHT_INITIALIZERS, 'cosam_mm.models.backbones')
DATASETS = LastResortRegistry(
    _roots.DATASETS, 'cosam_mm.datasets.reid', 'cosam_mm.datasets.joined_dataset',
    'cosam_mm.datasets.action_dataset:mmaction.datasets')
TRANSFORMS = LastResortRegistry(
    _roots.TRANSFORMS, 'cosam_mm.datasets.reid',
    'cosam_mm.datasets.transforms:mmaction.datasets')
DATA_SAMPLERS = LastResortRegistry(
    _roots.DATA_SAMPLERS, 'cosam_mm.datasets.reid', 'cosam_mm.datasets.clip_sampler')
METRICS = LastResortRegistry(
    _roots.METRICS, 'cosam_mm.evaluation.metrics.reid_metric',
    'cosam_mm.evaluation.metrics.action_metric:mmaction.evaluation')
HOOKS = LastResortRegistry(_roots.HOOKS, 'cosam_mm.engine.hooks')
OPTIM_WRAPPERS = LastResortRegistry(
    _roots.OPTIM_WRAPPERS, 'cosam_mm.engine.runner.amp_optim_wrapper')
VISBACKENDS = LastResortRegistry(
    _roots.VISBACKENDS, 'cosam_mm.engine.runner.fault_tolerant_vis_backend')


def _find_for_mmaction(name: str) -> Any:
    """What ``mmaction.BERTHead`` names: mmengine asks the package last."""
    for registry in (MODELS, DATASETS, TRANSFORMS, METRICS):
        if name[:1].isupper() and name in registry.module_dict:
            return registry.module_dict[name]
    raise AttributeError(f"module 'mmaction' has no attribute {name!r}")


on_missing_attribute('mmaction', _find_for_mmaction)
