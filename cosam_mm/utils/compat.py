"""What importing this package adds to others, and nothing else.

Additions only: no function, class or loader of another package is replaced, and a
project that uses nothing of this one behaves as without it. The mechanisms:

* a *fallback finder* at the end of ``sys.meta_path``: Python asks it only for
  modules that no other finder has, so a complete installation never meets it;
* *import hooks*: a callback runs right after a named module was executed,
  without importing that module early;
* *parents* of mmengine's root registries (``cosam_mm/registry.py``).

===============================  ====================================================
work-around, seen with           what is added, unless COSAM_MM_NO_COMPAT=1
===============================  ====================================================
mmaction2 1.2.0 (wheel)          the module ``mmaction.models.localizers.drn``, which
                                 was not packed: a placeholder
mmaction2 1.2.0                  the module ``importlib_metadata``, which no package
                                 requires: the one of the standard library
mmaction2 1.2.0 with             the module ``moviepy.editor``: names that are in
moviepy >= 2                     ``moviepy`` itself now
mmaction2 1.2.0, mmpretrain      their import fails otherwise: their switch
1.2.0 with transformers >= 5,    ``WITH_MULTIMODAL`` is off, and their multimodal
mmaction2 1.2.0 without timm     models are the placeholders that they have for that
torchvision 0.28, compiled       declarations of two operators, without which torch
for another torch                stops the import; calling them stays an error
===============================  ====================================================

===============================  ====================================================
registration with                what is added, always
===============================  ====================================================
mmengine <= 0.10.7               the scope ``cosam_mm``, whose registries are parents
                                 of the root registries: they are asked last
mmengine <= 0.10.7               ``imagenet://`` as a scheme of its checkpoint loader
mmaction2 1.2.0                  ``mmaction.BERTHead`` and such, where that package
                                 is asked for names that it lacks
===============================  ====================================================
"""
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import warnings
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from mmengine.registry import Registry

__all__ = ['install', 'is_imported', 'on_import', 'on_missing_attribute',
           'register_renamed']


# -- missing modules ---------------------------------------------------------


def _fill_drn(module: ModuleType) -> None:

    class DRN:
        """Stands in for a localizer that the mmaction2 wheel does not hold."""

        def __init__(self, *args, **kwargs) -> None:
            raise ImportError('DRN is not in the wheel of mmaction2: install that from '
                              'its source repository.')

    DRN.__module__ = module.__name__
    module.DRN = DRN


def _fill_importlib_metadata(module: ModuleType) -> None:
    from importlib import metadata
    module.__dict__.update(
        {name: getattr(metadata, name) for name in dir(metadata)
         if not name.startswith('__')})


def _fill_moviepy_editor(module: ModuleType) -> None:
    import moviepy
    module.ImageSequenceClip = moviepy.ImageSequenceClip


_MISSING: dict[str, Callable[[ModuleType], None]] = {
    'mmaction.models.localizers.drn': lambda module: setattr(module, '__path__', []),
    'mmaction.models.localizers.drn.drn': _fill_drn,
    'importlib_metadata': _fill_importlib_metadata,
    'moviepy.editor': _fill_moviepy_editor,
}


class _FallbackFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Supplies the modules of ``_MISSING`` when no other finder has them."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _MISSING:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module: ModuleType) -> None:
        _MISSING[module.__name__](module)


# -- old names ---------------------------------------------------------------


# Old name of a module -> modules that hold what it held.
_MOVED: dict[str, tuple[str, ...]] = {
    'cosam_mm.compat': ('cosam_mm.utils.compat',),
    'cosam_mm.datasets.action': ('cosam_mm.datasets.action_dataset',),
    'cosam_mm.engine.deployment': ('cosam_mm.apis.export', 'cosam_mm.apis.deployable'),
    'cosam_mm.engine.gallery': ('cosam_mm.apis.gallery',),
    'cosam_mm.engine.inference': ('cosam_mm.apis',),
    'cosam_mm.evaluation.action': ('cosam_mm.evaluation.metrics.action_metric',),
    'cosam_mm.evaluation.reid': ('cosam_mm.evaluation.metrics.reid_metric',
                                 'cosam_mm.evaluation.reid_evaluation',
                                 'cosam_mm.evaluation.reid_features'),
    'cosam_mm.functional': ('cosam_mm.layers.cosam_functional',
                            'cosam_mm.evaluation.functional'),
    'cosam_mm.models.convert': ('cosam_mm.models.converters',),
}


