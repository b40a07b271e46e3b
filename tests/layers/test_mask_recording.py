"""Masks of every COSAM of a model, noted while it runs."""

import pytest
import torch
from torch import nn

from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import ModuleMasks, record_masks, split_masks


def make_model(**settings):
    torch.manual_seed(0)
    model = nn.ModuleDict(dict(
        first=COSAM(8, 4, (2, 2)), then=nn.Sequential(COSAM(8, 4, (2, 2), **settings))))
    model.forward = lambda x: model['then'](model['first'](x))
    return model.eval()


@pytest.fixture
def x():
    return torch.rand(3, 8, 4, 2, 2)


def test_masks_are_what_each_module_returns(x):
    model = make_model()
    with record_masks(model) as record:
        y = model(x)
    between, *first = model['first'](x, return_masks=True)
    output, *then = model['then'][0](between, return_masks=True)
    masks = record.masks()
    with record_masks(model) as by_clip:  # passes are joined in order
        for clip in x.split(1):
            model(clip)
    torch.testing.assert_close(by_clip.masks(), masks)
    assert list(masks) == ['first', 'then.0']
    torch.testing.assert_close(y, output, rtol=0, atol=0)
    for found, expected in ((masks['first'], first), (masks['then.0'], then)):
        torch.testing.assert_close(list(found), expected, rtol=0, atol=0)
        assert not found.spatial.requires_grad


def test_nothing_else_changes(x):
    """Outputs, gradients, other hooks, and the model afterwards."""
    model, plain = make_model(), None
    seen = []
    model['first'].register_forward_hook(lambda _, args, output: seen.append(output))

    def gradients():
        x_ = x.clone().requires_grad_()
        model(x_).sum().backward()
        return x_.grad

    plain = gradients()
    with record_masks(model) as record:
        inside = gradients()
    after = gradients()
    torch.testing.assert_close(inside, plain, rtol=0, atol=0)
    torch.testing.assert_close(after, plain, rtol=0, atol=0)
    assert all(isinstance(output, torch.Tensor) for output in seen)
    assert len(record.masks()['first'].spatial) == 3
    assert not model['first']._forward_pre_hooks
    assert len(model['first']._forward_hooks) == 1
    # An error in a pass does not matter.
    with record_masks(model) as record:
        with pytest.raises(ValueError, match='num_frames'):
            model(x[:, :, :3])
        model(x)
    assert len(record.masks()['then.0'].channel) == 3


@pytest.mark.parametrize('ask', [
    lambda module, x: module(x, return_masks=True), lambda module, x: module(x, True)])
def test_whoever_asks_as_well_gets_them(x, ask):
    module = make_model()['first']
    with record_masks(nn.Sequential(module)) as record:
        output, spatial, channel = ask(module, x)
        assert isinstance(module(x, False), torch.Tensor)
    masks = record.masks()['0']
    torch.testing.assert_close(masks.spatial, torch.cat([spatial, spatial]))


def test_a_mask_that_is_switched_off_is_none(x):
    model = make_model(with_channel=False)
    with record_masks(model) as record:
        model(x)
    masks = record.masks()
    assert masks['then.0'].channel is None
    first, then = (one['then.0'] for one in split_masks(masks, [1, 2]))
    assert first.channel is None
    torch.testing.assert_close(torch.cat([first.spatial, then.spatial]),
                               masks['then.0'].spatial)


def test_masks_are_split_by_clips_and_by_views_and_no_cosam_has_none():
    masks = dict(a=ModuleMasks(torch.arange(6.).view(6, 1, 1, 1), torch.rand(6, 2)))

    def rows(shares):
        return [one['a'].spatial.flatten().tolist()
                for one in split_masks(masks, shares)]

    assert rows([1, 3, 2]) == [[0], [1, 2, 3], [4, 5]]
    assert rows([1, 1]) == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match='6 clips'):
        rows([1, 3])
    with pytest.raises(ValueError, match='Linear'), record_masks(nn.Linear(1, 1)):
        pass
