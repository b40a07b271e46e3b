"""Logs of mmengine, also of runs that were interrupted and resumed."""
import math
import os

import pytest
from mmengine.visualization import LocalVisBackend
from numpy.testing import assert_allclose

from cosam_mm.visualization.training_log import (
    find_runs,
    group_runs,
    read_training_log,
)
from tests.training_logs import epochs, train_line, val_line, write_log


def read(work_dir):
    run, = find_runs(work_dir)
    return read_training_log(run.files, run.name)


def read_parts(folder, *parts):
    """The training whose runs logged these lines, one after the other."""
    for day, lines in enumerate(parts, start=1):
        write_log(folder, f'2026010{day}_000000', lines)
    return read(folder)


def steps(records):
    return [record.iteration for record in records]


def test_one_run(tmp_path):
    log = read_parts(tmp_path / 'run', epochs(1, 3))
    assert log.name == 'run'
    assert steps(log.train) == [4, 8, 10, 14, 18, 20, 24, 28, 30]
    assert steps(log.val) == [10, 20, 30]
    x, y = log.curve('loss', 'epoch')
    assert_allclose(x, [0.4, 0.8, 1, 1.4, 1.8, 2, 2.4, 2.8, 3])
    assert y.tolist() == [1] * 9
    x, y = log.curve('acc/top1', 'epoch')
    assert (x.tolist(), y.tolist()) == ([1, 2, 3], [0.01, 0.02, 0.03])
    assert log.curve('acc/top1')[0].tolist() == [10, 20, 30]
    assert log.curve('time')[1].tolist() == [0.5] * 9
    assert log.keys == ('lr', 'data_time', 'loss', 'time', 'acc/top1')
    assert log.seconds == pytest.approx(15)
    assert (log.by_epoch, log.num_resumed, log.problems) == (True, 0, ())


def test_what_mmengine_writes(tmp_path):
    """The real backend, and a file of another name beside it."""
    folder = tmp_path / 'run' / '20260101_000000' / 'vis_data'
    backend = LocalVisBackend(str(folder))
    backend.add_scalars(dict(loss=math.nan, lr=1e-3, time=1., epoch=1, iter=5), 5,
                        '20260101_000000.json')
    backend.add_scalars({'acc/top1': 0.5}, 1, '20260101_000000.json')
    log = read(tmp_path / 'run')
    assert steps(log.train + log.val) == [5, 5]
    assert math.isnan(log.train[0].values['loss'])
    other, = find_runs(folder / '20260101_000000.json')
    assert other.name == 'run'
    assert str(read_training_log(other.files, 'run')) == str(log)


@pytest.mark.parametrize('stop', [11, 12, 14, 16])
def test_resumed_run_wins_from_where_it_sets_in(tmp_path, stop):
    """Resumed after the second epoch, wherever the first run stopped after it."""
    log = read_parts(tmp_path, epochs(1, 4, loss=1.0)[:stop], epochs(3, 5, loss=2.0))
    x, y = log.curve('loss')
    assert x.tolist() == [4, 8, 10, 14, 18, 20, 24, 28, 30, 34, 38, 40, 44, 48, 50]
    assert y.tolist() == [1] * 6 + [2] * 9
    assert [record.epoch for record in log.val] == [1, 2, 3, 4, 5]
    assert log.num_resumed == 1
    assert log.seconds == pytest.approx(25)


def test_three_runs_in_the_order_of_their_start(tmp_path):
    """Times of files say nothing: copies have others."""
    for age, (day, first) in enumerate(((1, 1), (3, 4), (2, 2))):
        os.utime(write_log(tmp_path, f'2026010{day}_000000',
                           epochs(first, 4, loss=day)), (age, age))
    log = read(tmp_path)
    assert log.curve('loss')[1].tolist() == [1] * 3 + [2] * 6 + [3] * 3
    assert log.num_resumed == 2


@pytest.mark.parametrize(('parts', 'loss', 'num_resumed'), [
    ([epochs(1, 4), epochs(1, 2, loss=2.0)], [2] * 6, 0),
    ([epochs(1, 3) + epochs(2, 3, loss=2.0)], [1] * 3 + [2] * 6, 1)],
    ids=['begun again', 'two runs in one file'])
def test_the_later_run_counts(tmp_path, parts, loss, num_resumed):
    log = read_parts(tmp_path, *parts)
    assert log.curve('loss')[1].tolist() == loss
    assert log.num_resumed == num_resumed
    assert len(log.val) == len(loss) // 3


@pytest.mark.parametrize('val_step', [0, 40])
def test_iterations_without_epochs(tmp_path, val_step):
    """mmengine names the data loader's epoch, or the iteration, at a validation."""
    first = [train_line(None, 20), train_line(None, 40), val_line(val_step, 0.1),
             train_line(None, 60), train_line(None, 80)]
    log = read_parts(tmp_path, first, [train_line(None, 60, 2.0)])
    assert not log.by_epoch
    assert log.curve('loss')[0].tolist() == [20, 40, 60]
    assert log.curve('loss')[1].tolist() == [1, 1, 2]
    assert steps(log.val) == [40]


