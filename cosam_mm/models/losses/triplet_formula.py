"""Batch-hard triplet loss: nearer to one's own than to anybody else.

Hermans, Beyer, Leibe, *In Defense of the Triplet Loss for Person
Re-Identification*, 2017, equation 5: every feature of a batch is an anchor. Its
hardest positive is the farthest feature of the same identity, its hardest
negative the nearest one of another.

Mining needs no gradient and the gradient needs no mining: the pairs are chosen
from a matrix of distances outside of autograd, and the distances of the chosen
pairs are computed anew. Their gradient is finite where a distance is 0.
"""
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ['batch_hard_triplet_loss', 'mine_hardest']


def mine_hardest(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find each anchor's farthest positive and nearest negative.

    An anchor is not its own positive. Features that are alone with their
    identity, or whose identity is alone in the batch, are no anchors.

    Args:
        features: (N, D).
        labels: (N,) identities, of an integer type.

    Returns:
        Rows of the anchors, of their positives and of their negatives, (A,)
        each, 0 <= A <= N. Among equally distant features any may be chosen.

    Raises:
        ValueError: The shapes are not as above.

    Example:
        >>> features = torch.tensor([[0.], [1.], [3.], [9.]])
        >>> mine_hardest(features, torch.tensor([5, 5, 5, 7]))
        (tensor([0, 1, 2]), tensor([2, 2, 0]), tensor([3, 3, 3]))
    """
    if features.dim() != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            'Features (N, D) and labels (N,) are needed, got '
            f'{tuple(features.shape)} and {tuple(labels.shape)}.')
    features = _at_least_single(features.detach())
    # Not by matrix products: near features would lose their difference.
    distances = torch.cdist(features, features,
                            compute_mode='donot_use_mm_for_euclid_dist')
    same = labels[:, None] == labels[None]                       # (N, N)
    negative = ~same
    positive = same.fill_diagonal_(False)
    anchors = (positive.any(1) & negative.any(1)).nonzero()[:, 0]
    farthest = distances.masked_fill(~positive, -1).argmax(1)
    nearest = distances.masked_fill(~negative, torch.inf).argmin(1)
    return anchors, farthest[anchors], nearest[anchors]


def batch_hard_triplet_loss(features: Tensor, labels: Tensor,
                            margin: float = 0.3) -> Tensor:
    """Mean over anchors of max(0, d(hardest +) - d(hardest -) + margin).

    d is the Euclidean distance, not its square. Which features are anchors, see
    :func:`mine_hardest`.

    Args:
        features: (N, D).
        labels: (N,) identities, of an integer type.
        margin: By how much the negative should be farther, at least 0.

    Returns:
        The loss, a scalar of at least 0; in single precision for 16-bit features.

    Raises:
        ValueError: No feature of the batch has both a positive and a negative,
            the margin is negative, or the shapes are not as above.

    Example:
        >>> features = torch.tensor([[0.], [1.], [3.], [9.]])
        >>> batch_hard_triplet_loss(features, torch.tensor([5, 5, 7, 7]))
        tensor(1.0750)
    """
    if margin < 0:
        raise ValueError(f'margin must be at least 0, got {margin}.')
    features = _at_least_single(features)
    anchors, positives, negatives = mine_hardest(features, labels)
    if not len(anchors):
        raise ValueError(
            f'A batch of {len(labels)} features of {len(labels.unique())} '
            'identities has no triplet: two identities, one of them twice, are '
            'the least. Sample with PKSampler, num_pids_per_batch >= 2 and '
            'num_tracklets_per_pid >= 2.')
    to_positive = _distance(features[anchors], features[positives])   # (A,)
    to_negative = _distance(features[anchors], features[negatives])   # (A,)
    return F.relu(to_positive - to_negative + margin).mean()


def _at_least_single(features: Tensor) -> Tensor:
    """16 bits hold neither the square of a large feature nor a small difference."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance of rows, with gradient 0 where they are equal."""
    return torch.linalg.vector_norm(a - b, dim=1)
