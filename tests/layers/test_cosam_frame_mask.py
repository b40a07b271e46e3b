"""Padded frames neither vote nor count."""
import pytest
import torch

from cosam_mm.layers import COSAM
from tests.layers.test_cosam import randomized
from tests.reference.naive_cosam_options import naive_attention

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1]]).bool()
MODES = [{}, dict(num_references=2), dict(with_channel=False), dict(with_spatial=False)]


def make(t=4, **settings):
    cosam = COSAM(6, t, (4, 2), reduction_channels=5, summary_channels=3, **settings)
    return randomized(cosam).double()


def features(seed=0, t=4):
    torch.manual_seed(seed)
    return torch.randn(3, 6, t, 4, 2, dtype=torch.float64)


def layouts(x):
    return x, x.transpose(1, 2).flatten(0, 1)


def real(x):
    """Real frames of (3, 6, 4, 4, 2)."""
    return x.transpose(1, 2)[MASK]


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('mode', ['frames', 'own references', 'references'])
def test_equals_the_naive_oracle(train, mode):
    x, references, naive_references, slots = features(), None, [[]] * 3, 3
    cosam = make(num_references=None if mode == 'frames' else 2).train(train)
    if mode == 'own references':
        naive_references, slots = [[0, 2], [0, 3], [1, 3]], 2
    if mode == 'references':
        references, slots = features(1)[:, :, :2], 2
        naive_references = [list(f.flatten(2).unbind(1)) for f in references]
    clips = [[frame if is_real else None for frame, is_real in zip(clip, row)]
             for clip, row in zip(x.flatten(3).transpose(1, 2), MASK)]
    out, spatial, channel = cosam(x, True, frame_mask=MASK, references=references)
    naive = naive_attention(cosam, clips, naive_references, slots)
    for n, (naive_out, naive_spatial, naive_channel) in enumerate(naive):
        torch.testing.assert_close(channel[n], naive_channel)
        for t in range(4):
            if not MASK[n, t]:
                assert out[n, :, t].abs().max() == spatial[n, t].abs().max() == 0
                continue
            torch.testing.assert_close(out[n, :, t].flatten(1), naive_out[t])
            torch.testing.assert_close(spatial[n, t].flatten(), naive_spatial[t])


@pytest.mark.parametrize('settings', MODES)
@pytest.mark.parametrize('flat', [False, True])
def test_content_of_padding_does_not_matter(settings, flat):
    """Not for outputs, gradients or running statistics; not even NaN."""
    results = []
    for padding in (0., 1e3, float('nan')):
        cosam, x = make(**settings).train(), features()
        x.transpose(1, 2)[~MASK] = padding
        x = layouts(x)[flat].clone().requires_grad_()
        outputs = [v for v in cosam(x, True, frame_mask=MASK) if v is not None]
        sum(v.square().sum() for v in outputs).backward()
        results.append([*(v.detach() for v in outputs), x.grad,
                        *(p.grad for p in cosam.parameters()), *cosam.buffers()])
    for values in zip(*results):
        assert torch.isfinite(values[0]).all()
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[0], values[2])
    grad = results[0][-1 - len(list(cosam.buffers())) - len(list(cosam.parameters()))]
    grad = grad.unflatten(0, (3, 4)).transpose(1, 2) if flat else grad
    assert grad.transpose(1, 2)[~MASK].abs().max() == 0
    assert grad.transpose(1, 2)[MASK].abs().max() > 0


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('settings', [*MODES, dict(any_size=True)])
def test_no_padding_is_no_mask(settings, train):
    t = 6 if 'any_size' in settings else 4
    results = []
    for mask in (None, torch.ones(3, t, dtype=torch.bool)):
        cosam, x = make(**settings).train(train), features(t=t).requires_grad_()
        out = cosam(x, True, frame_mask=mask)
        out[0].square().sum().backward()
        results.append([*(v for v in out if v is not None), x.grad,
                        *(p.grad for p in cosam.parameters()), *cosam.buffers()])
    for value, expected in zip(*results):
        torch.testing.assert_close(value, expected)


def test_both_layouts_agree():
    cosam, (clips, flat) = make().eval(), layouts(features())
    torch.testing.assert_close(cosam(flat, frame_mask=MASK),
                               layouts(cosam(clips, frame_mask=MASK))[1])


def test_identical_frames_keep_their_mask():
    """The scale: with uniform weights, fewer equal voters say the same."""
    cosam, x = make().eval(), features()[:, :, :1].expand(-1, -1, 4, -1, -1)
    with torch.no_grad():
        weight = cosam.summary[0].weight.view(3, 3, 8)
        weight.copy_(weight[:, :1].expand(-1, 3, -1).clone())
    whole = cosam(x, return_masks=True)
    masked = cosam(x, return_masks=True, frame_mask=MASK)
    torch.testing.assert_close(masked[1][MASK], whole[1][MASK])
    torch.testing.assert_close(masked[2], whole[2])


@pytest.mark.parametrize(('settings', 'mask', 'message'), [
    ({}, MASK.int(), r'bool tensor \(N, T\) = \(3, 4\).*got torch.int32 \(3, 4\)'),
    ({}, MASK[:2], r'\(3, 4\), True for real frames; got torch.bool \(2, 4\)'),
    ({}, MASK & torch.tensor([0, 0, 0, 1]).bool(),
     r'clip 0 with 0 real frame.*2 are needed.*num_references'),
    ({}, MASK & torch.tensor([1, 1, 0, 0]).bool(), r'clip 1 with 1 real frame'),
    (dict(num_references=2), MASK & torch.tensor([1, 1, 0, 0]).bool(),
     'clip 1 with 1 real frame'),
    (dict(with_spatial=False), MASK & torch.tensor([0, 0, 0, 1]).bool(),
     r'clip 0 with 0 real frame\(s\); 1 are needed. Drop that clip'),
])
def test_wrong_masks(settings, mask, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)(features(), frame_mask=mask)


def test_one_real_frame_is_enough_for_given_references():
    mask = MASK & torch.tensor([1, 1, 0, 0]).bool()
    cosam = make(num_references=2).eval()
    out = cosam(features(), frame_mask=mask, references=features(1)[:, :, :2])
    assert out.transpose(1, 2)[~mask].abs().max() == 0
    assert out.transpose(1, 2)[mask].abs().max() > 0
