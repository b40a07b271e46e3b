"""COSAM as the papers describe it, cost volume and all: a baseline to compare with.

Subramaniam et al., ICCV 2019, section 3, taken step by step: the (T - 1) * H * W
correlations of every position are built and convolved, and each mask is multiplied
where the paper multiplies it. The products run in batches, not in Python loops over
positions, so that only the volume makes it slower than
:class:`~cosam_mm.layers.COSAM`. Memory grows with (T * H * W) squared.
"""
import torch
from mmengine.registry import MODELS
from torch import Tensor

from cosam_mm.layers.cosam import COSAM


@MODELS.register_module()
class NaiveCOSAM(COSAM):
    """COSAM that builds the cost volume. Equal to :class:`COSAM` to rounding.

    Arguments, names and shapes of parameters are those of :class:`COSAM`, but for clips
    of any size and for references. Meant for measurements and tests.

    Example:
        >>> cosam = COSAM(in_channels=32, num_frames=4, spatial_size=(4, 2))
        >>> naive = NaiveCOSAM(in_channels=32, num_frames=4, spatial_size=(4, 2))
        >>> naive.load_state_dict(cosam.state_dict())
        <All keys matched successfully>
        >>> x = torch.rand(2, 32, 4, 4, 2)
        >>> torch.allclose(naive(x), cosam(x), atol=1e-5)
        True
    """

    def __init__(self, *args, **settings) -> None:
        super().__init__(*args, **settings)
        if self.any_size or self.num_references:
            raise ValueError('NaiveCOSAM takes neither any_size nor num_references.')

    def forward(self, x: Tensor) -> Tensor:
        """Weigh features (N, C, T, H, W), or (N*T, C, H, W) of its frames.

        Raises:
            ValueError: They are not of the shape this module was built for.
        """
        self.check_features(x, None, None)
        frames = x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x
        clips = len(frames) // self.num_frames
        y = frames                                              # (N*T, C, H, W)
        if self.with_spatial:
            volume = self._cost_volume(self.reduction(frames))  # (N*T, (T-1)*P, H, W)
            y = torch.sigmoid(self.summary(volume)) * frames    # (N*T, C, H, W)
        if self.with_channel:
            votes = self.channel_attention(y.mean((2, 3)))      # (N*T, C)
            mask = votes.unflatten(0, (clips, -1)).mean(1)      # (N, C)
            mask = mask.repeat_interleave(self.num_frames, 0)   # (N*T, C)
            y = y + mask[:, :, None, None] * y                  # (N*T, C, H, W)
        if x.dim() == 5:
            y = y.unflatten(0, (clips, -1)).transpose(1, 2).contiguous()
        return y

    def _cost_volume(self, reduced: Tensor) -> Tensor:
        """(N*T, (T-1)*P, H, W) correlations of (N*T, D, H, W) reduced features."""
        t, (d, h, w) = self.num_frames, reduced.shape[1:]
        mean = reduced.mean(1, keepdim=True)
        std = reduced.std(1, keepdim=True)
        descriptors = ((reduced - mean) / (std + self.eps)).flatten(2)
        descriptors = descriptors.unflatten(0, (-1, t))         # (N, T, D, P)
        volumes = []
        for n in range(t):
            others = [descriptors[:, m] for m in range(t) if m != n]
            others = torch.cat(others, dim=2).transpose(1, 2)   # (N, (T-1)*P, D)
            volumes.append(torch.bmm(others, descriptors[:, n]) / d)
        volume = torch.stack(volumes, dim=1)                    # (N, T, (T-1)*P, P)
        return volume.flatten(0, 1).unflatten(2, (h, w))
