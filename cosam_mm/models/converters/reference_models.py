"""Which reference model a checkpoint is, told from its parameters' names and shapes.

File names and ``arch`` entries are not read: people rename files. Two things of a re-ID
model no parameter tells: the size of the images, which the COSAM paper's code fixes at
256 x 128, and the stride of layer4, which it derives from the aggregation.

Our backbones carry the names of their authors' own code, so two of the sources need no
renaming there. The late-temporal-modelling code wraps the parts in a numbered
``nn.Sequential`` called ``features`` and calls the additional block of FRAB ``mapper``.
The re-ID code has its backbone under ``base``, numbered where it is torchvision's, and
all attention in one list beside it.
"""
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from torch import Tensor

from cosam_mm.models.backbones import I3D, ResNeXt3D
from cosam_mm.utils.messages import name_some

__all__ = ['ReferenceModel', 'recognise', 'shipped_config']

StateDict = Mapping[str, Tensor]

_MODALITIES = {3: 'rgb', 2: 'flow'}
_REDUCED_CHANNELS = 512
_REID_CHANNELS = 2048
# Of the features of an image 256 high; after layer4 it depends on the stride.
_HEIGHTS = {'stem': 64, 'layer1': 64, 'layer2': 32, 'layer3': 16}
# Prefix of a numbered list, in the re-identification code.
ATTENTION = 'attention_modules.attention_modules'


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint."""
    repository: str  # where such checkpoints come from
    backbone: str    # type of ours
    stem: str        # name of the first convolution's weight; it tells sources apart
    classifier: str  # prefix of the last layer
    # Beginning of a name of ours to the source's, where they differ.
    parts: dict[str, str] = field(default_factory=dict)
    # Steps of our backbone after which the source may have attention, in the order of
    # its list; none but in re-identification.
    attended: tuple[str, ...] = ()

    def name(self, ours: str) -> str:
        """The source's name of ``ours``; the longest of ``parts`` decides."""
        words = ours.split('.')
        for length in range(len(words) - 1, 0, -1):
            part = '.'.join(words[:length])
            if part in self.parts:
                return '.'.join([self.parts[part], *words[length:]])
        return ours


_LATE_TEMPORAL = 'artest08/LateTemporalModeling3DCNN'
_COSEGMENTATION = 'InnovArul/vidreid_cosegmentation'
_LAYERS = ('layer1', 'layer2', 'layer3', 'layer4')


def _reid_parts(backbone: dict[str, str], attended: Sequence[str]) -> dict[str, str]:
    """Names of the backbone, and of what is the same beside either backbone."""
    parts = {**backbone,
             'aggregation.spatial_conv': 'aggregation.attention_conv',
             'aggregation.temporal_conv': 'aggregation.attention_tconv'}
    for i, step in enumerate(attended):
        for ours, theirs in (('reduction', 'dim_reduction'),
                             ('summary', 'spatial_mask_summary'),
                             ('channel_attention', 'channelwise_attention')):
            parts[f'plugins.after_{step}.0.{ours}'] = f'{ATTENTION}.{i}.{theirs}'
    return parts


SOURCES = (
    Source(
        _LATE_TEMPORAL, 'ResNeXt3D', 'features.0.weight', 'fc_action',
        # 2 and 3 are the ReLU and the max pool.
        {'conv1': 'features.0', 'bn1': 'features.1', 'layer1': 'features.4',
         'layer2': 'features.5', 'layer3': 'features.6', 'layer4': 'features.7',
         'reduction': 'mapper'}),
    Source(
        _LATE_TEMPORAL, 'I3D', 'features.0.conv3d.weight', 'fc_action',
        {**{name: f'features.{i}' for i, name in enumerate(I3D.endpoints)},
         'reduction': 'mapper'}),
    Source('kenshohara/3D-ResNets-PyTorch', 'ResNeXt3D', 'conv1.weight', 'fc'),
    Source('piergiaj/pytorch-i3d', 'I3D', 'Conv3d_1a_7x7.conv3d.weight',
           'logits.conv3d'),
    Source(
        _COSEGMENTATION, 'FrameResNet', 'base.0.weight', 'classifier',
        _reid_parts({'conv1': 'base.0', 'bn1': 'base.1', 'layer1': 'base.4',
                     'layer2': 'base.5', 'layer3': 'base.6', 'layer4': 'base.7'},
                    _LAYERS),
        _LAYERS),
    Source(
        _COSEGMENTATION, 'FrameSEResNet', 'base.layer0.conv1.weight', 'classifier',
        _reid_parts({name: f'base.{name}' for name in ('layer0', *_LAYERS)},
                    ('stem', *_LAYERS)),
        ('stem', *_LAYERS)),
)


