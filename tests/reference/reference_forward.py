"""The reference models' forward passes, computed from their own state dicts.

Plain functions over a dict of reference-named tensors (evaluation mode only):
convolutions, batch norms and poolings are called by name, nothing of the package
is used, and the cost volume is built whole. They give the logits and features that a
converted checkpoint has to reproduce where no recorded values are at hand.
"""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.reference_names import I3D_PLACES, Names

State = dict[str, Tensor]

ATTENTION = 'attention_modules.attention_modules'


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


def conv(state: State, prefix: str, x: Tensor, **settings) -> Tensor:
    """A convolution of as many dimensions as its weight has."""
    weight = state[f'{prefix}.weight']
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.dim()]
    return convolve(x, weight, state.get(f'{prefix}.bias'), **settings)


def norm(state: State, prefix: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return F.batch_norm(x, state[f'{prefix}.running_mean'],
                        state[f'{prefix}.running_var'], state[f'{prefix}.weight'],
                        state[f'{prefix}.bias'], training=False, eps=eps)


def linear(state: State, prefix: str, x: Tensor) -> Tensor:
    return x @ state[f'{prefix}.weight'].T + state[f'{prefix}.bias']


# -- residual networks ---------------------------------------------------------------


def bottleneck(state: State, prefix: str, x: Tensor, stride: int) -> Tensor:
    """ResNeXt's of 32 groups, ResNet's, or SE-ResNet's with the stride in front."""
    gate = f'{prefix}.se_module'
    gated = f'{gate}.fc1.weight' in state
    first, second = (stride, 1) if gated else (1, stride)
    y = conv(state, f'{prefix}.conv1', x, stride=first)
    y = F.relu(norm(state, f'{prefix}.bn1', y))
    groups = 32 if x.dim() == 5 else 1
    y = conv(state, f'{prefix}.conv2', y, stride=second, padding=1, groups=groups)
    y = F.relu(norm(state, f'{prefix}.bn2', y))
    y = norm(state, f'{prefix}.bn3', conv(state, f'{prefix}.conv3', y))
    if gated:
        z = F.relu(conv(state, f'{gate}.fc1', F.adaptive_avg_pool2d(y, 1)))
        y = y * conv(state, f'{gate}.fc2', z).sigmoid()
    if f'{prefix}.downsample.0.weight' in state:
        x = conv(state, f'{prefix}.downsample.0', x, stride=stride)
        x = norm(state, f'{prefix}.downsample.1', x)
    return F.relu(x + y)


def layer(state: State, prefix: str, x: Tensor, stride: int) -> Tensor:
    i = 0
    while f'{prefix}.{i}.conv1.weight' in state:
        x = bottleneck(state, f'{prefix}.{i}', x, stride if i == 0 else 1)
        i += 1
    return x


def resnext(state: State, x: Tensor, stem: str, stem_norm: str,
            layers: Sequence[str]) -> Tensor:
    x = conv(state, stem, x, stride=(1, 2, 2), padding=3)
    x = F.max_pool3d(F.relu(norm(state, stem_norm, x)), 3, stride=2, padding=1)
    for prefix in layers:
        x = layer(state, prefix, x, 1 if prefix == layers[0] else 2)
    return x


# -- Inception I3D -------------------------------------------------------------------


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    padding = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride))):
        total = max((math.ceil(size / s) - 1) * s + k - size, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding)


def unit(state: State, prefix: str, x: Tensor, stride: int = 1) -> Tensor:
    kernel = state[f'{prefix}.conv3d.weight'].shape[2:]
    x = pad_same(x, kernel, 3 * (stride,))
    x = conv(state, f'{prefix}.conv3d', x, stride=stride)
    return F.relu(norm(state, f'{prefix}.bn', x, 1e-3))


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


# -- heads ---------------------------------------------------------------------------


def layer_norm(state: State, prefix: str, x: Tensor) -> Tensor:
    """Unbiased standard deviation, eps outside the root: not torch's own."""
    x = (x - x.mean(-1, True)) / (x.std(-1, keepdim=True) + 1e-6)
    return state[f'{prefix}.a_2'] * x + state[f'{prefix}.b_2']


