"""What COSAM does beyond the paper, in loops: volumes built, padding cut out.

Each clip is taken alone, as a list of its real frames, and every score is computed.
"""
import torch
from torch import Tensor


def standardize(reduced: Tensor, eps: float) -> Tensor:
    """(D, P) to the same shape, over D."""
    mean = reduced.mean(0, keepdim=True)
    std = ((reduced - mean)**2).sum(0, keepdim=True).div(reduced.shape[0] - 1).sqrt()
    return (reduced - mean) / (std + eps)


def reduce_frames(module, frames: list[Tensor]) -> list[Tensor]:
    """Descriptors (D, P_i) of frames (C, P_i), batch norm over all of them at once."""
    conv, norm, _ = module.reduction
    row = torch.cat(frames, dim=1)[None, :, None]                    # (1, C, 1, L)
    reduced = norm(conv(row)).relu()[0, :, 0]
    return [standardize(part, module.eps)
            for part in reduced.split([f.shape[1] for f in frames], dim=1)]


def naive_attention(module, clips: list[list], references: list[list],
                    num_slots: int):
    """Outputs and masks of clips given frame by frame, batch norm over all of them.

    Args:
        module: A COSAM.
        clips: Of each clip its T frames, (C, P), or None where a frame is padded.
        references: Of each clip its reference frames, (C, Q); empty to compare the
            frames of a clip with one another; ints for frames of the clip.
        num_slots: Slots S of the volume.

    Returns:
        Of each clip: T outputs (C, P), T spatial masks (P,), channel mask (C,); None
        at padded frames.
    """
    given = [f for frames in references for f in frames if not isinstance(f, int)]
    frames = [f for clip in clips for f in clip if f is not None]
    described = iter(reduce_frames(module, [*frames, *given]))
    of_clips = [[None if f is None else next(described) for f in clip]
                for clip in clips]
    of_references = [
        [of_clips[n][f] if isinstance(f, int) else next(described) for f in frames]
        for n, frames in enumerate(references)]
    first, norm, _, second = module.summary
    weight = first.weight[:, :, 0, 0].unflatten(1, (num_slots, -1))  # (K, S, Q)
    summaries = []
    for clip, voters in zip(of_clips, of_references):
        present = sum(f is not None for f in clip)
        for n, frame in enumerate(clip):
            if frame is None:
                continue
            others, scale = voters, 1
            if not voters:
                others = [f for m, f in enumerate(clip) if m != n]
                scale = (len(clip) - 1) / (present - 1)
            total = 0
            for slot, other in enumerate(others):
                if other is not None:
                    scores = other.T @ frame / frame.shape[0]        # (Q, P)
                    total = total + weight[:, slot] @ scores
            summaries.append(total * scale + first.bias[:, None])
    maps = norm(torch.cat(summaries, dim=1)[None, :, None]).relu()[0, :, 0]
    masks = iter(torch.sigmoid(second.weight[0, :, 0, 0] @ maps + second.bias).split(
        [f.shape[1] for f in frames]))
    return [_weigh(module, clip, masks) for clip in clips]


def _weigh(module, clip, masks):
    fc1, _, fc2, _ = module.channel_attention
    spatial = [None if f is None else next(masks) for f in clip]
    weighed = [None if f is None else f * m for f, m in zip(clip, spatial)]
    votes = [torch.sigmoid(fc2(torch.tanh(fc1(y.mean(1)))))
             for y in weighed if y is not None]
    channel = sum(votes) / len(votes)
    out = [None if y is None else y + channel[:, None] * y for y in weighed]
    return out, spatial, channel
