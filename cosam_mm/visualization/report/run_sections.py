"""The sections on a run: summary, training, and how to reproduce it.

Everything is read from what the runs wrote down. What they did not write down is left
out, not guessed.
"""
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from typing import Any

from cosam_mm.evaluation.provenance import MADE_BY, UNKNOWN
from cosam_mm.utils.cli import as_typed, shipped_configs
from cosam_mm.utils.config import type_name
from cosam_mm.utils.io import sha256_of_file, unwrap_state_dict
from cosam_mm.utils.messages import name_some
from cosam_mm.visualization.training_curves import plot_curves, training_curves
from cosam_mm.visualization.training_log import (
    TrainingLog,
    duration,
    group_runs,
    read_training_log,
)

from . import page
from .page import Block, Section
from .work_dir_collection import REID, WorkDir, get_in

__all__ = ['headline', 'reproduce_section', 'subtitle', 'summary_section',
           'training_section']

# Of what mmengine writes at the head of a log.
_ENVIRONMENT = ('Python', 'PyTorch', 'CUDA available', 'GPU 0', 'OpenCV', 'MMEngine')
_PACKAGES = ('cosam_mm', 'torch', 'mmengine', 'mmaction2', 'mmcv', 'mmcv-lite',
             'transformers', 'numpy')
_COSAM = ('COSAM', 'NaiveCOSAM')
# What BatchNorm keeps beside its parameters.
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')
_TIMES = ' \N{MULTIPLICATION SIGN} '
# Of the metrics of a test, those that are shown large.
_LARGE = ('acc/top1', 'acc/top3', 'acc/top5', 'acc/mean1', 'reid/mAP', 'reid/R1',
          'reid/rerank_mAP', 'reid/rerank_R1')
_LABELS = dict(num_clips='Tested clips', num_listed='Clips of the split',
               mean1='Mean class accuracy', cross_entropy='Cross-entropy',
               num_unreadable='Unreadable clips', num_queries='Queries',
               num_gallery='Gallery tracklets', num_valid_queries='Valid queries',
               num_queries_without_truth='Queries without a positive match',
               rerank='Re-ranking', clip_sampling='Clips of a tracklet')
_RERANKED = ', re-ranked'
_SHARE = re.compile(r'(\w+_)?(top\d+|mean1|mAP|mINP|R\d+)')
# Where metrics come from, and what that adds to their names.
_ORIGINS = dict(test='', splits=', mean of the splits', validation=' in validation')
_LEADS = {
    '': 'What was trained, and on what.',
    'test': 'What was trained, on what, and the metrics of the last test.',
    'splits': 'What was trained, on what, and the metrics of all splits.',
    'validation': 'What was trained, on what, and the metrics of the last validation.'}


# -- metrics -------------------------------------------------------------------------


def headline(found: WorkDir) -> list[tuple[str, str]]:
    """The few metrics that are shown large."""
    metrics, origin = found.metrics
    words = _ORIGINS.get(origin, '')
    words += ', of another checkpoint' * _is_of_another(found)
    return [(_label(name) + words, _show(name, metrics[name]))
            for name in _LARGE if name in metrics]


def _is_of_another(found: WorkDir) -> bool:
    """Whether a test is known to be of another checkpoint than the report shows."""
    return found.other_tested_weights not in ('', UNKNOWN)


def _label(name: str) -> str:
    """The name of a metric as it is read: 'Top-5 accuracy', 'mAP, re-ranked'."""
    own = name.rpartition('/')[2]
    plain = own.removeprefix('rerank_')
    if re.fullmatch(r'top\d+', plain):
        label = f'Top-{plain[3:]} accuracy'
    elif re.fullmatch(r'mAP|mINP|R\d+', plain):
        label = plain
    else:
        words = plain.replace('_', ' ')
        label = _LABELS.get(plain, words[:1].upper() + words[1:])
    return label + _RERANKED * (plain != own)


def _show(name: str, value: Any) -> str:
    """A metric as it is read: shares in per cent."""
    if isinstance(value, str):
        return value
    if _SHARE.fullmatch(name.rpartition('/')[2]):
        return f'{100 * value:.1f} %'
    return f'{value:,.0f}' if float(value).is_integer() else f'{value:.4f}'