def attention(state: State, prefix: str, x: Tensor, heads: int = 8) -> Tensor:
    query, key, value = (
        linear(state, f'{prefix}.linear_layers.{i}', x)
        .unflatten(2, (heads, -1)).transpose(1, 2) for i in range(3))
    scores = query @ key.transpose(2, 3) / math.sqrt(x.shape[2] // heads)
    x = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    return linear(state, f'{prefix}.output_linear', x)


def bert(state: State, tokens: Tensor) -> Tensor:
    """(N, T', C) tokens -> (N, C) of the classification token."""
    block = 'bert.transformer_blocks.0'
    cls = state['bert.clsToken'].expand(len(tokens), -1, -1)
    x = torch.cat([cls, tokens], 1) + state['bert.embedding.learnedPosition.pe']
    x = x + attention(state, f'{block}.attention',
                      layer_norm(state, f'{block}.input_sublayer.norm', x))
    y = layer_norm(state, f'{block}.output_sublayer.norm', x)
    y = linear(state, f'{block}.feed_forward.w_1', y)
    y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
    return (x + linear(state, f'{block}.feed_forward.w_2', y))[:, 0]


def lstm(state: State, prefix: str, tokens: Tensor) -> Tensor:
    """(N, T', C) tokens -> (N, T', hidden) of the last layer."""
    i = 0
    while f'{prefix}.weight_ih_l{i}' in state:
        hidden = state[f'{prefix}.weight_hh_l{i}'].shape[1]
        h = c = tokens.new_zeros(len(tokens), hidden)
        outputs = []
        for token in tokens.unbind(1):
            gates = (token @ state[f'{prefix}.weight_ih_l{i}'].T
                     + state[f'{prefix}.bias_ih_l{i}']
                     + h @ state[f'{prefix}.weight_hh_l{i}'].T
                     + state[f'{prefix}.bias_hh_l{i}'])
            enter, forget, cell, leave = gates.chunk(4, 1)
            c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
            h = leave.sigmoid() * c.tanh()
            outputs.append(h)
        tokens = torch.stack(outputs, 1)
        i += 1
    return tokens


# -- whole models of actions ---------------------------------------------------------


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
        feature = lstm(state, 'lstm', tokens)[:, -1]
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
    return conv(state, 'logits.conv3d', x).flatten(1)


# -- the co-segmentation re-ID model -------------------------------------------------


def cosam(state: State, prefix: str, x: Tensor, t: int) -> Tensor:
    """(N*T, C, H, W) to the same shape."""
    r = conv(state, f'{prefix}.dim_reduction.0', x)
    r = F.relu(norm(state, f'{prefix}.dim_reduction.1', r))
    r = (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)
    clips = r.flatten(2).unflatten(0, (-1, t))                  # (N, T, D, P)
    volume = []
    for clip in clips:
        for frame in range(t):
            others = torch.cat([clip[m] for m in range(t) if m != frame], dim=1)
            volume.append(others.T @ clip[frame] / r.shape[1])  # ((T-1)*P, P)
    volume = torch.stack(volume).unflatten(2, x.shape[2:])
    summary = f'{prefix}.spatial_mask_summary'
    z = F.relu(norm(state, f'{summary}.1', conv(state, f'{summary}.0', volume)))
    y = x * conv(state, f'{summary}.3', z).sigmoid()
    votes = linear(state, f'{prefix}.channelwise_attention.0', y.mean((2, 3))).tanh()
    votes = linear(state, f'{prefix}.channelwise_attention.2', votes).sigmoid()
    mask = votes.unflatten(0, (-1, t)).mean(1).repeat_interleave(t, dim=0)
    return y + y * mask[:, :, None, None]


def feature(state: State, clips: Tensor) -> Tensor:
    """(N, T, 3, 256, 128) clips to features (N, D)."""
    t, x = clips.shape[1], clips.flatten(0, 1)
    is_ta = 'aggregation.attention_conv.weight' in state
    if 'base.layer0.conv1.weight' in state:
        x = conv(state, 'base.layer0.conv1', x, stride=2, padding=3)
        x = F.max_pool2d(F.relu(norm(state, 'base.layer0.bn1', x)), 3, 2,
                         ceil_mode=True)
        places, first = [f'base.layer{i}' for i in (1, 2, 3, 4)], 1
        if f'{ATTENTION}.0.dim_reduction.0.weight' in state:
            x = cosam(state, f'{ATTENTION}.0', x, t)
    else:
        x = conv(state, 'base.0', x, stride=2, padding=3)
        x = F.max_pool2d(F.relu(norm(state, 'base.1', x)), 3, 2, padding=1)
        places, first = [f'base.{i}' for i in (4, 5, 6, 7)], 0
    for i, (place, stride) in enumerate(zip(places, (1, 2, 2, 2 if is_ta else 1))):
        x = layer(state, place, x, stride)
        prefix = f'{ATTENTION}.{i + first}'
        if f'{prefix}.dim_reduction.0.weight' in state:
            x = cosam(state, prefix, x, t)
    tokens = x.mean((2, 3)).unflatten(0, (-1, t))               # (N, T, C)
    if is_ta:
        a = F.relu(conv(state, 'aggregation.attention_conv', x)).flatten(1)
        a = a.unflatten(0, (-1, t)).transpose(1, 2)             # (N, 256, T)
        a = F.relu(conv(state, 'aggregation.attention_tconv', a, padding=1))
        return (tokens * F.softmax(a[:, 0], dim=1)[:, :, None]).sum(1)
    if 'aggregation.lstm.weight_ih_l0' in state:
        tokens = lstm(state, 'aggregation.lstm', tokens)
    return tokens.mean(1)
