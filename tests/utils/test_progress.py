"""Bars: on a terminal with the remaining time; elsewhere lines, if it takes long."""
import re

import pytest

from cosam_mm.utils.progress import progress_bar
from tests.terminal import run_tool_on_terminal

REMAINING = r'{what}: +\d+%\|[^|]*\| +\d+/{total} \[\d\d:\d\d<\d\d:\d\d, '
SLOW = """
import os, time
os.environ['RANK'] = {rank!r}
from cosam_mm.utils.progress import progress_bar
for number in progress_bar(range(4), 'frames', 'clip', leave={leave}):
    time.sleep({pause})
with progress_bar(what='off', total=2, show=False) as bar:
    bar.update(2)
for _ in progress_bar([], 'nothing'):
    pass
print('done')
"""


def shows(what, total, text):
    """Whether there is a bar with a remaining time."""
    return re.search(REMAINING.format(what=what, total=total), text) is not None


@pytest.fixture
def show(bare_nest, tmp_path):
    """Runs the script on a terminal."""

    def show(leave=True, pause=0.12, rank='0'):
        path = tmp_path / 'slow.py'
        path.write_text(SLOW.format(leave=leave, pause=pause, rank=rank))
        status, shown = run_tool_on_terminal(bare_nest, path, cwd=tmp_path)
        assert status == 0, shown
        return shown
    return show


@pytest.mark.parametrize('rank', ['0', '1'])
def test_the_first_process_shows_a_bar_on_a_terminal(show, rank):
    shown = show(rank=rank)
    assert shows('frames', 4, shown) == ('4/4' in shown) == (rank == '0')
    assert 'off' not in shown
    assert 'nothing' not in shown
    assert shown.rstrip().endswith('done')


@pytest.mark.parametrize(('seconds', 'rank', 'lines'), [
    (30, '0', []), (0.15, '0', ['2/4', '4/4']), (0.15, '1', [])])
def test_a_line_now_and_then_in_a_pipe(bare_nest, tmp_path, seconds, rank, lines):
    code = ('from cosam_mm.utils import progress\n'
            f'progress.SECONDS_A_LINE = {seconds}\n'
            + SLOW.format(leave=True, pause=0.1, rank=rank))
    done = bare_nest.run_code(code, tmp_path)
    assert (done.returncode, done.stdout) == (0, 'done\n')
    assert re.findall(r'frames: .* (\S+) \[.*clip/s\]\n', done.stderr) == lines
    assert done.stderr.count('\n') == len(lines)
    assert '\r' not in done.stderr


@pytest.mark.parametrize(('pause', 'appears'), [(0.01, False), (0.4, True)])
def test_passing_bar_leaves_no_trace(show, pause, appears):
    shown = show(False, pause)
    assert shows('frames', 4, shown) is appears
    last_line = shown.split('done')[0].rsplit('\r', 1)[-1]
    assert last_line.strip() == ''


def test_items_pass_through():
    assert list(progress_bar(iter('abc'), 'letters', total=3)) == list('abc')
    assert list(progress_bar({1: 2})) == [1]


def test_every_bar_is_of_one_kind(repo):
    """Nobody asks tqdm or mmengine for bars on their own."""
    sources = [path for folder in ('cosam_mm', 'tools')
               for path in (repo / folder).rglob('*.py')
               if not {'.mim', '__pycache__'} & set(path.parts)]
    asking = {path.relative_to(repo).as_posix() for path in sources
              if re.search(r'\btqdm\(|track_\w*progress|ProgressBar\(',
                           path.read_text(encoding='utf-8'))}
    assert asking == {'cosam_mm/utils/progress.py'}
