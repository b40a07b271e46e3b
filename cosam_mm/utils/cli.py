"""A user's mistake as one line; a bug as a traceback.

What this project checks, it refuses with a ``raise`` of its own and a message that
says what to do: a missing data root, a line of a list, a checkpoint of another model.
Such a message needs no traceback. Everything else keeps it, so that no bug looks like
a mistake.
"""
import contextlib
import linecache
import sys
from collections.abc import Iterator

__all__ = ['is_user_mistake', 'one_line_errors']

# These very classes: NotImplementedError, for one, is a RuntimeError and a bug.
_KINDS = (FileNotFoundError, RuntimeError, ValueError)


def is_user_mistake(error: BaseException) -> bool:
    """Whether a ``raise`` statement of this project, or of the script, made it.

    An error that another package raised, or that an expression of ours ran into,
    is none.
    """
    last = error.__traceback__
    if type(error) not in _KINDS or last is None:
        return False
    while last.tb_next is not None:
        last = last.tb_next
    module = last.tb_frame.f_globals.get('__name__', '')
    line = linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno)
    is_ours = module.split('.')[0] in ('cosam_mm', '__main__')
    return is_ours and line.lstrip().startswith('raise ')


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a user's mistake as ``error: ...`` and leave with status 2."""
    try:
        yield
    except Exception as error:
        if not is_user_mistake(error):
            raise
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
