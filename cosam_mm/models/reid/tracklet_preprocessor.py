"""Images to the device as bytes; there they become normalised floats."""
from collections.abc import Sequence
from typing import Optional

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from cosam_mm.registry import MODELS

__all__ = ['TrackletPreprocessor']


@MODELS.register_module()
class TrackletPreprocessor(BaseDataPreprocessor):
    """Batches tracklets for :class:`~cosam_mm.models.reid.VideoReID`.

    In training tracklets have equal numbers of clips and become one tensor. In
    testing they do not, and stay a list.

    Args:
        mean: Of each channel, in units of an image in [0, 1]; ImageNet's RGB by
            default. None: the images come as floats and are left as they are.
        std: Likewise; None with ``mean=None``.
        non_blocking: Whether the copy to the device may go on in the background.

    Raises:
        ValueError: Only one of mean and std is given, or they differ in length.
    """

    def __init__(self,
                 mean: Optional[Sequence[float]] = (0.485, 0.456, 0.406),
                 std: Optional[Sequence[float]] = (0.229, 0.224, 0.225),
                 non_blocking: bool = False) -> None:
        super().__init__(non_blocking=non_blocking)
        if (mean is None) != (std is None):
            raise ValueError('mean and std go together, got '
                             f'mean={mean} and std={std}.')
        self.normalizes = mean is not None
        if not self.normalizes:
            return
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError('mean and std need one number a channel, std above 0; '
                             f'got mean={mean} and std={std}.')
        # (C, 1, 1, 1), in units of a byte
        for name, values in (('mean', mean), ('std', std)):
            column = 255 * torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, column.view(-1, 1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move a batch to the device and normalise it.

        Args:
            data: ``inputs``: for each tracklet (num_clips, C, T, H, W), as a list
                or as one tensor; uint8 unless ``mean`` is None. Further entries are
                moved and left alone.
            training: Whether to make one tensor of the inputs.

        Returns:
            The same dict with ``inputs`` of type float: (N, num_clips, C, T, H, W)
            in training, else a list of (num_clips, C, T, H, W).

        Raises:
            ValueError: The inputs are not as above, or differ in shape in training.
        """
        data = self.cast_data(data)
        inputs = [self._normalize(clips) for clips in data['inputs']]
        shapes = {tuple(clips.shape) for clips in inputs}
        if training and len(shapes) > 1:
            raise ValueError(
                'The tracklets of a training batch need equal shapes (num_clips, C, T, '
                f'H, W), got {sorted(shapes)}: resize the frames, and sample with '
                "SampleTrackletFrames of another mode than 'all_clips'.")
        return {**data, 'inputs': torch.stack(inputs) if training else inputs}

    def _normalize(self, clips: Tensor) -> Tensor:
        """(num_clips, C, T, H, W), bytes to floats."""
        if clips.dim() != 5:
            raise ValueError('A tracklet is needed as (num_clips, C, T, H, W), got '
                             f'{tuple(clips.shape)}.')
        if not self.normalizes:
            return clips.float()
        if clips.dtype != torch.uint8 or clips.shape[1] != len(self.mean):
            raise ValueError(
                f'Images of {len(self.mean)} channels are needed as bytes (uint8), '
                f'got {clips.dtype} in {tuple(clips.shape)}: take a normalisation '
                'out of the pipeline, or set mean=None and std=None here.')
        return (clips.float() - self.mean) / self.std
