"""Bars with the remaining time, for people who wait.

A bar goes to the error stream if that is a terminal; files and pipes get a line every
half minute. Of several processes of one run the first one shows it.
"""
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ['progress_bar']

SECONDS_A_LINE = 30


def progress_bar(items: Optional[Iterable] = None, what: str = '', unit: str = 'step',
                 total: Optional[int] = None, show: bool = True,
                 leave: bool = True, delay: Optional[float] = None) -> 'tqdm':
    """A bar of tqdm to iterate over, or to move by hand: ``bar.update(n)``.

    Args:
        items: What is gone through and given on. None: it is moved by hand.
        what: Stands before the bar: 'frames'.
        unit: What is counted, in the singular: 'clip'.
        total: Number of all, or the length of ``items``; without one there is a count
            and no remaining time.
        show: False: nothing, whatever the stream is.
        leave: Whether it stays when it is done.
        delay: Seconds before it appears. Default: 0 for one that stays, 1 for one that
            does not, so that what is quick is not seen at all.
    """
    from tqdm import tqdm

    if total is None and hasattr(items, '__len__'):
        total = len(items)
    is_shown = show and total != 0 and os.environ.get('RANK', '0') == '0'
    if delay is None:
        delay = 0 if leave else 1
    if not sys.stderr.isatty():
        lines = type('Lines', (tqdm,), dict(display=_print_line))
        return lines(items, what, total, leave=False, unit=unit, delay=SECONDS_A_LINE,
                     mininterval=SECONDS_A_LINE, miniters=1, ncols=0,
                     disable=not is_shown)
    return tqdm(items, what, total, leave, unit=unit, delay=delay, dynamic_ncols=True,
                disable=not is_shown)


def _print_line(bar: 'tqdm', msg: Optional[str] = None, pos: Optional[int] = None
                ) -> None:
    """Print how far it is; tqdm asks for an empty message at the end."""
    if msg is None:
        print(bar, file=bar.fp, flush=True)
