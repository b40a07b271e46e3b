"""Calls that do not come back, real ones: a pipe without data, a loop without end."""
import os
import signal
import threading
import time

import pytest

from cosam_mm.datasets import time_limit
from cosam_mm.datasets.time_limit import (
    check_time_limit,
    each_within,
    forget_given_up,
    within,
)


@pytest.fixture(autouse=True)
def _forget():
    yield
    forget_given_up()


@pytest.fixture
def pipe(tmp_path):
    """Opening it to read waits until somebody writes."""
    path = tmp_path / 'pipe.avi'
    os.mkfifo(path)
    yield str(path)
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # ends who still waits


def read(path):
    handle = os.open(path, os.O_RDONLY)
    data = os.read(handle, 10)
    os.close(handle)
    return data


def test_result_and_error(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(b'abc')
    assert within(5, path, read, path) == b'abc'
    with pytest.raises(FileNotFoundError):
        within(5, path, read, tmp_path / 'b')
    assert within(5, path, read, path) == b'abc'


def test_pipe_is_given_up_once(pipe):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match='^reading it did not .* within 0.2 s'):
        within(0.2, pipe, read, pipe)
    assert 0.2 <= time.monotonic() - start < 3
    with pytest.raises(TimeoutError, match='^given up after 0.2 s before'):
        within(60, pipe, read, pipe)


def test_many_that_do_not_come_back(pipe):
    names = [f'{pipe}{k}' for k in range(time_limit.MAX_GIVEN_UP)]
    for name in names[:-1]:
        with pytest.raises(TimeoutError):
            within(0.02, name, read, pipe)
    with pytest.raises(RuntimeError, match=(
            'Reading 8 files did not come back within 0.02 s: .*Check the disk.*'
            'longer time_limit')) as info:
        within(0.02, names[-1], read, pipe)
    assert all(name in str(info.value) for name in names)


def test_thread_of_an_endless_loop_ends():
    turns = []

    def turn_round():
        while True:
            turns.append(0)
            time.sleep(0.001)

    with pytest.raises(TimeoutError):
        within(0.05, 'loop', turn_round)
    for _ in range(300):
        if not [t for t in threading.enumerate() if t.name == 'reading loop']:
            break
        time.sleep(0.01)
    else:
        pytest.fail('the thread lives on')
    assert turns


def test_each(pipe):
    def items():
        yield 1
        yield 2
        yield read(pipe)

    assert list(each_within(5, 'a', iter([1, None, 3]))) == [1, None, 3]
    found = []
    with pytest.raises(TimeoutError, match='within 0.1 s'):
        found.extend(each_within(0.1, pipe, items()))
    assert found == [1, 2]


@pytest.mark.parametrize('value', [0, -1, float('nan'), '60', None])
def test_bad_limit(value):
    with pytest.raises(ValueError, match='time_limit must be a positive number of '):
        check_time_limit(value)


@pytest.fixture
def interrupted_soon():
    """Ctrl-C in a quarter of a second."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures('interrupted_soon')
def test_interrupted_wait_lasts_until_the_call_is_over():
    """Or a decoder comes back while Python ends, which aborts the process."""
    ended = []
    with pytest.raises(KeyboardInterrupt):
        within(60, 'a', lambda: (time.sleep(0.6), ended.append(True)))
    assert ended


@pytest.mark.usefixtures('interrupted_soon')
def test_interrupted_wait_for_what_does_not_come_back(pipe, monkeypatch):
    monkeypatch.setattr(time_limit, '_MOMENT', 0.1)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        within(60, pipe, read, pipe)
    assert time.monotonic() - begun < 10
