"""Cameras that see the same people differently, and the street behind the people.

The cameras of a data set are spread over each of their properties by the golden
ratio, so that the first few differ already and none depends on how many there are.
Each looks at a stretch of street of its own: a wall and the ground in one long image
that wraps around at its sides.
"""
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .generation import cloud_tile

__all__ = ['HIGHEST', 'Camera', 'develop', 'generate_camera', 'render_scenery']

WIDTH = 20.0  # metres of street
LOWEST, HIGHEST = -1.6, 3.6  # metres above the walkers' ground
_NUM_SECTIONS = 6  # houses in the street
_TONES = np.array([
    (168, 160, 150), (150, 110, 92), (120, 128, 134), (186, 176, 150), (112, 130, 108),
    (140, 140, 146), (98, 96, 100), (196, 194, 190)
])
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Camera:
    """One camera and where it looks.

    Lengths in the image are shares of the box's height, but for ``offset``.
    """

    scene_seed: int  # of the background
    yaw: float  # usual way of the walkers, radians: 0 to the right, pi/2 to the camera
    pitch: float  # angle at which it looks down, radians
    roll: float  # tilt of its image, radians
    fill: float  # usual height of a person
    offset: tuple  # of a person, right and down of the middle, shares of width, height
    ground: float  # height in the image where the ground meets the wall, metres
    light: tuple  # right, up, towards the camera; share of light without a direction
    gains: tuple  # factors of red, green and blue
    gamma: float  # exponent of the brightness; below 1 lifts the shadows
    contrast: float  # factor of the distance from grey
    saturation: float  # factor of the distance from colourless
    blur: float  # standard deviation of the blur
    noise_std: float  # standard deviation of the noise, in grey levels of 255
    jpeg_quality: int  # of the files, 1 to 100


def generate_camera(rng: np.random.Generator, index: int) -> Camera:
    """Generate the camera ``index``, from 0, of a data set.

    ``rng`` must be in the same state for all of its cameras.
    """
    start = rng.random(16)
    shares = iter((start + index * _GOLDEN * np.arange(1, 17)) % 1)

    def between(low, high):
        return float(low + (high - low) * next(shares))

    def light(around, ambient):  # from 40 degrees above
        level = np.cos(np.deg2rad(40))
        return (float(level * np.cos(around)), float(np.sin(np.deg2rad(40))),
                float(level * np.sin(around)), ambient)

    hue = between(0, 2 * np.pi)
    cast = 1 + 0.08 * np.cos(hue - 2 * np.pi / 3 * np.arange(3))
    brightness = between(0.84, 1.16)
    return Camera(
        scene_seed=int(rng.integers(2**31)) + index,
        # Thirds of a turn and some: cameras side by side never share a side.
        yaw=float(2 * np.pi * (start[2] + index * (1 - _GOLDEN))),
        pitch=between(0.03, 0.42), roll=between(-0.07, 0.07), fill=between(0.8, 0.93),
        offset=(between(-0.06, 0.06), between(-0.03, 0.03)), ground=between(0.3, 1.0),
        light=light(between(0.15 * np.pi, 0.85 * np.pi), between(0.42, 0.7)),
        gains=tuple((brightness * cast).tolist()), gamma=between(0.9, 1.12),
        contrast=between(0.86, 1.1), saturation=between(0.75, 1.05),
        blur=between(0.002, 0.007), noise_std=between(2, 8),
        jpeg_quality=round(between(78, 93)))


def develop(frames: np.ndarray, camera: Camera, rng: np.random.Generator,
            flicker: np.ndarray) -> np.ndarray:
    """Turn what is before a camera into its images, RGB (T, H, W, 3) uint8.

    ``frames`` are RGB (T, H, W, 3) float32, 0 to 255, and change in place; ``rng``
    makes the noise; ``flicker`` are factors (T,) of the brightness.
    """
    np.clip(frames, 0, 255, out=frames)
    grey = frames.mean(axis=-1, keepdims=True)
    frames = grey + camera.saturation * (frames - grey)
    frames = 255 * (np.maximum(frames, 0) / 255)**np.float32(camera.gamma)
    frames = 118 + camera.contrast * (frames - 118)
    frames *= np.float32(camera.gains) * flicker.astype(np.float32)[:, None, None, None]
    sigma = camera.blur * frames.shape[1]
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])
    noise = rng.standard_normal(frames.shape, dtype=np.float32)
    frames += np.float32(camera.noise_std) * noise
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _tone(rng: np.random.Generator) -> np.ndarray:
    """The colour of a wall or of the ground, (3,)."""
    return rng.choice(_TONES) + rng.uniform(-14, 14, 3)


