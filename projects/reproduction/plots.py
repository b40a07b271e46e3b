"""The plots of the results page, each made from records alone."""
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cosam_mm.datasets.synthetic.walking_tracklet import DEFAULT_DIFFICULTY
from cosam_mm.visualization.style import CYCLE, new_figure, plain_text, style
from projects.attention_study.mask_agreement import AgreementPoint, plot_agreement

from .record import Record

_MARKERS = 'osD^vPX'
# Lines stand beside one another by this share of the axis, so that no bar hides one.
_STEP = 0.015
_AUC = re.compile(r'(?P<map>\w+?)(_(?P<layer>layer\d+))?_AUC_(?P<epoch>\d+)')
# The experiment whose masks are plotted.
_MASKS = 'resnet14_cosam2345_tp_demo_masks'
# By table: the file, what it shows, the metric, the difficulty of the training, and
# experiments by label. Those of other tests are named as <run>_clutter0.
_COMPARISONS = {
    'demo_difficulty': (
        'results/difficulty.svg', 'mAP against the difficulty of the test, without '
        'attention, with COSAM and non-local blocks', 'mAP', vars(DEFAULT_DIFFICULTY),
        {'none': 'resnet14_tp_demo', 'COSAM_4,5': 'resnet14_cosam45_tp_demo',
         'non-local_4,5': 'resnet14_nonlocal45_tp_demo'}),
    'demo_action_difficulty': (
        'results/action_difficulty.svg', 'Accuracy against the difficulty of the test '
        'clips, without attention, with COSAM and a non-local block', 'top1',
        dict(clutter=0.5, occlusion=0.5),
        {'BERT': 'resnext14_bert_demo', 'COSAM + BERT': 'resnext14_cosam_bert_demo',
         'non-local + BERT': 'resnext14_nonlocal_bert_demo'})}


class Plot(NamedTuple):
    """A plot of the page."""
    path: str                       # from the page's folder, with slashes
    alt: str                        # what it shows, for those who do not see it
    make: Callable[[], Figure]


class Panel(NamedTuple):
    """Accuracy against one thing that is made harder."""
    title: str                          # what it is: 'clutter'
    levels: Sequence[float]             # (L,) ascending: how hard
    values: Mapping[str, np.ndarray]    # by model (S, L) per cent of S seeds


def result_plots(record: Callable[[str], Optional[Record]]) -> dict[str, Plot]:
    """The plots that there are results for, by the table they belong to.

    ``record`` gives that of an experiment on synthetic data, or None.
    """
    plots = {}
    for table, (path, alt, metric, usual, runs) in _COMPARISONS.items():
        panels = [panel for panel in _panels(metric, usual, runs, record)
                  if panel.values]
        if panels:
            plots[table] = Plot(path, alt, lambda panels=panels, metric=metric:
                                plot_difficulty(panels, metric))
    masks = record(_MASKS)
    if masks is not None:
        plots['demo_masks'] = Plot(
            'results/masks.svg', 'AUC of maps against the silhouette, over epochs and '
            'layers, of the training with four COSAMs',
            lambda: plot_agreement(_agreement(masks)))
    return plots


def _panels(metric: str, usual: Mapping[str, float], runs: Mapping[str, str],
            record: Callable[[str], Optional[Record]]) -> Iterator[Panel]:
    """A metric against each difficulty, of the seeds that all levels have on record."""
    for axis, middle in usual.items():
        values = {}
        for label, name in runs.items():
            records = [record(name + suffix)
                       for suffix in (f'_{axis}0', '', f'_{axis}1')]
            if None not in records:
                seeds = sorted(set.intersection(*(set(one.seeds) for one in records)))
                if seeds:
                    values[label] = np.stack(
                        [one.values(metric, seeds) for one in records], axis=1)
        yield Panel(axis, (0.0, middle, 1.0), values)


def _agreement(record: Record) -> list[AgreementPoint]:
    """Mean AUC and its deviation between seeds, of every map, layer and epoch."""
    points = []
    for name in record.metrics:
        found = _AUC.fullmatch(name)
        if found:
            values = record.values(name) / 100
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.
            points.append(AgreementPoint(found['map'], found['layer'] or '',
                                         int(found['epoch']), float(values.mean()),
                                         deviation))
    return points


def plot_difficulty(panels: Sequence[Panel], metric: str) -> Figure:
    """Mean accuracy against the level, with bars of the seeds' standard deviation.

    All panels share the axis of accuracy, ``metric``; a model has one colour.
    """
    labels = list(dict.fromkeys(label for panel in panels for label in panel.values))
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    with style():
        figure = new_figure(3.75 * columns, 2.6 * rows)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, panel in zip(grid.ravel(), panels):
            _plot_panel(axes, panel, labels)
        for axes in grid.ravel()[len(panels):]:
            axes.remove()
        for axes in grid[:, 0]:
            axes.set_ylabel(plain_text(f'{metric} (%)'))
        _add_legend(grid.ravel()[:len(panels)], labels)
    return figure


def _plot_panel(axes: Axes, panel: Panel, labels: Sequence[str]) -> None:
    """A line for each model; ``labels`` are those of all panels."""
    levels = np.asarray(panel.levels, dtype=float)
    width = np.ptp(levels)
    for label, values in panel.values.items():
        number = labels.index(label)
        # One seed has no bar.
        deviation = values.std(axis=0, ddof=1) if len(values) > 1 else None
        shift = (number - (len(labels) - 1) / 2) * _STEP * width
        axes.errorbar(
            levels + shift, values.mean(axis=0), deviation, label=plain_text(label),
            color=CYCLE[number % len(CYCLE)], marker=_MARKERS[number % len(_MARKERS)],
            markersize=4, elinewidth=1, capsize=2.5)
    axes.set_title(plain_text(panel.title))
    axes.set_xlabel('level')
    axes.set_xticks(levels, [f'{level:g}' for level in levels])
    axes.set_xlim(levels[0] - 0.08 * width, levels[-1] + 0.08 * width)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _add_legend(panels: Sequence[Axes], labels: Sequence[str]) -> None:
    """In the first panel, of the models of all."""
    handles = {label: handle for axes in reversed(panels) for handle, label
               in zip(*axes.get_legend_handles_labels())}
    shown = [plain_text(label) for label in labels]
    panels[0].legend([handles[label] for label in shown], shown, loc='best',
                     handlelength=1.6, labelspacing=0.3)
