"""COSAM, the co-segmentation attention module for video, for OpenMMLab.

Importing this package needs torch and mmengine only, and takes little longer than
these two: nobody waits for what they do not use. Parts of the package, and
``ActionRecognizer`` and ``TrackletEncoder``, are imported when they are asked for.
What is built by name registers itself

* in mmengine's root registries when a name is first looked up there or in a child of
  theirs, that is from every scope;
* in MMAction2's the moment MMAction2's own part is imported.
"""
import importlib
from typing import TYPE_CHECKING

from mmengine import registry as _registry

from .utils import compat
from .version import __version__

if TYPE_CHECKING:
    from .apis.action_recognizer import ActionRecognizer
    from .apis.tracklet_encoder import TrackletEncoder

__all__ = ['ActionRecognizer', 'TrackletEncoder', '__version__']

# Name -> its module, and the extra that brings what the module needs.
_LATE = {
    'ActionRecognizer': ('cosam_mm.apis.action_recognizer', 'action'),
    'TrackletEncoder': ('cosam_mm.apis.tracklet_encoder', 'reid'),
}

_PARTS = ('apis', 'datasets', 'engine', 'evaluation', 'layers', 'models', 'structures',
          'utils', 'visualization')

compat.install()

for _kind, _ours in (
    ('MODELS', 'cosam_mm.layers'),
    ('MODELS', 'cosam_mm.models'),
    ('WEIGHT_INITIALIZERS', 'cosam_mm.models.backbones'),
    ('DATASETS', 'cosam_mm.datasets.reid'),
    ('TRANSFORMS', 'cosam_mm.datasets.reid'),
    ('DATA_SAMPLERS', 'cosam_mm.datasets.reid'),
    ('DATA_SAMPLERS', 'cosam_mm.datasets.clip_sampler'),
    ('METRICS', 'cosam_mm.evaluation.metrics.reid_metric'),
    ('HOOKS', 'cosam_mm.engine.hooks'),
    ('OPTIM_WRAPPERS', 'cosam_mm.engine.runner.amp_optim_wrapper'),
    ('VISBACKENDS', 'cosam_mm.engine.runner.fault_tolerant_vis_backend'),
):
    compat.import_on_lookup(getattr(_registry, _kind), _ours)

for _theirs, _ours in (
    # Weights by name: a scheme of mmengine's checkpoint loader, no registry.
    ('mmengine.runner', 'cosam_mm.models.backbones'),
    ('mmaction.models', 'cosam_mm.models.heads'),
    ('mmaction.datasets', 'cosam_mm.datasets.action_dataset'),
    ('mmaction.datasets', 'cosam_mm.datasets.transforms'),
    ('mmaction.evaluation', 'cosam_mm.evaluation.metrics.action_metric'),
):
    compat.on_import(
        _theirs, lambda _, name=_ours: importlib.import_module(name))


def __getattr__(name: str):
    """Import what a user may not need, when it is used."""
    if name in _PARTS:
        return importlib.import_module(f'{__name__}.{name}')
    if name not in _LATE:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module, extra = _LATE[name]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        missing = (error.name or '').split('.')[0]
        if missing == __name__:  # a bug
            raise
        raise ImportError(
            f'{name} needs {missing}, which is not installed: pip install '
            f"'cosam_mm[{extra}]' brings it.", name=missing) from error


def __dir__() -> list:
    return sorted({*globals(), *_LATE, *_PARTS})
