"""``tools/model_converters/convert_reference.py``: what it prints, writes, refuses."""
import runpy
from types import SimpleNamespace

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint

from cosam_mm.utils.io import read_checkpoint
from tests.reference import reference_names as names
from tests.reference.reference_forward import random_state
from tests.tool_process import assert_refused

TOOL = 'tools/model_converters/convert_reference.py'


@pytest.fixture
def run(repo, capsys, monkeypatch):
    """Runs the tool in this process, which spares the imports."""
    def run_main(*args):
        monkeypatch.setattr('sys.argv', [TOOL, *map(str, args)])
        status = 0
        try:
            runpy.run_path(str(repo / TOOL), run_name='__main__')
        except SystemExit as exit_:
            status = exit_.code
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    return run_main


def lines_of(printed):
    """[name, text] of each line but the one that names the file."""
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    return [line for line in lines if line[0] != 'written']


def zeros(listing):
    return {name: torch.zeros(()).expand(shape) for name, shape in listing.items()}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A small-headed I3D as the late-temporal code saves it on two GPUs."""
    path = tmp_path_factory.mktemp('reference') / 'model_best.pth.tar'
    state = random_state(
        names.late_temporal('i3d', 'bert', 'FRMB', num_classes=51))
    torch.save({'epoch': 4, 'arch': 'rgb_I3D64f_bert2_FRMB',
                'state_dict': {f'module.{k}': v for k, v in state.items()},
                'best_prec1': 50.0, 'best_loss': 30, 'optimizer': {}}, path)
    return path


def write_reid(path, *settings, **more):
    """A checkpoint as the re-ID reference's training saves it."""
    torch.save({'state_dict': zeros(names.cosegmentation(*settings, **more)),
                'rank1': 'NA', 'epoch': 799}, path)
    return path


class TestActionModels:

    def test_conversion(self, nest, source, tmp_path):
        target = tmp_path / 'new' / 'i3d.pth'
        result = nest.ok(TOOL, source, target, cwd=tmp_path)
        assert lines_of(result.stdout) == [
            ['source', 'artest08/LateTemporalModeling3DCNN'],
            ['backbone', 'I3D'],
            ['modality', 'rgb (3 channels)'],
            ['reduction', 'FRMB'],
            ['head', 'BERTHead'],
            ['classes', '51'],
            ['config', 'configs/i3d_bert_hmdb51.py'],
        ]
        checkpoint = read_checkpoint(target)
        assert set(checkpoint) == {'state_dict', 'meta'}
        meta = checkpoint['meta']
        assert meta['converted_from'] == dict(
            repository='artest08/LateTemporalModeling3DCNN',
            arch='rgb_I3D64f_bert2_FRMB', epoch=4)
        with DefaultScope.overwrite_default_scope('mmaction'):
            recognizer = MODELS.build(dict(type='Recognizer3D', **meta['model']))
        load_checkpoint(recognizer, str(target), strict=True)
        state = read_checkpoint(source)['state_dict']
        assert torch.equal(recognizer.cls_head.fc_cls.weight,
                           state['module.fc_action.weight'])

    def test_backbone_only_is_a_pretrained_backbone(self, run, source, tmp_path):
        target = tmp_path / 'backbone.pth'
        result = run(source, target, '--backbone-only')
        assert result.returncode == 0, result.stderr
        assert 'left out     20 tensors of the head' in result.stdout
        state = read_checkpoint(target)['state_dict']
        assert all(name.startswith('backbone.') for name in state)
        backbone = MODELS.build(dict(
            type='I3D', feature_reduction='FRMB', init_cfg=dict(
                type='Pretrained', checkpoint=str(target), prefix='backbone.')))
        backbone.init_weights()
        for name, value in backbone.state_dict().items():
            assert torch.equal(value, state[f'backbone.{name}'])

class TestReIDModels:

    def test_conversion(self, run, repo, tmp_path):
        source = write_reid(tmp_path / 'ep800.pth.tar', 'se_resnet50', 'tp')
        target = tmp_path / 'converted.pth'
        result = run(source, target)
        assert (result.returncode, result.stderr) == (0, '')
        lines = lines_of(result.stdout)
        assert lines == [
            ['source', 'InnovArul/vidreid_cosegmentation'],
            ['backbone', 'FrameSEResNet-50'],
            ['attention', 'COSAM after layer3, COSAM after layer4'],
            ['aggregation', 'TemporalPoolAggregation'],
            ['stride', '1 in layer4'],
            ['identities', '625'],
            ['config', 'configs/reid/se_resnet50_cosam45_tp_mars.py'],
        ]
        meta = read_checkpoint(target)['meta']
        assert meta['converted_from'] == dict(
            repository='InnovArul/vidreid_cosegmentation', epoch=799)
        config = Config.fromfile(repo / lines[6][1]).model
        for settings in (config, dict(type='VideoReID', **meta['model'])):
            with torch.device('meta'):
                model = ROOT_MODELS.build(settings)
            load_checkpoint(model.to_empty(device='cpu'), str(target), strict=True)

class TestRefusals:

    def test_existing_file_is_kept_unless_told(self, run, source, tmp_path):
        target = tmp_path / 'a.pth'
        target.write_bytes(b'precious')
        assert_refused(run(source, target), '--overwrite')
        assert target.read_bytes() == b'precious'
        assert run(source, target, '--overwrite').returncode == 0
        assert 'state_dict' in read_checkpoint(target)

    def test_source_is_never_replaced(self, run, tmp_path):
        path = tmp_path / 'a.pth'
        path.write_bytes(b'precious')
        assert_refused(run(path, path, '--overwrite'), 'same file')
        assert path.read_bytes() == b'precious'

    @pytest.mark.parametrize(('content', 'word'), [
        (None, 'a.pth'), (b'rubbish', 'no checkpoint'),
        ({'weight': torch.zeros(1)}, 'weight')])
    def test_other_files(self, run, tmp_path, content, word):
        path = tmp_path / 'a.pth'
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content:
            torch.save(content, path)
        assert_refused(run(path, tmp_path / 'b.pth'), word)
        assert not (tmp_path / 'b.pth').exists()