class _MovedFinder(_FallbackFinder):
    """Supplies the modules of ``_MOVED``, with the names that their successors hold."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname in _MOVED:
            return importlib.machinery.ModuleSpec(fullname, self)
        return None

    def exec_module(self, module: ModuleType) -> None:
        successors = _MOVED[module.__name__]
        warnings.warn(f'{module.__name__} is now {" and ".join(successors)}; the old '
                      'name works for one more release.', DeprecationWarning,
                      stacklevel=2)
        holders = [importlib.import_module(name) for name in successors]

        def find(name: str):
            for holder in holders:
                if hasattr(holder, name):
                    return getattr(holder, name)
            raise AttributeError(
                f'module {module.__name__!r} has no attribute {name!r}')

        module.__path__ = []
        module.__getattr__ = find


def register_renamed(registry: 'Registry', old_name: str, new_class: type) -> None:
    """Build a class, with a ``DeprecationWarning``, where a config has its old name."""

    def build(*args, **kwargs):
        warnings.warn(f'{old_name} is now {new_class.__name__}; the old name works for '
                      'one more release.', DeprecationWarning, stacklevel=2)
        return new_class(*args, **kwargs)

    registry.register_module(name=old_name, module=build)


# -- callbacks after an import -----------------------------------------------


def _hooked(loader, callbacks: list[Callable[[ModuleType], None]]):
    """A copy of a loader that runs callbacks once it has executed a module."""
    loader = copy.copy(loader)
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module  # whoever inspects the module finds a plain loader
        execute(module)
        for callback in callbacks:
            callback(module)

    loader.exec_module = exec_module
    return loader


class _HookFinder(importlib.abc.MetaPathFinder):
    """Lets the ordinary finders work and wraps the loader they return."""

    def __init__(self) -> None:
        self.callbacks: dict[str, list[Callable[[ModuleType], None]]] = {}

    def find_spec(self, fullname, path=None, target=None):
        callbacks = self.callbacks.get(fullname, [])
        if not callbacks:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, 'find_spec'):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _hooked(spec.loader, callbacks)
                return spec
        return None


_hook_finder = _HookFinder()


def is_imported(name: str) -> bool:
    """Whether a module of a full dotted name is there, and not barred."""
    return sys.modules.get(name) is not None


def on_import(name: str, callback: Callable[[ModuleType], None]) -> None:
    """Call ``callback(module)`` once the module of a full dotted name is imported.

    That is at once when it is already, else right after it was executed, before the
    import statement returns; never if there is no such module.
    """
    if name in sys.modules:
        callback(sys.modules[name])
    else:
        _hook_finder.callbacks.setdefault(name, []).append(callback)


def on_missing_attribute(name: str, find: Callable[[str], Any]) -> None:
    """Have a module ask ``find`` for attributes that it lacks, if it asks nobody yet.

    ``find(attribute)`` returns it or raises ``AttributeError``.
    """
    on_import(name, lambda module: vars(module).setdefault('__getattr__', find))


# -- amendments --------------------------------------------------------------


def _use_multimodal_placeholders(dependency: ModuleType) -> None:
    """Make an OpenMMLab package register placeholders for its multimodal models.

    They import names that transformers 5 moved, those of MMAction2 timm as well.
    """
    from importlib import metadata
    lacks_timm = (dependency.__name__.startswith('mmaction')
                  and importlib.util.find_spec('timm') is None)
    with suppress(metadata.PackageNotFoundError):
        if lacks_timm or int(metadata.version('transformers').split('.')[0]) >= 5:
            dependency.WITH_MULTIMODAL = False


def _declare_torchvision_operators(extension: ModuleType) -> None:
    """Let a torchvision import whose compiled part torch cannot load.

    torchvision foresees it and refuses each operator that is called, but describes
    the shapes of two of them to torch, which knows neither and stops the import.
    They are declared here, without an implementation.
    """
    import torch
    if extension._has_ops():
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for operator in ('nms', 'qnms'):
        library.define(f'{operator}(Tensor dets, Tensor scores, '
                       'float iou_threshold) -> Tensor')
    extension._declared_operators = library  # they last as long as this does


def install() -> None:
    """Make all additions; calling it again changes nothing.

    With ``COSAM_MM_NO_COMPAT=1`` in the environment, the work-arounds are left out.
    """
    if _hook_finder in sys.meta_path:
        return
    sys.meta_path[:0] = [_MovedFinder(), _hook_finder]
    if os.environ.get('COSAM_MM_NO_COMPAT', '0') not in ('', '0'):
        return
    sys.meta_path.append(_FallbackFinder())
    on_import('mmaction.utils.dependency', _use_multimodal_placeholders)
    on_import('mmpretrain.utils.dependency', _use_multimodal_placeholders)
    on_import('torchvision.extension', _declare_torchvision_operators)
