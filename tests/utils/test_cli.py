"""Mistakes become one line, bugs keep their traceback."""
import linecache

import pytest

from cosam_mm import __main__ as command
from cosam_mm import __version__
from cosam_mm.utils import cli
from cosam_mm.utils.cli import find_config, is_user_mistake, one_line_errors
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


# -- the command cosam-mm ------------------------------------------------------


@pytest.fixture(autouse=True)
def forget_command(monkeypatch):
    monkeypatch.setattr('sys.argv', ['cosam-mm'])
    yield
    cli.run_as('')


def test_every_tool_is_a_command_with_a_line_on_it(repo, capsys):
    tools = {path.relative_to(repo / 'tools').as_posix()
             for path in (repo / 'tools').rglob('*.py')}
    assert set(cli.TOOLS.values()) == tools
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in cli.TOOLS:
        (line,) = (line for line in lines if line.startswith(f'{name} '))
        assert len(line.split()) > 3
    assert command.main(['--version']) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(('wrong', 'meant'), [
    ('trian', 'train'), ('prepare_data', 'prepare'), ('config', 'configs')])
def test_misspelt_command(wrong, meant, capsys):
    assert command.main([wrong]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f'mean {meant}' in error


def test_tool_runs_under_the_name_of_its_command(capsys, monkeypatch):
    monkeypatch.setattr('sys.argv', ['cosam-mm', 'search', '--help'])
    with pytest.raises(SystemExit) as info:
        command.main()
    assert info.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith('usage: cosam-mm search')
    assert 'tools/' not in text


@pytest.mark.parametrize('name', [
    'resnet14_tp_demo', 'reid/resnet14_tp_demo', 'configs/reid/resnet14_tp_demo.py'])
def test_config_is_found_by_name_but_one_here_comes_first(
        name, repo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).samefile(repo / 'configs/reid/resnet14_tp_demo.py')
    own = tmp_path / f'{name.removesuffix(".py")}.py'
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text('')
    assert find_config(name).samefile(own)
    with pytest.raises(ValueError, match='mean .*resnet14_tp_demo'):
        find_config('resnet14_tpdemo', here=False)


@pytest.mark.parametrize('name', ['reid/se_resnet50_cosam4_tp_mars',
                                  'examples/timm_regnety_cosam_hmdb51'])
def test_copied_config_is_whole_and_spares_what_was_changed(name, repo, tmp_path,
                                                            capsys):
    for _ in range(2):
        assert command.main(['configs', 'copy', name, str(tmp_path)]) == 0
    copied = tmp_path / f'{name}.py'
    assert Config.fromfile(copied).to_dict() == Config.fromfile(
        repo / f'configs/{name}.py').to_dict()
    copied.write_text('changed = True')
    with pytest.raises(SystemExit):
        command.main(['configs', 'copy', name, str(tmp_path)])
    assert 'differs' in capsys.readouterr().err
    assert copied.read_text() == 'changed = True'


def test_configs_are_listed_with_a_description_each(capsys):
    assert command.main(['configs']) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert {line.split()[0] for line in lines} == set(cli.shipped_configs())
    assert all(len(line.split()) > 3 for line in lines)
    assert command.main(['configs', 'list', 'IBN', 'mars', 'cosam']) == 0
    assert 'resnet50_ibn_cosam45_tp_mars' in capsys.readouterr().out.splitlines()[1]
