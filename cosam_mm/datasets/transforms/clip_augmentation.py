"""Random changes of whole clips: RandAugment of RGB, flips and ten crops of flow.

Cubuk et al., *RandAugment: Practical Automated Data Augmentation with a Reduced Search
Space*, NeurIPS 2020: a few operations are chosen, and all are as strong as one setting.
Here one choice serves all frames of a clip, since a motion is what lies between them.
Operations and their greatest strengths are those of the paper (for images of 224
pixels and above, in shares of the size), with three differences. What the paper takes
from one image (the levels of ``auto_contrast`` and ``equalize``, the mean of
``contrast``) is taken from the whole clip, so that no frame flickers. These two
operations, which have no strength there, are blended with the clip by the magnitude, so
that all operations leave a clip as it is at magnitude 0. Positions are interpolated.
No operation mirrors a clip.

torchvision's v2 RandAugment would take levels frame by frame and knows neither
``magnitude_std`` nor a choice of operations. Its functions take 2.4 times as long on
the CPU that loads clips (64 frames of 112 x 112, mean over the operations), and
nothing else in the loading of clips needs torchvision.

Optical flow holds the horizontal component in channel 0 and the vertical one in channel
1, 127.5 meaning no motion. What moved right moves left when the frame is mirrored.
MMAction2's transforms expect the components as separate images, but its
``RawFrameDecode`` stacks them; FlowFlip and FlowTenCrop take stacked ones.
"""
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from mmaction.datasets.transforms import Flip, TenCrop
from mmcv.transforms import BaseTransform

from cosam_mm.registry import TRANSFORMS

__all__ = ['GEOMETRIC', 'OPERATIONS', 'PHOTOMETRIC', 'ClipRandAugment', 'FlowFlip',
           'FlowTenCrop', 'change_clip', 'mirror_flow']

# Levels of red, green and blue in grey (ITU-R 601), as in Pillow.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_FILL = (128, 128, 128)  # what comes in from outside of the frame
_LEVELS = np.arange(256, dtype=np.float32)


