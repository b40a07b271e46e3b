"""From the logs of trainings to panels of curves."""
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

from .curves import Curve, Panel
from .smoothing import exponential_mean
from .training_log import TrainingLog

__all__ = ['TrainingCurves', 'training_curves']

_NUM_METRICS = 3  # of one run in one panel
_SPAN_SHARE = 0.01  # of a run, where nobody says how much to smooth


class TrainingCurves(NamedTuple):
    """What to draw.

    Attributes:
        panels: In order.
        x_label: 'epoch' or 'iteration'.
        caption: How it is to be read.
    """
    panels: tuple[Panel, ...]
    x_label: str
    caption: str


class _Lines:
    """Makes curves of some runs, alike in all panels."""

    def __init__(self, logs: Sequence[TrainingLog], span: Optional[float]) -> None:
        self.logs = logs
        self.by_epoch = all(log.by_epoch for log in logs)
        end = max(record.epoch if self.by_epoch else record.iteration
                  for log in logs for record in log.train)
        self.span = _SPAN_SHARE * end if span is None else span

    def of(self, log: TrainingLog, key: str, colour: int, label: str = '',
           is_dashed: bool = False, smoothed: bool = True,
           with_best: bool = False) -> Curve:
        """The curve of something that a run logs."""
        x, y = log.curve(key, self.by_epoch)
        smooth = exponential_mean(x, y, self.span) if smoothed and self.span else None
        label, place = label or key, None
        best = log.best(key) if with_best else None
        if best is not None:
            place = int(np.flatnonzero(y == best.value)[0])
            value = f'{100 * best.value:.1f} %' if _is_share(y) else f'{best.value:.3g}'
            label += f': {value} at {x[place]:.0f}'
        return Curve(label, x, y, smooth, colour, is_dashed, place)

    def panel(self, title: str, keys: Sequence[str], is_metric: bool = False,
              from_zero: bool = False, smoothed: bool = True) -> Optional[Panel]:
        """A panel of those of the keys that are logged; None if none is.

        One run has a colour for each key. Of several each has its own, and the keys
        are told apart by their lines.
        """
        curves = []
        for number, log in enumerate(self.logs):
            own = [key for key in keys if key in log.keys]
            for line, key in enumerate(own):
                is_alone = len(self.logs) == 1
                label = key if is_alone else log.name
                if not is_alone and len(keys) > 1:
                    label += f', {key}'
                curves.append(self.of(
                    log, key, line if is_alone else number, label,
                    is_dashed=not is_alone and line > 0,
                    smoothed=smoothed and not is_metric, with_best=is_metric))
        if not curves:
            return None
        is_share = is_metric and all(_is_share(curve.y) for curve in curves)
        return Panel(title, curves, is_share, from_zero)

    @property
    def caption(self) -> str:
        """How lines and stars are to be read."""
        unit = 'epochs' if self.by_epoch else 'iterations'
        text = 'Stars: best validation.'
        if self.span:
            text = ('Faint: as logged. Lines: mean of what lies around, falling off '
                    f'exponentially with {self.span:.3g} {unit}. ') + text
        return text


def training_curves(logs: Sequence[TrainingLog], keys: Optional[Sequence[str]] = None,
                    span: Optional[float] = None) -> TrainingCurves:
    """Panels of some trainings, each with all of them.

    Args:
        logs: At least one; their names differ.
        keys: One panel for each, of training or validations. Default: loss, main
            figures of the validations, learning rate, time of an iteration, and
            memory where it is logged.
        span: How far smoothing reaches, in epochs, or in iterations where a training
            does not count epochs. 0: none. Default: 1 % of the longest training.

    Raises:
        ValueError: There is no log, or a key is not logged by any.
    """
    if not logs:
        raise ValueError('There is no training to draw.')
    lines = _Lines(logs, span)
    panels = (_default_panels(lines) if keys is None
              else [_chosen_panel(lines, key) for key in keys])
    return TrainingCurves(tuple(panel for panel in panels if panel is not None),
                          'epoch' if lines.by_epoch else 'iteration', lines.caption)


def _default_panels(lines: _Lines) -> list[Optional[Panel]]:
    return [
        lines.panel('Training loss', _losses(lines)),
        *(lines.panel(title, keys, is_metric=True) for title, keys in _metrics(lines)),
        # Nothing to smooth: it is set, not measured.
        lines.panel('Learning rate', ['lr'], smoothed=False),
        lines.panel('Time of an iteration, s', ['time', 'data_time'], from_zero=True),
        lines.panel('GPU memory, MB', ['memory'], from_zero=True, smoothed=False)]


def _losses(lines: _Lines) -> list[str]:
    """The loss, and of one run its parts."""
    if len(lines.logs) > 1:
        return ['loss']
    log, = lines.logs
    parts = [key for key in log.keys if key.startswith('loss')
             and any(key in record.values for record in log.train)]
    return _different(log, ['loss', *parts])


def _metrics(lines: _Lines) -> list[tuple[str, list[str]]]:
    """Titles and figures of validations: of one run several, of more the main one."""
    if len(lines.logs) > 1:
        main = dict.fromkeys(log.metrics[0] for log in lines.logs if log.metrics)
        return [(f'Validation: {key}', [key]) for key in main]
    log, = lines.logs
    shares = [key for key in log.metrics if _is_share(log.curve(key, False)[1])]
    return [('Validation', _different(log, shares or log.metrics)[:_NUM_METRICS])]


def _chosen_panel(lines: _Lines, key: str) -> Panel:
    is_metric = any(key in record.values for log in lines.logs for record in log.val) \
        and not any(key in record.values for log in lines.logs for record in log.train)
    panel = lines.panel(key, [key], is_metric)
    if panel is None:
        known = dict.fromkeys(key for log in lines.logs for key in log.keys)
        raise ValueError(f'No training logs {key!r}; logged are {", ".join(known)}.')
    return panel


def _different(log: TrainingLog, keys: Sequence[str]) -> list[str]:
    """Keys without those whose line would cover that of an earlier one."""
    kept = {}
    for key in dict.fromkeys(keys):
        if key not in log.keys:
            continue
        values = log.curve(key, False)[1]
        if not any(len(values) == len(other) and np.allclose(
                values, other, equal_nan=True) for other in kept.values()):
            kept[key] = values
    return list(kept)


def _is_share(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool(((known >= 0) & (known <= 1)).all())
