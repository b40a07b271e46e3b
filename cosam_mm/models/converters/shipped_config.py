"""Which of the shipped configs a converted checkpoint loads into."""
from typing import Optional, Union

from .recognise_action import ReferenceModel
from .recognise_reid import ReferenceReID

__all__ = ['shipped_config']

_DATASETS = {51: 'hmdb51', 101: 'ucf101'}
_HEADS = {'MeanHead': '', 'LSTMHead': '_lstm', 'BERTHead': '_bert'}
_TOKENS = {'ResNeXt3D': 4, 'I3D': 8}

_REID_DATASETS = {625: 'mars', 702: 'dukemtmc', 150: 'ilids'}
_REID_BACKBONES = {'FrameResNet': 'resnet50', 'FrameSEResNet': 'se_resnet50'}
_AGGREGATIONS = {'TemporalPoolAggregation': 'tp', 'TemporalAttentionAggregation': 'ta',
                 'TemporalRNNAggregation': 'rnn'}
_ATTENTION = {(): '', ('layer3', 'layer4'): '_cosam45'}


def shipped_config(model: Union[ReferenceModel, ReferenceReID]) -> Optional[str]:
    """Path of the config of just this model, from the root of the repository.

    Args:
        model: A recognised checkpoint.

    Returns:
        The path, or None: other numbers of classes or identities and other sizes
        than the papers' have no config of their own.
    """
    if isinstance(model, ReferenceReID):
        return _reid_config(model)
    backbone, head = model.backbone, model.cls_head
    if head is None or head['num_classes'] not in _DATASETS:
        return None
    if not _has_paper_sizes(model):
        return None
    name = 'i3d' if backbone['type'] == 'I3D' else f'resnext{backbone["depth"]}'
    name += f'{_HEADS[head["type"]]}_{_DATASETS[head["num_classes"]]}'
    return f'configs/{name}{"_flow" if model.modality == "flow" else ""}.py'


def _reid_config(model: ReferenceReID) -> Optional[str]:
    backbone, head = model.backbone, model.head
    frames = {plugin['cfg']['num_frames'] for plugin in backbone['plugins']}
    if (head is None or head['num_pids'] not in _REID_DATASETS
            or backbone['depth'] != 50 or frames - {4}
            or model.attention not in _ATTENTION
            or model.aggregation.get('hidden_channels', 512) != 512):
        return None
    return (f'configs/reid/{_REID_BACKBONES[backbone["type"]]}'
            f'{_ATTENTION[model.attention]}_{_AGGREGATIONS[model.aggregation["type"]]}'
            f'_{_REID_DATASETS[head["num_pids"]]}.py')


def _has_paper_sizes(model: ReferenceModel) -> bool:
    backbone, head = model.backbone, model.cls_head
    is_plain = head['type'] == 'MeanHead'
    if backbone['feature_reduction'] != (None if is_plain else 'FRMB'):
        return False
    if backbone.get('depth', 101) != 101:
        return False
    if head['type'] == 'LSTMHead':
        return (model.modality == 'rgb' and head['hidden_channels'] == 450
                and head['num_layers'] == 2)
    if head['type'] == 'BERTHead':
        temporal = head['temporal']
        return (head['num_tokens'] == _TOKENS[backbone['type']]
                and temporal['num_layers'] == 1 and temporal['ffn_channels'] == 2048)
    return True
