"""Instance and batch norm side by side: IBN-a.

Pan, Luo, Shi, Tang, *Two at Once: Enhancing Learning and Generalization Capacities via
IBN-Net*, ECCV 2018, section 3.2. Looks that an image has as a whole (light, colours of
a camera) leave the channels with an instance norm; those with a batch norm keep what
tells classes apart. It stands in the first norm of a residual and not in the last
layer, so that the shortcut and the deep features stay whole.
"""
import torch
from torch import Tensor, nn

__all__ = ['InstanceBatchNorm']


class InstanceBatchNorm(nn.Module):
    """Instance norm of the first half of the channels, batch norm of the others.

    Both have a scale and a shift. Names are those of the published weights. Of a clip
    each frame is an instance.

    Args:
        channels: Channels C, at least 2; the instance norm has C // 2.

    Raises:
        ValueError: There are fewer channels.

    Example:
        >>> sorted(name for name, _ in InstanceBatchNorm(64).named_parameters())
        ['BN.bias', 'BN.weight', 'IN.bias', 'IN.weight']
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f'channels must be at least 2, got {channels}.')
        half = channels // 2
        self.sizes = (half, channels - half)
        self.IN = nn.InstanceNorm2d(half, affine=True)
        self.BN = nn.BatchNorm2d(channels - half)

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, H, W) to the same shape."""
        of_instance, of_batch = x.split(self.sizes, 1)
        return torch.cat([self.IN(of_instance), self.BN(of_batch)], 1)
