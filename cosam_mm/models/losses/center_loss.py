"""Center loss: every feature near the center of its class.

Wen, Zhang, Li, Qiao, *A Discriminative Feature Learning Approach for Deep Face
Recognition*, ECCV 2016, equation 2. Two things differ. The sum over a batch is a mean
here, so that the weight of the loss does not depend on the size of the batch. And the
centers follow their gradient, at the rate that the optimizer gives them, as in Luo et
al., *Bag of Tricks and A Strong Baseline for Deep Person Re-identification*, CVPRW
2019; the paper moves them by a rule of its own, equation 4.
"""
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

__all__ = ['CenterLoss', 'center_loss']


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


@MODELS.register_module()
class CenterLoss(nn.Module):
    """Center loss: see :func:`center_loss`.

    The centers learn with the model. Give them a rate of their own, and no decay, by
    ``paramwise_cfg=dict(custom_keys={'losses.center.centers': dict(lr_mult=...,
    decay_mult=0.)})`` of the optimizer.

    Args:
        in_channels: Channels D of a feature; :class:`VideoReID` fills it in.
        num_pids: Identities of the training set; :class:`VideoReID` fills it in.
        loss_weight: Factor of the loss; the default is that of Luo et al.

    Raises:
        ValueError: ``in_channels`` or ``num_pids`` is below 1.
    """

    # Settings that are the model's, see VideoReID.
    sized_by = ('in_channels', 'num_pids')

    def __init__(self, in_channels: int, num_pids: int,
                 loss_weight: float = 5e-4) -> None:
        super().__init__()
        if in_channels < 1 or num_pids < 1:
            raise ValueError('in_channels and num_pids must be at least 1, got '
                             f'{in_channels} and {num_pids}.')
        self.loss_weight = loss_weight
        self.centers = nn.Parameter(torch.randn(num_pids, in_channels))

    def forward(self, feature: Tensor, score: Tensor, label: Tensor) -> Tensor:
        """The loss of features (N, in_channels) and labels (N,) in [0, num_pids).

        Scores are not used. ``ValueError`` for features of another size.
        """
        return self.loss_weight * center_loss(feature, label, self.centers)
