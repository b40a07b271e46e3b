"""The section on action recognition: accuracies, confusion, clips, two models."""
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Optional

import numpy as np

from cosam_mm.visualization.action_results import (
    ActionComparison,
    ActionResults,
    compare_results,
    find_class_names,
    read_results,
)
from cosam_mm.visualization.confusion_plots import (
    Plot,
    comparison_plots,
    result_plots,
)
from cosam_mm.visualization.sample_clips import (
    ClipSources,
    SampleGroup,
    changed_samples,
    dataset_of_test,
    find_clips,
    read_strips,
    sample_groups,
)
from cosam_mm.visualization.style import encode_image

from . import page
from .page import Block
from .work_dir_collection import WorkDir, get_in

__all__ = ['build_section']

_LEAD = 'What is recognised, what is taken for what, and in which clips.'
# What reading a damaged or foreign file can raise.
_UNUSABLE = (OSError, TypeError, ValueError)
_PAIRS = 10
_STRIP_PIXELS, _STRIP_QUALITY = 96, 80
_DUMP = 'python tools/test.py CONFIG CHECKPOINT --dump {}'


def build_section(found: WorkDir, num_samples: int, progress: bool
                  ) -> tuple[str, list[Block]]:
    """Lead and blocks: the newest score file, and another model's beside it."""
    tests, blocks = _read_tests(found)
    if not tests:
        return _LEAD, blocks
    results = tests[0]
    names = _find_names(found, results, blocks)
    blocks.append(_facts(results, found))
    if len(tests) > 1:
        blocks.append(_table_of_tests(tests, found))
    blocks += _plots(result_plots(results, names, titled=False))
    blocks.append(_confused_pairs(results, names))
    show = partial(_gallery, clips=_find_clips(found, results, blocks),
                   progress=progress)
    for group in sample_groups(results, names, num_samples):
        blocks += show(group, results)
    blocks += _comparison(tests, found, names, num_samples, show)
    return _LEAD, [*blocks, _table_of_clips(results, names)]


# -- files ---------------------------------------------------------------------------


def _read_tests(found: WorkDir) -> tuple[list[ActionResults], list[Block]]:
    """Readable score files, newest first, and what is wrong with the others."""
    tests, blocks = [], []
    for path in found.score_files:
        try:
            tests.append(read_results(path))
        except _UNUSABLE as error:
            blocks.append(page.missing(f'the scores in {found.relative(path)}',
                                       str(error), _DUMP.format(path)))
    if not found.score_files:
        blocks.append(page.missing(
            'confusion and accuracies', 'There is no score file.',
            _DUMP.format(found.root / 'scores.npz')))
    return tests, blocks


def _find_names(found: WorkDir, results: ActionResults, blocks: list[Block]
                ) -> Sequence[str]:
    """Names of the classes, from the data set, the config or the checkpoint."""
    dataset = dataset_of_test(found.config)
    if get_in(dataset, 'metainfo', 'classes') is None:
        dataset['metainfo'] = found.meta.get('dataset_meta')
    try:
        return find_class_names(results, data_root=found.data_root, dataset=dataset)
    except _UNUSABLE as error:
        blocks.append(page.missing('the names of the classes', str(error)))
        return find_class_names(results)


def _find_clips(found: WorkDir, results: ActionResults, blocks: list[Block]
                ) -> Optional[ClipSources]:
    """Where the clips lie; None, and the reason among the blocks, if unknown."""
    try:
        if found.data_root is None:
            raise FileNotFoundError("The data set's folder does not exist.")
        return find_clips(
            str(found.data_root), results.dataset, results.split, results.num_classes,
            dataset_of_test(found.config))
    except _UNUSABLE as error:
        how = f'python tools/report.py {found.root} --data-root DIR'
        blocks.append(page.missing('frames of the clips', str(error), how))
        return None


# -- one test ------------------------------------------------------------------------


def _facts(results: ActionResults, found: WorkDir) -> Block:
    metrics = results.metrics()
    return page.facts([
        *((f'top-{name[3:]} accuracy', f'{value:.2%}')
          for name, value in metrics.items() if name.startswith('top')),
        ('mean class accuracy', f'{metrics["mean1"]:.2%}'),
        ('cross-entropy', f'{metrics["cross_entropy"]:.4f}'),
        ('clips', f'{len(results.label):,}'), ('classes', results.num_classes),
        ('clips that could not be read (left out)', len(results.unreadable)),
        ('data set', results.dataset or 'unknown'),
        ('official split', results.split or 'unknown'),
        ('scores', found.relative(results.path))])


