"""The conversion command on re-identification checkpoints."""
import importlib.util

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint

from tests.reference import reid_reference_names as names

TOOL = 'tools/model_converters/convert_reference.py'


@pytest.fixture
def run(repo, capsys):
    """The tool's ``main`` in this process; gives (status, lines, errors)."""
    spec = importlib.util.spec_from_file_location('convert_reid', repo / TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run_main(*args):
        status = module.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return status, [line.split(maxsplit=1) for line in out.splitlines()], err

    return run_main


def write(path, *settings, **more):
    """A checkpoint as the reference's training saves it."""
    listing = names.cosegmentation(*settings, **more)
    torch.save({'state_dict': {name: torch.zeros(()).expand(shape)
                               for name, shape in listing.items()},
                'rank1': 'NA', 'epoch': 799}, path)
    return path


def test_conversion(run, repo, tmp_path):
    source = write(tmp_path / 'ep800.pth.tar', 'se_resnet50', 'tp')
    target = tmp_path / 'converted.pth'
    status, lines, err = run(source, target)
    assert (status, err) == (0, '')
    assert [line for line in lines if line[0] != 'written'] == [
        ['source', 'InnovArul/vidreid_cosegmentation'],
        ['backbone', 'FrameSEResNet-50'],
        ['attention', 'COSAM after layer3, COSAM after layer4'],
        ['aggregation', 'TemporalPoolAggregation'],
        ['stride', '1 in layer4'],
        ['identities', '625'],
        ['config', 'configs/reid/se_resnet50_cosam45_tp_mars.py'],
    ]
    meta = torch.load(target, weights_only=True)['meta']
    assert meta['converted_from'] == dict(
        repository='InnovArul/vidreid_cosegmentation', epoch=799)
    config = Config.fromfile(repo / lines[6][1]).model
    for settings in (config, dict(type='VideoReID', **meta['model'])):
        with torch.device('meta'):
            model = MODELS.build(settings)
        load_checkpoint(model.to_empty(device='cpu'), str(target), strict=True)


@pytest.mark.parametrize('kind', ['ta', 'rnn'])
def test_other_aggregations_are_named(run, tmp_path, kind):
    source = write(tmp_path / 'a.pth', 'resnet50', kind, num_pids=702)
    _, lines, _ = run(source, tmp_path / 'b.pth', '--dry-run')
    assert ['config', f'configs/reid/resnet50_cosam45_{kind}_dukemtmc.py'] in lines


def test_a_model_without_attention_comes_with_a_warning(run, tmp_path):
    """Its names are also those of another repository's, of another stride."""
    source = write(tmp_path / 'a.pth', 'resnet50', 'tp', ())
    _, lines, _ = run(source, tmp_path / 'b.pth', '--dry-run')
    assert ['attention', 'none'] in lines
    (stride,) = (text for name, text in lines if name == 'stride')
    assert stride == ('1 in layer4, as in the source; a model of jiyanggao/Video-'
                      'Person-ReID needs model.backbone.last_stride=2')


def test_models_without_a_config_get_their_settings_printed(run, tmp_path):
    source = write(tmp_path / 'a.pth', 'resnet50', 'tp', (3, 5), num_pids=99)
    _, lines, _ = run(source, tmp_path / 'b.pth', '--dry-run')
    (text,) = (text for name, text in lines if name == 'config')
    assert text.startswith("none of its own; model.backbone={'type': 'FrameResNet'")
    assert "model.head={'type': 'IdentityHead', 'in_channels': 2048, 'num_pids': 99}" \
        in text


def test_the_backbone_alone_starts_another_model(run, tmp_path):
    source = write(tmp_path / 'a.pth', 'se_resnet50', 'tp')
    status, _, _ = run(source, tmp_path / 'b.pth', '--backbone-only')
    assert status == 0
    backbone = MODELS.build(dict(
        type='FrameSEResNet', init_cfg=dict(
            type='Pretrained', checkpoint=str(tmp_path / 'b.pth'), prefix='backbone.')))
    backbone.init_weights()
    assert all(p.abs().max() == 0 for p in backbone.parameters())
