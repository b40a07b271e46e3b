"""COSAM over a long video in chunks, with the result it has on the whole.

Three things of a clip's attention depend on all of its frames: the template of each
frame, the channel mask, and nothing else. Both are sums over frames, so a chunk at a
time is enough, if the chunks can be read again:

1. vote: the template of frame 0, ``T_0 = sum_j W_j R_{j+1}^T``. The next ones follow
   from it: where frame n - 1 took part with slot n - 1, frame n now does, ::

       T_n = T_{n-1} + W_{n-1} (R_{n-1} - R_n)^T

   a running sum, in float64, for which one frame is kept from chunk to chunk
   (notation of :func:`cosam_mm.layers.cosam_functional.summarize_cost_volume`);
2. average: spatial masks, chunk by chunk, and from them the channel mask;
3. output: the spatial masks once more, and the weighed features.

What is held is a chunk, its templates, and sums whose size does not depend on the
number of frames; the summary weights, which have a slot a frame, are resampled for the
slots of a chunk only. Features are reduced again in each pass: memory is paid for with
time. With given references the template is known beforehand and pass 1 falls away, with
the spatial mask alone pass 2 does.
"""
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Callable, Optional, Union

import torch
from torch import Tensor

from .cosam_functional import apply_masks, masked_average_pool
from .cosam_input import check_features, check_num_frames, shape_of
from .frame_choice import evenly_spaced_indices

if TYPE_CHECKING:
    from .cosam import COSAM

__all__ = ['stream_cosam']

Chunk = Union[Tensor, tuple[Tensor, Optional[Tensor], Optional[Tensor]]]
# Descriptors (N, D, t, P) of the next frames in order -> their templates (t, N, K, D).
Templates = Callable[[Tensor], Tensor]


