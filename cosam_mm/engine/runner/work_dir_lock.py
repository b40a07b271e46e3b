"""One training at a time writes into a work dir.

Its process holds a POSIX record lock (``fcntl``, POSIX.1-2017) on ``.lock`` there. The
kernel releases that when the process ends, however it does: there are no stale locks,
and data loaders' workers do not inherit it. NFS passes it on to its server.
"""
import contextlib
import errno
import logging
import os
import shlex
import socket
import stat
import sys
import time
from typing import Union

from mmengine.logging import print_log

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ['lock_work_dir', 'unlock_work_dir']

_NAME = '.lock'
_held: dict[str, tuple[int, int]] = {}  # path -> process, file descriptor


def lock_work_dir(work_dir: Union[str, os.PathLike]) -> None:
    """Keep a work dir for this process, until it ends or unlocks it.

    A process that has it already keeps it. Where the file system has no locks, a
    warning says so.

    Raises:
        ValueError: Another process, which is named, trains in it; or its ``.lock`` is
            no file.
    """
    path = os.path.join(os.path.realpath(work_dir), _NAME)
    if _held.get(path, (None,))[0] == os.getpid():
        return
    problem = 'this system has no fcntl'
    if fcntl is not None:
        os.makedirs(work_dir, exist_ok=True)
        try:
            return _lock(path)
        except OSError as error:
            problem = error.strerror
    print_log(f'{work_dir} cannot be locked ({problem}): make sure that no other '
              'training writes there.', logger='current', level=logging.WARNING)


def _lock(path: str) -> None:
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise ValueError(f'{path} is no file: remove it.')
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(handle, 500).decode(errors='replace').strip()
        os.close(handle)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        holder = ''.join(c if c.isprintable() else '?' for c in holder)
        raise ValueError(
            f'{os.path.dirname(path)} is in use by another training'
            f'{": " * bool(holder)}{holder}. Wait for its end, stop it, or choose '
            'another --work-dir.') from None
    _held[path] = (os.getpid(), handle)
    words = (f'process {os.getpid()} on {socket.gethostname()} since '
             f'{time.strftime("%Y-%m-%d %H:%M:%S")}, {shlex.join(sys.argv)}\n')
    with contextlib.suppress(OSError):  # a full disk: the lock needs no words
        os.ftruncate(handle, 0)
        os.pwrite(handle, words.encode(errors='replace'), 0)


def unlock_work_dir(work_dir: Union[str, os.PathLike]) -> None:
    """Let other processes have what this one locked, if it did.

    The file stays: who waits for it may have it open.
    """
    process, handle = _held.pop(
        os.path.join(os.path.realpath(work_dir), _NAME), (None, -1))
    if process == os.getpid():
        os.close(handle)
