"""What stands behind the aggregation: BNNeck and the classifier of identities.

Luo et al., *Bag of Tricks and A Strong Baseline for Deep Person Re-identification*,
CVPRW 2019, section 3.5. Triplet and center loss want features near in space, and the
classifier wants them apart in direction. So the metric losses see the feature before a
batch norm; the classifier, which has no bias, and retrieval use the one after it.
Only training needs the classifier: persons of the test set have no class.
"""
from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from cosam_mm.registry import MODELS

__all__ = ['BNNeck', 'IdentityHead']


@MODELS.register_module()
class BNNeck(BaseModule):
    """Batch norm of features, without a shift: a ``neck`` of :class:`VideoReID`.

    Its bias stays 0, so that the classes' planes go through the origin.

    Args:
        in_channels: Channels D of a feature; as many come out.
        init_cfg: As in any mmengine module.

    Example:
        >>> import torch
        >>> neck = BNNeck(2)
        >>> neck(torch.tensor([[0., 5.], [2., 9.]])).detach()
        tensor([[-1.0000, -1.0000],
                [ 1.0000,  1.0000]])
    """

    def __init__(self, in_channels: int, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.out_channels = in_channels
        self.norm = nn.BatchNorm1d(in_channels)
        self.norm.bias.requires_grad = False

    def forward(self, feature: Tensor) -> Tensor:
        """(N, D) to (N, D)."""
        return self.norm(feature)


@MODELS.register_module()
class IdentityHead(BaseModule):
    """Linear scores of the training identities.

    Args:
        in_channels: Channels D of a feature.
        num_pids: Identities of the training set.
        init_cfg: As in any mmengine module; by default PyTorch's own.
        bias: Whether a score has a constant of its identity. Behind a
            :class:`~cosam_mm.models.reid.BNNeck` it has none.

    Raises:
        ValueError: ``num_pids`` is below 2.
    """

    def __init__(self, in_channels: int, num_pids: int,
                 init_cfg: Optional[dict] = None, bias: bool = True) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_pids < 2:
            raise ValueError(f'num_pids must be at least 2, got {num_pids}: a '
                             'classifier needs two identities.')
        self.num_pids = num_pids
        self.classifier = nn.Linear(in_channels, num_pids, bias=bias)

    def forward(self, feature: Tensor) -> Tensor:
        """(N, D) to (N, num_pids)."""
        return self.classifier(feature)
