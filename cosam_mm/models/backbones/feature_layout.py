"""Where a network keeps the map (C, T, H, W) of a clip: layouts, there and back.

Modules that attend over a clip read (N, C, T, H, W). Networks hold the same values
in one of these forms:

=================  ===============================  ==============================
layout             shape                            as in
=================  ===============================  ==============================
``clip``           (N, C, T, H, W)                  3-D convolutional networks
``frames``         (N*T, C, H, W)                   2-D ones on the frames of clips
``clip_last``      (N, T, H, W, C)                  Video Swin's blocks
``frames_last``    (N*T, H, W, C)                   Swin's stages on frames
``clip_tokens``    (N, prefix + T*H*W, C)           VideoMAE's blocks
``frame_tokens``   (N*T, prefix + H*W, C)           CLIP's blocks on frames
=================  ===============================  ==============================

The frames of a clip stand next to one another. A prefix is class or register
tokens, which belong to no position: they are left out of the map and come back as
they were. ``grid`` is (T, H, W) everywhere.
"""
from collections.abc import Sequence
from math import isqrt, prod
from typing import Optional

import torch
from torch import Tensor

__all__ = [
    'FEATURE_LAYOUTS', 'TOKEN_LAYOUTS', 'clip_from_feature', 'feature_from_clip',
    'find_grid'
]

# Name -> number of dimensions.
FEATURE_LAYOUTS = {
    'clip': 5, 'frames': 4, 'clip_last': 5, 'frames_last': 4,
    'clip_tokens': 3, 'frame_tokens': 3,
}
TOKEN_LAYOUTS = ('clip_tokens', 'frame_tokens')


def clip_from_feature(feature: Tensor, layout: str, grid: Sequence[int],
                      num_prefix_tokens: int = 0) -> Tensor:
    """Show a feature as (N, C, T, H, W), without a copy of it.

    Args:
        feature: In ``layout``.
        layout: Key of ``FEATURE_LAYOUTS``.
        grid: (T, H, W). ``frames`` and ``frames_last`` use its T only, ``clip`` and
            ``clip_last`` nothing of it: their shapes say the rest.
        num_prefix_tokens: Tokens in front of those of the map.

    Raises:
        ValueError: The feature is not of this layout and grid.

    Example:
        >>> tokens = torch.rand(2 * 4, 1 + 3 * 2, 16)
        >>> clip_from_feature(tokens, 'frame_tokens', (4, 3, 2), 1).shape
        torch.Size([2, 16, 4, 3, 2])
    """
    _check_layout(feature.shape, layout)
    is_frames = layout.startswith('frame')
    if layout in TOKEN_LAYOUTS:
        size = grid[1:] if is_frames else grid
        _check_tokens(feature.shape, prod(size), num_prefix_tokens)
        feature = feature[:, num_prefix_tokens:].unflatten(1, tuple(size))
    if is_frames:
        if feature.shape[0] % grid[0]:
            raise ValueError(
                f'{int(feature.shape[0])} frames in a feature of shape '
                f'{_sizes(feature.shape)} make up no whole clips of {grid[0]}: set '
                'input_shape or grid to the frames of a clip.')
        feature = feature.unflatten(0, (-1, grid[0]))          # (N, T, ., ., .)
    if layout == 'frames':
        return feature.transpose(1, 2)
    return feature if layout == 'clip' else feature.permute(0, 4, 1, 2, 3)


def feature_from_clip(clip: Tensor, like: Tensor, layout: str,
                      num_prefix_tokens: int = 0) -> Tensor:
    """Put a clip back into the form, and shape, of ``like``.

    Args:
        clip: (N, C, T, H, W).
        like: The feature that ``clip`` was taken from; its prefix tokens are kept.
        layout: Key of ``FEATURE_LAYOUTS``.
        num_prefix_tokens: Tokens in front of those of the map.

    Example:
        >>> tokens = torch.rand(2 * 4, 1 + 3 * 2, 16)
        >>> clip = clip_from_feature(tokens, 'frame_tokens', (4, 3, 2), 1)
        >>> torch.equal(feature_from_clip(clip, tokens, 'frame_tokens', 1), tokens)
        True
    """
    _check_layout(like.shape, layout)
    if layout == 'clip':
        return clip
    if layout == 'frames':
        return clip.transpose(1, 2).flatten(0, 1)
    feature = clip.permute(0, 2, 3, 4, 1)                      # (N, T, H, W, C)
    if layout.startswith('frame'):
        feature = feature.flatten(0, 1)                        # (N*T, H, W, C)
    if layout in TOKEN_LAYOUTS:
        feature = feature.flatten(1, -2)
    if not num_prefix_tokens:
        return feature
    return torch.cat([like[:, :num_prefix_tokens], feature], dim=1)


