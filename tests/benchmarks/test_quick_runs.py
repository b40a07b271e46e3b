"""Every benchmark runs with ``--quick``, in one process that imports things once."""
import json
import sys

import pytest

from benchmarks.suite import clips, cosam
from tests.tool_process import run_fresh

# All parts but the slow ones of the loader and of the compiler.
PARTS = {
    'cosam': [part for part in cosam.PARTS if part != 'formats'],
    'clips': [part for part in clips.PARTS if part != 'workers'],
    'training_step': ['step', 'cosam', 'memory', 'profile'],
    'inference': ['forms', 'error', 'decisions'],
    'reid_evaluation': ['rank', 'rerank', 'rank_large'],
}
RUN = """
import sys
from benchmarks.__main__ import main
for command in sys.argv[1:]:
    sys.argv = ['benchmarks', *command.split()]
    main()
"""


@pytest.fixture(scope='module')
def quick_runs(repo, tmp_path_factory):
    """Name -> what ``--json`` wrote of it."""
    folder = tmp_path_factory.mktemp('benchmarks')
    paths = {name: folder / f'{name}.json' for name in PARTS}
    done = run_fresh(
        sys.executable, '-c', RUN,
        *(f'{name} --quick --seconds 0.05 --parts {" ".join(parts)} '
          f'--json {paths[name]}' for name, parts in PARTS.items()), cwd=repo)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('--quick: shapes are shrunk') == len(PARTS)
    return {name: json.loads(path.read_text()) for name, path in paths.items()}


@pytest.mark.parametrize('name', PARTS)
def test_quick_run(quick_runs, name):
    """The keys are those that the README documents."""
    written = quick_runs[name]
    assert set(written) == {'benchmark', 'quick', 'environment', 'metrics'}
    assert written['quick'] is True
    assert {one['part'] for one in written['metrics']} == set(PARTS[name])
    for one in written['metrics']:
        assert set(one) == {'part', 'name', 'unit', 'summary', 'target', 'details',
                            'note', 'verdict'}
        assert one['verdict'] in ('no target', 'not measured', 'reached')
        if one['summary']:
            assert set(one['summary']) == {'median', 'lower', 'upper', 'count'}
        if one['unit'] == 'error':
            assert one['summary']['median'] < (2**-5 if 'bf16' in one['name'] else 1e-4)


def test_cosam_is_compared_with_its_convolution_and_its_floor(quick_runs):
    assert {one['name'].split(', ')[0] for one in quick_runs['cosam']['metrics']
            if one['part'] == 'limit'} == {
        'COSAM / its 1x1 convolution', 'floor / its 1x1 convolution', 'COSAM / floor'}


def test_clips_have_the_same_pixels_and_shares_of_time_sum_to_one(quick_runs):
    pixels, shares = [], {}
    for one in quick_runs['clips']['metrics']:
        value = one['summary']['median']
        if one['part'] == 'pixels':
            pixels.append(value)
        elif one['part'] == 'profile':
            size = one['name'].split(', ')[1]
            shares[size] = shares.get(size, 0) + value
    assert len(pixels) == 4
    assert max(pixels) <= clips.MOST_LEVELS
    assert list(shares.values()) == pytest.approx([1, 1])


@pytest.mark.slow
def test_quick_run_of_formats(repo, tmp_path):
    """Compiles, which takes a minute."""
    path = tmp_path / 'cosam.json'
    done = run_fresh(sys.executable, '-m', 'benchmarks', 'cosam', '--quick', '--parts',
                     'formats', '--json', path, cwd=repo)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(path.read_text())['metrics']
    assert {one['unit'] for one in metrics} == {'times', 'error'}
