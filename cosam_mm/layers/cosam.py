"""COSAM: the frames of a clip agree on where and what to look at.

Subramaniam, Nambiar, Mittal, *Co-segmentation Inspired Attention Networks for
Video-based Person Re-identification*, ICCV 2019, section 3. The module fits
between two blocks of any CNN: features in, features of the same shape out,
weighed by a spatial mask per frame and a channel mask per clip::

    x (N, C, T, H, W)
        | describe      1x1 convolution C -> D, BN, ReLU; each place standardised
        v
    descriptors (N, D, T, P)
        | summarise     correlate with all other frames, 1x1 convolution -> K
        v
    summary maps (N, K, T, P)
        | decide        BN, ReLU, 1x1 convolution -> 1, sigmoid
        v
    spatial mask m (N, T, P) ---- y = m * x
        | average y over places; channel_attention C -> D -> C; average over frames
        v
    channel mask c (N, C) ------- output y + c * y

The arithmetic is in :mod:`.cosam_functional`, where the form of linear cost
used here is derived. Beyond the paper:

- clips of another length or size, :mod:`cosam_mm.layers.summary_resampling`, when a
  checkpoint is loaded (:mod:`.cosam_loading`) or at run time (``any_size``);
- comparison with K given frames instead of one another (``num_references``);
- padded frames that neither vote nor count (``frame_mask``);
- long videos in chunks, :mod:`.cosam_streaming`.
"""
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional, Union

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from .cosam_functional import (
    apply_masks,
    attend,
    masked_average_pool,
    project,
    standardize_descriptors,
    summarize_cost_volume,
    summarize_reference_volume,
)
from .cosam_input import check_features, check_frame_mask, check_settings
from .cosam_loading import ResampledSummary
from .cosam_streaming import Chunk, stream_cosam
from .frame_choice import (
    evenly_spaced_frames,
    mean_of_real_frames,
    pack_frames,
    unpack_frames,
)
from .summary_resampling import VolumeSize, resample_summary_weight

__all__ = ['COSAM']

Masks = tuple[Tensor, Optional[Tensor], Optional[Tensor]]


