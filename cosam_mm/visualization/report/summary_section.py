"""What was trained, on what, and how it did.

Everything is read from what the runs wrote down. What they did not write down is left
out, not guessed.
"""
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Optional

from .content import Block, Cell, Facts, Missing, Section
from .reproduce_section import again_section, command_of_test, relative_name
from .run_log import (
    RunRecord,
    cosam_places,
    dataset_of,
    model_in_words,
    read_run,
    views_of_test,
)
from .test_metrics import (
    ORIGINS,
    RERANKED,
    Rating,
    find_rating,
    label_figure,
    show_figure,
)
from .work_dir import WorkDir

__all__ = ['Summary', 'summarize']

# Of the figures of a test, those that are shown large where they are there.
_LARGE = ('acc/top1', 'acc/top3', 'acc/top5', 'acc/mean1', 'reid/mAP', 'reid/R1',
          'reid/rerank_mAP', 'reid/rerank_R1')
_LEADS = dict(
    test='What was trained, on what, and how the last test rated it.',
    splits='What was trained, on what, and how all splits rated it.',
    validation='What was trained, on what, and how its last validation rated it: no '
               'test wrote its figures here.')


@dataclass(frozen=True)
class Summary:
    """The head of a report, and the sections that frame the others.

    Attributes:
        title: What was trained.
        subtitle: On what, and when.
        headline: The few figures that are shown large.
        first: Section that comes first: config, model, data, figures.
        last: Section that comes last: versions, commands, files.
    """
    title: str
    subtitle: str
    headline: Sequence[tuple[str, str]]
    first: Section
    last: Section


def summarize(found: WorkDir, title: Optional[str] = None) -> Summary:
    """What a work dir says of itself.

    Args:
        found: The work dir.
        title: Default: the name of the config, else of the folder.
    """
    run, rating = read_run(found), find_rating(found)
    headline = [(label_figure(name) + ORIGINS[rating.origin],
                 show_figure(name, rating.values[name]))
                for name in _LARGE if name in rating.values]
    blocks = [Facts(rows) for rows in (_run_facts(found, run), _figure_facts(rating))
              if rows]
    lead = _LEADS.get(rating.origin, 'What was trained, and on what.')
    return Summary(
        title=title or run.name or found.root.resolve().name, subtitle=_subtitle(run),
        headline=headline, last=again_section(found, run),
        first=Section('summary', 'Summary', lead,
                      [*blocks, *_missing(found, run, rating)]))


def _subtitle(run: RunRecord) -> str:
    dataset, split = dataset_of(run)
    text = (run.task or 'Results') + (f' on {dataset}' if dataset else '')
    text += f', split {split}' if split else ''
    if run.started is None:
        return text
    return f'{text}, trained on {run.started.day} {run.started:%B %Y}'


def _run_facts(found: WorkDir, run: RunRecord) -> list[tuple[str, Cell]]:
    dataset, split = dataset_of(run)
    places = cosam_places(run) or (['none'] if run.config else [])
    seed = run.meta.get('seed')
    rows = {
        'Task': run.task, 'Config': run.name, 'Model': model_in_words(run),
        'COSAM': '\n'.join(places),
        'Parameters': '' if run.num_parameters is None else
        f'{run.num_parameters / 1e6:.2f} M in the checkpoint',
        'Data set': dataset + (f', split {split}' if split else ''),
        'Clips in testing': views_of_test(run), 'Trained for': _length(run),
        'When': _time(run), 'Seed': '' if seed is None else str(seed),
        'Checkpoint': '' if found.checkpoint is None else
        f'{relative_name(found.checkpoint, found.root)}\n'
        f'SHA-256 begins with {_sha256(found.checkpoint)[:12]}'}
    return [(name, value) for name, value in rows.items() if value]


def _length(run: RunRecord) -> str:
    epoch, iterations = run.meta.get('epoch'), run.meta.get('iter')
    if not isinstance(epoch, int):
        return ''
    total = (run.config.get('train_cfg') or {}).get('max_epochs')
    words = f'{epoch} of {total} epochs' if total else f'{epoch} epochs'
    return words + (f', {iterations:,} iterations' if isinstance(iterations, int)
                    else '')


def _time(run: RunRecord) -> str:
    """From the start of the last training to the checkpoint."""
    if run.started is None:
        return ''
    words = f'{run.started:%Y-%m-%d %H:%M}'
    try:
        written = datetime.strptime(str(run.meta.get('time')), '%Y%m%d_%H%M%S')
    except ValueError:
        return words
    return f'{words} to {written:%Y-%m-%d %H:%M}'


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _figure_facts(rating: Rating) -> list[tuple[str, Cell]]:
    """Figures that belong together in one line; words, such as the protocol, alone."""
    lines = {}
    for name, value in rating.values.items():
        label, shown = label_figure(name), show_figure(name, value)
        if name.endswith('/dataset') or value in ('', 0):
            continue  # said above; nothing to say
        if isinstance(value, str):
            lines[label] = [shown]
        elif '/num_' in name:
            lines.setdefault('Counts', []).append(f'{label}: {shown}')
        elif label.endswith(RERANKED):
            lines.setdefault('Re-ranked', []).append(
                f'{label[:-len(RERANKED)]} {shown}')
        else:
            lines.setdefault('Figures' + ORIGINS[rating.origin], []).append(
                f'{label} {shown}')
    return [(label, ', '.join(shown)) for label, shown in lines.items()]


def _missing(found: WorkDir, run: RunRecord, rating: Rating) -> list[Block]:
    missing = [Missing(f'what {relative_name(path, found.root)} holds', reason)
               for path, reason in found.damaged]
    where = f'below {found.root}'
    if found.config is None:
        missing.append(Missing('config and model', f'There is no config {where}.',
                               'Training writes it into its work dir.'))
    if found.checkpoint is None:
        missing.append(Missing(
            'the checkpoint', f'There is no checkpoint that can be read {where}.',
            'Training writes it into its work dir; --checkpoint FILE names another.'))
    if rating.origin not in ('test', 'splits'):
        missing.append(Missing('figures of a test', f'No test wrote its log {where}.',
                               command_of_test(found, run)))
    return missing
