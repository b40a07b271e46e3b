"""Counts of the attention blocks against formulas and the papers' numbers."""
import json
import re

import pytest
import torch
from torch import nn

from cosam_mm.layers import COSAM
from projects.attention_study.compare_attention import (
    BLOCKS,
    PAPER,
    PAPER_SHAPE,
    Shape,
    compare_attention,
    main,
)
from projects.attention_study.measurement import MultiplyAdds, count_multiply_adds

SMALL = Shape(4, 32, 4, 2)


@pytest.fixture(scope='module')
def papers_row():
    """Everything counted at the papers' shape, nothing but COSAM run."""
    pytest.importorskip('mmcv')
    return {(row.block, row.sub_sampling): row for row in compare_attention(
        seconds=0, memory_limit=0)}


def test_counts_by_kind():
    a, b = torch.rand(2, 3, 4), torch.rand(2, 4, 5)
    convolution, linear = nn.Conv2d(3, 5, 3), nn.Linear(5, 6)
    image = torch.rand(2, 3, 6, 7)
    for call, layers, products in (
            (lambda: a @ b, 0, 2 * 3 * 4 * 5), (lambda: linear(a @ b), 180, 120),
            (lambda: convolution(image), 2 * 4 * 5 * 5 * 27, 0), (lambda: a + 1, 0, 0),
            (lambda: nn.functional.scaled_dot_product_attention(a, a, a),
             0, 2 * 2 * 3 * 3 * 4)):
        assert count_multiply_adds(call) == MultiplyAdds(layers, products)


def test_the_papers_table_is_reproduced(papers_row):
    """1.6 M/0.57 G against 4.2-8.4 M/4.3-8.7 G."""
    assert set(PAPER) == set(BLOCKS)
    for (block, sub_sampling), row in papers_row.items():
        parameters, flops = row.paper
        assert row.paper == PAPER[block]
        digits = {1.6: 1, 4.2: 1, 8.4: 1}.get(parameters, 2)
        assert round(row.parameters / 1e6, digits) == parameters
        flops_here = 2 * row.layer_multiply_adds / 1e9
        if block != 'concatenation' or sub_sampling == '2x2x2':
            assert flops_here == pytest.approx(flops, abs=0.01)
    assert papers_row['cosam', 'none'].parameters == 1_600_769
    assert 2 * papers_row['cosam', 'none'].layer_multiply_adds == 570_490_880


def test_what_cosam_really_multiplies(papers_row):
    t, c, d, k, p = 4, 2048, 256, 64, 128
    layers = t * p * c * d + t * p * k + t * 2 * c * d  # reduction, summary, channel
    naive = papers_row['naive_cosam', 'none']
    summary = t * p * (t - 1) * p * k
    volume = t * p * (t - 1) * p * d
    assert naive.layer_multiply_adds == layers + summary
    assert naive.multiply_adds == layers + summary + volume
    # 2(T-1) template products and T summaries; the pool may be a product, too.
    linear = layers + 2 * (t - 1) * d * p * k + t * k * d * p
    cosam = papers_row['cosam', 'none'].multiply_adds
    assert linear <= cosam <= linear + t * c * p
    assert cosam < naive.multiply_adds


def test_too_large_blocks_are_named_and_not_run(papers_row):
    row = papers_row['concatenation', 'none']
    assert row.note == 'not run: it would take over 8.0 GiB'
    assert row.forward_seconds is row.training_bytes is None
    assert papers_row['cosam', 'none'].note == ''


@pytest.mark.parametrize(('settings', 'word'), [
    ({'blocks': ('cosam', 'x')}, "'x'"), ({'sub_samplings': ('y',)}, "'y'"),
    ({'batch': 0}, 'batch'),
    ({'shape': Shape(4, 8, 1, 2), 'blocks': ('gaussian',)}, '1x2x2')])
def test_wrong_settings(settings, word):
    pytest.importorskip('mmcv')
    with pytest.raises(ValueError, match=word):
        compare_attention(**{'shape': SMALL, 'seconds': 0, **settings})


def test_shapes_as_text():
    assert Shape.parse('4x2048X16x8') == PAPER_SHAPE
    assert str(PAPER_SHAPE) == '4x2048x16x8'
    for text in ('4x2048x16', '4x0x16x8', '4x-1x16x8', '', '4,2048,16,8'):
        with pytest.raises(ValueError, match=f"'{text}'"):
            Shape.parse(text)
    assert type(SMALL.cosam()) is COSAM
    assert SMALL.features(3).shape == (3, 32, 4, 4, 2)


# -- command -----------------------------------------------------------------------


def test_table_of_the_papers_row(papers_row, monkeypatch, capsys):
    """1.6 M and 0.57 G stand in the paper, 4.2 M and 4.3 G for the Gaussian block."""
    monkeypatch.setattr('projects.attention_study.compare_attention.compare_attention',
                        lambda *_, **__: list(papers_row.values()))
    main([])
    text = capsys.readouterr().out
    title, _, cosam, naive, gaussian, *_ = text.splitlines()
    assert title.split()[:4] == ['block', 'sub-sampling', 'params', 'M']
    assert re.match(r'cosam +none +1\.60 +0\.57 +0\.5\d +1\.6/0\.57 +\d', cosam)
    assert re.match(r'naive_cosam +none +1\.60 +0\.57 +0\.67 +1\.6/0\.57 +-', naive)
    assert re.match(r'gaussian +none +4\.20 +4\.29 +5\.91 +4\.2/4\.3 +-', gaussian)
    assert 'concatenation none: not run' in text


def test_a_small_comparison_as_markdown_and_json(tmp_path, capsys):
    pytest.importorskip('mmcv')
    path = tmp_path / 'out.json'
    main(['--shape', '3x16x4x4', '--batch', '2', '--blocks', 'naive_cosam',
          'dot_product', 'concatenation', '--sub-sampling', '2x2x2', '--seconds', '0',
          '--multiply-adds', '--markdown', '--json', str(path)])
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[1].startswith('| :-')
    assert [line.split('|')[1].strip() for line in lines[2:6]] == [
        'cosam', 'naive_cosam', 'dot_product', 'concatenation']
    assert len({len(line) for line in lines[:6]}) == 1
    assert 'a multiply-add counts one' in text
    written = json.loads(path.read_text())
    assert (written['shape'], written['batch']) == ('3x16x4x4', 2)
    rows = written['rows']
    for row in rows:
        assert (row['note'], row['paper']) == ('', None)
        assert row['forward_ratio']['count'] == row['training_seconds']['count'] >= 7
        assert 0 < row['forward_bytes'] < row['training_bytes']
    assert [rows[0][f'{kind}_ratio']['median'] for kind in ('forward', 'training')] == [
        1, 1]
    assert rows[1]['parameters'] == rows[0]['parameters']


@pytest.mark.parametrize(('shape', 'word'), [
    ('4x2048', 'shape'), ('1x16x4x4', 'frames')])
def test_wrong_shape_is_one_line(shape, word, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--shape', shape, '--seconds', '0'])
    assert ended.value.code == 2
    error, = capsys.readouterr().err.splitlines()
    assert word in error
