"""The arithmetic of COSAM as functions of tensors; :mod:`.cosam` holds the parameters.

Subramaniam et al., ICCV 2019, section 3, compare every position of every frame with
every position of all other frames of the clip::

    features (N, C, T, P)                     P = H * W positions
        | 1x1 convolution, BN, ReLU           (the module's)
        v
    reduced (N, D, T, P)
        | standardize_descriptors             zero mean, unit deviation over D
        v
    descriptors (N, D, T, P)
        | summarize_cost_volume               correlate with all other frames,
        v                                     weigh the (T-1) * P scores
    summary maps (N, K, T, P)
        | BN, ReLU, 1x1 convolution, sigmoid  (the module's)
        v
    spatial mask (N, T, P)

The paper builds the cost volume of (T-1) * P scores for each of T * P positions and
convolves it. Both steps are linear, so their order may be swapped: here the weights are
correlated with the frames first, and the volume never exists. Time falls from
O(T^2 P^2 D) to O(T P K D), memory from O(T^2 P^2) to O(T K D). For 8 frames of 14 x 14
positions, D = 256 and K = 64, that is 131,072 numbers a clip in place of 2,151,296. The
result is the same to rounding.
"""
from typing import Callable, Optional

import torch
from torch import Tensor

__all__ = [
    'apply_masks', 'average_positions', 'evenly_spaced_frames', 'evenly_spaced_indices',
    'map_real_frames', 'standardize_descriptors', 'summarize_cost_volume',
    'summarize_reference_volume'
]


def standardize_descriptors(reduced: Tensor, eps: float = 1e-4) -> Tensor:
    """Give the descriptor of each position zero mean and unit deviation.

    The dot product of two such descriptors, divided by their length D, is their
    normalised cross-correlation.

    Large ones are multiplied by a power of two, which rounds nothing, since their
    squares would be infinite: float32 ends at 3e38.

    Args:
        reduced: Features after reduction, (N, D, ...) with D >= 2. None is negative,
            as a ReLU leaves them, so that their mean tells how large they are.
        eps: Added to the deviation, which is 0 where all channels agree.

    Returns:
        ``(x - mean) / (std + eps)`` over dimension 1, with the unbiased deviation; of
        the same shape and type. Statistics of 16-bit features are those of float32.
    """
    x = reduced.to(torch.promote_types(reduced.dtype, torch.float32))
    mean = x.mean(1, keepdim=True)
    scale = torch.where(mean.abs() < 2.**30, 1., 2.**-80).to(x.dtype)
    centred = torch.addcmul(mean * -scale, x, scale)
    # The norm has gradient 0 where it is 0; a square root would have NaN.
    norm = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    std = norm / (reduced.shape[1] - 1)**0.5
    return (centred / (std + eps * scale)).to(reduced.dtype)


def summarize_cost_volume(descriptors: Tensor, weight: Tensor,
                          bias: Optional[Tensor] = None) -> Tensor:
    """Convolve the cost volume with 1x1 filters without building it.

    At a position of frame n the cost volume holds the correlation with each position of
    each other frame, in frame order: slot j is frame j for j < n and frame j + 1 for
    j >= n. Write W_j for the weights of slot j, (K, P), and R_m for the descriptors of
    frame m, (D, P). The summary of frame n is then ::

        T_n^T R_n / D + bias,
        T_n = sum_{j<n} R_j W_j^T + sum_{j>=n} R_{j+1} W_j^T        the template, (D, K)

    From one frame to the next a single slot changes: slot n holds frame n + 1 in T_n
    and frame n in T_{n+1}. So a running sum gives all T templates::

        T_{n+1} = T_n + (R_n - R_{n+1}) W_n^T

    Args:
        descriptors: Standardised descriptors R, (N, D, T, P) with T >= 2.
        weight: Summary weights, (K, (T - 1) * P): slots outermost.
        bias: (K,) or None.

    Returns:
        Summary maps, (N, K, T, P).

    Raises:
        ValueError: ``weight`` was made for another number of frames or positions.
    """
    d, t, p = descriptors.shape[1:]
    if weight.shape[1] != (t - 1) * p:
        raise ValueError(
            f'The summary weights hold {weight.shape[1]} scores a position; '
            f'{t} frames of {p} positions give (T - 1) * P = {(t - 1) * p}.')
    slots = weight.unflatten(1, (t - 1, p))                           # (K, T-1, P)
    frames = descriptors[:, :, 1:]                                    # (N, D, T-1, P)
    steps = descriptors[:, :, :-1] - frames                           # (N, D, T-1, P)
    first = torch.einsum('ndsp,ksp->ndk', frames, slots)              # (N, D, K)
    moves = torch.einsum('ndsp,ksp->sndk', steps, slots)              # (T-1, N, D, K)
    # 16-bit products are summed in float32, as they are within a product.
    wide = torch.promote_types(moves.dtype, torch.float32)
    templates = torch.cat([first[None], moves]).to(wide).cumsum(0) / d
    summary = torch.einsum('tndk,ndtp->nktp', templates.to(moves.dtype), descriptors)
    return summary if bias is None else summary + bias[:, None, None]


