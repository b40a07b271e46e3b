"""Layers over the frames of an action clip: textured shapes, and a bar before them.

A layer is float32 (T, H, W, 4): RGB 0 to 255 premultiplied by alpha, then alpha 0 to 1.
No shape looks the same after less than a full turn, so that every rotation shows.
"""
import cv2
import numpy as np

# Corners in the unit circle, y down.
_POLYGONS = {
    'arrow': [(0.95, 0), (0.1, -0.8), (0.1, -0.35), (-0.85, -0.35), (-0.85, 0.35),
              (0.1, 0.35), (0.1, 0.8)],
    'flag': [(-0.6, -0.8), (0.85, -0.45), (0.8, 0.05), (0.1, 0.2), (-0.1, 0.9),
             (-0.65, 0.7)],
    'hook': [(-0.7, -0.7), (0.05, -0.8), (0.05, -0.05), (0.85, -0.05), (0.75, 0.65),
             (-0.65, 0.75)],
    'kite': [(0, -0.8), (0.65, -0.35), (0, 0.95), (-0.65, -0.35)],
    'house': [(0, -0.95), (0.8, -0.2), (0.55, -0.2), (0.55, 0.8), (-0.55, 0.8),
              (-0.55, -0.2), (-0.8, -0.2)],
    'wedge': [(0.95, 0.1), (-0.5, -0.8), (-0.8, 0.55)],
    'fin': [(-0.9, 0.3), (-0.4, -0.85), (0.25, -0.45), (0.95, -0.3), (0.45, 0.8),
            (-0.3, 0.5)],
}
_OVERSAMPLING = 4

# Of the occluder: lengths are shares of the frame's height, durations of the clip.
_HALF_WIDTH = (0.06, 0.12)
_HALT = 0.2
_DURATION_IN_OR_OUT = (0.15, 0.3)
_STAY = (0.15, 0.35)


# Two-valued patterns of u, v in -1 to 1, with a period and a phase.
_TEXTURES = (
    lambda u, v, period, phase: np.sin(2 * np.pi * u / period + phase) > 0,
    lambda u, v, period, phase: (
        np.sin(2 * np.pi * u / period + phase) * np.sin(2 * np.pi * v / period) > 0),
    lambda u, v, period, phase: (
        np.cos(2 * np.pi * u / period + phase) + np.cos(2 * np.pi * v / period) > 0.5),
    lambda u, v, period, phase: v > 0.3 * np.sin(phase),
)


def _texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """A random pattern (side, side) bool at a random tilt."""
    v, u = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
    tilt = rng.uniform(0, 2 * np.pi)
    u, v = u * np.cos(tilt) - v * np.sin(tilt), u * np.sin(tilt) + v * np.cos(tilt)
    pattern = _TEXTURES[rng.integers(len(_TEXTURES))]
    return pattern(u, v, rng.uniform(0.45, 0.8), rng.uniform(0, 2 * np.pi))


def make_sprite(rng: np.random.Generator, radius: float, colours: np.ndarray,
                outline=None) -> np.ndarray:
    """Make one random shape: a float32 image (side, side, 4), premultiplied.

    It stands in a circle of ``radius`` pixels; its texture has two RGB colours (2, 3),
    0 to 255, and ``outline`` is the RGB colour of a rim, None for no rim.
    """
    half = int(np.ceil(radius))
    side = 2 * half * _OVERSAMPLING
    polygon = np.asarray(list(_POLYGONS.values())[rng.integers(len(_POLYGONS))])
    corners = (polygon * (radius / half) + 1) * side / 2
    body = np.zeros((side, side), np.uint8)
    cv2.fillPoly(body, [np.round(corners).astype(np.int32)], 1)
    colour = np.where(_texture(rng, side)[..., None], *np.asarray(colours, float))
    if outline is not None:
        rim = max(3, round(0.16 * side / 2)) | 1
        inside = cv2.erode(body, np.ones((rim, rim), np.uint8))
        colour = np.where(inside[..., None], colour, np.asarray(outline, float))
    image = np.dstack([colour * body[..., None], body]).astype(np.float32)
    image = cv2.resize(image, (2 * half, 2 * half), interpolation=cv2.INTER_AREA)
    # A clear border keeps the edge soft when the sprite is turned.
    return cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)


