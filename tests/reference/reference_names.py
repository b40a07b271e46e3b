"""Parameter names and shapes of the four reference repositories, listed anew.

Written from the reference models' structure and naming rules alone, without the
package, so that a converter which forgets or invents a name is caught. Each
function returns a dict of name to shape; :func:`late_temporal`, :func:`kenshohara`,
:func:`piergiaj` and :func:`cosegmentation` are whole models.
"""
from collections.abc import Sequence
from typing import Optional

Names = dict[str, tuple[int, ...]]

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

# in, 1x1, 3x3 reduce, 3x3, second 3x3 reduce, second 3x3, pool projection
MIXED = {
    'Mixed_3b': (192, 64, 96, 128, 16, 32, 32),
    'Mixed_3c': (256, 128, 128, 192, 32, 96, 64),
    'Mixed_4b': (480, 192, 96, 208, 16, 48, 64),
    'Mixed_4c': (512, 160, 112, 224, 24, 64, 64),
    'Mixed_4d': (512, 128, 128, 256, 24, 64, 64),
    'Mixed_4e': (512, 112, 144, 288, 32, 64, 64),
    'Mixed_4f': (528, 256, 160, 320, 32, 128, 128),
    'Mixed_5b': (832, 256, 160, 320, 32, 128, 128),
    'Mixed_5c': (832, 384, 192, 384, 48, 128, 128),
}
REDUCED = (192, 96, 192, 24, 64, 64)

# Place of each I3D part among the children of the late-temporal `features`;
# the gaps are max pools.
I3D_PLACES = {
    'Conv3d_1a_7x7': 0, 'Conv3d_2b_1x1': 2, 'Conv3d_2c_3x3': 3, 'Mixed_3b': 5,
    'Mixed_3c': 6, 'Mixed_4b': 8, 'Mixed_4c': 9, 'Mixed_4d': 10, 'Mixed_4e': 11,
    'Mixed_4f': 12, 'Mixed_5b': 14, 'Mixed_5c': 15,
}
# Of re-ID features after the stem and the four layers.
CHANNELS = (64, 256, 512, 1024, 2048)
SIZES = ((64, 32), (64, 32), (32, 16), (16, 8), (16, 8))


def linear(prefix: str, inputs: int, outputs: int, *kernel: int) -> Names:
    return {f'{prefix}.weight': (outputs, inputs, *kernel),
            f'{prefix}.bias': (outputs,)}


def conv_norm(conv: str, norm: str, inputs: int, outputs: int, *kernel: int) -> Names:
    """A convolution without bias and the batch norm behind it."""
    return {f'{conv}.weight': (outputs, inputs, *kernel),
            **{f'{norm}.{leaf}': (outputs,)
               for leaf in ('weight', 'bias', 'running_mean', 'running_var')},
            f'{norm}.num_batches_tracked': ()}


