"""What a model of actions takes for what: the section of a report."""
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from cosam_mm.visualization.style import encode_image, figure_svg

from .content import Block, Facts, Gallery, Missing, Picture, Section, Table, Text
from .work_dir import ReportOptions, WorkDir
from .work_dir_collection import read_config

if TYPE_CHECKING:
    from cosam_mm.visualization.action_clips import ActionClips
    from cosam_mm.visualization.action_pictures import DrawnFigure, SampleGroup
    from cosam_mm.visualization.action_review import ActionComparison, ActionResults

__all__ = ['build_section']

# What a damaged or foreign file can make of reading it.
_UNUSABLE = (OSError, TypeError, ValueError)
_PAIRS = 10
_STRIP_PIXELS, _STRIP_QUALITY = 96, 80
_DUMP = 'python tools/test.py CONFIG CHECKPOINT --dump {}'


def build_section(found: WorkDir, options: ReportOptions) -> Optional[Section]:
    """Accuracies, confusion, sample clips and, of two models, their comparison.

    Args:
        found: Files of a training and its tests.
        options: How much to show.

    Returns:
        None where nothing there is of action recognition. What is missing or damaged
        is said in the section.
    """
    config, blocks = _read_config(found)
    if not found.score_files:
        model = config.get('model')
        if not isinstance(model, dict) or 'cls_head' not in model:
            return None
        blocks.append(Missing('what is taken for what', 'There is no score file.',
                              _DUMP.format(found.root / 'scores.npz')))
    else:
        try:
            import mmaction  # noqa: F401
            blocks += _blocks(found, options, config)
        except ImportError as error:
            blocks.append(Missing('what is taken for what',
                                  f'A package is not installed: {error}.',
                                  "pip install 'cosam_mm[action]'"))
    return Section('action', 'Action recognition',
                   'What is recognised, what is taken for what, and in which clips.',
                   blocks)


def _read_config(found: WorkDir) -> tuple[Mapping, list[Block]]:
    """The config as data, and what is to be said of it."""
    if found.config is None:
        return {}, []
    try:
        return read_config(found.config), []
    except _UNUSABLE as error:
        return {}, [Missing('what the config of the test says', str(error))]


def _blocks(found: WorkDir, options: ReportOptions, config: Mapping) -> list[Block]:
    from cosam_mm.visualization.action_pictures import result_figures, sample_groups

    tests, blocks = _read_tests(found)
    if not tests:
        return blocks
    results = tests[0]
    names, missing = _find_names(found, results, config)
    clips, no_clips = _find_clips(found, results, config)
    blocks += [*missing, _facts(results, found)]
    if len(tests) > 1:
        blocks.append(_table_of_tests(tests, found))
    blocks += map(_picture, result_figures(results, names, titled=False))
    blocks.append(_confused_pairs(results, names))
    blocks += no_clips
    for group in sample_groups(results, names, options.num_samples):
        blocks += _gallery(group, results, clips, options)
    blocks += _comparison(tests, found, names, clips, options)
    blocks.append(_table_of_clips(results, names))
    return blocks


# -- finding ---------------------------------------------------------------------


def _shown_path(path: str, found: WorkDir) -> str:
    """A file as people know it: from the folder of the report on."""
    return str(Path(path).relative_to(found.root)
               if Path(path).is_relative_to(found.root) else path)


def _read_tests(found: WorkDir) -> tuple[list['ActionResults'], list[Block]]:
    """Readable score files, newest first, and what is to be said of the others."""
    from cosam_mm.visualization.action_review import read_results

    tests, blocks = [], []
    for path in found.score_files:
        try:
            tests.append(read_results(path))
        except _UNUSABLE as error:
            blocks.append(Missing(f'the scores in {_shown_path(path, found)}',
                                  str(error), _DUMP.format(path)))
    return tests, blocks


def _find_names(found: WorkDir, results: 'ActionResults', config: Mapping
                ) -> tuple[tuple[str, ...], list[Block]]:
    from cosam_mm.visualization.action_clips import dataset_of_test
    from cosam_mm.visualization.action_review import find_class_names

    try:
        return find_class_names(
            results, data_root=found.data_root, dataset=dataset_of_test(config),
            checkpoint=found.checkpoint), []
    except _UNUSABLE as error:
        return find_class_names(results), [
            Missing('the names of the classes', str(error))]


def _find_clips(found: WorkDir, results: 'ActionResults', config: Mapping
                ) -> tuple[Optional['ActionClips'], list[Block]]:
    from cosam_mm.visualization.action_clips import dataset_of_test, find_clips

    def missing(why: str) -> tuple[None, list[Block]]:
        return None, [Missing(
            'frames of the clips', why,
            f'python tools/report.py {found.root} --data-root DIR')]

    if found.data_root is None:
        return missing("The data set's folder is not there.")
    try:
        return find_clips(
            str(found.data_root), results.dataset, results.split, results.num_classes,
            dataset_of_test(config)), []
    except _UNUSABLE as error:
        return missing(str(error))


# -- one test --------------------------------------------------------------------


