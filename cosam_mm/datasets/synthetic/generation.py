"""What all generated data share: random streams, noise, frames with silhouettes."""
from typing import NamedTuple

import numpy as np

__all__ = ['SegmentedFrames', 'check_share', 'cloud_tile', 'smooth_noise', 'stream']


class SegmentedFrames(NamedTuple):
    """Generated frames, and where their object is.

    Args:
        frames: RGB (T, H, W, 3) uint8.
        silhouette: (T, H, W) bool, True where the pixel shows the target of a clip, or
            the person of a tracklet with all they wear and carry; what is occluded is
            False.
    """

    frames: np.ndarray
    silhouette: np.ndarray


def check_share(name: str, value: float) -> None:
    """Raise a ValueError unless a setting lies between 0 and 1."""
    if not 0 <= value <= 1:
        raise ValueError(f'{name} is {value!r}; allowed: 0 to 1')


def stream(seed: int, *key: int) -> np.random.Generator:
    """The generator of one part of a data set.

    A file then does not depend on which others are generated, or in which order.

    Args:
        seed: Seed of the data set, at least 0.
        key: Numbers that name the part; its kind first.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def smooth_noise(rng: np.random.Generator, rows: int, num_frames: int) -> np.ndarray:
    """Slow random swaying: two sine waves with random phases.

    Returns:
        Array (rows, num_frames) within [-1, 1] of independent curves, in distribution
        the same when played backwards.
    """
    cycles = rng.uniform(0.7, 3, (2, rows, 1))
    phase = rng.uniform(0, 2 * np.pi, (2, rows, 1))
    time = np.linspace(0, 2 * np.pi, num_frames)
    return np.sin(cycles * time + phase).mean(axis=0)


def cloud_tile(rng: np.random.Generator, size: tuple) -> np.ndarray:
    """Cloudy, faintly coloured noise that wraps around.

    Args:
        rng: Source of randomness.
        size: Width W and height H in pixels.

    Returns:
        Float32 array (H, W, 3), mean 0 and standard deviation 1.
    """
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    falloff = 1 / np.maximum(frequency, 2 / height)**2
    falloff[0, 0] = 0
    noise = rng.standard_normal((height, width, 1)) + 0.5 * rng.standard_normal(
        (height, width, 3))
    noise = np.fft.rfft2(noise, axes=(0, 1))
    tile = np.fft.irfft2(noise * falloff[..., None], (height, width), axes=(0, 1))
    return (tile / tile.std()).astype(np.float32)
