"""Bars with the remaining time, for people who wait.

A bar goes to the error stream, and only if that is a terminal: files and pipes get
none. Of several processes of one run the first one shows it.
"""
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ['progress_bar']


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
        show: False: no bar, whatever the stream is.
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
    # None is tqdm's word for "where a terminal looks on".
    return tqdm(items, what, total, leave, unit=unit, delay=delay, dynamic_ncols=True,
                disable=None if is_shown else True)
