"""Mirroring optical flow: what moved right moves left.

Flow images hold the horizontal component in channel 0 and the vertical one in
channel 1, 127.5 meaning no motion. Mirroring the picture turns the horizontal
component around. MMAction2's transforms expect the two components as separate
images, but its ``RawFrameDecode`` stacks them; these do the same for stacked
ones.
"""
import numpy as np
from mmaction.datasets.transforms import Flip, TenCrop
from mmaction.registry import TRANSFORMS

__all__ = ['FlowFlip', 'FlowTenCrop', 'mirror_flow']


def mirror_flow(image: np.ndarray) -> np.ndarray:
    """Mirror a flow image from left to right.

    Args:
        image: (H, W, 2) uint8, horizontal component first.

    Returns:
        A new array of the same shape.

    Raises:
        ValueError: The image does not have two channels.
    """
    if image.ndim != 3 or image.shape[2] != 2:
        raise ValueError('A flow image is of shape (H, W, 2), got '
                         f'{image.shape}.')
    mirrored = image[:, ::-1].copy()
    mirrored[..., 0] = 255 - mirrored[..., 0]
    return mirrored


@TRANSFORMS.register_module()
class FlowFlip(Flip):
    """Mirror the flow of a whole clip with a probability.

    Args:
        flip_ratio: The probability.
    """

    def __init__(self, flip_ratio: float = 0.5) -> None:
        super().__init__(flip_ratio=flip_ratio, direction='horizontal')

    def _flip_imgs(self, imgs, modality):
        return [mirror_flow(image) for image in imgs]


@TRANSFORMS.register_module()
class FlowTenCrop(TenCrop):
    """Four corners and the centre, as they are and mirrored as flow.

    Args:
        crop_size: (w, h), or one int for a square.
    """

    def transform(self, results: dict) -> dict:
        """Crop as ``TenCrop`` does, then mirror the mirrored crops as flow."""
        clip_len = len(results['imgs'])
        results = super().transform(results)
        images = results['imgs']
        # Ten runs of clip_len images: each crop, then its mirrored twin.
        for start in range(0, len(images), 2 * clip_len):
            plain = images[start:start + clip_len]
            images[start + clip_len:start + 2 * clip_len] = [
                mirror_flow(image) for image in plain]
        return results
