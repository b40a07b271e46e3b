"""Mistakes become one line, bugs keep their traceback."""
import linecache

import pytest

from cosam_mm.utils.cli import is_user_mistake, one_line_errors
from cosam_mm.utils.config import Config, set_split


def failing(statement, module='cosam_mm.made_up'):
    """A function of a module whose only line fails."""
    name = f'<{module}: {statement}>'
    text = f'def fail():\n    {statement}\n'
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    scope = {'__name__': module}
    exec(compile(text, name, 'exec'), scope)
    return scope['fail']


@pytest.mark.parametrize(('call', 'expected'), [
    (lambda: set_split(Config({}), 1), True),
    (lambda: int('x'), False), (failing("open('no such file')"), False),
    (lambda: Config.fromfile('no.py'), False),
    (lambda: set_split(None, 1), False),  # by an expression, and of another class
    *((failing(f'raise {error}'), expected) for error, expected in (
        ("ValueError('x')", True), ("RuntimeError('x')", True),
        ("FileNotFoundError('x')", True), ("NotImplementedError('x')", False),
        ("UnicodeDecodeError('x', b'', 0, 1, 'y')", False), ("KeyError('x')", False))),
    (failing("int('x')"), False),
    *((failing("raise ValueError('x')", module), expected) for module, expected in (
        ('cosam_mm', True), ('__main__', True), ('cosam_mmx.y', False),
        ('mmengine.cosam_mm', False)))])
def test_only_raise_statements_of_this_project_for_mistakes(call, expected):
    with pytest.raises(Exception) as info:
        call()
    assert is_user_mistake(info.value) is expected
    assert not is_user_mistake(ValueError('never raised'))


def test_one_line_and_status_two(capsys):
    with pytest.raises(SystemExit) as info, one_line_errors():
        set_split(Config({}), 1)
    assert info.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('error: --split')


def test_bugs_pass_through():
    with pytest.raises(ValueError), one_line_errors():
        failing("int('x')")()