# -- operations ----------------------------------------------------------------


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _look_up(clip: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace levels by ``table``, (256,) or one a channel (256, 3), float."""
    table = _to_bytes(table)
    flat = clip.reshape(-1, clip.shape[2], 3)
    return cv2.LUT(flat, table if table.ndim == 1 else table[None]).reshape(clip.shape)


def _blend(clip: np.ndarray, other: np.ndarray, factor: float) -> np.ndarray:
    """``other`` at factor 0, the clip at 1, beyond it above 1."""
    return _to_bytes(other + np.float32(factor) * (clip.astype(np.float32) - other))


def _contrast(clip: np.ndarray, strength: float) -> np.ndarray:
    mean = float((clip.mean(axis=(0, 1, 2)) * _GREY).sum())
    return _look_up(clip, mean + (1 + strength) * (_LEVELS - mean))


def _color(clip: np.ndarray, strength: float) -> np.ndarray:
    grey = (clip.astype(np.float32) @ _GREY)[..., None]  # (T, H, W, 1)
    return _blend(clip, grey, 1 + strength)


def _sharpness(clip: np.ndarray, strength: float) -> np.ndarray:
    kernel = np.ones((3, 3), np.float32)
    kernel[1, 1] = 5
    smooth = np.stack([cv2.filter2D(frame, cv2.CV_32F, kernel / kernel.sum())
                       for frame in clip])
    return _blend(clip, smooth, 1 + strength)


def _solarize(clip: np.ndarray, magnitude: float) -> np.ndarray:
    keeps = 256 * (1 - magnitude) > _LEVELS
    return _look_up(clip, np.where(keeps, _LEVELS, 255 - _LEVELS))


def _stretched(histogram: np.ndarray) -> np.ndarray:
    """Levels (256,) such that the darkest becomes 0 and the brightest 255."""
    (found,) = np.nonzero(histogram)
    darkest, brightest = int(found[0]), int(found[-1])
    if darkest == brightest:
        return _LEVELS
    return np.clip(255 * (_LEVELS - darkest) / (brightest - darkest), 0, 255)


def _equalized(histogram: np.ndarray) -> np.ndarray:
    """Levels (256,) such that all become about as frequent."""
    found = histogram[histogram > 0]
    step = (found.sum() - found[-1]) // 255
    if len(found) <= 1 or step == 0:
        return _LEVELS
    darker = np.cumsum(histogram) - histogram
    return np.minimum((darker + step // 2) // step, 255).astype(np.float32)


def _by_levels(levels: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """An operation that goes towards new levels of each channel."""
    def change(clip: np.ndarray, magnitude: float) -> np.ndarray:
        tables = np.stack([levels(np.bincount(clip[..., k].ravel(), minlength=256))
                           for k in range(3)], axis=-1)
        before = _LEVELS[:, None]
        return _look_up(clip, before + magnitude * (tables - before))
    return change


def _moved(clip: np.ndarray, turn: Sequence, shift: Sequence = (0, 0)) -> np.ndarray:
    """Turn or bend around the middle of the frame, then shift by (x, y) pixels."""
    height, width = clip.shape[1:3]
    middle = np.array([width - 1, height - 1]) / 2
    turn = np.asarray(turn, float)
    matrix = np.column_stack([turn, middle - turn @ middle + shift])
    return np.stack([
        cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR,
                       borderMode=cv2.BORDER_CONSTANT, borderValue=_FILL)
        for frame in clip])


def _rotate(clip: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _moved(clip, [[cos, -sin], [sin, cos]])


# Name -> function, its strength at magnitude 1, whether that goes both ways.
PHOTOMETRIC = {
    'auto_contrast': (_by_levels(_stretched), 1., False),
    'brightness': (lambda clip, by: _look_up(clip, (1 + by) * _LEVELS), 0.9, True),
    'color': (_color, 0.9, True),
    'contrast': (_contrast, 0.9, True),
    'equalize': (_by_levels(_equalized), 1., False),
    'posterize': (lambda clip, by: clip & np.uint8(256 - 2**round(4 * by)), 1., False),
    'sharpness': (_sharpness, 0.9, True),
    'solarize': (_solarize, 1., False),
}
GEOMETRIC = {
    'rotate': (_rotate, 30., True),  # degrees, clockwise
    'shear_x': (lambda clip, by: _moved(clip, [[1, by], [0, 1]]), 0.3, True),
    'shear_y': (lambda clip, by: _moved(clip, [[1, 0], [by, 1]]), 0.3, True),
    'translate_x': (  # share of the width
        lambda clip, by: _moved(clip, np.eye(2), (by * clip.shape[2], 0)), 0.45, True),
    'translate_y': (
        lambda clip, by: _moved(clip, np.eye(2), (0, by * clip.shape[1])), 0.45, True),
}
OPERATIONS = {**PHOTOMETRIC, **GEOMETRIC}


def change_clip(clip: np.ndarray, operation: str, magnitude: float) -> np.ndarray:
    """Apply one operation to all frames of a clip.

    Args:
        clip: RGB (T, H, W, 3) uint8.
        operation: One of :data:`OPERATIONS`.
        magnitude: 0 leaves the clip as it is, 1 is the strongest. Below 0, down to -1,
            goes the other way (darker, to the left, anticlockwise), where an operation
            has one; otherwise the sign does not count.

    Returns:
        A clip of the same shape, uint8; the given one is not changed.

    Raises:
        ValueError: No RGB clip.

    Example:
        >>> clip = np.full((2, 4, 4, 3), 100, np.uint8)
        >>> int(change_clip(clip, 'brightness', -1)[0, 0, 0, 0])
        10
    """
    if clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != np.uint8:
        raise ValueError('a clip is of shape (T, H, W, 3) and uint8, got '
                         f'{clip.shape} and {clip.dtype}')
    change, strength, goes_both_ways = OPERATIONS[operation]
    if not goes_both_ways:
        magnitude = abs(magnitude)
    return change(clip, strength * magnitude) if magnitude else clip.copy()


# -- transforms ----------------------------------------------------------------


@TRANSFORMS.register_module()
class ClipRandAugment(BaseTransform):
    """RandAugment that changes all frames of a clip alike.

    It takes decoded RGB frames, ``imgs`` as a list of (H, W, 3) arrays or one
    (T, H, W, 3) array, uint8, and stands before ``FormatShape``. Each clip of a video
    (``num_clips``) is changed in its own way. Choices come from numpy's global
    generator.

    Args:
        num_operations: How many are chosen for a clip, with replacement; they are
            applied one after the other.
        magnitude: How strong they are, 0 (not at all) to 1. Brightness and the
            like go up or down, positions to either side, at random.
        magnitude_std: Standard deviation of a normal distribution around
            ``magnitude``, cut off at 0 and 1, for each operation.
        operations: Names of those to choose from, by default all. Where positions or
            directions tell the classes apart, choose those that keep them.

    Raises:
        ValueError: A setting is out of range, or no such operation.
    """

    def __init__(self, num_operations: int = 2, magnitude: float = 0.3,
                 magnitude_std: float = 0.0,
                 operations: Sequence[str] = tuple(OPERATIONS)) -> None:
        if isinstance(operations, str) or not operations or not set(
                operations) <= set(OPERATIONS):
            raise ValueError(f'operations is {operations!r}; allowed: one or more of '
                             f'{", ".join(OPERATIONS)}')
        if not isinstance(num_operations, int) or num_operations < 0:
            raise ValueError(
                f'num_operations is {num_operations!r}; allowed: 0, 1, 2, ...')
        for name, value in (('magnitude', magnitude), ('magnitude_std', magnitude_std)):
            if not 0 <= value <= 1:
                raise ValueError(f'{name} is {value!r}; allowed: 0 to 1')
        self.num_operations = num_operations
        self.magnitude = magnitude
        self.magnitude_std = magnitude_std
        self.operations = tuple(operations)

    def _choose(self) -> tuple[str, float]:
        """An operation and its magnitude with a sign."""
        name = self.operations[np.random.randint(len(self.operations))]
        magnitude = np.random.normal(self.magnitude, self.magnitude_std)
        sign = 1 if np.random.randint(2) else -1
        return name, sign * float(np.clip(magnitude, 0, 1))

    def transform(self, results: dict) -> dict:
        """Change ``imgs``; they stay what they are, a list or an array."""
        imgs, changed = results['imgs'], []
        for start in range(0, len(imgs), results['clip_len']):
            clip = np.asarray(imgs[start:start + results['clip_len']])
            for _ in range(self.num_operations):
                clip = change_clip(clip, *self._choose())
            changed.append(clip)
        changed = np.concatenate(changed)
        results['imgs'] = changed if isinstance(imgs, np.ndarray) else list(changed)
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_operations={self.num_operations}, '
                f'magnitude={self.magnitude}, magnitude_std={self.magnitude_std}, '
                f'operations={self.operations})')


def mirror_flow(image: np.ndarray) -> np.ndarray:
    """Mirror a flow image (H, W, 2) uint8 from left to right; a new array.

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
    """Mirror the flow of a whole clip with a probability, ``flip_ratio``."""

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
            images[start + clip_len:start + 2 * clip_len] = [
                mirror_flow(image) for image in images[start:start + clip_len]]
        return results