def _table_of_tests(tests: Sequence[ActionResults], found: WorkDir) -> Block:
    rows = [[found.relative(results.path), results.dataset or None,
             results.split or None, len(results.label),
             *(100 * results.metrics([1])[name] for name in ('top1', 'mean1'))]
            for results in tests]
    return page.table('All score files', [
        'file', 'data set', 'split', 'clips', 'top-1 (%)', 'mean of classes (%)'],
        rows, 'The newest first; what follows is about that one.', digits=2)


def _plots(plots: Sequence[Plot]) -> list[Block]:
    return [page.plot(one.title, one.figure, one.alt, one.caption) for one in plots]


def _confused_pairs(results: ActionResults, names: Sequence[str]) -> Block:
    pairs = results.pairs(_PAIRS)
    if not pairs:
        return page.text('No clip is taken for another class.')
    return page.table('Most confused pairs', [
        'true class', 'taken for', 'clips', 'of the true class (%)'], [
            [names[pair.true], names[pair.predicted], len(pair.rows), 100 * pair.share]
            for pair in pairs], digits=1)


def _gallery(group: SampleGroup, results: ActionResults, clips: Optional[ClipSources],
             progress: bool) -> list[Block]:
    """Strips of a group's clips; nothing where no clip can be found."""
    if clips is None:
        return []
    strips = read_strips(results, [clip.row for clip in group.clips], clips,
                         _STRIP_PIXELS, progress)
    images = [page.image(
        clip.heading, encode_image(strips.images[clip.row], quality=_STRIP_QUALITY),
        f'Frames of {clip.name}', f'{clip.name}: {clip.text}')
        for clip in group.clips if clip.row in strips.images]
    blocks = [page.gallery(images, group.title)] if images else []
    if strips.problems:
        blocks.append(page.missing(
            f'frames of {len(strips.problems)} clip(s) of "{group.title}"',
            strips.problems[0]))
    return blocks


def _table_of_clips(results: ActionResults, names: Sequence[str]) -> Block:
    """Of each clip the classes, their probabilities, and whether it is right."""
    hardest_first = [*results.hardest(len(results.label)), *np.flatnonzero(
        np.isnan(results.loss))]
    rows = []
    for row in hardest_first:
        shares = results.own_probability(row), results.predicted_probability(row)
        rows.append([
            str(results.sample_id[row]), names[results.label[row]],
            names[results.predicted[row]] if results.predicted[row] >= 0 else None,
            *(None if math.isnan(share) else 100 * share for share in shares),
            'yes' if results.is_right[row] else 'no'])
    return page.table('All clips', [
        'clip', 'true', 'predicted', 'p of true (%)', 'p of predicted (%)', 'right'],
        rows, 'The hardest first: those whose true class is given least.', digits=1)


# -- two tests -----------------------------------------------------------------------


def _comparison(tests: Sequence[ActionResults], found: WorkDir, names: Sequence[str],
                num_samples: int, show: Callable) -> list[Block]:
    """The newest result against the next one of another model on the same clips."""
    comparison = _find_comparison(tests)
    if comparison is None:
        return []
    first, second = (found.relative(side.path)
                     for side in (comparison.first, comparison.second))
    changed = changed_samples(comparison, names, num_samples)
    return [
        page.text(f'Two models on the same clips. The first: {first}. The second, the '
                  f'newest: {second}.'),
        *_plots(comparison_plots(comparison, names, first, second, False)),
        *(show(changed, comparison.first) if changed else ()),
        page.table('Clips that one model alone gets right', [
            'clip', 'true', 'first model', 'second model', 'the second has'], [
                [str(comparison.first.sample_id[row]),
                 names[comparison.first.label[row]],
                 comparison.first.verdict(row, names),
                 comparison.second.verdict(row, names), 'won' if is_won else 'lost']
                for row, is_won in comparison.changed()])]


def _find_comparison(tests: Sequence[ActionResults]) -> Optional[ActionComparison]:
    """The newest test and the next one of the same clips with other scores."""
    for other in tests[1:]:
        try:
            comparison = compare_results(other, tests[0])
        except ValueError:
            continue  # of other clips, as another split is
        if (comparison.first.score != comparison.second.score).any():
            return comparison
    return None
