"""What is plotted is what is on record, of the seeds that all levels have."""
import numpy as np

from projects.reproduction.result_plots import (
    Comparison,
    difficulty_panels,
    result_plots,
)
from projects.reproduction.results_page import Plot
from tests.projects.experiment_data import make_record

COMPARISON = Comparison('t', Plot('a.svg', 'a'), 'mAP', dict(fog=0.25, rain=0.5),
                        dict(ours='base', other='more'))


def records(**maps):
    found = {name: make_record(name, values) for name, values in maps.items()}
    return found.get


def test_a_panel_holds_the_seeds_that_all_its_levels_have():
    (panel,) = difficulty_panels(COMPARISON, records(
        base=(50., 52., 54.), base_fog0=(60., 62.), base_fog1=(40., 41., 42.),
        base_rain0=(70.,), more=(1., 2.), more_fog0=(1., 2.)))
    assert (panel.title, panel.levels) == ('fog', (0.0, 0.25, 1.0))
    assert list(panel.values) == ['ours']
    np.testing.assert_array_equal(panel.values['ours'], [[60, 50, 40], [62, 52, 41]])


def test_nothing_is_plotted_without_results():
    assert difficulty_panels(COMPARISON, records(base=(50.,))) == []
    assert result_plots(records()) == {}


def test_each_plot_belongs_to_a_table():
    found = result_plots(records(**{
        f'resnet14_tp_demo{end}': (50., 52.)
        for end in ('', '_clutter0', '_clutter1')}))
    assert list(found) == ['demo_difficulty']
    (axes,) = found['demo_difficulty'].draw().axes
    assert axes.get_title(loc='left') == 'clutter'
