"""What a loop is told, what it says, and how the loops are found."""
import ast
import importlib
import json
import pkgutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Optional

from . import loops

__all__ = ['Options', 'Trial', 'descriptions', 'load_loop', 'save', 'summarize']


@dataclass(frozen=True)
class Options:
    """What a loop is told.

    Attributes:
        count: Faults to inject, in each family.
        families: Of trainings or inputs, of the loop's ``FAMILIES``.
        seed: Of the moments and places of the faults.
        folder: For data and results, which the loop may leave behind.
        clips: A folder of videos to break, too.
    """

    count: int
    families: tuple[str, ...]
    seed: int
    folder: Path
    clips: Optional[Path] = None


@dataclass(frozen=True)
class Trial:
    """One fault.

    Attributes:
        family: What it was done to.
        fault: What was done.
        problem: What was lost or went wrong; None where nothing did.
        outcome: What became of an input: read, skipped, refused.
    """

    family: str
    fault: str
    problem: Optional[str] = None
    outcome: Optional[str] = None


def descriptions() -> dict[str, str]:
    """Name -> first line of the docstring, without importing the loops."""
    found = {}
    for info in pkgutil.iter_modules(loops.__path__):
        source = Path(loops.__path__[0], f'{info.name}.py').read_text(encoding='utf-8')
        found[info.name] = ast.get_docstring(ast.parse(source)).splitlines()[0]
    return found


def load_loop(name: str) -> ModuleType:
    """The module of a loop, with ``FAMILIES`` and ``run``."""
    return importlib.import_module(f'{loops.__name__}.{name}')


def summarize(trials: list[Trial]) -> list[str]:
    """A line for each family and fault: tried, survived, lost."""
    tried = Counter((trial.family, trial.fault) for trial in trials)
    lost = Counter((trial.family, trial.fault) for trial in trials if trial.problem)
    width = max((len(f'{family}: {fault}') for family, fault in tried), default=0)
    lines = [f'{f"{family}: {fault}":<{width}}  {count:4} tried  '
             f'{count - lost[family, fault]:4} survived  {lost[family, fault]:4} lost'
             for (family, fault), count in sorted(tried.items())]
    outcomes = Counter((trial.family, trial.outcome) for trial in trials
                       if trial.outcome and not trial.problem)
    lines += [f'{f"{family}: {outcome}":<{width}}  {count:4}'
              for (family, outcome), count in sorted(outcomes.items())]
    total = sum(lost.values())
    return [*lines, f'{"all":<{width}}  {len(trials):4} tried  '
                    f'{len(trials) - total:4} survived  {total:4} lost']


def save(path: Path, name: str, options: Options, trials: list[Trial],
         environment: dict) -> None:
    """Write all trials as JSON."""
    path.write_text(json.dumps({
        'loop': name, 'count': options.count, 'seed': options.seed,
        'environment': environment, 'tried': len(trials),
        'lost': sum(trial.problem is not None for trial in trials),
        'trials': [asdict(trial) for trial in trials]}, indent=2) + '\n',
        encoding='utf-8')
