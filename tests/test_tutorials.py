"""Each tutorial, run from top to bottom as printed, on generated files."""
import os
import re
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import REPO
from tests.tool_process import ENVIRONMENT

PAGES = REPO / 'docs' / 'tutorials'
_BLOCK = re.compile(r'<!-- setup:[^\n]*\n(?P<setup>.*?)^-->|'
                    r'^```(?P<language>bash|python)\n(?P<code>.*?)^```', re.M | re.S)


@pytest.fixture
def checkout(tmp_path):
    """A folder in which the commands of the documents work and leave their files."""
    for name in ('tools', 'configs', 'projects'):
        (tmp_path / name).symlink_to(REPO / name)
    (tmp_path / 'bin').mkdir()
    python = tmp_path / 'bin' / 'python'
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def run(page, folder, shorter):
    """Run a page's blocks; ``shorter`` replaces what would take long."""
    environment = dict(ENVIRONMENT, PATH=f'{folder / "bin"}:{os.environ["PATH"]}',
                       PYTHONPATH=str(REPO))
    for block in _BLOCK.finditer((PAGES / page).read_text(encoding='utf-8')):
        code = block['setup'] or block['code']
        for words, fewer in shorter.items():
            code = code.replace(words, fewer)
        if block['language'] == 'python':
            name = re.match(r'# file: (\S+)\n', code)[1]
            (folder / name).write_text(code)
            continue
        done = subprocess.run(['bash', '-euc', code], cwd=folder, env=environment,
                              capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, code + done.stdout[-3000:] + done.stderr[-3000:]


def assert_picture(path):
    """The file is an image that shows something."""
    with Image.open(path) as image:
        assert min(image.size) > 50
        assert len(image.convert('RGB').getcolors(1 << 24)) > 20


def test_plain_pytorch(checkout):
    run('plain_pytorch.md', checkout, {'range(300)': 'range(3)'})
    assert_picture(checkout / 'my_masks.png')


def test_mmaction2_config(checkout):
    run('mmaction2_config.md', checkout, {
        '--work-dir': '--epochs 1 --work-dir', 'epoch_30': 'epoch_1'})
    (picture, *_) = (checkout / 'masks').rglob('*_masks.png')
    assert_picture(picture)
    assert list((checkout / 'compared').iterdir())
