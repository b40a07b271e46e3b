"""The code on docs/any_length_and_size.md, run from top to bottom."""
import re


def test_code_runs(repo):
    page = (repo / 'docs' / 'any_length_and_size.md').read_text(encoding='utf-8')
    blocks = re.findall(r'^```python\n(.*?)^```', page, re.M | re.S)
    assert len(blocks) == 7
    names = {}
    for block in blocks:
        exec(compile(block, 'any_length_and_size.md', 'exec'), names)
    assert names['y'].shape == (1, 64, 100 % 16, 16, 8)
    assert names['larger'].summary[0].weight.shape == (64, 7 * 24 * 12, 1, 1)


def test_pictures_are_there_and_small(repo):
    page = (repo / 'docs' / 'any_length_and_size.md').read_text(encoding='utf-8')
    pictures = re.findall(r'!\[.*?\]\((.*?)\)', page)
    assert pictures == ['images/mask_sizes.png']
    assert (repo / 'docs' / pictures[0]).stat().st_size < 150_000
