"""Cells of tables, worked out by hand; the three forms read back."""
import html
import re
from dataclasses import replace

import numpy as np
import pytest

from projects.reproduction.bootstrap import paired_difference
from projects.reproduction.present import (
    Presented,
    as_html,
    as_markdown,
    as_text,
    plain_markdown,
    present,
    show_measured,
)
from projects.reproduction.record import SeedResult
from tests.projects.experiment_data import make_record, make_row, make_table

ROWS = (make_row(demo='small', paper=dict(mAP=70., R1=80.25)),
        make_row('COSAM_4', 'cosam4', group='with', demo='small4', paper=dict(mAP=71.)),
        make_row('COSAM_5', 'cosam5', group='with', paper=dict(mAP=72.)))
DASH = '\N{EN DASH}'
TABLE = make_table(*ROWS, baseline='base')


def by_name(*records):
    return {record.run: record for record in records}


# -- data of the paper -----------------------------------------------------------------


def test_paper_beside_measured():
    records = by_name(make_record('base', (70.5, 71.5, 72.5), 'paper'),
                      make_record('cosam4', (70.8,), 'paper'))
    shown = present(TABLE, records, 'paper')
    assert shown.title == 'Where COSAM stands (A paper)'
    assert shown.header == ('group', 'row', 'mAP paper', 'mAP measured',
                            'mAP difference', 'R1 paper', 'R1 measured',
                            'R1 difference', 'seeds')
    assert shown.rows == (
        ('', 'none', '70.0', '71.5 ± 1.0', '+1.5', '80.25', '81.50 ± 1.00', '+1.25',
         '3'),
        ('with', 'COSAM_4', '71.0', '70.8', '-0.2', 'not on hand', '80.80', DASH,
         '1'),
        ('', 'COSAM_5', '72.0', 'not run', DASH, 'not on hand', 'not run', DASH, '0'))
    assert shown.not_run == ('cosam5',)
    assert shown.num_texts == 2
    assert shown.notes == (
        "The paper's numbers: its page.",
        'Metrics are in per cent. After ± stands the sample standard deviation over '
        'the seeds.', 'Differences are measured - paper.')


def test_no_origin_where_the_paper_has_no_numbers():
    notes = present(replace(TABLE, numbers_from=''), {}, 'paper').notes
    assert notes == ('Metrics are in per cent.', 'Differences are measured - paper.')


def test_nothing_run_shows_the_paper_in_its_own_column_only():
    shown = present(TABLE, {}, 'paper')
    for row, cells in zip(TABLE.rows, shown.rows):
        cells = dict(zip(shown.header, cells))
        for metric in TABLE.metrics:
            assert cells[f'{metric} measured'] == 'not run'
            assert cells[f'{metric} difference'] == DASH
            expected = row.paper.get(metric)
            assert cells[f'{metric} paper'] == 'not on hand' if expected is None \
                else float(cells[f'{metric} paper']) == expected
    assert shown.not_run == ('base', 'cosam4', 'cosam5')


def test_costs_have_two_digits_and_no_unit():
    table = make_table(make_row(paper=dict(params_M=47.6)), make_row('b', 'b'),
                       metrics=('params_M', 'top1'), task='cost')
    seeds = {0: SeedResult(dict(params_M=47.6004))}
    shown = present(table, by_name(make_record(data='paper', seeds=seeds)), 'paper')
    assert shown.header[0] == 'row'
    assert shown.rows[0] == ('none', '47.60', '47.60', '0.00', 'not on hand',
                             'not measured', DASH, '1')
    assert 'top1 are in per cent.' in shown.notes


def test_reranked_rows_take_reranked_metrics():
    table = make_table(make_row('re-ranked', test=('--rerank',)), metrics=('mAP',))
    seeds = {0: SeedResult(dict(mAP=50., rerank_mAP=60.))}
    record = make_record('base+rerank', data='paper', seeds=seeds)
    shown = present(table, by_name(record), 'paper')
    assert shown.rows == (('re-ranked', 'not on hand', '60.0', DASH, '1'),)


# -- drawn data ------------------------------------------------------------------------


