"""One tracklet: a person walks past a camera, boxed by a careless tracker.

Everything stands in one depth buffer: other walkers pass behind, a pole or a
passer-by in front, and the silhouette holds what of the person remains visible.
"""
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .body import render_body
from .camera import HIGHEST, Camera, develop, render_scenery
from .generation import SegmentedFrames, check_share, smooth_noise
from .person import Person, generate_person
from .raster import Canvas, View

__all__ = ['DEFAULT_DIFFICULTY', 'Difficulty', 'generate_tracklet']

FRAMES_PER_SECOND = 10
_MIN_SIDE = 16
_CANVAS_HEIGHT = 192  # rows of the canvas at least, before shrinking
_WALKER_DEPTH, _OCCLUDER_DEPTH = -4.0, 4.0  # metres; a body is thinner than these
# Share of a person that an occluder leaves, and how often to look for one that does.
_LEAST_VISIBLE, _MAX_TRIES = 0.35, 6


@dataclass(frozen=True)
class Difficulty:
    """How hard the people are to tell apart, each 0 to 1; ValueError outside."""

    clutter: float = 0.6  # things and textures behind, and others who walk there
    occlusion: float = 0.35  # chance that something stands or passes before the person
    accessories: float = 0.5  # how much people carry: bags, hats, umbrellas
    misalignment: float = 0.5  # how badly the boxes sit, and how much they jitter

    def __post_init__(self):
        for name, value in vars(self).items():
            check_share(f'{name} of Difficulty', value)


DEFAULT_DIFFICULTY = Difficulty()


class _Walk(NamedTuple):
    """The person's path through the scene."""

    view: View
    phase: np.ndarray  # (T,) radians
    passed: np.ndarray  # (T,) metres to the right in the image


def _speed(person: Person) -> float:
    """Metres a second: two steps a stride, each as far as the legs open."""
    return 4 * person.leg_share * person.height * np.sin(person.stride) * person.cadence


def _plan_walk(person: Person, camera: Camera, rng: np.random.Generator,
               num_frames: int, canvas_size: tuple, misalignment: float) -> _Walk:
    """Where the person is in each frame, in boxes that sit badly."""
    height, width = canvas_size
    time = np.arange(num_frames) / FRAMES_PER_SECOND
    yaw = camera.yaw + rng.normal(0, 0.2) + 0.12 * smooth_noise(rng, 1, num_frames)[0]
    phase = 2 * np.pi * (rng.random() + person.cadence * time)
    passed = np.cumsum(_speed(person) * np.cos(yaw)) / FRAMES_PER_SECOND
    sway = smooth_noise(rng, 3, num_frames) + 0.35 * rng.standard_normal(
        (3, num_frames))
    drift = rng.normal(0, 1, (3, 1)) + rng.normal(0, 0.6, (3, 1)) * np.linspace(
        -1, 1, num_frames)
    error = misalignment * (np.array([[0.05], [0.035], [0.05]]) * sway
                            + np.array([[0.1], [0.045], [0.09]]) * drift)
    # Boxes make room for umbrellas.
    fill = camera.fill * (0.86 if person.umbrella is not None else 1)
    zoom = np.exp(error[2])
    scale = height * fill * zoom / person.height
    origin = np.stack([
        width * (0.5 + camera.offset[0] + error[0]),
        height * (0.5 + camera.offset[1] + error[1] + 0.5 * fill * zoom)], axis=-1)
    view = View(yaw, scale, origin, camera.pitch, camera.roll, 0.0, camera.light)
    return _Walk(view, phase, passed)


def _render_background(walk: _Walk, camera: Camera, clutter: float, start: float,
                       canvas_size: tuple) -> np.ndarray:
    """The scene that goes by behind the person, float32 (T, H, W, 3)."""
    density = canvas_size[0] / 2.0
    scenery = render_scenery(camera.scene_seed, camera.ground, clutter, density)
    cos, sin = np.cos(camera.roll), np.sin(camera.roll)
    frames = []
    for passed, scale, (x, y) in zip(walk.passed, walk.view.scale, walk.view.origin):
        zoom = scale / density
        turn = zoom * np.array([[cos, sin], [-sin, cos]])
        # The scenery's point below the person goes to the person's position.
        point = np.array([(start + passed) * density, HIGHEST * density])
        matrix = np.column_stack([turn, np.array([x, y]) - turn @ point])
        frames.append(cv2.warpAffine(
            scenery, matrix, canvas_size[::-1], flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP))
    return np.stack(frames)


def _cast_shadow(frames: np.ndarray, view: View, person: Person) -> None:
    """Darken the ground below the person, in place."""
    for frame, (x, y), scale in zip(frames, view.origin, view.scale):
        shadow = np.zeros(frame.shape[:2], np.float32)
        axes = 0.3 * person.build * scale, max(1, 0.08 * scale)
        cv2.ellipse(shadow, (int(x), int(y)), tuple(int(axis) for axis in axes), 0, 0,
                    360, 1, -1)
        shadow = cv2.GaussianBlur(shadow, (0, 0), 0.03 * scale)
        frame *= 1 - 0.45 * shadow[..., None]


