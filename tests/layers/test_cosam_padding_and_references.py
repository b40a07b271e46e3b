"""Padded frames and reference frames, against cost volumes that are built."""
import pytest
import torch

from cosam_mm.layers import COSAM
from tests.layers.test_cosam import randomized
from tests.reference.naive_cosam import naive_attention

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1]]).bool()
MODES = [{}, dict(num_references=2), dict(with_channel=False), dict(with_spatial=False)]


def make(t=4, **settings):
    cosam = COSAM(6, t, (4, 2), reduction_channels=5, summary_channels=3, **settings)
    return randomized(cosam).double()


def features(seed=0, t=4, n=3, size=(4, 2)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, t, *size, dtype=torch.float64, generator=generator)


def layouts(x):
    return x, x.transpose(1, 2).flatten(0, 1)


def check(cosam, x, references, voters, slots, mask=None):
    """Compare with the oracle, where ``voters`` are the references of each clip.

    Frames are (C, P), or numbers of frames of the clip.
    """
    outputs = cosam(x, return_masks=True, references=references, frame_mask=mask)
    if mask is None:
        mask = torch.ones(len(x), x.shape[2], dtype=torch.bool)
    clips = [[frame if is_real else None for frame, is_real in zip(clip, row)]
             for clip, row in zip(x.flatten(3).transpose(1, 2), mask)]
    for n, naive in enumerate(naive_attention(cosam, clips, voters, slots)):
        out, spatial, channel = (value[n] for value in outputs)
        torch.testing.assert_close(channel, naive[2])
        for t, is_real in enumerate(mask[n]):
            if is_real:
                torch.testing.assert_close(out[:, t].flatten(1), naive[0][t])
                torch.testing.assert_close(spatial[t].flatten(), naive[1][t])
            else:
                assert out[:, t].abs().max() == spatial[t].abs().max() == 0


def as_frames(references):
    return [list(clip.flatten(2).unbind(1)) for clip in references]


class TestReferences:

    @pytest.mark.parametrize('train', [True, False])
    @pytest.mark.parametrize(('t', 'k'), [(4, 2), (4, 1), (1, 1), (1, 3), (5, 2)])
    def test_given_ones_equal_the_naive_oracle(self, train, t, k):
        cosam = make(min(t, 4), num_references=k).train(train)
        references = features(1, k)
        check(cosam, features(t=t), references, as_frames(references), k)

    @pytest.mark.parametrize('train', [True, False])
    @pytest.mark.parametrize(('t', 'k', 'chosen'), [
        (4, 2, [1, 3]), (4, 1, [2]), (5, 3, [0, 2, 4]), (2, 3, [0, 1, 1])])
    def test_own_ones_equal_the_naive_oracle(self, train, t, k, chosen):
        cosam = make(num_references=k).train(train)
        check(cosam, features(t=t), None, [chosen] * 3, k)

    def test_any_size_and_references_of_another_size_than_the_clip(self):
        cosam = make(num_references=2, any_size=True).eval()
        x, references = features(t=3, size=(5, 5)), features(1, 3, size=(3, 4))
        built = COSAM(6, 3, (3, 4), 5, 3, num_references=3).double().eval()
        built.load_state_dict(cosam.state_dict())
        check(built, x, references, as_frames(references), 3)
        torch.testing.assert_close(cosam(x, references=references),
                                   built(x, references=references))

    def test_gradients_reach_them(self):
        cosam, x = make(num_references=2).eval(), features(n=1, t=2)
        references = features(1, 2, n=1).requires_grad_()
        assert torch.autograd.gradcheck(lambda r: cosam(x, references=r), references)

    def test_single_frame_needs_given_ones(self):
        cosam, x = make(1, num_references=3), features(t=1)
        with pytest.raises(ValueError, match='references='):
            cosam(x)
        assert cosam(x, references=x.expand(-1, -1, 3, -1, -1)).shape == x.shape
        assert cosam.summary[0].weight.shape == (3, 3 * 4 * 2, 1, 1)
        assert 'num_references=3' in repr(cosam)


class TestFrameMask:

    @pytest.mark.parametrize('train', [True, False])
    @pytest.mark.parametrize('mode', ['frames', 'own references', 'references'])
    def test_equals_the_naive_oracle(self, train, mode):
        references, voters, slots = None, [[]] * 3, 3
        cosam = make(num_references=None if mode == 'frames' else 2).train(train)
        if mode == 'own references':
            voters, slots = [[0, 2], [0, 3], [1, 3]], 2
        if mode == 'references':
            references, slots = features(1, 2), 2
            voters = as_frames(references)
        check(cosam, features(), references, voters, slots, MASK)

    @pytest.mark.parametrize('settings', MODES)
    @pytest.mark.parametrize('flat', [False, True])
    def test_content_of_padding_does_not_matter(self, settings, flat):
        """Not for outputs, gradients or running statistics; not even NaN."""
        results, whole = [], make(**settings).train()(features(), frame_mask=MASK)
        for padding in (0., 1e3, float('nan')):
            cosam, x = make(**settings).train(), features()
            x.transpose(1, 2)[~MASK] = padding
            x = layouts(x)[flat].clone().requires_grad_()
            outputs = [v for v in cosam(x, True, frame_mask=MASK) if v is not None]
            sum(v.square().sum() for v in outputs).backward()
            results.append([*(v.detach() for v in outputs), x.grad,
                            *(p.grad for p in cosam.parameters()), *cosam.buffers()])
        torch.testing.assert_close(results[0][0], layouts(whole.detach())[flat])
        for values in zip(*results):
            assert torch.isfinite(values[0]).all()
            assert torch.equal(values[0], values[1])
            assert torch.equal(values[0], values[2])
        grad = x.grad.unflatten(0, (3, 4)).transpose(1, 2) if flat else x.grad
        assert grad.transpose(1, 2)[~MASK].abs().max() == 0
        assert grad.transpose(1, 2)[MASK].abs().max() > 0

    @pytest.mark.parametrize('train', [True, False])
    @pytest.mark.parametrize('settings', [*MODES, dict(any_size=True)])
    def test_no_padding_is_no_mask(self, settings, train):
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

    @pytest.mark.parametrize(('settings', 'mask', 'message'), [
        ({}, MASK.int(), 'int32'), ({}, MASK[:2], r'\(2, 4\)'),
        ({}, MASK & torch.tensor([0, 0, 0, 1]).bool(), 'clip 0.*num_references'),
        ({}, MASK & torch.tensor([1, 1, 0, 0]).bool(), 'clip 1'),
        (dict(num_references=2), MASK & torch.tensor([1, 1, 0, 0]).bool(), 'clip 1'),
        (dict(with_spatial=False), MASK & torch.tensor([0, 0, 0, 1]).bool(), 'clip 0'),
    ])
    def test_wrong_masks_are_refused(self, settings, mask, message):
        with pytest.raises(ValueError, match=message):
            make(**settings)(features(), frame_mask=mask)

    def test_one_real_frame_is_enough_for_given_references(self):
        mask = MASK & torch.tensor([1, 1, 0, 0]).bool()
        cosam = make(num_references=2).eval()
        out = cosam(features(), frame_mask=mask, references=features(1, 2))
        assert out.transpose(1, 2)[~mask].abs().max() == 0
        assert out.transpose(1, 2)[mask].abs().max() > 0
