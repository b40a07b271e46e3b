"""Circle loss: the worse a similarity is, the harder it is pulled.

Sun et al., *Circle Loss: A Unified Perspective of Pair Similarity Optimization*, CVPR
2020, section 3.2, with the labels of pairs. Of one anchor with similarities s_p to its
own identity and s_n to the others, and a margin m::

    log(1 + sum_n exp(g a_n (s_n - m)) * sum_p exp(-g a_p (s_p - 1 + m)))

    a_p = max(0, 1 + m - s_p)      a_n = max(0, s_n + m)      g = scale

The weights a_p and a_n are constants to the gradient, as in the paper's section 3.3. A
similarity is the cosine of two features, and the loss of a batch the mean over anchors.
"""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosam_mm.registry import MODELS

from .reid_losses import gather_batch, pairs_of

__all__ = ['CircleLoss']


@MODELS.register_module()
class CircleLoss(nn.Module):
    """Mean over anchors of the formula above.

    An anchor is not its own positive. Features that are alone with their identity, or
    whose identity is alone in the batch, are no anchors.

    Args:
        margin: m, in (0, 1): s_p should pass 1 - m, and s_n stay below m.
        scale: g, above 0: the larger, the more the worst pairs outweigh the others.
        loss_weight: Factor of the loss.
        across_processes: As of :class:`BatchHardTripletLoss`: whether the pairs are
            those of the batches of all processes, which need one size.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> features = torch.tensor([[1., 0.], [2., 0.], [0., 1.], [0., 2.]])
        >>> CircleLoss(scale=4.)(features, None, torch.tensor([0, 0, 1, 1]))
        tensor(0.7944)
    """

    def __init__(self, margin: float = 0.25, scale: float = 64.0,
                 loss_weight: float = 1.0, across_processes: bool = True) -> None:
        super().__init__()
        if not 0 < margin < 1:
            raise ValueError(f'margin must be between 0 and 1, got {margin}.')
        if not scale > 0:
            raise ValueError(f'scale must be above 0, got {scale}.')
        self.margin = margin
        self.scale = scale
        self.loss_weight = loss_weight
        self.across_processes = across_processes

    def forward(self, feature: Tensor, score: Tensor, label: Tensor) -> Tensor:
        """The loss of features (N, D) and identities (N,); scores are not used.

        ``ValueError`` where :func:`~.reid_losses.pairs_of` raises it.
        """
        if self.across_processes:
            feature, label = gather_batch(feature, label)
        feature, positive, negative, anchors = pairs_of(feature, label)
        unit = F.normalize(feature, dim=1)
        similarity = unit @ unit.T                                   # (N, N)
        # Exponents of all pairs, as if each were positive, and negative.
        constant, margin = similarity.detach(), self.margin
        to_positive = (1 + margin - constant).relu() * (1 - margin - similarity)
        to_negative = (constant + margin).relu() * (similarity - margin)
        terms = F.softplus(_log_sum_exp(self.scale * to_positive, positive)
                           + _log_sum_exp(self.scale * to_negative, negative))  # (N,)
        return self.loss_weight * terms[anchors].mean()


def _log_sum_exp(logits: Tensor, chosen: Tensor) -> Tensor:
    """Over the chosen entries of each row; finite where a row has none."""
    lowest = torch.finfo(logits.dtype).min / 4
    return logits.masked_fill(~chosen, lowest).logsumexp(1)
