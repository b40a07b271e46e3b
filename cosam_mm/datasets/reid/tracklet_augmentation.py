"""Sizes and random changes of a tracklet's frames, the same for all frames of a clip.

COSAM compares positions across the frames of a clip, so a random change (shift, mirror,
erased box) is chosen once a clip; erased boxes alone may differ from frame to frame.
All functions take and give (H, W, 3) uint8 arrays; sizes are (height, width) in pixels.
Randomness comes from numpy's global generator, which mmengine seeds in each worker.

Random erasing: Zhong et al., *Random Erasing Data Augmentation*, AAAI 2020.
"""
from typing import Optional

import cv2
import numpy as np

from cosam_mm.registry import TRANSFORMS

from .tracklet_loading import TrackletTransform

__all__ = ['RandomErasingFrames', 'RandomFlipFrames', 'RandomTranslation2D',
           'ResizeFrames']

_Frames = list[np.ndarray]


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize with bilinear interpolation to (height, width), whatever the shape."""
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _random_box(
    size: tuple[int, int], area_range: tuple[float, float],
    aspect_range: tuple[float, float]
) -> Optional[tuple[slice, slice]]:
    """Rows and columns, fewer than the image's, of a random box; None: none fits."""
    height, width = size
    for _ in range(100):
        area = np.random.uniform(*area_range) * height * width
        aspect = np.random.uniform(*aspect_range)
        h, w = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < h < height and 0 < w < width:
            top = np.random.randint(height - h + 1)
            left = np.random.randint(width - w + 1)
            return slice(top, top + h), slice(left, left + w)
    return None


def _check_size(size) -> tuple[int, int]:
    """The size, or a ValueError; so the two below."""
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f'size must be (height, width) in pixels, got {size!r}.')
    return tuple(size)


def _check_prob(prob: float) -> float:
    if not 0 <= prob <= 1:
        raise ValueError(f'prob must lie in [0, 1], got {prob!r}.')
    return prob


def _check_range(name: str, values, highest: float) -> tuple[float, float]:
    if len(values) != 2 or not 0 < values[0] <= values[1] <= highest:
        raise ValueError(f'{name} must be (smallest, largest), above 0 and at most '
                         f'{highest}, got {values!r}.')
    return tuple(values)


class _ClipTransform(TrackletTransform):
    """Changes ``imgs`` clip by clip; subclasses say how in ``change_clip``."""

    def change_clip(self, frames: _Frames) -> _Frames:
        """The frames of one clip, all changed alike."""
        raise NotImplementedError

    def __call__(self, results: dict) -> dict:
        imgs, clip_len = results['imgs'], results['clip_len']
        results['imgs'] = [
            frame for start in range(0, len(imgs), clip_len)
            for frame in self.change_clip(imgs[start:start + clip_len])]
        return results


@TRANSFORMS.register_module()
class ResizeFrames(_ClipTransform):
    """Resize every frame, whatever its shape.

    Args:
        size: (height, width) in pixels.
    """

    def __init__(self, size: tuple[int, int] = (256, 128)) -> None:
        self.size = _check_size(size)

    def change_clip(self, frames: _Frames) -> _Frames:
        return [_resize(frame, self.size) for frame in frames]


@TRANSFORMS.register_module()
class RandomTranslation2D(_ClipTransform):
    """Resize; of some clips a larger version is made and a random window cut out.

    Args:
        size: (height, width) in pixels of the result.
        prob: Probability of the larger version.
        scale: Its sides over those of the result, at least 1.
    """

    def __init__(self, size: tuple[int, int] = (256, 128), prob: float = 0.5,
                 scale: float = 1.125) -> None:
        if not scale >= 1:
            raise ValueError(f'scale must be at least 1, got {scale!r}.')
        self.size = _check_size(size)
        self.prob = _check_prob(prob)
        self.scale = scale

    def change_clip(self, frames: _Frames) -> _Frames:
        if np.random.rand() >= self.prob:
            return [_resize(frame, self.size) for frame in frames]
        height, width = self.size
        larger = round(height * self.scale), round(width * self.scale)
        top = np.random.randint(larger[0] - height + 1)
        left = np.random.randint(larger[1] - width + 1)
        return [_resize(frame, larger)[top:top + height, left:left + width]
                for frame in frames]


@TRANSFORMS.register_module()
class RandomFlipFrames(_ClipTransform):
    """Mirror some clips, left to right.

    Args:
        prob: Probability.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = _check_prob(prob)

    def change_clip(self, frames: _Frames) -> _Frames:
        if np.random.rand() >= self.prob:
            return frames
        return [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]


@TRANSFORMS.register_module()
class RandomErasingFrames(_ClipTransform):
    """Fill the same box in all frames of some clips; frames must be of one size.

    With ``per_frame`` each frame is a clip of its own: what one frame hides others
    show. Then frames may differ in size.

    Args:
        prob: Probability, of a clip or of a frame.
        area_range: Smallest and largest part of the image's area.
        aspect_range: Smallest and largest height / width.
        fill: RGB of the box; the default is the mean of ImageNet.
        per_frame: Whether each frame has a random box of its own.
    """

    def __init__(self, prob: float = 0.5,
                 area_range: tuple[float, float] = (0.02, 0.4),
                 aspect_range: tuple[float, float] = (0.3, 1 / 0.3),
                 fill: tuple[int, int, int] = (124, 116, 104),
                 per_frame: bool = False) -> None:
        self.prob = _check_prob(prob)
        self.area_range = _check_range('area_range', area_range, 1)
        self.aspect_range = _check_range('aspect_range', aspect_range, float('inf'))
        if len(fill) != 3 or not all(0 <= value <= 255 for value in fill):
            raise ValueError(f'fill must be three values in 0 … 255, got {fill!r}.')
        self.fill = tuple(fill)
        self.per_frame = per_frame

    def change_clip(self, frames: _Frames) -> _Frames:
        if self.per_frame:
            return [frame for one in frames for frame in self._erase_alike([one])]
        return self._erase_alike(frames)

    def _erase_alike(self, frames: _Frames) -> _Frames:
        """The frames with the same box in each, or as they came."""
        if np.random.rand() >= self.prob:
            return frames
        sizes = {frame.shape[:2] for frame in frames}
        if len(sizes) > 1:
            raise ValueError(
                f'RandomErasingFrames needs frames of one size, got {sorted(sizes)}. '
                'Put ResizeFrames or RandomTranslation2D before it.')
        box = _random_box(sizes.pop(), self.area_range, self.aspect_range)
        if box is None:
            return frames
        frames = [frame.copy() for frame in frames]
        for frame in frames:
            frame[box] = self.fill
        return frames