@dataclass(frozen=True)
class ReferenceModel:
    """A recognised checkpoint, as the configs of our model that it fits."""
    source: Source
    # Parts of the config of a Recognizer3D (backbone, cls_head) or of a VideoReID
    # (backbone, aggregation, head). Without a classifier the head is None.
    settings: dict

    @property
    def is_reid(self) -> bool:
        """Whether it is a re-identification model."""
        return 'aggregation' in self.settings

    @property
    def backbone(self) -> dict:
        """The config of the backbone."""
        return self.settings['backbone']

    @property
    def head(self) -> Optional[dict]:
        """The config of the head, None where there is no classifier."""
        return self.settings['head' if self.is_reid else 'cls_head']

    @property
    def modality(self) -> str:
        """``'rgb'`` or ``'flow'``."""
        return _MODALITIES[self.backbone.get('in_channels', 3)]

    @property
    def attention(self) -> tuple[str, ...]:
        """Steps of the backbone after which COSAM stands."""
        return tuple(plugin['position'].partition('_')[2]
                     for plugin in self.backbone.get('plugins', ()))


def recognise(state_dict: StateDict) -> ReferenceModel:
    """Tell which model of which repository a state dict belongs to.

    Only what names and shapes can tell is looked at here; whether every parameter is
    there and fits is for :func:`convert_state_dict` to check.

    Args:
        state_dict: Parameters without a ``module.`` prefix.

    Raises:
        ValueError: No known repository has such a file.
    """
    source = _find_source(state_dict)
    if source.attended:
        return _reid_model(source, state_dict)
    backbone = _backbone_config(source, state_dict)
    return ReferenceModel(source, dict(
        backbone=backbone, cls_head=_head_config(source, backbone, state_dict)))


def _find_source(state_dict: StateDict) -> Source:
    for source in SOURCES:
        if source.stem in state_dict:
            return source
    names = list(state_dict)
    if any(name.startswith('backbone.') for name in names):
        raise ValueError('This checkpoint has the names of an mm package already '
                         f'({names[0]!r}, ...): it needs no conversion.')
    stems = ', '.join(f'{s.stem!r} ({s.repository})' for s in SOURCES)
    raise ValueError(
        f'This is no checkpoint of a known repository. Unexpected keys '
        f'({len(names)}): {name_some(names, 10)}. Missing: one of {stems}.')


def shipped_config(model: ReferenceModel) -> Optional[str]:
    """Path of the config of just this model, from the root of the repository.

    None: other numbers of classes or identities and other sizes than the papers' have
    no config of their own.
    """
    backbone, head = model.backbone, model.head
    if head is None:
        return None
    if model.is_reid:
        return _reid_config(model)
    if head['num_classes'] not in _DATASETS or not _has_paper_sizes(model):
        return None
    name = 'i3d' if backbone['type'] == 'I3D' else f'resnext{backbone["depth"]}'
    name += f'{_HEADS[head["type"]]}_{_DATASETS[head["num_classes"]]}'
    return f'configs/{name}{"_flow" if model.modality == "flow" else ""}.py'


# -- action models ---------------------------------------------------------------


def _backbone_config(source: Source, state_dict: StateDict) -> dict:
    in_channels = _size(state_dict, source.stem, 1)
    if in_channels not in _MODALITIES:
        raise ValueError(f'{source.stem!r} takes {in_channels} channels; RGB has 3 '
                         'and optical flow 2.')
    config = dict(type=source.backbone)
    if source.backbone == 'ResNeXt3D':
        config['depth'] = _nearest_depth(source, state_dict)
    reduction = _feature_reduction(source, config, state_dict)
    return dict(config, in_channels=in_channels, feature_reduction=reduction)


