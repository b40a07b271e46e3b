"""An opaque bar that passes before the target, or halts there, in a part of a clip.

It reaches across the whole frame at any tilt, and moves square to its length from one
side to the other::

    place     side +1 |                      ________
                      |              _______/
    halt ............ |     ________/      with or without a stay
              side -1 |____/
                      +------------------------------ frames

Two rules keep the classes apart in time only. The bar knows nothing of the target: it
crosses the middle of the frame, where the target is in whatever motion. And its way
played in reverse is as likely as its way, since a backward motion is a forward one
played in reverse.
"""
import numpy as np

__all__ = ['draw_occluder']

# Lengths are shares of the frame's height, durations of the clip.
_HALF_WIDTH = (0.06, 0.12)
_HALT = 0.2
_WAY_IN_OR_OUT = (0.15, 0.3)
_STAY = (0.15, 0.35)


def _draw_way(rng: np.random.Generator, num_frames: int, reach: float,
              halt: float) -> np.ndarray:
    """Distance (T,) of the bar from the frame's centre; beyond ``reach`` is outside."""
    way_in, way_out = rng.uniform(*_WAY_IN_OR_OUT, 2)
    stays = rng.random() < 0.5
    stay = rng.uniform(*_STAY)
    stay = stay if stays else 0.0
    start = rng.uniform(0, 1 - way_in - stay - way_out)
    times = start + np.cumsum([0, way_in, stay, way_out])
    moments = np.linspace(0, 1, num_frames)
    return np.interp(moments, times, [-reach, halt, halt, reach])


def draw_occluder(rng: np.random.Generator, num_frames: int, size: tuple,
                  chance: float) -> np.ndarray:
    """Draw a bar, or nothing, on clear frames.

    What is drawn from ``rng`` does not depend on the outcome.

    Args:
        rng: Source of all randomness.
        num_frames: Number of frames T.
        size: Width W and height H in pixels.
        chance: Of a bar, 0 to 1.

    Returns:
        Float32 layer (T, H, W, 4): RGB 0 to 255 premultiplied by alpha, then alpha.

    Example:
        >>> layer = draw_occluder(np.random.default_rng(0), 8, (96, 72), 1.0)
        >>> layer.shape
        (8, 72, 96, 4)
        >>> bool(layer[..., 3].any())
        True
    """
    width, height = size
    happens = rng.random() < chance
    half_width = height * rng.uniform(*_HALF_WIDTH)
    tilt = rng.uniform(0, 2 * np.pi)
    colour = np.clip(rng.uniform(30, 215) + rng.uniform(-40, 40, 3), 0, 255)
    reach = np.hypot(width, height) / 2 + half_width + 1
    way = _draw_way(rng, num_frames, reach, height * rng.uniform(-_HALT, _HALT))
    if not happens:
        return np.zeros((num_frames, height, width, 4), np.float32)
    y, x = np.mgrid[:height, :width] - (np.array([[[height]], [[width]]]) - 1) / 2
    across = x * np.cos(tilt) + y * np.sin(tilt) - way[:, None, None]  # (T, H, W)
    alpha = np.clip(half_width - np.abs(across) + 0.5, 0, 1)[..., None]
    shade = 0.85 + 0.15 * np.cos(np.pi * np.clip(across / half_width, -1, 1))
    return np.concatenate(
        [alpha * shade[..., None] * colour, alpha], axis=-1).astype(np.float32)
