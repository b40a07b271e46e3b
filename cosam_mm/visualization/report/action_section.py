"""The section on action recognition: accuracies, confusion, clips, two models."""
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Optional

from cosam_mm.visualization import action_results, confusion_plots, sample_clips
from cosam_mm.visualization.action_results import ActionResults
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
    tests, blocks = [], []
    for path in found.score_files:
        try:
            tests.append(action_results.read_results(path))
        except _UNUSABLE as error:
            blocks.append(page.missing(f'the scores in {found.relative(path)}',
                                       str(error), _DUMP.format(path)))
    if not found.score_files:
        blocks.append(page.missing(
            'confusion and accuracies', 'There is no score file.',
            _DUMP.format(found.root / 'scores.npz')))
    if not tests:
        return _LEAD, blocks
    results = tests[0]
    names = _find_names(found, results, blocks)
    blocks += _metrics(tests, found)
    blocks += _plots(confusion_plots.result_plots(results, names, titled=False))
    pairs = [[names[pair.true], names[pair.predicted], len(pair.rows), 100 * pair.share]
             for pair in results.pairs(_PAIRS)]
    blocks.append(page.table(
        'Most confused pairs', ['true class', 'taken for', 'clips',
                                'of the true class (%)'], pairs, digits=1)
        if pairs else page.text('No clip is taken for another class.'))
    show = partial(_gallery, clips=_find_clips(found, results, blocks),
                   progress=progress)
    for group in sample_clips.sample_groups(results, names, num_samples):
        blocks += show(group, results)
    blocks += _comparison(tests, found, names, num_samples, show)
    return _LEAD, [*blocks, _table_of_clips(results, names)]


def _find_names(found: WorkDir, results: ActionResults, blocks: list[Block]
                ) -> Sequence[str]:
    """Names of the classes, from the data set, the config or the checkpoint."""
    dataset = sample_clips.dataset_of_test(found.config)
    if get_in(dataset, 'metainfo', 'classes') is None:
        dataset['metainfo'] = found.meta.get('dataset_meta')
    try:
        return action_results.find_class_names(results, data_root=found.data_root,
                                               dataset=dataset)
    except _UNUSABLE as error:
        blocks.append(page.missing('the names of the classes', str(error)))
        return action_results.find_class_names(results)


def _find_clips(found: WorkDir, results: ActionResults, blocks: list[Block]
                ) -> Optional[sample_clips.ClipSources]:
    """Where the clips lie; None, and the reason among the blocks, if unknown."""
    try:
        if found.data_root is None:
            raise FileNotFoundError("The data set's folder does not exist.")
        return sample_clips.find_clips(
            str(found.data_root), results.dataset, results.split, results.num_classes,
            sample_clips.dataset_of_test(found.config))
    except _UNUSABLE as error:
        how = f'python tools/report.py {found.root} --data-root DIR'
        blocks.append(page.missing('frames of the clips', str(error), how))
        return None


# -- one test ------------------------------------------------------------------------


def _metrics(tests: Sequence[ActionResults], found: WorkDir) -> list[Block]:
    """Of the newest score file, and a table of all if there are several."""
    results, metrics = tests[0], tests[0].metrics()
    facts = page.facts([
        *((f'top-{name[3:]} accuracy', f'{value:.2%}')
          for name, value in metrics.items() if name.startswith('top')),
        ('mean class accuracy', f'{metrics["mean1"]:.2%}'),
        ('cross-entropy', f'{metrics["cross_entropy"]:.4f}'),
        ('clips', f'{len(results.label):,}'), ('classes', results.num_classes),
        ('clips that could not be read (left out)', len(results.unreadable)),
        ('data set', results.dataset or 'unknown'),
        ('official split', results.split or 'unknown'),
        ('scores', found.relative(results.path)),
        *found.weights_fact(results.made_by)])
    rows = [[found.relative(one.path), one.dataset or None, one.split or None,
             len(one.label), *(100 * one.metrics([1])[name] for name in
                               ('top1', 'mean1'))] for one in tests]
    return [facts, *[page.table('All score files', [
        'file', 'data set', 'split', 'clips', 'top-1 (%)', 'mean of classes (%)'],
        rows, 'The newest first; what follows is about that one.',
        digits=2)] * (len(tests) > 1)]


def _plots(plots: Sequence[confusion_plots.Plot]) -> list[Block]:
    return [page.plot(one.title, one.figure, one.alt, one.caption) for one in plots]


def _gallery(group: sample_clips.SampleGroup, results: ActionResults,
             clips: Optional[sample_clips.ClipSources], progress: bool) -> list[Block]:
    """Strips of a group's clips; nothing where no clip can be found."""
    if clips is None:
        return []
    strips, problems = sample_clips.read_strips(
        results, [clip.row for clip in group.clips], clips, _STRIP_PIXELS, progress)
    images = [page.image(
        clip.heading, encode_image(strips[clip.row], quality=_STRIP_QUALITY),
        f'Frames of {clip.name}', f'{clip.name}: {clip.text}')
        for clip in group.clips if clip.row in strips]
    blocks = [page.gallery(images, group.title)] if images else []
    if problems:
        blocks.append(page.missing(
            f'frames of {len(problems)} clip(s) of "{group.title}"', problems[0]))
    return blocks


def _table_of_clips(results: ActionResults, names: Sequence[str]) -> Block:
    """Of each clip the classes, their probabilities, and whether it is right."""
    rows = [[
        str(results.sample_id[row]), names[results.label[row]],
        names[results.predicted[row]], 100 * results.own_probability(row),
        100 * results.predicted_probability(row),
        'yes' if results.is_right[row] else 'no']
        for row in results.hardest(len(results.label))]
    return page.table('All clips', [
        'clip', 'true', 'predicted', 'p of true (%)', 'p of predicted (%)', 'right'],
        rows, 'The hardest first: those whose true class is given least.', digits=1)


# -- two tests -----------------------------------------------------------------------


def _comparison(tests: Sequence[ActionResults], found: WorkDir, names: Sequence[str],
                num_samples: int, show: Callable) -> list[Block]:
    """The newest result against the next one of another model on the same clips."""
    comparison = None
    for other in tests[1:]:
        with suppress(ValueError):  # of other clips, as another split is
            pair = action_results.compare_results(other, tests[0])
            if (pair.first.score != pair.second.score).any():
                comparison = pair
                break
    if comparison is None:
        return []
    first, second = (found.relative(side.path)
                     for side in (comparison.first, comparison.second))
    changed = sample_clips.changed_samples(comparison, names, num_samples)
    return [
        page.text(f'Two models on the same clips. The first: {first}. The second, the '
                  f'newest: {second}.'),
        *_plots(confusion_plots.comparison_plots(
            comparison, names, first, second, titled=False)),
        *(show(changed, comparison.first) if changed else ()),
        page.table('Clips that one model alone gets right', [
            'clip', 'true', 'first model', 'second model', 'the second has'], [
                [str(comparison.first.sample_id[row]),
                 names[comparison.first.label[row]],
                 comparison.first.verdict(row, names),
                 comparison.second.verdict(row, names), 'won' if is_won else 'lost']
                for row, is_won in comparison.changed()])]
