"""Reference state dict in, state dict of our model out.

Every parameter of a reference has a rule: our name, the shape it must have, and
the change that its values need, if any. A parameter without a rule is an error.

One change is not a mere reshaping. The reference's layer norm divides by the
*unbiased* standard deviation plus 1e-6, PyTorch's by the biased one. Over D
channels the two differ by the factor sqrt((D - 1) / D), which goes into the scale.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional, Union

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cosam_mm.models import backbones
from cosam_mm.utils.messages import name_some

from .reference_models import ReferenceModel, ReferenceReID, recognise

__all__ = ['convert_state_dict']


@dataclass(frozen=True)
class Rule:
    """What becomes of one parameter."""
    target: str  # our name
    shape: tuple[int, ...]  # in the reference
    change: Optional[Callable[[Tensor], Tensor]] = None  # of its values to ours


Rules = dict[str, Rule]
Model = Union[ReferenceModel, ReferenceReID]


def convert_state_dict(
        state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Model]:
    """Give a reference's parameters the names and values of our model.

    Args:
        state_dict: Parameters of a model of one of the known repositories,
            without a ``module.`` prefix. They are not changed.

    Returns:
        The state dict, and what it was recognised as: the first loads strictly into the
        ``Recognizer3D`` or ``VideoReID`` with the ``settings`` of the second. Without a
        classifier in the source there is no head.

    Raises:
        ValueError: Nothing known has such parameters, or some of them are
            unexpected, missing or of another shape than the recognised model's.
    """
    model = recognise(state_dict)
    if isinstance(model, ReferenceReID):
        rules = _reid_rules(model)
    else:
        rules = {**_backbone_rules(model), **_head_rules(model)}
    _check(state_dict, rules, model)
    converted = {}
    for source, rule in rules.items():
        if source in state_dict:
            values = state_dict[source].detach()
            converted[rule.target] = rule.change(values) if rule.change else values
        else:  # a counter: PyTorch before 0.4.1 kept none
            converted[rule.target] = torch.tensor(0)
    return converted, model


def _fold_unbiased_std(scale: Tensor) -> Tensor:
    """Scale (D,) of a standard layer norm from that of an unbiased one."""
    channels = scale.numel()
    factor = ((channels - 1) / channels)**0.5
    return (scale.double() * factor).to(scale.dtype)


# -- rules -------------------------------------------------------------------


def _backbone_rules(model: ReferenceModel) -> Rules:
    config = dict(model.backbone)
    with torch.device('meta'):  # shapes only, nothing is allocated
        backbone = getattr(backbones, config.pop('type'))(**config)
    return {model.source.name(name): Rule(f'backbone.{name}', tuple(tensor.shape))
            for name, tensor in backbone.state_dict().items()}


def _head_rules(model: ReferenceModel) -> Rules:
    head = model.cls_head
    if head is None:
        return {}
    temporal_rules = {'BERTHead': _bert_rules, 'LSTMHead': _lstm_rules,
                      'MeanHead': lambda _: {}}[head['type']]
    features = head.get('hidden_channels', head['in_channels'])
    shape = (head['num_classes'], features)
    change = None
    if model.source.classifier == 'logits.conv3d':  # a 1x1x1 convolution
        shape, change = (*shape, 1, 1, 1), lambda weight: weight.flatten(1)
    return {**temporal_rules(head), **{
        f'{model.source.classifier}.weight':
            Rule('cls_head.fc_cls.weight', shape, change),
        f'{model.source.classifier}.bias': Rule('cls_head.fc_cls.bias', shape[:1]),
    }}


def _lstm_rules(head: dict) -> Rules:
    """Names are those of torch on both sides."""
    lstm = nn.LSTM(head['in_channels'], head['hidden_channels'], head['num_layers'],
                   device='meta')
    return {f'lstm.{name}': Rule(f'cls_head.temporal.lstm.{name}', tuple(tensor.shape))
            for name, tensor in lstm.state_dict().items()}


def _bert_rules(head: dict) -> Rules:
    channels, ffn = head['in_channels'], head['temporal']['ffn_channels']
    rules = {
        'bert.clsToken': Rule('cls_head.temporal.cls_token', (1, 1, channels)),
        'bert.embedding.learnedPosition.pe':
            Rule('cls_head.temporal.position_embedding',
                 (1, head['num_tokens'] + 1, channels)),
    }
    linears = (
        ('attention.linear_layers.0', 'attention.self.query', channels, channels),
        ('attention.linear_layers.1', 'attention.self.key', channels, channels),
        ('attention.linear_layers.2', 'attention.self.value', channels, channels),
        ('attention.output_linear', 'attention.output.dense', channels, channels),
        ('feed_forward.w_1', 'intermediate.dense', channels, ffn),
        ('feed_forward.w_2', 'output.dense', ffn, channels),
    )
    norms = (('input_sublayer.norm', 'attention.LayerNorm'),
             ('output_sublayer.norm', 'intermediate.LayerNorm'))
    for i in range(head['temporal']['num_layers']):
        theirs = f'bert.transformer_blocks.{i}'
        ours = f'cls_head.temporal.encoder.layer.{i}'
        for source, target, inputs, outputs in linears:
            rules[f'{theirs}.{source}.weight'] = Rule(
                f'{ours}.{target}.weight', (outputs, inputs))
            rules[f'{theirs}.{source}.bias'] = Rule(
                f'{ours}.{target}.bias', (outputs,))
        for source, target in norms:
            rules[f'{theirs}.{source}.a_2'] = Rule(
                f'{ours}.{target}.weight', (channels,), _fold_unbiased_std)
            rules[f'{theirs}.{source}.b_2'] = Rule(
                f'{ours}.{target}.bias', (channels,))
    return rules


def _reid_rules(model: ReferenceReID) -> Rules:
    """Names of backbone and aggregation come from the modules themselves."""
    rules = {}
    for part, prefix in (('backbone', ''), ('aggregation', 'aggregation.')):
        with torch.device('meta'):
            module = MODELS.build(model.settings[part])
        for name, tensor in module.state_dict().items():
            rules[model.source.name(prefix + name)] = Rule(
                f'{part}.{name}', tuple(tensor.shape))
    if model.head is not None:
        shape = (model.head['num_pids'], model.head['in_channels'])
        rules['classifier.weight'] = Rule('head.classifier.weight', shape)
        rules['classifier.bias'] = Rule('head.classifier.bias', shape[:1])
    return rules


# -- the check ---------------------------------------------------------------


def _check(state_dict: Mapping[str, Tensor], rules: Rules, model: Model) -> None:
    """Raise ``ValueError`` unless each parameter has its rule and its shape."""
    unexpected = [name for name in state_dict if name not in rules]
    missing = [name for name in rules if name not in state_dict
               and not name.endswith('.num_batches_tracked')]
    misshapen = [
        f'{name} is {tuple(tensor.shape)}, not {rules[name].shape}'
        for name, tensor in state_dict.items()
        if name in rules and tuple(tensor.shape) != rules[name].shape]
    if not (unexpected or missing or misshapen):
        return
    found = [f'{kind} ({len(items)}): {name_some(items, 10)}.' for kind, items in (
        ('Unexpected keys', unexpected), ('Missing keys', missing),
        ('Other shapes', misshapen)) if items]
    settings = ', '.join(f'{part} {cfg}' for part, cfg in model.settings.items())
    raise ValueError(
        f'This looks like a {model.backbone["type"]} of {model.source.repository} '
        f'({settings}), but does not fit it. ' + ' '.join(found))
