"""What a COSAM can be built for and be given, and what to do about the rest."""
from typing import TYPE_CHECKING, Optional, Union

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .cosam import COSAM

__all__ = ['check_features', 'check_frame_mask', 'check_num_frames',
           'check_references', 'check_settings', 'shape_of']

_ALONE = ('A single frame has no others to agree with: sample clips of 2 frames or '
          'more, compare with reference frames (num_references=K and '
          'forward(x, references=...)), or keep the channel mask only '
          '(with_spatial=False).')


def shape_of(x: Tensor) -> tuple[int, ...]:
    """The shape as plain numbers, which it is not while a tracer looks on."""
    return tuple(int(size) for size in x.shape)


def check_settings(cosam: 'COSAM') -> None:
    """Raise ``ValueError`` for settings of which no module can be built."""
    if not (cosam.with_spatial or cosam.with_channel):
        raise ValueError(
            'with_spatial=False and with_channel=False leave COSAM nothing '
            'to do: keep one of them, or take the module out.')
    for name in ('in_channels', 'reduction_channels', 'summary_channels',
                 'num_references'):
        value = getattr(cosam, name)
        if value is not None and value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}.')
    if min(cosam.spatial_size) < 1:
        raise ValueError(f'spatial_size must be (H, W) of at least 1, got '
                         f'{cosam.spatial_size}.')
    if cosam.num_references is not None and not cosam.with_spatial:
        raise ValueError(
            f'num_references={cosam.num_references} is for the spatial mask, which '
            'with_spatial=False switches off: leave one of them out.')
    votes = cosam.with_spatial and cosam.num_references is None
    least = 2 if votes else 1
    if cosam.num_frames < least:
        raise ValueError(f'num_frames must be at least {least}, got '
                         f'{cosam.num_frames}.{f" {_ALONE}" if votes else ""}')


def _named(source: Union[str, Tensor]) -> str:
    return source if isinstance(source, str) else str(shape_of(source))


def check_num_frames(cosam: 'COSAM', frames: int, source: Union[str, Tensor],
                     has_references: bool = False) -> None:
    """Raise ``ValueError`` for clips of a length that the module does not take.

    Args:
        cosam: The module.
        frames: Frames T of a clip.
        source: Where they were seen: the features, or the name of an argument.
        has_references: Whether reference frames come with the clip.
    """
    if cosam.with_spatial and not has_references and frames < 2:
        raise ValueError(f'Got 1 frame a clip in {_named(source)}. {_ALONE}')
    if cosam.any_size or cosam.num_references is not None:
        return
    if frames != cosam.num_frames:
        raise ValueError(
            f'COSAM was built for {cosam.num_frames} frames, got {int(frames)} in '
            f'{_named(source)}: set num_frames={int(frames)}, change the clip length '
            '(clip_len) that the data pipeline samples, or let the module take any '
            'length (any_size=True).')


def check_features(cosam: 'COSAM', x: Tensor, num_frames: Optional[int],
                   references: Optional[Tensor]) -> int:
    """Raise ``ValueError`` for features that the module does not take.

    Returns:
        Frames T of a clip.
    """
    if x.dim() not in (4, 5):
        raise ValueError(
            'COSAM takes features of shape (N, C, T, H, W) or (N*T, C, H, W), '
            f'got {shape_of(x)}.')
    if x.shape[1] != cosam.in_channels:
        raise ValueError(
            f'COSAM was built for {cosam.in_channels} channels, got '
            f'{int(x.shape[1])} in {shape_of(x)}: set '
            f'in_channels={int(x.shape[1])}.')
    frames = x.shape[2] if x.dim() == 5 else num_frames or cosam.num_frames
    if x.dim() == 5 and num_frames is not None and num_frames != frames:
        raise ValueError(
            f'num_frames={num_frames} was given with clips of {int(frames)} frames, '
            f'{shape_of(x)}: leave it out, it is for features (N*T, C, H, W).')
    if x.dim() == 4 and x.shape[0] % frames:
        raise ValueError(
            f'COSAM was told of clips of {frames} frames, got {int(x.shape[0])} '
            f'frames in {shape_of(x)}, which is no multiple of {frames}: set '
            'num_frames to the frames of a clip.')
    check_num_frames(cosam, frames, x, references is not None)
    if references is not None:
        check_references(cosam, references, x.shape[0] // (
            frames if x.dim() == 4 else 1))
    elif (cosam.with_spatial and not cosam.any_size
            and tuple(x.shape[-2:]) != cosam.spatial_size):
        size, built = shape_of(x)[-2:], cosam.spatial_size
        raise ValueError(
            f'COSAM was built for features of {built[0]}x{built[1]}, got '
            f'{size[0]}x{size[1]} in {shape_of(x)}: set spatial_size={size}, change '
            'the size that the data pipeline crops to, or let the module take any '
            'size (any_size=True).')
    return frames


def check_references(cosam: 'COSAM', references: Tensor, clips: int) -> None:
    """Raise ``ValueError`` for reference frames that the module does not take.

    Args:
        cosam: The module.
        references: What was given as such.
        clips: Clips N of the batch.
    """
    if cosam.num_references is None:
        raise ValueError(
            'references were given to a COSAM that compares the frames of a clip with '
            'one another: build it with num_references=K.')
    if references.dim() != 5 or references.shape[:2] != (clips, cosam.in_channels):
        raise ValueError(
            f'references are features (N, C, K, H, W), here with N={int(clips)} and '
            f'C={cosam.in_channels}, got {shape_of(references)}.')
    wanted = (cosam.num_references, *cosam.spatial_size)
    if not cosam.any_size and tuple(references.shape[2:]) != wanted:
        raise ValueError(
            f'COSAM was built for references of (K, H, W) = {wanted}, got '
            f'{shape_of(references)[2:]} in {shape_of(references)}: set num_references '
            'and spatial_size, or let the module take any (any_size=True).')


def check_frame_mask(cosam: 'COSAM', frame_mask: Tensor, shape: tuple[int, int],
                     has_references: bool) -> None:
    """Raise ``ValueError`` unless a mask fits and leaves enough real frames.

    Args:
        cosam: The module.
        frame_mask: What was given as such.
        shape: (N, T) that it has to have.
        has_references: Whether reference frames come with the clips.
    """
    if frame_mask.dtype != torch.bool or tuple(frame_mask.shape) != tuple(shape):
        raise ValueError(
            f'frame_mask is a bool tensor (N, T) = {tuple(map(int, shape))}, True for '
            f'real frames; got {frame_mask.dtype} {shape_of(frame_mask)}.')
    least = 2 if cosam.with_spatial and not has_references else 1
    present = frame_mask.sum(1)
    if (present < least).any():
        clip = int(present.argmin())
        raise ValueError(
            f'frame_mask leaves clip {clip} with {int(present[clip])} real frame(s); '
            f'{least} are needed. {_ALONE if least == 2 else "Drop that clip."}')
