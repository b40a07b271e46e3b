"""Command lines: types of options; a user's mistake as one line, a bug as a traceback;
what ships beside the package, and the command ``cosam-mm`` that runs it.

What this project checks, it refuses with a ``raise`` of its own and a message that
says what to do: a missing data root, a line of a list, a checkpoint of another model.
Such a message needs no traceback. Everything else keeps it, so that no bug looks like
a mistake.
"""
import argparse
import ast
import contextlib
import difflib
import linecache
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable

__all__ = ['NO_VERIFY', 'TOOLS', 'CommandParser', 'add_no_verify', 'as_typed',
           'at_least_two', 'existing_file', 'find_config', 'first_line',
           'is_user_mistake', 'non_negative_float', 'non_negative_int',
           'one_line_errors', 'positive_float', 'positive_int', 'run_as', 'share',
           'shipped', 'shipped_configs']

# Environment variable, set by --no-verify: damaged checkpoints are read with a warning.
NO_VERIFY = 'COSAM_MM_NO_VERIFY'
# These very classes: NotImplementedError, for one, is a RuntimeError and a bug.
_KINDS = (FileExistsError, FileNotFoundError, ImportError, RuntimeError, ValueError)


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
        print(f'error: {as_typed(str(error))}', file=sys.stderr)
        sys.exit(2)


# -- what ships: tools, and configs by name ----------------------------------------

# Command of ``cosam-mm`` -> the tool that it runs.
TOOLS = {
    'train': 'train.py', 'test': 'test.py', 'demo': 'demo.py',
    'prepare': 'prepare_data.py', 'search': 'search_gallery.py',
    'report': 'report.py', 'export': 'deployment/export.py',
    'masks': 'visualizations/visualize_masks.py',
    'ranks': 'visualizations/visualize_ranks.py',
    'analyze': 'visualizations/analyze_results.py',
    'curves': 'visualizations/plot_curves.py', 'fuse': 'fuse_scores.py',
    'convert': 'model_converters/convert_reference.py',
    'flops': 'analysis_tools/get_flops.py', 'layers': 'analysis_tools/list_layers.py',
    'configs': 'configs.py'}

_command = ['']  # 'cosam-mm train' while that runs


def run_as(command: str) -> None:
    """Say which command runs a tool: its help, errors and advice name this one."""
    _command[0] = command


def as_typed(text: str) -> str:
    """Name commands in a text as the user types them.

    ``python tools/train.py`` is ``cosam-mm train`` to a user of that command, who may
    have no checkout.
    """
    commands = {tool: f'cosam-mm {command}' for command, tool in TOOLS.items()}
    return text if not _command[0] else re.sub(
        r'(?:python\s+)?(?:\S*/)?\btools/([\w/]+\.py)\b',
        lambda found: commands.get(found[1], found[0]), text)


class CommandParser(argparse.ArgumentParser):
    """A parser whose help shows a description as it stands, and commands as typed."""

    def __init__(self, **settings) -> None:
        if _command[0]:
            settings.setdefault('prog', _command[0])
        if '\n' in (settings.get('description') or ''):
            settings.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings)

    def format_help(self) -> str:
        """The help text."""
        return as_typed(super().format_help())


def first_line(path: Path) -> str:
    """What a tool or config says of itself: its docstring to the end of a clause."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    return text.split('\n')[0].split(': ``')[0].rstrip('.')


def shipped(part: str) -> Path:
    """The folder 'configs' or 'tools', of the checkout or of the installed wheel."""
    package = Path(__file__).parents[1]
    folders = package / '.mim' / part, package.parent / part
    return next(filter(Path.is_dir, folders), folders[0]).resolve()


def shipped_configs() -> dict[str, Path]:
    """Files of the configs that ship, by name: 'reid/resnet50_tp_mars'."""
    folder = shipped('configs')
    return {path.relative_to(folder).with_suffix('').as_posix(): path
            for path in sorted(folder.rglob('*.py')) if '_base_' not in path.parts}


def find_config(name: str, here: bool = True) -> Path:
    """A config file, or the shipped one of that name.

    Args:
        name: A path; or, with or without 'configs/', folder and '.py', a name.
        here: Look for a file first, then among the ones that ship.

    Raises:
        ValueError: There is none; the message names those that are alike.
    """
    asked = name.removeprefix('configs/').removesuffix('.py')
    own = (Path(name), Path(f'{name}.py')) if here else ()
    for path in (*own, shipped('configs') / f'{asked}.py'):
        if path.is_file():
            return path
    configs = shipped_configs()
    found = [path for known, path in configs.items() if known.endswith(f'/{asked}')]
    if not found:
        raise ValueError(f'There is no config {name}, here or among those that ship '
                         f'(cosam-mm configs lists them){_alike(Path(name), configs)}')
    return found[0]


def _alike(path: Path, shipped_names: Iterable[str]) -> str:
    """Configs of nearly this name: in its folder, below ``configs``, and shipped."""
    files = (*path.parent.glob('*.py'), *Path('configs').rglob('*.py'))
    known = {one.stem: str(one) for one in files}
    known = {**{Path(one).name: one for one in shipped_names}, **known}
    near = difflib.get_close_matches(path.stem, known)
    return f'. Did you mean {" or ".join(known[one] for one in near)}?' if near else '.'


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
    """A type for argparse: the path of a file that exists, called ``kind``.

    The name of a config that ships becomes its path, and a line says so.
    """

    def check(path: str) -> str:
        if os.path.isfile(path):
            return path
        if Path(path).suffix not in ('', '.py'):
            raise argparse.ArgumentTypeError(f'there is no {kind} {path}')
        try:
            found = find_config(path)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        print(f'config {found}', file=sys.stderr)
        return str(found)

    return check


class _InEnvironment(argparse.Action):
    """An option that counts in all of this process and in those that it starts."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        os.environ[self.const] = '1'


def add_no_verify(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-verify`` to a tool that reads checkpoints."""
    parser.add_argument(
        '--no-verify', action=_InEnvironment, nargs=0, const=NO_VERIFY,
        default=argparse.SUPPRESS, help='read a checkpoint that is damaged all the '
        'same, with a warning')


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
