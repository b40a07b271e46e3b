"""A bar over the batches of a validation or a test."""
import sys
from contextlib import ExitStack
from typing import Any, Optional

from mmengine.hooks import Hook

from cosam_mm.registry import HOOKS
from cosam_mm.utils.progress import progress_bar

__all__ = ['ProgressBarHook']


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows how much of a validation or test is left.

    mmengine logs a line every so many batches, and a short test, or one of large
    batches, is over before the first. These lines stand above the bar. It goes when
    the last batch is done; what the metrics then do has bars of its own.
    """

    priority = 'LOWEST'  # after the line of the LoggerHook

    def __init__(self) -> None:
        self._bar: Optional[Any] = None
        self._open = ExitStack()

    def _before_epoch(self, runner, mode: str = 'train') -> None:
        if mode == 'train':
            return
        self._open.close()  # of a run that was broken off
        # A line above it makes a bar appear; one that still waits would not be cleared.
        self._bar = self._open.enter_context(progress_bar(
            what='validating' if mode == 'val' else 'testing', unit='batch',
            total=len(getattr(runner, f'{mode}_dataloader')), leave=False, delay=0))
        if sys.stderr.isatty() and not self._bar.disable:
            from tqdm.contrib.logging import logging_redirect_tqdm
            self._open.enter_context(logging_redirect_tqdm([runner.logger]))

    def _after_iter(self, runner, batch_idx: int, data_batch: Any = None,
                    outputs: Any = None, mode: str = 'train') -> None:
        if mode != 'train':
            self._bar.update()
            if self._bar.n == self._bar.total:
                self._open.close()
