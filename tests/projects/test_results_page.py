"""The page of results: what must be on it, and that nothing else decides its text."""
import random
from dataclasses import replace

import pytest

from projects.reproduction.present import as_markdown, present
from projects.reproduction.results_page import Plot, make_results_page, read_notes
from tests.projects.experiment_data import make_record, make_row, make_table

TABLES = [
    make_table(make_row(demo='small', paper=dict(mAP=70.)),
               make_row('COSAM_4', 'cosam4', demo='small4'), baseline='base',
               note='All with *TP*.'),
    make_table(make_row('a', 'base', demo='small'), make_row('b', 'other'), name='t2',
               title='Another one'),
    make_table(make_row('c', 'third'), name='t3', title='The third')]
RECORDS = [make_record('small'), make_record('small4', (55., 53.)),
           make_record('base', (70.,), 'paper')]


def section(page, name):
    """What stands between a heading of the second level and the next."""
    return page.split(f'## {name}', 1)[1].split('\n## ', 1)[0]


def test_all_of_a_table():
    page = make_results_page(TABLES, RECORDS, {'t1': [Plot('results/a.svg', 'A [b')]},
                             dict(t1='What it *means*.'))
    part = section(page, 't1: Where COSAM stands\n')
    by_run = {record.run: record for record in RECORDS}
    for data, heading in (('demo', '### On drawn data'),
                          ('paper', '### On the data of the paper')):
        found = {name: record for name, record in by_run.items() if record.data == data}
        assert f'{heading}\n\n{as_markdown(present(TABLES[0], found, data))}\n' in part
    assert part.startswith('\nA paper. All with \\*TP\\*.\n\n### On drawn data\n')
    assert part.count('All with') == 1
    assert ('```bash\npython tools/reproduce.py small\npython tools/reproduce.py small4'
            '\n```\n\nThese took 4 min 2 s.\n') in part
    assert 'Not run (1): `cosam4`.' in part
    assert part.endswith('\n![A [b](results/a.svg)\n\nWhat it *means*.\n')
    assert '\n3 records of 5 runs, which took 5 min 2 s in all.\n' in page
    assert '\nVersions: torch 2.0.\n' in page


def test_overview_stands_before_the_tables():
    page = make_results_page(TABLES, RECORDS, {}, dict(overview='All *in all*.'))
    assert '\n\nVersions: torch 2.0.\n\nAll *in all*.\n\n## t1: ' in page


def test_what_is_not_run_is_a_line():
    page = make_results_page(TABLES, RECORDS)
    part = section(page, 't3: The third\n')
    assert part.strip() == 'A paper.\n\nOn the data of the paper: not run (1): `third`.'
    part = section(make_results_page(TABLES, []), 't1: Where COSAM stands\n')
    assert 'On drawn data: not run (2): `small`, `small4`.\n' in part
    assert 'On the data of the paper: not run (2): `base`, `cosam4`.\n' in part
    assert '|' not in part
    assert 'Nothing is run yet.' in make_results_page(TABLES, [])


def test_runs_of_no_table_come_last():
    record = make_record('extra', (40., 42.), with_items=False)
    page = make_results_page(TABLES, [*RECORDS, record])
    assert ('\n## Other runs\n\n| run | data | metrics | seeds |\n|:---|:---|:---|---:|'
            '\n| extra | demo | R1 51.0 ± 1.4, mAP 41.0 ± 1.4 | 2 |\n') in page
    assert page.endswith('python tools/reproduce.py extra\n```\n')
    assert 'Other runs' not in make_results_page(TABLES, RECORDS)


def test_order_of_records_does_not_matter():
    records = [*RECORDS, make_record('extra'),
               replace(make_record('more'), versions=dict(torch='3', numpy='2'))]
    expected = make_results_page(TABLES, records)
    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert make_results_page(TABLES, records) == expected
    assert '\n1 record: numpy 2, torch 3.\n\n4 records: torch 2.0.\n' in expected


def test_page_is_one_text_with_single_blank_lines():
    page = make_results_page(TABLES, RECORDS, {}, dict(t1='Text.'))
    assert page.startswith('# Results\n\n')
    assert page.endswith('.\n')
    assert '\n\n\n' not in page


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(plots={'t9': []}), r"There are plots on \['t9'\], which are no tables; tables"
     r" are \['t1', 't2', 't3'\]."),
    (dict(notes={'t9': ''}), r"There are notes on \['t9'\], which are no tables"),
    (dict(tables=TABLES[:1] * 2), r"must have different names, got \['t1', 't1'\]."),
    (dict(records=RECORDS[:1] * 2), "There are two records 'small' of 'demo' data."),
])
def test_mistakes(changes, message):
    with pytest.raises(ValueError, match=message):
        make_results_page(**{**dict(tables=TABLES, records=RECORDS), **changes})


def test_notes(tmp_path):
    assert read_notes(tmp_path / 'none') == {}
    (tmp_path / 'b.md').write_text('\nText é.\n\n', encoding='utf-8')
    (tmp_path / 'c.txt').write_text('no', encoding='utf-8')
    assert read_notes(tmp_path) == dict(b='Text é.')
