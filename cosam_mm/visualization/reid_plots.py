"""Plots of a re-ID test: CMC curves and histograms of pair distances.

:func:`review_features` ranks the gallery of a feature file, for these plots and for
:mod:`.rank_panels`.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cosam_mm.evaluation.functional.ranked_lists import (
    PairHistogram,
    RankingReview,
    Separation,
    coarser,
    review_ranking,
)
from cosam_mm.evaluation.reid_evaluation import PreparedRanking, prepare_ranking

from .style import AMBER, BLUE, INK, new_figure, style

__all__ = ['ReIDReview', 'describe_separation', 'plot_cmc', 'plot_distances',
           'review_features']

_MARKERS = 'osD^v'


@dataclass(frozen=True)
class ReIDReview(PreparedRanking):
    """A test and its rankings."""
    ranking: RankingReview             # by ``distance``
    reranked: Optional[RankingReview]  # by the re-ranked distance; None for none

    @property
    def rankings(self) -> dict[str, RankingReview]:
        """Each ranking by a name."""
        named = {f'{self.distance} distance': self.ranking, 're-ranked': self.reranked}
        return {name: one for name, one in named.items() if one is not None}

    @property
    def has_positive_match(self) -> bool:
        """Whether any query has a positive match in the gallery."""
        return bool(self.ranking.ranks.valid.any())


def review_features(features: Mapping, distance: str = 'euclidean',
                    rerank: Union[bool, Mapping] = False, topk: int = 10,
                    progress: bool = False) -> ReIDReview:
    """Rank the gallery for each query, by the rules of ``evaluate_features``.

    The metrics of both agree. Here, a test without any positive match is no error.

    Args:
        features: See :mod:`cosam_mm.evaluation.reid_features`.
        distance: 'euclidean' or 'cosine'.
        rerank: Whether to re-rank as well, or a dict of its options.
        topk: Entries of each list, ignored ones included.
        progress: Show progress bars.

    Raises:
        ValueError: Arrays or options are not as described, a subset is empty, a pid
            is negative or a feature is not finite.
        ImportError: Re-ranking lacks scipy.
    """
    prepared = prepare_ranking(features, distance, rerank)
    return ReIDReview(
        **vars(prepared),
        ranking=review_ranking(prepared.distances(progress), *prepared.ids, topk),
        reranked=review_ranking(prepared.reranked_distances(progress), *prepared.ids,
                                topk) if prepared.rerank else None)


# -- plots -----------------------------------------------------------------------


def plot_cmc(curves: Mapping[str, np.ndarray],
             marked: Sequence[int] = (1, 5, 10, 20)) -> Figure:
    """Plot CMC: the share of queries with a positive match among their first k.

    Args:
        curves: Name of a ranking -> (K,) shares for k = 1 to K; at least one.
        marked: Values of k that are marked and listed in the legend.
    """
    with style():
        figure = new_figure(7.5, 3.4)
        axes = figure.subplots()
        for (name, curve), marker in zip(curves.items(), _MARKERS * len(curves)):
            ranks = np.arange(1, len(curve) + 1)
            shown = [k for k in marked if k <= len(curve)]
            values = '   '.join(f'R{k} {100 * curve[k - 1]:.1f} %' for k in shown)
            axes.plot(ranks, 100 * np.asarray(curve), marker=marker, markersize=5.5,
                      markevery=[k - 1 for k in shown], label=f'{name}:   {values}')
        longest = max(map(len, curves.values()))
        lowest = 100 * min(curve[0] for curve in curves.values())
        axes.set(xlabel='k', xlim=(1 - .02 * longest, longest * 1.02),
                 ylim=(max(0, 10 * np.floor(lowest / 10 - .5)), 101.5),
                 xticks=[k for k in marked if k <= longest] or [1],
                 ylabel='queries with a positive match\namong their first k')
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        for text in figure.legend(loc='outside upper left').get_texts():
            text.set_parse_math(False)
    return figure


def plot_distances(pairs: PairHistogram, separation: Separation, distance: str = '',
                   num_bins: int = 40) -> Figure:
    """Plot the distances of pairs of one person and of two.

    Both histograms have the same area, however many pairs there are.

    Args:
        pairs: In fine bins.
        separation: Of the pairs; its threshold becomes a line.
        distance: Name of the distance: 'euclidean'.
        num_bins: Bins to show at most.
    """
    edges, *counts = coarser(pairs, num_bins)
    with style():
        figure = new_figure(7.5, 3.2)
        axes = figure.subplots()
        for kind, count, colour, line in (
                ('one person', counts[0], BLUE, '-'),
                ('two persons', counts[1], AMBER, (0, (3, 1)))):
            shares = 100 * count / max(count.sum(), 1)
            axes.stairs(shares, edges, fill=True, color=colour, alpha=.3, linewidth=0)
            axes.stairs(shares, edges, color=colour, linewidth=1.6, linestyle=line,
                        label=f'{kind} ({count.sum():,} pairs)')
        axes.axvline(separation.threshold, color=INK, linestyle=':', linewidth=1.6,
                     label=f'{separation.threshold:.3g}: best threshold')
        axes.set(xlabel=f'{distance} distance'.strip(), ylabel='pairs of the kind',
                 ylim=(0, None))
        axes.margins(x=.01)
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        figure.legend(loc='outside upper left', ncols=3)
    return figure


def describe_separation(separation: Separation, distance: str = '') -> str:
    """Say how far the distances of both kinds of pairs overlap."""
    return (
        f'The best threshold is the {f"{distance} distance".strip()} of '
        f'{separation.threshold:.3g}: {100 * separation.same_beyond:.1f} % of the '
        'pairs of one person are farther apart, '
        f'{100 * separation.different_within:.1f} % of the pairs of two persons are '
        f'nearer, an overlap of {100 * separation.overlap:.1f} %. A pair of one person '
        'is nearer than a pair of two persons in '
        f'{100 * separation.nearer:.1f} % of the cases.')
