"""The benchmarks of the training step and of inference run, with all their parts."""
import json
import sys

import pytest

from tests.tool_process import run_fresh

PARTS = {'training_step': {'step', 'cosam', 'memory', 'profile'},
         'inference': {'forms', 'error', 'decisions'}}


@pytest.mark.parametrize('name', PARTS)
def test_quick_run(repo, tmp_path, name):
    path = tmp_path / 'out.json'
    done = run_fresh(sys.executable, '-m', 'benchmarks', name, '--quick', '--json',
                     path, cwd=repo)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(path.read_text())['metrics']
    assert {one['part'] for one in metrics} == PARTS[name]
    assert {one['verdict'] for one in metrics} <= {'no target', 'not measured'}
    errors = {one['name']: one['summary']['median'] for one in metrics
              if one['unit'] == 'error'}
    for form, error in errors.items():
        assert error < (2**-5 if 'bf16' in form else 1e-4)
