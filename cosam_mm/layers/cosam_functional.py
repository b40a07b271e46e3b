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

:func:`summarize_reference_volume` is the same turn of a later formulation, in which
the frames are compared with given reference frames instead of with one another.
"""
from typing import Callable, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from .cosam_gradients import (
    MaskAndPool,
    Project,
    Standardize,
    SummarizeInTurn,
    WeighInPlace,
    has_own_gradients,
    summarize_at_once,
)

__all__ = [
    'apply_masks', 'attend', 'masked_average_pool', 'project',
    'standardize_descriptors', 'summarize_cost_volume', 'summarize_reference_volume'
]


def project(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution of features that are needed again afterwards.

    Go on with the features that it returns: their gradient then is summed up in one
    memory.

    Args:
        x: Features, (M, C, A, B).
        weight: (D, C, 1, 1).
        bias: (D,).

    Returns:
        The projection, (M, D, A, B), and x.
    """
    if (has_own_gradients() and torch.is_grad_enabled() and x.requires_grad
            and _is_exact(x, weight)):
        return Project.apply(x, weight, bias)
    return F.conv2d(x, weight, bias), x


def _is_exact(x: Tensor, weight: Tensor) -> bool:
    """Whether a product is one of equal, full precision."""
    device = x.device.type
    is_lowered = (torch.amp.is_autocast_available(device)
                  and torch.is_autocast_enabled(device))
    return (x.dtype == weight.dtype and x.dtype in (torch.float32, torch.float64)
            and not is_lowered)


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
    if has_own_gradients():
        return Standardize.apply(reduced, eps)
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

    From one frame to the next a single slot changes hands: where frame n takes
    part in T_{n+1}, frame n + 1 did in T_n. So a running sum over
    2 * (T - 1) small products serves all T frames::

        T_{n+1} = T_n + W_n (R_n - R_{n+1})^T

    Args:
        descriptors: Standardised descriptors R, (N, D, T, P) with T >= 2.
        weight: Summary weights, (K, (T - 1) * P): frames outermost.
        bias: (K,) or None.

    Returns:
        Summary maps, (N, K, T, P).

    Raises:
        ValueError: ``weight`` was made for another number of frames or places.
    """
    t, p = descriptors.shape[2:]
    if weight.shape[1] != (t - 1) * p:
        raise ValueError(
            f'The summary weights hold {weight.shape[1]} scores a place; '
            f'{t} frames of {p} places give (T - 1) * P = {(t - 1) * p}.')
    in_turn = (has_own_gradients() and _is_exact(descriptors, weight)
               and descriptors.is_cpu)
    summarize = SummarizeInTurn.apply if in_turn else summarize_at_once
    summary = summarize(descriptors, weight)                       # (N, K, T, P)
    return summary if bias is None else summary + bias[:, None, None]


def summarize_reference_volume(descriptors: Tensor, references: Tensor,
                               weight: Tensor,
                               bias: Optional[Tensor] = None) -> Tensor:
    """Convolve the cost volume against reference frames, again without building it.

    At every place of every frame the volume holds the correlation with each place of
    each reference frame, so one template serves all frames::

        T^T R_n / D + bias,    T = sum_j W_j R_j^T over the references j

    Args:
        descriptors: Standardised descriptors of the frames, (N, D, T, P).
        references: Those of the reference frames, (N, D, S, Q); Q places, which may
            be more or fewer than P.
        weight: Summary weights, (K, S * Q): references outermost.
        bias: (K,) or None.

    Returns:
        Summary maps, (N, K, T, P).

    Raises:
        ValueError: ``weight`` was made for another number of references or places.
    """
    n, d, t, p = descriptors.shape
    s, q = references.shape[2:]
    if weight.shape[1] != s * q:
        raise ValueError(
            f'The summary weights hold {weight.shape[1]} scores a place; '
            f'{s} reference frames of {q} places give {s * q}.')
    template = weight @ references.flatten(2).transpose(1, 2) / d  # (N, K, D)
    summary = torch.bmm(template, descriptors.flatten(2))          # (N, K, T*P)
    if bias is not None:
        summary = summary + bias[:, None]
    return summary.unflatten(2, (t, p))                            # (N, K, T, P)


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


def attend(x: Tensor, spatial_mask: Optional[Tensor],
           channel_attention: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Weigh features by a spatial mask, and by the channel mask that follows from it.

    ``y = m * x``, ``c = channel_attention(average of y)``, ``y + c * y``.

    Args:
        x: Features, (N, C, T, P).
        spatial_mask: m, (N, T, P), or None for 1.
        channel_attention: From (N, T, C), each frame's features averaged over its
            places, to the channel mask c, (N, C).

    Returns:
        ``x * m * (1 + c)``, (N, C, T, P), and c.
    """
    if spatial_mask is not None:
        # Masks of higher precision raise that of the product.
        x = x.to(torch.promote_types(x.dtype, spatial_mask.dtype))
    if spatial_mask is None or not has_own_gradients():
        y = apply_masks(x, spatial_mask, None)
        channel_mask = channel_attention(y.mean(3).transpose(1, 2))
        return apply_masks(y, None, channel_mask), channel_mask
    spatial_mask = spatial_mask.to(x.dtype)
    y, pooled = MaskAndPool.apply(x, spatial_mask)
    channel_mask = channel_attention(pooled)
    weight = (1 + channel_mask).to(x.dtype)
    return WeighInPlace.apply(y, weight, x, spatial_mask), channel_mask
