"""Curves of a re-identification test: CMC, and distances of pairs."""
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cosam_mm.evaluation.functional.ranked_lists import (
    PairHistogram,
    Separation,
    coarser,
)

from .style import AMBER, BLUE, INK, new_figure, style

__all__ = ['describe_separation', 'draw_cmc', 'draw_distances']

_MARKERS = 'osD^v'


def draw_cmc(curves: Mapping[str, np.ndarray],
             marked: Sequence[int] = (1, 5, 10, 20)) -> Figure:
    """Share of the queries with something right among their first k.

    Args:
        curves: Name of a ranking -> (K,) shares in [0, 1], of k = 1 to K.
        marked: The k whose values are marked, and said in the legend.

    Raises:
        ValueError: There is no curve.
    """
    if not curves:
        raise ValueError('There is no CMC curve to draw.')
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
        axes.set(xlabel='k', ylabel='queries with a right one\namong their first k',
                 xlim=(1 - .02 * longest, longest * 1.02),
                 ylim=(max(0, 10 * np.floor(lowest / 10 - .5)), 101.5),
                 xticks=[k for k in marked if k <= longest] or [1])
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        _plain(figure.legend(loc='outside upper left'))
    return figure


def _plain(legend) -> None:
    """Nothing in the names of a legend is maths."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def describe_separation(found: Separation, distance: str = '') -> str:
    """How far the two kinds of pairs overlap, in words.

    Args:
        found: Of the pairs.
        distance: Its name: 'euclidean'.
    """
    at = f'{distance} distance'.strip()
    return (
        f'At the {at} of {found.threshold:.3g} the two kinds are told apart best: '
        f'{100 * found.same_beyond:.1f} % of the pairs of one person are farther, '
        f'{100 * found.different_within:.1f} % of the pairs of two persons are '
        f'nearer, an overlap of {100 * found.overlap:.1f} %. Of a pair of one person '
        'and a pair of two, the former is the nearer one in '
        f'{100 * found.nearer:.1f} % of the cases.')


def draw_distances(pairs: PairHistogram, found: Separation, distance: str = '',
                   num_bins: int = 40) -> Figure:
    """How far pairs of one person are apart, and pairs of two.

    Each kind fills the same area, however many pairs there are.

    Args:
        pairs: Fine bins; they are drawn in at most ``num_bins``.
        found: Of the pairs; its threshold is drawn as a line.
        distance: Name of the distance: 'euclidean'.
        num_bins: Bins to draw.
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
        axes.axvline(found.threshold, color=INK, linestyle=':', linewidth=1.6,
                     label=f'{found.threshold:.3g}: tells them apart best')
        axes.set(xlabel=f'{distance} distance'.strip(), ylabel='pairs of the kind',
                 ylim=(0, None))
        axes.margins(x=.01)
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        figure.legend(loc='outside upper left', ncols=3)
    return figure
