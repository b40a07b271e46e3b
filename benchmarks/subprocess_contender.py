"""Contenders in a process of their own, for settings that hold for a whole process.

The other contenders stay in this process, and both take turns: while one computes, the
other waits for a command.
"""
import multiprocessing
from collections.abc import Callable
from types import TracebackType
from typing import Optional

import torch

from benchmarks.harness import Options
from cosam_mm.engine.hooks.performance_hooks import keep_freed_memory

__all__ = ['SubprocessContenders']

Make = Callable[[Options], dict[str, Callable[[], None]]]


class SubprocessContenders:
    """Callables of a process that keeps the memory that it frees.

    Args:
        make: Makes them there, by name; a function that can be imported.
        options: For ``make``; the threads are set accordingly.

    Example::

        with SubprocessContenders(make, options) as others:
            time_alternately({'here': here, 'there': others.call('there')})
    """

    def __init__(self, make: Make, options: Options) -> None:
        context = multiprocessing.get_context('spawn')
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(make, options, torch.get_num_threads(), theirs),
            daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> 'SubprocessContenders':
        return self

    def __exit__(self, kind: Optional[type], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._connection.close()
        self._process.join(30)
        self._process.kill()

    def call(self, name: str) -> Callable[[], None]:
        """A callable that runs the one of that name there, to its end."""
        def run() -> None:
            self._connection.send(name)
            answer = self._connection.recv()
            if answer is not None:
                raise RuntimeError(f'{name} failed in its process: {answer}')
        return run


def _serve(make: Make, options: Options, num_threads: int, connection) -> None:
    torch.set_num_threads(num_threads)
    if not keep_freed_memory():
        raise RuntimeError('this benchmark takes the allocator of glibc')
    calls = make(options)
    while True:
        try:
            name = connection.recv()
        except EOFError:
            return
        try:
            calls[name]()
            connection.send(None)
        except Exception as error:
            connection.send(repr(error))