def summarize_reference_volume(descriptors: Tensor, references: Tensor,
                               weight: Tensor,
                               bias: Optional[Tensor] = None) -> Tensor:
    """Convolve the cost volume against reference frames without building it.

    Every position of every frame is compared with each position of each reference
    frame, so that one template serves all frames::

        T^T R_n / D + bias,    T = sum_j R_j W_j^T over the references j

    Args:
        descriptors: Standardised descriptors of the frames, (N, D, T, P).
        references: Those of the reference frames, (N, D, S, Q). Their number of
            positions Q may differ from P.
        weight: Summary weights, (K, S * Q): references outermost.
        bias: (K,) or None.

    Returns:
        Summary maps, (N, K, T, P).

    Raises:
        ValueError: ``weight`` was made for another number of references or positions.
    """
    s, q = references.shape[2:]
    if weight.shape[1] != s * q:
        raise ValueError(
            f'The summary weights hold {weight.shape[1]} scores a position; '
            f'{s} reference frames of {q} positions give {s * q}.')
    template = weight @ references.flatten(2).transpose(1, 2)         # (N, K, D)
    template = template / descriptors.shape[1]
    summary = torch.einsum('nkd,ndtp->nktp', template, descriptors)
    return summary if bias is None else summary + bias[:, None, None]


def average_positions(x: Tensor) -> Tensor:
    """Average each frame over its positions: (N, C, T, P) to (N, T, C)."""
    # With the channels last in both tensors, torch adds many of them at once.
    return x.transpose(1, 2).mean(3)


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


# -- padded frames and reference frames ------------------------------------------


def map_real_frames(function: Callable[[Tensor], Tensor], clips: Tensor,
                    frame_mask: Optional[Tensor], others: Optional[Tensor] = None
                    ) -> tuple[Tensor, Optional[Tensor]]:
    """Apply a function to the real frames of clips, and of other clips, in one call.

    So the statistics that it takes are those of all real frames. The values of padded
    frames are never read.

    Args:
        function: (M, C, A, B) to (M, D, A, B), at each position alike.
        clips: (N, C, T, P).
        frame_mask: (N, T) bool, True for R real frames; None where all are real.
        others: (N, C, K, Q) or None.

    Returns:
        (N, D, T, P), 0 where frames are padded; and (N, D, K, Q) or None.
    """
    if frame_mask is None and others is None:
        return function(clips), None
    frames = clips.transpose(1, 2)                                    # (N, T, C, P)
    frames = frames.flatten(0, 1) if frame_mask is None else frames[frame_mask]
    columns = [frames.transpose(0, 1).flatten(1)]                     # (C, R * P)
    if others is not None:
        columns.append(others.transpose(0, 1).flatten(1))             # (C, N * K * Q)
    values = function(torch.cat(columns, 1)[None, ..., None])[0, ..., 0]
    own, *rest = values.split([c.shape[1] for c in columns], 1)
    own = own.unflatten(1, (-1, clips.shape[3])).transpose(0, 1)      # (R, D, P)
    if frame_mask is None:
        own = own.unflatten(0, (len(clips), -1))                      # (N, T, D, P)
    else:
        own = own.new_zeros(*frame_mask.shape, *own.shape[1:]).masked_scatter(
            frame_mask[:, :, None, None], own)
    for values in rest:
        others = values.unflatten(1, (len(others), *others.shape[2:])).transpose(0, 1)
    return own.transpose(1, 2), others


def evenly_spaced_indices(num_frames: int, count: int) -> Tensor:
    """Choose the frames in the middle of ``count`` equal parts of a clip.

    Args:
        num_frames: Frames of the clip.
        count: Frames to choose. Where there are fewer, some are chosen repeatedly.

    Returns:
        (count,), in order.

    Example:
        >>> evenly_spaced_indices(8, 2), evenly_spaced_indices(2, 3)
        (tensor([2, 6]), tensor([0, 1, 1]))
    """
    return (2 * torch.arange(count) + 1) * num_frames // (2 * count)


def evenly_spaced_frames(clips: Tensor, count: int,
                         frame_mask: Optional[Tensor] = None) -> Tensor:
    """The frames in the middle of ``count`` equal parts of each clip.

    Args:
        clips: (N, C, T, P).
        count: Frames to choose of each clip.
        frame_mask: (N, T) bool: only real frames are chosen, and the parts are those of
            the real frames, of which a clip has one at least.

    Returns:
        (N, C, count, P).
    """
    if frame_mask is None:
        chosen = evenly_spaced_indices(clips.shape[2], count)
        return clips.index_select(2, chosen.to(clips.device))
    real_first = frame_mask.logical_not().int().argsort(dim=1, stable=True)
    chosen = torch.stack([row[evenly_spaced_indices(int(present), count)]
                          for row, present in zip(real_first, frame_mask.sum(1))])
    return clips.take_along_dim(chosen[:, None, :, None], dim=2)
