"""Which frames of a clip take part: real frames among padded ones, references.

A ``frame_mask`` (N, T) is True where a frame is real. Batches of clips of different
lengths are padded; what stands in the padded frames is arbitrary and may not count.
Packing the real frames of all clips into one row, and unpacking results, makes sure
that it is never even read.
"""
from typing import Optional

import torch
from torch import Tensor

__all__ = ['evenly_spaced_frames', 'evenly_spaced_indices', 'mean_of_real_frames',
           'pack_frames', 'unpack_frames']


def pack_frames(clips: Tensor, frame_mask: Tensor) -> Tensor:
    """The real frames of all clips, one clip after the other.

    Args:
        clips: (N, C, T, P).
        frame_mask: (N, T) bool; R of its entries are True.

    Returns:
        (R, C, P).
    """
    return clips.transpose(1, 2)[frame_mask]


def unpack_frames(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """Put packed frames back into their places, zeros where frames are padded.

    Args:
        frames: (R, C, P).
        frame_mask: (N, T) bool; R of its entries are True.

    Returns:
        (N, C, T, P).
    """
    clips = frames.new_zeros(*frame_mask.shape, *frames.shape[1:])
    return clips.masked_scatter(
        frame_mask[:, :, None, None], frames).transpose(1, 2)


def mean_of_real_frames(values: Tensor, frame_mask: Tensor) -> Tensor:
    """The mean of a packed quantity over each clip's real frames.

    Args:
        values: (R, C), a row for each real frame.
        frame_mask: (N, T) bool; R of its entries are True, one of a clip at least.

    Returns:
        (N, C).
    """
    clip = frame_mask.nonzero()[:, 0]                                    # (R,)
    sums = values.new_zeros(frame_mask.shape[0], values.shape[1])
    return sums.index_add(0, clip, values) / frame_mask.sum(1, keepdim=True)


def evenly_spaced_indices(num_frames: int, count: int) -> Tensor:
    """Choose frames in the middle of ``count`` equal parts of a clip.

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
    """The frames of clips that stand in the middle of ``count`` equal parts.

    Args:
        clips: (N, C, T, P).
        count: Frames to choose of each.
        frame_mask: (N, T) bool: parts are those of the real frames, one of a clip at
            least, and only real frames are chosen.

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
