"""How the training went: curves, validations and what they took."""
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

from cosam_mm.visualization.curves import draw_curves
from cosam_mm.visualization.style import figure_svg
from cosam_mm.visualization.training_curves import training_curves
from cosam_mm.visualization.training_log import (
    LogRecord,
    TrainingLog,
    group_runs,
    read_training_log,
)

from .content import Block, Facts, Gallery, Missing, Picture, Section, Table, Text
from .work_dir import ReportOptions, WorkDir

__all__ = ['build_section']

_NUM_PROBLEMS = 5  # named one by one
_CURVES = 'the training curves'
_LEAD = 'What was logged while the model was trained, and each validation.'


def build_section(found: WorkDir, options: ReportOptions) -> Optional[Section]:
    """Curves of all trainings in one plot, and a table of validations for each."""
    if not found.training_logs:
        return _section([Missing(
            _CURVES, f'no scalars.json lies below {found.root}',
            'Give the folder that holds the --work-dir of tools/train.py.')])
    logs, blocks = [], []
    for run in group_runs(found.training_logs, found.root):
        try:
            log = read_training_log(run.files, run.name)
        except ValueError as error:
            blocks.append(Missing(f'{_CURVES} of {run.name}', str(error)))
            continue
        logs.append(log)
        blocks += _missing_lines(log)
    if not logs:
        return _section(blocks)
    return _section([*(_facts(log) for log in logs), *_pictures(logs), *blocks,
                     *(_validations(log) for log in logs if log.metrics)])


def _section(blocks: Sequence[Block]) -> Section:
    return Section('training', 'Training', _LEAD, tuple(blocks))


def _missing_lines(log: TrainingLog) -> list[Missing]:
    if not log.problems:
        return []
    shown = '; '.join(log.problems[:_NUM_PROBLEMS])
    more = len(log.problems) - _NUM_PROBLEMS
    return [Missing(f'parts of the log of {log.name}',
                    shown + (f'; and {more} more' if more > 0 else ''))]


def _facts(log: TrainingLog) -> Facts:
    last = log.train[-1]
    rows = [('training', log.name)]
    if log.by_epoch:
        rows.append(('epochs', f'{last.epoch:.4g}'))
    rows += [('iterations', f'{last.iteration:,}'),
             ('time in iterations', duration(log.seconds))]
    if log.num_resumed:
        rows.append(('resumed', 'once' if log.num_resumed == 1
                     else f'{log.num_resumed} times'))
    if math.isfinite(last.values.get('loss', math.nan)):
        rows.append(('last training loss', last.values['loss']))
    for key in log.metrics[:1]:
        best = log.best(key)
        if best is not None:
            rows.append((f'best {key}', f'{best.value:.4f}, {_when(log, best.record)}'))
    return Facts(tuple(rows))


def _when(log: TrainingLog, record: LogRecord) -> str:
    return (f'epoch {record.epoch:.0f}' if log.by_epoch
            else f'iteration {record.iteration:,}')


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(3725.4), duration(59.6), duration(float('nan'))
    ('1 h 02 min', '1 min 00 s', 'not logged')
    """
    if not math.isfinite(seconds):
        return 'not logged'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60:,} h {minutes % 60:02d} min'


def _pictures(logs: Sequence[TrainingLog]) -> tuple[Gallery, Text]:
    panels, x_label, caption = training_curves(logs)
    pictures = []
    for panel in panels:
        figure = draw_curves([replace(panel, title='')], x_label)
        names = ', '.join(curve.label for curve in panel.curves)
        pictures.append(Picture(
            panel.title, figure_svg(figure),
            f'{panel.title} over {x_label}s: {names}'))
    return Gallery(tuple(pictures), 'Curves'), Text(caption)


def _validations(log: TrainingLog) -> Table:
    columns = ['epoch' if log.by_epoch else 'iteration', *log.metrics]
    rows = [[round(record.epoch) if log.by_epoch else record.iteration,
             *(record.values.get(key) for key in log.metrics)] for record in log.val]
    return Table(f'Validations of {log.name}', columns, rows, digits=4)
