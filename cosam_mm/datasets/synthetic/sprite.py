"""Textured shapes as small premultiplied images, and their drawing onto frames.

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
SHAPES = tuple(_POLYGONS)
_OVERSAMPLING = 4


def _stripes(u, v, period, phase):
    return np.sin(2 * np.pi * u / period + phase) > 0


def _checks(u, v, period, phase):
    return np.sin(2 * np.pi * u / period + phase) * np.sin(2 * np.pi * v / period) > 0


def _dots(u, v, period, phase):
    return np.cos(2 * np.pi * u / period + phase) + np.cos(
        2 * np.pi * v / period) > 0.5


def _halves(u, v, period, phase):
    return v > 0.3 * np.sin(phase)


_TEXTURES = (_stripes, _checks, _dots, _halves)


def _polygon_mask(shape: str, side: int, shrink: float) -> np.ndarray:
    """Fill a polygon, (side, side) uint8 0 or 1, unit circle = the inner square."""
    corners = (np.asarray(_POLYGONS[shape]) * shrink + 1) * side / 2
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask


def _texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Two-valued pattern (side, side) bool at a random tilt."""
    v, u = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
    tilt = rng.uniform(0, 2 * np.pi)
    u, v = u * np.cos(tilt) - v * np.sin(tilt), u * np.sin(tilt) + v * np.cos(tilt)
    pattern = _TEXTURES[rng.integers(len(_TEXTURES))]
    return pattern(u, v, rng.uniform(0.45, 0.8), rng.uniform(0, 2 * np.pi))


def make_sprite(rng: np.random.Generator, radius: float, colours: np.ndarray,
                outline=None) -> np.ndarray:
    """Paint one random shape.

    Args:
        rng: Source of randomness: shape and texture.
        radius: Radius in pixels of the circle the shape stands in.
        colours: Two RGB colours (2, 3), 0 to 255, of the texture.
        outline: RGB colour of a rim; None paints no rim.

    Returns:
        Float32 image (side, side, 4): RGB premultiplied by alpha, then alpha 0 to 1.
    """
    half = int(np.ceil(radius))
    side = 2 * half * _OVERSAMPLING
    shape = SHAPES[rng.integers(len(SHAPES))]
    body = _polygon_mask(shape, side, radius / half)
    colour = np.where(_texture(rng, side)[..., None], *np.asarray(colours, float))
    if outline is not None:
        rim = max(3, round(0.16 * side / 2)) | 1
        inside = cv2.erode(body, np.ones((rim, rim), np.uint8))
        colour = np.where(inside[..., None], colour, np.asarray(outline, float))
    image = np.dstack([colour * body[..., None], body]).astype(np.float32)
    image = cv2.resize(image, (2 * half, 2 * half), interpolation=cv2.INTER_AREA)
    # A clear border keeps the edge soft when the sprite is turned.
    return cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)


def place(sprite: np.ndarray, radius: float, poses: np.ndarray,
          size: tuple) -> np.ndarray:
    """Draw a sprite at one pose a frame, on clear frames.

    Args:
        sprite: Image of :func:`make_sprite`.
        radius: The radius it was painted with.
        poses: (4, T), see :func:`~.motion.draw_poses`.
        size: Width and height of the frames.

    Returns:
        Float32 layer (T, H, W, 4), premultiplied.
    """
    x, y, angle, log_radius = poses
    scale = np.exp(log_radius) / radius
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    centre = (sprite.shape[0] - 1) / 2
    matrices = np.stack([
        np.stack([cos, -sin, x - centre * (cos - sin)], axis=-1),
        np.stack([sin, cos, y - centre * (sin + cos)], axis=-1)
    ], axis=1)
    return np.stack([
        cv2.warpAffine(sprite, matrix, tuple(size), flags=cv2.INTER_LINEAR)
        for matrix in matrices
    ])


def lay_over(frames: np.ndarray, layer: np.ndarray, opacity: float = 1.0) -> None:
    """Blend a premultiplied layer (T, H, W, 4) over frames (T, H, W, 3), in place."""
    frames *= 1 - opacity * layer[..., 3:]
    frames += opacity * layer[..., :3]
