"""Work-arounds for the published mm packages, and nothing else.

Four mechanisms, each idle where it is not needed:

* a *fallback finder* at the end of ``sys.meta_path``: Python asks it only for
  modules that nobody else has, so a complete installation never meets it;
* *import hooks*: a callback runs right after a named module was executed,
  without importing that module early;
* an allow-list of the classes that mmengine's own checkpoints hold;
* *locations*: what mmengine's registries import when a name is first looked up.

==========================  ===================================================
seen with                   what is amended
==========================  ===================================================
mmaction2 1.2.0 (wheel)     ``mmaction.models.localizers.drn`` was not packed
mmaction2 1.2.0             imports ``importlib_metadata``, required by nothing
mmaction2 1.2.0 with        its multimodal models import what is not there;
transformers >= 5, or       they become the placeholders it has for that
without timm
mmpretrain 1.2.0 with       the same
transformers >= 5
torchvision 0.28, compiled  it does not import, and with it neither timm nor
for another torch           mmpretrain; what it has compiled stays refused
mmaction2 1.2.0 with        its visualiser imports ``moviepy.editor``, whose names
moviepy >= 2                are in ``moviepy`` itself now
mmengine <= 0.10.7 with     ``torch.load`` refuses mmengine's checkpoints
torch >= 2.6
mmengine <= 0.10.7          checkpoints from an address are unpickled with whatever
                            code is in them
mmengine <= 0.10.7          a root registry takes no locations, and a child that asks
                            its parent does not import the parent's
mmengine <= 0.10.7          it lays out the text of the config anew for each checkpoint,
                            a second each where there are long paths in it
==========================  ===================================================
"""
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from mmengine.registry import Registry

__all__ = ['import_on_lookup', 'install', 'on_import', 'register_renamed']


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


def _fill_moviepy_editor(module: ModuleType) -> None:
    import moviepy
    module.ImageSequenceClip = moviepy.ImageSequenceClip


_MISSING: dict[str, Callable[[ModuleType], None]] = {
    'mmaction.models.localizers.drn': _fill_drn_package,
    'mmaction.models.localizers.drn.drn': _fill_drn,
    'importlib_metadata': _fill_importlib_metadata,
    'moviepy.editor': _fill_moviepy_editor,
}


class _FallbackFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Supplies ``_MISSING`` and ``_MOVED`` modules that no other finder has."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _MISSING and fullname not in _MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module: ModuleType) -> None:
        _MISSING.get(module.__name__, _fill_moved)(module)


# -- names of before ---------------------------------------------------------


# Old name of a module -> modules that hold what it held.
_MOVED: dict[str, tuple[str, ...]] = {
    'cosam_mm.compat': ('cosam_mm.utils.compat',),
    'cosam_mm.datasets.action': ('cosam_mm.datasets.action_dataset',),
    'cosam_mm.engine.deployment': ('cosam_mm.apis.export',),
    'cosam_mm.engine.gallery': ('cosam_mm.apis.gallery',),
    'cosam_mm.engine.inference': ('cosam_mm.apis',),
    'cosam_mm.evaluation.action': ('cosam_mm.evaluation.metrics.action_metric',),
    'cosam_mm.evaluation.reid': ('cosam_mm.evaluation.metrics.reid_metric',
                                 'cosam_mm.evaluation.reid_features'),
    'cosam_mm.functional': ('cosam_mm.layers.cosam_functional',
                            'cosam_mm.evaluation.functional'),
    'cosam_mm.models.convert': ('cosam_mm.models.converters',),
}


def _fill_moved(module: ModuleType) -> None:
    """Give an old module's name what its successors hold."""
    successors = _MOVED[module.__name__]
    warnings.warn(f'{module.__name__} is now {" and ".join(successors)}; the old name '
                  'works for one more release.', DeprecationWarning, stacklevel=2)
    module.__path__ = []
    for name in successors:
        module.__dict__.update(
            {key: value for key, value in vars(importlib.import_module(name)).items()
             if not key.startswith('__')})


def register_renamed(registry: 'Registry', old_name: str, new_class: type) -> None:
    """Let configs go on naming a class as it was called before.

    What is built by the old name is the new class, with a ``DeprecationWarning``.

    Args:
        registry: A registry of mmengine.
        old_name: The name that configs may have.
        new_class: What is built.
    """

    def build(*args, **kwargs):
        warnings.warn(f'{old_name} is now {new_class.__name__}; the old name works for '
                      'one more release.', DeprecationWarning, stacklevel=2)
        return new_class(*args, **kwargs)

    build.__name__ = old_name
    build.__doc__ = f'Build a {new_class.__name__}, the new name of {old_name}.'
    registry.register_module(name=old_name, module=build)


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


# -- imports at the first look into a registry --------------------------------


def import_on_lookup(registry: 'Registry', name: str) -> None:
    """Import a module when a name is next looked up in a registry or a child of it.

    Args:
        registry: A registry of mmengine.
        name: Full dotted name of the module, which registers what it holds.
    """
    if name not in registry._locations:
        # A new list: this one may be shared, and may be in use right now.
        registry._locations = [*registry._locations, name]
        registry._imported = False


