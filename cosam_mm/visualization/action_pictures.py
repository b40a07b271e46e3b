"""The pictures of a test of action recognition: for files of their own and for a page.

Figures are drawn for all results; which clips are shown beside them is chosen here too.
"""
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
from matplotlib.figure import Figure

from cosam_mm.evaluation.functional.confusion import (
    confused_order,
    most_confused_classes,
)
from cosam_mm.utils.progress import progress_bar

from .action_clips import ActionClips
from .action_figures import (
    accuracy_figure,
    class_gain_figure,
    confusion_figure,
    four_fields_figure,
)
from .action_review import ActionComparison, ActionResults
from .frame_strips import StripCaption, frame_strip

__all__ = ['DrawnFigure', 'SampleClip', 'SampleGroup', 'Strips', 'changed_samples',
           'comparison_figures', 'p_value_text', 'read_strips', 'result_figures',
           'sample_groups']

# Names of more classes make a matrix too large to look at.
_SHOWN_CLASSES = 120
# From here on an order by likeness tells more than the list's.
_WORTH_GROUPING = 12
_FRAMES = 4
_CLIPS_A_PAIR = 2


class DrawnFigure(NamedTuple):
    """A figure and the words that go with it.

    Attributes:
        key: Name of its file, without ending.
        title: Of it.
        figure: The figure.
        alt: What it shows.
        caption: How to read it.
    """
    key: str
    title: str
    figure: Figure
    alt: str
    caption: str


class SampleClip(NamedTuple):
    """A clip to show: its row, and what is written above it."""
    row: int
    caption: StripCaption


class SampleGroup(NamedTuple):
    """Clips that are shown together.

    Attributes:
        key: Name of their file, without ending.
        title: Shown above them.
        clips: In order.
    """
    key: str
    title: str
    clips: list[SampleClip]


class Strips(NamedTuple):
    """Frames of clips.

    Attributes:
        images: Row of a clip -> (H, W, 3) uint8.
        problems: Why there are none, for each clip without.
    """
    images: dict[int, np.ndarray]
    problems: list[str]


# -- figures ---------------------------------------------------------------------


def _shown_classes(matrix: np.ndarray) -> np.ndarray:
    if len(matrix) <= _SHOWN_CLASSES:
        return np.arange(len(matrix))
    return most_confused_classes(matrix, _SHOWN_CLASSES)


def result_figures(results: ActionResults, names: Sequence[str],
                   titled: bool = True) -> list[DrawnFigure]:
    """Confusion matrix, the same grouped where there are many classes, accuracies.

    Args:
        results: Of a test.
        names: Of its classes.
        titled: Draw the titles into the figures.
    """
    shown, count = _shown_classes(results.matrix), results.num_classes
    caption = ('Rows are the true classes, columns what their clips are taken for; '
               'each row sums to 100 %.')
    if len(shown) < count:
        caption += (f' Of the {count} classes the {len(shown)} with most mistakes are '
                    'shown.')
    alt = (f'Confusion matrix of {len(shown)} classes; {results.is_right.mean():.1%} '
           'of all clips are right')
    title = 'Confusion matrix'
    found = [DrawnFigure('confusion', title, confusion_figure(
        results.matrix, names, shown, title * titled), alt, caption)]
    if len(shown) >= _WORTH_GROUPING:
        title = 'Confusion matrix, confused classes side by side'
        order = shown[confused_order(results.matrix[np.ix_(shown, shown)])]
        found.append(DrawnFigure('confusion_grouped', title, confusion_figure(
            results.matrix, names, order, title * titled), alt,
            f'{caption} Classes that are taken for one another stand next to one '
            'another: squares along the diagonal are groups of them.'))
    title = 'Accuracy of each class'
    accuracy = results.class_accuracy
    found.append(DrawnFigure(
        'class_accuracy', title, accuracy_figure(accuracy, names, title * titled),
        f'Bars of the accuracy of {int((accuracy.num_clips > 0).sum())} classes',
        'The best class first; right clips of all clips beside each bar.'))
    return found