def _metric_facts(found: WorkDir) -> list[tuple[str, str]]:
    """Metrics that belong together in one line; words, such as the protocol, alone."""
    (metrics, origin), lines = found.metrics, {}
    for name, value in metrics.items():
        label, shown = _label(name), _show(name, value)
        if name.endswith(('/dataset', *MADE_BY, '/classes_sha256')) or value in (
                '', 0):
            continue  # said above or below; nothing to say
        if isinstance(value, str):
            line, words = label, shown
        elif '/num_' in name:
            line, words = 'Counts', f'{label}: {shown}'
        elif label.endswith(_RERANKED):
            line, words = 'Re-ranked', f'{label.removesuffix(_RERANKED)} {shown}'
        else:
            line, words = 'Metrics' + _ORIGINS[origin], f'{label} {shown}'
        lines.setdefault(line, []).append(words)
    tested = [found.tested] * bool(origin == 'test' and found.tested)
    if found.other_tested_weights:
        tested.append(found.other_tested_weights)
    if tested:
        lines['Tested checkpoint'] = tested
    return [(label, ', '.join(shown)) for label, shown in lines.items()]


# -- summary -------------------------------------------------------------------------


def subtitle(found: WorkDir) -> str:
    """Task, data set and date."""
    dataset, started = _dataset(found), found.started
    return (found.task or 'Results') + (f' on {dataset}' if dataset else '') + (
        f', trained on {started.day} {started:%B %Y}' if started else '')


def summary_section(found: WorkDir) -> Section:
    """What was trained, on what, and its metrics; what is missing for a report."""
    facts = _run_facts(found), _metric_facts(found)
    return Section('summary', 'Summary', _LEADS[found.metrics[1]], [
        *(page.facts(rows) for rows in facts if rows), *_missing(found)])


def _run_facts(found: WorkDir) -> list[tuple[str, str]]:
    positions = list(_cosam_positions(found.config.get('model')))
    seed = found.meta.get('seed')
    rows = {
        'Task': found.task, 'Config': found.name, 'Model': _model(found),
        'COSAM': '\n'.join(positions) or 'none' * bool(found.config_file),
        'Parameters': _parameters(found), 'Data set': _dataset(found),
        'Clips in testing': _views(found), 'Trained for': _length(found),
        'When': _time(found), 'Seed': '' if seed is None else str(seed),
        'Checkpoint': '' if found.checkpoint_file is None else
        f'{found.relative(found.checkpoint_file)}\nSHA-256 begins with '
        f'{sha256_of_file(found.checkpoint_file)[:12]}'}
    return [(name, value) for name, value in rows.items() if value]


def _tested_dataset(found: WorkDir) -> Mapping:
    """The first data set of a test, inside of what joins or wraps several."""
    dataset = found.config.get('test_dataloader')
    while inner := [get_in(dataset, key) for key in ('dataset', 'query', 'gallery')
                    if isinstance(get_in(dataset, key), Mapping)]:
        dataset = inner[0]
    return dataset if isinstance(dataset, Mapping) else {}


def _dataset(found: WorkDir) -> str:
    """Name and split of the data set, from the checkpoint, else the config."""
    own, meta = _tested_dataset(found), found.meta.get('dataset_meta')
    name = get_in(meta, 'dataset') or own.get('name') or own.get('type') or ''
    split = get_in(meta, 'split') or own.get('split')
    return f'{name}, split {split}' if split else str(name)


def _model(found: WorkDir) -> str:
    """Types of the model and of its parts: 'Recognizer3D: ResNeXt3D-101, BERTHead'."""
    model = get_in(found.config, 'model')
    parts = []
    for name in ('backbone', 'cls_head', 'aggregation', 'head'):
        part = get_in(model, name)
        part = get_in(part, 'backbone') or part  # inside of a PluggedBackbone
        if get_in(part, 'type') is not None:
            depth = get_in(part, 'depth')
            parts.append(f'{part["type"]}{f"-{depth}" if depth else ""}')
    kind = str(get_in(model, 'type') or '')
    return f'{kind}: {", ".join(parts)}' if parts else kind


