"""What the tables and the page say, against numbers worked out by hand."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from projects.reproduction.plots import result_plots
from projects.reproduction.presentation import (
    as_markdown,
    as_text,
    present,
    results_page,
)
from projects.reproduction.record import Record, SeedResult
from projects.reproduction.reproduction import Reproduction
from projects.reproduction.table import Row, Table

REPO = Path(__file__).resolve().parents[2]
NOTHING = '\N{EN DASH}'
ROWS = (
    Row('none', 'base', demo='small', paper={'mAP': 70, 'R1': 80.25}),
    Row('COSAM_4', 'cosam4', 'with COSAM', demo='small4', paper={'mAP': 71.5}),
    Row('re-ranked', 'cosam4', 'with COSAM', ('--rerank',)))
TABLE = Table('t1', 'COSAM | positions', ('mAP', 'R1'), ROWS, 'reid',
              'A paper, Table 1', 'its page', 'Two *notes*.', 'base')


def make_record(run, maps, data='demo', **options):
    """A record whose mean AP is that of its metric."""
    seeds = {}
    for seed, value in enumerate(maps):
        spread = np.random.default_rng(seed).uniform(-.1, .1, 6)
        items = (value / 100 + spread - spread.mean()).tolist()
        seeds[seed] = SeedResult(dict(mAP=value, R1=value + 10),
                                 dict(AP=[*items[:3], None, *items[3:]]), 60.5)
    return Record(**{**dict(
        run=run, data=data, task='reid', config='c.py', options={},
        synthetic=dict(kind='reid') if data == 'demo' else None, start='',
        command=f'python {run}', versions=dict(torch='2.0'), seeds=seeds), **options})


def test_on_the_data_of_the_paper():
    records = {'base': make_record('base', [71.], 'paper'),
               'cosam4': make_record('cosam4', [70., 73.], 'paper')}
    found = present(TABLE, records, 'paper')
    assert found.header == (
        'group', 'row', 'mAP paper', 'mAP measured', 'mAP difference', 'R1 paper',
        'R1 measured', 'R1 difference', 'seeds')
    assert found.rows == (
        ('', 'none', '70.0', '71.0', '+1.0', '80.25', '81.00', '+0.75', '1'),
        ('with COSAM', 'COSAM_4', '71.5', '71.5 ± 2.1', '0.0', 'not on hand',
         '81.50 ± 2.12', NOTHING, '2'),
        ('', 're-ranked', *2 * ('not on hand', 'not run', NOTHING), '0'))
    assert found.not_run == ('cosam4+rerank',)
    assert "The paper's numbers: its page." in found.notes


def test_on_synthetic_data():
    records = {'small': make_record('small', [50., 52.]),
               'small4': make_record('small4', [53., 53., 60.])}
    found = present(TABLE, records, 'demo')
    assert found.rows[0] == ('none', 'small', '51.0 ± 1.4', 'baseline', '61.0 ± 1.4',
                             'baseline', '2')
    label, run, mean, difference, _, without_items, seeds = found.rows[1]
    assert (label, run, mean, seeds) == ('with COSAM: COSAM_4', 'small4', '55.3 ± 4.0',
                                         '3')
    assert difference == '+2.0 [+1.0, +3.0]'  # of the seeds that both have
    assert without_items == '+2.0'
    assert any('re-ranked' in note for note in found.notes)
    other = {**records, 'small': replace(records['small'], synthetic=dict(kind='x'))}
    assert present(TABLE, other, 'demo').rows[1][3] == 'other data'
    alone = present(TABLE, {'small4': records['small4']}, 'demo').rows
    assert (alone[0][2], alone[1][3]) == ('not run', NOTHING)


def test_records_that_contradict():
    one, other = make_record('small', [50.]), make_record('small4', [53.])
    with pytest.raises(ValueError, match='paper'):
        present(TABLE, {'small': replace(one, data='paper')}, 'demo')
    lies = replace(other, seeds={0: replace(other.seeds[0], metrics=dict(mAP=60.))})
    with pytest.raises(ValueError, match='single items'):
        present(TABLE, {'small': one, 'small4': lies}, 'demo')
    short = replace(other, seeds={0: replace(other.seeds[0], items=dict(AP=[.5]))})
    with pytest.raises(ValueError, match='item by item'):
        present(TABLE, {'small': one, 'small4': short}, 'demo')


def test_forms():
    presented = present(TABLE, {}, 'paper')
    text = as_text(presented).splitlines()
    assert text[0] == 'COSAM | positions (A paper, Table 1)'
    assert text[4].split()[:3] == ['none', '70.0', 'not']
    markdown = as_markdown(
        replace(presented, header=('a|b', '*'), rows=(), num_texts=1))
    assert markdown == '| a\\|b | \\* |\n|:---|---:|\n'


def test_page():
    records = dict(demo={'small': make_record('small', [50.]),
                         'alone': make_record('alone', [40.])}, paper={})
    page = results_page([TABLE], records, {}, dict(overview='All of it.', t1='A word.'))
    for part in ('2 records of 2 runs, which took 2 min 1 s in all.', 'All of it.',
                 '## t1: COSAM \\| positions', 'Two \\*notes\\*.', '\nA word.\n',
                 '### On synthetic data', '```bash\npython small\n```',
                 'Not run (1): `small4`.', 'On the data of the paper: not run (3)',
                 '## Other runs', '| alone | demo | R1 50.0, mAP 40.0 | 1 |'):
        assert part in page
    assert 'Nothing is run yet' in results_page([], dict(demo={}, paper={}), {}, {})
    with pytest.raises(ValueError, match='t9'):
        results_page([TABLE], records, {}, dict(t9='?'))


def test_shipped_page_is_that_of_the_records():
    """``--page`` writes it."""
    page = (REPO / 'projects/reproduction/results.md').read_text(encoding='utf-8')
    assert Reproduction(REPO).page() == page


# -- plots ------------------------------------------------------------------------


def test_difficulty():
    names = [f'resnet14_tp_demo{suffix}' for suffix in
             ('', '_clutter0', '_clutter1')]
    records = {name: make_record(name, [50. + k, 60. + k])
               for k, name in enumerate(names)}
    records[names[0]].seeds[7] = records[names[0]].seeds[0]  # the others have it not
    plots = result_plots(records.get)
    assert list(plots) == ['demo_difficulty']
    axes, = plots['demo_difficulty'].make().axes
    line = axes.containers[0].lines[0]
    assert line.get_ydata().tolist() == [56, 55, 57]
    assert axes.get_title(loc='left') + axes.get_title() == 'clutter'
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['none']


def test_masks():
    record = make_record('m', [50.], seeds={
        seed: SeedResult({'cosam_layer3_AUC_0': 50., 'cosam_layer3_AUC_4': 60. + seed,
                          'centre_AUC_0': 70., 'centre_IoU': 1.}) for seed in (0, 2)})
    plots = result_plots(dict(resnet14_cosam2345_tp_demo_masks=record).get)
    epochs, layers = plots['demo_masks'].make().axes
    assert epochs.get_lines()[0].get_ydata().tolist() == pytest.approx([.5, .61])
    low, high = layers.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * .02 / 2**.5)
