"""What the shell scripts decide and say, without installing anything.

``tools/setup_env.sh`` runs in a copy of the files it reads, with an interpreter that
makes no environment and writes down what pip is asked for. Its questions about Python
and about installed packages are answered by the real interpreter, which sees a folder
of made-up packages instead of its own.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
SCRIPTS = sorted([*(REPO / 'tools').glob('*.sh'), REPO / '.ci' / 'run'])
BASH = shutil.which('bash')

# Stands in for both python3 and .venv/bin/python.
INTERPRETER = '''#!{bash}
here={base}
case "$*" in
    "-m venv "*)
        [ ! -e "$here/venv_fails" ] || {{ mkdir -p "$3"; exit 1; }}
        mkdir -p "$3/bin"
        cp "$0" "$3/bin/python"
        rm -f "$here/no_pip" ;;
    "-m pip "*" --version") [ ! -e "$here/no_pip" ] ;;
    "-m pip "*)
        echo "${{*:4}}" >> "$here/pip.log"
        case "$*" in *"-e ."*)
            mkdir -p "$here/site/opencv_contrib_python-5.0.0.dist-info"
            printf 'Name: opencv-contrib-python\\nVersion: 5.0.0\\n' \\
                > "$here/site/opencv_contrib_python-5.0.0.dist-info/METADATA" ;;
        *headless*) echo "VideoCapture = None" > "$here/site/cv2.py" ;;
        esac ;;
    *) PYTHONPATH="$here/site" exec {real} -S "$@" ;;
esac
'''


class Sandbox:
    """A checkout that holds only what the set-up script reads."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.checkout = base / 'check out'
        self.venv = self.checkout / '.venv'
        (self.checkout / 'tools').mkdir(parents=True)
        (self.checkout / 'requirements').mkdir()
        for name in ('tools/setup_env.sh', 'setup.py', 'pyproject.toml',
                     'requirements/constraints.txt'):
            shutil.copy2(REPO / name, self.checkout / name)
        self.site, self.python = base / 'site', base / 'bin' / 'python3'
        self.site.mkdir()
        (self.site / 'cv2.py').write_text('VideoCapture = None')
        self.python.parent.mkdir()
        self.python.touch(0o755)
        self.python.write_text(INTERPRETER.format(bash=BASH, base=base,
                                                  real=sys.executable))

    def run(self, *args: str, **environ: str):
        """Run the script; PATH leads to the interpreter of the sandbox first."""
        path = f'{self.python.parent}:{os.environ["PATH"]}'
        environ = {'HOME': str(self.base), 'PATH': path, **environ}
        return subprocess.run(
            [BASH, str(self.checkout / 'tools' / 'setup_env.sh'), *args],
            env=environ, capture_output=True, text=True, timeout=60)

    def pip_calls(self) -> list:
        """What pip was asked for since the last time this was called."""
        log = self.base / 'pip.log'
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return calls


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_script_parses_and_stops_at_errors(script):
    assert subprocess.run([BASH, '-n', str(script)], check=False).returncode == 0
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[0] == '#!/usr/bin/env bash'
    assert 'set -euo pipefail' in lines
    assert script.parent.name != '.ci' or 'bash tools/test.sh' in lines


def test_set_up_installs_the_pinned_set_once(sandbox):
    done = sandbox.run()
    assert done.returncode == 0, done.stderr
    assert 'setting up .venv (action)' in done.stdout
    (call,) = sandbox.pip_calls()
    assert call.endswith('-e .[action,mmcv-lite]')
    pinned = '-c requirements/constraints.txt' in call
    assert pinned is (sys.version_info >= (3, 11))
    again = sandbox.run()
    assert (again.returncode, again.stdout, sandbox.pip_calls()) == (0, '', [])


def test_environment_for_tests_serves_the_demo_and_not_vice_versa(sandbox):
    for extra, calls in (('action', 1), ('tests', 1), ('action', 0)):
        assert sandbox.run(extra).returncode == 0
        assert len(sandbox.pip_calls()) == calls


@pytest.mark.parametrize('change', ['setup.py', 'requirements/constraints.txt', 'move'])
def test_a_changed_checkout_is_set_up_again(sandbox, change):
    """An editable installation knows the folder by its full name."""
    sandbox.run()
    sandbox.pip_calls()
    if change == 'move':
        sandbox.checkout = sandbox.checkout.rename(sandbox.base / 'elsewhere')
    else:
        with (sandbox.checkout / change).open('a') as file:
            file.write('# changed\n')
    assert sandbox.run().returncode == 0
    assert len(sandbox.pip_calls()) == 1


