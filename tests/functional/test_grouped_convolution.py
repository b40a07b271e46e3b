"""Grouped convolutions in wider groups: the same sums, and the same gradients."""
import pytest
import torch
from torch.nn import functional as F

from cosam_mm.functional.grouped_convolution import (
    GroupedConvolution,
    merge_groups,
    split_groups,
    widening,
)


def tensor(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator,
                       dtype=torch.float64).requires_grad_()


def convolved(x, weight, groups=2, stride=1, dilation=1):
    return GroupedConvolution.apply(
        x, weight, (stride,) * 3, (1, 1, 1), (dilation,) * 3, groups)


@pytest.mark.parametrize(('channels', 'groups', 'factor'), [
    (128, 32, 2), (8, 2, 2), (4, 1, 1), (12, 3, 1), (64, 32, 1), (32, 32, 1),
    (160, 32, 1), (256, 32, 1), (1024, 32, 1)])
def test_groups_of_four_channels_are_taken_in_pairs(channels, groups, factor):
    assert widening(channels, groups) == factor


@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('factor', [1, 2, 3, 6])
@pytest.mark.parametrize('sizes', [(3, 2, 3), (3, 3)])
def test_merged_groups_are_the_same_convolution(sizes, factor, last):
    weight = tensor(12, 2, *sizes).detach()                       # 6 groups, 2 to 2
    x = tensor(2, 12, *(4 for _ in sizes), seed=1)
    if last:
        weight = weight.contiguous(memory_format=(
            torch.channels_last_3d if len(sizes) == 3 else torch.channels_last))
    convolve = F.conv3d if len(sizes) == 3 else F.conv2d
    wide = merge_groups(weight, 6, factor)
    assert wide.shape == (12, 2 * factor, *sizes)
    assert wide.count_nonzero() == weight.numel()
    torch.testing.assert_close(convolve(x, wide, padding=1, groups=6 // factor),
                               convolve(x, weight, padding=1, groups=6))
    narrow = split_groups(wide, 6, factor)
    assert torch.equal(narrow, weight)
    assert narrow.stride() == weight.stride()


def test_gradients_of_the_wide_weights_outside_the_groups_are_left_out():
    wide = torch.arange(16.).view(4, 4, 1, 1, 1)
    assert split_groups(wide, 4, 4).flatten().tolist() == [0, 5, 10, 15]
    assert split_groups(wide, 2, 2).flatten(1).tolist() == [
        [0, 1], [4, 5], [10, 11], [14, 15]]


def test_gradients():
    x, weight = tensor(1, 8, 2, 2, 2), tensor(4, 4, 3, 1, 3, seed=1)
    assert widening(8, 2) == 2
    assert torch.autograd.gradcheck(convolved, (x, weight))
    assert torch.autograd.gradgradcheck(convolved, (x, weight))


@pytest.mark.parametrize('needed', [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(('stride', 'dilation'), [(1, 1), (2, 1), (1, 2)])
def test_gradients_are_those_of_the_grouped_form(stride, dilation, needed):
    results = []
    for convolve in (convolved, lambda x, weight, groups, stride, dilation: F.conv3d(
            x, weight, None, stride, 1, dilation, groups)):
        x, weight = tensor(2, 16, 5, 6, 7), tensor(12, 4, 3, 3, 3, seed=1)
        for value, is_needed in zip((x, weight), needed):
            value.requires_grad_(is_needed)
        out = convolve(x, weight, 4, stride, dilation)
        out.square().sum().backward()
        results.append([out, x.grad, weight.grad])
    for ours, plain, is_there in zip(*results, (True, *needed)):
        assert (ours is not None) == is_there
        if is_there:
            torch.testing.assert_close(ours, plain)
