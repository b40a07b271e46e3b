"""Cameras that see the same people differently: viewpoint, light, colour, blur.

The cameras of a data set are spread over each of their properties by the golden
ratio, so that the first few differ already and none depends on how many there are.
"""
from dataclasses import dataclass

import cv2
import numpy as np

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Camera:
    """One camera and the place it looks at.

    Args:
        scene_seed: Seed of the background.
        yaw: Usual way of the walkers, radians: 0 to the right of the picture, pi/2
            to the camera.
        pitch: Angle at which it looks down, radians.
        roll: Tilt of its picture, radians.
        fill: Usual height of a person as a share of the box's height.
        offset: Usual place of a person in the box, right and down of the middle, as
            shares of the box's width and height.
        ground: Height on the picture where the ground meets the wall, metres.
        light: Direction of the light, right, up, towards the camera, and the share
            of light without a direction.
        gains: Factors of red, green and blue.
        gamma: Exponent of the brightness; below 1 lifts the shadows.
        contrast: Factor of the distance from grey.
        saturation: Factor of the distance from colourless.
        blur: Standard deviation of the blur, shares of the box's height.
        noise_std: Standard deviation of the noise, in grey levels of 255.
        jpeg_quality: Of the files, 1 to 100.
    """

    scene_seed: int
    yaw: float
    pitch: float
    roll: float
    fill: float
    offset: tuple
    ground: float
    light: tuple
    gains: tuple
    gamma: float
    contrast: float
    saturation: float
    blur: float
    noise_std: float
    jpeg_quality: int


def _light(around: float, ambient: float) -> tuple:
    """Light from an angle around the vertical, from 40 degrees above."""
    level = np.cos(np.deg2rad(40))
    return (float(level * np.cos(around)), float(np.sin(np.deg2rad(40))),
            float(level * np.sin(around)), ambient)


def draw_camera(rng: np.random.Generator, index: int) -> Camera:
    """Draw one camera of a data set.

    Args:
        rng: Source of randomness, in the same state for all cameras of a data set.
        index: Number of the camera, from 0; tells it from the others.

    Returns:
        The camera.
    """
    start = rng.random(16)
    shares = iter((start + index * _GOLDEN * np.arange(1, 17)) % 1)

    def between(low, high):
        return float(low + (high - low) * next(shares))

    hue = between(0, 2 * np.pi)
    cast = 1 + 0.08 * np.cos(hue - 2 * np.pi / 3 * np.arange(3))
    brightness = between(0.84, 1.16)
    return Camera(
        scene_seed=int(rng.integers(2**31)) + index,
        # Thirds of a turn and some: cameras side by side never share a side.
        yaw=float(2 * np.pi * (start[2] + index * (1 - _GOLDEN))),
        pitch=between(0.03, 0.42), roll=between(-0.07, 0.07), fill=between(0.8, 0.93),
        offset=(between(-0.06, 0.06), between(-0.03, 0.03)), ground=between(0.3, 1.0),
        light=_light(between(0.15 * np.pi, 0.85 * np.pi), between(0.42, 0.7)),
        gains=tuple((brightness * cast).tolist()), gamma=between(0.9, 1.12),
        contrast=between(0.86, 1.1), saturation=between(0.75, 1.05),
        blur=between(0.002, 0.007), noise_std=between(2, 8),
        jpeg_quality=round(between(78, 93)))


def develop(frames: np.ndarray, camera: Camera, rng: np.random.Generator,
            flicker: np.ndarray) -> np.ndarray:
    """Turn what is before a camera into its pictures.

    Args:
        frames: RGB (T, H, W, 3) float32, 0 to 255; changed in place.
        camera: The camera.
        rng: Source of the noise.
        flicker: (T,) factors of the brightness.

    Returns:
        RGB (T, H, W, 3) uint8.
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