def test_an_interrupted_environment_is_completed(sandbox):
    """One that has Python but not pip, as a stopped ``python -m venv`` leaves it."""
    (sandbox.venv / 'bin').mkdir(parents=True)
    shutil.copy2(sandbox.python, sandbox.venv / 'bin' / 'python')
    (sandbox.base / 'no_pip').touch()
    assert sandbox.run().returncode == 0
    assert not (sandbox.base / 'no_pip').exists()
    assert len(sandbox.pip_calls()) == 1


def test_a_failed_installation_is_not_taken_for_done(sandbox):
    sandbox.python.write_text(sandbox.python.read_text().replace(
        '*"-e ."*)', '*"-e ."*) exit 1;;\n *never*)'))
    for _ in range(2):
        assert sandbox.run().returncode != 0
        assert not (sandbox.venv / '.cosam_mm_action').exists()
        assert len(sandbox.pip_calls()) == 1


# -- mmcv and OpenCV -----------------------------------------------------------


@pytest.mark.parametrize(('distributions', 'extras'), [
    ([], 'action'), (['mmcv'], 'action'), (['mmcv', 'mmcv_lite'], 'action'),
    (['mmcv_lite'], 'action,mmcv-lite')])
def test_full_mmcv_is_left_alone(sandbox, distributions, extras):
    """mmcv-lite of an earlier run is kept up to date."""
    (sandbox.site / 'mmcv.py').touch()
    for name in distributions:
        folder = sandbox.site / f'{name}-1.0.dist-info'
        folder.mkdir()
        (folder / 'METADATA').write_text(f'Name: {name}\nVersion: 1.0\n')
    sandbox.run()
    assert sandbox.pip_calls()[0].endswith(f'-e .[{extras}]')


@pytest.mark.parametrize('state', ['libGL.so.1 is missing', 'an empty folder is left'])
def test_headless_opencv_where_graphics_libraries_are_missing(sandbox, state):
    cv2 = sandbox.site / 'cv2.py'
    cv2.write_text('raise ImportError("libGL.so.1")')
    if state == 'an empty folder is left':  # which Python imports as a namespace
        cv2.unlink()
        cv2.with_suffix('').mkdir()
    done = sandbox.run()
    assert done.returncode == 0, done.stderr
    assert 'headless' in done.stdout
    _, uninstall, install = sandbox.pip_calls()
    assert uninstall == ('uninstall --quiet --yes opencv-python '
                         'opencv-contrib-python')
    assert install == ('install --quiet --force-reinstall --no-deps '
                       'opencv-contrib-python-headless==5.0.0')


# -- messages ------------------------------------------------------------------


OLD_PYTHON = ('#!/bin/sh\ncase "$*" in *--version) echo Python 3.8.1 ;; '
              '*) exit 1 ;; esac\n')


@pytest.mark.parametrize(('mistake', 'words'), [
    ('unknown extra', ["'everything'", 'action or tests']),
    ('no Python', ['python0', 'PYTHON']), ('old Python', ['3.8.1', 'PYTHON']),
    ('no venv', ['virtual environment', 'apt-get install python3-venv'])])
def test_mistakes_are_said_and_leave_nothing(sandbox, mistake, words):
    if mistake == 'old Python':
        sandbox.python.write_text(OLD_PYTHON)
    elif mistake == 'no venv':
        (sandbox.base / 'venv_fails').touch()
    done = sandbox.run(*(['everything'] if mistake == 'unknown extra' else []),
                       **({'PYTHON': 'python0'} if mistake == 'no Python' else {}))
    assert done.returncode == 2
    assert all(word in done.stderr for word in words)
    assert not sandbox.venv.exists()


@pytest.mark.parametrize(('is_old', 'words'), [
    (True, ('.venv', '3.8.1', 'remove')), (False, ('virtual environment',))])
def test_a_folder_that_was_there_is_not_removed(sandbox, is_old, words):
    """One whose Python is too old, or that no environment can be made in."""
    python = sandbox.venv / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    if is_old:
        python.write_text(OLD_PYTHON)
        python.chmod(0o755)
    (sandbox.base / 'venv_fails').touch()
    done = sandbox.run()
    assert done.returncode == 2
    assert all(word in done.stderr for word in words)
    assert python.parent.exists()