@pytest.mark.parametrize(('last', 'val_steps', 'expected'), [
    # Of epochs of 10 it is known that they have 9 at least.
    ((8, 18), (1, 2), [8 / 9, 2]),
    # log_metric_by_epoch=False
    ((10, 20), (10, 20), [1, 2])])
def test_epochs_by_their_last_logged_iterations(tmp_path, last, val_steps, expected):
    lines = [line for k in range(2) for line in (
        train_line(k + 1, last[k]), val_line(val_steps[k], 0.1))]
    log = read_parts(tmp_path, lines)
    assert log.curve('acc/top1', 'epoch')[0].tolist() == [1, 2]
    assert_allclose(log.curve('loss', 'epoch')[0], expected)


# -- what cannot be read -------------------------------------------------------------


@pytest.mark.parametrize(('line', 'word'), [
    ('{"lr": 0.1, "lo', 'cut'), ('[1, 2]', 'step'), ('{"step": -1}', 'step'),
    ('{"step": true}', 'step'), ('{"epoch": "a", "step": 1}', 'epoch'),
    ('{"step": 1e400}', 'step'), ('[' * 100_000, 'JSON'),
    ('{"a": "' + 'x' * 500 + '"}', 'step')])
def test_foreign_lines_are_named_and_the_rest_is_kept(tmp_path, line, word):
    lines = epochs(1, 2)
    path = write_log(tmp_path, '20260101_000000',
                     [*lines[:2], line, '', *lines[2:], '{"lr": 0.1, "lo'], end='')
    log = read(tmp_path)
    assert len(log.train) == 6
    foreign, truncated = log.problems
    assert foreign.startswith(f'{path}, line 3: ')
    assert word in foreign
    assert len(foreign) < len(str(path)) + 200
    assert truncated.startswith(f'{path}, line 11: ')
    assert 'cut off' in truncated


def test_values_bytes_and_files_that_cannot_be_read(tmp_path):
    line = train_line(1, 10, loss=None, flag=True, text='a', many=[1], big=10**400)
    path = write_log(tmp_path, '20260101_000000', [line])
    path.write_bytes(b'\xff\xfe\x00\n' + path.read_bytes())
    log = read_training_log([tmp_path / 'gone.json', path], 'run')
    values = log.train[0].values
    assert set(values) == {'lr', 'data_time', 'loss', 'time', 'big'}
    assert math.isnan(values['loss'])
    assert math.isnan(values['big'])
    gone, undecodable = log.problems
    assert 'gone.json' in gone
    assert 'line 1: ' in undecodable


def test_validation_alone_is_no_training(tmp_path):
    path = write_log(tmp_path, '20260102_000000', [val_line(0, 0.9)])
    with pytest.raises(ValueError, match='run: .*validations without a training'):
        read_training_log([path], 'run')
    write_log(tmp_path, '20260101_000000', epochs(1, 2))
    log = read(tmp_path)
    assert [record.values['acc/top1'] for record in log.val] == [0.01, 0.02]
    assert [str(path) in problem for problem in log.problems] == [True]


def test_lost_lines_before_a_validation(tmp_path):
    log = read_parts(tmp_path, epochs(1, 3)[3:])
    assert log.curve('acc/top1', 'epoch')[0].tolist() == [1, 2, 3]
    assert log.curve('acc/top1')[0].tolist() == [10, 20, 30]


# -- metrics -------------------------------------------------------------------------


def test_best(tmp_path):
    lines = [train_line(1, 10), val_line(1, 0.5, **{'acc/cross_entropy': 2.0}),
             train_line(2, 20), val_line(2, 0.7, **{'acc/cross_entropy': 1.0}),
             train_line(3, 30), val_line(3, 0.7, **{'acc/cross_entropy': 3.0}),
             train_line(4, 40), val_line(4, math.nan)]
    log = read_parts(tmp_path, lines)
    assert log.best('acc/top1') == log.best('acc/cross_entropy') == log.val[1]
    assert log.best('loss') is None


def test_main_metric_first_no_counts_and_no_time(tmp_path):
    log = read_parts(tmp_path, [
        '{"iter": 10, "step": 10}',
        '{"reid/R1": 0.1, "reid/mAP": 0.2, "reid/num_queries": 3.0, "step": 1}'])
    assert log.metrics == ('reid/mAP', 'reid/R1')
    assert math.isnan(log.seconds)


# -- finding -------------------------------------------------------------------------


def test_runs_of_a_folder(tmp_path):
    work = tmp_path / 'work'
    a = [write_log(work / 'split1', f'2026010{day}_000000', epochs(1, 1))
         for day in (1, 2)]
    b = write_log(work / 'split2', '20260101_000000', epochs(1, 1))
    assert find_runs(work) == group_runs([b, *a], work) == [
        ('work/split1', tuple(a)), ('work/split2', (b,))]
    for one in (b, b.parent, work / 'split2'):
        assert find_runs(one) == [('split2', (b,))]
    loose = tmp_path / 'mine.json'
    loose.write_text('\n'.join(epochs(1, 1)))
    assert find_runs(loose) == [('mine', (loose,))]
    with pytest.raises(FileNotFoundError, match='no'):
        find_runs(tmp_path / 'no')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=r'scalars\.json'):
        find_runs(tmp_path / 'empty')
