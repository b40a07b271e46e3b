"""Mistakes become one line, bugs keep their traceback."""
import linecache

import pytest

from cosam_mm.utils.cli import is_user_mistake, one_line_errors
from cosam_mm.utils.config import Config, scale_learning_rate, set_split


def caught(call, *args):
    with pytest.raises(Exception) as info:
        call(*args)
    return info.value


def test_what_this_project_raises_is_a_mistake():
    assert is_user_mistake(caught(set_split, Config({}), 1))
    assert is_user_mistake(caught(scale_learning_rate, Config({})))


def test_what_others_raise_is_none(tmp_path):
    assert not is_user_mistake(caught(int, 'x'))
    assert not is_user_mistake(caught(open, tmp_path / 'no'))
    assert not is_user_mistake(caught(Config.fromfile, tmp_path / 'no.py'))
    # Of this project's code, but by an expression, and another class.
    assert not is_user_mistake(caught(set_split, None, 1))
    assert not is_user_mistake(ValueError('never raised'))


def failing(statement, module='cosam_mm.made_up'):
    """A function of a module whose only line fails."""
    name = f'<{module}: {statement}>'
    text = f'def fail():\n    {statement}\n'
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    scope = {'__name__': module}
    exec(compile(text, name, 'exec'), scope)
    return scope['fail']


@pytest.mark.parametrize(('statement', 'expected'), [
    ("raise ValueError('x')", True),
    ("raise RuntimeError('x')", True),
    ("raise FileNotFoundError('x')", True),
    ("raise NotImplementedError('x')", False),
    ("raise UnicodeDecodeError('x', b'', 0, 1, 'y')", False),
    ("raise KeyError('x')", False),
    ("int('x')", False),
    ("open('no such file')", False),
])
def test_only_raise_statements_of_the_classes_for_mistakes(statement, expected):
    assert is_user_mistake(caught(failing(statement))) is expected


def test_only_modules_of_this_project_and_the_script():
    for module, expected in (('cosam_mm', True), ('__main__', True),
                             ('cosam_mmx.y', False), ('mmengine.cosam_mm', False)):
        error = caught(failing("raise ValueError('x')", module))
        assert is_user_mistake(error) is expected


def test_one_line_and_status_two(capsys):
    with pytest.raises(SystemExit) as info, one_line_errors():
        set_split(Config({}), 1)
    assert info.value.code == 2
    assert capsys.readouterr().err == (
        'error: --split: no data set of this config has a setting named split.\n')


def test_bugs_pass_through():
    with pytest.raises(ValueError, match='invalid literal'), one_line_errors():
        int('x')
    with pytest.raises(KeyboardInterrupt), one_line_errors():
        raise KeyboardInterrupt
