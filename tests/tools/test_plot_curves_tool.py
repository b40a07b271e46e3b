"""``tools/visualizations/plot_curves.py`` as a process."""
import re

import pytest
from PIL import Image

from tests.tool_process import assert_refused
from tests.training_logs import epochs, write_log

TOOL = 'tools/visualizations/plot_curves.py'


def test_table_and_plot(nest, trained, tmp_path):
    done = nest.ok(TOOL, trained, '--out', 'new/c.png', cwd=tmp_path)
    head, row, last = done.stdout.splitlines()
    assert head.split() == ['training', 'trained', 'best', 'at', 'last', 'loss', 'in',
                            'iterations']
    assert row.startswith('split1    2 epochs  acc/top1 0.')
    assert last == 'plot: new/c.png'
    assert done.stderr == ''
    with Image.open(tmp_path / 'new' / 'c.png') as image:
        assert image.width == 1320


def test_several_with_names_and_keys(nest, tmp_path):
    for name in ('x/run', 'y/run'):
        write_log(tmp_path / name, '20260101_000000', [*epochs(1, 2), '{"step'], end='')
    done = nest.ok(TOOL, 'x/run', 'y/run', '--names', 'with $', 'plain', '--keys',
                   'acc/top1', 'loss', '--smooth', 0, '--out', 'c.svg', cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].startswith('left out: ')
    assert lines[0].endswith('scalars.json, line 9: it is cut off')
    assert re.split('  +', lines[3]) == [
        'with $', '2 epochs', 'acc/top1 0.0200', 'epoch 2', '1.0000', '0 min 10 s']
    svg = (tmp_path / 'c.svg').read_text()
    for text in ('with $: 2.0 % at 2', 'plain: 2.0 % at 2', 'acc/top1', 'loss'):
        assert text in svg
    done = nest.ok(TOOL, 'x/run', 'y/run', cwd=tmp_path)
    assert 'x/run/20260101_000000/vis_data  2 epochs' in done.stdout


@pytest.mark.parametrize(('arguments', 'word'), [
    (['no'], 'log file no'), (['run', '--names', 'a', 'b'], "['a', 'b']"),
    (['run', '--smooth', -1], 'span'), (['run', '--out', 'c.gif'], '.png, .svg, .pdf'),
])
def test_wrong_arguments(nest, tmp_path, arguments, word):
    write_log(tmp_path / 'run', '20260101_000000', epochs(1, 1))
    assert_refused(nest.run(TOOL, *arguments, cwd=tmp_path), word)
