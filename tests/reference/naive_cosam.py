"""COSAM from the paper's description, in loops: volumes built, padding cut out.

Nothing here is shared with the package. Each clip is taken alone, as a list of its
real frames, every score of the cost volume is computed, and each mask is applied where
the paper applies it.
"""
import torch
from torch import Tensor


def naive_cosam(module, x: Tensor):
    """(output, spatial mask, channel mask) of a COSAM for clips (N, C, T, H, W)."""
    n, _, t, *size = x.shape
    clips = [list(clip.flatten(2).unbind(1)) for clip in x]
    found = naive_attention(module, clips, n * [[]], t - 1)
    out, spatial, channel = zip(*found)
    out = torch.stack([torch.stack(frames, dim=1) for frames in out]).view(x.shape)
    if module.with_spatial:
        spatial = torch.stack([torch.stack(masks) for masks in spatial])
        spatial = spatial.view(n, t, *size)
    return (out, spatial if module.with_spatial else None,
            torch.stack(channel) if module.with_channel else None)


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
        at padded frames, and for a mask that the module does not make.
    """
    masks = iter(())
    if module.with_spatial:
        masks = iter(_spatial_masks(module, clips, references, num_slots))
    return [_weigh(module, clip, masks) for clip in clips]


def _spatial_masks(module, clips, references, num_slots):
    """Masks (P,) of all real frames, clip by clip."""
    given = [f for frames in references for f in frames if not isinstance(f, int)]
    frames = [f for clip in clips for f in clip if f is not None]
    described = iter(_describe(module, [*frames, *given]))
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
    return torch.sigmoid(second.weight[0, :, 0, 0] @ maps + second.bias).split(
        [f.shape[1] for f in frames])


def _describe(module, frames: list[Tensor]) -> list[Tensor]:
    """Descriptors (D, P_i) of frames (C, P_i), batch norm over all of them at once."""
    conv, norm, _ = module.reduction
    row = torch.cat(frames, dim=1)[None, :, None]                    # (1, C, 1, L)
    reduced = norm(conv(row)).relu()[0, :, 0]
    mean = reduced.mean(0, keepdim=True)
    std = ((reduced - mean)**2).sum(0, keepdim=True).div(len(reduced) - 1).sqrt()
    return ((reduced - mean) / (std + module.eps)).split(
        [f.shape[1] for f in frames], dim=1)


def _weigh(module, clip, masks):
    spatial = [None if f is None else next(masks, None) for f in clip]
    weighed = [f if m is None else f * m for f, m in zip(clip, spatial)]
    if not module.with_channel:
        return weighed, spatial, None
    fc1, _, fc2, _ = module.channel_attention
    votes = [torch.sigmoid(fc2(torch.tanh(fc1(y.mean(1)))))
             for y in weighed if y is not None]
    channel = sum(votes) / len(votes)
    out = [None if y is None else y + channel[:, None] * y for y in weighed]
    return out, spatial, channel
