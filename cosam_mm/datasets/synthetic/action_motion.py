"""Poses over time, such that one frame never tells which motion they make.

A pose is (x, y, angle, log radius). Each motion is one coordinate that runs along
a path, forwards or backwards; the other three stand still. Two rules keep the
motions apart in time only:

* Every clip draws a path for all four coordinates. Those that stand still are held
  where their own path is at a random moment. At a random frame the four coordinates
  then have one joint distribution, whichever of them runs.
* Paths are drawn forwards. A backward motion is the forward one played in reverse,
  so the two own the same frames.
"""
from typing import NamedTuple

import numpy as np

from .noise import smooth_noise

# Angles grow from the x axis towards the y axis, which points down: clockwise.
_COORDINATES = ('x', 'y', 'angle', 'log_radius')


class Motion(NamedTuple):
    """Which row of the poses runs, and whether time runs backwards."""

    coordinate: int
    backwards: bool


def _motion(coordinate: str, backwards: bool = False) -> Motion:
    return Motion(_COORDINATES.index(coordinate), backwards)


# Sorted, so that a class's label is its place here and in a sorted folder listing.
MOTIONS = {
    'grow': _motion('log_radius'),
    'move_down': _motion('y'),
    'move_left': _motion('x', backwards=True),
    'move_right': _motion('x'),
    'move_up': _motion('y', backwards=True),
    'rotate_clockwise': _motion('angle'),
    'rotate_counterclockwise': _motion('angle', backwards=True),
    'shrink': _motion('log_radius', backwards=True),
}

REVERSED_MOTION = {
    name: other
    for name, motion in MOTIONS.items() for other, candidate in MOTIONS.items()
    if candidate == Motion(motion.coordinate, not motion.backwards)
}


class PoseRange(NamedTuple):
    """Limits of the paths, each with one value for every coordinate.

    Args:
        middle: Mean of a path's halfway point.
        spread: Largest distance of the halfway point from ``middle``.
        travel: Shortest and longest distance from a path's start to its end.
        wobble: Amplitude of the small swaying added to every coordinate.
    """

    middle: tuple
    spread: tuple
    travel: tuple
    wobble: tuple


def draw_poses(coordinate: int, pose_range: PoseRange, rng: np.random.Generator,
               num_frames: int) -> np.ndarray:
    """Draw poses that run forwards along one coordinate and else only sway.

    What is drawn from ``rng`` does not depend on ``coordinate``.

    Args:
        coordinate: Row that runs: 0 x, 1 y, 2 angle, 3 log radius.
        pose_range: Limits of the paths.
        rng: Source of randomness.
        num_frames: Number of poses.

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