@MODELS.register_module()
class COSAM(ResampledSummary, BaseModule):
    """Co-segmentation attention over the frames of a clip.

    A checkpoint of a COSAM for another ``num_frames``, ``num_references`` or
    ``spatial_size`` loads all the same: its summary weights are resampled, and a line
    in the log says so. To *resume* a training, the sizes must be the same, for the
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
        with_spatial: Whether to make and apply the spatial mask.
        with_channel: Whether to make and apply the channel mask.
        eps: Added to the deviation of a descriptor.
        any_size: Whether to take features of any T, H and W; the summary weights,
            made for ``num_frames`` and ``spatial_size``, are resampled in each
            forward pass that needs others. It may be switched at any time: the
            parameters are the same.
        num_references: Compare each frame with that many reference frames, given or
            chosen, instead of with the other frames of its clip. ``num_frames`` may
            be 1 then, and any number of frames is taken.
        trained_size: (T, H, W), with ``num_references`` (num_references, H, W), that
            checkpoints were trained with which do not say it themselves.
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
        self.in_channels = in_channels
        self.num_frames = num_frames
        self.spatial_size = _pair(spatial_size)
        self.reduction_channels = reduction_channels
        self.summary_channels = summary_channels
        self.with_spatial = with_spatial
        self.with_channel = with_channel
        self.eps = eps
        self.any_size = any_size
        self.num_references = num_references
        check_settings(self)
        self.trained_volume = self._volume(trained_size)
        if with_spatial:
            self.volume_size = self._volume(
                (num_references or num_frames, *self.spatial_size))
            self._build_spatial_branch()
        if with_channel:
            self._build_channel_branch()

    def _volume(self, size: Optional[Sequence[int]]) -> Optional[VolumeSize]:
        """(slots, H, W) of a cost volume by frames, or references, and places."""
        if size is None:
            return None
        if len(size) != 3 or min(size) < 1:
            raise ValueError('trained_size must be (T, H, W) of at least 1, got '
                             f'{tuple(size)}.')
        frames, height, width = size
        return (frames if self.num_references else frames - 1), height, width

    def _build_spatial_branch(self) -> None:
        slots, height, width = self.volume_size
        self.reduction = nn.Sequential(
            nn.Conv2d(self.in_channels, self.reduction_channels, 1),
            nn.BatchNorm2d(self.reduction_channels), nn.ReLU(inplace=True))
        # The first layer's weights are used through their equivalent of linear
        # cost; as a module it keeps them named, initialised and saved.
        self.summary = nn.Sequential(
            nn.Conv2d(slots * height * width, self.summary_channels, 1),
            nn.BatchNorm2d(self.summary_channels), nn.ReLU(inplace=True),
            nn.Conv2d(self.summary_channels, 1, 1))

    def _build_channel_branch(self) -> None:
        self.channel_attention = nn.Sequential(
            nn.Linear(self.in_channels, self.reduction_channels), nn.Tanh(),
            nn.Linear(self.reduction_channels, self.in_channels), nn.Sigmoid())

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
                a module with ``num_references``. Default: frames of the clip, in the
                middle of K equal parts of it; such a frame is compared with itself,
                too. In training they take part in the statistics of the batch norm.
            frame_mask: (N, T) bool, True for real frames. The others are padding:
                they do not vote, do not count in any mean or statistic, and come out
                as zeros. The votes of the others are multiplied by
                ``(T - 1) / (real frames - 1)``, as a mean over those present, so
                that the summary keeps its scale; references are chosen among real
                frames. It reads the mask's values, so it is not for exported graphs.

        Returns:
            Tensor of the shape of ``x``; with ``return_masks`` the tuple
            (output, spatial mask (N, T, H, W), channel mask (N, C)), both masks
            in (0, 1), None for a mask that is switched off.

        Raises:
            ValueError: The module was not built for ``x``, ``references`` or
                ``frame_mask`` of that shape; or too few frames are real.
        """
        t = check_features(self, x, num_frames, references)
        clips = _to_clips(x, t)                                   # (N, C, T, P)
        if frame_mask is None:
            masked = self._attend(x, clips, references)
        else:
            check_frame_mask(self, frame_mask, (clips.shape[0], t),
                             references is not None)
            masked = self._attend_to_real_frames(x, clips, references, frame_mask)
        out, spatial_mask, channel_mask = masked
        out = _from_clips(out, x)
        if not return_masks:
            return out
        if spatial_mask is not None:
            spatial_mask = spatial_mask.unflatten(2, x.shape[-2:])
        return out, spatial_mask, channel_mask

    def _attend(self, x: Tensor, clips: Tensor, references: Optional[Tensor]) -> Masks:
        """Output (N, C, T, P), spatial mask (N, T, P), channel mask (N, C)."""
        spatial_mask = None
        if self.with_spatial:
            voters = None
            if references is not None:
                descriptors, voters = self._describe_together(
                    clips, references.flatten(3))
            else:  # in its own layout, without a copy
                described, x = self._describe_and_keep(x)
                descriptors, clips = (_to_clips(features, clips.shape[2])
                                      for features in (described, x))
            size = self._size_of_volume(x, clips.shape[2], references)
            maps = self._summarize(descriptors, voters, size)     # (N, K, T, P)
            spatial_mask = self.decide(maps)                      # (N, T, P)
        if not self.with_channel:
            return apply_masks(clips, spatial_mask, None), spatial_mask, None
        out, channel_mask = attend(                               # (N, C, T, P)
            clips, spatial_mask,
            lambda pooled: self.channel_attention(pooled).mean(1))  # (N, T, C)
        return out, spatial_mask, channel_mask

    def _attend_to_real_frames(self, x: Tensor, clips: Tensor,
                               references: Optional[Tensor],
                               frame_mask: Tensor) -> Masks:
        """The same on the R real frames, as if each were a clip's only one."""
        frames = pack_frames(clips, frame_mask)                   # (R, C, P)
        mask = channel_mask = spatial_mask = None
        if self.with_spatial:
            voters = None
            if references is None:
                descriptors = self.describe(frames[..., None])[..., 0]
            else:
                descriptors, voters = self._describe_together(
                    frames, references.flatten(3))
            descriptors = unpack_frames(descriptors, frame_mask)  # (N, D, T, P)
            size = self._size_of_volume(x, clips.shape[2], references)
            maps = self._summarize(descriptors, voters, size, frame_mask)
            mask = self.decide(pack_frames(maps, frame_mask)[:, :, None])  # (R, 1, P)
            spatial_mask = unpack_frames(mask, frame_mask)[:, 0]  # (N, T, P)
        channels = None
        if self.with_channel:
            pooled = masked_average_pool(frames[:, :, None], mask)[:, 0]
            channel_mask = mean_of_real_frames(
                self.channel_attention(pooled), frame_mask)       # (N, C)
            channels = channel_mask[frame_mask.nonzero()[:, 0]]   # (R, C)
        out = apply_masks(frames[:, :, None], mask, channels)[:, :, 0]  # (R, C, P)
        return unpack_frames(out, frame_mask), spatial_mask, channel_mask

    def describe(self, x: Tensor) -> Tensor:
        """Standardised descriptor of each place: (M, C, A, B) to (M, D, A, B)."""
        return standardize_descriptors(self.reduction(x), self.eps)

    def _describe_and_keep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors of x in its own shape, and x to go on with."""
        flat = x.flatten(3) if x.dim() == 5 else x
        convolution, *rest = self.reduction
        if type(convolution) is nn.Conv2d and not _is_watched(
                self.reduction, convolution):
            described, flat = project(flat, convolution.weight, convolution.bias)
            for layer in rest:
                described = layer(described)
        else:
            described = self.reduction(flat)
        described = standardize_descriptors(described, self.eps)
        return described.unflatten(3, x.shape[3:]), flat.view(x.shape)

    def _describe_together(self, *features: Tensor) -> list[Tensor]:
        """Describe features (M_i, C, ...) at once, with one batch statistic."""
        columns = [f.transpose(0, 1).flatten(1) for f in features]  # (C, L_i) each
        together = torch.cat(columns, dim=1)[None, ..., None]     # (1, C, L, 1)
        parts = self.describe(together)[0, ..., 0].split(
            [c.shape[1] for c in columns], dim=1)                 # (D, L_i) each
        return [part.unflatten(1, (f.shape[0], *f.shape[2:])).transpose(0, 1)
                for part, f in zip(parts, features)]

    def summary_weight(self, size: VolumeSize,
                       slots: Optional[tuple[int, int]] = None) -> Tensor:
        """Weights of the first summary convolution for a cost volume of some size.

        Args:
            size: (slots, H, W).
            slots: (start, stop) of those wanted. Default: all.

        Returns:
            (K, stop - start, H, W), the parameter itself where the size is its own.
        """
        weight = self.summary[0].weight.view(-1, *self.volume_size)
        return resample_summary_weight(weight, size, slots)

    def _size_of_volume(self, x: Tensor, t: int,
                        references: Optional[Tensor]) -> VolumeSize:
        if not self.any_size:
            return self.volume_size
        if references is not None:
            return tuple(references.shape[2:])
        return self.num_references or t - 1, *x.shape[-2:]

    def _summarize(self, descriptors: Tensor, voters: Optional[Tensor],
                   size: VolumeSize, frame_mask: Optional[Tensor] = None) -> Tensor:
        """Summary maps (N, K, T, P) of descriptors (N, D, T, P), 0 if padded."""
        weight, bias = self.summary_weight(size).flatten(1), self.summary[0].bias
        t = descriptors.shape[2]
        if self.num_references is not None:
            if voters is None:
                voters = evenly_spaced_frames(
                    descriptors, self.num_references, frame_mask)
            return summarize_reference_volume(descriptors, voters, weight, bias)
        if frame_mask is None:
            return summarize_cost_volume(descriptors, weight, bias)
        votes = summarize_cost_volume(descriptors, weight)
        present = frame_mask.sum(1).to(votes.dtype)
        share = (t - 1) / (present - 1)
        return votes * share[:, None, None, None] + bias[:, None, None]

    def decide(self, maps: Tensor) -> Tensor:
        """Spatial mask (M, A, B) of summary maps (M, K, A, B)."""
        _, *rest = self.summary
        for layer in rest:
            maps = layer(maps)
        return torch.sigmoid(maps[:, 0])

    def stream(self, chunks: Iterable[Tensor], num_frames: Optional[int] = None,
               return_masks: bool = False,
               references: Optional[Tensor] = None) -> Iterator[Chunk]:
        """Attend to a long clip chunk by chunk, with the result it has as a whole.

        Memory does not grow with the length; :mod:`.cosam_streaming` says how. For
        clips of another length than the module's own, build it with ``any_size=True``
        or ``num_references``.

        Args:
            chunks: Features (N, C, t, H, W) in order, t of any size from 1. They are
                read up to three times, each time from the start: a list, or an
                object whose ``__iter__`` starts anew.
            num_frames: Frames of all chunks together. Default: those that the module
                was built for.
            return_masks: Whether to yield the masks as well.
            references: As in :meth:`forward`; one pass fewer then.

        Returns:
            Iterator of what :meth:`forward` returns, for a chunk's frames each,
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
        parts = [f'in_channels={self.in_channels}', f'num_frames={self.num_frames}',
                 f'spatial_size={self.spatial_size}']
        if self.any_size:
            parts.append('any_size=True')
        if self.num_references is not None:
            parts.append(f'num_references={self.num_references}')
        return ', '.join(parts)


def _is_watched(*modules: nn.Module) -> bool:
    """Whether hooks expect one of the modules to be called."""
    return any(hooks for module in modules for hooks in (
        module._forward_pre_hooks, module._forward_hooks,
        module._backward_pre_hooks, module._backward_hooks))


def _to_clips(x: Tensor, num_frames: int) -> Tensor:
    """View either layout as (N, C, T, P)."""
    if x.dim() == 5:
        return x.flatten(3)
    return x.flatten(2).unflatten(0, (-1, num_frames)).transpose(1, 2)


def _from_clips(clips: Tensor, like: Tensor) -> Tensor:
    """(N, C, T, P) in the layout and shape of other features."""
    if like.dim() == 4:
        clips = clips.transpose(1, 2)
    return clips.reshape(like.shape)


def _pair(size: Union[int, Sequence[int]]) -> tuple[int, int]:
    """(H, W) of a size given as such or as one int."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2:
        raise ValueError(f'spatial_size must be (H, W) or an int, got {size!r}.')
    return pair