def _facts(results: 'ActionResults', found: WorkDir) -> Facts:
    figures = results.figures()
    rows = [(f'top-{name[3:]} accuracy', f'{value:.2%}')
            for name, value in figures.items() if name.startswith('top')]
    return Facts([
        *rows, ('mean class accuracy', f'{figures["mean1"]:.2%}'),
        ('cross-entropy', round(figures['cross_entropy'], 4)),
        ('clips', f'{len(results.label):,}'), ('classes', results.num_classes),
        ('clips that could not be read (left out)', len(results.unreadable)),
        ('data set', results.dataset or 'unknown'),
        ('official split', results.split or 'unknown'),
        ('scores', _shown_path(results.path, found))])


def _table_of_tests(tests: Sequence['ActionResults'], found: WorkDir) -> Table:
    rows = []
    for results in tests:
        figures = results.figures([1])
        rows.append([_shown_path(results.path, found), results.dataset or None,
                     results.split or None, len(results.label),
                     100 * figures['top1'], 100 * figures['mean1']])
    return Table('All score files', ['file', 'data set', 'split', 'clips', 'top-1 (%)',
                                     'mean of classes (%)'], rows,
                 'The newest first; what follows is about that one.', digits=2)


def _picture(drawn: 'DrawnFigure') -> Picture:
    return Picture(drawn.title, figure_svg(drawn.figure), drawn.alt, drawn.caption)


def _confused_pairs(results: 'ActionResults', names: Sequence[str]) -> Block:
    pairs = results.pairs(_PAIRS)
    if not pairs:
        return Text('No clip is taken for another class.')
    return Table('Most confused pairs', ['true class', 'taken for', 'clips',
                                         'of the true class (%)'],
                 [[names[pair.true], names[pair.predicted], len(pair.rows),
                   100 * pair.share] for pair in pairs], digits=1)


def _gallery(group: 'SampleGroup', results: 'ActionResults',
             clips: Optional['ActionClips'], options: ReportOptions) -> list[Block]:
    """Strips of a group's clips; nothing where no clip can be found."""
    from cosam_mm.visualization.action_pictures import read_strips

    if clips is None:
        return []
    strips = read_strips(results, [clip.row for clip in group.clips], clips,
                         _STRIP_PIXELS, options.progress)
    pictures = [Picture(
        clip.caption.heading,
        encode_image(strips.images[clip.row], quality=_STRIP_QUALITY),
        f'Frames of {clip.caption.clip}', f'{clip.caption.clip}: {clip.caption.text}')
        for clip in group.clips if clip.row in strips.images]
    blocks: list[Block] = [Gallery(pictures, group.title)] if pictures else []
    if strips.problems:
        blocks.append(Missing(
            f'frames of {len(strips.problems)} clip(s) of "{group.title}"',
            strips.problems[0]))
    return blocks


def _table_of_clips(results: 'ActionResults', names: Sequence[str]) -> Table:
    def percent(share: float) -> Optional[float]:
        return None if math.isnan(share) else 100 * share

    hardest_first = [*results.hardest(len(results.label)).tolist(),
                     *(row for row, loss in enumerate(results.loss.tolist())
                       if math.isnan(loss))]
    return Table(
        'All clips', ['clip', 'true', 'predicted', 'p of true (%)',
                      'p of predicted (%)', 'right'],
        [[str(results.sample_id[row]), names[results.label[row]],
          names[results.predicted[row]] if results.predicted[row] >= 0 else None,
          percent(results.own_probability(row)),
          percent(results.predicted_probability(row)),
          'yes' if results.is_right[row] else 'no'] for row in hardest_first],
        'The hardest first: those whose true class is given least.', digits=1)


# -- two tests -------------------------------------------------------------------


def _comparison(tests: Sequence['ActionResults'], found: WorkDir, names: Sequence[str],
                clips: Optional['ActionClips'], options: ReportOptions) -> list[Block]:
    """The newest result against the next one of another model on the same clips."""
    from cosam_mm.visualization.action_pictures import (
        changed_samples,
        comparison_figures,
    )

    comparison = _find_comparison(tests)
    if comparison is None:
        return []
    first, second = (_shown_path(side.path, found)
                     for side in (comparison.first, comparison.second))
    blocks: list[Block] = [Text(f'Two models on the same clips. The first: {first}. '
                                f'The second, the newest: {second}.')]
    blocks += map(_picture, comparison_figures(comparison, names, first, second, False))
    changed = changed_samples(comparison, names, options.num_samples)
    if changed:
        blocks += _gallery(changed, comparison.first, clips, options)
    blocks.append(_table_of_changed(comparison, names))
    return blocks


def _find_comparison(tests: Sequence['ActionResults']) -> Optional['ActionComparison']:
    from cosam_mm.visualization.action_review import compare_results

    for other in tests[1:]:
        try:
            comparison = compare_results(other, tests[0])
        except ValueError:
            continue  # of other clips, as another split is
        if (comparison.first.score != comparison.second.score).any():
            return comparison
    return None


def _table_of_changed(comparison: 'ActionComparison', names: Sequence[str]) -> Table:
    first = comparison.first
    return Table(
        'Clips that one model alone gets right',
        ['clip', 'true', 'first model', 'second model', 'the second has'],
        [[str(first.sample_id[row]), names[first.label[row]],
          first.verdict(row, names), comparison.second.verdict(row, names),
          'won' if is_won else 'lost'] for row, is_won in comparison.changed()])
