"""Work-arounds for the published mm packages, and nothing else.

Three mechanisms, each idle where it is not needed:

* a *fallback finder* at the end of ``sys.meta_path``: Python asks it only for
  modules that nobody else has, so a complete installation never meets it;
* *import hooks*: a callback runs right after a named module was executed,
  without importing that module early;
* an allow-list of the classes that mmengine's own checkpoints hold.

==========================  ===================================================
seen with                   what is amended
==========================  ===================================================
mmaction2 1.2.0 (wheel)     ``mmaction.models.localizers.drn`` was not packed
mmaction2 1.2.0             imports ``importlib_metadata``, required by nothing
mmaction2 1.2.0 with        its multimodal models import what is not there;
transformers >= 5, or       they become the placeholders it has for that
without timm
mmengine <= 0.10.7 with     ``torch.load`` refuses mmengine's checkpoints
torch >= 2.6
==========================  ===================================================
"""
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Callable

__all__ = ['install', 'on_import']


# -- missing modules ---------------------------------------------------------


def _fill_drn_package(module: ModuleType) -> None:
    module.__path__ = []


def _fill_drn(module: ModuleType) -> None:

    class DRN:
        """Stands in for a localizer that the mmaction2 wheel does not hold."""

        def __init__(self, *args, **kwargs) -> None:
            raise ImportError(
                'DRN is not part of the published mmaction2 wheel. Install '
                'mmaction2 from its source repository to use it.')

    DRN.__module__ = module.__name__
    module.DRN = DRN


def _fill_importlib_metadata(module: ModuleType) -> None:
    from importlib import metadata
    module.__dict__.update(
        {name: getattr(metadata, name) for name in dir(metadata)
         if not name.startswith('__')})


_MISSING: dict[str, Callable[[ModuleType], None]] = {
    'mmaction.models.localizers.drn': _fill_drn_package,
    'mmaction.models.localizers.drn.drn': _fill_drn,
    'importlib_metadata': _fill_importlib_metadata,
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


# -- callbacks after an import -----------------------------------------------


class _HookedLoader(importlib.abc.Loader):
    """Runs the callbacks of a module once its own loader has executed it."""

    def __init__(self, loader, callbacks: list[Callable[[ModuleType], None]]):
        self._loader = loader
        self._callbacks = callbacks

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Whoever inspects the module later finds the loader it came from.
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        for callback in self._callbacks:
            callback(module)


class _HookFinder(importlib.abc.MetaPathFinder):
    """Lets the ordinary finders work and wraps the loader they return."""

    def __init__(self) -> None:
        self.callbacks: dict[str, list[Callable[[ModuleType], None]]] = {}

    def find_spec(self, fullname, path=None, target=None):
        callbacks = self.callbacks.get(fullname)
        if callbacks is None:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, 'find_spec'):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _HookedLoader(spec.loader, callbacks)
                return spec
        return None


_hook_finder = _HookFinder()


def on_import(name: str, callback: Callable[[ModuleType], None]) -> None:
    """Call ``callback(module)`` once the module ``name`` has been imported.

    Args:
        name: Full dotted name. It need not exist: then nothing ever happens.
        callback: Called at once when the module is imported already, else
            right after it was executed, before the import statement returns.
    """
    module = sys.modules.get(name)
    if module is not None:
        callback(module)
    else:
        _hook_finder.callbacks.setdefault(name, []).append(callback)


# -- amendments --------------------------------------------------------------


def _major_version(package: str) -> int:
    from importlib import metadata
    try:
        return int(metadata.version(package).split('.')[0])
    except metadata.PackageNotFoundError:
        return 0


def _use_multimodal_placeholders(dependency: ModuleType) -> None:
    """Make MMAction2 register placeholders for its multimodal models.

    They import timm, which MMAction2 does not require, and names that
    transformers 5 moved.
    """
    has_timm = importlib.util.find_spec('timm') is not None
    if _major_version('transformers') >= 5 or not has_timm:
        dependency.WITH_MULTIMODAL = False


def _plain_attribute(owner, name: str):
    """What a checkpoint may ask ``getattr`` for: functions it refers to by name."""
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
    allowed = {
        HistoryBuffer: ('min', 'max', 'current', 'mean'),
        OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
    }
    if name in allowed.get(owner, ()):
        return getattr(owner, name)
    raise ValueError(
        f'The checkpoint asks for {name!r} of {owner!r}, which no checkpoint of '
        'mmengine does: do not trust this file.')


def _allow_mmengine_checkpoints() -> None:
    """Name the classes of an mmengine checkpoint as safe to load.

    A checkpoint's message hub holds ``HistoryBuffer`` objects, which are made
    of numpy arrays and scalars: plain data. They refer to their own statistics,
    and a one-cycle schedule to its annealing function, through ``getattr``,
    which is allowed for exactly that. Loading stays restricted to
    ``weights_only``.
    """
    import torch
    if torch.__version__ < '2.6':  # these load without the restriction
        return
    import numpy as np
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
    core = importlib.import_module(
        'numpy._core.multiarray' if np.lib.NumpyVersion(np.__version__) >= '2.0.0'
        else 'numpy.core.multiarray')
    dtypes = {type(np.dtype(kind)) for kind in
              ('bool', 'int32', 'int64', 'uint8', 'uint32', 'uint64',
               'float16', 'float32', 'float64')}
    torch.serialization.add_safe_globals(
        [HistoryBuffer, OneCycleParamScheduler, np.ndarray, np.dtype,
         core._reconstruct, core.scalar, *dtypes,
         (_plain_attribute, 'builtins.getattr')])


def install() -> None:
    """Set all work-arounds up. Calling it again changes nothing."""
    if _hook_finder in sys.meta_path:
        return
    sys.meta_path.insert(0, _hook_finder)
    sys.meta_path.append(_FallbackFinder())
    on_import('mmaction.utils.dependency', _use_multimodal_placeholders)
    _allow_mmengine_checkpoints()
