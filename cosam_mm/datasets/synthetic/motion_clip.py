"""One action clip: a target in motion over drifting clutter and small distractors.

The target is the largest object, opaque, two-coloured, rimmed, and on top of all
others but a bar that may pass before it. Its pose is (x, y, angle, log radius), and a
motion is one coordinate that runs along a path, forwards or backwards, while the other
three stand still. Nothing else in a clip depends on its class, and no single frame
tells it:

* Every clip has a random path for all four coordinates. Those that stand still are held
  where their own path is at a random moment. At a random frame the four coordinates
  then have one joint distribution, whichever of them runs.
* Paths are generated forwards. A backward motion is the forward one played in reverse,
  so the two own the same frames.
"""
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .generation import SegmentedFrames, check_share, cloud_tile, smooth_noise
from .sprites import blend, make_sprite, render_occluder, render_sprite

__all__ = ['DEFAULT_CLUTTER', 'MOTIONS', 'ClutterConfig', 'generate_clip',
           'generate_poses', 'target_range']

_MIN_SIDE = 32
# Lengths are shares of the frame's height; a turn is two pi.
_TARGET_RADIUS = 0.23
_DISTRACTOR_RADIUS = 0.07
_BACKDROP_RADIUS = 0.2
# Angles grow from the x axis towards the y axis, which points down: clockwise.
_X, _Y, _ANGLE, _LOG_RADIUS = range(4)


class _Motion(NamedTuple):
    """Which row of the poses runs, and whether time runs backwards."""

    coordinate: int
    backwards: bool


# Sorted, so that a class's label is its index here and in a sorted folder listing.
MOTIONS = {
    'grow': _Motion(_LOG_RADIUS, False),
    'move_down': _Motion(_Y, False),
    'move_left': _Motion(_X, True),
    'move_right': _Motion(_X, False),
    'move_up': _Motion(_Y, True),
    'rotate_clockwise': _Motion(_ANGLE, False),
    'rotate_counterclockwise': _Motion(_ANGLE, True),
    'shrink': _Motion(_LOG_RADIUS, True),
}


class _PoseRange(NamedTuple):
    """Limits of the paths, each with one value for every coordinate."""

    middle: tuple  # mean of a path's halfway point
    spread: tuple  # largest distance of the halfway point from it
    travel: tuple  # shortest and longest distance from a path's start to its end
    wobble: tuple  # amplitude of the small swaying added to every coordinate


def _pose_range(size: tuple, radius: float, **limits) -> _PoseRange:
    """Limits around the middle of a frame, and around a radius in frame heights."""
    width, height = size
    return _PoseRange((width / 2, height / 2, 0, np.log(radius * height)), **limits)


def target_range(size: tuple) -> _PoseRange:
    """Limits of the target's poses on frames of ``size`` (width, height)."""
    height = size[1]
    return _pose_range(
        size, _TARGET_RADIUS, spread=(0.07 * height, 0.05 * height, np.pi, 0.08),
        travel=((0.4 * height, 0.6 * height), (0.4 * height, 0.6 * height),
                (0.8 * np.pi, 1.8 * np.pi), (np.log(1.9), np.log(2.6))),
        wobble=(0.012 * height, 0.012 * height, 0.05, 0.025))


def _distractor_range(size: tuple) -> _PoseRange:
    """Limits of a distractor's poses."""
    width, height = size
    return _pose_range(
        size, _DISTRACTOR_RADIUS, spread=(0.45 * width, 0.45 * height, np.pi, 0.1),
        travel=((0.4 * height, 0.8 * height), (0.4 * height, 0.8 * height),
                (0.8 * np.pi, 2 * np.pi), (np.log(1.3), np.log(1.6))),
        wobble=(0.02 * height, 0.02 * height, 0.2, 0.03))


def _backdrop_range(size: tuple, drift: float) -> _PoseRange:
    """Limits of the poses of a shape that drifts behind everything."""
    width, height = size
    shift = (0, drift * height)
    return _pose_range(
        size, _BACKDROP_RADIUS, spread=(0.5 * width, 0.5 * height, np.pi, 0.4),
        travel=(shift, shift, (0, drift), (0, 0)),
        wobble=(0.02 * height, 0.02 * height, 0.05, 0.03))


def generate_poses(coordinate: int, pose_range: _PoseRange, rng: np.random.Generator,
                   num_frames: int) -> np.ndarray:
    """Poses that run forwards along one coordinate and otherwise only sway.

    What is taken from ``rng`` does not depend on ``coordinate``, the row that runs.

    Returns:
        Array (4, num_frames): x and y in pixels, angle in radians (clockwise on
        the screen), natural logarithm of the radius in pixels.
    """
    middle, spread, wobble = (
        np.asarray(value, dtype=float)[:, None]
        for value in (pose_range.middle, pose_range.spread, pose_range.wobble))
    shortest, longest = np.asarray(pose_range.travel, dtype=float).T[..., None]
    travel = rng.uniform(shortest, longest)
    start = middle + rng.uniform(-spread, spread) - travel / 2
    paths = start + travel * np.linspace(0, 1, num_frames)
    held_at = rng.integers(num_frames, size=len(paths))
    poses = np.repeat(paths[np.arange(len(paths)), held_at][:, None], num_frames, 1)
    poses[coordinate] = paths[coordinate]
    return poses + wobble * smooth_noise(rng, len(paths), num_frames)


