"""Frames compared with reference frames, against volumes that are built."""
import pytest
import torch

from cosam_mm.layers import COSAM
from tests.layers.test_cosam import randomized
from tests.reference.naive_cosam_options import naive_attention


def make(k=2, t=4, size=(4, 2), **settings):
    cosam = COSAM(6, t, size, reduction_channels=5, summary_channels=3,
                  num_references=k, **settings)
    return randomized(cosam).double()


def as_frames(x):
    """(N, C, T, H, W) to N lists of T frames (C, P)."""
    return [list(clip.flatten(2).unbind(1)) for clip in x]


def check(cosam, x, references, naive_references, slots):
    outputs = cosam(x, return_masks=True, references=references)
    naive = naive_attention(cosam, as_frames(x), naive_references, slots)
    for n, (out, spatial, channel) in enumerate(naive):
        torch.testing.assert_close(outputs[0][n].flatten(2), torch.stack(out, 1))
        torch.testing.assert_close(outputs[1][n].flatten(1), torch.stack(spatial))
        torch.testing.assert_close(outputs[2][n], channel)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(('t', 'k'), [(4, 2), (4, 1), (1, 1), (1, 3), (5, 2)])
def test_given_references_equal_the_naive_oracle(train, t, k):
    torch.manual_seed(0)
    cosam = make(k, built_for(t)).train(train)
    x = torch.randn(2, 6, t, 4, 2, dtype=torch.float64)
    references = torch.randn(2, 6, k, 4, 2, dtype=torch.float64)
    check(cosam, x, references, as_frames(references), k)


def built_for(t):
    """What num_frames says does not matter to clips (N, C, T, H, W)."""
    return min(t, 4)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(('t', 'k', 'chosen'), [
    (4, 2, [1, 3]), (4, 1, [2]), (5, 3, [0, 2, 4]), (2, 3, [0, 1, 1])])
def test_own_references_equal_the_naive_oracle(train, t, k, chosen):
    torch.manual_seed(0)
    cosam = make(k).train(train)
    x = torch.randn(2, 6, t, 4, 2, dtype=torch.float64)
    check(cosam, x, None, [chosen] * 2, k)


def test_any_size_and_references_of_another_size_than_the_clip():
    torch.manual_seed(0)
    cosam = make(any_size=True).eval()
    x = torch.randn(2, 6, 3, 5, 5, dtype=torch.float64)
    references = torch.randn(2, 6, 3, 3, 4, dtype=torch.float64)
    built = COSAM(6, 3, (3, 4), 5, 3, num_references=3).double().eval()
    built.load_state_dict(cosam.state_dict())
    check(built, x, references, as_frames(references), 3)
    torch.testing.assert_close(cosam(x, references=references),
                               built(x, references=references))


def test_both_layouts_agree():
    cosam, x = make().eval(), torch.randn(2, 6, 3, 4, 2, dtype=torch.float64)
    references = torch.randn(2, 6, 2, 4, 2, dtype=torch.float64)
    flat = x.transpose(1, 2).flatten(0, 1)
    for given in (None, references):
        torch.testing.assert_close(
            cosam(flat, num_frames=3, references=given),
            cosam(x, references=given).transpose(1, 2).flatten(0, 1))


def test_frames_do_not_hear_of_one_another():
    """With references given, a frame's spatial mask is its own affair."""
    cosam, x = make().eval(), torch.randn(1, 6, 4, 4, 2, dtype=torch.float64)
    references = torch.randn(1, 6, 2, 4, 2, dtype=torch.float64)
    mask = cosam(x, return_masks=True, references=references)[1]
    for t in range(4):
        alone = cosam(x[:, :, t:t + 1], return_masks=True, references=references)[1]
        torch.testing.assert_close(alone[:, 0], mask[:, t])


def test_references_learn():
    cosam = make().eval()
    x = torch.randn(1, 6, 2, 4, 2, dtype=torch.float64)
    references = torch.randn(1, 6, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: cosam(x, references=r), references)


def test_parameters_follow_the_references():
    assert make(3).summary[0].weight.shape == (3, 3 * 4 * 2, 1, 1)
    assert 'num_references=3' in repr(make(3))


def test_single_frame_without_references():
    cosam = make(t=1)
    x = torch.zeros(1, 6, 1, 4, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r'Got 1 frame .*references=\.\.\.'):
        cosam(x)
    assert cosam(x, references=x.expand(-1, -1, 2, -1, -1)).shape == x.shape
