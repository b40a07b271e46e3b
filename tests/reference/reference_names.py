"""Parameter names and shapes of the three reference repositories, listed anew.

Written from the reference models' structure and naming rules alone, without the
package, so that a converter which forgets or invents a name is caught. Each
function returns a dict of name to shape in the reference's own order.
"""
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


def batch_norm(prefix: str, channels: int) -> Names:
    names = {f'{prefix}.{leaf}': (channels,)
             for leaf in ('weight', 'bias', 'running_mean', 'running_var')}
    return {**names, f'{prefix}.num_batches_tracked': ()}


def bottleneck(prefix: str, inplanes: int, planes: int, shortcut: bool) -> Names:
    names = {f'{prefix}.conv1.weight': (planes, inplanes, 1, 1, 1),
             **batch_norm(f'{prefix}.bn1', planes),
             f'{prefix}.conv2.weight': (planes, planes // 32, 3, 3, 3),
             **batch_norm(f'{prefix}.bn2', planes),
             f'{prefix}.conv3.weight': (2 * planes, planes, 1, 1, 1),
             **batch_norm(f'{prefix}.bn3', 2 * planes)}
    if shortcut:
        names[f'{prefix}.downsample.0.weight'] = (2 * planes, inplanes, 1, 1, 1)
        names.update(batch_norm(f'{prefix}.downsample.1', 2 * planes))
    return names


def unit(prefix: str, inplanes: int, planes: int, kernel: int) -> Names:
    return {f'{prefix}.conv3d.weight': (planes, inplanes) + 3 * (kernel,),
            **batch_norm(f'{prefix}.bn', planes)}


def inception(prefix: str, inplanes: int, b0: int, b1a: int, b1b: int, b2a: int,
              b2b: int, b3b: int) -> Names:
    return {**unit(f'{prefix}.b0', inplanes, b0, 1),
            **unit(f'{prefix}.b1a', inplanes, b1a, 1),
            **unit(f'{prefix}.b1b', b1a, b1b, 3),
            **unit(f'{prefix}.b2a', inplanes, b2a, 1),
            **unit(f'{prefix}.b2b', b2a, b2b, 3),
            **unit(f'{prefix}.b3b', inplanes, b3b, 1)}


def linear(prefix: str, inputs: int, outputs: int) -> Names:
    return {f'{prefix}.weight': (outputs, inputs), f'{prefix}.bias': (outputs,)}


def resnext(depth: int, in_channels: int, stem: str = 'conv1', norm: str = 'bn1',
            layers: tuple[str, ...] = ('layer1', 'layer2', 'layer3', 'layer4'),
            reduced: bool = False) -> Names:
    names = {f'{stem}.weight': (64, in_channels, 7, 7, 7), **batch_norm(norm, 64)}
    inplanes = 64
    for layer, count, planes in zip(layers, BLOCKS[depth], (128, 256, 512, 1024)):
        for i in range(count):
            last = layer == layers[-1] and i == count - 1
            width = 256 if last and reduced else planes
            names.update(bottleneck(f'{layer}.{i}', inplanes, width,
                                    shortcut=i == 0 or (last and reduced)))
            inplanes = 2 * width
    return names


def i3d(in_channels: int, place=lambda name: name, reduced: bool = False) -> Names:
    names = {**unit(place('Conv3d_1a_7x7'), in_channels, 64, 7),
             **unit(place('Conv3d_2b_1x1'), 64, 64, 1),
             **unit(place('Conv3d_2c_3x3'), 64, 192, 3)}
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


def lstm(channels: int, hidden: int = 450, layers: int = 2) -> Names:
    names = {}
    for i in range(layers):
        names[f'lstm.weight_ih_l{i}'] = (4 * hidden, hidden if i else channels)
        names[f'lstm.weight_hh_l{i}'] = (4 * hidden, hidden)
        names[f'lstm.bias_ih_l{i}'] = (4 * hidden,)
        names[f'lstm.bias_hh_l{i}'] = (4 * hidden,)
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
    if backbone == 'resnext':
        channels, tokens = 2048, 4
        names = resnext(depth, in_channels, 'features.0', 'features.1',
                        tuple(f'features.{i}' for i in (4, 5, 6, 7)),
                        reduced=reduction == 'FRMB')
        if reduction == 'FRAB':
            names.update(bottleneck('mapper', 2048, 256, shortcut=True))
    else:
        channels, tokens = 1024, 8
        names = i3d(in_channels, lambda name: f'features.{I3D_PLACES[name]}',
                    reduced=reduction == 'FRMB')
        if reduction == 'FRAB':
            names.update(inception('mapper', 1024, *REDUCED))
    if reduction:
        channels = 512
    if head == 'bert':
        names.update(bert(channels, tokens))
    if head == 'lstm':
        names.update(lstm(channels))
        channels = 450
    return {**names, **linear('fc_action', channels, num_classes)}


def kenshohara(depth: int, in_channels: int = 3,
               num_classes: Optional[int] = 400) -> Names:
    """Names of a 3D-ResNets ResNeXt; ``num_classes=None`` leaves ``fc`` out."""
    names = resnext(depth, in_channels)
    if num_classes is not None:
        names.update(linear('fc', 2048, num_classes))
    return names


def piergiaj(in_channels: int = 3, num_classes: int = 400) -> Names:
    """Names of the pytorch-i3d port; its classifier is a 1x1x1 convolution."""
    return {**i3d(in_channels),
            'logits.conv3d.weight': (num_classes, 1024, 1, 1, 1),
            'logits.conv3d.bias': (num_classes,)}
