"""Bars: on a terminal with the remaining time, nowhere else anything."""
import re

import pytest

from cosam_mm.utils.progress import progress_bar
from tests.terminal import run_on_terminal
from tests.tool_process import REPO, run_fresh

REMAINING = r'{what}: +\d+%\|[^|]*\| +\d+/{total} \[\d\d:\d\d<\d\d:\d\d, '
SLOW = """
import sys, time
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
def script(tmp_path):
    def write(leave=True, pause=0.12):
        path = tmp_path / 'slow.py'
        path.write_text(SLOW.format(leave=leave, pause=pause))
        return path
    return write


def test_bar_on_a_terminal(script, tmp_path):
    status, shown = run_on_terminal(script(), cwd=tmp_path, PYTHONPATH=str(REPO))
    assert status == 0, shown
    assert shows('frames', 4, shown)
    assert '4/4' in shown
    assert 'off' not in shown
    assert 'nothing' not in shown
    assert shown.rstrip().endswith('done')


def test_nothing_in_a_pipe(script, tmp_path):
    done = run_fresh(script(), cwd=tmp_path, PYTHONPATH=str(REPO))
    assert (done.returncode, done.stdout, done.stderr) == (0, 'done\n', '')


def test_only_the_first_process_shows_one(script, tmp_path):
    for rank, expected in (('0', True), ('1', False)):
        _, shown = run_on_terminal(script(), cwd=tmp_path, PYTHONPATH=str(REPO),
                                   RANK=rank)
        assert shows('frames', 4, shown) is expected


@pytest.mark.parametrize(('pause', 'appears'), [(0.01, False), (0.4, True)])
def test_passing_bar_leaves_no_trace(script, tmp_path, pause, appears):
    _, shown = run_on_terminal(script(False, pause), cwd=tmp_path,
                               PYTHONPATH=str(REPO))
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
