"""Stop distributed workers when the launcher or a peer dies.

Where a process dies, its launcher ends the others, or they fail at their next exchange.
Where the launcher itself is killed, nobody ends the processes: they would train on
unseen, and write into the folder of the run that is started next.
"""
import contextlib
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator

import torch
import torch.distributed
from mmengine.dist import get_dist_info

__all__ = ['end_with_launcher', 'leave_when_lost']


def end_with_launcher(grace: float = 30) -> None:
    """End this process when the ``torch.distributed.run`` that started it is gone.

    It is sent SIGTERM, so that a training stops with a checkpoint. Processes that
    something else started are left alone.

    Args:
        grace: Seconds between SIGTERM and SIGKILL, which follows if need be; 30 is what
            the launcher gives, too.
    """
    if torch.distributed.is_torchelastic_launched():
        threading.Thread(target=_outlive_briefly, args=(os.getppid(), grace),
                         daemon=True).start()


def _outlive_briefly(launcher: int, grace: float) -> None:
    while os.getppid() == launcher:
        time.sleep(0.5)
    with contextlib.suppress(OSError):  # the terminal may be gone with it
        print(f'The launcher (process {launcher}) is gone: process {os.getpid()} '
              'stops.', file=sys.stderr)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def leave_when_lost() -> Iterator[None]:
    """End this process with a line, status 2, when it cannot reach another one."""
    try:
        yield
    except RuntimeError as error:
        # gloo's errors are of no class of their own.
        if not (isinstance(error, torch.distributed.DistError)
                or re.search(r'\bgloo/', str(error))):
            raise
        rank, size = get_dist_info()
        reason = re.sub(r'^\[[^]]*/[^]]*\] ', '', str(error).split('\n')[0])
        print(f'error: Process {rank} of {size} (counted from 0) cannot reach another '
              'one, which has ended or hangs: look for its message. Checkpoints are as '
              'they were, and a training goes on from the newest one with --resume. '
              f'torch says: {reason}', file=sys.stderr)
        for worker in multiprocessing.active_children():
            worker.terminate()
        sys.stdout.flush()
        sys.stderr.flush()
        # Where the interpreter is taken apart, the threads of a broken group may abort
        # the process, or hang.
        os._exit(2)