@dataclass(frozen=True)
class ClutterConfig:
    """How much there is in a clip that has nothing to do with its class.

    Raises:
        ValueError: A value is negative, a share above 1, or a count not whole.
    """

    num_distractors: int = 3  # small objects, each in a random motion of its own
    num_backdrop_shapes: int = 4  # faint shapes behind everything that drift slowly
    texture: float = 0.5  # contrast of the drifting background texture, 0 to 1
    drift: float = 0.4  # largest shift of the background over a clip, in frame heights
    brightness: float = 0.15  # largest relative change of brightness over time, 0 to 1
    noise_std: float = 5.0  # standard deviation of the pixel noise, grey levels of 255

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
        """Clutter of a difficulty between 0 and 1; ValueError outside.

        0 has no distractors, no backdrop shapes, and a background in one colour that
        stands still; 0.5 is the default; 1 has twice as much of each. Brightness and
        noise stay.
        """
        check_share('clutter', share)
        return cls(
            num_distractors=round(2 * share * cls.num_distractors),
            num_backdrop_shapes=round(2 * share * cls.num_backdrop_shapes),
            texture=2 * share * cls.texture, drift=2 * share * cls.drift)


DEFAULT_CLUTTER = ClutterConfig()


def _render_background(rng: np.random.Generator, num_frames: int, size: tuple,
                       clutter: ClutterConfig) -> np.ndarray:
    """Drifting texture around a random colour, float32 (T, H, W, 3)."""
    colour = rng.uniform(50, 205, 3)
    tile = colour + 60 * clutter.texture * cloud_tile(rng, size)
    shift = rng.uniform(-1, 1, (2, 1)) * clutter.drift * size[1]
    sway = 0.015 * size[1] * smooth_noise(rng, 2, num_frames)
    offsets = shift * np.linspace(0, 1, num_frames) + sway
    return np.stack([
        cv2.warpAffine(tile.astype(np.float32), np.float64([[1, 0, dx], [0, 1, dy]]),
                       tuple(size), flags=cv2.INTER_LINEAR,
                       borderMode=cv2.BORDER_WRAP)
        for dx, dy in offsets.T
    ])


def _add_object(rng: np.random.Generator, frames: np.ndarray, pose_range: _PoseRange,
                opacity: float) -> None:
    """Blend one object in a random motion over the frames, in place."""
    num_frames, height, width = frames.shape[:3]
    motion = list(MOTIONS.values())[rng.integers(len(MOTIONS))]
    poses = generate_poses(motion.coordinate, pose_range, rng, num_frames)
    poses = poses[:, ::-1] if motion.backwards else poses
    radius = np.exp(pose_range.middle[_LOG_RADIUS])
    sprite = make_sprite(rng, radius, rng.uniform(0, 255, (2, 3)))
    blend(frames, render_sprite(sprite, radius, poses, (width, height)), opacity)


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
    """Raise a ValueError for arguments of :func:`generate_clip` out of range."""
    if motion not in MOTIONS:
        raise ValueError(
            f'there is no motion {motion!r}; allowed: {", ".join(MOTIONS)}')
    if num_frames < 2:
        raise ValueError(f'num_frames is {num_frames}; a motion needs 2 or more')
    if len(size) != 2 or min(size) < _MIN_SIDE:
        raise ValueError(f'size is {size!r}; give (width, height), each {_MIN_SIDE} '
                         'pixels or more')
    check_share('occlusion', occlusion)


def generate_clip(motion: str, rng: np.random.Generator, num_frames: int = 40,
                  size: tuple = (96, 72), clutter: ClutterConfig = DEFAULT_CLUTTER,
                  occlusion: float = 0.0) -> SegmentedFrames:
    """Generate one clip of a motion.

    From one state of ``rng`` two opposite motions give the same frames in reverse
    order, and all motions the same scene.

    Args:
        motion: One of :data:`MOTIONS`; anything else is a ValueError, as are the other
            arguments out of range.
        rng: Source of all randomness.
        num_frames: Number of frames T, at least 2. How far the target moves does not
            depend on it: more frames make a slower clip.
        size: Width W and height H in pixels.
        clutter: What else is in the clip.
        occlusion: Chance, 0 to 1, that something opaque passes before the target, or
            halts there, during a part of the clip.

    >>> clip = generate_clip('grow', np.random.default_rng(0), num_frames=8)
    >>> clip.frames.shape, clip.silhouette.shape
    ((8, 72, 96, 3), (8, 72, 96))
    """
    _check(motion, num_frames, size, occlusion)
    frames = _render_background(rng, num_frames, size, clutter)
    colours, rim = _target_colours(rng, frames)
    for _ in range(clutter.num_backdrop_shapes):
        _add_object(rng, frames, _backdrop_range(size, clutter.drift), 0.35)
    for _ in range(clutter.num_distractors):
        _add_object(rng, frames, _distractor_range(size), 1.0)
    # Larger than its usual size: shrinking looks better than enlarging.
    radius = 1.25 * _TARGET_RADIUS * size[1]
    sprite = make_sprite(rng, radius, colours, rim)
    coordinate, backwards = MOTIONS[motion]
    poses = generate_poses(coordinate, target_range(size), rng, num_frames)
    layer = render_sprite(sprite, radius, poses, size)
    blend(frames, layer)
    visible = layer[..., 3]
    if occlusion > 0:  # clips without it keep their pixels
        occluder = render_occluder(rng, num_frames, size, occlusion)
        blend(frames, occluder)
        visible = visible * (1 - occluder[..., 3])
    step = -1 if backwards else 1
    return SegmentedFrames(
        _finish(rng, frames, clutter)[::step], (visible > 0.5)[::step])
