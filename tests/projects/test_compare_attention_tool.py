"""``tools/analysis_tools/compare_attention.py`` as a process."""
import json
import re

TOOL = 'tools/analysis_tools/compare_attention.py'


def test_the_papers_row(nest, tmp_path):
    """1.6 M and 0.57 G stand in the paper, 4.2 M and 4.3 G for the Gaussian block."""
    done = nest.run(TOOL, '--seconds', 0, '--memory-limit', 0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    title, cosam, naive, gaussian, *_ = done.stdout.splitlines()
    assert title.split()[:4] == ['block', 'sub-sampling', 'params', 'M']
    assert re.match(r'cosam +none +1\.60 +0\.57 +0\.5\d +1\.6/0\.57 +\d', cosam)
    assert re.match(r'naive_cosam +none +1\.60 +0\.57 +0\.67 +1\.6/0\.57 +-', naive)
    assert re.match(r'gaussian +none +4\.20 +4\.29 +5\.91 +4\.2/4\.3 +-', gaussian)
    assert re.search(r'^concatenation +2x2x2 +8\.40 +8\.72 +8\.79 +8\.4/8\.72',
                     done.stdout, re.M)
    assert 'a multiply-add counts two; layers: of convolution' in done.stdout
    assert 'concatenation none: not run: it would take over 8.0 GiB' in done.stdout
    assert 'USDT' not in done.stderr


def test_other_shapes_as_markdown_and_json(nest, tmp_path):
    done = nest.run(TOOL, '--shape', '3x16x4x4', '--batch', 2, '--blocks',
                    'naive_cosam', 'dot_product', '--sub-sampling', 'none',
                    '--seconds', 0, '--multiply-adds', '--markdown', '--json',
                    'out.json', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith('| -')
    assert [line.split('|')[1].strip() for line in lines[2:5]] == [
        'cosam', 'naive_cosam', 'dot_product']
    assert len({len(line) for line in lines[:5]}) == 1
    assert 'a multiply-add counts one' in done.stdout
    assert 'paper  ' not in done.stdout
    written = json.loads((tmp_path / 'out.json').read_text())
    assert (written['shape'], written['batch']) == ('3x16x4x4', 2)
    assert [row['paper'] for row in written['rows']] == [None] * 3
    assert written['rows'][1]['training_ratio']['count'] >= 7
    assert written['environment']['threads'] >= 1


def test_wrong_arguments(nest, tmp_path):
    done = nest.run(TOOL, '--shape', '4x2048', cwd=tmp_path)
    assert done.returncode == 2
    assert ("error: '4x2048' is no shape: write frames x channels x height x width, as "
            'in 4x2048x16x8.') in done.stderr
    done = nest.run(TOOL, '--shape', '1x16x4x4', '--seconds', 0, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r'^error: .*num_frames', done.stderr, re.M)
    assert 'Traceback' not in done.stderr
