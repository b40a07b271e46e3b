"""COSAM over a long video in chunks, with the result it has on the whole.

The attention of a clip depends on all of its frames in two ways only: through the
template of each frame and through the channel mask. Both are sums over frames, so
chunks are enough, if they can be read several times:

1. The first pass sums the template of frame 0, ``T_0 = sum_j R_{j+1} W_j^T``. The
   others follow from it by ``T_{n+1} = T_n + (R_n - R_{n+1}) W_n^T``, see
   :func:`~cosam_mm.layers.cosam_functional.summarize_cost_volume`. The running sum is
   in float64, and one frame is kept from chunk to chunk.
2. The second pass computes the spatial masks, and from them the channel mask.
3. The third pass computes the spatial masks again and weighs the features.

Held are a chunk, its templates, and sums whose size does not depend on the number of
frames. The summary weights, which have a slot for each frame, are resampled for the
slots of a chunk only. Features are reduced again in each pass, which costs time in
place of memory. With given references the template is known beforehand, so the first
pass falls away; so does the second with the spatial mask alone.
"""
from collections.abc import Iterable, Iterator
from typing import Optional, Union

import torch
from torch import Tensor, nn

from .cosam_functional import apply_masks, average_positions, evenly_spaced_indices

__all__ = ['stream_cosam']

Chunk = Union[Tensor, tuple[Tensor, Optional[Tensor], Optional[Tensor]]]


def stream_cosam(cosam: nn.Module, chunks: Iterable[Tensor], num_frames: int,
                 return_masks: bool = False,
                 references: Optional[Tensor] = None) -> Iterator[Chunk]:
    """Attend to one clip that comes in chunks.

    Arguments, result and errors are those of
    :meth:`cosam_mm.layers.cosam.COSAM.stream`, for the module ``cosam``.
    """
    if cosam.training:
        raise RuntimeError(
            'stream() is for evaluation: in training, batch norm would take its '
            'statistics from each chunk alone. Call cosam.eval() first, or forward() '
            'with the whole clip.')
    if isinstance(chunks, Iterator):
        raise ValueError(
            f'chunks is a {type(chunks).__name__}, which can be read only once, and up '
            'to three passes are needed: give a list, or an object whose __iter__ '
            'starts anew, such as a data loader that does not shuffle.')
    cosam.check_num_frames(num_frames, f'num_frames={num_frames}',
                           references is not None)
    return _outputs(cosam, _Reader(cosam, chunks, num_frames, references), return_masks)


class _Reader:
    """Reads the chunks from the start, as often as wanted, and checks each."""

    def __init__(self, cosam: nn.Module, chunks: Iterable[Tensor], num_frames: int,
                 references: Optional[Tensor]) -> None:
        self.cosam, self.chunks = cosam, chunks
        self.num_frames, self.references = num_frames, references
        self.like: Optional[tuple[int, ...]] = None

    def __iter__(self) -> Iterator[Tensor]:
        seen = 0
        for chunk in self.chunks:
            self._check(chunk)
            seen += chunk.shape[2]
            if seen > self.num_frames:
                break
            yield chunk
        if seen != self.num_frames:
            more = 'at least ' if seen > self.num_frames else ''
            raise ValueError(
                f'The chunks hold {more}{seen} frames, num_frames={self.num_frames}: '
                'give the number of frames of the whole clip, and chunks that are the '
                'same in each pass.')

    def _check(self, chunk: Tensor) -> None:
        """Raise a ValueError for a chunk that does not fit module or other chunks."""
        if chunk.dim() != 5 or not chunk.shape[2]:
            raise ValueError('A chunk is (N, C, t, H, W) with one frame or more, got '
                             f'{tuple(chunk.shape)}.')
        like = (*chunk.shape[:2], *chunk.shape[3:])
        if self.like is None:
            self.like = like
            whole = chunk[:, :, :1].expand(-1, -1, self.num_frames, -1, -1)  # no copy
            self.cosam.check_features(whole, None, self.references)
        if like != self.like:
            raise ValueError(
                'Chunks differ in their numbers of frames only; (N, C, H, W) was '
                f'{self.like} and is {like} now.')


