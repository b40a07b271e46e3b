"""The reference models' forward passes, computed from their own state dicts.

Plain functions over a dict of reference-named tensors (evaluation mode only):
convolutions, batch norms and poolings are called by name, nothing of the package
is used. They give the logits that a converted checkpoint has to reproduce where
no recorded values are at hand.
"""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.reference_names import I3D_PLACES, Names

State = dict[str, Tensor]


def random_state(names: Names, seed: int = 0) -> State:
    """Weights of a size at which signals neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in names.items():
        leaf = name.rsplit('.', 1)[-1]
        if leaf == 'num_batches_tracked':
            state[name] = torch.tensor(7)
            continue
        noise = torch.randn(shape, generator=generator)
        if leaf == 'running_var':
            state[name] = torch.exp(0.1 * noise)
        elif len(shape) >= 2 and leaf not in ('pe', 'clsToken'):
            state[name] = noise * math.sqrt(2 / math.prod(shape[1:]))
        else:
            state[name] = 0.1 * noise + (leaf in ('weight', 'a_2'))
    return state


def batch_norm(state: State, prefix: str, x: Tensor, eps: float) -> Tensor:
    return F.batch_norm(x, state[f'{prefix}.running_mean'],
                        state[f'{prefix}.running_var'], state[f'{prefix}.weight'],
                        state[f'{prefix}.bias'], training=False, eps=eps)


# -- ResNeXt -----------------------------------------------------------------


def bottleneck(state: State, prefix: str, x: Tensor, stride: int) -> Tensor:
    def norm(index, y):
        return batch_norm(state, f'{prefix}.bn{index}', y, 1e-5)

    y = F.relu(norm(1, F.conv3d(x, state[f'{prefix}.conv1.weight'])))
    y = F.relu(norm(2, F.conv3d(y, state[f'{prefix}.conv2.weight'], stride=stride,
                                padding=1, groups=32)))
    y = norm(3, F.conv3d(y, state[f'{prefix}.conv3.weight']))
    if f'{prefix}.downsample.0.weight' in state:
        x = F.conv3d(x, state[f'{prefix}.downsample.0.weight'], stride=stride)
        x = batch_norm(state, f'{prefix}.downsample.1', x, 1e-5)
    return F.relu(x + y)


def resnext(state: State, x: Tensor, stem: str, norm: str,
            layers: Sequence[str]) -> Tensor:
    x = F.conv3d(x, state[f'{stem}.weight'], stride=(1, 2, 2), padding=3)
    x = F.relu(batch_norm(state, norm, x, 1e-5))
    x = F.max_pool3d(x, 3, stride=2, padding=1)
    for layer in layers:
        i = 0
        while f'{layer}.{i}.conv1.weight' in state:
            stride = 2 if i == 0 and layer != layers[0] else 1
            x = bottleneck(state, f'{layer}.{i}', x, stride)
            i += 1
    return x


# -- Inception I3D -----------------------------------------------------------


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    padding = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride))):
        total = max((math.ceil(size / s) - 1) * s + k - size, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding)


def unit(state: State, prefix: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f'{prefix}.conv3d.weight']
    x = pad_same(x, weight.shape[2:], 3 * (stride,))
    x = F.conv3d(x, weight, stride=stride)
    return F.relu(batch_norm(state, f'{prefix}.bn', x, 1e-3))


def pool(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


def inception(state: State, prefix: str, x: Tensor) -> Tensor:
    return torch.cat([
        unit(state, f'{prefix}.b0', x),
        unit(state, f'{prefix}.b1b', unit(state, f'{prefix}.b1a', x)),
        unit(state, f'{prefix}.b2b', unit(state, f'{prefix}.b2a', x)),
        unit(state, f'{prefix}.b3b', pool(x, (3, 3, 3), (1, 1, 1)))], dim=1)


def i3d(state: State, x: Tensor, place=lambda name: name) -> Tensor:
    x = unit(state, place('Conv3d_1a_7x7'), x, stride=2)
    x = pool(x, (1, 3, 3), (1, 2, 2))
    x = unit(state, place('Conv3d_2b_1x1'), x)
    x = unit(state, place('Conv3d_2c_3x3'), x)
    x = pool(x, (1, 3, 3), (1, 2, 2))
    for stage, letters in (('3', 'bc'), ('4', 'bcdef'), ('5', 'bc')):
        if stage == '4':
            x = pool(x, (3, 3, 3), (2, 2, 2))
        if stage == '5':
            x = pool(x, (2, 2, 2), (2, 2, 2))
        for letter in letters:
            x = inception(state, place(f'Mixed_{stage}{letter}'), x)
    return x


# -- heads -------------------------------------------------------------------


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Unbiased standard deviation, eps outside the root: not torch's own."""
    return scale * (x - x.mean(-1, True)) / (x.std(-1, keepdim=True) + 1e-6) + shift


