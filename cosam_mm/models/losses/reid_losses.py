"""The two losses of re-identification, each called with (feature, score, label).

Their sum is the loss of Subramaniam et al., ICCV 2019, section 4.2, after Gao, Nevatia,
2018: cross-entropy of the identities, and the batch-hard triplet loss of Hermans,
Beyer, Leibe, *In Defense of the Triplet Loss for Person Re-Identification*, 2017,
equation 5. There every feature of a batch is an anchor. Its hardest positive is the
farthest feature of the same identity, its hardest negative the nearest one of another.

The hardest pairs are chosen from a matrix of distances outside of autograd, and the
distances of the chosen pairs are computed again. Their gradient is finite where a
distance is 0.

A loss that compares the items of a batch is not the mean of the losses of its parts. So
:func:`gather_batch` gives every process of a training the whole batch, with a gradient
for its own part::

    process 0   feature 0 --.--> [feature 0 | feature 1] --> loss      the same on both
    process 1   feature 1 --'--> [feature 0 | feature 1] --> loss
                                  ^ own part with gradient

What wraps the model (DDP, FSDP, DeepSpeed) takes the mean of the gradients of W
processes, as fits losses that are means over parts. Here their sum is the gradient, so
each process multiplies its own by W. Nothing is communicated in the backward pass.
"""
import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor, nn
from torch.nn import functional as F

from cosam_mm.registry import MODELS

__all__ = ['BatchHardTripletLoss', 'IdentityLoss', 'gather_batch', 'pairs_of']


@MODELS.register_module()
class IdentityLoss(nn.Module):
    """Cross-entropy of the identity scores, with smoothed labels.

    Args:
        label_smoothing: Share of the target spread over all identities, in [0, 1].
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
        """The loss of scores (N, num_pids) before softmax, and labels (N,).

        Features are not used.
        """
        return self.loss_weight * F.cross_entropy(
            score.float(), label, label_smoothing=self.label_smoothing)


@MODELS.register_module()
class BatchHardTripletLoss(nn.Module):
    """Mean over anchors of max(0, d(hardest +) - d(hardest -) + margin).

    d is the Euclidean distance, not its square. An anchor is not its own positive.
    Features that are alone with their identity, or whose identity is alone in the
    batch, are no anchors. Among equally distant features any may be chosen.

    Args:
        margin: By how much another identity should be farther than one's own, at
            least 0.
        loss_weight: Factor of the loss.
        across_processes: Whether several processes look for the hardest features in
            the batches of all of them, which makes the loss and its gradient those
            of one process with the whole batch: see :func:`gather_batch`. They need
            batches of one size. False: each looks in its own batch.

    Raises:
        ValueError: The margin is negative.

    Example:
        >>> features = torch.tensor([[0.], [1.], [3.], [9.]])
        >>> BatchHardTripletLoss()(features, None, torch.tensor([5, 5, 7, 7]))
        tensor(1.0750)
    """

    def __init__(self, margin: float = 0.3, loss_weight: float = 1.0,
                 across_processes: bool = True) -> None:
        super().__init__()
        if margin < 0:
            raise ValueError(f'margin must be at least 0, got {margin}.')
        self.margin = margin
        self.loss_weight = loss_weight
        self.across_processes = across_processes

    def forward(self, feature: Tensor, score: Tensor, label: Tensor) -> Tensor:
        """The loss of features (N, D) and identities (N,); scores are not used.

        ``ValueError`` where :func:`pairs_of` raises it.
        """
        if self.across_processes:
            feature, label = gather_batch(feature, label)
        feature, positive, negative, anchors = pairs_of(feature, label)
        # Not by matrix products: near features would lose their difference.
        distances = torch.cdist(feature.detach(), feature.detach(),
                                compute_mode='donot_use_mm_for_euclid_dist')
        farthest = distances.masked_fill(~positive, -1).argmax(1)
        nearest = distances.masked_fill(~negative, torch.inf).argmin(1)
        # These norms have the gradient 0 where two features are equal.
        to_positive, to_negative = (
            torch.linalg.vector_norm(feature - feature[others], dim=1)[anchors]
            for others in (farthest, nearest))                        # (A,) each
        return self.loss_weight * F.relu(
            to_positive - to_negative + self.margin).mean()


def pairs_of(features: Tensor, labels: Tensor
             ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the losses on pairs compare in a batch.

    Args:
        features: (N, D).
        labels: (N,) identities, of an integer type.

    Returns:
        Features in single precision at least, as 16 bits hold neither the square of a
        large feature nor a small difference; (N, N) bool, pairs of one identity
        without a feature's own; (N, N) bool, pairs of two; and (N,) bool, the anchors:
        features with a pair of either kind.

    Raises:
        ValueError: The shapes are not as above, or there is no anchor.
    """
    if features.dim() != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            'Features (N, D) and labels (N,) are needed, got '
            f'{tuple(features.shape)} and {tuple(labels.shape)}.')
    same = labels[:, None] == labels[None]                           # (N, N)
    negative, positive = ~same, same.clone().fill_diagonal_(False)
    anchors = positive.any(1) & negative.any(1)                      # (N,)
    if not anchors.any():
        raise ValueError(
            f'A batch of {len(labels)} features of {len(labels.unique())} '
            'identities has no pairs to compare: two identities, one of them twice, '
            'are the least. Sample with PKSampler, num_pids_per_batch >= 2 and '
            'num_tracklets_per_pid >= 2.')
    single = torch.promote_types(features.dtype, torch.float32)
    return features.to(single), positive, negative, anchors


def gather_batch(feature: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The batch of all processes, in the order of their ranks.

    Args:
        feature: (N, D), of this process; N and D are the same on all.
        label: (N,), of this process.

    Returns:
        (W * N, D) and (W * N,) of W processes. The gradient of the features reaches
        those of this process, times W.
    """
    world_size = get_world_size()
    if world_size == 1:
        return feature, label
    features = all_gather(feature.detach().contiguous())
    features[get_rank()] = own = feature.clone()
    if own.requires_grad:
        own.register_hook(lambda grad: world_size * grad)
    return torch.cat(features), torch.cat(all_gather(label.contiguous()))