def find_grid(shape: Sequence[int], layout: str,
              grid: Optional[Sequence[int]] = None,
              num_prefix_tokens: int = 0) -> tuple[int, int, int]:
    """(T, H, W) of the map in the feature of ONE clip.

    Args:
        shape: Of the feature of one clip (N = 1).
        layout: Key of ``FEATURE_LAYOUTS``.
        grid: (T, H, W), for layouts of tokens. Default: for ``frame_tokens`` the
            frames of ``shape`` and a square, where the tokens make up one.
        num_prefix_tokens: Tokens in front of those of the map.

    Raises:
        ValueError: The shape is not of this layout and grid, or the grid cannot be
            told from the shape.

    Example:
        >>> find_grid((8, 1 + 14 * 14, 768), 'frame_tokens', num_prefix_tokens=1)
        (8, 14, 14)
    """
    _check_layout(shape, layout)
    if layout not in TOKEN_LAYOUTS:
        if grid is not None or num_prefix_tokens:
            raise ValueError(
                f'grid and num_prefix_tokens are for the layouts '
                f'{" and ".join(TOKEN_LAYOUTS)}; {layout!r} tells its own size: '
                'leave them out.')
        return tuple(int(size) for size in {
            'clip': shape[2:], 'clip_last': shape[1:4],
            'frames': (shape[0], *shape[2:]), 'frames_last': shape[:3]}[layout])
    if num_prefix_tokens < 0:
        raise ValueError(
            f'num_prefix_tokens must be at least 0, got {num_prefix_tokens}.')
    if grid is None:
        positions = int(shape[1]) - num_prefix_tokens
        side = isqrt(max(positions, 0))
        if layout == 'frame_tokens' and side > 0 and side * side == positions:
            return int(shape[0]), side, side
        raise ValueError(
            f'The tokens in a feature of shape {_sizes(shape)} with '
            f'num_prefix_tokens={num_prefix_tokens} do not tell how they stand in '
            f'{layout!r}: set grid=(T, H, W), and num_prefix_tokens to the number of '
            'class and register tokens in front.')
    grid = tuple(int(size) for size in grid)
    if len(grid) != 3 or min(grid) < 1:
        raise ValueError(f'grid must be (T, H, W) of at least 1, got {grid}.')
    is_frames = layout == 'frame_tokens'
    _check_tokens(shape, prod(grid[is_frames:]), num_prefix_tokens)
    if is_frames and shape[0] != grid[0]:
        raise ValueError(
            f'grid={grid} has {grid[0]} frames, and a clip has {shape[0]} in the '
            f'feature of shape {_sizes(shape)}: set grid={(shape[0], *grid[1:])}.')
    return grid


def _check_layout(shape: Sequence[int], layout: str) -> None:
    if layout not in FEATURE_LAYOUTS:
        raise ValueError(f'layout must be one of {", ".join(FEATURE_LAYOUTS)}; got '
                         f'{layout!r}.')
    if len(shape) != FEATURE_LAYOUTS[layout]:
        fitting = [repr(name) for name, rank in FEATURE_LAYOUTS.items()
                   if rank == len(shape)]
        advice = (f'set layout to {" or ".join(fitting)}' if fitting else
                  'choose an insertion point with features of 3, 4 or 5 dimensions')
        raise ValueError(
            f'layout {layout!r} has {FEATURE_LAYOUTS[layout]} dimensions, the '
            f'feature here has the shape {_sizes(shape)}: {advice}.')


def _check_tokens(shape: Sequence[int], positions: int, num_prefix_tokens: int) -> None:
    if shape[1] != positions + num_prefix_tokens:
        raise ValueError(
            f'The grid has {positions} positions and num_prefix_tokens is '
            f'{num_prefix_tokens}, {positions + num_prefix_tokens} tokens in all; the '
            f'feature of shape {_sizes(shape)} has {int(shape[1])}: set grid and '
            'num_prefix_tokens to what stands there.')


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(size) for size in shape)
