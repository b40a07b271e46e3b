"""Stop a training on SIGTERM or Ctrl-C, at a step from which it can be resumed.

Clusters send SIGTERM some seconds before SIGKILL, and people press Ctrl-C (SIGINT).
The signal is stored, and the loop checks for it between two iterations.
"""
import multiprocessing
import os
import signal
import threading
import weakref
from functools import partial
from typing import Callable, Optional

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from torch.utils.data import DataLoader

__all__ = ['StopSignals', 'TrainingStopped', 'shield_workers']

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _pass_on(receive: weakref.WeakMethod, before: dict, number: int, frame) -> None:
    """Hand a signal to the listener or, when it is gone, to the handler before it."""
    if receive() is not None:
        receive()(number)
        return
    signal.signal(number, before[number])
    os.kill(os.getpid(), number)


class TrainingStopped(SystemExit):
    """A training has stopped as asked to. Exit status: 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)  # as shells report it


class StopSignals:
    """Receives SIGTERM and SIGINT, so that the process does not die of them.

    Several SIGTERM are as one: a cluster sends it to all processes, and a launcher
    passes it on. A second Ctrl-C interrupts at once, where there is one process.

    Args:
        announce: Called with the signal's name when the first one comes.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self.received: Optional[int] = None  # number of the first signal
        self._before: dict = {}

    def install(self) -> None:
        """Begin to listen. Only a process's main thread can."""
        if threading.current_thread() is threading.main_thread():
            # A training that failed leaves its handlers, but does not live on in them.
            self._before = {number: signal.getsignal(number) for number in _SIGNALS}
            pass_on = partial(_pass_on, weakref.WeakMethod(self._receive), self._before)
            for number in _SIGNALS:
                signal.signal(number, pass_on)

    def restore(self) -> None:
        """Restore the handlers that there were before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def leave(self) -> None:
        """Ignore further signals: the process is about to exit.

        A Ctrl-C of a single process goes to the handler that there was before.
        """
        if self._before:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN if get_world_size() > 1
                          else self._before[signal.SIGINT])
            self._before = {}

    def _receive(self, number: int) -> None:
        if self.received is None:
            self.received = number
            self._announce(signal.Signals(number).name)
        elif number == signal.SIGINT and get_world_size() == 1:
            raise KeyboardInterrupt

    def agreed(self) -> Optional[int]:
        """Number of the signal that any process was sent, the same in all of them.

        Every process has to call this at the same step.
        """
        if get_world_size() == 1:
            return self.received
        number = torch.tensor(self.received or 0, device=get_device())
        all_reduce(number, op='max')
        return int(number) or None


def _wait_for_parent() -> None:
    """End this process when its parent sends SIGTERM; ignore other senders."""
    parent = multiprocessing.parent_process().pid  # getppid is that of a forkserver
    while True:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent:
            os._exit(0)


def _shield(init_fn: Optional[Callable[[int], None]], worker_id: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_parent, daemon=True).start()
    if init_fn is not None:
        init_fn(worker_id)


def shield_workers(loader: DataLoader) -> None:
    """Protect the workers of a loader from signals that are sent to all processes.

    A training whose worker dies stops in the middle of an iteration. Workers end with
    their parent, or when it ends them. To be called before the loader is iterated over
    for the first time.
    """
    loader.worker_init_fn = partial(_shield, loader.worker_init_fn)
