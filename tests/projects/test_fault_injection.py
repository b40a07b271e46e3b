"""The loops of ``projects.fault_injection``, small; and that they would notice."""
import json
import os
import random
import signal
import sys
import time
from types import SimpleNamespace

import pytest
import torch

import projects.fault_injection.__main__ as command
from projects.fault_injection import annotations, trials
from projects.fault_injection.broken_files import break_bytes, break_lines
from projects.fault_injection.training import (
    Result,
    differences,
    differences_in_weights,
)
from projects.fault_injection.trials import Child, Trial, Verdict, summarize
from tests.tool_process import run_fresh


def result(value=1., files=('epoch_1.pth',), best=0.5, name='a'):
    return Result(list(files), dict(
        meta=dict(epoch=1, iter=4), state_dict=dict(weight=torch.tensor([value])),
        optimizer={}, param_schedulers=[], ema_state_dict={},
        message_hub=dict(log_scalars={'train/time': name}, runtime_info=dict(
            best_score=best, best_ckpt=f'/{name}/best.pth', cfg=name))))


def test_differences_are_noticed():
    assert differences(result(), result(name='b')) == []
    close = float(torch.nextafter(torch.tensor(1.), torch.tensor(2.)))
    assert len(differences(result(), result(close))) == 1
    assert len(differences(result(), result(files=()))) == 1
    assert len(differences(result(), result(best=0.25))) == 1
    assert differences_in_weights(result(), result(best=0.25)) == []
    assert len(differences_in_weights(result(), result(close))) == 1


def test_summary():
    trials = [Trial('a', 'x', None, 'read'), Trial('a', 'x', 'gone'), Trial('b', 'y')]
    assert [line.split() for line in summarize(trials).split('\n')[2:]] == [
        ['a:', 'x', '2', '1', '1'], ['b:', 'y', '1', '1', '0'], ['all', '3', '2', '1'],
        ['a:', 'read', '1']]


def made_up(options):
    """A loop that loses every second fault."""
    for family in options.families:
        for k in range(options.count):
            yield Trial(family, 'made up', 'gone' if k % 2 else None)


@pytest.fixture
def run_command(monkeypatch, capsys):
    monkeypatch.setattr(command, 'LOOPS', {
        'made_up': ('a_module', ('one', 'two'), 'loses every second one')})
    monkeypatch.setitem(sys.modules, 'projects.fault_injection.a_module',
                        SimpleNamespace(made_up=made_up))

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['fault_injection', *map(str, arguments)])
        try:
            command.main()
            status = 0
        except SystemExit as error:
            status = error.code
        return status, capsys.readouterr()

    return run


def test_command(run_command, tmp_path):
    assert run_command()[1].out == 'made_up     loses every second one\n'
    path = tmp_path / 'a.json'
    status, streams = run_command('made_up', '--count', 2, '--json', path)
    assert status == 1
    assert '   2  one: made up: gone\n' in streams.out
    saved = json.loads(path.read_text())
    assert (saved['loop'], saved['tried'], saved['lost']) == ('made_up', 4, 2)
    assert saved['trials'][1] == dict(family='one', fault='made up', problem='gone',
                                      outcome=None)
    assert run_command('made_up', '--count', 1)[0] == 0
    for wrong, word in ((('--families', 'three'), 'one, two'),
                        (('--count', 0), '--count')):
        status, streams = run_command('made_up', *wrong)
        assert status == 2
        assert word in streams.err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(('loop', 'family', 'count'), [
    ('kills', 'action', 2), ('stops', 'reid', 1), ('refusals', 'action', 2)])
def test_no_training_is_lost(loop, family, count, repo, tmp_path):
    done = run_fresh(sys.executable, '-m', 'projects.fault_injection', loop,
                     '--families', family, '--count', count,
                     '--json', tmp_path / 'trials.json', cwd=repo)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads((tmp_path / 'trials.json').read_text())
    assert (trials['tried'], trials['lost']) == (count, 0)


# -- broken inputs -----------------------------------------------------------------


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


def test_child(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, 'PRELOADED', [])
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


def test_wrong_labels_are_noticed(tmp_path):
    """As if lists were believed: with nothing to compare them with."""
    annotations.LAYOUTS['lists'][0](tmp_path)
    path = tmp_path / 'videos.txt'
    path.write_text(path.read_text().replace('_11_2.avi 11', '_11_2.avi 1'))
    assert annotations.judge('lists', str(tmp_path), 'videos.txt') == Verdict('refused')
    (tmp_path / 'demo_classes.txt').unlink()
    verdict = annotations.judge('lists', str(tmp_path), 'videos.txt')
    assert verdict.outcome == 'lost'
    assert 'label 1 for wave/wave_(a&b)[2];#!+-@_11_2.avi, which has 11' in (
        verdict.problem)


@pytest.mark.parametrize('family', annotations.LAYOUTS)
def test_whole_inputs_are_read(tmp_path, family):
    annotations.LAYOUTS[family][0](tmp_path)
    assert annotations.judge(family, str(tmp_path), 'none') == Verdict('read')


@pytest.mark.parametrize('arguments', [
    ('annotations', '--count', '1', '--seed', '1'),
    pytest.param(('videos', '--families', 'synthetic', 'training', '--count', '8'),
                 marks=pytest.mark.slow)])
def test_no_input_is_lost(arguments, repo, tmp_path):
    done = run_fresh(sys.executable, '-m', 'projects.fault_injection', *arguments,
                     '--json', tmp_path / 'trials.json', cwd=repo)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads((tmp_path / 'trials.json').read_text())['trials']
    assert len(trials) >= 7
    assert {trial['outcome'] for trial in trials} <= {'read', 'skipped', 'refused'}
    assert {trial['outcome'] for trial in trials} > {'read'}
