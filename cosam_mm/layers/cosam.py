"""COSAM: the frames of a clip agree on where and what to look at.

Subramaniam, Nambiar, Mittal, *Co-segmentation Inspired Attention Networks for
Video-based Person Re-identification*, ICCV 2019, section 3. The module fits between two
blocks of any CNN. It takes features and returns features of the same shape, weighed by
a spatial mask for each frame and a channel mask for each clip::

    x (N, C, T, P)                       P = H * W positions
        | describe                       1x1 convolution C -> D, BN, ReLU; standardise
        v
    descriptors (N, D, T, P)
        | summarise                      correlate with all other frames, 1x1
        v                                convolution -> K
    summary maps (N, K, T, P)
        | mask_from_summary              BN, ReLU, 1x1 convolution -> 1, sigmoid
        v
    spatial mask m (N, T, P) ----------- y = m * x
        | channel_attention              average y over positions, C -> D -> C, average
        v                                over frames
    channel mask c (N, C) -------------- output y + c * y

:mod:`.cosam_functional` holds the arithmetic and derives the form of linear cost used
here. Four things go beyond the paper:

- clips of another length or size, when a checkpoint is loaded or at run time
  (``any_size``): :mod:`.cosam_resampling`;
- comparison with K reference frames instead of one another (``num_references``);
- padded frames that neither vote nor count (``frame_mask``);
- long videos in chunks (``stream``): :mod:`.cosam_streaming`.
"""
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from cosam_mm.registry import MODELS

from .cosam_functional import (
    apply_masks,
    average_positions,
    evenly_spaced_frames,
    map_real_frames,
    standardize_descriptors,
    summarize_cost_volume,
    summarize_reference_volume,
)
from .cosam_resampling import ResampledSummary, VolumeSize
from .cosam_streaming import Chunk, stream_cosam

__all__ = ['COSAM']

Masks = tuple[Tensor, Optional[Tensor], Optional[Tensor]]

_ALONE = ('A single frame has no others to agree with: sample clips of 2 frames or '
          'more, compare with reference frames (num_references=K and '
          'forward(x, references=...)), or keep the channel mask only '
          '(with_spatial=False).')


