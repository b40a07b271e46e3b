"""Co-segmentation attention as functions of tensors.

COSAM (Subramaniam et al., ICCV 2019, section 3) lets the frames of a clip vote
on what they have in common. The vote on places runs in four turns::

    features (N, C, T, P)                     P = H * W places
        | reduce: 1x1 convolution, BN, ReLU   (the module's, not here)
        v
    reduced (N, D, T, P)
        | standardize_descriptors             zero mean, unit deviation over D
        v
    descriptors (N, D, T, P)
        | summarize_cost_volume               correlate with all other frames,
        v                                     weigh the (T-1)*P scores
    summary (N, K, T, P)
        | BN, ReLU, 1x1 convolution, sigmoid  (the module's, not here)
        v
    spatial mask (N, T, P)

The papers build the cost volume, (T-1)*P scores for each of the T*P places,
and convolve it. Nothing non-linear stands between the two, so here the volume
never exists: the weights are correlated with the frames first, which costs
O(T*P*K*D) instead of O(T^2*P^2*D) and needs O(T*K*D) memory instead of
O(T^2*P^2). The result is the same to rounding.
"""
from typing import Optional

import torch
from torch import Tensor

__all__ = [
    'apply_masks', 'masked_average_pool', 'standardize_descriptors',
    'summarize_cost_volume'
]


def standardize_descriptors(reduced: Tensor, eps: float = 1e-4) -> Tensor:
    """Give every place a descriptor of zero mean and unit deviation.

    The dot product of two such descriptors, divided by their length, is their
    normalised cross-correlation.

    Args:
        reduced: Features after reduction, (N, D, ...) with D >= 2.
        eps: Added to the deviation, which is zero where all channels agree.

    Returns:
        Tensor of the same shape: ``(x - mean) / (std + eps)`` over dimension
        1, with the unbiased deviation.
    """
    std, mean = torch.std_mean(reduced, dim=1, keepdim=True)
    return (reduced - mean) / (std + eps)


def summarize_cost_volume(descriptors: Tensor, weight: Tensor,
                          bias: Optional[Tensor] = None) -> Tensor:
    """Convolve the cost volume with 1x1 filters without ever building it.

    At a place of frame n the cost volume holds the correlation with each place
    of each other frame m, in frame order. So its slot j is frame j for j < n
    and frame j + 1 for j >= n. Write W_j for the weights of slot j and R_m for
    the descriptors of frame m. The summary of frame n is then::

        T_n^T R_n / D + bias,
        T_n = sum_{j<n} W_j R_j^T + sum_{j>=n} W_j R_{j+1}^T

    The first sum grows with n and the second shrinks: a prefix sum and a
    suffix sum over 2 * (T - 1) small products serve all T frames.

    Args:
        descriptors: Standardised descriptors R, (N, D, T, P) with T >= 2.
        weight: Summary weights, (K, (T - 1) * P): frames outermost.
        bias: (K,) or None.

    Returns:
        Summary maps, (N, K, T, P).

    Raises:
        ValueError: ``weight`` was made for another number of frames or places.
    """
    n, d, t, p = descriptors.shape
    k = weight.shape[0]
    if weight.shape[1] != (t - 1) * p:
        raise ValueError(
            f'The summary weights hold {weight.shape[1]} scores a place; '
            f'{t} frames of {p} places give (T - 1) * P = {(t - 1) * p}.')
    frames = descriptors.permute(2, 0, 1, 3).contiguous()          # (T, N, D, P)
    rows = frames.view(t, n * d, p)
    slots = weight.view(k, t - 1, p).permute(1, 2, 0)              # (T-1, P, K)
    before = torch.bmm(rows[:-1], slots).cumsum(0)                 # (T-1, N*D, K)
    after = torch.bmm(rows[1:], slots).flip(0).cumsum(0).flip(0)
    none = before.new_zeros(1, n * d, k)
    template = torch.cat([none, before]) + torch.cat([after, none])
    template = template.view(t * n, d, k).transpose(1, 2) / d      # (T*N, K, D)
    summary = torch.bmm(template, frames.view(t * n, d, p))        # (T*N, K, P)
    if bias is not None:
        summary = summary + bias[:, None]
    return summary.view(t, n, k, p).permute(1, 2, 0, 3)            # (N, K, T, P)


def masked_average_pool(x: Tensor, spatial_mask: Optional[Tensor]) -> Tensor:
    """Average each frame's features over its places, weighed by the mask.

    Equal to pooling the masked features, which are not needed for it.

    Args:
        x: Features, (N, C, T, P).
        spatial_mask: (N, T, P), or None for weight 1 everywhere.

    Returns:
        (N, T, C).
    """
    if spatial_mask is None:
        return x.mean(dim=3).transpose(1, 2)
    return torch.einsum('nctp,ntp->ntc', x, spatial_mask) / x.shape[3]


def apply_masks(x: Tensor, spatial_mask: Optional[Tensor],
                channel_mask: Optional[Tensor]) -> Tensor:
    """Weigh features by both masks: ``y + c * y`` with ``y = m * x``.

    Args:
        x: Features, (N, C, T, P).
        spatial_mask: m, (N, T, P), or None for 1.
        channel_mask: c, (N, C), or None for 0.

    Returns:
        (N, C, T, P): ``x * m * (1 + c)``.
    """
    if spatial_mask is not None:
        x = x * spatial_mask[:, None]
    if channel_mask is not None:
        x = x * (1 + channel_mask)[:, :, None, None]
    return x