def _feature_reduction(source: Source, config: dict,
                       state_dict: StateDict) -> Optional[str]:
    if _has(state_dict, source.name('reduction.')[:-1]):
        return 'FRAB'
    if config['type'] == 'ResNeXt3D':
        last = ResNeXt3D.arch_settings[config['depth']][-1] - 1
        channels = _size(state_dict, source.name(f'layer4.{last}.conv3.weight'), 0)
    else:
        channels = sum(
            _size(state_dict, source.name(f'Mixed_5c.{branch}.conv3d.weight'), 0, 0)
            for branch in ('b0', 'b1b', 'b2b', 'b3b'))
    return 'FRMB' if channels == _REDUCED_CHANNELS else None


def _head_config(source: Source, backbone: dict,
                 state_dict: StateDict) -> Optional[dict]:
    is_bert, is_lstm = (_has(state_dict, prefix) for prefix in ('bert', 'lstm'))
    num_classes = _size(state_dict, f'{source.classifier}.weight', 0)
    if num_classes is None and not (is_bert or is_lstm):
        return None
    channels = 2048 if backbone['type'] == 'ResNeXt3D' else 1024
    if backbone['feature_reduction']:
        channels = _REDUCED_CHANNELS
    # Without a classifier the number is arbitrary: the check names what lacks.
    config = dict(num_classes=num_classes or 0, in_channels=channels)
    if is_bert:
        return dict(type='BERTHead', **config, **_bert_settings(backbone, state_dict))
    if is_lstm:
        return dict(type='LSTMHead', **config, **_lstm_settings(state_dict))
    return dict(type='MeanHead', **config)


def _bert_settings(backbone: dict, state_dict: StateDict) -> dict:
    is_i3d = backbone['type'] == 'I3D'
    positions = _size(state_dict, 'bert.embedding.learnedPosition.pe', 1,
                     9 if is_i3d else 5)
    temporal = dict(
        num_layers=_count(state_dict, r'bert\.transformer_blocks\.(\d+)\.') or 1,
        ffn_channels=_size(
            state_dict, 'bert.transformer_blocks.0.feed_forward.w_1.weight', 0, 2048))
    if is_i3d:
        # No parameter tells these: the reference's I3D models differ in them.
        temporal.update(normalize_tokens=True, embedding_std=None, encoder_std=0.02)
    return dict(num_tokens=positions - 1, temporal=temporal)


def _lstm_settings(state_dict: StateDict) -> dict:
    return dict(
        hidden_channels=_size(state_dict, 'lstm.weight_hh_l0', 1, 450),
        num_layers=_count(state_dict, r'lstm\.weight_hh_l(\d+)$') or 1)


# -- re-ID models ----------------------------------------------------------------


def _reid_model(source: Source, state_dict: StateDict) -> ReferenceModel:
    aggregation = _aggregation(state_dict)
    last_stride = 2 if aggregation['type'] == 'TemporalAttentionAggregation' else 1
    plugins = [_plugin(source, state_dict, step, last_stride)
               for i, step in enumerate(source.attended)
               if _has(state_dict, f'{ATTENTION}.{i}')]
    backbone = dict(type=source.backbone, depth=_nearest_depth(source, state_dict),
                    last_stride=last_stride, plugins=plugins)
    num_pids = _size(state_dict, f'{source.classifier}.weight', 0)
    channels = aggregation.get('hidden_channels', _REID_CHANNELS)
    head = None if num_pids is None else dict(
        type='IdentityHead', in_channels=channels, num_pids=num_pids)
    return ReferenceModel(source, dict(
        backbone=backbone, aggregation=aggregation, head=head))


def _has(state_dict: StateDict, prefix: str) -> bool:
    return any(name.startswith(f'{prefix}.') for name in state_dict)


def _aggregation(state_dict: StateDict) -> dict:
    kind, settings = 'TemporalPoolAggregation', {}
    if _has(state_dict, 'aggregation.attention_conv'):
        kind = 'TemporalAttentionAggregation'
    elif _has(state_dict, 'aggregation.lstm'):
        kind = 'TemporalRNNAggregation'
        settings['hidden_channels'] = _size(
            state_dict, 'aggregation.lstm.weight_hh_l0', 1, 512)
    return dict(type=kind, in_channels=_REID_CHANNELS, **settings)


