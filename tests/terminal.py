"""Commands as they run before somebody's eyes: on a pseudo-terminal."""
import fcntl
import os
import pty
import struct
import termios
from concurrent.futures import ThreadPoolExecutor


def run_tool_on_terminal(nest, tool, *arguments, cwd, columns=100) -> tuple[int, str]:
    """Run a tool, or another Python file, with its output on a terminal.

    Returns:
        Exit status, and all that came on the terminal.
    """
    ours, theirs = pty.openpty()
    # Rows, columns, and the same in pixels; a terminal without a size shows no bars.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('4H', 24, columns, 0, 0))
    with ThreadPoolExecutor(1) as pool:
        shown = pool.submit(lambda: b''.join(iter(lambda: _read(ours), b'')))
        try:
            done = nest.run(tool, *arguments, cwd=cwd, terminal=os.ttyname(theirs))
        finally:
            os.close(theirs)
    os.close(ours)
    return done.returncode, shown.result().decode(errors='replace')


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # what Linux says when the last process has left the terminal
        return b''
