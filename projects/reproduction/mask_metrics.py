"""What ``evaluate_masks.py`` found, as metrics of a record, and back for a picture.

A metric is named after its map, layer and, for the AUC, epoch: ``cosam_layer3_AUC_40``,
``centre_AUC_0``. The layer is that whose output the map lies on. Epoch 0 is of random
weights. After the last epoch there are also

    <map>_IoU          at the threshold that marks as many pixels as the silhouette has
    <map>_AUC_limit    the AUC of the silhouette itself, averaged over the map's places

All are in per cent.
"""
import re
from collections.abc import Mapping, Sequence

import numpy as np

from projects.attention_study.mask_agreement_plot import AgreementPoint

__all__ = ['agreement_points', 'mask_metrics']

_AUC = re.compile(r'(?P<map>\w+?)(_(?P<layer>layer\d+))?_AUC_(?P<epoch>\d+)')


def mask_metrics(states: Sequence[Mapping]) -> dict[str, float]:
    """Metrics of the states that ``evaluate_masks.py --out`` wrote.

    Args:
        states: Each with ``epoch`` and ``rows``, the last epoch last.

    >>> row = dict(map='cosam', place='backbone.plugins.after_layer3.0', auc_mean=0.6,
    ...            share_iou_mean=0.3, coarse_silhouette_auc=0.9)
    >>> mask_metrics([dict(epoch=0, rows=[row])])
    {'cosam_layer3_AUC_0': 60.0, 'cosam_layer3_IoU': 30.0, \
'cosam_layer3_AUC_limit': 90.0}
    """
    metrics = {f'{_name(row)}_AUC_{state["epoch"]}': 100 * row['auc_mean']
               for state in states for row in state['rows']}
    for row in states[-1]['rows']:
        metrics[f'{_name(row)}_IoU'] = 100 * row['share_iou_mean']
        metrics[f'{_name(row)}_AUC_limit'] = 100 * row['coarse_silhouette_auc']
    return metrics


def _name(row: Mapping) -> str:
    layer = re.search(r'layer\d+', row['place'])
    return f'{row["map"]}_{layer.group()}' if layer else row['map']


def agreement_points(seeds: Sequence[Mapping[str, float]]) -> list[AgreementPoint]:
    """Mean AUC and its deviation between seeds, of every map, layer and epoch.

    Args:
        seeds: Metrics of each seed, at least one.
    """
    points = []
    for name in seeds[0]:
        found = _AUC.fullmatch(name)
        if found:
            values = [metrics[name] / 100 for metrics in seeds]
            points.append(AgreementPoint(
                found['map'], found['layer'] or '', int(found['epoch']),
                float(np.mean(values)),
                float(np.std(values, ddof=1)) if len(values) > 1 else 0.))
    return points