def test_measured_beside_the_baseline():
    ours, theirs = make_record('small4', (55., 53.)), make_record('small', (50., 52.))
    shown = present(TABLE, by_name(ours, theirs), 'demo')
    assert shown.header == ('row of the paper', 'run', 'mAP', 'mAP from baseline', 'R1',
                            'R1 from baseline', 'seeds')
    interval = paired_difference(ours.item_scores('AP'), theirs.item_scores('AP'))
    assert interval.mean == pytest.approx(3)
    assert shown.rows == (
        ('none', 'small', '51.0 ± 1.4', 'baseline', '61.0 ± 1.4', 'baseline', '2'),
        ('with: COSAM_4', 'small4', '54.0 ± 1.4',
         f'+3.0 [{interval.low:+.1f}, {interval.high:+.1f}]', '64.0 ± 1.4', '+3.0',
         '2'))
    assert shown.not_run == ()
    assert 'Without a counterpart on drawn data: with: COSAM_5.' in shown.notes
    text = as_text(shown) + as_html(shown) + as_markdown(shown)
    for number in ('70.0', '71.0', '72.0', '80.25'):  # the paper's
        assert number not in text


def test_one_run_for_several_rows_is_shown_once():
    table = make_table(make_row(demo='small'), make_row('se', 'se', demo='small'),
                       make_row('x', 'x', demo='small4'))
    shown = present(table, {}, 'demo')
    assert shown.header == ('row of the paper', 'run', 'mAP', 'R1', 'seeds')
    assert [row[:2] for row in shown.rows] == [('none; se', 'small'), ('x', 'small4')]
    assert shown.not_run == ('small', 'small4')


def test_rows_of_one_run_that_show_other_parts_of_it():
    parts = [make_row(label, '', demo='masks', part=label) for label in ('a', 'b')]
    table = make_table(*parts, task='masks', metrics=('AUC_0', 'IoU'))
    seeds = {0: SeedResult(dict(a_AUC_0=50., a_IoU=20., b_AUC_0=60.04))}
    shown = present(table, by_name(make_record('masks', seeds=seeds)), 'demo')
    assert shown.header == ('row', 'run', 'AUC_0', 'IoU', 'seeds')
    assert shown.rows == (('a', 'masks', '50.0', '20.0', '1'),
                          ('b', 'masks', '60.0', 'not measured', '1'))
    assert shown.notes == ('Metrics are in per cent.',)  # nothing of any paper


def cell(ours, theirs=None):
    theirs = theirs or make_record('small', (50., 52.))
    shown = present(TABLE, by_name(ours, theirs), 'demo')
    return shown.rows[1][3]


def test_differences_are_of_the_seeds_that_both_have():
    ours = make_record('small4', (55., 53., 99.), with_items=False)
    assert cell(ours) == '+3.0'
    own = {1: ours.seeds[1]}
    assert cell(replace(ours, seeds=own)) == '+1.0'
    assert cell(replace(ours, seeds={7: ours.seeds[1]})) == DASH
    assert cell(replace(ours, seeds={1: SeedResult(dict(R1=1.))})) == DASH


def test_difference_rounded_to_nothing_has_no_sign():
    assert cell(make_record('small4', (49.99, 52.), with_items=False)) == '0.0'


def test_runs_on_other_draws_are_not_compared():
    assert cell(make_record('small4', draw=dict(level=0))) == 'other data'


def test_baseline_that_is_not_run():
    shown = present(TABLE, by_name(make_record('small4')), 'demo')
    assert [row[3] for row in shown.rows] == ['baseline', DASH]
    assert shown.not_run == ('small',)


def test_items_that_do_not_make_the_metric():
    ours = make_record('small4', (55., 53.))
    seeds = {seed: replace(result, metrics=dict(mAP=90., R1=90.))
             for seed, result in ours.seeds.items()}
    with pytest.raises(ValueError, match=r'The scores of single items in small4 and '
                       r'small differ by 3.000 on average, but their mAP by 39.000.'):
        cell(replace(ours, seeds=seeds))


def test_items_that_are_others():
    ours = make_record('small4', (55., 53.))
    seeds = {seed: replace(result, items=dict(AP=(.5,)))
             for seed, result in ours.seeds.items()}
    with pytest.raises(ValueError, match=r'small4 and small cannot be compared item by '
                       r'item: Scores must be \(S, Q\) .*, got \(2, 1\) and \(2, 7\).'):
        cell(replace(ours, seeds=seeds))


