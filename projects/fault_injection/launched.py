"""Tools of the checkout, started as a user does, with a fault in a process or none."""
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

REPO = Path(__file__).resolve().parents[2]
LIMIT = 300  # seconds, after which a tool counts as hung
_MARK = 'RELIABILITY_RUN'


def _environment(pid: int) -> dict[str, str]:
    """What a process was started with; empty if it has ended."""
    try:
        content = Path(f'/proc/{pid}/environ').read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    pairs = (line.split('=', 1) for line in os.fsdecode(content).split('\0'))
    return dict(pair for pair in pairs if len(pair) == 2)


class Launched:
    """A tool in a group of processes of its own.

    Args:
        tool: Its path in the checkout: a Python file, or ``tools/dist_train.sh`` and
            ``tools/dist_test.sh``, whose launcher starts several.
        arguments: Of the tool, the number of processes among them.
        log: Its output is appended here.
        fault: Goes off in one of the processes, if the config imports
            :mod:`projects.fault_injection.faults`, which describes its form.
    """

    def __init__(self, tool: str, arguments: Sequence, log: Path,
                 fault: str = '') -> None:
        self._mark = uuid.uuid4().hex
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = server.getsockname()[1]
        # Small models gain nothing from more threads.
        environment = dict(
            os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', PORT=str(port),
            PYTHON=sys.executable, PYTHONPATH=str(REPO), RELIABILITY_FAULT=fault,
            **{_MARK: self._mark})
        self._offset = log.stat().st_size if log.exists() else 0
        self.log = log
        program = 'bash' if tool.endswith('.sh') else sys.executable
        with open(log, 'ab') as file:
            self.launcher = subprocess.Popen(
                [program, str(REPO / tool), *map(str, arguments)],
                stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=log.parent,
                env=environment, start_new_session=True)

    def text(self) -> str:
        """What it has said."""
        return self.log.read_bytes()[self._offset:].decode(errors='replace')

    def members(self) -> list[int]:
        """All its processes, launcher and loaders' workers among them."""
        pids = (int(path.name) for path in Path('/proc').iterdir()
                if path.name.isdigit())
        return [pid for pid in pids if _environment(pid).get(_MARK) == self._mark]

    def wait_for_rank(self, rank: int) -> Optional[int]:
        """Process number of a rank; None if the run ended before there was one."""
        while self.launcher.poll() is None:
            found = [pid for pid in self.members()
                     if _environment(pid).get('RANK') == str(rank)]
            if found:
                return min(found)  # what it starts comes later
            time.sleep(0.02)
        return None

    def wait_for(self, words: str) -> bool:
        """Wait until it says something; whether it did before it ended."""
        end = time.monotonic() + LIMIT
        while words not in self.text():
            if self.launcher.poll() is not None or time.monotonic() > end:
                return words in self.text()
            time.sleep(0.02)
        return True

    def wait(self, seconds: float) -> None:
        """Wait, at most until it ends."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.launcher.wait(seconds)

    def send(self, number: int, pids: Sequence[Optional[int]]) -> None:
        """Send a signal to processes that may have ended."""
        for pid in pids:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def wait_for_all(self, seconds: float) -> Optional[float]:
        """Wait until no process is left: how long; None after ``seconds``.

        Those that are left then are killed.
        """
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            # The launcher by poll(), which also takes note of its end.
            if self.launcher.poll() is not None and not self.members():
                return time.monotonic() - start
            time.sleep(0.05)
        self.send(signal.SIGKILL, self.members())
        self.launcher.wait()
        return None

    def finish(self) -> int:
        """Wait for the end of all processes; the exit status, negative for a signal."""
        if self.wait_for_all(LIMIT) is None:
            raise RuntimeError(f'{self.launcher.args[1]} took more than {LIMIT} s, see '
                               f'{self.log}')
        return self.launcher.returncode


def run_tool(tool: str, arguments: Sequence, log: Path) -> None:
    """Run a tool to its end; RuntimeError if it fails."""
    status = Launched(tool, arguments, log).finish()
    if status:
        raise RuntimeError(f'{tool} ended with status {status}, see {log}')
