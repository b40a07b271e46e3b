"""The pictures of the results page, each drawn from records alone."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np
from matplotlib.figure import Figure

from cosam_mm.datasets.synthetic.walking_tracklet import DEFAULT_DIFFICULTY
from projects.attention_study.mask_agreement_plot import draw_agreement

from .difficulty import DifficultyPanel, draw_difficulty
from .mask_metrics import agreement_points
from .record import Record
from .results_page import Plot

__all__ = ['Comparison', 'PlotOfRecords', 'difficulty_panels', 'result_plots']

# The experiment whose masks are plotted.
_MASKS = 'resnet14_cosam2345_tp_demo_masks'


@dataclass(frozen=True)
class Comparison:
    """Models whose fall with difficulty is plotted.

    Attributes:
        table: That it belongs to.
        plot: Where it goes, and what it shows.
        metric: That falls.
        usual: Difficulty of the training by what is made harder or easier.
        runs: Experiments by label. Those at the ends are named after them and what
            they change, as ``<run>_clutter0``.
    """

    table: str
    plot: Plot
    metric: str
    usual: Mapping[str, float]
    runs: Mapping[str, str]


_COMPARISONS = (
    Comparison(
        'demo_difficulty',
        Plot('results/difficulty.svg', 'mAP against the difficulty of the test, '
             'without attention, with COSAM and non-local blocks'),
        'mAP', vars(DEFAULT_DIFFICULTY),
        {'none': 'resnet14_tp_demo', 'COSAM_4,5': 'resnet14_cosam45_tp_demo',
         'non-local_4,5': 'resnet14_nonlocal45_tp_demo'}),
    Comparison(
        'demo_action_difficulty',
        Plot('results/action_difficulty.svg', 'Accuracy against the difficulty of the '
             'test clips, without attention, with COSAM and a non-local block'),
        'top1', dict(clutter=0.5, occlusion=0.5),
        {'BERT': 'resnext14_bert_demo', 'COSAM + BERT': 'resnext14_cosam_bert_demo',
         'non-local + BERT': 'resnext14_nonlocal_bert_demo'}))


class PlotOfRecords(NamedTuple):
    """A picture and how it is made.

    Attributes:
        plot: Its place on the page.
        draw: Makes it.
    """
    plot: Plot
    draw: Callable[[], Figure]


def result_plots(record: Callable[[str], Optional[Record]]) -> dict[str, PlotOfRecords]:
    """The pictures that there are results for, by the table they belong to.

    Args:
        record: The record of an experiment on drawn data; None where there is none.
    """
    plots = {}
    for comparison in _COMPARISONS:
        panels = difficulty_panels(comparison, record)
        if panels:
            plots[comparison.table] = PlotOfRecords(
                comparison.plot, lambda panels=panels, metric=comparison.metric:
                draw_difficulty(panels, metric))
    masks = record(_MASKS)
    if masks is not None:
        plots['demo_masks'] = PlotOfRecords(
            Plot('results/masks.svg', 'AUC of maps against the silhouette, over '
                 'epochs and layers, of the training with four COSAMs'),
            lambda: draw_agreement(agreement_points(
                [masks.seeds[seed].metrics for seed in sorted(masks.seeds)])))
    return plots


def difficulty_panels(comparison: Comparison,
                      record: Callable[[str], Optional[Record]]
                      ) -> list[DifficultyPanel]:
    """A metric against each difficulty, of the seeds that all levels have on record."""
    panels = []
    for axis, middle in comparison.usual.items():
        levels, values = (0.0, middle, 1.0), {}
        for label, name in comparison.runs.items():
            records = [record(name + suffix)
                       for suffix in (f'_{axis}0', '', f'_{axis}1')]
            if None not in records:
                seeds = sorted(set.intersection(*(set(r.seeds) for r in records)))
                if seeds:
                    values[label] = np.array([
                        [each.seeds[seed].metrics[comparison.metric]
                         for each in records] for seed in seeds])
        if values:
            panels.append(DifficultyPanel(axis, levels, values))
    return panels