def render_sprite(sprite: np.ndarray, radius: float, poses: np.ndarray,
                  size: tuple) -> np.ndarray:
    """A layer, of ``size`` (W, H), with a sprite of some radius at one pose a frame.

    ``poses`` are (4, T): x, y, angle and log radius.
    """
    x, y, angle, log_radius = poses
    scale = np.exp(log_radius) / radius
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    centre = (sprite.shape[0] - 1) / 2
    matrices = np.array([[cos, -sin, x - centre * (cos - sin)],
                         [sin, cos, y - centre * (sin + cos)]]).transpose(2, 0, 1)
    return np.stack([
        cv2.warpAffine(sprite, matrix, tuple(size), flags=cv2.INTER_LINEAR)
        for matrix in matrices
    ])


def blend(frames: np.ndarray, layer: np.ndarray, opacity: float = 1.0) -> None:
    """Blend a layer over frames (T, H, W, 3), in place."""
    frames *= 1 - opacity * layer[..., 3:]
    frames += opacity * layer[..., :3]


def _distance_of_bar(rng: np.random.Generator, num_frames: int, reach: float,
                     halt: float) -> np.ndarray:
    """Distance (T,) of the bar from the frame's centre; beyond ``reach`` is outside::

        +reach |                      ________
               |              _______/
        halt   |     ________/      with or without a stay
        -reach |____/
               +------------------------------ frames
    """
    duration_in, duration_out = rng.uniform(*_DURATION_IN_OR_OUT, 2)
    stays = rng.random() < 0.5
    stay = rng.uniform(*_STAY) * stays
    start = rng.uniform(0, 1 - duration_in - stay - duration_out)
    times = start + np.cumsum([0, duration_in, stay, duration_out])
    moments = np.linspace(0, 1, num_frames)
    return np.interp(moments, times, [-reach, halt, halt, reach])


def render_occluder(rng: np.random.Generator, num_frames: int, size: tuple,
                    chance: float) -> np.ndarray:
    """A layer with an opaque bar that crosses the frame, or an empty layer.

    The bar reaches across the whole frame at a random tilt and moves square to its
    length. Nothing of it tells the class of the clip: it crosses the middle of the
    frame, where the target is in whatever motion, and is as likely to move in reverse.
    ``chance``, 0 to 1, is that of a bar; what is taken from ``rng`` does not depend on
    the outcome. ``size`` is (W, H) in pixels.

    >>> layer = render_occluder(np.random.default_rng(0), 8, (96, 72), 1.0)
    >>> layer.shape, bool(layer[..., 3].any())
    ((8, 72, 96, 4), True)
    """
    width, height = size
    happens = rng.random() < chance
    half_width = height * rng.uniform(*_HALF_WIDTH)
    tilt = rng.uniform(0, 2 * np.pi)
    colour = np.clip(rng.uniform(30, 215) + rng.uniform(-40, 40, 3), 0, 255)
    reach = np.hypot(width, height) / 2 + half_width + 1
    distance = _distance_of_bar(
        rng, num_frames, reach, height * rng.uniform(-_HALT, _HALT))
    if not happens:
        return np.zeros((num_frames, height, width, 4), np.float32)
    y, x = np.mgrid[:height, :width] - (np.array([[[height]], [[width]]]) - 1) / 2
    across = x * np.cos(tilt) + y * np.sin(tilt) - distance[:, None, None]  # (T, H, W)
    alpha = np.clip(half_width - np.abs(across) + 0.5, 0, 1)[..., None]
    shade = 0.85 + 0.15 * np.cos(np.pi * np.clip(across / half_width, -1, 1))
    return np.concatenate(
        [alpha * shade[..., None] * colour, alpha], axis=-1).astype(np.float32)
