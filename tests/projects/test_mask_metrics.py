"""Masks' figures as metrics of a record, and back."""
import pytest

from projects.reproduction.mask_metrics import agreement_points, mask_metrics
from projects.reproduction.table import is_percentage


def row(kind, place, auc, iou=0.25, limit=0.8):
    return dict(map=kind, place=place, auc_mean=auc, share_iou_mean=iou,
                coarse_silhouette_auc=limit)


STATES = [
    dict(epoch=0, rows=[row('cosam', 'backbone.plugins.after_layer3.0', 0.5),
                        row('centre', '', 0.875)]),
    dict(epoch=40, rows=[row('cosam', 'backbone.plugins.after_layer3.0', 0.625, 0.5),
                         row('centre', '', 0.875)])]


def test_metrics_are_named_after_map_layer_and_epoch():
    metrics = mask_metrics(STATES)
    assert metrics == dict(
        cosam_layer3_AUC_0=50., centre_AUC_0=87.5, cosam_layer3_AUC_40=62.5,
        centre_AUC_40=87.5, cosam_layer3_IoU=50., centre_IoU=25.,
        cosam_layer3_AUC_limit=pytest.approx(80.),
        centre_AUC_limit=pytest.approx(80.))
    assert all(map(is_percentage, metrics))


def test_layers_of_plain_modules_are_named_alike():
    states = [dict(epoch=0, rows=[row('grad_cam', 'backbone.layer4', 0.5)])]
    assert 'grad_cam_layer4_AUC_0' in mask_metrics(states)


def test_points_are_means_over_seeds():
    other = [dict(state, rows=[dict(r, auc_mean=r['auc_mean'] + 0.1)
                               for r in state['rows']]) for state in STATES]
    points = {(p.map, p.place, p.epoch): p for p in agreement_points(
        [mask_metrics(STATES), mask_metrics(other)])}
    assert set(points) == {('cosam', 'layer3', 0), ('cosam', 'layer3', 40),
                           ('centre', '', 0), ('centre', '', 40)}
    point = points['cosam', 'layer3', 40]
    assert point.auc == pytest.approx(0.675)
    assert point.deviation == pytest.approx(0.1 / 2**0.5)
    assert agreement_points([mask_metrics(STATES)])[0].deviation == 0
