"""What a pipeline hands to a model, looked at as frames again."""
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cosam_mm.layers.mask_recording import ModuleMasks

from .mask_clip import MaskedClip, masks_of_frames

__all__ = ['batch_clip', 'clip_frames', 'is_bgr', 'to_pictures']


def clip_frames(inputs: Sequence[Tensor], num_clips: int, clip: int = 0) -> Tensor:
    """The frames of one clip out of the inputs of a batch.

    Args:
        inputs: Of each sample: (V, C, T, H, W) of videos or tracklets, (T, C, H, W)
            of frames of a video, perhaps in several views, or (C, H, W), where the
            samples themselves are the frames of clips.
        num_clips: Clips in the batch, as COSAM has seen them.
        clip: Number of the one that is wanted.

    Returns:
        (T, C, H, W).

    Raises:
        ValueError: The inputs do not make up so many clips.

    Example:
        >>> frames = list(torch.zeros(8, 3, 6, 5))
        >>> clip_frames(frames, num_clips=2, clip=1).shape
        torch.Size([4, 3, 6, 5])
    """
    if inputs[0].dim() == 5:
        views = [view for sample in inputs for view in sample]
        if len(views) == num_clips:
            return views[clip].transpose(0, 1)
        raise ValueError(f'{len(views)} views do not make up {num_clips} clips.')
    frames = [frame for sample in inputs
              for frame in (sample if sample.dim() == 4 else [sample])]
    count, rest = divmod(len(frames), num_clips)
    if rest or not count:
        raise ValueError(f'{len(frames)} frames do not make up {num_clips} clips.')
    return torch.stack(frames[clip * count:(clip + 1) * count])


def is_bgr(model: nn.Module) -> bool:
    """Whether the inputs of a model are BGR, which its preprocessor turns into RGB."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    return any(getattr(preprocessor, name, False) is True
               for name in ('to_rgb', '_channel_conversion'))


def to_pictures(frames: Tensor, bgr: bool = False) -> list[np.ndarray]:
    """Frames as images.

    Args:
        frames: (T, C, H, W), C = 3, or 2 of optical flow: it is shown with the
            horizontal part in red and the vertical one in green. Floats, which a
            pipeline has normalised, are stretched to the whole range.
        bgr: Whether the channels are in the order of OpenCV.

    Returns:
        T arrays (H, W, 3), uint8, RGB.
    """
    values = frames.detach().cpu()
    if values.dtype != torch.uint8:
        low, high = values.min(), values.max()
        values = (255 * (values - low) / (high - low).clamp(min=1e-12)).round()
    pictures = values.permute(0, 2, 3, 1).numpy().astype(np.uint8)
    if pictures.shape[-1] == 2:
        grey = np.full_like(pictures[..., :1], 128)
        return list(np.concatenate([pictures, grey], axis=-1))
    if pictures.shape[-1] == 1:
        pictures = pictures.repeat(3, axis=-1)
    return list(pictures[..., ::-1] if bgr else pictures)


def batch_clip(model: nn.Module, batch: Mapping, masks: Mapping[str, ModuleMasks],
               sample: int) -> MaskedClip:
    """The first clip of a sample, as the network got it.

    Args:
        model: What the batch went through.
        batch: ``inputs`` of S samples, as :func:`clip_frames` takes them; and
            ``data_samples``, whose ``sample_id`` or ``tracklet_id`` becomes the name.
        masks: Of the batch.
        sample: Its number; the last one, where there are not so many. Where samples
            are frames, that of a clip.

    Raises:
        ValueError: The inputs are of no such kind.
    """
    inputs = batch.get('inputs')
    if not isinstance(inputs, (list, tuple, Tensor)) or not len(inputs) or not all(
            isinstance(one, Tensor) and one.dim() in (3, 4, 5) for one in inputs):
        raise ValueError('the inputs of the validation are not a list of frames, clips '
                         'or tracklets')
    num_clips = len(next(mask for both in masks.values() for mask in both
                         if mask is not None)) if masks else 0
    if not num_clips:
        raise ValueError('the COSAMs did not run')
    if inputs[0].dim() == 5:
        sample = min(sample, len(inputs) - 1)
        clip = sum(len(one) for one in inputs[:sample])
    else:
        per_sample = num_clips // len(inputs) or 1
        clip = min(sample * per_sample, num_clips - per_sample)
        sample = clip * len(inputs) // num_clips
    frames = clip_frames(inputs, num_clips, clip)
    numbers = np.arange(len(frames))
    about = (batch.get('data_samples') or [None] * len(inputs))[sample]
    name = getattr(about, 'sample_id', getattr(about, 'tracklet_id', ''))
    return MaskedClip(
        str(name) or f'sample {sample}', to_pictures(frames, is_bgr(model)), numbers,
        {'': {key: masks_of_frames(both, len(frames), numbers, slice(clip, clip + 1))
              for key, both in masks.items()}})
