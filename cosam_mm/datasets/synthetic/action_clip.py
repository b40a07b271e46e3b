"""One clip: a target object in motion over drifting clutter and small distractors.

The target is the largest object, opaque, two-coloured, rimmed, and on top of all
others but a bar that may pass before it. Nothing else in a clip depends on its class.
"""
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .action_motion import MOTIONS, PoseRange, draw_poses
from .noise import cloud_tile, smooth_noise
from .occluder import draw_occluder
from .sprite import lay_over, make_sprite, place

_MIN_SIDE = 32
# Lengths are shares of the frame's height; a turn is two pi.
_TARGET_RADIUS = 0.23
_DISTRACTOR_RADIUS = 0.07
_BACKDROP_RADIUS = 0.2


@dataclass(frozen=True)
class ClutterConfig:
    """How much there is in a clip that has nothing to do with its class.

    Args:
        num_distractors: Small objects, each in a random motion of its own.
        num_backdrop_shapes: Faint shapes behind everything that drift slowly.
        texture: Contrast of the drifting background texture, 0 to 1.
        drift: Largest way of the background over the clip, in frame heights.
        brightness: Largest relative change of brightness over time, 0 to 1.
        noise_std: Standard deviation of the pixel noise, in grey levels of 255.

    Raises:
        ValueError: A value is negative, a share above 1, or a count not whole.
    """

    num_distractors: int = 3
    num_backdrop_shapes: int = 4
    texture: float = 0.5
    drift: float = 0.4
    brightness: float = 0.15
    noise_std: float = 5.0

    def __post_init__(self):
        for name, value in vars(self).items():
            largest = 1 if name in ('texture', 'brightness') else float('inf')
            if not 0 <= value <= largest:
                raise ValueError(
                    f'{name} of ClutterConfig is {value!r}; allowed: 0 to {largest}')
            if name.startswith('num_') and value != int(value):
                raise ValueError(
                    f'{name} of ClutterConfig is {value!r}; allowed: whole numbers')


    @classmethod
    def scaled(cls, share: float) -> 'ClutterConfig':
        """Clutter of a difficulty between 0 and 1.

        Args:
            share: 0 has no distractors, no backdrop shapes, and a background in one
                colour that stands still; 0.5 is the default; 1 has twice as much of
                each. Brightness and noise stay.

        Raises:
            ValueError: A share outside 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f'clutter is {share!r}; allowed: 0 to 1')
        return cls(
            num_distractors=round(2 * share * cls.num_distractors),
            num_backdrop_shapes=round(2 * share * cls.num_backdrop_shapes),
            texture=2 * share * cls.texture, drift=2 * share * cls.drift)


DEFAULT_CLUTTER = ClutterConfig()


class DrawnClip(NamedTuple):
    """A clip and where its target is.

    Args:
        frames: RGB (T, H, W, 3) uint8.
        silhouette: (T, H, W) bool, True where the target covers the pixel; what is
            occluded is False.
    """

    frames: np.ndarray
    silhouette: np.ndarray


def target_range(size: tuple) -> PoseRange:
    """Limits of the target's poses on frames of ``size`` (width, height)."""
    width, height = size
    return PoseRange(
        middle=(width / 2, height / 2, 0, np.log(_TARGET_RADIUS * height)),
        spread=(0.07 * height, 0.05 * height, np.pi, 0.08),
        travel=((0.4 * height, 0.6 * height), (0.4 * height, 0.6 * height),
                (0.8 * np.pi, 1.8 * np.pi), (np.log(1.9), np.log(2.6))),
        wobble=(0.012 * height, 0.012 * height, 0.05, 0.025))


def distractor_range(size: tuple) -> PoseRange:
    """Limits of a distractor's poses on frames of ``size`` (width, height)."""
    width, height = size
    return PoseRange(
        middle=(width / 2, height / 2, 0, np.log(_DISTRACTOR_RADIUS * height)),
        spread=(0.45 * width, 0.45 * height, np.pi, 0.1),
        travel=((0.4 * height, 0.8 * height), (0.4 * height, 0.8 * height),
                (0.8 * np.pi, 2 * np.pi), (np.log(1.3), np.log(1.6))),
        wobble=(0.02 * height, 0.02 * height, 0.2, 0.03))


def _backdrop_range(size: tuple, drift: float) -> PoseRange:
    width, height = size
    way = (0, drift * height)
    return PoseRange(
        middle=(width / 2, height / 2, 0, np.log(_BACKDROP_RADIUS * height)),
        spread=(0.5 * width, 0.5 * height, np.pi, 0.4),
        travel=(way, way, (0, drift), (0, 0)),
        wobble=(0.02 * height, 0.02 * height, 0.05, 0.03))


def _draw_background(rng: np.random.Generator, num_frames: int, size: tuple,
                     clutter: ClutterConfig) -> np.ndarray:
    """Drifting texture around a random colour, float32 (T, H, W, 3)."""
    colour = rng.uniform(50, 205, 3)
    tile = colour + 60 * clutter.texture * cloud_tile(rng, size)
    way = rng.uniform(-1, 1, (2, 1)) * clutter.drift * size[1]
    sway = 0.015 * size[1] * smooth_noise(rng, 2, num_frames)
    offsets = way * np.linspace(0, 1, num_frames) + sway
    return np.stack([
        cv2.warpAffine(tile.astype(np.float32), np.float64([[1, 0, dx], [0, 1, dy]]),
                       tuple(size), flags=cv2.INTER_LINEAR,
                       borderMode=cv2.BORDER_WRAP)
        for dx, dy in offsets.T
    ])