def linear(state: State, prefix: str, x: Tensor) -> Tensor:
    return x @ state[f'{prefix}.weight'].T + state[f'{prefix}.bias']


def attention(state: State, prefix: str, x: Tensor, heads: int) -> Tensor:
    batch, length, channels = x.shape
    query, key, value = (
        linear(state, f'{prefix}.linear_layers.{i}', x)
        .view(batch, length, heads, channels // heads).transpose(1, 2)
        for i in range(3))
    scores = query @ key.transpose(2, 3) / math.sqrt(channels // heads)
    x = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, channels)
    return linear(state, f'{prefix}.output_linear', x)


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def bert(state: State, tokens: Tensor, heads: int = 8) -> Tensor:
    """(N, T', C) tokens -> (N, C) of the classification token."""
    block = 'bert.transformer_blocks.0'
    cls = state['bert.clsToken'].expand(len(tokens), -1, -1)
    x = torch.cat([cls, tokens], 1) + state['bert.embedding.learnedPosition.pe']
    norm = f'{block}.input_sublayer.norm'
    x = x + attention(state, f'{block}.attention',
                      layer_norm(x, state[f'{norm}.a_2'], state[f'{norm}.b_2']), heads)
    norm = f'{block}.output_sublayer.norm'
    y = layer_norm(x, state[f'{norm}.a_2'], state[f'{norm}.b_2'])
    y = gelu(linear(state, f'{block}.feed_forward.w_1', y))
    return (x + linear(state, f'{block}.feed_forward.w_2', y))[:, 0]


def lstm(state: State, tokens: Tensor) -> Tensor:
    """(N, T', C) tokens -> (N, hidden) of the last step of the last layer."""
    i = 0
    while f'lstm.weight_ih_l{i}' in state:
        hidden = state[f'lstm.weight_hh_l{i}'].shape[1]
        h = c = tokens.new_zeros(len(tokens), hidden)
        outputs = []
        for token in tokens.unbind(1):
            gates = (token @ state[f'lstm.weight_ih_l{i}'].T
                     + state[f'lstm.bias_ih_l{i}']
                     + h @ state[f'lstm.weight_hh_l{i}'].T
                     + state[f'lstm.bias_hh_l{i}'])
            enter, forget, cell, leave = gates.chunk(4, 1)
            c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
            h = leave.sigmoid() * c.tanh()
            outputs.append(h)
        tokens = torch.stack(outputs, 1)
        i += 1
    return tokens[:, -1]


# -- whole models ------------------------------------------------------------


def late_temporal(state: State, clip: Tensor) -> Tensor:
    """(N, C, T, H, W) clip -> (N, K) logits of a late-temporal model."""
    is_i3d = 'features.0.conv3d.weight' in state
    if is_i3d:
        x = i3d(state, clip, lambda name: f'features.{I3D_PLACES[name]}')
        if 'mapper.b0.conv3d.weight' in state:
            x = inception(state, 'mapper', x)
    else:
        x = resnext(state, clip, 'features.0', 'features.1',
                    [f'features.{i}' for i in (4, 5, 6, 7)])
        if 'mapper.conv1.weight' in state:
            x = bottleneck(state, 'mapper', x, 1)
    tokens = x.mean((3, 4)).transpose(1, 2)
    if 'bert.clsToken' in state:
        if is_i3d:
            tokens = tokens / tokens.norm(dim=-1, keepdim=True)
        feature = bert(state, tokens)
    elif 'lstm.weight_ih_l0' in state:
        feature = lstm(state, tokens)
    else:
        feature = tokens.mean(1)
    return linear(state, 'fc_action', feature)


def kenshohara(state: State, clip: Tensor) -> Tensor:
    """(N, C, T, H, W) clip -> (N, K) logits of a 3D-ResNets ResNeXt."""
    x = resnext(state, clip, 'conv1', 'bn1', [f'layer{i}' for i in (1, 2, 3, 4)])
    return linear(state, 'fc', x.mean((2, 3, 4)))


def piergiaj(state: State, clip: Tensor) -> Tensor:
    """(N, C, T, H, W) clip -> (N, K) logits, averaged over the whole clip."""
    x = i3d(state, clip).mean((2, 3, 4), keepdim=True)
    x = F.conv3d(x, state['logits.conv3d.weight'], state['logits.conv3d.bias'])
    return x.flatten(1)
