"""Parameter names and shapes of the co-segmentation re-ID code, listed anew.

InnovArul/vidreid_cosegmentation, written from its models' structure alone, without
the package: the backbone under ``base``, one list of attention modules with an entry
for each place (a place without attention has no parameters), the aggregation and the
classifier. Each function returns a dict of name to shape.
"""
from collections.abc import Sequence

from tests.reference.reference_names import Names, batch_norm, linear

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Channels and size of the features after the stem and the four layers.
CHANNELS = (64, 256, 512, 1024, 2048)
SIZES = ((64, 32), (64, 32), (32, 16), (16, 8), (16, 8))


def conv(prefix: str, inputs: int, outputs: int, kernel: Sequence[int],
         bias: bool = True) -> Names:
    names = {f'{prefix}.weight': (outputs, inputs, *kernel)}
    if bias:
        names[f'{prefix}.bias'] = (outputs,)
    return names


def bottleneck(prefix: str, inplanes: int, planes: int, shortcut: bool,
               gated: bool) -> Names:
    names = {
        **conv(f'{prefix}.conv1', inplanes, planes, (1, 1), bias=False),
        **batch_norm(f'{prefix}.bn1', planes),
        **conv(f'{prefix}.conv2', planes, planes, (3, 3), bias=False),
        **batch_norm(f'{prefix}.bn2', planes),
        **conv(f'{prefix}.conv3', planes, 4 * planes, (1, 1), bias=False),
        **batch_norm(f'{prefix}.bn3', 4 * planes)}
    if gated:
        hidden = 4 * planes // 16
        names.update(conv(f'{prefix}.se_module.fc1', 4 * planes, hidden, (1, 1)))
        names.update(conv(f'{prefix}.se_module.fc2', hidden, 4 * planes, (1, 1)))
    if shortcut:
        names.update(conv(f'{prefix}.downsample.0', inplanes, 4 * planes, (1, 1),
                          bias=False))
        names.update(batch_norm(f'{prefix}.downsample.1', 4 * planes))
    return names


def layers(places: Sequence[str], gated: bool, depth: int = 50) -> Names:
    names, inplanes = {}, 64
    for place, count, planes in zip(places, BLOCKS[depth], (64, 128, 256, 512)):
        for i in range(count):
            names.update(bottleneck(f'{place}.{i}', inplanes, planes, i == 0, gated))
            inplanes = 4 * planes
    return names


def resnet(depth: int = 50) -> Names:
    """torchvision's ResNet as a numbered sequence of its children."""
    return {**conv('base.0', 3, 64, (7, 7), bias=False), **batch_norm('base.1', 64),
            **layers([f'base.{i}' for i in (4, 5, 6, 7)], gated=False, depth=depth)}


def se_resnet(depth: int = 50) -> Names:
    """Cadene's SE-ResNet under its own names."""
    return {**conv('base.layer0.conv1', 3, 64, (7, 7), bias=False),
            **batch_norm('base.layer0.bn1', 64),
            **layers([f'base.layer{i}' for i in (1, 2, 3, 4)], gated=True,
                     depth=depth)}


def cosam(prefix: str, channels: int, frames: int, size: tuple[int, int]) -> Names:
    hidden = 64 if channels <= 256 else 256
    volume = (frames - 1) * size[0] * size[1]
    return {**conv(f'{prefix}.dim_reduction.0', channels, hidden, (1, 1)),
            **batch_norm(f'{prefix}.dim_reduction.1', hidden),
            **conv(f'{prefix}.spatial_mask_summary.0', volume, 64, (1, 1)),
            **batch_norm(f'{prefix}.spatial_mask_summary.1', 64),
            **conv(f'{prefix}.spatial_mask_summary.3', 64, 1, (1, 1)),
            **linear(f'{prefix}.channelwise_attention.0', channels, hidden),
            **linear(f'{prefix}.channelwise_attention.2', hidden, channels)}


def aggregation(kind: str) -> Names:
    if kind == 'ta':
        return {**conv('aggregation.attention_conv', 2048, 256, (8, 4)),
                **conv('aggregation.attention_tconv', 256, 1, (3,))}
    if kind == 'rnn':
        return {'aggregation.lstm.weight_ih_l0': (2048, 2048),
                'aggregation.lstm.weight_hh_l0': (2048, 512),
                'aggregation.lstm.bias_ih_l0': (2048,),
                'aggregation.lstm.bias_hh_l0': (2048,)}
    return {}


def cosegmentation(backbone: str, kind: str, stages: Sequence[int] = (4, 5),
                   num_pids: int = 625, frames: int = 4, depth: int = 50) -> Names:
    """Names of one model.

    Args:
        backbone: 'resnet50' or 'se_resnet50'.
        kind: Aggregation: 'tp', 'ta' or 'rnn'.
        stages: CNN blocks, numbered from 1 (stem) to 5, that attention follows.
        num_pids: Rows of the classifier.
        frames: Of a clip.
        depth: Of the backbone.
    """
    is_se = backbone == 'se_resnet50'
    names = se_resnet(depth) if is_se else resnet(depth)
    first = 1 if is_se else 2  # the block that entry 0 of the list stands after
    for stage in stages:
        size = (8, 4) if stage == 5 and kind == 'ta' else SIZES[stage - 1]
        names.update(cosam(f'attention_modules.attention_modules.{stage - first}',
                           CHANNELS[stage - 1], frames, size))
    names.update(aggregation(kind))
    return {**names, **linear('classifier', 512 if kind == 'rnn' else 2048, num_pids)}
