"""Circle loss, called with (feature, score, label)."""
from mmengine.registry import MODELS
from torch import Tensor, nn

from .batch_gathering import gather_batch
from .circle_formula import circle_loss

__all__ = ['CircleLoss']


@MODELS.register_module()
class CircleLoss(nn.Module):
    """Circle loss of the pairs of a batch: see :mod:`.circle_formula`.

    Args:
        margin: In (0, 1).
        scale: Above 0: the larger, the more the worst pairs outweigh the others.
        loss_weight: Factor of the loss.
        across_processes: As of :class:`BatchHardTripletLoss`: whether the pairs are
            those of the batches of all processes, which need one size.
    """

    def __init__(self, margin: float = 0.25, scale: float = 64.0,
                 loss_weight: float = 1.0, across_processes: bool = True) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale
        self.loss_weight = loss_weight
        self.across_processes = across_processes

    def forward(self, feature: Tensor, score: Tensor, label: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            feature: (N, D).
            score: (N, num_pids), not used.
            label: (N,) identities.

        Raises:
            ValueError: The batch has no pairs to compare, or a setting is out of range.
        """
        feature = feature.float()
        if self.across_processes:
            feature, label = gather_batch(feature, label)
        return self.loss_weight * circle_loss(
            feature, label, self.margin, self.scale)