def stream_cosam(cosam: 'COSAM', chunks: Iterable[Tensor], num_frames: int,
                 return_masks: bool = False,
                 references: Optional[Tensor] = None) -> Iterator[Chunk]:
    """Attend to one clip that comes in chunks.

    Args:
        cosam: In evaluation mode.
        chunks: Features (N, C, t, H, W) in order, t of any size from 1. They are read
            up to three times, each time from the start by ``iter(chunks)``.
        num_frames: Frames of all chunks together.
        return_masks: Whether to yield the masks as well.
        references: Reference frames (N, C, K, H, W), as in the module's forward.

    Returns:
        Iterator of what the module returns, for the frames of a chunk each. No
        gradients.

    Raises:
        ValueError: ``chunks`` can be read only once, or do not fit the module, one
            another or ``num_frames``.
        RuntimeError: The module is in training mode.
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
    check_num_frames(cosam, num_frames, f'num_frames={num_frames}',
                     references is not None)
    return _outputs(cosam, _Reader(cosam, chunks, num_frames, references), return_masks)


class _Reader:
    """Reads the chunks from the start, as often as wanted, and checks each."""

    def __init__(self, cosam: 'COSAM', chunks: Iterable[Tensor], num_frames: int,
                 references: Optional[Tensor]) -> None:
        self.cosam = cosam
        self.chunks = chunks
        self.num_frames = num_frames
        self.references = references
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

    def slot_weights(self, start: int, stop: int) -> Tensor:
        """Summary weights (K, stop - start, P) of some slots of the whole clip."""
        size = (self.num_frames - 1, *self.like[2:])
        return self.cosam.summary_weight(size, (start, stop)).flatten(2)

    def _check(self, chunk: Tensor) -> None:
        if chunk.dim() != 5 or not chunk.shape[2]:
            raise ValueError('A chunk is (N, C, t, H, W) with one frame or more, got '
                             f'{shape_of(chunk)}.')
        shape = shape_of(chunk)
        like = (*shape[:2], *shape[3:])
        if self.like is None:
            self.like = like
            whole = chunk[:, :, :1].expand(-1, -1, self.num_frames, -1, -1)  # no copy
            check_features(self.cosam, whole, None, self.references)
        if like != self.like:
            raise ValueError(
                'Chunks differ in their numbers of frames only; (N, C, H, W) was '
                f'{self.like} and is {like} now.')


@torch.no_grad()
def _outputs(cosam: 'COSAM', chunks: _Reader, return_masks: bool) -> Iterator[Chunk]:
    new_templates = _vote(cosam, chunks) if cosam.with_spatial else None

    def attended() -> Iterator[tuple[Tensor, Tensor, Optional[Tensor]]]:
        templates = new_templates() if new_templates else None
        for chunk in chunks:
            clips = chunk.flatten(3)                              # (N, C, t, P)
            yield chunk, clips, _spatial_mask(cosam, clips, templates)

    channel_mask = None
    if cosam.with_channel:
        total = 0
        for _, clips, spatial_mask in attended():
            votes = cosam.channel_attention(masked_average_pool(clips, spatial_mask))
            total = total + votes.double().sum(1)
        channel_mask = (total / chunks.num_frames).to(votes.dtype)  # (N, C)
    for chunk, clips, spatial_mask in attended():
        out = apply_masks(clips, spatial_mask, channel_mask).reshape(chunk.shape)
        if not return_masks:
            yield out
            continue
        if spatial_mask is not None:
            spatial_mask = spatial_mask.unflatten(2, chunk.shape[3:])
        yield out, spatial_mask, channel_mask


def _spatial_mask(cosam: 'COSAM', clips: Tensor,
                  templates: Optional[Templates]) -> Optional[Tensor]:
    """(N, t, P) of the next frames, which their templates are made for."""
    if templates is None:
        return None
    descriptors = cosam.describe(clips)                           # (N, D, t, P)
    of_frames = templates(descriptors).to(descriptors.dtype)      # (t, N, K, D)
    maps = torch.einsum('tnkd,ndtp->nktp', of_frames, descriptors)
    maps = maps / descriptors.shape[1]
    return cosam.decide(maps + cosam.summary[0].bias[:, None, None])


def _vote(cosam: 'COSAM', chunks: _Reader) -> Callable[[], Templates]:
    """Pass 1. What it returns gives the templates from frame 0 on, at each call."""
    if cosam.num_references is None:
        first = _first_template(cosam, chunks)
        return lambda: _RunningTemplates(chunks, first)
    references = chunks.references
    if references is None:
        references = _chosen_frames(cosam, chunks)
    voters = cosam.describe(references.flatten(3))                # (N, D, S, Q)
    weight = cosam.summary_weight(tuple(references.shape[2:])).flatten(1)
    template = torch.einsum('kv,ndv->nkd', weight, voters.flatten(2))

    def same_for_all(descriptors: Tensor) -> Tensor:
        return template.expand(descriptors.shape[2], *template.shape)

    return lambda: same_for_all


def _chosen_frames(cosam: 'COSAM', chunks: _Reader) -> Tensor:
    """(N, C, K, H, W): the references that a clip has in itself."""
    wanted = evenly_spaced_indices(chunks.num_frames, cosam.num_references).tolist()
    chosen, seen = {}, 0
    for chunk in chunks:
        for frame in wanted:
            if seen <= frame < seen + chunk.shape[2]:
                chosen[frame] = chunk[:, :, frame - seen].clone()
        seen += chunk.shape[2]
    return torch.stack([chosen[frame] for frame in wanted], dim=2)


def _first_template(cosam: 'COSAM', chunks: _Reader) -> Tensor:
    """Frame 0's, (N, K, D) in float64: frame m of the others has slot m - 1."""
    total, seen = 0, 0
    for chunk in chunks:
        t = chunk.shape[2]
        voters = cosam.describe(chunk.flatten(3))                 # (N, D, t, P)
        if seen == 0:
            voters = voters[:, :, 1:]
        weight = chunks.slot_weights(max(seen - 1, 0), seen + t - 1)
        total = total + torch.einsum('ksp,ndsp->nkd', weight, voters).double()
        seen += t
    return total


class _RunningTemplates:
    """Templates of the frames in order, each from the one before."""

    def __init__(self, chunks: _Reader, first: Tensor) -> None:
        self.chunks = chunks
        self.template = first                                     # (N, K, D)
        self.last: Optional[Tensor] = None                        # (N, D, 1, P)
        self.seen = 0

    def __call__(self, descriptors: Tensor) -> Tensor:
        t = descriptors.shape[2]
        weight = self.chunks.slot_weights(max(self.seen - 1, 0), self.seen + t - 1)
        row = descriptors
        if self.last is not None:
            row = torch.cat([self.last, row], dim=2)
        steps = row[:, :, :-1] - row[:, :, 1:]                    # (N, D, s, P)
        moves = torch.einsum('ksp,ndsp->snkd', weight, steps).double()
        templates = torch.cat([self.template[None], moves]).cumsum(0)
        self.template = templates[-1].clone()
        self.last = descriptors[:, :, -1:].clone()                # not all of a chunk
        self.seen += t
        return templates[-t:]                                     # (t, N, K, D)