def _plugin(source: Source, state_dict: StateDict, step: str,
            last_stride: int) -> dict:
    height = _HEIGHTS.get(step, 16 // last_stride)
    width = height // 2
    weight = source.name(f'plugins.after_{step}.0.summary.0.weight')
    # Where the number does not come out even, the comparison of shapes says so.
    others = _size(state_dict, weight, 1, 0) // (height * width)
    cfg = dict(type='COSAM', num_frames=max(others, 1) + 1,
               spatial_size=(height, width))
    return dict(cfg=cfg, position=f'after_{step}')


# -- configs of the package -----------------------------------------------------


_DATASETS = {51: 'hmdb51', 101: 'ucf101'}
_HEADS = {'MeanHead': '', 'LSTMHead': '_lstm', 'BERTHead': '_bert'}
_TOKENS = {'ResNeXt3D': 4, 'I3D': 8}

_REID_DATASETS = {625: 'mars', 702: 'dukemtmc', 150: 'ilids'}
_REID_BACKBONES = {'FrameResNet': 'resnet50', 'FrameSEResNet': 'se_resnet50'}
_AGGREGATIONS = {'TemporalPoolAggregation': 'tp', 'TemporalAttentionAggregation': 'ta',
                 'TemporalRNNAggregation': 'rnn'}
_ATTENTION = {(): '', ('layer3', 'layer4'): '_cosam45'}


def _reid_config(model: ReferenceModel) -> Optional[str]:
    backbone, aggregation = model.backbone, model.settings['aggregation']
    frames = {plugin['cfg']['num_frames'] for plugin in backbone['plugins']}
    dataset = _REID_DATASETS.get(model.head['num_pids'])
    if (dataset is None or backbone['depth'] != 50 or frames - {4}
            or model.attention not in _ATTENTION
            or aggregation.get('hidden_channels', 512) != 512):
        return None
    return (f'configs/reid/{_REID_BACKBONES[backbone["type"]]}'
            f'{_ATTENTION[model.attention]}_{_AGGREGATIONS[aggregation["type"]]}'
            f'_{dataset}.py')


def _has_paper_sizes(model: ReferenceModel) -> bool:
    backbone, head = model.backbone, model.head
    reduction = None if head['type'] == 'MeanHead' else 'FRMB'
    if backbone['feature_reduction'] != reduction or backbone.get('depth', 101) != 101:
        return False
    if head['type'] == 'LSTMHead':
        return (model.modality == 'rgb' and head['hidden_channels'] == 450
                and head['num_layers'] == 2)
    if head['type'] == 'BERTHead':
        temporal = head['temporal']
        return (head['num_tokens'] == _TOKENS[backbone['type']]
                and temporal['num_layers'] == 1 and temporal['ffn_channels'] == 2048)
    return True


# -- names and shapes ------------------------------------------------------------


def _size(state_dict: StateDict, name: str, dim: int,
          default: Optional[int] = None) -> Optional[int]:
    """Size of a parameter in one dimension, ``default`` where it is not there."""
    tensor = state_dict.get(name)
    return default if tensor is None or tensor.dim() <= dim else tensor.shape[dim]


def _count(state_dict: StateDict, pattern: str) -> int:
    """How many different numbers stand in the group of ``pattern``."""
    matches = (re.match(pattern, name) for name in state_dict)
    return len({match.group(1) for match in matches if match})


def _nearest_depth(source: Source, state_dict: StateDict) -> int:
    """The depth whose numbers of bottlenecks come nearest.

    A comparison with that model then names what is missing or too much.
    """
    blocks = [_count(state_dict, re.escape(source.name(f'layer{i}.')) + r'(\d+)\.')
              for i in range(1, 5)]

    def distance(depth: int) -> int:
        return sum(abs(a - b)
                   for a, b in zip(blocks, ResNeXt3D.arch_settings[depth]))

    return min(ResNeXt3D.arch_settings, key=distance)
