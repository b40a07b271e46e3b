"""Real frames packed and unpacked; references spread over a clip."""
import pytest
import torch

from cosam_mm.layers.frame_choice import (
    evenly_spaced_frames,
    evenly_spaced_indices,
    mean_of_real_frames,
    pack_frames,
    unpack_frames,
)

MASK = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]]).bool()


def test_packed_frames_are_the_real_ones_clip_by_clip():
    clips = torch.randn(3, 2, 4, 5)
    expected = [clips[n, :, t] for n in range(3) for t in range(4) if MASK[n, t]]
    assert torch.equal(pack_frames(clips, MASK), torch.stack(expected))


def test_unpacking_undoes_packing_and_leaves_zeros():
    clips = torch.randn(3, 2, 4, 5)
    back = unpack_frames(pack_frames(clips, MASK), MASK)
    assert torch.equal(back, clips * MASK[:, None, :, None])
    clips.transpose(1, 2)[~MASK] = float('nan')
    assert torch.isfinite(unpack_frames(pack_frames(clips, MASK), MASK)).all()


def test_gradients_of_packing_in_float64():
    clips = torch.randn(3, 1, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: unpack_frames(pack_frames(x, MASK)**2, MASK), clips)


def test_mean_of_real_frames():
    clips = torch.randn(3, 2, 4)
    values = pack_frames(clips[..., None], MASK)[..., 0]
    expected = torch.stack([clips[n][:, MASK[n]].mean(1) for n in range(3)])
    torch.testing.assert_close(mean_of_real_frames(values, MASK), expected)


@pytest.mark.parametrize(('frames', 'count', 'expected'), [
    (8, 1, [4]), (8, 2, [2, 6]), (8, 8, [*range(8)]), (9, 3, [1, 4, 7]),
    (1, 3, [0, 0, 0]), (2, 4, [0, 0, 1, 1])])
def test_evenly_spaced(frames, count, expected):
    assert evenly_spaced_indices(frames, count).tolist() == expected
    clips = torch.arange(frames).expand(2, 3, frames)[..., None]
    assert evenly_spaced_frames(clips, count)[1, 2, :, 0].tolist() == expected


def test_evenly_spaced_among_real_frames():
    clips = torch.arange(4).expand(3, 2, 4)[..., None]
    chosen = evenly_spaced_frames(clips, 2, MASK)
    assert chosen.shape == (3, 2, 2, 1)
    assert chosen[:, 0, :, 0].tolist() == [[0, 3], [2, 2], [1, 3]]
    everywhere = torch.ones(3, 4, dtype=torch.bool)
    assert torch.equal(evenly_spaced_frames(clips, 3, everywhere),
                       evenly_spaced_frames(clips, 3))
