"""COSAM, the co-segmentation attention module for video, for OpenMMLab.

Importing this package needs torch and mmengine only. It registers what needs
no more than those two; what builds on MMAction2 registers itself the moment
MMAction2's own parts are imported, so that nobody waits for packages that
they do not use.
"""
import importlib

from . import compat

compat.install()

from . import engine, layers, models  # noqa: E402, F401
from .version import __version__  # noqa: E402

__all__ = ['__version__']

for _theirs, _ours in (
    ('mmaction.models', 'cosam_mm.models.heads'),
    ('mmaction.datasets', 'cosam_mm.datasets.action'),
    ('mmaction.datasets', 'cosam_mm.datasets.transforms'),
    ('mmaction.evaluation', 'cosam_mm.evaluation.action'),
):
    compat.on_import(
        _theirs, lambda _, name=_ours: importlib.import_module(name))
