"""Results as lines of text and as a plot."""
from pathlib import Path

from .metrics import Metric, Results

__all__ = ['describe_metric', 'describe_results', 'plot_results']


def _value(metric: Metric, value: float) -> str:
    if metric.unit == 'error':
        return f'{value:.1e}'
    if metric.unit == 'share':
        return f'{value:.1%}'
    return f'{value:.2f}'


def describe_metric(metric: Metric) -> str:
    """One line: value, quartiles, target and verdict."""
    if metric.summary is None:
        text = 'not measured'
    else:
        low, mid, high = (_value(metric, value) for value in (
            metric.summary.lower, metric.summary.median, metric.summary.upper))
        spread = f' [{low} .. {high}]' if low != high else ''
        text = f'{mid} {metric.unit}{spread}'
    line = f'{metric.name:<62}  {text}'
    if metric.target is not None:
        line = f'{line:<100}  {metric.target}: {metric.verdict}'
    return f'{line}  ({metric.note})' if metric.note else line


def describe_results(results: Results) -> str:
    """The closing lines: circumstances, and how many targets were reached."""
    judged = [one for one in results.metrics if one.target is not None]
    reached = sum(one.verdict == 'reached' for one in judged)
    lines = [f'{key}: {value}' for key, value in results.environment.items()]
    lines.append('median [first .. third quartile] over the rounds of one process')
    if results.quick:
        lines.append('--quick: shapes are shrunk; no metric here says anything')
    else:
        lines.append(f'targets reached: {reached} of {len(judged)}')
    return '\n'.join(lines)


def plot_results(results: Results, path: Path) -> None:
    """Ratios as bars with their quartiles, targets as marks; growth as lines."""
    from matplotlib.figure import Figure as Sheet
    ratios = [one for one in results.metrics
              if one.unit == 'times' and one.summary is not None]
    curves = [one for one in results.metrics if 'sizes' in one.details]
    height = max(4.0, 0.32 * len(ratios) + 1.5)
    sheet = Sheet(figsize=(15, height), layout='constrained')
    bars, lines = sheet.subplots(1, 2, width_ratios=(3, 2))
    for row, one in enumerate(ratios):
        median = one.summary.median
        bars.barh(row, median, color='tab:blue', xerr=[
            [median - one.summary.lower], [one.summary.upper - median]])
        if one.target is not None:
            bars.plot([one.target.value] * 2, [row - 0.4, row + 0.4], color='tab:red')
    bars.set_yticks(range(len(ratios)),
                    [f'{one.part}: {one.name}' for one in ratios], fontsize=7)
    bars.invert_yaxis()
    bars.set_xscale('log')
    bars.set_xlabel('times (median and quartiles; red: target, see the file)')
    for one in curves:
        sizes, costs = one.details['sizes'], one.details['costs']
        lines.plot([size / sizes[0] for size in sizes],
                   [cost / costs[0] for cost in costs], 'o-',
                   label=f'{one.name}: {one.summary.median:.2f}')
    if curves:
        lines.set(xscale='log', yscale='log', xlabel='size, smallest = 1',
                  ylabel='cost, smallest = 1')
        sheet.legend(loc='outside lower right', fontsize=7, ncols=2)
    else:
        lines.set_axis_off()
    environment = results.environment
    sheet.suptitle(f'{results.benchmark}: torch {environment["torch"]}, '
                   f'{environment["device"]}, {environment["threads"]} threads')
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path)
