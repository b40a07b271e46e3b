"""Finds the benchmarks and says what a run may be told."""
import ast
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Optional

from . import suite

__all__ = ['Options', 'descriptions', 'load_benchmark']


@dataclass(frozen=True)
class Options:
    """What a benchmark is told.

    Attributes:
        parts: Which of its ``PARTS`` to run.
        quick: Shrink all shapes: only to see that it runs. Metrics have no targets.
        device: Where to compute.
        seconds: About how long each comparison is timed.
        seed: Of weights and inputs.
        videos: Folder of videos, for the benchmarks that can read some.
        checkpoint: Trained weights, for the benchmarks that can load some.
    """

    parts: tuple
    quick: bool = False
    device: str = 'cpu'
    seconds: float = 10.0
    seed: int = 0
    videos: Optional[Path] = None
    checkpoint: Optional[Path] = None


def descriptions() -> dict[str, str]:
    """Name -> first line of the docstring, without importing the benchmarks."""
    found = {}
    for info in pkgutil.iter_modules(suite.__path__):
        source = Path(suite.__path__[0], f'{info.name}.py').read_text(encoding='utf-8')
        found[info.name] = ast.get_docstring(ast.parse(source)).splitlines()[0]
    return found


def load_benchmark(name: str) -> ModuleType:
    """The module of a benchmark, with ``PARTS`` and ``run``."""
    return importlib.import_module(f'{suite.__name__}.{name}')
