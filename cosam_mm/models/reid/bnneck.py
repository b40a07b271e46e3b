"""A batch norm between the feature that metric losses see and the rest: BNNeck.

Luo et al., *Bag of Tricks and A Strong Baseline for Deep Person Re-identification*,
CVPRW 2019, section 3.5. Triplet and center loss want features near in space, and the
classifier wants them apart in direction. So the first see the feature before a batch
norm, and the classifier, which has no bias, the one after it, which is also what
people are found by.
"""
from typing import Optional

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

__all__ = ['BNNeck']


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