def _draw_extra(rng: np.random.Generator, frames: np.ndarray, pose_range: PoseRange,
                opacity: float) -> None:
    """Draw one object in a random motion over the frames, in place."""
    num_frames, height, width = frames.shape[:3]
    motion = list(MOTIONS.values())[rng.integers(len(MOTIONS))]
    poses = draw_poses(motion.coordinate, pose_range, rng, num_frames)
    poses = poses[:, ::-1] if motion.backwards else poses
    radius = np.exp(pose_range.middle[3])
    sprite = make_sprite(rng, radius, rng.uniform(0, 255, (2, 3)))
    lay_over(frames, place(sprite, radius, poses, (width, height)), opacity)


def _target_colours(rng: np.random.Generator, background: np.ndarray) -> tuple:
    """Two texture colours and a rim that stand out from a background (..., 3)."""
    mean = background.mean(axis=tuple(range(background.ndim - 1)))
    rim = np.full(3, 15.0 if mean.mean() > 127 else 240.0)
    hue = rng.uniform(0, 180)
    hsv = [[hue, rng.uniform(120, 255), rng.uniform(190, 255)],
           [(hue + rng.uniform(40, 140)) % 180, rng.uniform(120, 255),
            rng.uniform(60, 150)]]
    rgb = cv2.cvtColor(np.uint8([hsv]), cv2.COLOR_HSV2RGB)[0].astype(float)
    return rgb, rim


def _finish(rng: np.random.Generator, frames: np.ndarray,
            clutter: ClutterConfig) -> np.ndarray:
    """Sway the brightness, add noise and round to uint8."""
    gain = 1 + clutter.brightness * smooth_noise(rng, 1, len(frames))[0]
    frames *= gain.astype(np.float32)[:, None, None, None]
    noise = rng.standard_normal(frames.shape, dtype=np.float32)
    frames += np.float32(clutter.noise_std) * noise
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _check(motion: str, num_frames: int, size: tuple, occlusion: float) -> None:
    if motion not in MOTIONS:
        raise ValueError(
            f'there is no motion {motion!r}; allowed: {", ".join(MOTIONS)}')
    if num_frames < 2:
        raise ValueError(f'num_frames is {num_frames}; a motion needs 2 or more')
    if len(size) != 2 or min(size) < _MIN_SIDE:
        raise ValueError(f'size is {size!r}; give (width, height), each {_MIN_SIDE} '
                         'pixels or more')
    if not 0 <= occlusion <= 1:
        raise ValueError(f'occlusion is {occlusion!r}; allowed: 0 to 1')


def draw_clip(motion: str, rng: np.random.Generator, num_frames: int = 40,
              size: tuple = (96, 72),
              clutter: ClutterConfig = DEFAULT_CLUTTER,
              occlusion: float = 0.0) -> DrawnClip:
    """Draw one clip of a motion.

    From one state of ``rng`` two opposite motions give the same frames in reverse
    order, and all motions the same scene.

    Args:
        motion: One of :data:`~.motion.MOTIONS`.
        rng: Source of all randomness.
        num_frames: Number of frames T, at least 2. The way of the target does not
            depend on it: more frames make a slower clip.
        size: Width W and height H in pixels.
        clutter: What else is in the clip.
        occlusion: Chance, 0 to 1, that something opaque passes before the target, or
            halts there, during a part of the clip.

    Returns:
        Frames (T, H, W, 3) and the target's visible silhouette (T, H, W).

    Raises:
        ValueError: An unknown motion, a length or size that is too small, or a
            chance outside 0 to 1.

    Example:
        >>> clip = draw_clip('grow', np.random.default_rng(0), num_frames=8)
        >>> clip.frames.shape, clip.silhouette.shape
        ((8, 72, 96, 3), (8, 72, 96))
        >>> bool(clip.silhouette[-1].sum() > clip.silhouette[0].sum())
        True
    """
    _check(motion, num_frames, size, occlusion)
    frames = _draw_background(rng, num_frames, size, clutter)
    colours, rim = _target_colours(rng, frames)
    for _ in range(clutter.num_backdrop_shapes):
        _draw_extra(rng, frames, _backdrop_range(size, clutter.drift), 0.35)
    for _ in range(clutter.num_distractors):
        _draw_extra(rng, frames, distractor_range(size), 1.0)
    # Painted larger than its usual size: shrinking looks better than blowing up.
    radius = 1.25 * _TARGET_RADIUS * size[1]
    sprite = make_sprite(rng, radius, colours, rim)
    poses = draw_poses(MOTIONS[motion].coordinate, target_range(size), rng, num_frames)
    layer = place(sprite, radius, poses, size)
    lay_over(frames, layer)
    visible = layer[..., 3]
    if occlusion > 0:  # what is drawn without it stays as it is
        occluder = draw_occluder(rng, num_frames, size, occlusion)
        lay_over(frames, occluder)
        visible = visible * (1 - occluder[..., 3])
    step = -1 if MOTIONS[motion].backwards else 1
    return DrawnClip(_finish(rng, frames, clutter)[::step], (visible > 0.5)[::step])
