"""Commands as they run before somebody's eyes: on a pseudo-terminal."""
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor

from tests.tool_process import ENVIRONMENT, LIMIT


def run_on_terminal(*command, cwd, columns=100, **environment) -> tuple[int, str]:
    """Run a Python file with all its streams on a terminal.

    Returns:
        Exit status, and all that came on the terminal.
    """
    ours, theirs = _open(columns)
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=cwd, stdin=theirs, stdout=theirs,
        stderr=theirs, env=dict(ENVIRONMENT, **environment), start_new_session=True)
    os.close(theirs)
    shown = bytearray()
    try:
        while part := _read(ours):
            shown += part
        return process.wait(LIMIT), shown.decode(errors='replace')
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def run_tool_on_terminal(nest, tool, *arguments, cwd, columns=100) -> tuple[int, str]:
    """The same of a tool, in a nest."""
    ours, theirs = _open(columns)
    with ThreadPoolExecutor(1) as pool:
        shown = pool.submit(lambda: b''.join(iter(lambda: _read(ours), b'')))
        try:
            done = nest.run(tool, *arguments, cwd=cwd, terminal=os.ttyname(theirs))
        finally:
            os.close(theirs)
    os.close(ours)
    return done.returncode, shown.result().decode(errors='replace')


def _open(columns: int) -> tuple[int, int]:
    ours, theirs = pty.openpty()
    # Rows, columns, and the same in pixels; a terminal without a size shows no bars.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('4H', 24, columns, 0, 0))
    return ours, theirs


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # what Linux says when the last process has left the terminal
        return b''
