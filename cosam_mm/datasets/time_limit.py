"""Reading that does not come back: given up after a time, and named.

Decoders read files that never end, and system calls wait for disks that do not answer.
Neither can be interrupted from Python, but it can be left alone: a call runs in a
thread of its own, and whoever waits for it goes on without it when its time is over.
The thread ends as soon as it is back in Python; until then it keeps what it holds. So
there is a number of calls that a process may leave behind, and no file gets a second.

A wait that Ctrl-C interrupts lasts until the call is over, for a moment at most: a
decoder that came back while Python ends would abort the process.

What runs there may decode and copy, but not compute with torch: each new thread would
bring threads of its own.
"""
import ctypes
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Callable

__all__ = ['MAX_GIVEN_UP', 'check_time_limit', 'each_within', 'forget_given_up',
           'within']

# Calls that a process leaves behind before it takes the disk for broken.
MAX_GIVEN_UP = 8

# Seconds that an interrupted wait goes on for.
_MOMENT = 1

_given_up: dict[str, float] = {}
_nothing = object()


class _GivenUp(BaseException):
    """Ends a thread that nobody waits for any more."""


def check_time_limit(seconds: float) -> None:
    """Raise a ValueError unless it is a positive number of seconds."""
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(f'time_limit must be a positive number of seconds, got '
                         f'{seconds!r}.')


def forget_given_up() -> None:
    """Let files that were given up be tried again."""
    _given_up.clear()


def within(seconds: float, path: str, function: Callable, *args) -> Any:
    """What a function returns or raises, unless it takes too long.

    Args:
        seconds: How long it may take.
        path: The file that it reads.
        function: Called with ``args`` in a thread of its own.

    Raises:
        TimeoutError: It took longer, or reading this file did before.
        RuntimeError: This process has left ``MAX_GIVEN_UP`` calls behind.
    """
    path = str(path)
    if path in _given_up:
        raise TimeoutError(f'given up after {_given_up[path]:g} s before')
    outcome, is_over = [], threading.Event()

    def call() -> None:
        try:
            outcome.append((function(*args), None))
        except BaseException as error:  # it is raised where it is waited for
            outcome.append((None, error))
        finally:
            is_over.set()

    thread = threading.Thread(target=call, daemon=True, name=f'reading {path}')
    try:
        thread.start()
        thread.join(seconds)
    except BaseException:
        is_over.wait(min(seconds, _MOMENT))  # Python 3.11 takes the thread for ended
        raise
    if not outcome:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_GivenUp))
        _give_up(path, seconds)
    result, error = outcome.pop()
    if error is not None:
        raise error
    return result


def _give_up(path: str, seconds: float) -> None:
    _given_up[path] = seconds
    if len(_given_up) >= MAX_GIVEN_UP:
        raise RuntimeError(
            f'Reading {len(_given_up)} files did not come back within {seconds:g} s: '
            f'{", ".join(map(repr, _given_up))}. Check the disk that they are on, or '
            'set a longer time_limit where it is slow.')
    raise TimeoutError(f'reading it did not come back within {seconds:g} s')


def each_within(seconds: float, path: str, items: Iterable) -> Iterator:
    """The items, each of which may take so long; errors as of :func:`within`."""
    iterator = iter(items)
    while True:
        item = within(seconds, path, next, iterator, _nothing)
        if item is _nothing:
            return
        yield item