def layers(places: Sequence[str], depth: int, dims: int, gated: bool = False,
           reduced: bool = False) -> Names:
    """Four layers of bottlenecks: ResNeXt's of 3 dimensions, or ResNet's of 2."""
    names, inplanes = {}, 64
    groups, widen, base = (32, 2, 128) if dims == 3 else (1, 4, 64)
    for stage, (place, count) in enumerate(zip(places, BLOCKS[depth])):
        for i in range(count):
            is_reduced = reduced and stage == 3 and i == count - 1
            planes = 256 if is_reduced else base * 2**stage
            prefix, outputs = f'{place}.{i}', widen * planes
            for k, sizes in enumerate((
                    (inplanes, planes, 1), (planes // groups, planes, 3),
                    (planes, outputs, 1)), start=1):
                names.update(conv_norm(f'{prefix}.conv{k}', f'{prefix}.bn{k}',
                                       *sizes[:2], *dims * sizes[2:]))
            if gated:
                gate, hidden = f'{prefix}.se_module', outputs // 16
                names.update(linear(f'{gate}.fc1', outputs, hidden, 1, 1))
                names.update(linear(f'{gate}.fc2', hidden, outputs, 1, 1))
            if i == 0 or is_reduced:
                shortcut = f'{prefix}.downsample'
                names.update(conv_norm(f'{shortcut}.0', f'{shortcut}.1', inplanes,
                                       outputs, *dims * (1,)))
            inplanes = outputs
    return names


def inception(prefix: str, inplanes: int, *widths: int) -> Names:
    b0, b1a, b1b, b2a, b2b, b3b = widths
    names = {}
    for part, inputs, outputs, kernel in (
            ('b0', inplanes, b0, 1), ('b1a', inplanes, b1a, 1), ('b1b', b1a, b1b, 3),
            ('b2a', inplanes, b2a, 1), ('b2b', b2a, b2b, 3), ('b3b', inplanes, b3b, 1)):
        unit = f'{prefix}.{part}'
        names.update(conv_norm(f'{unit}.conv3d', f'{unit}.bn', inputs, outputs,
                               *3 * (kernel,)))
    return names


def i3d(in_channels: int, place=lambda name: name, reduced: bool = False) -> Names:
    names = {}
    for name, inputs, outputs, kernel in (
            ('Conv3d_1a_7x7', in_channels, 64, 7), ('Conv3d_2b_1x1', 64, 64, 1),
            ('Conv3d_2c_3x3', 64, 192, 3)):
        names.update(conv_norm(f'{place(name)}.conv3d', f'{place(name)}.bn', inputs,
                               outputs, *3 * (kernel,)))
    for name, widths in MIXED.items():
        if reduced and name == 'Mixed_5c':
            widths = (832, *REDUCED)
        names.update(inception(place(name), *widths))
    return names


def bert(channels: int, tokens: int) -> Names:
    block = 'bert.transformer_blocks.0'
    names = {'bert.clsToken': (1, 1, channels),
             'bert.embedding.learnedPosition.pe': (1, tokens + 1, channels)}
    for i in range(3):
        names.update(linear(f'{block}.attention.linear_layers.{i}', channels, channels))
    names.update(linear(f'{block}.attention.output_linear', channels, channels))
    names.update(linear(f'{block}.feed_forward.w_1', channels, 4 * channels))
    names.update(linear(f'{block}.feed_forward.w_2', 4 * channels, channels))
    for sublayer in ('input_sublayer', 'output_sublayer'):
        names[f'{block}.{sublayer}.norm.a_2'] = (channels,)
        names[f'{block}.{sublayer}.norm.b_2'] = (channels,)
    return names


def lstm(prefix: str, channels: int, hidden: int, layers: int) -> Names:
    names = {}
    for i in range(layers):
        names[f'{prefix}.weight_ih_l{i}'] = (4 * hidden, hidden if i else channels)
        names[f'{prefix}.weight_hh_l{i}'] = (4 * hidden, hidden)
        names[f'{prefix}.bias_ih_l{i}'] = (4 * hidden,)
        names[f'{prefix}.bias_hh_l{i}'] = (4 * hidden,)
    return names


def late_temporal(backbone: str, head: str, reduction: Optional[str],
                  in_channels: int = 3, num_classes: int = 51,
                  depth: int = 101) -> Names:
    """Names of one model of the late-temporal-modelling repository.

    Args:
        backbone: 'resnext' or 'i3d'.
        head: 'plain', 'bert' or 'lstm'.
        reduction: None, 'FRMB' or 'FRAB'.
        in_channels: 3 for RGB, 2 for flow.
        num_classes: Rows of the classifier.
        depth: Of the ResNeXt.
    """
    reduced = reduction == 'FRMB'
    if backbone == 'resnext':
        channels, tokens = 2048, 4
        names = {**conv_norm('features.0', 'features.1', in_channels, 64, 7, 7, 7),
                 **layers([f'features.{i}' for i in (4, 5, 6, 7)], depth, 3,
                          reduced=reduced)}
        if reduction == 'FRAB':  # one more of the kind that ends a reduced layer
            end = f'features.7.{BLOCKS[depth][3] - 1}'
            names.update({name.replace(end, 'mapper'): shape for name, shape in layers(
                [f'features.{i}' for i in (4, 5, 6, 7)], depth, 3, reduced=True).items()
                if name.startswith(end)})
    else:
        channels, tokens = 1024, 8
        names = i3d(in_channels, lambda name: f'features.{I3D_PLACES[name]}', reduced)
        if reduction == 'FRAB':
            names.update(inception('mapper', 1024, *REDUCED))
    if reduction:
        channels = 512
    if head == 'bert':
        names.update(bert(channels, tokens))
    if head == 'lstm':
        names.update(lstm('lstm', channels, 450, 2))
        channels = 450
    return {**names, **linear('fc_action', channels, num_classes)}


def kenshohara(depth: int, in_channels: int = 3,
               num_classes: Optional[int] = 400) -> Names:
    """Names of a 3D-ResNets ResNeXt; ``num_classes=None`` leaves ``fc`` out."""
    names = {**conv_norm('conv1', 'bn1', in_channels, 64, 7, 7, 7),
             **layers([f'layer{i}' for i in (1, 2, 3, 4)], depth, 3)}
    head = {} if num_classes is None else linear('fc', 2048, num_classes)
    return {**names, **head}


def piergiaj(in_channels: int = 3, num_classes: int = 400) -> Names:
    """Names of the pytorch-i3d port; its classifier is a 1x1x1 convolution."""
    return {**i3d(in_channels), **linear('logits.conv3d', 1024, num_classes, 1, 1, 1)}


# -- re-identification ---------------------------------------------------------------


def resnet(depth: int = 50) -> Names:
    """torchvision's ResNet as a numbered sequence of its children."""
    return {**conv_norm('base.0', 'base.1', 3, 64, 7, 7),
            **layers([f'base.{i}' for i in (4, 5, 6, 7)], depth, 2)}


def se_resnet(depth: int = 50) -> Names:
    """Cadene's SE-ResNet under its own names."""
    return {**conv_norm('base.layer0.conv1', 'base.layer0.bn1', 3, 64, 7, 7),
            **layers([f'base.layer{i}' for i in (1, 2, 3, 4)], depth, 2, gated=True)}


def cosam(prefix: str, channels: int, frames: int, size: tuple[int, int]) -> Names:
    hidden = 64 if channels <= 256 else 256
    reduction, summary = f'{prefix}.dim_reduction', f'{prefix}.spatial_mask_summary'
    return {**conv_norm(f'{reduction}.0', f'{reduction}.1', channels, hidden, 1, 1),
            f'{reduction}.0.bias': (hidden,),
            **conv_norm(f'{summary}.0', f'{summary}.1',
                        (frames - 1) * size[0] * size[1], 64, 1, 1),
            f'{summary}.0.bias': (64,), **linear(f'{summary}.3', 64, 1, 1, 1),
            **linear(f'{prefix}.channelwise_attention.0', channels, hidden),
            **linear(f'{prefix}.channelwise_attention.2', hidden, channels)}


def cosegmentation(backbone: str, kind: str, stages: Sequence[int] = (4, 5),
                   num_pids: int = 625, frames: int = 4, depth: int = 50) -> Names:
    """Names of one model of the co-segmentation re-ID code.

    The backbone is under ``base``; one list of attention modules has an entry for each
    place, without parameters where there is none.

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
    if kind == 'ta':
        names.update(linear('aggregation.attention_conv', 2048, 256, 8, 4))
        names.update(linear('aggregation.attention_tconv', 256, 1, 3))
    if kind == 'rnn':
        names.update(lstm('aggregation.lstm', 2048, 512, 1))
    return {**names, **linear('classifier', 512 if kind == 'rnn' else 2048, num_pids)}