@torch.no_grad()
def _outputs(cosam: nn.Module, chunks: _Reader, return_masks: bool) -> Iterator[Chunk]:
    """Passes 1 to 3."""
    template = _first_template(cosam, chunks) if cosam.with_spatial else None
    channel_mask = None
    if cosam.with_channel:
        total = 0
        for clips, spatial_mask in _attended(cosam, chunks, template):
            pooled = average_positions(apply_masks(clips, spatial_mask, None))
            votes = cosam.channel_attention(pooled)               # (N, t, C)
            total = total + votes.double().sum(1)
        channel_mask = (total / chunks.num_frames).to(votes.dtype)  # (N, C)
    for clips, spatial_mask in _attended(cosam, chunks, template):
        size = chunks.like[2:]
        out = apply_masks(clips, spatial_mask, channel_mask).unflatten(3, size)
        if spatial_mask is not None:
            spatial_mask = spatial_mask.unflatten(2, size)
        yield (out, spatial_mask, channel_mask) if return_masks else out


def _first_template(cosam: nn.Module, chunks: _Reader) -> Tensor:
    """Pass 1: frame 0's, (N, K, D) in float64; with references, that of all frames."""
    if cosam.num_references is not None:
        references = chunks.references
        if references is None:
            references = _chosen_frames(cosam, chunks)
        voters = cosam.describe(references.flatten(3))            # (N, D, S, Q)
        weight = cosam.summary_weight(tuple(references.shape[2:])).flatten(2)
        return torch.einsum('ksq,ndsq->nkd', weight, voters).double()
    total, seen = 0, 0
    for chunk in chunks:
        voters = cosam.describe(chunk.flatten(3))                 # (N, D, t, P)
        if seen == 0:
            voters = voters[:, :, 1:]
        weight = _slot_weights(cosam, chunks, seen, chunk.shape[2])
        total = total + torch.einsum('ksp,ndsp->nkd', weight, voters).double()
        seen += chunk.shape[2]
    return total


def _chosen_frames(cosam: nn.Module, chunks: _Reader) -> Tensor:
    """(N, C, K, H, W): the references that a clip has in itself."""
    wanted = evenly_spaced_indices(chunks.num_frames, cosam.num_references).tolist()
    chosen, seen = {}, 0
    for chunk in chunks:
        for frame in wanted:
            if seen <= frame < seen + chunk.shape[2]:
                chosen[frame] = chunk[:, :, frame - seen].clone()
        seen += chunk.shape[2]
    return torch.stack([chosen[frame] for frame in wanted], dim=2)


def _slot_weights(cosam: nn.Module, chunks: _Reader, seen: int, t: int) -> Tensor:
    """Summary weights (K, s, P) of the slots that t frames have, after ``seen``.

    Frame m has slot m - 1, in frame 0's template and from frame m - 1 to m.
    """
    size = (chunks.num_frames - 1, *chunks.like[2:])
    return cosam.summary_weight(size, (max(seen - 1, 0), seen + t - 1)).flatten(2)


def _attended(cosam: nn.Module, chunks: _Reader, template: Optional[Tensor]
              ) -> Iterator[tuple[Tensor, Optional[Tensor]]]:
    """Each chunk as (N, C, t, P) with its spatial mask (N, t, P); a pass."""
    last, seen = None, 0                                          # (N, D, 1, P)
    for chunk in chunks:
        clips, t = chunk.flatten(3), chunk.shape[2]
        if template is None:
            yield clips, None
            continue
        descriptors = cosam.describe(clips)                       # (N, D, t, P)
        if cosam.num_references is None:
            weight = _slot_weights(cosam, chunks, seen, t)
            row = descriptors if last is None else torch.cat([last, descriptors], 2)
            steps = row[:, :, :-1] - row[:, :, 1:]                # (N, D, s, P)
            moves = torch.einsum('ksp,ndsp->snkd', weight, steps).double()
            templates = torch.cat([template[None], moves]).cumsum(0)[-t:]
            template = templates[-1].clone()
            last = descriptors[:, :, -1:].clone()                 # not all of a chunk
            seen += t
        else:
            templates = template.expand(t, *template.shape)       # (t, N, K, D)
        maps = torch.einsum('tnkd,ndtp->nktp', templates.to(descriptors.dtype),
                            descriptors) / descriptors.shape[1]
        yield clips, cosam.mask_from_summary(
            maps + cosam.summary[0].bias[:, None, None])
