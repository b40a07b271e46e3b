"""Names that a shell would run or take apart are only ever names.

The scripts run with an interpreter that writes down what it is asked for and leaves
what the real one would; the tools run for real.
"""
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.tool_process import REPO
from tests.video_data import write_video

NAMES = ['a $(touch ran) b', 'a `touch ran` b', "it's", 'say "hi"; touch ran', '-rf',
         'two\nlines', 'a * ? [x]', '$HOME', 'a\\b', 'x & touch ran &', '~', 'ü ß']
BASH = shutil.which('bash')

# Notes its arguments; makes the files that the next step of the demo looks for.
INTERPRETER = """#!{python}
import json, os, sys
with open({log!r}, 'a') as file:
    file.write(json.dumps(sys.argv[1:]) + '\\n')
arguments = sys.argv[1:]
tool = arguments[0] if arguments else ''
def option(name):
    return arguments[arguments.index(name) + 1]
if tool.endswith('prepare_data.py'):
    os.makedirs(option('--out') + '/videos/rotate_clockwise')
    for number in (9, 10):
        open(option('--out') + f'/videos/rotate_clockwise/c{{number}}.avi', 'w').close()
if tool.endswith('train.py'):
    os.makedirs(option('--work-dir'))
    for number in (9, 10):
        open(option('--work-dir') + f'/best_acc_top1_epoch_{{number}}.pth', 'w').close()
if tool.endswith('test.py'):
    print('Epoch(test) acc/top1: 1.0  acc/cross_entropy: 0.1')
if tool.endswith('report.py'):
    print('report       x')
"""


@pytest.fixture
def checkout(tmp_path):
    """The scripts, with an interpreter of their own that does nothing."""
    (tmp_path / 'checkout' / 'tools').mkdir(parents=True)
    for path in (REPO / 'tools').glob('*.sh'):
        shutil.copy2(path, tmp_path / 'checkout' / 'tools')
    (tmp_path / 'checkout' / 'tools' / 'setup_env.sh').write_text('')
    python = tmp_path / 'checkout' / '.venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(INTERPRETER.format(python=sys.executable,
                                         log=str(tmp_path / 'log')))
    python.chmod(0o755)
    for name in ('srun', 'fake'):
        shutil.copy2(python, tmp_path / name)
    return tmp_path


def run_script(checkout, name, *arguments, **environment):
    return subprocess.run(
        [BASH, f'tools/{name}', *arguments], cwd=checkout / 'checkout', text=True,
        capture_output=True, timeout=60, env=dict(
            os.environ, PATH=f'{checkout}:{os.environ["PATH"]}',
            PYTHON=str(checkout / 'fake'), **environment))


def calls(checkout):
    return [json.loads(line) for line in (checkout / 'log').read_text().splitlines()]


def assert_nothing_ran(checkout):
    assert not [path for path in checkout.rglob('*') if path.name.startswith('ran')]


@pytest.mark.parametrize('name', NAMES)
def test_demo_folder(checkout, name):
    done = run_script(checkout, 'demo.sh', DEMO_DIR=name)
    assert done.returncode == 0, done.stderr
    assert_nothing_ran(checkout)
    folder = f'./{name}' if name.startswith('-') else name
    assert (checkout / 'checkout' / name).is_dir()
    best = f'{folder}/run/best_acc_top1_epoch_10.pth'
    prepare, train, test, demo, report = calls(checkout)
    assert prepare[-1] == f'{folder}/data'
    assert f'{folder}/run' in train
    assert best in test
    assert demo[1:3] == [best, f'{folder}/data/videos/rotate_clockwise/c10.avi']
    assert report[1] == folder


@pytest.mark.parametrize(('script', 'own'), [
    ('dist_train.sh', ['NAME', '2']), ('dist_test.sh', ['NAME', 'NAME', '2']),
    ('slurm_train.sh', ['NAME', 'NAME', 'NAME', '2']),
    ('slurm_test.sh', ['NAME', 'NAME', 'NAME', 'NAME', '2'])])
@pytest.mark.parametrize('name', NAMES)
def test_arguments_of_scripts(checkout, script, own, name):
    own = [name if word == 'NAME' else word for word in own]
    done = run_script(checkout, script, *own, '--data-root', name)
    assert done.returncode == 0, done.stderr
    assert_nothing_ran(checkout)
    (call,) = calls(checkout)
    assert call[-1] == name
    assert len([word for word in call if name in word]) == own.count(name) + 1


@pytest.mark.parametrize('script', ['slurm_train.sh', 'slurm_test.sh'])
@pytest.mark.parametrize('number', ['gpus[$(touch ran)]', 'two', '', '-1', '1.5'])
def test_numbers_that_are_none(checkout, script, number):
    """bash runs commands that it finds in what it computes with."""
    own = ['part', 'job', 'x.py', *(['x.pth'] if 'test' in script else []), number]
    done = run_script(checkout, script, *own)
    assert done.returncode == 2
    assert done.stderr == f"error: NUM_GPUS must be a whole number, got '{number}'\n"
    assert_nothing_ran(checkout)
    assert not (checkout / 'log').exists()


@pytest.mark.parametrize('name', ['a $(touch ran) b', '-rf', 'two\nlines', "it's `x`"])
def test_crop(nest, tmp_path, name):
    video = tmp_path / f'{name}.avi'
    write_video(video, num_frames=6)
    (tmp_path / f'{name}.txt').write_text(
        ''.join(f'{frame},7,2,2,40,40\n' for frame in range(1, 7)))
    nest.ok('tools/prepare_data.py', 'crop', f'--video={name}.avi',
            f'--tracks={name}.txt', f'--out={name}', '--camid', 1,
            cwd=tmp_path)
    assert len(list((tmp_path / name / '0007' / '1').rglob('*.jpg'))) == 6
    assert not list(tmp_path.rglob('ran*'))
