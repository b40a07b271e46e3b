"""The wall and the ground behind the walkers of one camera, as one long picture.

Metres are the unit: the picture spans a stretch of street, wraps around at its
sides, and its pixels a metre are what the canvas needs.
"""
from functools import lru_cache

import cv2
import numpy as np

from .noise import cloud_tile

WIDTH = 20.0  # metres
LOWEST, HIGHEST = -1.6, 3.6  # metres above the walkers' ground
_NUM_SECTIONS = 6  # houses in the street
_TONES = np.array([
    (168, 160, 150), (150, 110, 92), (120, 128, 134), (186, 176, 150), (112, 130, 108),
    (140, 140, 146), (98, 96, 100), (196, 194, 190)
])


def _tone(rng: np.random.Generator) -> np.ndarray:
    return _TONES[rng.integers(len(_TONES))] + rng.uniform(-14, 14, 3)


def _vivid(rng: np.random.Generator) -> tuple:
    hsv = [rng.uniform(0, 180), rng.uniform(40, 190), rng.uniform(60, 225)]
    return tuple(cv2.cvtColor(np.uint8([[hsv]]), cv2.COLOR_HSV2RGB)[0, 0].tolist())


def _joints(picture: np.ndarray, rng: np.random.Generator, step: float,
            density: float) -> None:
    """Lines of bricks or slabs, in place."""
    height, width = picture.shape[:2]
    colour = tuple((picture.mean(axis=(0, 1)) * rng.uniform(0.75, 0.92)).tolist())
    row_height, length = step * density, 2.2 * step * density
    for row, y in enumerate(np.arange(0, height, row_height)):
        cv2.line(picture, (0, int(y)), (width, int(y)), colour, 1)
        bottom = int(y + row_height)
        for x in np.arange(row % 2 * length / 2, width, length).astype(int).tolist():
            cv2.line(picture, (x, int(y)), (x, bottom), colour, 1)


def _window(picture, rng, x, base, density):
    """A window, door or poster on the wall, framed, in place."""
    wide, high = rng.uniform(0.4, 1.6) * density, rng.uniform(0.5, 1.9) * density
    bottom = base - rng.choice((0, rng.uniform(0.3, 1.2))) * density
    corners = (int(x), int(bottom - high)), (int(x + wide), int(bottom))
    cv2.rectangle(picture, *corners, _vivid(rng), -1)
    for part in np.linspace(0.25, 0.75, rng.integers(1, 4)):
        edge = int(x + part * wide)
        cv2.line(picture, (edge, corners[0][1]), (edge, corners[1][1]), _vivid(rng),
                 max(1, int(0.05 * density)))
    cv2.rectangle(picture, *corners, _vivid(rng), max(1, int(0.06 * density)))


def _pillar(picture, rng, x, base, density):
    """A pillar or a pole before the wall, in place."""
    wide = rng.uniform(0.05, 0.35) * density
    cv2.rectangle(picture, (int(x), 0), (int(x + wide), int(base + 0.1 * density)),
                  tuple((_tone(rng) * rng.uniform(0.5, 1.1)).tolist()), -1)


def _bush(picture, rng, x, base, density):
    """A bush, a bin or a parked vehicle on the ground, in place."""
    wide, high = rng.uniform(0.3, 1.3) * density, rng.uniform(0.3, 0.8) * density
    if rng.random() < 0.5:
        for _ in range(9):
            centre = x + rng.uniform(-wide, wide), base - rng.uniform(0, high)
            green = (rng.uniform(30, 100), rng.uniform(70, 140), rng.uniform(25, 80))
            cv2.circle(picture, tuple(int(value) for value in centre),
                       int(rng.uniform(0.15, 0.35) * density), green, -1)
    else:
        cv2.rectangle(picture, (int(x), int(base - high)), (int(x + wide), int(base)),
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
def draw_scenery(scene_seed: int, ground: float, clutter: float,
                 density: float) -> np.ndarray:
    """Draw a street.

    Args:
        scene_seed: Which street.
        ground: Height at which the ground meets the wall, metres.
        clutter: How much there is, 0 to 1.
        density: Pixels a metre.

    Returns:
        RGB float32 (H, W, 3) that spans :data:`WIDTH` by :data:`LOWEST` to
        :data:`HIGHEST` metres. Calls with equal arguments share it: do not write.
    """
    rng = np.random.default_rng(scene_seed)
    rows, columns = round((HIGHEST - LOWEST) * density), round(WIDTH * density)
    base = round((HIGHEST - ground) * density)
    picture = np.concatenate([_surface(rng, base, columns, clutter),
                              0.85 * _surface(rng, rows - base, columns, clutter)])
    if clutter > 0:
        _joints(picture[:base], rng, rng.uniform(0.2, 0.5), density)
        _joints(picture[base:], rng, rng.uniform(0.3, 0.7), density)
    for _ in range(round(44 * clutter)):
        thing = _THINGS[rng.integers(len(_THINGS))]
        thing(picture, rng, rng.uniform(0, columns), base, density)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.02 * density)
    picture.setflags(write=False)
    return picture