def _cosam_positions(value: Any, after: Any = None) -> Iterator[str]:
    """Where a model has COSAMs: 'after layer3: 8 frames of 7 x 7'."""
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _cosam_positions(inner)
    elif isinstance(value, Mapping) and type_name(value) in _COSAM:
        words = f'after {str(after).removeprefix("after_")}' if after \
            else 'in the model'
        frames, size = value.get('num_frames'), value.get('spatial_size')
        if frames and isinstance(size, (list, tuple)):
            words += f': {frames} frames of {_TIMES.join(map(str, size))}'
        yield words + ''.join(
            f', without {part} mask' for part in ('spatial', 'channel')
            if value.get(f'with_{part}') is False)
    elif isinstance(value, Mapping):
        # Our backbones say position='after_layer3', PluggedBackbone after='layer3'.
        after = value.get('after') or value.get('position')
        for key, inner in value.items():
            yield from _cosam_positions(inner, after if key == 'cfg' else None)


def _parameters(found: WorkDir) -> str:
    with suppress(ValueError):  # no checkpoint, or one of something else
        count = sum(
            value.numel() for name, value in unwrap_state_dict(found.checkpoint).items()
            if not name.endswith(_BUFFERS))
        return f'{count / 1e6:.2f} M in the checkpoint'
    return ''


def _views(found: WorkDir) -> str:
    """How a test looks at a clip, on which metrics depend: '64 frames, TenCrop'."""
    steps = _tested_dataset(found).get('pipeline')
    words = []
    for step in steps if isinstance(steps, (list, tuple)) else ():
        frames = get_in(step, 'clip_len') or get_in(step, 'num_frames')
        if frames:
            mode = str(step.get('mode') or '').replace('_', ' ')
            count = step.get('num_clips') or 1
            words.append((f'{mode}: ' if mode else '')
                         + (f'{count}{_TIMES}' if count != 1 else '')
                         + f'{frames} frames')
        kind = str(get_in(step, 'type'))
        if 'Crop' in kind:
            words.append(kind.rpartition('.')[2])
    return ', '.join(words)


def _length(found: WorkDir) -> str:
    """Epochs and iterations that the checkpoint has seen."""
    epoch, iterations = found.meta.get('epoch'), found.meta.get('iter')
    total = get_in(found.config, 'train_cfg', 'max_epochs')
    words = f'{epoch} of {total} epochs' if total else f'{epoch} epochs'
    if isinstance(iterations, int):
        words += f', {iterations:,} iterations'
    return words if isinstance(epoch, int) else ''


def _time(found: WorkDir) -> str:
    """From the first start to the last end."""
    return ' to '.join(f'{time:%Y-%m-%d %H:%M}' for time in (found.started, found.ended)
                       if time and found.started)


def _missing(found: WorkDir) -> Iterator[Block]:
    for path, reason in found.damaged:
        yield page.missing(f'what {found.relative(path)} holds', reason)
    where = f'below {found.root}.'
    if found.config_file is None:
        yield page.missing('config and model', f'There is no config {where}',
                           'Training writes it into its work dir.')
    if found.checkpoint_file is None:
        yield page.missing(
            'the checkpoint', f'There is no checkpoint that can be read {where}',
            'Training writes it into its work dir; --checkpoint FILE names another.')
    if found.metrics[1] not in ('test', 'splits'):
        yield page.missing('metrics of a test', f'No test wrote its log {where}',
                           _test_command(found))
    if _is_of_another(found):
        yield page.missing(
            f'metrics of {found.relative(found.checkpoint_file)}',
            f'of those above, {found.other_tested_weights}.', _test_command(found))


# -- reproduction --------------------------------------------------------------------


