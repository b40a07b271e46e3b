"""Resampled summary weights against PyTorch's interpolation and sums by hand."""
import pytest
import torch
from torch.nn import functional as F

from cosam_mm.layers.summary_resampling import (
    infer_volume_size,
    linear_filter,
    resample_summary_weight,
)


@pytest.mark.parametrize(('old', 'new'), [(1, 1), (1, 5), (3, 3), (3, 7), (4, 8)])
def test_filter_to_more_cells_is_linear_interpolation(old, new):
    values = torch.randn(1, 1, old, dtype=torch.float64)
    expected = F.interpolate(values, size=new, mode='linear', align_corners=False)
    matrix = linear_filter(old, new, like=values)
    torch.testing.assert_close(matrix @ values[0, 0], expected[0, 0])


@pytest.mark.parametrize(('old', 'new'), [(5, 1), (8, 4), (7, 3), (16, 5)])
def test_filter_to_fewer_cells_is_antialiased(old, new):
    values = torch.randn(1, 1, 1, old)
    expected = F.interpolate(values, size=(1, new), mode='bilinear', antialias=True,
                             align_corners=False)
    torch.testing.assert_close(linear_filter(old, new) @ values.flatten(),
                               expected.flatten())


@pytest.mark.parametrize(('old', 'new'), [(3, 11), (11, 3), (4, 4), (1, 6)])
def test_filter_rows_sum_to_one_and_come_in_parts(old, new):
    matrix = linear_filter(old, new)
    assert matrix.shape == (new, old)
    torch.testing.assert_close(matrix.sum(1), torch.ones(new))
    parts = [linear_filter(old, new, start, min(start + 2, new))
             for start in range(0, new, 2)]
    assert torch.equal(torch.cat(parts), matrix)
    assert linear_filter(old, new, 2, 2).shape == (0, old)


def test_filter_of_a_far_slot_is_exact_enough():
    """Slots of a video of a million frames do not blur into one another."""
    rows = linear_filter(7, 1_000_000, 500_000, 500_003)
    exact = linear_filter(7, 1_000_000, 500_000, 500_003,
                          like=torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(rows.double(), exact, rtol=0, atol=2e-6)


def test_same_size_is_the_weight_itself():
    weight = torch.randn(2, 3, 4, 5)
    assert resample_summary_weight(weight, (3, 4, 5)) is weight
    assert torch.equal(resample_summary_weight(weight, (3, 4, 5), (1, 3)),
                       weight[:, 1:3])


@pytest.mark.parametrize('size', [(3, 8, 5), (7, 4, 5), (6, 9, 11)])
def test_more_cells_equal_trilinear_interpolation(size):
    weight = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = F.interpolate(weight[None], size=size, mode='trilinear',
                             align_corners=False)[0]
    expected *= 3 * 4 * 5 / (size[0] * size[1] * size[2])
    torch.testing.assert_close(resample_summary_weight(weight, size), expected)


@pytest.mark.parametrize('size', [(1, 1, 1), (2, 9, 2), (5, 3, 3)])
def test_the_sum_over_a_constant_volume_keeps_its_value(size):
    """The Riemann sum: as many shares of the volume, whatever the cells."""
    weight = torch.full((2, 3, 4, 5), 0.25, dtype=torch.float64)
    torch.testing.assert_close(resample_summary_weight(weight, size).sum((1, 2, 3)),
                               weight.sum((1, 2, 3)))


def test_response_to_a_smooth_volume_keeps_its_scale():
    """A weight and a volume that vary slowly give nearly the same response."""
    def cells(count):
        return (torch.arange(count, dtype=torch.float64) + 0.5) / count

    def smooth(s, h, w):
        grid = torch.meshgrid(cells(s), cells(h), cells(w), indexing='ij')
        return sum((axis * (k + 2)).cos() for k, axis in enumerate(grid))

    weight = smooth(7, 8, 8)[None]
    responses = [
        (resample_summary_weight(weight, size) * smooth(*size)).sum().item()
        for size in [(7, 8, 8), (14, 8, 8), (7, 16, 16), (31, 12, 16), (4, 6, 6)]]
    assert responses[1:] == pytest.approx([responses[0]] * 4, rel=0.05)


def test_slots_in_parts():
    weight = torch.randn(2, 3, 4, 5)
    whole = resample_summary_weight(weight, (10, 2, 7))
    parts = [resample_summary_weight(weight, (10, 2, 7), (a, b))
             for a, b in [(0, 1), (1, 6), (6, 10)]]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)


def test_half_precision_is_rounded_once():
    weight = torch.randn(2, 3, 4, 5).half()
    value = resample_summary_weight(weight, (5, 7, 3))
    assert value.dtype == torch.half
    assert torch.equal(value, resample_summary_weight(weight.float(), (5, 7, 3)).half())


def test_gradients_in_float64():
    weight = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda w: resample_summary_weight(w, (3, 3, 2)), weight)


@pytest.mark.parametrize(('scores', 'like', 'expected'), [
    (3 * 16 * 8, (3, 16, 8), (3, 16, 8)),
    (3 * 8 * 4, (3, 16, 8), (3, 8, 4)),       # as many slots
    (7 * 16 * 8, (3, 16, 8), (7, 16, 8)),     # the same places
    (7 * 7 * 5, (3, 14, 10), (7, 7, 5)),      # one size of that aspect ratio
    (3 * 64, (3, 4, 4), (3, 8, 8)),           # slots go before places: not 12 x 4 x 4
])
def test_inferred_size(scores, like, expected):
    assert infer_volume_size(scores, like) == expected


@pytest.mark.parametrize(('scores', 'like', 'message'), [
    (45, (3, 16, 8), '45 scores are no .* of aspect ratio 2:1'),
    (5 * 36, (3, 16, 16), r'180 scores may be 180 x 1 x 1, 45 x 2 x 2, .*5 x 6 x 6'),
])
def test_size_that_cannot_be_told(scores, like, message):
    with pytest.raises(ValueError, match=message):
        infer_volume_size(scores, like)
