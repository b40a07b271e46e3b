"""What a run shows first: a line, and the rest in its log file.

mmengine logs environment, config and hooks, some 400 lines, before the first iteration.
"""
import logging
import re
import shutil
import sys
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from cosam_mm.utils.cli import is_user_mistake

__all__ = ['QuietRunner']

# Beginnings of messages of mmengine that nobody has to act on.
_FOR_THE_FILE = (
    '\n-----', 'Config:', 'Hooks will be executed', 'Distributed training is not used',
    'Exp name:', '"FileClient" will be deprecated', '"HardDiskBackend" is the alias')


def _is_for_the_console(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_FOR_THE_FILE)


class _WithoutHashes(logging.Formatter):
    """Of metrics, those that a person compares; the JSON of a test has the others."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return re.sub(r'\S+_sha256: [0-9a-f]{64} *', '', self._inner.format(record))


class QuietRunner(Runner):
    """mmengine's runner; what its config and hooks are stands in the log file only.

    A test that is refused before its first batch leaves no files.
    """

    _has_begun = _made_work_dir = _is_own_log = False

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """mmengine's logger, whose console is spared the beginning."""
        # Two runs that begin within a second share a folder.
        self._is_own_log = not Path(self._log_dir, f'{self.timestamp}.log').exists()
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_is_for_the_console)
                handler.setFormatter(_WithoutHashes(handler.formatter))
        self._made_work_dir = [*Path(self.work_dir).iterdir()] == [Path(self._log_dir)]
        device = 'a GPU' if torch.cuda.is_available() else 'the CPU'
        logger.info(f'Python {sys.version.split()[0]}, torch {torch.__version__}, on '
                    f'{device}. Environment, config and hooks are in '
                    f'{self._log_dir}/{self.timestamp}.log')
        return logger

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """mmengine's; the first batch is noticed."""
        self._has_begun = self._has_begun or fn_name.endswith('_iter')
        super().call_hook(fn_name, **kwargs)

    def test(self) -> dict:
        """mmengine's; the metrics by name."""
        try:
            return super().test()
        except Exception as error:
            if (is_user_mistake(error) and self._is_own_log and not self._has_begun
                    and is_main_process()):
                self._remove_log()
            raise

    def _remove_log(self) -> None:
        """Remove the log, and the work dir if this made it and it holds no more."""
        shutil.rmtree(self._log_dir, ignore_errors=True)
        config = Path(self.work_dir, Path(self.cfg.filename or '').name)
        if self._made_work_dir and [*Path(self.work_dir).iterdir()] == [config]:
            shutil.rmtree(self.work_dir)
