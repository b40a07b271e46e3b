"""Center loss: every feature near the center of its class.

Wen, Zhang, Li, Qiao, *A Discriminative Feature Learning Approach for Deep Face
Recognition*, ECCV 2016, equation 2. Two things differ. The sum over a batch is a mean
here, so that the weight of the loss does not depend on the size of the batch. And the
centers follow their gradient, at whatever rate an optimizer gives them, as in Luo et
al., *Bag of Tricks and A Strong Baseline for Deep Person Re-identification*, CVPRW
2019; the paper moves them by a rule of its own, equation 4.
"""
import torch
from torch import Tensor

__all__ = ['center_loss']


def center_loss(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Half the mean squared Euclidean distance to the own center.

    Args:
        features: (N, D).
        labels: (N,) in [0, K), of an integer type.
        centers: (K, D).

    Returns:
        The loss, a scalar of at least 0; in single precision for 16-bit features.

    Raises:
        ValueError: The shapes are not as above, or the batch is empty.

    Example:
        >>> features = torch.tensor([[1., 1.], [5., 3.]])
        >>> centers = torch.tensor([[0., 0.], [5., 1.]])
        >>> center_loss(features, torch.tensor([0, 1]), centers)
        tensor(1.5000)
    """
    if (features.dim() != 2 or not len(features) or centers.dim() != 2
            or labels.shape != features.shape[:1]
            or centers.shape[1] != features.shape[1]):
        raise ValueError(
            'Features (N, D), labels (N,) and centers (K, D) are needed, N at least 1, '
            f'got {tuple(features.shape)}, {tuple(labels.shape)} and '
            f'{tuple(centers.shape)}.')
    single = torch.promote_types(features.dtype, torch.float32)
    offsets = features.to(single) - centers.to(single)[labels]      # (N, D)
    return offsets.square().sum(1).mean() / 2