def _vivid(rng: np.random.Generator) -> tuple:
    """The RGB colour of a thing."""
    hsv = [rng.uniform(0, 180), rng.uniform(40, 190), rng.uniform(60, 225)]
    return tuple(cv2.cvtColor(np.uint8([[hsv]]), cv2.COLOR_HSV2RGB)[0, 0].tolist())


def _joints(image: np.ndarray, rng: np.random.Generator, step: float,
            density: float) -> None:
    """Lines of bricks or slabs, in place."""
    height, width = image.shape[:2]
    colour = tuple((image.mean(axis=(0, 1)) * rng.uniform(0.75, 0.92)).tolist())
    row_height, length = step * density, 2.2 * step * density
    for row, y in enumerate(np.arange(0, height, row_height)):
        cv2.line(image, (0, int(y)), (width, int(y)), colour, 1)
        bottom = int(y + row_height)
        for x in np.arange(row % 2 * length / 2, width, length).astype(int).tolist():
            cv2.line(image, (x, int(y)), (x, bottom), colour, 1)


def _window(image, rng, x, base, density):
    """A window, door or poster on the wall, framed, in place."""
    wide, high = rng.uniform(0.4, 1.6) * density, rng.uniform(0.5, 1.9) * density
    bottom = base - rng.choice((0, rng.uniform(0.3, 1.2))) * density
    corners = (int(x), int(bottom - high)), (int(x + wide), int(bottom))
    cv2.rectangle(image, *corners, _vivid(rng), -1)
    for part in np.linspace(0.25, 0.75, rng.integers(1, 4)):
        edge = int(x + part * wide)
        cv2.line(image, (edge, corners[0][1]), (edge, corners[1][1]), _vivid(rng),
                 max(1, int(0.05 * density)))
    cv2.rectangle(image, *corners, _vivid(rng), max(1, int(0.06 * density)))


def _pillar(image, rng, x, base, density):
    """A pillar or a pole before the wall, in place."""
    wide = rng.uniform(0.05, 0.35) * density
    cv2.rectangle(image, (int(x), 0), (int(x + wide), int(base + 0.1 * density)),
                  tuple((_tone(rng) * rng.uniform(0.5, 1.1)).tolist()), -1)


def _bush(image, rng, x, base, density):
    """A bush, a bin or a parked vehicle on the ground, in place."""
    wide, high = rng.uniform(0.3, 1.3) * density, rng.uniform(0.3, 0.8) * density
    if rng.random() < 0.5:
        for _ in range(9):
            centre = x + rng.uniform(-wide, wide), base - rng.uniform(0, high)
            green = (rng.uniform(30, 100), rng.uniform(70, 140), rng.uniform(25, 80))
            cv2.circle(image, tuple(int(value) for value in centre),
                       int(rng.uniform(0.15, 0.35) * density), green, -1)
    else:
        cv2.rectangle(image, (int(x), int(base - high)), (int(x + wide), int(base)),
                      _vivid(rng), -1)


_THINGS = (_window, _window, _pillar, _bush)


def _surface(rng, rows: int, columns: int, clutter: float) -> np.ndarray:
    """A plain in sections of one tone each, cloudy by the clutter."""
    clouds = cloud_tile(rng, (columns, rows))
    tones = [_tone(rng) for _ in range(_NUM_SECTIONS)]
    cuts = np.sort(rng.uniform(0, columns, _NUM_SECTIONS - 1)) if clutter > 0 else []
    section = np.searchsorted(cuts, np.arange(columns))
    return np.float32(tones)[section] + (4 + 10 * clutter) * clouds


@lru_cache(maxsize=16)
def render_scenery(scene_seed: int, ground: float, clutter: float,
                 density: float) -> np.ndarray:
    """Render the street of a seed at ``density`` pixels a metre.

    The ground meets the wall at a height of ``ground`` metres; ``clutter``, 0 to 1, is
    how much there is. RGB float32 (H, W, 3) spans ``WIDTH`` by ``LOWEST`` to
    ``HIGHEST`` metres. Calls with equal arguments share it: do not write.
    """
    rng = np.random.default_rng(scene_seed)
    rows, columns = round((HIGHEST - LOWEST) * density), round(WIDTH * density)
    base = round((HIGHEST - ground) * density)
    image = np.concatenate([_surface(rng, base, columns, clutter),
                              0.85 * _surface(rng, rows - base, columns, clutter)])
    if clutter > 0:
        _joints(image[:base], rng, rng.uniform(0.2, 0.5), density)
        _joints(image[base:], rng, rng.uniform(0.3, 0.7), density)
    for _ in range(round(44 * clutter)):
        thing = _THINGS[rng.integers(len(_THINGS))]
        thing(image, rng, rng.uniform(0, columns), base, density)
    image = cv2.GaussianBlur(image, (0, 0), 0.02 * density)
    image.setflags(write=False)
    return image
