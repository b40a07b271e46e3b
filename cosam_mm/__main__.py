"""The command ``cosam-mm``, also ``python -m cosam_mm``: the tools, without a checkout.

``cosam-mm train CONFIG`` runs ``tools/train.py CONFIG``, of the checkout or of the copy
that the wheel holds.
"""
import difflib
import runpy
import sys
from collections.abc import Sequence
from typing import Optional

from .utils.cli import TOOLS, first_line, run_as, shipped
from .utils.messages import table_lines
from .version import __version__


def _overview() -> str:
    """The commands, a line each."""
    rows = [(name, first_line(shipped('tools') / tool)) for name, tool in TOOLS.items()]
    return '\n'.join([
        'usage: cosam-mm COMMAND ...', '', *table_lines(('command', ''), rows), '',
        'cosam-mm COMMAND --help tells the options of one.'])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; a user's mistake is one line and status 2."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ['--help']
    if name in TOOLS:
        run_as(f'cosam-mm {name}')
        sys.argv[1:] = rest
        runpy.run_path(str(shipped('tools') / TOOLS[name]), run_name='__main__')
    elif name in ('-h', '--help', '--version'):
        print(f'cosam-mm {__version__}' if name == '--version' else _overview(),
              file=sys.stdout)
    else:
        alike = difflib.get_close_matches(name, TOOLS)
        print(f'error: there is no command {name}. ' + (
            f'Did you mean {" or ".join(alike)}?' if alike
            else 'cosam-mm lists the commands.'), file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
