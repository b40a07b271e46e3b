"""Stop a training on SIGTERM or Ctrl-C, at a step from which it can be resumed.

Clusters send SIGTERM some seconds before SIGKILL, and people press Ctrl-C (SIGINT).
The signal is noted, and the loop looks at it between two iterations.
"""
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


def _pass_on(note: weakref.WeakMethod, before: dict, number: int, frame) -> None:
    """Hand a signal to who takes notes or, when they are gone, to who did before."""
    if note() is not None:
        note()(number)
        return
    signal.signal(number, before[number])
    os.kill(os.getpid(), number)


class TrainingStopped(SystemExit):
    """A training has stopped as asked to.

    Attributes:
        code: 128 + the signal's number, as shells report it: 143 after SIGTERM, 130
            after Ctrl-C.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopSignals:
    """Notes SIGTERM and SIGINT in place of dying of them.

    Several SIGTERM are as one: a cluster sends it to all processes, and a launcher
    passes it on. A second Ctrl-C interrupts at once, where there is one process.

    Args:
        announce: Called with the signal's name when the first one comes.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._received: Optional[int] = None
        self._before: dict = {}

    def install(self) -> None:
        """Begin to take notes. Only a process's main thread can."""
        if threading.current_thread() is threading.main_thread():
            # A training that failed leaves its handlers, but does not live on in them.
            self._before = {number: signal.getsignal(number) for number in _SIGNALS}
            note = partial(_pass_on, weakref.WeakMethod(self._note), self._before)
            for number in _SIGNALS:
                signal.signal(number, note)

    def restore(self) -> None:
        """Leave the signals to whom they were left before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def leave(self) -> None:
        """Have them pass over what is still to come: the process is on its way out.

        Only a Ctrl-C of one process goes to whom it went before.
        """
        if self._before:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN if get_world_size() > 1
                          else self._before[signal.SIGINT])
            self._before = {}

    def _note(self, number: int) -> None:
        if self._received is None:
            self._received = number
            self._announce(signal.Signals(number).name)
        elif number == signal.SIGINT and get_world_size() == 1:
            raise KeyboardInterrupt

    @property
    def received(self) -> Optional[int]:
        """Number of the signal that this process was sent."""
        return self._received

    def agreed(self) -> Optional[int]:
        """Number of the signal that any process was sent, the same in all of them.

        Every process has to call this at the same step.
        """
        if get_world_size() == 1:
            return self._received
        number = torch.tensor(self._received or 0, device=get_device())
        all_reduce(number, op='max')
        return int(number) or None


def _wait_for_parent() -> None:
    """End this process when its parent sends SIGTERM; pass over other senders."""
    while True:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == os.getppid():
            os._exit(0)


def _shield(init_fn: Optional[Callable[[int], None]], worker_id: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_parent, daemon=True).start()
    if init_fn is not None:
        init_fn(worker_id)


def shield_workers(loader: DataLoader) -> None:
    """Let workers live on when a signal is sent to them along with their parent.

    Ctrl-C and clusters do that, and a training whose worker dies is stopped in the
    middle of an iteration. Workers end with their parent, or when it ends them. To be
    called before the loader is iterated over for the first time.
    """
    loader.worker_init_fn = partial(_shield, loader.worker_init_fn)
