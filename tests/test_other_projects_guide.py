"""The guide on other projects: its snippets run, and what it names is there."""
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
GUIDE = REPO / 'docs' / 'plug_into_any_backbone.md'
TITLE = '## mmpretrain, timm and other projects'


@pytest.fixture(scope='module')
def section():
    text = GUIDE.read_text(encoding='utf-8')
    (found,) = re.findall(rf'^{TITLE}\n(.*?)(?=^## )', text, re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture(scope='module')
def snippets(section):
    return re.findall(r'^```python\n(.*?)^```', section, re.MULTILINE | re.DOTALL)


def test_plain_pytorch_trains_and_hooks_a_module_in(snippets):
    """The whole model of the guide, then its hook in a model of layers."""
    train, hook = snippets[-2:]
    code = train + f'''
first = loss.item()
with torch.no_grad():
    assert (model(clips).argmax(1) == labels).all()
model = nn.Module()
model.layer3 = nn.Conv2d(3, 256, 1)
{hook}
frames = torch.rand(8, 3, 14, 14)
with torch.no_grad():
    assert model.layer3(frames).shape == (8, 256, 14, 14)
    assert not torch.equal(model.layer3(frames), model.layer3.forward(frames))
assert any(name.startswith('cosam.') for name in model.state_dict())
print(first)
'''
    done = subprocess.run([sys.executable, '-W', 'error::SyntaxWarning', '-c', code],
                          capture_output=True, text=True, timeout=300, cwd=REPO)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.5


def test_every_snippet_is_python(snippets):
    assert len(snippets) == 4
    for snippet in snippets:
        ast.parse(snippet.replace('dict(...)', 'dict()'))


def test_examples_in_the_table_are_those_that_ship(section):
    named = re.findall(r'`(\w+\.py)`', section)
    assert sorted(named) == sorted(
        path.name for path in (REPO / 'configs' / 'examples').glob('*.py'))
