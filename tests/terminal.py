"""Commands as they run before somebody's eyes: on a pseudo-terminal."""
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from tests.tool_process import ENVIRONMENT, LIMIT


def run_on_terminal(*command, cwd, columns=100, **environment) -> tuple[int, str]:
    """Run a Python file with all its streams on a terminal.

    Returns:
        Exit status, and all that came on the terminal.
    """
    ours, theirs = pty.openpty()
    # Rows, columns, and the same in pixels; a terminal without a size shows no bars.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('4H', 24, columns, 0, 0))
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


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # what Linux says when the last process has left the terminal
        return b''
