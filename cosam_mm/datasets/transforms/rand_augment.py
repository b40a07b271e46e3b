"""Random changes of a whole clip's colours and places, as strong as one number says.

Cubuk et al., *RandAugment: Practical Automated Data Augmentation with a Reduced Search
Space*, NeurIPS 2020: a few operations are drawn, and all are as strong as one setting.
Here one draw serves all frames of a clip, since a motion is what lies between them::

    clip (T, H, W, 3) -> operation 1 -> operation 2 -> clip (T, H, W, 3)

Operations and their greatest strengths are those of the paper (for images of 224
pixels and above, in shares of the size), with three differences. What the paper takes
from one image (the levels of ``auto_contrast`` and ``equalize``, the mean of
``contrast``) is taken from the whole clip, so that no frame flickers. These two
operations, which have no strength there, are blended with the clip by the magnitude, so
that all operations leave a clip as it is at magnitude 0. Places are interpolated.

No operation mirrors a clip. Those of :data:`GEOMETRIC` move or bend what is seen, the
same way in all frames.
"""
from collections.abc import Callable, Sequence
from typing import Union

import cv2
import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

__all__ = ['GEOMETRIC', 'OPERATIONS', 'PHOTOMETRIC', 'ClipRandAugment', 'change_clip']

# Levels of red, green and blue in grey (ITU-R 601), as in Pillow.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_FILL = (128, 128, 128)  # what comes in from outside of the frame
_LEVELS = np.arange(256, dtype=np.float32)


def _look_up(clip: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace levels by ``table``, (256,) or (256, 3), float."""
    table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    if table.ndim == 2:
        table = table[None]  # (1, 256, 3): one table a channel
    flat = clip.reshape(len(clip) * clip.shape[1], clip.shape[2], 3)
    return cv2.LUT(flat, table).reshape(clip.shape)


def _blend(clip: np.ndarray, other: np.ndarray, factor: float) -> np.ndarray:
    """``other`` at factor 0, the clip at 1, beyond it above 1."""
    mixed = other + np.float32(factor) * (clip.astype(np.float32) - other)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _histogram(clip: np.ndarray, channel: int) -> np.ndarray:
    return np.bincount(clip[..., channel].ravel(), minlength=256)


def _brightness(clip: np.ndarray, strength: float) -> np.ndarray:
    return _look_up(clip, (1 + strength) * _LEVELS)


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


def _posterize(clip: np.ndarray, magnitude: float) -> np.ndarray:
    lost_bits = round(4 * magnitude)
    return clip & np.uint8(256 - 2**lost_bits)


def _solarize(clip: np.ndarray, magnitude: float) -> np.ndarray:
    threshold = 256 * (1 - magnitude)
    return _look_up(clip, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


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
        tables = np.stack([levels(_histogram(clip, channel)) for channel in range(3)],
                          axis=-1)
        return _look_up(
            clip, _LEVELS[:, None] + magnitude * (tables - _LEVELS[:, None]))
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


def _shear_x(clip: np.ndarray, strength: float) -> np.ndarray:
    return _moved(clip, [[1, strength], [0, 1]])


def _shear_y(clip: np.ndarray, strength: float) -> np.ndarray:
    return _moved(clip, [[1, 0], [strength, 1]])


def _translate_x(clip: np.ndarray, share: float) -> np.ndarray:
    return _moved(clip, np.eye(2), (share * clip.shape[2], 0))


def _translate_y(clip: np.ndarray, share: float) -> np.ndarray:
    return _moved(clip, np.eye(2), (0, share * clip.shape[1]))


# Name -> function, its strength at magnitude 1, whether that goes both ways.
PHOTOMETRIC = {
    'auto_contrast': (_by_levels(_stretched), 1.0, False),
    'brightness': (_brightness, 0.9, True),
    'color': (_color, 0.9, True),
    'contrast': (_contrast, 0.9, True),
    'equalize': (_by_levels(_equalized), 1.0, False),
    'posterize': (_posterize, 1.0, False),
    'sharpness': (_sharpness, 0.9, True),
    'solarize': (_solarize, 1.0, False),
}
GEOMETRIC = {
    'rotate': (_rotate, 30.0, True),  # degrees, clockwise
    'shear_x': (_shear_x, 0.3, True),
    'shear_y': (_shear_y, 0.3, True),
    'translate_x': (_translate_x, 0.45, True),  # share of the width
    'translate_y': (_translate_y, 0.45, True),
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
        ValueError: No such operation, a magnitude beyond -1 to 1, or no such clip.

    Example:
        >>> clip = np.full((2, 4, 4, 3), 100, np.uint8)
        >>> int(change_clip(clip, 'brightness', -1)[0, 0, 0, 0])
        10
    """
    if operation not in OPERATIONS:
        raise ValueError(f'there is no operation {operation!r}; allowed: '
                         f'{", ".join(OPERATIONS)}')
    if not -1 <= magnitude <= 1:
        raise ValueError(f'magnitude is {magnitude!r}; allowed: -1 to 1')
    if clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != np.uint8:
        raise ValueError('a clip is of shape (T, H, W, 3) and uint8, got '
                         f'{clip.shape} and {clip.dtype}')
    change, strength, goes_both_ways = OPERATIONS[operation]
    if not goes_both_ways:
        magnitude = abs(magnitude)
    return change(clip, strength * magnitude) if magnitude else clip.copy()


@TRANSFORMS.register_module()
class ClipRandAugment(BaseTransform):
    """RandAugment that changes all frames of a clip alike.

    It takes decoded RGB frames, ``imgs`` as a list of (H, W, 3) arrays or one
    (T, H, W, 3) array, uint8, and stands before ``FormatShape``. Several clips of a
    video (``num_clips``) are changed each by draws of its own. Draws come from
    numpy's global generator.

    Args:
        num_operations: How many are drawn for a clip, with replacement; they are
            applied one after the other.
        magnitude: How strong they are, 0 (not at all) to 1. Brightness and the
            like go up or down, places to either side, as drawn.
        magnitude_std: Standard deviation of a normal draw around ``magnitude``, cut
            off at 0 and 1, for each operation.
        operations: Names of those to draw from, by default all. Where a class is told
            from another by where things are or go, choose those that keep it.

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

    def _draw(self) -> tuple[str, float]:
        """An operation and its magnitude with a sign."""
        name = self.operations[np.random.randint(len(self.operations))]
        magnitude = np.random.normal(self.magnitude, self.magnitude_std)
        sign = 1 if np.random.randint(2) else -1
        return name, sign * float(np.clip(magnitude, 0, 1))

    def transform(self, results: dict) -> dict:
        """Change ``imgs``; they stay what they are, a list or an array."""
        imgs: Union[list, np.ndarray] = results['imgs']
        changed = []
        for start in range(0, len(imgs), results['clip_len']):
            clip = np.asarray(imgs[start:start + results['clip_len']])
            for _ in range(self.num_operations):
                clip = change_clip(clip, *self._draw())
            changed.append(clip)
        if isinstance(imgs, np.ndarray):
            results['imgs'] = np.concatenate(changed)
        else:
            results['imgs'] = [frame for clip in changed for frame in clip]
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_operations={self.num_operations}, '
                f'magnitude={self.magnitude}, magnitude_std={self.magnitude_std}, '
                f'operations={self.operations})')
