"""Identity scores, which only training needs: people met later have no class."""
from typing import Optional

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

__all__ = ['IdentityHead']


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
            raise ValueError(f'num_pids must be at least 2, got {num_pids}: one '
                             'person cannot be told from anybody.')
        self.num_pids = num_pids
        self.classifier = nn.Linear(in_channels, num_pids, bias=bias)

    def forward(self, feature: Tensor) -> Tensor:
        """(N, D) to (N, num_pids)."""
        return self.classifier(feature)
