"""Center loss: every feature near the center of its class.

Wen, Zhang, Li, Qiao, *A Discriminative Feature Learning Approach for Deep Face
Recognition*, ECCV 2016, equation 2. Two things differ. The sum over a batch is a mean
here, so that the weight of the loss does not depend on the size of the batch. And the
centers follow their gradient, at the rate that the optimizer gives them, as in Luo et
al., *Bag of Tricks and A Strong Baseline for Deep Person Re-identification*, CVPRW
2019; the paper moves them by a rule of its own, equation 4.
"""
import torch
from torch import Tensor, nn

from cosam_mm.registry import MODELS

__all__ = ['CenterLoss']


@MODELS.register_module()
class CenterLoss(nn.Module):
    """Half the mean squared Euclidean distance to the center of the own identity.

    The centers learn with the model. Give them a rate of their own, and no decay, by
    ``paramwise_cfg=dict(custom_keys={'losses.center.centers': dict(lr_mult=...,
    decay_mult=0.)})`` of the optimizer.

    Args:
        in_channels: Channels D of a feature; :class:`VideoReID` fills it in.
        num_pids: Identities of the training set; :class:`VideoReID` fills it in.
        loss_weight: Factor of the loss; the default is that of Luo et al.

    Raises:
        ValueError: ``in_channels`` or ``num_pids`` is below 1.

    Example:
        >>> loss = CenterLoss(in_channels=2, num_pids=2, loss_weight=1.)
        >>> loss.centers.data = torch.tensor([[0., 0.], [5., 1.]])
        >>> loss(torch.tensor([[1., 1.], [5., 3.]]), None, torch.tensor([0, 1]))
        tensor(1.5000, grad_fn=<MulBackward0>)
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
        """The loss, a scalar, of features (N, in_channels) and labels (N,).

        Labels are integers in [0, num_pids); scores are not used. 16-bit features are
        compared in single precision. ``ValueError`` for other shapes or no feature.
        """
        if not len(feature) or label.shape != feature.shape[:1] or (
                feature.shape[1:] != self.centers.shape[1:]):
            raise ValueError(
                f'Features (N, D) of D={self.centers.shape[1]} and labels (N,) are '
                f'needed, N at least 1, got {tuple(feature.shape)} and '
                f'{tuple(label.shape)}.')
        single = torch.promote_types(feature.dtype, torch.float32)
        offsets = feature.to(single) - self.centers.to(single)[label]    # (N, D)
        return self.loss_weight * (offsets.square().sum(1).mean() / 2)