def _import_parents_locations() -> None:
    """Let a child registry import its parent's locations along with its own.

    It looks into its parent without asking it to import anything.
    """
    from mmengine.registry import Registry
    import_own = Registry.import_from_location

    def import_from_location(self) -> None:
        import_own(self)
        if self.parent is not None:
            self.parent.import_from_location()

    import_from_location.__doc__ = import_own.__doc__
    Registry.import_from_location = import_from_location


# -- amendments --------------------------------------------------------------


def _major_version(package: str) -> int:
    from importlib import metadata
    try:
        return int(metadata.version(package).split('.')[0])
    except metadata.PackageNotFoundError:
        return 0


def _use_multimodal_placeholders(dependency: ModuleType) -> None:
    """Make an OpenMMLab package register placeholders for its multimodal models.

    They import names that transformers 5 moved.
    """
    if _major_version('transformers') >= 5:
        dependency.WITH_MULTIMODAL = False


def _use_placeholders_without_timm(dependency: ModuleType) -> None:
    """MMAction2's multimodal models import timm, which it does not require."""
    if importlib.util.find_spec('timm') is None:
        dependency.WITH_MULTIMODAL = False


def _declare_torchvision_operators(extension: ModuleType) -> None:
    """Let a torchvision import whose compiled part torch cannot load.

    A build for CUDA beside a torch for CPUs is one. torchvision foresees it and
    refuses each operator that is called, but it describes the shapes of two of
    them to torch, which knows neither and stops the import. They are declared
    here, without an implementation.
    """
    import torch
    if extension._has_ops():
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for operator in ('nms', 'qnms'):
        library.define(f'{operator}(Tensor dets, Tensor scores, '
                       'float iou_threshold) -> Tensor')
    extension._declared_operators = library  # they last as long as this does


def _lay_out_config_once(config: ModuleType) -> None:
    """Let mmengine remember how yapf has laid out the text of a config.

    It asks at the start of a run some four times, and twice or thrice for each
    checkpoint.
    """
    format_code = config.FormatCode

    @functools.lru_cache(maxsize=8)
    def remembered(text: str, options: str):
        return format_code(text, **json.loads(options))

    def format_once(text: str, **options):
        return remembered(text, json.dumps(options, sort_keys=True))

    config.FormatCode = format_once


def _one_cycle_scheduler() -> type:
    """Stands for the class in an allow-list: it takes a second to import."""
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
    return OneCycleParamScheduler


def _plain_attribute(owner, name: str):
    """What a checkpoint may ask ``getattr`` for: functions it refers to by name."""
    from mmengine.logging import HistoryBuffer
    allowed = {
        HistoryBuffer: ('min', 'max', 'current', 'mean'),
        _one_cycle_scheduler: ('_annealing_cos', '_annealing_linear'),
    }
    if name in allowed.get(owner, ()):
        owner = owner() if owner is _one_cycle_scheduler else owner
        return getattr(owner, name)
    raise ValueError(
        f'The checkpoint asks for {name!r} of {owner!r}, which no checkpoint of '
        'mmengine does: do not trust this file.')


def _download_tensors_alone(checkpoint: ModuleType) -> None:
    """Restrict what mmengine unpickles of a download; torch does not by itself."""
    checkpoint.load_url = functools.partial(checkpoint.load_url, weights_only=True)


def _allow_mmengine_checkpoints() -> None:
    """Name the classes of an mmengine checkpoint as safe to load.

    A checkpoint's message hub holds ``HistoryBuffer`` objects, which are made
    of numpy arrays and scalars: plain data. They refer to their own statistics,
    and a one-cycle schedule to its annealing function, through ``getattr``,
    which is allowed for exactly that. Loading stays restricted to
    ``weights_only``.
    """
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer
    core = importlib.import_module(
        'numpy._core.multiarray' if np.lib.NumpyVersion(np.__version__) >= '2.0.0'
        else 'numpy.core.multiarray')
    dtypes = {type(np.dtype(kind)) for kind in
              ('bool', 'int32', 'int64', 'uint8', 'uint32', 'uint64',
               'float16', 'float32', 'float64')}
    torch.serialization.add_safe_globals(
        [HistoryBuffer, np.ndarray, np.dtype, core._reconstruct, *dtypes,
         # numpy 1 and 2 keep it in modules of different names.
         *((core.scalar, f'numpy.{name}.multiarray.scalar')
           for name in ('core', '_core')),
         (_one_cycle_scheduler,
          'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
         (_plain_attribute, 'builtins.getattr')])


def install() -> None:
    """Set all work-arounds up. Calling it again changes nothing."""
    if _hook_finder in sys.meta_path:
        return
    sys.meta_path.insert(0, _hook_finder)
    sys.meta_path.append(_FallbackFinder())
    on_import('mmaction.utils.dependency', _use_multimodal_placeholders)
    on_import('mmaction.utils.dependency', _use_placeholders_without_timm)
    on_import('mmpretrain.utils.dependency', _use_multimodal_placeholders)
    on_import('mmengine.runner.checkpoint', _download_tensors_alone)
    on_import('mmengine.config.config', _lay_out_config_once)
    on_import('torchvision.extension', _declare_torchvision_operators)
    _import_parents_locations()
    _allow_mmengine_checkpoints()
