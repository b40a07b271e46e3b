"""Where a network looks, made of its features: maps to hold against COSAM's masks.

All take and give tensors of clips, and none looks at an object's true place:

    grad_cam            features that the decision hangs on
    attention_received  what other places make use of, in a non-local block
    feature_energy      features that are strong
    centre_prior        the middle, whatever is there
"""
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ['attention_received', 'centre_prior', 'feature_energy', 'grad_cam']


def feature_energy(features: Tensor) -> Tensor:
    """Mean squared activation over the channels: (M, C, T, H, W) to (M, T, H, W)."""
    return features.square().mean(1)


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017, equations 1 and 2) of clips.

    A channel's weight is the mean of its gradient over all places of the clip, its
    frames included.

    Args:
        features: (M, C, T, H, W).
        gradients: Likewise, of the score with respect to the features.

    Returns:
        (M, T, H, W), 0 and above.

    Example:
        >>> features = torch.tensor([[1., 2.], [3., -4.]]).view(1, 2, 1, 1, 2)
        >>> gradients = torch.tensor([[2., 0.], [1., 1.]]).view(1, 2, 1, 1, 2)
        >>> grad_cam(features, gradients).flatten()
        tensor([4., 0.])
    """
    weights = gradients.mean((2, 3, 4), keepdim=True)           # (M, C, 1, 1, 1)
    return (weights * features).sum(1).relu()                   # (M, T, H, W)


def attention_received(weights: Tensor, grid: Sequence[int]) -> Tensor:
    """What each place of a non-local block adds to all others.

    Wang et al., *Non-local Neural Networks*, CVPR 2018.

    Args:
        weights: (N, Q, K): how far each of Q places listens to each of K.
        grid: Sizes of the K places, as (T, H, W).

    Returns:
        (N, \\*grid): sums over the listening places.

    Example:
        >>> attention_received(torch.tensor([[[.9, .1], [.6, .4]]]), (1, 2))
        tensor([[[1.5000, 0.5000]]])
    """
    return weights.sum(1).unflatten(1, tuple(grid))


def centre_prior(height: int, width: int, spread: float = 0.25) -> Tensor:
    """A Gaussian in the middle of a picture.

    Args:
        height, width: Of the map.
        spread: Standard deviation as a share of each side, so that the Gaussian is as
            long as the picture is.

    Returns:
        (height, width), at most 1.

    Example:
        >>> centre_prior(1, 3).round(decimals=3)
        tensor([[0.4110, 1.0000, 0.4110]])
    """
    y, x = (((torch.arange(side) + 0.5) / side - 0.5) / spread
            for side in (height, width))
    return torch.exp(-0.5 * (y[:, None].square() + x.square()))
