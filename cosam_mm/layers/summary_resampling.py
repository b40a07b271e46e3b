"""Summary weights of COSAM for clips of another length or size.

The first summary convolution of COSAM weighs the scores of a cost volume: S slots
(the other frames of the clip, in order) of H x W places each. Its weight is a small
video of K channels, (K, S, H, W), and is resampled as position embeddings are in
vision transformers. Three questions have to be answered for that.

*What is the slot axis?* Slot j of frame n is frame j, or frame j + 1 from n on: a
moment of the clip, and the same weight for every n. A distance to frame n, the other
reading, is not what was learnt: slot 0 is one step away for frame 1 and T - 1 steps
for the last frame. So the slots are cells of one axis over the clip, as rows are over
the height.

*What happens between the cells?* A linear filter: towards more cells linear
interpolation, with the cells' centres half a cell from the edges; towards fewer cells
the filter widens to the size of the new cells, so that every old weight counts.

*What keeps the scale?* The summary is a sum over the volume, weight times score. With
weights of the same size, twice as many scores make twice the sum, and the statistics
of the batch norm that follows would not fit. Read as a Riemann sum over the clip's
space-time, each score stands for a share of the volume: weights are multiplied by
``old number of scores / new number of scores``, the ratio of the shares.
"""
import math
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

__all__ = [
    'VolumeSize', 'infer_volume_size', 'linear_filter', 'resample_summary_weight'
]

VolumeSize = tuple[int, int, int]  # slots S, height H, width W


def linear_filter(old: int, new: int, start: int = 0, stop: Optional[int] = None, *,
                  like: Optional[Tensor] = None) -> Tensor:
    """The matrix that resamples an axis of ``old`` cells to ``new`` cells.

    Args:
        old: Cells before.
        new: Cells after.
        start: First row wanted.
        stop: End of the rows wanted. Default: all.
        like: Tensor whose type and device the matrix gets; computed in no less
            than float32.

    Returns:
        (stop - start, old): rows of a triangular filter, which sum to 1. The
        identity for ``old == new``.

    Example:
        >>> linear_filter(2, 4)
        tensor([[1.0000, 0.0000],
                [0.7500, 0.2500],
                [0.2500, 0.7500],
                [0.0000, 1.0000]])
    """
    dtype = torch.float32 if like is None else torch.promote_types(
        like.dtype, torch.float32)
    device = None if like is None else like.device
    stop = new if stop is None else stop
    step = old / new                                           # old cells a new one
    centers = (torch.arange(start, stop, dtype=dtype, device=device) + 0.5) * step
    cells = torch.arange(old, dtype=dtype, device=device) + 0.5
    reach = torch.sym_max(old, new) / new                      # a cell at least
    weights = (reach - (centers[:, None] - cells).abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def resample_summary_weight(weight: Tensor, size: VolumeSize,
                            slots: Optional[tuple[int, int]] = None) -> Tensor:
    """Fit summary weights to a cost volume of another size.

    Differentiable in ``weight``.

    Args:
        weight: (K, S, H, W).
        size: (S', H', W') wanted.
        slots: (start, stop) of the new slots wanted: what a long clip needs at a
            time. Default: all.

    Returns:
        (K, stop - start, H', W'), resampled along each axis and multiplied by
        ``S*H*W / (S'*H'*W')``. ``weight`` itself where the size is the same.
    """
    old = tuple(weight.shape[1:])
    if torch.jit.is_tracing():  # where sizes are tensors; a trace is for one size
        old, size = (tuple(int(cells) for cells in axes) for axes in (old, size))
    start, stop = (0, size[0]) if slots is None else slots
    # An exported graph for several sizes may not branch on them; at the same size
    # its filters are identities.
    is_open = any(isinstance(cells, torch.SymInt) for cells in size)
    if not is_open and old == tuple(size):
        return weight if slots is None else weight[:, start:stop]
    by_slot = linear_filter(old[0], size[0], start, stop, like=weight)
    by_row = linear_filter(old[1], size[1], like=weight)
    by_column = linear_filter(old[2], size[2], like=weight)
    share = (old[0] * old[1] * old[2]) / (size[0] * size[1] * size[2])
    # In float32 at least: half weights are rounded once, at the end.
    values = torch.einsum('kshw,xw->kshx', weight.to(by_slot.dtype), by_column)
    values = torch.einsum('kshx,yh->ksyx', values, by_row)
    values = torch.einsum('ksyx,ts->ktyx', values, by_slot)
    return (values * share).to(weight.dtype)


def infer_volume_size(scores: int, like: VolumeSize) -> VolumeSize:
    """Guess the (S, H, W) of a summary weight from its number of scores.

    The first that holds of: as many slots and the same aspect ratio as ``like``; the
    same height and width; the only size of the same aspect ratio.

    Args:
        scores: S * H * W.
        like: Size of the module that the weight is meant for.

    Raises:
        ValueError: No size of that aspect ratio has as many scores, or several do.

    Example:
        >>> infer_volume_size(3 * 8 * 4, like=(3, 16, 8))
        (3, 8, 4)
        >>> infer_volume_size(7 * 16 * 8, like=(3, 16, 8))
        (7, 16, 8)
    """
    slots, height, width = like
    divisor = math.gcd(height, width)
    rows, columns = height // divisor, width // divisor
    sizes: list[VolumeSize] = []
    for scale in range(1, math.isqrt(scores // (rows * columns)) + 1):
        places = scale**2 * rows * columns
        if scores % places == 0:
            sizes.append((scores // places, scale * rows, scale * columns))
    same_slots = [size for size in sizes if size[0] == slots]
    same_places = [size for size in sizes if size[1:] == (height, width)]
    for found in (same_slots, same_places, sizes):
        if len(found) == 1:
            return found[0]
    raise ValueError(
        f'{scores} scores are no (slots, height, width) of aspect ratio '
        f'{rows}:{columns}' if not sizes else
        f'{scores} scores may be {_some(sizes)} (slots x height x width)')


def _some(sizes: Sequence[VolumeSize], most: int = 4) -> str:
    named = [' x '.join(map(str, size)) for size in sizes[-most:]]
    return ', '.join(named) + (', ...' if len(sizes) > most else '')