def reproduce_section(found: WorkDir) -> Section:
    """Commands, versions and files."""
    blocks, seed = [], found.meta.get('seed')
    if found.config_file:
        train = _command(found, 'train', '--work-dir', 'work_dirs/reproduced',
                         *(('--seed', seed) if isinstance(seed, int) else ()))
        report = as_typed(f'python tools/report.py {shlex.quote(str(found.root))}')
        blocks.append(page.code('Commands, from the root of cosam_mm', '\n'.join(
            filter(None, (train, _test_command(found), report)))))
    with suppress(OSError, ValueError, IndexError):  # no log
        # Versions and devices stand at the head of the last training's.
        log = max(found.training_logs[-1].parent.parent.glob('*.log'))
        head = log.read_bytes()[:20_000].decode(errors='replace')
        lines = {name: re.search(rf'^ +{re.escape(name)}: (.+)$', head, re.MULTILINE)
                 for name in _ENVIRONMENT}
        if environment := [(name, line[1].strip()) for name, line in lines.items()
                           if line]:
            blocks += [page.text('The training ran with:'), page.facts(environment)]
    versions = {}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    files = {'Config': [found.config_file], 'Checkpoint': [found.checkpoint_file],
             'Training logs': found.training_logs,
             'Test logs': [path for path, _ in found.test_logs],
             'Scores': found.score_files, 'Features': found.feature_files}
    blocks += [
        page.text('This report was written with:'), page.facts(versions.items()),
        page.text('It was made of these files:'), page.facts([
            ('Folder', str(found.root)),
            ('Data set', str(found.data_root or 'not found')),
            *((name, '\n'.join(map(found.relative, paths)))
              for name, paths in files.items() if any(paths))])]
    return Section('reproduce', 'Reproduce', 'What these results were made with, and '
                   'the commands that make them again.', blocks)


def _command(found: WorkDir, tool: str, *arguments: object) -> str:
    """A line for a shell, with the shipped config of that name where there is one."""
    config = next((f'configs/{name}.py' for name in shipped_configs()
                   if name.split('/')[-1] == found.name), found.config_file)
    data = ('--data-root', found.data_root) if found.data_root else ()
    return as_typed(shlex.join(map(str, (
        'python', f'tools/{tool}.py', config, *arguments, *data))))


def _test_command(found: WorkDir) -> str:
    """Tests the checkpoint and keeps what a report shows; '' without a checkpoint."""
    if found.config_file is None or found.checkpoint_file is None:
        return ''
    extra = ('--rerank', '--dump', found.root / 'features.npz') \
        if found.task == REID else ('--dump', found.root / 'scores.npz')
    return _command(found, 'test', found.checkpoint_file, '--work-dir',
                    found.root / 'test', *extra)


# -- training ------------------------------------------------------------------------


def training_section(found: WorkDir) -> Section:
    """Curves of all trainings in one plot, and a table of validations for each."""
    what, logs = 'the training curves', []
    blocks = [] if found.training_logs else [page.missing(
        what, f'no scalars.json lies below {found.root}',
        'Give the folder that holds the --work-dir of tools/train.py.')]
    for one in group_runs(found.training_logs, found.root):
        try:
            log = read_training_log(one.files, one.name)
        except ValueError as error:
            blocks.append(page.missing(f'{what} of {one.name}', str(error)))
            continue
        logs.append(log)
        if log.problems:
            blocks.append(page.missing(f'parts of the log of {log.name}',
                                        name_some(log.problems, separator='; ')))
    if logs:
        panels, unit, caption = training_curves(logs)
        plots = [page.plot(
            panel.title, plot_curves([panel._replace(title='')], unit),
            f'{panel.title} over {unit}s: '
            + ', '.join(curve.label for curve in panel.curves)) for panel in panels]
        blocks = [*(page.facts(_training_facts(log)) for log in logs),
                  page.gallery(plots, 'Curves'), page.text(caption), *blocks,
                  *(page.table(f'Validations of {log.name}', [
                      'epoch' if log.by_epoch else 'iteration', *log.metrics], [
                          [round(record.epoch) if log.by_epoch else record.iteration,
                           *map(record.values.get, log.metrics)] for record in log.val],
                      digits=4) for log in logs if log.metrics)]
    return Section('training', 'Training', 'What was logged while the model was '
                   'trained, and each validation.', blocks)


def _training_facts(log: TrainingLog) -> Iterator[tuple[str, Any]]:
    last = log.train[-1]
    yield 'training', log.name
    if log.by_epoch:
        yield 'epochs', f'{last.epoch:.4g}'
    yield 'iterations', f'{last.iteration:,}'
    yield 'time in iterations', duration(log.seconds)
    if log.num_resumed:
        yield 'resumed', 'once' if log.num_resumed == 1 else f'{log.num_resumed} times'
    if math.isfinite(last.values.get('loss', math.nan)):
        yield 'last training loss', last.values['loss']
    for key in log.metrics[:1]:
        best = log.best(key)
        if best is not None:
            when = f'epoch {best.epoch:.0f}' if log.by_epoch \
                else f'iteration {best.iteration:,}'
            yield f'best {key}', f'{best.values[key]:.4f}, {when}'
