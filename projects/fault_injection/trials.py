"""What a loop is told, what it reports, and the summary of its trials."""
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Optional


@dataclass(frozen=True)
class Options:
    """What a loop is told."""

    count: int                      # faults to inject, in each family
    families: tuple[str, ...]       # of trainings or inputs
    seed: int                       # of the moments and positions of the faults
    folder: Path                    # for data and results, which may stay there
    clips: Optional[Path] = None    # folder of videos to break, too


@dataclass(frozen=True)
class Trial:
    """One fault."""

    family: str
    fault: str
    problem: Optional[str] = None   # what was lost; None where nothing was
    outcome: Optional[str] = None   # of an input: read, skipped, refused


def summarize(trials: list[Trial]) -> list[str]:
    """A line for each family and fault: tried, survived, lost."""
    tried = Counter(f'{trial.family}: {trial.fault}' for trial in trials)
    lost = Counter(f'{trial.family}: {trial.fault}' for trial in trials
                   if trial.problem)
    outcomes = Counter(f'{trial.family}: {trial.outcome}' for trial in trials
                       if trial.outcome and not trial.problem)
    width = max(map(len, tried), default=0)

    def line(name: str, count: int, num_lost: int) -> str:
        return (f'{name:<{width}}  {count:4} tried  {count - num_lost:4} survived  '
                f'{num_lost:4} lost')

    return [*(line(name, count, lost[name]) for name, count in sorted(tried.items())),
            *(f'{name:<{width}}  {count:4}' for name, count in
              sorted(outcomes.items())), line('all', len(trials), sum(lost.values()))]
