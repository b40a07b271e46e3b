"""Command lines: types of options; a user's mistake as one line, a bug as a traceback.

What this project checks, it refuses with a ``raise`` of its own and a message that
says what to do: a missing data root, a line of a list, a checkpoint of another model.
Such a message needs no traceback. Everything else keeps it, so that no bug looks like
a mistake.
"""
import argparse
import contextlib
import difflib
import linecache
import math
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

__all__ = ['at_least_two', 'existing_file', 'is_user_mistake', 'non_negative_float',
           'non_negative_int', 'one_line_errors', 'positive_float', 'positive_int',
           'share']

# These very classes: NotImplementedError, for one, is a RuntimeError and a bug.
_KINDS = (FileExistsError, FileNotFoundError, RuntimeError, ValueError)


def is_user_mistake(error: BaseException) -> bool:
    """Whether a ``raise`` statement of this project, or of the script, made it."""
    last = error.__traceback__
    if type(error) not in _KINDS or last is None:
        return False
    while last.tb_next is not None:
        last = last.tb_next
    module = last.tb_frame.f_globals.get('__name__', '')
    line = linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno)
    is_ours = module.split('.')[0] in ('cosam_mm', 'projects', '__main__')
    return is_ours and line.lstrip().startswith('raise ')


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a user's mistake as ``error: ...`` and leave with status 2.

    A warning of mmcv-lite about an operator that nothing here uses is not shown.
    """
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformable')
    try:
        yield
    except Exception as error:
        if not is_user_mistake(error):
            raise
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


# -- types of options -------------------------------------------------------------


def _number(kind: type, is_valid: Callable[[float], bool], rule: str) -> Callable:
    """A type for argparse: a number for which ``is_valid`` holds."""

    def read(text: str):
        number = kind(text)
        if not is_valid(number):
            raise argparse.ArgumentTypeError(f'must be {rule}, got {text}')
        return number

    read.__name__ = kind.__name__  # argparse says "invalid int value"
    return read


def existing_file(kind: str) -> Callable[[str], str]:
    """A type for argparse: the path of a file that exists, called ``kind``."""

    def check(path: str) -> str:
        if not os.path.isfile(path):
            raise argparse.ArgumentTypeError(
                f'there is no {kind} {path}{_similar_file(Path(path))}')
        return path

    return check


def _similar_file(path: Path) -> str:
    """Files of nearly this name, in its folder and below ``configs``."""
    known = {str(one): one.name
             for one in (*path.parent.glob('*.py'), *Path('configs').rglob('*.py'))}
    near = difflib.get_close_matches(path.stem + '.py', known.values(), 3)
    names = [one for name in near for one, own in known.items() if own == name]
    return f'. Did you mean {" or ".join(names)}?' if names else ''


positive_int = _number(int, lambda number: number >= 1, '1 or more')
non_negative_int = _number(int, lambda number: number >= 0, '0 or more')
at_least_two = _number(int, lambda number: number >= 2, '2 or more')
non_negative_float = _number(
    float, lambda number: math.isfinite(number) and number >= 0,
    'finite and not negative')
positive_float = _number(
    float, lambda number: math.isfinite(number) and number > 0,
    'finite and more than 0')
share = _number(float, lambda number: 0 <= number <= 1, 'from 0 to 1')
