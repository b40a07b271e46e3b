"""The co-segmentation re-ID models' forward pass, from their own state dicts.

Plain functions over a dict of reference-named tensors, evaluation mode only; nothing
of the package is used. The cost volume is built whole.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.reference_forward import State, batch_norm

ATTENTION = 'attention_modules.attention_modules'


def norm(state: State, prefix: str, x: Tensor) -> Tensor:
    return batch_norm(state, prefix, x, 1e-5)


def gate(state: State, prefix: str, x: Tensor) -> Tensor:
    z = F.adaptive_avg_pool2d(x, 1)
    z = F.conv2d(z, state[f'{prefix}.fc1.weight'], state[f'{prefix}.fc1.bias'])
    z = F.conv2d(F.relu(z), state[f'{prefix}.fc2.weight'], state[f'{prefix}.fc2.bias'])
    return x * z.sigmoid()


def bottleneck(state: State, prefix: str, x: Tensor, stride: int) -> Tensor:
    gated = f'{prefix}.se_module.fc1.weight' in state
    first, second = (stride, 1) if gated else (1, stride)
    y = F.conv2d(x, state[f'{prefix}.conv1.weight'], stride=first)
    y = F.relu(norm(state, f'{prefix}.bn1', y))
    y = F.conv2d(y, state[f'{prefix}.conv2.weight'], stride=second, padding=1)
    y = F.relu(norm(state, f'{prefix}.bn2', y))
    y = norm(state, f'{prefix}.bn3', F.conv2d(y, state[f'{prefix}.conv3.weight']))
    if gated:
        y = gate(state, f'{prefix}.se_module', y)
    if f'{prefix}.downsample.0.weight' in state:
        x = F.conv2d(x, state[f'{prefix}.downsample.0.weight'], stride=stride)
        x = norm(state, f'{prefix}.downsample.1', x)
    return F.relu(x + y)


def layer(state: State, prefix: str, x: Tensor, stride: int) -> Tensor:
    i = 0
    while f'{prefix}.{i}.conv1.weight' in state:
        x = bottleneck(state, f'{prefix}.{i}', x, stride if i == 0 else 1)
        i += 1
    return x


def cosam(state: State, prefix: str, x: Tensor, t: int) -> Tensor:
    """(N*T, C, H, W) to the same shape."""
    def convolve(name, z):
        return F.conv2d(z, state[f'{prefix}.{name}.weight'],
                        state[f'{prefix}.{name}.bias'])

    def connect(name, z):
        return z @ state[f'{prefix}.{name}.weight'].T + state[f'{prefix}.{name}.bias']

    r = F.relu(norm(state, f'{prefix}.dim_reduction.1',
                    convolve('dim_reduction.0', x)))
    r = (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)
    clips = r.flatten(2).unflatten(0, (-1, t))                  # (N, T, D, P)
    volume = []
    for clip in clips:
        for frame in range(t):
            others = torch.cat([clip[m] for m in range(t) if m != frame], dim=1)
            volume.append(others.T @ clip[frame] / r.shape[1])  # ((T-1)*P, P)
    volume = torch.stack(volume).unflatten(2, x.shape[2:])
    z = F.relu(norm(state, f'{prefix}.spatial_mask_summary.1',
                    convolve('spatial_mask_summary.0', volume)))
    y = x * convolve('spatial_mask_summary.3', z).sigmoid()
    votes = connect('channelwise_attention.0', y.mean((2, 3))).tanh()
    votes = connect('channelwise_attention.2', votes).sigmoid()
    mask = votes.unflatten(0, (-1, t)).mean(1).repeat_interleave(t, dim=0)
    return y + y * mask[:, :, None, None]


def lstm(state: State, tokens: Tensor) -> Tensor:
    """(N, T, C) to the mean of the outputs, (N, hidden)."""
    weights = {name: state[f'aggregation.lstm.{name}_l0']
               for name in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')}
    hidden = weights['weight_hh'].shape[1]
    h = c = tokens.new_zeros(len(tokens), hidden)
    outputs = []
    for token in tokens.unbind(1):
        gates = (token @ weights['weight_ih'].T + weights['bias_ih']
                 + h @ weights['weight_hh'].T + weights['bias_hh'])
        enter, forget, cell, leave = gates.chunk(4, 1)
        c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
        h = leave.sigmoid() * c.tanh()
        outputs.append(h)
    return sum(outputs) / len(outputs)


def temporal_attention(state: State, x: Tensor, t: int) -> Tensor:
    """(N*T, C, 8, 4) to (N, C)."""
    a = F.relu(F.conv2d(x, state['aggregation.attention_conv.weight'],
                        state['aggregation.attention_conv.bias'])).flatten(1)
    a = a.unflatten(0, (-1, t)).transpose(1, 2)                 # (N, 256, T)
    a = F.relu(F.conv1d(a, state['aggregation.attention_tconv.weight'],
                        state['aggregation.attention_tconv.bias'], padding=1))
    weights = F.softmax(a[:, 0], dim=1)                         # (N, T)
    tokens = x.mean((2, 3)).unflatten(0, (-1, t))               # (N, T, C)
    return (tokens * weights[:, :, None]).sum(1)


def feature(state: State, clips: Tensor) -> Tensor:
    """(N, T, 3, 256, 128) clips to features (N, D)."""
    t = clips.shape[1]
    x = clips.flatten(0, 1)
    is_ta = 'aggregation.attention_conv.weight' in state
    if 'base.layer0.conv1.weight' in state:
        x = F.conv2d(x, state['base.layer0.conv1.weight'], stride=2, padding=3)
        x = F.max_pool2d(F.relu(norm(state, 'base.layer0.bn1', x)), 3, 2,
                         ceil_mode=True)
        places, first = [f'base.layer{i}' for i in (1, 2, 3, 4)], 1
        if f'{ATTENTION}.0.dim_reduction.0.weight' in state:
            x = cosam(state, f'{ATTENTION}.0', x, t)
    else:
        x = F.conv2d(x, state['base.0.weight'], stride=2, padding=3)
        x = F.max_pool2d(F.relu(norm(state, 'base.1', x)), 3, 2, padding=1)
        places, first = [f'base.{i}' for i in (4, 5, 6, 7)], 0
    for i, (place, stride) in enumerate(zip(places, (1, 2, 2, 2 if is_ta else 1))):
        x = layer(state, place, x, stride)
        prefix = f'{ATTENTION}.{i + first}'
        if f'{prefix}.dim_reduction.0.weight' in state:
            x = cosam(state, prefix, x, t)
    if is_ta:
        return temporal_attention(state, x, t)
    tokens = x.mean((2, 3)).unflatten(0, (-1, t))
    if 'aggregation.lstm.weight_ih_l0' in state:
        return lstm(state, tokens)
    return tokens.mean(1)