def _add_walker(canvas: Canvas, walk: _Walk, rng: np.random.Generator, x: float,
                nearness: float, lift: float, depth: float) -> None:
    """Render somebody else who crosses the image, halfway ``x`` metres to the right.

    ``nearness`` is their size as a factor of the size beside the person; their ground
    lies ``lift`` metres above the person's in the image, and ``depth`` metres nearer.
    """
    other, view = generate_person(rng), walk.view
    num_frames = len(walk.phase)
    time = (np.arange(num_frames) - num_frames / 2) / FRAMES_PER_SECOND
    yaw = rng.choice((0, np.pi)) + rng.normal(0, 0.4)
    across = x + _speed(other) * np.cos(yaw) * time - (walk.passed - walk.passed.mean())
    phase = 2 * np.pi * (rng.random() + other.cadence * time)
    shift = np.stack([across, np.full_like(across, -lift)], axis=-1)
    render_body(canvas, other, phase, view._replace(
        yaw=np.full_like(across, yaw), scale=view.scale * nearness,
        origin=view.origin + view.scale[:, None] * shift, depth=depth))


def _add_walkers(canvas: Canvas, walk: _Walk, camera: Camera,
                 rng: np.random.Generator, clutter: float) -> None:
    """Render others who walk behind the person."""
    for chance in (1.0, 0.4):
        x, nearness = rng.uniform(-0.7, 0.7), rng.uniform(0.62, 0.9)
        if rng.random() < clutter * chance:
            _add_walker(canvas, walk, rng, x, nearness, camera.ground * (1 - nearness),
                        _WALKER_DEPTH)


def _add_post(canvas: Canvas, walk: _Walk, rng: np.random.Generator) -> None:
    """Render a pole, or something low, that the person walks behind."""
    view = walk.view
    if rng.random() < 0.55:  # a pole
        width, top = rng.uniform(0.07, 0.17), 4.0
    else:  # a bin, a bench, a car
        width, top = rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.7)
    x = rng.uniform(-0.35, 0.35) - (walk.passed - walk.passed.mean())
    colour = np.float32(rng.uniform(30, 215) + rng.uniform(-30, 30, 3))
    rows, columns = (np.arange(side) + 0.5 for side in canvas.depth.shape[1:])
    u = (columns - view.origin[:, :1]) / view.scale[:, None] - x[:, None]
    up = (view.origin[:, 1:] - rows) / view.scale[:, None]
    inside = (np.abs(u) < width)[:, None] & ((up < top) & (up > -0.2))[:, :, None]
    shade = 0.85 + 0.2 * np.sin(2.5 * u / width + 1)
    colours = (colour * shade[:, None, :, None]).astype(np.float32)
    canvas.colour[inside] = np.broadcast_to(colours, canvas.colour.shape)[inside]
    canvas.depth[inside] = _OCCLUDER_DEPTH
    canvas.is_target[inside] = False


def _occlude(canvas: Canvas, walk: _Walk, rng: np.random.Generator,
             occlusion: float) -> Canvas:
    """Perhaps put something before the person, who stays visible in part."""
    if rng.random() >= occlusion:
        return canvas
    area = canvas.is_target.sum(axis=(1, 2))
    for _ in range(_MAX_TRIES):
        occluded = Canvas(*(layer.copy() for layer in canvas))
        if rng.random() < 0.6:
            _add_post(occluded, walk, rng)
        else:
            x = rng.choice((-1, 1)) * rng.uniform(0.3, 0.6)
            _add_walker(occluded, walk, rng, x, rng.uniform(1.05, 1.25), -0.2,
                        _OCCLUDER_DEPTH)
        if (occluded.is_target.sum(axis=(1, 2)) >= _LEAST_VISIBLE * area).all():
            return occluded
    return canvas


def generate_tracklet(person: Person, camera: Camera, rng: np.random.Generator,
                      num_frames: int = 12, size: tuple = (64, 32),
                      difficulty: Difficulty = DEFAULT_DIFFICULTY) -> SegmentedFrames:
    """Generate one tracklet.

    Args:
        person: Who walks.
        camera: What sees them.
        rng: Source of all randomness.
        num_frames: Number of frames T, a tenth of a second apart.
        size: Height H and width W in pixels.
        difficulty: How hard to make it; ``accessories`` belongs to the person and
            does nothing here.

    Raises:
        ValueError: No frames, or a size too small.
    """
    if num_frames < 1:
        raise ValueError(f'num_frames is {num_frames}; allowed: 1 and above')
    if len(size) != 2 or min(size) < _MIN_SIDE:
        raise ValueError(f'size is {size!r}; give (height, width), each {_MIN_SIDE} '
                         'pixels or more')
    oversampling = max(2, -(-_CANVAS_HEIGHT // size[0]))
    canvas_size = tuple(oversampling * side for side in size)
    walk = _plan_walk(
        person, camera, rng, num_frames, canvas_size, difficulty.misalignment)
    frames = _render_background(walk, camera, difficulty.clutter, rng.uniform(0, 1000),
                                canvas_size)
    _cast_shadow(frames, walk.view, person)
    canvas = Canvas(frames, np.full(frames.shape[:3], -np.inf, np.float32),
                    np.zeros(frames.shape[:3], bool))
    _add_walkers(canvas, walk, camera, rng, difficulty.clutter)
    render_body(canvas, person, walk.phase, walk.view, is_target=True)
    canvas = _occlude(canvas, walk, rng, difficulty.occlusion)
    shrunk, silhouette = (
        np.stack([cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
                  for frame in layer])
        for layer in (canvas.colour, canvas.is_target.astype(np.float32)))
    flicker = rng.uniform(0.92, 1.08) + 0.03 * smooth_noise(rng, 1, num_frames)[0]
    return SegmentedFrames(develop(shrunk, camera, rng, flicker), silhouette > 0.5)
