"""Reference state dict in, state dict of our model out.

Every parameter of a reference has a rule: our name, the shape it must have, and
the change that its values need, if any. A parameter without a rule is an error.

One change is not a mere reshaping. The reference's layer norm divides by the
*unbiased* standard deviation plus 1e-6, PyTorch's by the biased one. Over D
channels the two differ by the factor sqrt((D - 1) / D), which goes into the scale.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

import torch
from mmengine.registry import MODELS
from torch import Tensor

from cosam_mm.layers import TemporalBERT, TemporalLSTM, TemporalMean
from cosam_mm.models import backbones
from cosam_mm.utils.messages import name_some

from .reference_models import ReferenceModel, recognise

__all__ = ['convert_state_dict']


@dataclass(frozen=True)
class Rule:
    """What becomes of one parameter."""
    target: str  # our name
    shape: tuple[int, ...]  # in the reference
    change: Optional[Callable[[Tensor], Tensor]] = None  # of its values to ours


Rules = dict[str, Rule]


def convert_state_dict(
        state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ReferenceModel]:
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
        ImportError: It has a BERT head, and ``transformers`` is not installed.
    """
    model = recognise(state_dict)
    rules = _reid_rules(model) if model.is_reid else _action_rules(model)
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


_TEMPORAL = dict(BERTHead=TemporalBERT, LSTMHead=TemporalLSTM, MeanHead=TemporalMean)
# Parts of a temporal encoder's names, ours to theirs, to be replaced in this order.
_TEMPORAL_NAMES = {
    'cls_token': 'bert.clsToken',
    'position_embedding': 'bert.embedding.learnedPosition.pe',
    'encoder.layer.': 'bert.transformer_blocks.',
    'attention.self.query': 'attention.linear_layers.0',
    'attention.self.key': 'attention.linear_layers.1',
    'attention.self.value': 'attention.linear_layers.2',
    'attention.output.dense': 'attention.output_linear',
    'attention.LayerNorm.weight': 'input_sublayer.norm.a_2',
    'attention.LayerNorm.bias': 'input_sublayer.norm.b_2',
    'intermediate.LayerNorm.weight': 'output_sublayer.norm.a_2',
    'intermediate.LayerNorm.bias': 'output_sublayer.norm.b_2',
    'intermediate.dense': 'feed_forward.w_1',
    'output.dense': 'feed_forward.w_2',
}


def _action_rules(model: ReferenceModel) -> Rules:
    config, head = dict(model.backbone), model.head
    with torch.device('meta'):  # shapes only, nothing is allocated
        backbone = getattr(backbones, config.pop('type'))(**config)
    rules = {model.source.name(name): Rule(f'backbone.{name}', tuple(tensor.shape))
             for name, tensor in backbone.state_dict().items()}
    if head is None:
        return rules
    settings = {**head, **head.get('temporal', {})}
    kind, num_classes, _ = (settings.pop(key, None)
                            for key in ('type', 'num_classes', 'temporal'))
    with torch.device('meta'):
        encoder = _TEMPORAL[kind](**settings)
    for name, tensor in encoder.state_dict().items():
        theirs = name
        for ours, other in _TEMPORAL_NAMES.items():
            theirs = theirs.replace(ours, other)
        rules[theirs] = Rule(
            f'cls_head.temporal.{name}', tuple(tensor.shape),
            _fold_unbiased_std if name.endswith('LayerNorm.weight') else None)
    shape, change = (num_classes, encoder.out_channels), None
    if model.source.classifier == 'logits.conv3d':  # a 1x1x1 convolution
        shape, change = (*shape, 1, 1, 1), lambda weight: weight.flatten(1)
    return {**rules, **_classifier_rules(
        model.source.classifier, 'cls_head.fc_cls', shape, change)}


def _classifier_rules(theirs: str, ours: str, shape: tuple[int, ...],
                      change: Optional[Callable] = None) -> Rules:
    return {f'{theirs}.weight': Rule(f'{ours}.weight', shape, change),
            f'{theirs}.bias': Rule(f'{ours}.bias', shape[:1])}


def _reid_rules(model: ReferenceModel) -> Rules:
    """Names of backbone and aggregation come from the modules themselves."""
    rules = {}
    for part, prefix in (('backbone', ''), ('aggregation', 'aggregation.')):
        with torch.device('meta'):
            module = MODELS.build(model.settings[part])
        for name, tensor in module.state_dict().items():
            rules[model.source.name(prefix + name)] = Rule(
                f'{part}.{name}', tuple(tensor.shape))
    if model.head is not None:
        rules.update(_classifier_rules('classifier', 'head.classifier', (
            model.head['num_pids'], model.head['in_channels'])))
    return rules


# -- the check ---------------------------------------------------------------


def _check(state_dict: Mapping[str, Tensor], rules: Rules,
           model: ReferenceModel) -> None:
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
