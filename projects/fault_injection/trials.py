"""Trials: what a loop is told and reports, and a child process to try an input in.

A child may crash, hang or take all memory while its parent looks on.
"""
import importlib
import multiprocessing
import os
import resource
import signal
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional

from cosam_mm.utils.messages import one_line

from ..text_table import text_table

# Of its own data, in bytes: what takes more is a fault.
_MOST_MEMORY = 6 << 30
# In memory before the children start, so that they start at once.
PRELOADED = ['cosam_mm.apis', 'cosam_mm.datasets.reid', 'cosam_mm.engine',
             'cosam_mm.visualization', 'mmaction.datasets', 'mmaction.models']


@dataclass(frozen=True)
class Options:
    """What a loop is told."""

    count: int                      # faults to inject, in each family
    families: tuple[str, ...]       # of trainings or inputs
    seed: int                       # of the moments and positions of the faults
    folder: Path                    # for data and results, which may stay there
    clips: Optional[Path] = None    # folder of videos to break, too


@dataclass(frozen=True)
class Trial:
    """One fault."""

    family: str
    fault: str
    problem: Optional[str] = None   # what was lost; None where nothing was
    outcome: Optional[str] = None   # of an input: read, skipped, refused


def summarize(trials: list[Trial]) -> str:
    """A line for each family and fault: tried, survived, lost."""
    tried = Counter(f'{trial.family}: {trial.fault}' for trial in trials)
    lost = Counter(f'{trial.family}: {trial.fault}' for trial in trials
                   if trial.problem)
    outcomes = Counter(f'{trial.family}: {trial.outcome}' for trial in trials
                       if trial.outcome and not trial.problem)
    counts = [*sorted(tried.items()), ('all', len(trials))]
    lost['all'] = sum(lost.values())
    return text_table([
        ('family: fault', 'tried', 'survived', 'lost'),
        *((name, str(count), str(count - lost[name]), str(lost[name]))
          for name, count in counts),
        *((name, str(count), '', '') for name, count in sorted(outcomes.items()))], 1)


class Verdict(NamedTuple):
    """What became of an input."""
    outcome: str                    # 'read', 'skipped' (and listed) or 'refused'
    problem: Optional[str] = None   # what went wrong; None where nothing did


class Child:
    """Calls one function in a process of its own, again and again.

    Args:
        function: As 'package.module:name'; it returns a :class:`Verdict`.
        log: What the process writes goes here.
        limit: Seconds after which a call counts as hung.
    """

    def __init__(self, function: str, log: Path, limit: float) -> None:
        self._function = function
        self._log = log
        self._limit = limit
        self._process = None

    def __call__(self, *args: Any) -> Verdict:
        """The verdict on one input; a new process takes over from one that died."""
        if self._process is None:
            context = multiprocessing.get_context('forkserver')
            context.set_forkserver_preload(PRELOADED)
            self._connection, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(self._function, str(self._log), theirs))
            self._process.start()
            theirs.close()
        self._connection.send(args)
        try:
            if self._connection.poll(self._limit):
                return Verdict(*self._connection.recv())
            problem = f'no answer in {self._limit:g} s'
        except (EOFError, ConnectionError):
            self._process.join(10)
            code = self._process.exitcode
            problem = ('died of ' + signal.Signals(-code).name if code and code < 0
                       else f'exit status {code}')
        self.close()
        return Verdict('lost', f'{problem}, see {self._log}')

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def _serve(function: str, log: str, connection) -> None:
    """Answer inputs in the child process until the parent is gone."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    module, name = function.split(':')
    call = getattr(importlib.import_module(module), name)
    while True:
        try:
            args = connection.recv()
        except EOFError:
            return
        try:
            verdict = call(*args)
        except BaseException as error:
            traceback.print_exc()
            verdict = Verdict('lost', one_line(error))
        connection.send(tuple(verdict))
