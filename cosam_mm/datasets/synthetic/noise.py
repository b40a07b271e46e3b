"""Random curves and clouds that generated scenes sway and drift by."""
import numpy as np

__all__ = ['cloud_tile', 'smooth_noise']


def smooth_noise(rng: np.random.Generator, rows: int, num_frames: int) -> np.ndarray:
    """Slow random swaying: two sine waves with random phases.

    Args:
        rng: Source of randomness.
        rows: Number of independent curves.
        num_frames: Length of the curves.

    Returns:
        Array (rows, num_frames) within [-1, 1], in distribution the same when
        played backwards.
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
