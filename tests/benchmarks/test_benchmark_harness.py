"""The harness of ``python -m benchmarks``: metrics, files, finding, reporting."""
import json
import sys

import pytest

import benchmarks.__main__ as command
from benchmarks import harness
from benchmarks.metrics import Metric, Results, at_least, at_most
from benchmarks.report import describe_metric, describe_results, plot_results
from projects.attention_study.measurement import Summary, describe_environment

RATIO = Metric('speed', 'slow / fast, 4x2', 'times', Summary(2.5, 2.0, 3.0, 7),
               at_least(2), {'shape': '4x2'})
GROWTH = Metric('growth', 'time in T', 'exponent', Summary(1.2, 1.2, 1.2, 1),
                at_most(1.1), {'sizes': [1, 2], 'costs': [1.0, 2.3]})
MISSING = Metric('speed', 'compiled', 'times', None, at_least(1), note='no compiler')

MADE_UP = '''"""Adds numbers."""
from benchmarks.metrics import Metric, at_least
from projects.attention_study.measurement import summarize

PARTS = ('one', 'two')


def run(options):
    for part in options.parts:
        yield Metric(part, f'{part} of made_up', 'times',
                     summarize([1, 2, options.seconds]), at_least(2))
'''


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A benchmark that only its file makes known."""
    folder = tmp_path / 'suite'
    folder.mkdir()
    (folder / 'made_up.py').write_text(MADE_UP)
    monkeypatch.setattr(harness.suite, '__path__', [str(folder)])
    yield
    sys.modules.pop('benchmarks.suite.made_up', None)


@pytest.fixture
def run_command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['benchmarks', *map(str, arguments)])
        try:
            command.main()
            status = 0
        except SystemExit as error:
            status = error.code
        streams = capsys.readouterr()
        return status, streams.out, streams.err
    return run


def results(*metrics):
    return Results('made_up', False, describe_environment(), list(metrics))


@pytest.mark.parametrize(('target', 'value', 'reached'), [
    (at_least(2), 2.0, True), (at_least(2), 1.99, False),
    (at_most(1.1), 1.1, True), (at_most(1.1), 1.11, False)])
def test_targets(target, value, reached):
    assert target.is_reached(value) is reached


def test_verdicts():
    assert RATIO.verdict == 'reached'
    assert GROWTH.verdict == 'not reached'
    assert MISSING.verdict == 'not measured'
    assert Metric('p', 'n', 'times', Summary(1, 1, 1, 1)).verdict == 'no target'


def test_lines():
    assert ' '.join(describe_metric(RATIO).split()) == (
        'slow / fast, 4x2 2.50 times [2.00 .. 3.00] at least 2: reached')
    assert ' '.join(describe_metric(GROWTH).split()) == (
        'time in T 1.20 exponent at most 1.1: not reached')
    assert describe_metric(MISSING).endswith('at least 1: not measured  (no compiler)')
    text = describe_results(results(RATIO, GROWTH, MISSING))
    assert 'targets reached: 1 of 3' in text
    assert 'threads: ' in text


def test_results_survive_their_file(tmp_path):
    path = tmp_path / 'new' / 'results.json'
    before = results(RATIO, GROWTH, MISSING)
    before.save(path)
    assert Results.load(path) == before
    written = json.loads(path.read_text())
    assert [one['verdict'] for one in written['metrics']] == [
        'reached', 'not reached', 'not measured']
    assert written['metrics'][0]['summary'] == {
        'median': 2.5, 'lower': 2.0, 'upper': 3.0, 'count': 7}


def test_results_that_are_shipped_can_be_read(repo):
    """Those written before 0.2 among them."""
    for path in (repo / 'benchmarks' / 'results').glob('*.json'):
        assert Results.load(path).metrics


def test_plot(tmp_path):
    for name, metrics in (('all.png', [RATIO, GROWTH, MISSING]), ('bar.png', [RATIO])):
        plot_results(results(*metrics), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b'\x89PNG')


def test_a_file_makes_a_benchmark(made_up, run_command):
    assert harness.descriptions() == {'made_up': 'Adds numbers.'}
    status, out, _ = run_command()
    assert (status, out) == (0, 'made_up         Adds numbers.\n')
    status, out, _ = run_command('made_up', '--seconds', 9)
    assert status == 0
    assert 'one of made_up' in out
    assert 'two of made_up' in out
    assert 'targets reached: 2 of 2' in out


def test_parts_fill_one_file(made_up, run_command, tmp_path):
    path = tmp_path / 'out.json'
    for part, seconds in (('one', 9), ('two', 9), ('one', 0)):
        status, _, err = run_command('made_up', '--parts', part, '--seconds', seconds,
                                     '--json', path)
        assert status == 0, err
    metrics = Results.load(path).metrics
    assert [(one.part, one.summary.median) for one in metrics] == [
        ('two', 2.0), ('one', 1.0)]


def test_results_of_other_circumstances_are_not_mixed(made_up, run_command, tmp_path):
    path = tmp_path / 'out.json'
    other = results(RATIO)
    other.environment['torch'] = '1.0'
    other.save(path)
    status, _, err = run_command('made_up', '--json', path)
    assert status == 2
    assert str(path) in err
    assert 'torch: 1.0' in err
    assert Results.load(path) == other


def test_wrong_arguments(made_up, run_command):
    status, _, err = run_command('no_such')
    assert status == 2
    assert 'made_up' in err
    status, _, err = run_command('made_up', '--parts', 'three')
    assert status == 2
    assert 'one, two' in err
    status, _, err = run_command('made_up', '--videos', 'gone')
    assert status == 2
    assert 'gone' in err