@MODELS.register_module()
class COSAM(ResampledSummary, BaseModule):
    """Co-segmentation attention over the frames of a clip.

    A checkpoint of a COSAM for another ``num_frames``, ``num_references`` or
    ``spatial_size`` loads as well: its summary weights are resampled, and a line in the
    log says so. To *resume* a training the sizes must be the same, because the
    optimiser's state is not resampled.

    Args:
        in_channels: Channels C of the features.
        num_frames: Frames T that vote together, at least 2. It is the temporal
            size of the features where the module stands, not of the clip that
            enters the network.
        spatial_size: (H, W) of the features, or one int for a square.
        reduction_channels: Length D of a descriptor. Default: 256, or 64 where
            ``in_channels <= 256``.
        summary_channels: Maps K that summarise the cost volume.
        with_spatial: Whether to compute and apply the spatial mask.
        with_channel: Whether to compute and apply the channel mask.
        eps: Added to the deviation of a descriptor.
        any_size: Whether to take features of any T, H and W. The summary weights,
            made for ``num_frames`` and ``spatial_size``, are resampled in each forward
            pass that needs others. The parameters are the same, so it may be switched
            at any time.
        num_references: Compare each frame with that many reference frames, given or
            chosen, instead of with the other frames of its clip. ``num_frames`` may
            be 1 then, and any number of frames is taken.
        trained_size: (T, H, W), with ``num_references`` (num_references, H, W), of the
            training of checkpoints that do not say it themselves.
        init_cfg: As in any mmengine module.

    Raises:
        ValueError: A size is not positive, ``num_frames`` is below 2 where frames
            are compared with one another, both masks are off, or
            ``num_references`` is set without the spatial mask.

    Example:
        >>> cosam = COSAM(in_channels=32, num_frames=4, spatial_size=(4, 2))
        >>> x = torch.rand(2, 32, 4, 4, 2)
        >>> y, spatial_mask, channel_mask = cosam(x, return_masks=True)
        >>> y.shape, spatial_mask.shape, channel_mask.shape
        (torch.Size([2, 32, 4, 4, 2]), torch.Size([2, 4, 4, 2]), torch.Size([2, 32]))
    """

    # VideoReID reads num_frames of such modules, and sets it where any is taken.
    compares_frames = True

    def __init__(self,
                 in_channels: int,
                 num_frames: int,
                 spatial_size: Union[int, Sequence[int]],
                 reduction_channels: Optional[int] = None,
                 summary_channels: int = 64,
                 with_spatial: bool = True,
                 with_channel: bool = True,
                 eps: float = 1e-4,
                 any_size: bool = False,
                 num_references: Optional[int] = None,
                 trained_size: Optional[Sequence[int]] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if reduction_channels is None:
            reduction_channels = 64 if in_channels <= 256 else 256
        if isinstance(spatial_size, int):
            spatial_size = (spatial_size, spatial_size)
        self.in_channels = in_channels
        self.num_frames = num_frames
        self.spatial_size = tuple(spatial_size)
        self.reduction_channels = reduction_channels
        self.summary_channels = summary_channels
        self.with_spatial = with_spatial
        self.with_channel = with_channel
        self.eps = eps
        self.any_size = any_size
        self.num_references = num_references
        self._check_settings()
        self.trained_volume = self._volume(trained_size)
        if with_spatial:
            self.volume_size = self._volume(
                (num_references or num_frames, *self.spatial_size))
            self._build_spatial_branch()
        if with_channel:
            self.channel_attention = nn.Sequential(
                nn.Linear(in_channels, reduction_channels), nn.Tanh(),
                nn.Linear(reduction_channels, in_channels), nn.Sigmoid())

    def _volume(self, size: Optional[Sequence[int]]) -> Optional[VolumeSize]:
        """(slots, H, W) of the cost volume for (frames or references, H, W)."""
        if size is None:
            return None
        if len(size) != 3 or min(size) < 1:
            raise ValueError('trained_size must be (T, H, W) of at least 1, got '
                             f'{tuple(size)}.')
        frames, height, width = size
        return (frames if self.num_references else frames - 1), height, width

    def _build_spatial_branch(self) -> None:
        """The modules that make the spatial mask."""
        slots, height, width = self.volume_size
        self.reduction = nn.Sequential(
            nn.Conv2d(self.in_channels, self.reduction_channels, 1),
            nn.BatchNorm2d(self.reduction_channels), nn.ReLU(inplace=True))
        # The first layer never runs: its weights are used in their equivalent of linear
        # cost. As a module it keeps them named, initialised and saved.
        self.summary = nn.Sequential(
            nn.Conv2d(slots * height * width, self.summary_channels, 1),
            nn.BatchNorm2d(self.summary_channels), nn.ReLU(inplace=True),
            nn.Conv2d(self.summary_channels, 1, 1))

    def forward(self, x: Tensor,
                return_masks: bool = False,
                num_frames: Optional[int] = None,
                references: Optional[Tensor] = None,
                frame_mask: Optional[Tensor] = None) -> Union[Tensor, Masks]:
        """Weigh the features by what the frames have in common.

        Args:
            x: (N, C, T, H, W), or (N*T, C, H, W) with the frames of a clip
                next to one another, as 2-D backbones have them.
            return_masks: Whether to return the masks as well.
            num_frames: Frames T of a clip in the second layout. Default: those that
                the module was built for.
            references: Features of the frames to compare with, (N, C, K, H, W), for
                a module with ``num_references``. Default: the frames in the middle of K
                equal parts of the clip, each of which is compared with itself, too. In
                training they take part in the statistics of the batch norm.
            frame_mask: (N, T) bool, True for real frames. The others are padding:
                they do not vote, do not count in any mean or statistic, and come out
                as zeros. The votes of the real ones are multiplied by
                ``(T - 1) / (real frames - 1)``, so that the summary keeps its scale.
                References are chosen among real frames. The mask's values are read, so
                it is not for exported graphs.

        Returns:
            Tensor of the shape of ``x``; with ``return_masks`` the tuple
            (output, spatial mask (N, T, H, W), channel mask (N, C)), both masks
            in (0, 1), None for a mask that is switched off.

        Raises:
            ValueError: The module was not built for ``x``, ``references`` or
                ``frame_mask`` of that shape; or too few frames are real.
        """
        t = self.check_features(x, num_frames, references)
        if frame_mask is not None:
            clips = x.shape[0] // (t if x.dim() == 4 else 1)
            self._check_frame_mask(frame_mask, (clips, t), references is not None)
        out, spatial_mask, channel_mask = self._attend(x, t, references, frame_mask)
        if x.dim() == 4:
            out = out.transpose(1, 2)                             # (N, T, C, P)
        out = out.reshape(x.shape)
        if not return_masks:
            return out
        if spatial_mask is not None:
            spatial_mask = spatial_mask.unflatten(2, x.shape[-2:])
        return out, spatial_mask, channel_mask

    def _attend(self, x: Tensor, t: int, references: Optional[Tensor],
                frame_mask: Optional[Tensor]) -> Masks:
        """Output (N, C, T, P), spatial mask (N, T, P), channel mask (N, C)."""
        y = clips = _to_clips(x, t)                               # (N, C, T, P)
        spatial_mask = channel_mask = None
        if frame_mask is not None:  # padding may be NaN, and 0 * NaN is NaN
            y = clips.masked_fill(~frame_mask[:, None, :, None], 0)
        if self.with_spatial:
            maps = self._summarize(x, clips, references, frame_mask)
            spatial_mask, _ = map_real_frames(
                lambda maps: self.mask_from_summary(maps)[:, None], maps, frame_mask)
            spatial_mask = spatial_mask[:, 0]                     # (N, T, P)
            y = apply_masks(y, spatial_mask, None)
        if self.with_channel:
            votes = self.channel_attention(average_positions(y))  # (N, T, C)
            if frame_mask is None:
                channel_mask = votes.mean(1)                      # (N, C)
            else:
                channel_mask = ((votes * frame_mask[..., None]).sum(1)
                                / frame_mask.sum(1, keepdim=True))
            y = apply_masks(y, None, channel_mask)
        return y, spatial_mask, channel_mask

    def describe(self, x: Tensor) -> Tensor:
        """Standardised descriptor of each position: (M, C, A, B) to (M, D, A, B)."""
        return standardize_descriptors(self.reduction(x), self.eps)

    def _summarize(self, x: Tensor, clips: Tensor, references: Optional[Tensor],
                   frame_mask: Optional[Tensor]) -> Tensor:
        """Summary maps (N, K, T, P) of features x, which are ``clips`` (N, C, T, P)."""
        t, size = clips.shape[2], self.volume_size
        if x.dim() == 4 and references is None and frame_mask is None:
            # Convolved as it lies in memory, without a copy.
            descriptors, voters = _to_clips(self.describe(x), t), None
        else:
            descriptors, voters = map_real_frames(
                self.describe, clips, frame_mask,                 # (N, D, T, P)
                None if references is None else references.flatten(3))
        if self.any_size:
            size = ((self.num_references or t - 1, *x.shape[-2:]) if references is None
                    else references.shape[2:])
        weight = self.summary_weight(size).flatten(1)             # (K, S*Q)
        bias = self.summary[0].bias
        if self.num_references is not None:
            if voters is None:
                voters = evenly_spaced_frames(
                    descriptors, self.num_references, frame_mask)
            return summarize_reference_volume(descriptors, voters, weight, bias)
        if frame_mask is None:
            return summarize_cost_volume(descriptors, weight, bias)
        votes = summarize_cost_volume(descriptors, weight)
        share = (t - 1) / (frame_mask.sum(1).to(votes.dtype) - 1)
        return votes * share[:, None, None, None] + bias[:, None, None]

    def mask_from_summary(self, maps: Tensor) -> Tensor:
        """Spatial mask (M, A, B) of summary maps (M, K, A, B)."""
        _, *rest = self.summary
        for layer in rest:
            maps = layer(maps)
        return torch.sigmoid(maps[:, 0])

    def stream(self, chunks: Iterable[Tensor], num_frames: Optional[int] = None,
               return_masks: bool = False,
               references: Optional[Tensor] = None) -> Iterator[Chunk]:
        """Attend to a long clip chunk by chunk, with the result it has as a whole.

        Memory does not grow with the length: see :mod:`.cosam_streaming`. Clips of
        another length than the module's own need ``any_size=True`` or
        ``num_references``.

        Args:
            chunks: Features (N, C, t, H, W) in order, t of any size from 1. They are
                read up to three times, each time from the start: a list, or an
                object whose ``__iter__`` starts anew.
            num_frames: Frames of all chunks together. Default: those that the module
                was built for.
            return_masks: Whether to yield the masks as well.
            references: As in :meth:`forward`; one pass fewer then.

        Returns:
            Iterator of what :meth:`forward` returns, for the frames of one chunk each,
            without gradients.

        Raises:
            ValueError: ``chunks`` can be read only once, or do not fit the module,
                one another or ``num_frames``.
            RuntimeError: The module is in training mode.

        Example:
            >>> cosam = COSAM(8, 4, spatial_size=2, any_size=True).eval()
            >>> video = torch.rand(1, 8, 50, 2, 2)
            >>> out = list(cosam.stream(video.split(7, dim=2), num_frames=50))
            >>> len(out), torch.allclose(torch.cat(out, 2), cosam(video), atol=1e-5)
            (8, True)
        """
        frames = self.num_frames if num_frames is None else num_frames
        return stream_cosam(self, chunks, frames, return_masks, references)

    def extra_repr(self) -> str:
        """Name the settings that a checkpoint depends on."""
        names = ['in_channels', 'num_frames', 'spatial_size']
        names += ['any_size'] * self.any_size
        names += ['num_references'] * (self.num_references is not None)
        return ', '.join(f'{name}={getattr(self, name)}' for name in names)

    # -- checks ------------------------------------------------------------------

    def _check_settings(self) -> None:
        if not (self.with_spatial or self.with_channel):
            raise ValueError(
                'with_spatial=False and with_channel=False leave COSAM nothing '
                'to do: keep one of them, or take the module out.')
        for name in ('in_channels', 'reduction_channels', 'summary_channels',
                     'num_references'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}.')
        if len(self.spatial_size) != 2 or min(self.spatial_size) < 1:
            raise ValueError('spatial_size must be (H, W) of at least 1 or an int, got '
                             f'{self.spatial_size}.')
        if self.num_references is not None and not self.with_spatial:
            raise ValueError(
                f'num_references={self.num_references} is for the spatial mask, which '
                'with_spatial=False switches off: leave one of them out.')
        votes = self.with_spatial and self.num_references is None
        if self.num_frames < 1 + votes:
            raise ValueError(f'num_frames must be at least {1 + votes}, got '
                             f'{self.num_frames}.{f" {_ALONE}" if votes else ""}')

    def check_num_frames(self, frames: int, source: object,
                         has_references: bool) -> None:
        """Raise ``ValueError`` for clips of a length that the module does not take.

        ``source`` says in the message where they were seen.
        """
        if self.with_spatial and not has_references and frames < 2:
            raise ValueError(f'Got 1 frame a clip in {source}. {_ALONE}')
        if self.any_size or self.num_references is not None:
            return
        if frames != self.num_frames:
            raise ValueError(
                f'COSAM was built for {self.num_frames} frames, got {frames} in '
                f'{source}: set num_frames={frames}, change the clip length (clip_len) '
                'that the data pipeline samples, or let the module take any length '
                '(any_size=True).')

    def check_features(self, x: Tensor, num_frames: Optional[int],
                       references: Optional[Tensor]) -> int:
        """Frames T of a clip; ValueError for features :meth:`forward` does not take."""
        shape, built_for = tuple(x.shape), self.spatial_size
        if x.dim() not in (4, 5):
            raise ValueError('COSAM takes features of shape (N, C, T, H, W) or '
                             f'(N*T, C, H, W), got {shape}.')
        if shape[1] != self.in_channels:
            raise ValueError(f'COSAM was built for {self.in_channels} channels, got '
                             f'{shape[1]} in {shape}: set in_channels={shape[1]}.')
        frames = shape[2] if x.dim() == 5 else num_frames or self.num_frames
        if x.dim() == 5 and num_frames not in (None, frames):
            raise ValueError(
                f'num_frames={num_frames} was given with clips of {frames} frames, '
                f'{shape}: leave it out, it is for features (N*T, C, H, W).')
        if x.dim() == 4 and shape[0] % frames:
            raise ValueError(
                f'{shape[0]} frames in {shape} are no multiple of {frames}, the frames '
                'of a clip: set num_frames.')
        self.check_num_frames(frames, shape, references is not None)
        if references is not None:
            self._check_references(
                references, shape[0] // (frames if x.dim() == 4 else 1))
        elif self.with_spatial and not self.any_size and shape[-2:] != built_for:
            raise ValueError(
                f'COSAM was built for features of {built_for[0]}x{built_for[1]}, got '
                f'{shape[-2]}x{shape[-1]} in {shape}: set spatial_size={shape[-2:]}, '
                'change the size that the data pipeline crops to, or let the module '
                'take any size (any_size=True).')
        return frames

    def _check_references(self, references: Tensor, clips: int) -> None:
        shape = tuple(references.shape)
        if self.num_references is None:
            raise ValueError(
                'references were given to a COSAM that compares the frames of a clip '
                'with one another: build it with num_references=K.')
        if len(shape) != 5 or shape[:2] != (clips, self.in_channels):
            raise ValueError(
                f'references are features (N, C, K, H, W), here with N={clips} and '
                f'C={self.in_channels}, got {shape}.')
        wanted = (self.num_references, *self.spatial_size)
        if not self.any_size and shape[2:] != wanted:
            raise ValueError(
                f'COSAM was built for references of (K, H, W) = {wanted}, got '
                f'{shape[2:]} in {shape}: set num_references and spatial_size, or let '
                'the module take any (any_size=True).')

    def _check_frame_mask(self, frame_mask: Tensor, shape: tuple[int, int],
                          has_references: bool) -> None:
        if frame_mask.dtype != torch.bool or tuple(frame_mask.shape) != shape:
            raise ValueError(
                f'frame_mask is a bool tensor (N, T) = {shape}, True for real frames; '
                f'got {frame_mask.dtype} {tuple(frame_mask.shape)}.')
        least = 2 if self.with_spatial and not has_references else 1
        present = frame_mask.sum(1)
        if (present < least).any():
            clip = int(present.argmin())
            raise ValueError(
                f'frame_mask leaves clip {clip} with {int(present[clip])} real '
                f'frame(s); {least} are needed. '
                f'{_ALONE if least == 2 else "Drop that clip."}')


def _to_clips(x: Tensor, num_frames: int) -> Tensor:
    """View either layout as (N, C, T, P)."""
    if x.dim() == 5:
        return x.flatten(3)
    return x.flatten(2).unflatten(0, (-1, num_frames)).transpose(1, 2)
