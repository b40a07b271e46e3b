"""What all generated data share: random streams, noise, silhouettes, finished folders.

A data set is written beside its path and takes its name when it is complete. A JSON
marker in it holds the parameters, so that a second run recognises its own work.
"""
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np

__all__ = ['SegmentedFrames', 'check_share', 'cloud_tile', 'generate_folder',
           'smooth_noise', 'stream']

_ADVICE = 'delete the folder or choose another'


class SegmentedFrames(NamedTuple):
    """Generated frames, and where their object is."""

    frames: np.ndarray  # RGB (T, H, W, 3) uint8
    # (T, H, W) bool, True where the pixel shows the target of a clip, or the person of
    # a tracklet with all they wear and carry; what is occluded is False.
    silhouette: np.ndarray


def check_share(name: str, value: float) -> None:
    """Raise a ValueError unless a setting lies between 0 and 1."""
    if not 0 <= value <= 1:
        raise ValueError(f'{name} is {value!r}; allowed: 0 to 1')


def stream(seed: int, *key: int) -> np.random.Generator:
    """The generator of the part ``key`` (its kind first) of a data set of ``seed``.

    A file then does not depend on which others are generated, or in which order.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def smooth_noise(rng: np.random.Generator, rows: int, num_frames: int) -> np.ndarray:
    """Slow random swaying: (rows, num_frames) within [-1, 1], independent curves.

    They are two sine waves each, in distribution the same when played backwards.
    """
    cycles = rng.uniform(0.7, 3, (2, rows, 1))
    phase = rng.uniform(0, 2 * np.pi, (2, rows, 1))
    time = np.linspace(0, 2 * np.pi, num_frames)
    return np.sin(cycles * time + phase).mean(axis=0)


def cloud_tile(rng: np.random.Generator, size: tuple) -> np.ndarray:
    """Cloudy, faintly coloured noise that wraps around.

    ``size`` is (W, H) in pixels; float32 (H, W, 3), mean 0 and standard deviation 1.
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


def generate_folder(marker: Path, parameters: dict, kind: str, expected: Iterable[Path],
                    write: Callable[[Path], None]) -> Path:
    """Write a folder, unless the same parameters have made it before.

    Args:
        marker: Path of the marker in the folder, which is returned.
        parameters: What the folder is made with, as JSON has it.
        kind: What it holds, for messages: 'demo data set'.
        expected: Every file that a finished folder must hold.
        write: Writes all files but the marker into an empty folder.

    Raises:
        ValueError: The folder holds something else, or lacks files.
    """
    if _is_finished(marker, parameters, kind, expected):
        return marker.parent
    out_dir = marker.parent.resolve()  # a link stays, what it points at is replaced
    partial = out_dir.with_name(f'.{out_dir.name}.partial-{uuid4().hex[:8]}')
    partial.mkdir(parents=True)
    try:
        write(partial)
        text = json.dumps(parameters, indent=2) + '\n'
        (partial / marker.name).write_text(text, encoding='utf-8')
        if out_dir.is_dir():
            out_dir.rmdir()  # only an empty folder gets this far
        partial.rename(out_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return marker.parent


def _is_finished(marker: Path, parameters: dict, kind: str,
                 expected: Iterable[Path]) -> bool:
    """Whether a folder holds the finished work of these parameters, or nothing."""
    folder = marker.parent
    if not marker.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f'{folder} exists and is no finished {kind} (it has no '
                             f'{marker.name}); {_ADVICE}')
        return False
    written = json.loads(marker.read_text(encoding='utf-8'))
    differing = ', '.join(
        f'{key} {written.get(key)!r} instead of {parameters.get(key)!r}'
        for key in {**parameters, **written} if written.get(key) != parameters.get(key))
    if differing:
        raise ValueError(f'{folder} holds a {kind} with other parameters '
                         f'({differing}); {_ADVICE}')
    missing = [path for path in expected if not path.is_file()]
    if missing:
        raise ValueError(f'{folder} lacks {len(missing)} of its files, {missing[0]} '
                         f'for one; {_ADVICE}')
    return True
