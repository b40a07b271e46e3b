"""The two losses of re-identification, each called with (feature, score, label).

The sum of the two is Subramaniam et al., ICCV 2019, section 4.2, after Gao,
Nevatia, 2018.
"""
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .batch_gathering import gather_batch
from .triplet_formula import batch_hard_triplet_loss

__all__ = ['BatchHardTripletLoss', 'IdentityLoss']


@MODELS.register_module()
class IdentityLoss(nn.Module):
    """Cross-entropy of the identity scores, with smoothed labels.

    Args:
        label_smoothing: Share of the target spread over all identities, in
            [0, 1].
        loss_weight: Factor of the loss.

    Raises:
        ValueError: ``label_smoothing`` is outside [0, 1].
    """

    def __init__(self, label_smoothing: float = 0.1,
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError('label_smoothing must be between 0 and 1, got '
                             f'{label_smoothing}.')
        self.label_smoothing = label_smoothing
        self.loss_weight = loss_weight

    def forward(self, feature: Tensor, score: Tensor, label: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            feature: (N, D), not used.
            score: (N, num_pids), before softmax.
            label: (N,) in [0, num_pids).
        """
        return self.loss_weight * F.cross_entropy(
            score.float(), label, label_smoothing=self.label_smoothing)


@MODELS.register_module()
class BatchHardTripletLoss(nn.Module):
    """Batch-hard triplet loss: see :mod:`cosam_mm.models.losses.triplet_formula`.

    Args:
        margin: By how much another identity should be farther than one's own.
        loss_weight: Factor of the loss.
        across_processes: Whether several processes look for the hardest features in
            the batches of all of them, which makes the loss and its gradient those
            of one process with the whole batch: see :func:`gather_batch`. They need
            batches of one size. False: each looks in its own batch.
    """

    def __init__(self, margin: float = 0.3, loss_weight: float = 1.0,
                 across_processes: bool = True) -> None:
        super().__init__()
        self.margin = margin
        self.loss_weight = loss_weight
        self.across_processes = across_processes

    def forward(self, feature: Tensor, score: Tensor, label: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            feature: (N, D).
            score: (N, num_pids), not used.
            label: (N,) identities.

        Raises:
            ValueError: The batch has no triplet.
        """
        feature = feature.float()
        if self.across_processes:
            feature, label = gather_batch(feature, label)
        return self.loss_weight * batch_hard_triplet_loss(
            feature, label, self.margin)
