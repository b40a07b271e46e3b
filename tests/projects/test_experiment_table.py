"""Tables of the papers, read from YAML and refused by file and row."""
import pytest

from projects.reproduction.table import Row, Table, is_percentage, load_table
from tests.projects.experiment_data import TABLE, make_row, make_table


def load(folder, text, name='t1'):
    path = folder / f'{name}.yml'
    path.write_text(text, encoding='utf-8')
    return load_table(path)


def test_all_that_a_file_says(tmp_path):
    assert load(tmp_path, TABLE) == Table(
        name='t1', title='Where COSAM stands', source='A paper, Table 1',
        numbers_from='its page', task='reid', metrics=('mAP', 'R1'),
        note='Two lines of note.', baseline='base', rows=(
            Row('none', 'base', paper={'mAP': 70., 'R1': 80.25}, demo='small'),
            Row('COSAM_4', 'cosam4', 'with COSAM', paper={'mAP': 71.5},
                demo='small_cosam4'),
            Row('re-ranked', 'cosam4', 'with COSAM', ('--rerank',))))


@pytest.mark.parametrize(('old', 'new', 'message'), [
    (TABLE, '[', 't1.yml: is no YAML: while'),
    (TABLE, 'word', "t1.yml: must be a mapping, got 'word'."),
    ('title: Where COSAM stands', '', r"t1.yml: lacks \['title'\]; it needs \['name'"),
    ('note:', 'notes:', r"t1.yml: has the unknown keys \['notes'\]; allowed are "),
    ('title: Where COSAM stands', 'title: 3', 't1.yml: title: must be a text, got 3.'),
    ('name: t1', 'name: t2', "t1.yml: name must be that of the file, 't1', got 't2'."),
    ('task: reid', 'task: x', r"t1.yml: task: must be one of \('reid', 'action', 'co"),
    ('[mAP, R1]', '[]', r't1.yml: metrics must be at least one, and diff'),
    ('[mAP, R1]', '[mAP, mAP]', r"metrics must be .*, got \['mAP', 'mAP'\]."),
    ('[mAP, R1]', 'mAP', r"t1.yml: metrics: must be a list of texts, got 'mAP'."),
    ('numbers_from: its page', '', 't1.yml: numbers_from must say where the'),
    ('baseline: base', 'baseline: x', "baseline must be the run of a row, got 'x'."),
    ('label: COSAM_4', 'name: COSAM_4', r"t1.yml: row 2: lacks \['label'\]; it needs"),
    ('demo: small_cosam4', 'demos: a',
     r"t1.yml: row 2 \(COSAM_4\): has the unknown keys \['demos'\]; allowed are "
     r"\['label', 'run', 'group', 'test', 'part', 'paper', 'demo'\]."),
    ('run: base', 'run: [a]', r"row 1 \(none\): run: must be a text, got \['a'\]."),
    ('[--rerank]', '--rerank',
     r"row 3 \(re-ranked\): test: must be a list of texts, got '--rerank'."),
    ('{mAP: 71.5}', '71.5', r'row 2 \(COSAM_4\): paper: must be a mapping of names to'),
    ('{mAP: 71.5}', '{R5: 71.5}',
     r"row 2 \(COSAM_4\): a metric of paper: must be one of \('mAP', 'R1'\), got 'R5'"),
    ('mAP: 71.5', 'mAP: 101', r'\(COSAM_4\): paper, mAP: must be a finite number from '
     r'0 to 100, got 101.'),
    ('mAP: 71.5', 'mAP: true', r'paper, mAP: must be a finite number .* got True.'),
    ('mAP: 71.5', 'mAP: .nan', r'paper, mAP: must be a finite number .* got nan.'),
    (TABLE[TABLE.index('rows:'):], 'rows: []', r't1.yml: rows must be a list of at'),
])
def test_mistakes(tmp_path, old, new, message):
    assert old in TABLE
    with pytest.raises(ValueError, match=message):
        load(tmp_path, TABLE.replace(old, new, 1))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no table '.*x.yml': they"):
        load_table(tmp_path / 'x.yml')


def test_numbers_that_are_no_percentages_may_be_large(tmp_path):
    text = TABLE.replace('[mAP, R1]', '[flops_G]').replace('{mAP: 70, R1: 80.25}',
                                                           '{flops_G: 110.6}')
    table = load(tmp_path, text.replace('{mAP: 71.5}', '{}'))
    assert table.rows[0].paper == {'flops_G': 110.6}
    with pytest.raises(ValueError, match='number of at least 0, got -1.'):
        load(tmp_path, text.replace('110.6', '-1'))


@pytest.mark.parametrize(('metric', 'expected'), [
    ('mAP', True), ('R20', True), ('top1', True), ('handbag_mAP', True),
    ('params_M', False), ('flops_G', False), ('Rest', False)])
def test_percentages(metric, expected):
    assert is_percentage(metric) is expected


def test_names_of_runs_and_records():
    row = make_row(demo='small')
    assert [row.run_name(data) for data in ('paper', 'demo')] == ['base', 'small']
    assert [row.record_name(data) for data in ('paper', 'demo')] == ['base', 'small']
    row = make_row(test=('--attributes', '../some data/my list.txt', 'a.b=0.5'))
    assert row.record_name('paper') == 'base+attributes+my_list+a.b=0.5'
    assert row.record_name('demo') == row.run_name('demo') == ''
    assert row.metric_name('mAP') == 'mAP'


def test_drawn_data_are_tested_on_one_split():
    row = make_row('a', 'x', demo='y', test=('--all-splits', '--rerank'))
    assert row.test_arguments('paper') == ('--all-splits', '--rerank')
    assert row.record_name('paper') == 'x+all-splits+rerank'
    assert row.test_arguments('demo') == ('--rerank',)
    assert row.record_name('demo') == 'y+rerank'


def test_table_without_numbers_needs_no_origin(tmp_path):
    text = TABLE.replace('numbers_from: its page\n', '')
    for paper in ('{mAP: 70, R1: 80.25}', '{mAP: 71.5}'):
        text = text.replace(f'  paper: {paper}\n', '')
    assert load(tmp_path, text).numbers_from == ''


def test_baseline_is_the_row_that_is_tested_plainly():
    rows = (make_row('re-ranked', test=('--rerank',)), make_row('plain'), make_row('b'))
    assert make_table(*rows, baseline='base').baseline_row is rows[1]
    assert make_table(*rows[:1], baseline='base').baseline_row is rows[0]
    assert make_table(*rows).baseline_row is None
