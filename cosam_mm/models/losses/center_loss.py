"""Center loss, whose centers are parameters, called with (feature, score, label)."""
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from .center_formula import center_loss

__all__ = ['CenterLoss']


@MODELS.register_module()
class CenterLoss(nn.Module):
    """Center loss: see :mod:`cosam_mm.models.losses.center_formula`.

    The centers learn with the model. Give them a rate of their own, and no decay, by
    ``paramwise_cfg=dict(custom_keys={'losses.center.centers': dict(lr_mult=...,
    decay_mult=0.)})`` of the optimizer.

    Args:
        in_channels: Channels D of a feature; :class:`VideoReID` fills it in.
        num_pids: Identities of the training set; :class:`VideoReID` fills it in.
        loss_weight: Factor of the loss; the default is that of Luo et al., *Bag of
            Tricks and A Strong Baseline for Deep Person Re-identification*, CVPRW
            2019.

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
        """Compute the loss.

        Args:
            feature: (N, D).
            score: (N, num_pids), not used.
            label: (N,) in [0, num_pids).

        Raises:
            ValueError: D is not ``in_channels``.
        """
        return self.loss_weight * center_loss(feature, label, self.centers)
