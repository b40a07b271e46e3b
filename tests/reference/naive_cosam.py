"""COSAM written from the paper's description, step by step, in loops.

Nothing here is shared with the package: the cost volume is built place by
place, and each mask is applied where the paper applies it.
"""
import torch
from torch import Tensor


def naive_spatial_mask(reduced: Tensor, weight: Tensor, bias: Tensor,
                       norm, weight_2: Tensor, bias_2: Tensor,
                       eps: float = 1e-4) -> Tensor:
    """Spatial mask (N, T, H, W) of reduced features (N, D, T, H, W)."""
    n, d, t, h, w = reduced.shape
    descriptors = torch.empty_like(reduced)
    for frame in range(t):
        for y in range(h):
            for x in range(w):
                value = reduced[:, :, frame, y, x]
                mean = value.sum(1, keepdim=True) / d
                std = (((value - mean)**2).sum(1, keepdim=True) / (d - 1)).sqrt()
                descriptors[:, :, frame, y, x] = (value - mean) / (std + eps)
    summaries = []
    for frame in range(t):
        others = [m for m in range(t) if m != frame]
        volume = torch.stack([
            (descriptors[:, :, frame] *
             descriptors[:, :, m, y, x][:, :, None, None]).sum(1) / d
            for m in others for y in range(h) for x in range(w)], dim=1)
        summaries.append(torch.einsum('kv,nvhw->nkhw', weight, volume) +
                         bias[:, None, None])
    maps = norm(torch.cat(summaries)).relu()
    mask = torch.sigmoid(torch.einsum('k,nkhw->nhw', weight_2, maps) + bias_2)
    return torch.stack(mask.chunk(t), dim=1)


def naive_cosam(module, x: Tensor):
    """(output, spatial mask, channel mask) of a COSAM module for 5-D ``x``."""
    y, spatial_mask, channel_mask = x, None, None
    n, _, t, h, w = x.shape
    if module.with_spatial:
        conv, norm, _ = module.reduction
        frames = x.transpose(1, 2).flatten(0, 1)
        reduced = norm(conv(frames)).relu()
        reduced = reduced.unflatten(0, (n, t)).transpose(1, 2)
        first, norm, _, second = module.summary
        spatial_mask = naive_spatial_mask(
            reduced, first.weight[:, :, 0, 0], first.bias, norm,
            second.weight[0, :, 0, 0], second.bias, module.eps)
        y = x * spatial_mask[:, None]
    if module.with_channel:
        fc1, _, fc2, _ = module.channel_attention
        votes = []
        for frame in range(t):
            pooled = y[:, :, frame].flatten(2).sum(2) / (h * w)
            votes.append(torch.sigmoid(fc2(torch.tanh(fc1(pooled)))))
        channel_mask = sum(votes) / t
        y = y + channel_mask[:, :, None, None, None] * y
    return y, spatial_mask, channel_mask
