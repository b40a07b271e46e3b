"""Each tutorial, run from top to bottom as printed, on generated files."""
import os
import re
import shlex
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from tests.conftest import REPO
from tests.tool_process import ENVIRONMENT

PAGES = REPO / 'docs' / 'tutorials'
_BLOCK = re.compile(r'<!-- setup:[^\n]*\n(?P<setup>.*?)^-->|'
                    r'^```(?P<language>bash|python)\n(?P<code>.*?)^```', re.M | re.S)


@pytest.fixture
def checkout(tmp_path):
    """A folder in which the commands of the documents work and leave their files."""
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(REPO / name)
    (tmp_path / 'bin').mkdir()
    python = tmp_path / 'bin' / 'python'
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return tmp_path


@pytest.fixture
def environment(checkout):
    """Variables with which ``python`` is this one."""
    return dict(ENVIRONMENT, PATH=f'{checkout / "bin"}:{os.environ["PATH"]}',
                PYTHONPATH=str(REPO))


@pytest.fixture
def run(nest, checkout, environment):
    """Runs a page from top to bottom."""

    def shell(code):
        done = subprocess.run(['bash', '-euc', code], cwd=checkout, env=environment,
                              capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, code + done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def run_page(page, shorter):
        text = (PAGES / page).read_text(encoding='utf-8')
        for words, fewer in shorter.items():
            text = text.replace(words, fewer)
        for block in _BLOCK.finditer(text):
            if block['setup']:
                shell(block['setup'])
            elif block['language'] == 'python':
                name, code = re.match(r'# file: (\S+)\n(.*)', block['code'],
                                      re.S).groups()
                (checkout / name).write_text(code)
            else:
                for command in block['code'].replace('\\\n', '').splitlines():
                    # The shell expands what the tool's own process then gets.
                    program, tool, *arguments = shell(
                        f"printf '%s\\n' {command}").splitlines()
                    assert program == 'python'
                    nest.ok(checkout / tool, *arguments, cwd=checkout)
        return checkout

    return run_page


def assert_picture(path):
    """The file is an image that shows something."""
    with Image.open(path) as image:
        assert min(image.size) > 50
        assert len(image.convert('RGB').getcolors(1 << 24)) > 20


def test_plain_pytorch(run):
    folder = run('plain_pytorch.md', {'range(300)': 'range(3)'})
    assert_picture(folder / 'my_masks.png')


def test_mmaction2_config(run):
    folder = run('mmaction2_config.md', {
        '--work-dir': '--epochs 1 --work-dir', 'epoch_30': 'epoch_1'})
    assert_picture(next((folder / 'masks').rglob('*_masks.png')))
    assert list((folder / 'compared').iterdir())


def test_actions_from_my_folder_and_what_follows(run):
    config = 'train.py data/mine/config.py'
    shorter = {config: f'{config} --epochs 1 --cfg-options '
               'train_dataloader.dataset.times=1', 'epoch_30': 'epoch_1'}
    folder = run('actions_from_my_folder.md', shorter)
    assert (folder / 'data' / 'mine' / 'work_dir' / 'report.html').stat().st_size > 1e5
    run('reading_the_results.md', shorter)
    assert_picture(next((folder / 'masks').rglob('*_masks.png')))
    run('onnx_in_numpy.md', shorter)
    assert_picture(folder / 'scores.png')


def test_persons_from_my_cameras(run):
    config = 'train.py data/persons/config.py'
    folder = run('persons_from_my_cameras.md', {config: f'{config} --epochs 2'})
    assert_picture(folder / 'found.png')


def test_notebook(checkout, environment, monkeypatch):
    """Every cell runs, in a kernel as its reader has one."""
    monkeypatch.setenv('EPOCHS', '1')
    for name in ('PATH', 'PYTHONPATH', 'OMP_NUM_THREADS'):
        monkeypatch.setenv(name, environment[name])
    notebook = nbformat.read(REPO / 'docs' / 'tutorial.ipynb', as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=240, kernel_name='python3',
                   resources=dict(metadata=dict(path=str(checkout)))).execute()
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', ())]
    assert any('image/png' in output.get('data', ()) for output in outputs)
    assert 'error: ' not in ''.join(output.get('text', '') for output in outputs)
