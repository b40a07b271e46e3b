"""What a reference checkpoint is, told from its parameters' names and shapes.

File names and ``arch`` entries are not asked: people rename files.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional, Union

from torch import Tensor

from cosam_mm.models.backbones import ResNeXt3D

from .parameter_shapes import count, nearest_depth, size
from .recognise_reid import ReferenceReID, recognise_reid
from .reference_names import SOURCES, Source

__all__ = ['ReferenceModel', 'recognise']

_MODALITIES = {3: 'rgb', 2: 'flow'}
_REDUCED_CHANNELS = 512


@dataclass(frozen=True)
class ReferenceModel:
    """A recognised checkpoint, as the settings of our model that it fits.

    Args:
        source: Where it comes from.
        backbone: Config of our backbone.
        cls_head: Config of our head, or None where there is no classifier.
    """
    source: Source
    backbone: dict
    cls_head: Optional[dict]

    @property
    def modality(self) -> str:
        """``'rgb'`` or ``'flow'``."""
        return _MODALITIES[self.backbone['in_channels']]

    @property
    def settings(self) -> dict:
        """Parts of the config of a ``Recognizer3D``."""
        return dict(backbone=self.backbone, cls_head=self.cls_head)


def recognise(
        state_dict: Mapping[str, Tensor]) -> Union[ReferenceModel, ReferenceReID]:
    """Tell which model of which repository a state dict belongs to.

    Args:
        state_dict: Parameters without a ``module.`` prefix.

    Returns:
        The model. Only what names and shapes can tell is looked at here;
        whether every parameter is there and fits is for
        :func:`convert_state_dict` to check.

    Raises:
        ValueError: No known repository has such a file.
    """
    source = _find_source(state_dict)
    if source.attended:
        return recognise_reid(source, state_dict)
    backbone = _backbone_config(source, state_dict)
    return ReferenceModel(source, backbone,
                          _head_config(source, backbone, state_dict))


def _find_source(state_dict: Mapping[str, Tensor]) -> Source:
    for source in SOURCES:
        if source.stem in state_dict:
            return source
    names = list(state_dict)
    if any(name.startswith('backbone.') for name in names):
        raise ValueError('This checkpoint has the names of an mm package already '
                         f'({names[0]!r}, ...): it needs no conversion.')
    stems = ', '.join(f'{s.stem!r} ({s.repository})' for s in SOURCES)
    shown = ', '.join(names[:10])
    raise ValueError(
        f'This is no checkpoint of a known repository. Unexpected keys '
        f'({len(names)}): {shown}{", ..." if len(names) > 10 else ""}. Missing: '
        f'one of {stems}.')


def _backbone_config(source: Source, state_dict: Mapping[str, Tensor]) -> dict:
    in_channels = size(state_dict, source.stem, 1)
    if in_channels not in _MODALITIES:
        raise ValueError(f'{source.stem!r} takes {in_channels} channels; RGB has 3 '
                         'and optical flow 2.')
    config = dict(type=source.backbone)
    if source.backbone == 'ResNeXt3D':
        config['depth'] = nearest_depth(
            source, state_dict, ResNeXt3D.arch_settings)
    reduction = _feature_reduction(source, config, state_dict)
    return dict(config, in_channels=in_channels, feature_reduction=reduction)


def _feature_reduction(source: Source, config: dict,
                       state_dict: Mapping[str, Tensor]) -> Optional[str]:
    added = source.name('reduction.')
    if any(name.startswith(added) for name in state_dict):
        return 'FRAB'
    if config['type'] == 'ResNeXt3D':
        last = ResNeXt3D.arch_settings[config['depth']][-1] - 1
        channels = size(state_dict, source.name(f'layer4.{last}.conv3.weight'), 0)
    else:
        channels = sum(
            size(state_dict, source.name(f'Mixed_5c.{branch}.conv3d.weight'), 0, 0)
            for branch in ('b0', 'b1b', 'b2b', 'b3b'))
    return 'FRMB' if channels == _REDUCED_CHANNELS else None


def _head_config(source: Source, backbone: dict,
                 state_dict: Mapping[str, Tensor]) -> Optional[dict]:
    is_bert, is_lstm = (any(name.startswith(prefix) for name in state_dict)
                        for prefix in ('bert.', 'lstm.'))
    num_classes = size(state_dict, f'{source.classifier}.weight', 0)
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


def _bert_settings(backbone: dict, state_dict: Mapping[str, Tensor]) -> dict:
    is_i3d = backbone['type'] == 'I3D'
    positions = size(state_dict, 'bert.embedding.learnedPosition.pe', 1,
                     9 if is_i3d else 5)
    temporal = dict(
        num_layers=count(state_dict, r'bert\.transformer_blocks\.(\d+)\.') or 1,
        ffn_channels=size(
            state_dict, 'bert.transformer_blocks.0.feed_forward.w_1.weight', 0, 2048))
    if is_i3d:
        # No parameter tells these: the reference's I3D models differ in them.
        temporal.update(normalize_tokens=True, embedding_std=None, encoder_std=0.02)
    return dict(num_tokens=positions - 1, temporal=temporal)


def _lstm_settings(state_dict: Mapping[str, Tensor]) -> dict:
    return dict(
        hidden_channels=size(state_dict, 'lstm.weight_hh_l0', 1, 450),
        num_layers=count(state_dict, r'lstm\.weight_hh_l(\d+)$') or 1)
