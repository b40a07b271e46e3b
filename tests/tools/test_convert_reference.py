"""The command: what it prints, writes and refuses."""
import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint

from tests.reference import reference_names as names
from tests.reference.reference_forward import random_state

TOOL = 'tools/model_converters/convert_reference.py'


def run_process(repo, *args):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, args)],
        cwd=repo, capture_output=True, text=True, check=False,
        env={**os.environ, 'PYTHONPATH': str(repo), 'OMP_NUM_THREADS': '1'})


@pytest.fixture
def run(repo, capsys):
    """The tool's ``main`` in this process, which spares the imports."""
    spec = importlib.util.spec_from_file_location('convert_reference', repo / TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run_main(*args):
        status = module.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    return run_main


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A small-headed I3D as the late-temporal code saves it on two GPUs."""
    path = tmp_path_factory.mktemp('reference') / 'model_best.pth.tar'
    state = random_state(names.late_temporal('i3d', 'bert', 'FRMB', num_classes=51))
    torch.save({'epoch': 4, 'arch': 'rgb_I3D64f_bert2_FRMB',
                'state_dict': {f'module.{k}': v for k, v in state.items()},
                'best_prec1': 50.0, 'best_loss': 30, 'optimizer': {}}, path)
    return path


def test_conversion(repo, source, tmp_path):
    target = tmp_path / 'new' / 'i3d.pth'
    result = run_process(repo, source, target)
    assert result.returncode == 0, result.stderr
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert [line for line in lines if line[0] != 'written'] == [
        ['source', 'artest08/LateTemporalModeling3DCNN'],
        ['backbone', 'I3D'],
        ['modality', 'rgb (3 channels)'],
        ['reduction', 'FRMB'],
        ['head', 'BERTHead'],
        ['classes', '51'],
        ['config', 'configs/i3d_bert_hmdb51.py'],
    ]
    checkpoint = torch.load(target, weights_only=True)
    assert set(checkpoint) == {'state_dict', 'meta'}
    meta = checkpoint['meta']
    assert meta['converted_from'] == dict(
        repository='artest08/LateTemporalModeling3DCNN',
        arch='rgb_I3D64f_bert2_FRMB', epoch=4)
    with DefaultScope.overwrite_default_scope('mmaction'):
        recognizer = MODELS.build(dict(type='Recognizer3D', **meta['model']))
    load_checkpoint(recognizer, str(target), strict=True)
    state = torch.load(source, weights_only=True)['state_dict']
    assert torch.equal(recognizer.cls_head.fc_cls.weight,
                       state['module.fc_action.weight'])


def test_backbone_only_serves_as_pretrained_backbone(run, source, tmp_path):
    target = tmp_path / 'backbone.pth'
    result = run(source, target, '--backbone-only')
    assert result.returncode == 0, result.stderr
    assert 'left out     20 tensors of the head' in result.stdout
    state = torch.load(target, weights_only=True)['state_dict']
    assert all(name.startswith('backbone.') for name in state)
    backbone = MODELS.build(dict(
        type='I3D', feature_reduction='FRMB',
        init_cfg=dict(type='Pretrained', checkpoint=str(target), prefix='backbone.')))
    backbone.init_weights()
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[f'backbone.{name}'])


def test_a_dry_run_writes_nothing(run, source, tmp_path):
    target = tmp_path / 'a.pth'
    result = run(source, target, '--dry-run')
    assert result.returncode == 0, result.stderr
    assert 'nothing was written' in result.stdout
    assert not target.exists()


def test_other_models_get_their_settings_printed(run, tmp_path):
    path = tmp_path / 'resnext.pth'
    listing = names.kenshohara(50, num_classes=400)
    torch.save({name: torch.zeros(()).expand(shape)
                for name, shape in listing.items()}, path)
    result = run(path, tmp_path / 'new.pth', '--dry-run')
    assert result.returncode == 0, result.stderr
    assert 'backbone     ResNeXt3D-50' in result.stdout
    assert ("config       none of its own; model.backbone={'type': 'ResNeXt3D', "
            "'depth': 50, 'in_channels': 3, 'feature_reduction': None}, "
            "model.cls_head={'type': 'MeanHead'") in result.stdout
    assert "init_cfg=dict(type='Pretrained'" in result.stdout


def test_an_existing_file_is_kept_unless_told(run, source, tmp_path):
    target = tmp_path / 'a.pth'
    target.write_bytes(b'precious')
    result = run(source, target)
    assert result.returncode == 2
    assert result.stderr.startswith('error: ')
    assert 'exists; --overwrite' in result.stderr
    assert target.read_bytes() == b'precious'
    assert run(source, target, '--overwrite').returncode == 0
    assert 'state_dict' in torch.load(target, weights_only=True)


def test_the_source_is_never_replaced(run, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'precious')
    result = run(path, path, '--overwrite')
    assert result.returncode == 2
    assert 'error: SRC and DST are the same file' in result.stderr
    assert path.read_bytes() == b'precious'


@pytest.mark.parametrize(('content', 'message'), [
    (None, 'error: There is no checkpoint file'),
    (b'rubbish', 'cannot be read as a PyTorch checkpoint'),
    ({'weight': torch.zeros(1)}, r'Unexpected keys (1): weight'),
])
def test_mistakes_are_named_without_a_traceback(run, tmp_path, content, message):
    path = tmp_path / 'a.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save(content, path)
    result = run(path, tmp_path / 'b.pth')
    assert result.returncode == 2
    assert result.stderr.startswith('error: ')
    assert message in result.stderr
    assert 'Traceback' not in result.stderr
    assert not (tmp_path / 'b.pth').exists()


def test_a_mistake_ends_the_process_with_status_2(repo, tmp_path):
    result = run_process(repo, tmp_path / 'a.pth', tmp_path / 'b.pth')
    assert result.returncode == 2
    assert result.stderr.startswith('error: There is no checkpoint file')
