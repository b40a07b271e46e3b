"""COSAM, the co-segmentation attention module for video, for OpenMMLab.

Importing this package needs torch and mmengine only, and takes little longer than
these two: nobody waits for what they do not use. Parts of the package, and
``ActionRecognizer`` and ``TrackletEncoder``, are imported when they are asked for.
What is built by name has the scope ``cosam_mm``. From every scope it is also found by
plain name where nobody else has one of that name (:mod:`.registry`).
"""
import importlib
from typing import TYPE_CHECKING

from . import registry as registry
from .utils import compat
from .version import __version__

if TYPE_CHECKING:
    from .apis.action_recognizer import ActionRecognizer
    from .apis.tracklet_encoder import TrackletEncoder
    from .layers.cosam import COSAM

__all__ = ['COSAM', 'ActionRecognizer', 'TrackletEncoder', '__version__']

# Name -> its module, and the extra that brings what the module needs.
_LATE = {
    'COSAM': ('cosam_mm.layers.cosam', 'reid'),
    'ActionRecognizer': ('cosam_mm.apis.action_recognizer', 'action'),
    'TrackletEncoder': ('cosam_mm.apis.tracklet_encoder', 'reid'),
}

_PARTS = ('apis', 'datasets', 'engine', 'evaluation', 'layers', 'models', 'structures',
          'utils', 'visualization')

compat.install()

# Weights by name: a scheme of mmengine's checkpoint loader, no registry.
compat.on_import('mmengine.runner', lambda _: importlib.import_module(
    'cosam_mm.models.backbones'))


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
