"""The loops over broken inputs, small; and that they would notice."""
import json
import os
import random
import signal
import sys
import time

import pytest

from projects.fault_injection.broken_files import break_bytes, break_lines
from projects.fault_injection.children import Child, Verdict
from projects.fault_injection.harness import Trial, summarize
from projects.fault_injection.loops import annotations
from tests.tool_process import run_fresh


def answer(kind):
    """What the child of the test below does."""
    if kind == 'crash':
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == 'hang':
        time.sleep(100)
    elif kind == 'memory':
        bytearray(1 << 40)
    elif kind == 'error':
        raise KeyError('what')
    return Verdict('read')


def test_child(tmp_path):
    child = Child(f'{__name__}:answer', tmp_path / 'log', 20)
    try:
        assert child('fine') == Verdict('read')
        assert child('crash').problem.startswith('died of SIGSEGV, see ')
        assert child('fine') == Verdict('read')
        assert child('error').problem == "KeyError: 'what'"
        assert child('memory').problem.startswith('MemoryError')
        child._limit = 0.5
        assert child('hang').problem.startswith('no answer in 0.5 s, see ')
    finally:
        child.close()


def test_same_seed_breaks_alike(tmp_path):
    data, other = bytes(range(256)) * 8, b'abc' * 500
    lines = ['a/b.avi 1', 'c d.avi 12', 'e.avi 3']
    for seed in range(100):
        one, two = (break_bytes(data, other, random.Random(seed)) for _ in range(2))
        assert one == two
        assert break_lines(lines, random.Random(seed)) == break_lines(
            lines, random.Random(seed))
    found = {break_bytes(data, other, random.Random(k))[0] for k in range(300)}
    assert {'truncated', 'bits flipped', 'huge numbers', 'spliced', 'empty'} <= found
    made = [annotations.make('mars', tmp_path / name, 7) for name in 'ab']
    assert made[0] == made[1]
    name = made[0][1]
    assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


def test_wrong_labels_are_noticed(tmp_path, monkeypatch):
    """As if lists were believed, and rows of MARS not compared with names."""
    annotations._write_lists(tmp_path)
    path = tmp_path / 'videos.txt'
    text = path.read_text()
    path.write_text(text.replace('_11_2.avi 11', '_11_2.avi 1'))
    assert annotations.judge('lists', str(tmp_path), 'videos.txt') == Verdict('refused')
    (tmp_path / 'demo_classes.txt').unlink()  # nothing to compare with any more
    verdict = annotations.judge('lists', str(tmp_path), 'videos.txt')
    assert verdict.outcome == 'lost'
    assert 'label 1 for wave/wave_(a&b)[2];#!+-@_11_2.avi, which has 11' in (
        verdict.problem)
    path.write_text(text)
    assert annotations.judge('lists', str(tmp_path), 'videos.txt') == Verdict('read')


@pytest.mark.parametrize('family', annotations.FAMILIES)
def test_whole_inputs_are_read(tmp_path, family):
    annotations._LAYOUTS[family][0](tmp_path)
    assert annotations.judge(family, str(tmp_path), 'none') == Verdict('read')


def test_summary_of_outcomes():
    trials = [Trial('a', 'x', None, 'read'), Trial('a', 'y', None, 'refused'),
              Trial('a', 'y', 'gone', 'lost')]
    assert summarize(trials)[2:] == [
        'a: read     1', 'a: refused     1',
        'all      3 tried     2 survived     1 lost']


@pytest.mark.parametrize('arguments', [
    ('annotations', '--count', '6'),
    ('videos', '--families', 'drawn', 'training', '--count', '8')])
def test_nothing_is_lost(arguments, repo, tmp_path):
    done = run_fresh(sys.executable, '-m', 'projects.fault_injection', *arguments,
                     '--json', tmp_path / 'trials.json', cwd=repo)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads((tmp_path / 'trials.json').read_text())['trials']
    assert len(trials) >= 15
    assert {trial['outcome'] for trial in trials} <= {'read', 'skipped', 'refused'}
    assert len({trial['outcome'] for trial in trials}) == 2
