"""The command ``cosam-mm``, also ``python -m cosam_mm``: the tools, without a checkout.

``cosam-mm train CONFIG`` runs ``tools/train.py CONFIG``, of the checkout or of the copy
that the wheel holds.
"""
import ast
import difflib
import runpy
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from .utils.cli import (
    TOOLS,
    CommandParser,
    find_config,
    one_line_errors,
    run_as,
    shipped,
    shipped_configs,
)
from .utils.io import read_text
from .utils.messages import table_lines
from .version import __version__

_CONFIGS = 'List the configs that ship, or copy one with all that it inherits'


def _say(text: str) -> None:
    print(text, file=sys.stdout)


def _first_line(path: Path) -> str:
    """What a tool or config says of itself: its docstring to the end of a clause."""
    text = ast.get_docstring(ast.parse(read_text(path))) or ''
    return text.split('\n')[0].split(': ``')[0].rstrip('.')


def _overview() -> str:
    """The commands, a line each."""
    rows = [(name, _first_line(shipped('tools') / tool))
            for name, tool in TOOLS.items()]
    lines = table_lines(('command', ''), [*rows, ('configs', _CONFIGS)])
    return '\n'.join(['usage: cosam-mm COMMAND ...', '', *lines, '',
                      'cosam-mm COMMAND --help tells the options of one.'])


# -- configs -------------------------------------------------------------------


def _described() -> Iterator[tuple[str, str]]:
    """Name of each config that ships, and a line on it from the file or the index."""
    import yaml  # mmengine's
    index = {
        model['Config']: model for file in shipped('configs').rglob('metafile.yml')
        for model in yaml.safe_load(read_text(file))['Models']}
    for name, path in shipped_configs().items():
        text = _first_line(path)
        if model := index.get(f'configs/{name}.py'):
            about = model['Metadata']
            text = (f'{about["Architecture"]}, {about["Training Data"]}, '
                    f'{model["Modality"]} {about["Resolution"]}, '
                    f'{about["Parameters"]} parameters')
        yield name, text


def _with_bases(path: Path) -> list[Path]:
    """A config file and all that it inherits."""
    found = [path]
    for node in ast.parse(read_text(path)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                found += _with_bases((path.parent / base).resolve())
    return list(dict.fromkeys(found))


def _copy(name: str, folder: Path) -> None:
    """Copy a config and what it inherits, into folders as they ship.

    Raises:
        FileExistsError: A file of that name has another content.
        ValueError: No config that ships has this name.
    """
    root = shipped('configs')
    copies = {path: folder / path.relative_to(root)
              for path in _with_bases(find_config(name, here=False))}
    for path, copy in copies.items():
        if copy.exists() and copy.read_bytes() != path.read_bytes():
            raise FileExistsError(f'{copy} is there and differs from the one that '
                                  'ships. Name another folder, or take it away.')
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    _say(f'{next(iter(copies.values()))} and {len(copies) - 1} files that it inherits')


def _configs(argv: Sequence[str]) -> None:
    parser = CommandParser(description=f'{_CONFIGS}.')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    listing = commands.add_parser('list', help='list them (default)')
    listing.add_argument('words', nargs='*', metavar='WORD',
                         help='only those with each of these in name or description')
    copying = commands.add_parser('copy', help='copy one')
    copying.add_argument('name', metavar='NAME')
    copying.add_argument('folder', metavar='DIR', nargs='?', type=Path,
                         default=Path('configs'), help='default: %(default)s')
    args = parser.parse_args(argv)
    if args.command == 'copy':
        _copy(args.name, args.folder)
        return
    words = [word.lower() for word in getattr(args, 'words', ())]
    rows = [row for row in _described()
            if all(word in ' '.join(row).lower() for word in words)]
    _say('\n'.join(table_lines(('config', ''), rows)) if rows
         else f'no config has {" and ".join(words)}')


# -- commands ------------------------------------------------------------------


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; a user's mistake is one line and status 2."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ['--help']
    if name in ('-h', '--help'):
        _say(_overview())
    elif name == '--version':
        _say(f'cosam-mm {__version__}')
    elif name == 'configs':
        run_as('cosam-mm configs')
        with one_line_errors():
            _configs(rest)
    elif name in TOOLS:
        run_as(f'cosam-mm {name}')
        sys.argv[1:] = rest
        runpy.run_path(str(shipped('tools') / TOOLS[name]), run_name='__main__')
    else:
        alike = difflib.get_close_matches(name, [*TOOLS, 'configs'])
        advice = f'Did you mean {" or ".join(alike)}?' if alike else (
            'cosam-mm lists the commands.')
        print(f'error: there is no command {name}. {advice}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
