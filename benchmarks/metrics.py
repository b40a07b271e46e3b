"""What a benchmark yields: metrics, their targets, and files of them."""
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Optional

from projects.attention_study.measurement import Summary

__all__ = ['Metric', 'Results', 'Target', 'at_least', 'at_most']


@dataclass(frozen=True)
class Target:
    """A bound: ``kind`` is ``'at least'`` or ``'at most'``."""

    kind: str
    value: float

    def is_reached(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return value >= self.value if self.kind == 'at least' else value <= self.value

    def __str__(self) -> str:
        return f'{self.kind} {self.value:g}'


def at_least(value: float) -> Target:
    """A lower bound."""
    return Target('at least', value)


def at_most(value: float) -> Target:
    """An upper bound."""
    return Target('at most', value)


@dataclass(frozen=True)
class Metric:
    """One measured metric.

    Attributes:
        part: The part of the benchmark that made it.
        name: What it is, with its shape.
        unit: ``'times'`` for a ratio, ``'exponent'``, ``'share'``, ``'error'``, ...
        summary: Median and quartiles over the rounds. None: see ``note``.
        target: What it should be, if anything.
        details: What else belongs to it: times of both sides in seconds, bytes,
            shapes, types. Plain values.
        note: A remark, such as why it could not be measured.
    """

    part: str
    name: str
    unit: str
    summary: Optional[Summary]
    target: Optional[Target] = None
    details: dict = field(default_factory=dict)
    note: str = ''

    @property
    def verdict(self) -> str:
        """``'reached'``, ``'not reached'``, ``'not measured'`` or ``'no target'``."""
        if self.summary is None:
            return 'not measured'
        if self.target is None:
            return 'no target'
        reached = self.target.is_reached(self.summary.median)
        return 'reached' if reached else 'not reached'

    def as_dict(self) -> dict:
        """Plain values, for JSON."""
        return {**asdict(self), 'verdict': self.verdict}

    @classmethod
    def from_dict(cls, values: dict) -> 'Metric':
        """The metric of :meth:`as_dict`."""
        values = {k: v for k, v in values.items() if k != 'verdict'}
        for name, kind in (('summary', Summary), ('target', Target)):
            if values[name] is not None:
                values[name] = kind(**values[name])
        return cls(**values)


@dataclass
class Results:
    """All metrics of a benchmark under the same circumstances.

    Attributes:
        benchmark: Its name.
        quick: Whether the shapes were shrunk: such metrics only show that it runs.
        environment: Of
            :func:`projects.attention_study.measurement.describe_environment`.
        metrics: In the order they were made.
    """

    benchmark: str
    quick: bool
    environment: dict
    metrics: list[Metric] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> 'Results':
        """Read a file of :meth:`save`."""
        values = json.loads(path.read_text(encoding='utf-8'))
        # Files written before 0.2 call them figures.
        metrics = values.pop('figures', None) or values['metrics']
        values['metrics'] = [Metric.from_dict(one) for one in metrics]
        return cls(**values)

    def save(self, path: Path) -> None:
        """Write as JSON; the folder is made."""
        values = {**vars(self), 'metrics': [one.as_dict() for one in self.metrics]}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=1) + '\n', encoding='utf-8')

    def difference(self, other: 'Results') -> list[str]:
        """Circumstances in which two results differ, and so do not belong together."""
        pairs = {'benchmark': (self.benchmark, other.benchmark),
                 'quick': (self.quick, other.quick)}
        for key in sorted({*self.environment, *other.environment}):
            pairs[key] = (self.environment.get(key), other.environment.get(key))
        return [f'{key}: {ours} and {theirs}'
                for key, (ours, theirs) in pairs.items() if ours != theirs]

    def keep_other_parts(self, earlier: 'Results', parts: tuple) -> None:
        """Put an earlier run's metrics of other parts before these."""
        kept = [one for one in earlier.metrics if one.part not in parts]
        self.metrics[:0] = kept