def comparison_figures(comparison: ActionComparison, names: Sequence[str],
                       first: str, second: str, titled: bool = True
                       ) -> list[DrawnFigure]:
    """Both, either or neither right; clips won and lost in each class.

    Args:
        comparison: Of two results.
        names: Of their classes.
        first: What to call the first.
        second: What to call the second.
        titled: Draw the titles into the figures.
    """
    outcome = comparison.outcome
    title = 'Clip by clip'
    fields = DrawnFigure(
        'comparison', title, four_fields_figure(outcome, first, second, title * titled),
        f'{len(outcome.both)} clips both right, {len(outcome.only_first)} only the '
        f'first, {len(outcome.only_second)} only the second, {len(outcome.neither)} '
        'both wrong',
        f'{p_value_text(comparison)} The first is {first}, the second {second}.')
    title = 'Clips of each class won and lost by the second model'
    gain = DrawnFigure(
        'class_gain', title, class_gain_figure(
            comparison.class_gain, comparison.first.class_accuracy.num_clips, names,
            title * titled),
        'Bars of clips won and lost, class by class',
        'Won: only the second model gets them right. Lost: only the first does. '
        'Beside the bars: the difference of the accuracies in percentage points. '
        'Classes without a difference are left out.')
    return [fields, gain]


def p_value_text(comparison: ActionComparison) -> str:
    """What chance makes of the difference, in a sentence."""
    outcome = comparison.outcome
    return (f'Of the {len(outcome.only_first) + len(outcome.only_second)} clips that '
            f'one model alone gets right, the second has {len(outcome.only_second)}; '
            f'chance alone is as uneven with p = {outcome.p_value:.2g} '
            "(McNemar's exact test; other training runs may differ by more).")


# -- sample clips ----------------------------------------------------------------


def sample_groups(results: ActionResults, names: Sequence[str], count: int
                  ) -> list[SampleGroup]:
    """Clips of the most confused pairs, the hardest and the nearly right ones.

    Args:
        results: Of a test.
        names: Of its classes.
        count: Pairs, and clips of either other kind.

    Returns:
        Groups that have clips.
    """
    def sample(row: int, of_pair: str = '') -> SampleClip:
        return SampleClip(row, StripCaption(
            results.mistake(row, names), of_pair + results.certainty(row),
            str(results.sample_id[row])))

    pairs = [sample(row, f'{len(pair.rows)} of its clips ({pair.share:.0%}), as this: ')
             for pair in results.pairs(count) for row in pair.rows[:_CLIPS_A_PAIR]]
    rows = results.hardest(count).tolist()
    hardest = list(map(sample, rows))
    # Of few mistakes the hardest are the nearest as well.
    nearest = [sample(row) for row in results.nearest(count).tolist()
               if row not in rows]
    groups = [
        SampleGroup('confused_pairs', 'Most confused pairs', pairs),
        SampleGroup('hardest_clips', 'Hardest clips: given least of their true class',
                    hardest),
        SampleGroup('near_misses', 'Nearly right: wrong clips given most of their '
                    'true class', nearest)]
    return [group for group in groups if group.clips]


def changed_samples(comparison: ActionComparison, names: Sequence[str], count: int
                    ) -> Optional[SampleGroup]:
    """Clips that one of two models alone gets right: the surest ones, won and lost.

    Args:
        comparison: Of two results; rows are those of its two sides.
        names: Of their classes.
        count: Clips of either kind.
    """
    changed, clips = comparison.changed(), []
    for is_won, who in ((True, 'second'), (False, 'first')):
        rows = [row for row, won in changed if won == is_won][:count]
        clips += [SampleClip(row, StripCaption(
            f'{names[comparison.first.label[row]]}: only the {who} is right',
            f'first: {comparison.first.verdict(row, names)} · '
            f'second: {comparison.second.verdict(row, names)}',
            str(comparison.first.sample_id[row]))) for row in rows]
    return SampleGroup('changed_clips', 'Clips won and lost', clips) if clips else None


def read_strips(results: ActionResults, rows: Sequence[int], clips: ActionClips,
                height: int = 112, show_progress: bool = True) -> Strips:
    """Frames of some clips, side by side.

    Args:
        results: Whose clips.
        rows: Which of them; repeated ones are read once.
        clips: Where their frames are.
        height: Of the strips, in pixels.
        show_progress: Show a bar, where a terminal looks on.
    """
    images, problems = {}, []
    for row in progress_bar(list(dict.fromkeys(rows)), 'frames of clips', 'clip',
                            show=show_progress, leave=False):
        sample_id = str(results.sample_id[row])
        clip = clips.find(sample_id, results.label[row])
        if clip is None:
            problems.append(f'The list of the data set has no clip {sample_id!r} of '
                            f'class {results.label[row]}.')
            continue
        try:
            images[row] = frame_strip(clip.frames(_FRAMES), height)
        except ValueError as error:
            problems.append(str(error))
    return Strips(images, problems)
