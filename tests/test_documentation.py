"""README and docs: their code runs, and their imports, options and links exist."""
import ast
import importlib
import re

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.action_data import write_video
from tests.conftest import REPO
from tests.gallery_data import reid_config, write_checkpoint, write_tracklet

PAGES = [REPO / 'README.md', REPO / 'CONTRIBUTING.md',
         *sorted(REPO.glob('docs/**/*.md')),
         *sorted(REPO.glob('configs/**/README.md')),
         *sorted(REPO.glob('projects/*/README.md')), REPO / 'benchmarks' / 'README.md']


def page_id(path):
    return path.relative_to(REPO).as_posix()


def blocks(page, language):
    text = page.read_text(encoding='utf-8')
    return re.findall(rf'^ *```{language}\n(.*?)^ *```', text, re.M | re.S)


def commands(page):
    """Command lines of a page's shell blocks, continuation lines joined."""
    text = ''.join(blocks(page, 'bash')).replace('\\\n', ' ')
    return [line.strip() for line in text.splitlines() if line.strip()]


def run_blocks(found, name):
    names = {}
    for number, block in enumerate(found):
        exec(compile(block, f'{name}, block {number}', 'exec'), names)
    return names


# -- every page ------------------------------------------------------------------


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    links = re.findall(r'\]\((?!https?:|#)([^)#]+)', page.read_text(encoding='utf-8'))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_documented_imports_exist(page):
    """Also in blocks that are fragments and do not compile as a whole."""
    statements = re.findall(r'^ *from (cosam_mm[\w.]*) import \(?([\w,\s]+?)(?:\)|$)',
                            '\n'.join(blocks(page, 'python')), re.M)
    for module, names in statements:
        found = importlib.import_module(module)
        assert [n for n in re.findall(r'\w+', names) if not hasattr(found, n)] == []


def test_documented_options_exist(nest, tmp_path):
    """Each option of each ``python tools/...`` command is in that tool's help."""
    used, subcommands = {}, {}
    for page in PAGES:
        for command in commands(page):
            for tool, rest in re.findall(r'python (tools/\S+\.py)([^;&|>]*)', command):
                used.setdefault(tool, set()).update(re.findall(r' (--[a-z-]+)', rest))
                subcommands.setdefault(tool, set()).update(rest.split()[:1])
    assert len(used) > 10
    missing = {}
    for tool, options in used.items():
        help_text = nest.run(tool, '--help', cwd=tmp_path).stdout
        if 'COMMAND' in help_text:
            help_text += ''.join(nest.run(tool, name, '--help', cwd=tmp_path).stdout
                                 for name in subcommands[tool])
        if lost := {o for o in options if o not in help_text}:
            missing[tool] = lost
    assert missing == {}


def test_readme_is_short_and_begins_with_an_image():
    text = (REPO / 'README.md').read_text(encoding='utf-8')
    assert len(text.split()) <= 1500
    assert '![' in ''.join(text.splitlines(keepends=True)[:4])


# -- pages whose code runs from top to bottom --------------------------------------


def test_any_length_and_size():
    names = run_blocks(blocks(REPO / 'docs' / 'any_length_and_size.md', 'python'),
                       'any_length_and_size.md')
    assert names['y'].shape == (1, 64, 100 % 16, 16, 8)
    assert names['larger'].summary[0].weight.shape == (64, 7 * 24 * 12, 1, 1)


@pytest.fixture
def inference_files(tmp_path, monkeypatch):
    """The files that the page on inference names."""
    config = Config.fromfile(REPO / 'configs' / 'resnext14_cosam_bert_demo.py')
    with DefaultScope.overwrite_default_scope('mmaction'):
        state_dict = MODELS.build(config.model).state_dict()
    names = [f'motion {k}' for k in range(8)]
    torch.save(dict(state_dict=state_dict, meta=dict(
        cfg=config.pretty_text, dataset_meta=dict(classes=names))),
        tmp_path / 'action.pth')
    (tmp_path / 'config.py').write_text(config.pretty_text)
    (tmp_path / 'labels.txt').write_text('\n'.join(names) + '\n')
    write_checkpoint(tmp_path / 'reid.pth', reid_config())
    for number, name in enumerate(('7/c1', '7/c2', '9/c1')):
        write_tracklet(tmp_path / 'tracklets' / name, 3 + number, number // 2)
    write_video(tmp_path / 'walk.avi')
    (tmp_path / 'walk.avi').rename(tmp_path / 'walk.mp4')
    (tmp_path / 'frames').mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / 'frames' / f'{number}.jpg'),
                    np.full((80, 96, 3), 60 * number, np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings('ignore:Failed to add:UserWarning')
def test_inference(inference_files, capsys):
    with DefaultScope.overwrite_default_scope('mmengine'):
        names = run_blocks(blocks(REPO / 'docs' / 'inference.md', 'python'),
                           'inference.md')
    printed = capsys.readouterr().out
    assert re.search(r'^ *\d+\.\d\d%  motion \d$', printed, re.M)
    assert 'torch.Size([2, 4, 7, 7])' in printed
    distance = names['encoder'].distance(names['feature'], names['features'])
    assert distance.argmin() == 0  # the same texture
    assert any((inference_files / 'out' / 'walk.mp4' / 'frames_0').iterdir())


def test_plain_pytorch_learns():
    found = blocks(REPO / 'docs' / 'plug_into_any_backbone.md', 'python')
    (model_block,) = (b for b in found if 'class ClipClassifier' in b)
    (hook_block,) = (b for b in found if 'register_forward_hook' in b)
    names = run_blocks([model_block], 'plug_into_any_backbone.md')
    assert names['loss'].item() < 0.5
    host = torch.nn.Module()
    host.layer3 = torch.nn.Conv2d(3, 256, 1)
    exec(hook_block, dict(names, model=host))
    frames = torch.rand(8, 3, 14, 14)
    assert host.layer3(frames).shape == (8, 256, 14, 14)
    assert not torch.equal(host.layer3(frames), host.layer3.forward(frames))


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_python_blocks_are_python(page):
    for block in blocks(page, 'python'):
        ast.parse(block.replace('dict(...)', 'dict()').replace('[..., ', '['))