def test_clips_make_the_top_1_accuracy():
    table = make_table(*ROWS, metrics=('top1',), baseline='base')
    correct = np.random.default_rng(0).integers(2, size=(2, 2, 50))
    ours, theirs = (make_record(run, seeds={
        seed: SeedResult(dict(top1=100 * scores[seed].mean()),
                         dict(correct=tuple(map(float, scores[seed]))))
        for seed in range(2)}) for run, scores in zip(('small4', 'small'), correct))
    shown = present(table, by_name(ours, theirs), 'demo')
    interval = paired_difference(*correct)
    assert shown.rows[1][3] == (f'{interval.mean:+.1f} [{interval.low:+.1f}, '
                                f'{interval.high:+.1f}]')


@pytest.mark.parametrize(('record', 'data', 'message'), [
    (make_record(data='demo'), 'paper', "The record base was measured on 'demo' data, "
     "and is to be shown as one of 'paper' data."),
    (make_record(), 'drawn', r"data: must be one of \('paper', 'demo'\), got 'drawn'."),
])
def test_mistakes(record, data, message):
    with pytest.raises(ValueError, match=message):
        present(TABLE, by_name(record), data)


def test_cells_of_their_own():
    assert show_measured(None, 'mAP') == 'not run'
    record = make_record(maps=(50.,))
    assert show_measured(record, 'mAP') == '50.0'
    assert show_measured(record, 'mAP', 3) == '50.000'
    assert show_measured(record, 'R5') == 'not measured'
    assert show_measured(make_record(seeds={0: SeedResult(dict(flops_G=1.))}),
                         'flops_G') == '1.00'


# -- forms -----------------------------------------------------------------------------

ODD = Presented('t_1', 'Title <b>', ('row', 'mAP'), (
    ('a | b', '1.0'), ('<script>', '10.0 ± 2.0'), ('_x_ *y* COSAM_4 [a](b) \\', DASH)),
    1, ('A note & more.',))


def test_text_is_aligned():
    lines = as_text(ODD).splitlines()
    assert lines[:2] == ['Title <b>', '']
    assert lines[-2:] == ['', 'A note & more.']
    table = lines[2:-2]
    assert {len(line) for line in table} == {len(table[1])}
    assert [line.split('  ')[0].strip() for line in table] == [
        'row', '-' * 24, 'a | b', '<script>', '_x_ *y* COSAM_4 [a](b) \\']
    assert [line[26:] for line in table] == [
        '       mAP', '-' * 10, '       1.0', '10.0 ± 2.0', 9 * ' ' + DASH]


def test_markdown_is_read_back():
    lines = as_markdown(ODD).splitlines()
    assert lines[1] == '|:---|---:|'
    read = [[re.sub(r'\\(.)', r'\1', cell).strip() for cell in
             re.split(r'(?<!\\)\|', line)[1:-1]] for line in [lines[0], *lines[2:]]]
    # A backslash before the last bar is one of two.
    assert read == [list(line) for line in (ODD.header, *ODD.rows)]


@pytest.mark.parametrize(('text', 'expected'), [
    ('COSAM_4,5', 'COSAM_4,5'), ('_a_', r'\_a\_'), ('a|b', r'a\|b'), ('a\nb', 'a b'),
    ('[-1.0, 2.0]', '[-1.0, 2.0]'), ('[a](b)', r'[a\](b)'), ('<i>', r'\<i>'),
    ('a*b`c`\\', r'a\*b\`c\`\\')])
def test_plain_markdown(text, expected):
    assert plain_markdown(text) == expected


def test_page_has_all_cells_and_no_markup_of_theirs():
    page = as_html(ODD, replace(ODD, name='other'), title='All <tables>')
    assert page.count('<script>') == 1  # the page's own
    assert '<title>All &lt;tables&gt;</title>' in page
    assert 'id="table-t-1"' in page
    assert 'id="table-other"' in page
    cells = [html.unescape(cell) for cell in re.findall(r'<td[^>]*>(.*?)</td>', page)]
    assert cells == [cell for row in ODD.rows for cell in row] * 2
    assert page.count('A note &amp; more.') == 2
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
